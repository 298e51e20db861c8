/*-------------------------------------------------------------------------
 *
 * look.c
 *    etl.preview and etl.show: seeing what is there before anything is made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "load/look.h"

PG_FUNCTION_INFO_V1(etl_sql_preview);
PG_FUNCTION_INFO_V1(etl_sql_show);

#define DEADLINE_MS 30000
#define MAX_SHOWN	10000		/* rows */

void
etl_look_define(EtlLook *look, const char *source, const Jsonb *options, const char *format)
{
	EtlStream  *stream = &look->stream;

	look->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DEADLINE_MS);
	look->source = etl_source_get(source);
	look->pull.connector = etl_connector_find(look->source->connector);
	stream->target = "etl.preview";
	stream->source = look->source->name;
	stream->options = options ? unconstify(Jsonb *, options) : etl_json_parse("{}");
	stream->format = format ? pstrdup(format) : NULL;
	stream->mode = "append";
	stream->schema_policy = "evolve";
	stream->contract = etl_json_parse("{}");
	stream->owner = GetUserNameFromId(GetUserId(), false);
	stream->settings = etl_settings_capture();
	etl_stream_judge(stream, look->source, look->pull.connector);
	look->pull.stream = stream;
	look->pull.options = etl_load_options_read(stream);
}

void
etl_look_open(EtlLook *look)
{
	EtlPull    *pull = &look->pull;
	EtlConnectorContext *context = &pull->connector_context;

	pull->context = CurrentMemoryContext;
	context->context = AllocSetContextCreate(CurrentMemoryContext, "etl connector", ALLOCSET_DEFAULT_SIZES);
	context->source = look->source->name;
	context->stream = look->stream.target;
	context->owner = look->stream.owner;
	context->format = look->stream.format;
	context->source_options = look->source->options;
	context->stream_options = look->stream.options;
	context->services = etl_connector_services();
	pull->state = pull->connector->open(context);
}

bool
etl_look_item(EtlLook *look)
{
	EtlPull    *pull = &look->pull;

	if (look->decoder != NULL)
		etl_decoder_close(look->decoder);
	look->decoder = NULL;
	if (look->item != NULL)
		pull->connector->release(pull->state, look->item);
	look->item = NULL;
	for (;;)
	{
		EtlWait		wait = {.until = DT_NOEND};
		EtlPoll		poll;

		CHECK_FOR_INTERRUPTS();
		poll = pull->connector->next(pull->state, &look->item, &wait);
		if (poll == ETL_READY)
		{
			look->items++;
			return true;
		}
		if (poll == ETL_END)
			return false;
		if (wait.until > look->deadline)
			wait.until = look->deadline;
		etl_wait(&wait);
		if (GetCurrentTimestamp() >= look->deadline)
			ereport(ERROR, (errcode(ETL_ERR_UNREACHABLE),
							errmsg("source \"%s\" did not answer within %d s", look->source->name,
								   DEADLINE_MS / 1000),
							wait.reason ? errdetail("It was %s.", wait.reason) : 0,
							errhint("A run waits longer: the options timeout and retry of the "
									"source say how long.")));
	}
}

/*
 * find_dialect reads the item with the dialect that it seems to have, and
 * tells which that is.
 */
static void
find_dialect(EtlLook *look)
{
	EtlStream  *stream = &look->stream;

	if (look->stated == NULL)
		look->stated = stream->options;
	stream->options = look->stated;
	look->pull.options = etl_load_options_read(stream);
	look->dialect = etl_dialect_of_item(&look->pull, look->item);
	if (look->dialect == NULL)
		return;
	stream->options = etl_dialect_options(look->stated, look->dialect, true);
	look->pull.options = etl_load_options_read(stream);
	if (look->finds_dialect)
		return;
	ereport(etl_dialect_doubts(look->dialect) ? WARNING : NOTICE,
			(errmsg("dialect of \"%s\": %s", look->item->origin, etl_dialect_describe(look->dialect)),
			 etl_dialect_doubts(look->dialect) ?
				 errdetail("Not certain: %s.", etl_dialect_doubts(look->dialect)) :
				 0,
			 etl_dialect_doubts(look->dialect) ? errhint("A stream needs these options stated.") : 0));
}

EtlRecordState
etl_look_record(EtlLook *look, EtlRecord *record)
{
	EtlPull    *pull = &look->pull;

	for (;;)
	{
		EtlRecordState state;

		if (look->decoder == NULL)
		{
			EtlItemReader *reader;

			if (!etl_look_item(look))
				return ETL_RECORD_END;
			if (look->finds_dialect || look->stated != NULL || etl_dialect_is_auto(&look->stream))
				find_dialect(look);
			reader = etl_item_reader_open(pull, look->item, false);
			look->decoder =
				etl_landing_decoder(&look->stream, pull->options,
									etl_load_unpack(&reader->read, pull->options, look->item->origin),
									look->item->records_path, look->item->origin);
		}
		state = etl_decoder_next(look->decoder, record);
		if (state != ETL_RECORD_END)
			return state;
		etl_decoder_close(look->decoder);
		look->decoder = NULL;
	}
}

