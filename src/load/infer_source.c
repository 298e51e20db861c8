/*-------------------------------------------------------------------------
 *
 * infer_source.c
 *    etl.infer: the columns that a stream would have, from all records.
 *
 * Every item is read to its end, as the first load would; nothing is landed,
 * made or moved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "common/arguments.h"
#include "common/names.h"
#include "common/progress.h"
#include "load/look.h"

PG_FUNCTION_INFO_V1(etl_sql_infer);

/* What all items together show of a field. */
typedef struct Finding
{
	char	   *field;
	Oid			type;			/* InvalidOid: no value yet */
	int64		values;
	char	   *reason;			/* the value that decided, and where it stands */
} Finding;

/*
 * finding_of finds or makes the entry of a field.
 */
static Finding *
finding_of(List **findings, const char *field)
{
	Finding    *finding;
	ListCell   *cell;

	foreach(cell, *findings)
		if (strcmp(((Finding *) lfirst(cell))->field, field) == 0)
			return lfirst(cell);
	finding = palloc0(sizeof(Finding));
	finding->field = pstrdup(field);
	*findings = lappend(*findings, finding);
	return finding;
}

/*
 * add_item merges what one item shows.
 */
static void
add_item(List **findings, List *columns, const char *origin)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		EtlInferredColumn *column = lfirst(cell);
		Finding    *finding = finding_of(findings, column->field);
		Oid			type = etl_inference_wider(finding->type, column->seen ? column->type : InvalidOid);

		finding->values += column->values;
		if (type == finding->type || column->decided_by == NULL)
			continue;
		finding->type = type;
		finding->reason = psprintf("\"%s\" at %s:" INT64_FORMAT, column->decided_by, origin,
								   column->decided_at);
	}
}

/*
 * read_item reads the item that the look has open; 'state' is that of its
 * first record.  Returns how many records it had.
 */
static int64
read_item(EtlLook *look, EtlRecordState state, EtlRecord *record, List **findings)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "etl inference", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlInference *inference =
		etl_inference_begin(&look->pull.options->coerce, look->pull.options->is_json);
	List	   *columns;
	int64		records = 0;

	for (; state != ETL_RECORD_END; state = etl_decoder_next(look->decoder, record))
	{
		if (records++ % ETL_BATCH_ROWS == 0)
			CHECK_FOR_INTERRUPTS();
		if (state == ETL_RECORD_OK)
			etl_inference_add(inference, look->decoder, record);
		etl_progress_rows++;
		etl_progress_check();
	}
	columns = etl_inference_end(inference, look->decoder);
	MemoryContextSwitchTo(old);
	add_item(findings, columns, look->item->origin);
	etl_decoder_close(look->decoder);
	look->decoder = NULL;
	MemoryContextDelete(context);
	return records;
}

/*
 * put_finding appends a row to the result.
 */
static void
put_finding(EtlLook *look, ReturnSetInfo *result, const Finding *finding, int64 records, List **taken)
{
	char	   *name = etl_column_identifier(finding->field, *taken);
	char	   *said = etl_transform_type(look->pull.options->transform, finding->field);
	Datum		values[6];
	bool		nulls[6] = {false, false, false, false, false, finding->reason == NULL || said != NULL};

	*taken = lappend(*taken, name);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(
		said ? said : format_type_be(OidIsValid(finding->type) ? finding->type : TEXTOID));
	values[2] = CStringGetTextDatum(finding->field);
	values[3] = Int64GetDatum(records);
	values[4] = Int64GetDatum(records - finding->values);
	if (finding->reason != NULL)
		values[5] = CStringGetTextDatum(finding->reason);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
etl_sql_infer(PG_FUNCTION_ARGS)
{
	char	   *source = etl_arg_required(fcinfo, 0, "source");
	EtlLook    *look = palloc0(sizeof(EtlLook));
	List	   *findings = NIL;
	List	   *taken = NIL;
	EtlRecord	record;
	int64		records = 0;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	etl_look_define(look, source, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), etl_arg_text(fcinfo, 2));
	PG_TRY();
	{
		EtlRecordState state;

		etl_look_open(look);
		while ((state = etl_look_record(look, &record)) != ETL_RECORD_END)
			records += read_item(look, state, &record, &findings);
		etl_look_tell_nothing(look);
	}
	PG_FINALLY();
	{
		etl_look_close(look);
	}
	PG_END_TRY();
	foreach(cell, findings)
		put_finding(look, (ReturnSetInfo *) fcinfo->resultinfo, lfirst(cell), records, &taken);
	return (Datum) 0;
}