void
etl_look_tell_nothing(const EtlLook *look)
{
	char	   *path = etl_json_get_text(look->stream.options, "path");

	if (look->items == 0 && path != NULL && !look->pull.connector->needs_network)
		ereport(NOTICE, (errmsg("%s", etl_pull_no_file(&look->pull, path))));
}

void
etl_look_close(EtlLook *look)
{
	if (look->pull.state != NULL)
		look->pull.connector->close(look->pull.state);
	look->pull.state = NULL;
}

/*
 * parse_json reads a number or document; NULL when jsonb cannot hold it.
 * jsonb_in is pure, so that no subtransaction is needed.
 */
static Jsonb *
parse_json(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb *volatile value = NULL;

	PG_TRY();
	{
		value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (!etl_fault_of_row(error) &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			etl_rethrow(error);
	}
	PG_END_TRY();
	return value;
}

Jsonb *
etl_look_json(EtlLook *look, const EtlRecord *record, bool bad)
{
	EtlJsonBuilder *object = etl_json_object_begin();
	int			n;
	const char **fields = etl_decoder_fields(look->decoder, &n);

	if (bad)
	{
		EtlJsonBuilder *fault = etl_json_object_begin();

		etl_json_add_text(fault, "check", record->problem_code);
		etl_json_add_text(fault, "column", record->problem_field);
		etl_json_add_text(fault, "message", record->problem);
		etl_json_add_int64(fault, "position", record->position);
		etl_json_add_text(fault, "record", etl_bytes_text(record->raw, Min(record->raw_length, 1000)));
		etl_json_add(object, "_etl_reject", etl_json_object_end(fault));
		return etl_json_object_end(object);
	}
	for (int i = 0; i < record->nvalues; i++)
	{
		const EtlValue *value = &record->values[i];
		Jsonb	   *parsed = value->kind == ETL_VALUE_NULL || value->kind == ETL_VALUE_TEXT ?
							NULL :
							parse_json(value->text);

		if (parsed != NULL)
			etl_json_add(object, fields[i], parsed);
		else
			etl_json_add_text(object, fields[i], value->kind == ETL_VALUE_NULL ? NULL : value->text);
	}
	return etl_json_object_end(object);
}

/*
 * rows_argument reads an argument max_rows.
 */
static int
rows_argument(FunctionCallInfo fcinfo, int n)
{
	int			rows = PG_ARGISNULL(n) ? 20 : PG_GETARG_INT32(n);

	if (rows < 1 || rows > MAX_SHOWN)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("max_rows must be between 1 and %d", MAX_SHOWN)));
	return rows;
}

/*
 * put_json appends a row to the result.
 */
static void
put_json(ReturnSetInfo *result, Jsonb *value)
{
	Datum		datum = JsonbPGetDatum(value);
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &datum, &isnull);
}

Datum
etl_sql_preview(PG_FUNCTION_ARGS)
{
	char	   *source = etl_arg_required(fcinfo, 0, "source");
	int			max_rows = rows_argument(fcinfo, 3);
	EtlLook    *look = palloc0(sizeof(EtlLook));
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "etl preview", ALLOCSET_DEFAULT_SIZES);
	EtlRecord	record;
	EtlRecordState state;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	etl_look_define(look, source, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), etl_arg_text(fcinfo, 2));
	PG_TRY();
	{
		etl_look_open(look);
		for (int i = 0; i < max_rows; i++)
		{
			MemoryContext old;

			state = etl_look_record(look, &record);
			if (state == ETL_RECORD_END)
				break;
			old = MemoryContextSwitchTo(row);
			put_json((ReturnSetInfo *) fcinfo->resultinfo,
					 etl_look_json(look, &record, state == ETL_RECORD_BAD));
			MemoryContextSwitchTo(old);
			MemoryContextReset(row);
		}
		etl_look_tell_nothing(look);
	}
	PG_FINALLY();
	{
		etl_look_close(look);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/*
 * etl_sql_show runs a query of the caller's as the caller, which may read and
 * nothing else, and returns its first rows.
 */
Datum
etl_sql_show(PG_FUNCTION_ARGS)
{
	char	   *query = etl_arg_required(fcinfo, 0, "query");
	int			max_rows = rows_argument(fcinfo, 1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SPIPlanPtr	plan;
	Portal		portal;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (char *end = query + strlen(query); end > query && strchr(" \t\r\n;", end[-1]); end--)
		end[-1] = '\0';
	SPI_connect();
	/* the line break keeps a trailing comment from swallowing the parenthesis */
	plan = SPI_prepare(psprintf("SELECT pg_catalog.to_jsonb(q.*) FROM (%s\n) AS q", query), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	SPI_cursor_fetch(portal, true, max_rows);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			put_json(result, DatumGetJsonbP(value));
	}
	SPI_cursor_close(portal);
	SPI_finish();
	return (Datum) 0;
}
