/*-------------------------------------------------------------------------
 *
 * contract.c
 *    What a producer promises of its records: the contract's JSON Schema,
 *    its versions, and whether they go together.
 *
 * Without a schema of its own, a stream promises what its columns say.  A
 * record of a JSON format that breaks the schema is a reject before anything
 * of it lands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/history.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/parse.h"
#include "load/landing.h"
#include "quality/json_schema.h"

PG_FUNCTION_INFO_V1(etl_sql_json_schema);

#define MAX_FAULTS 10			/* that a reject names */

/* ---- definition ---- */

const EtlOptionDef etl_contract_options[] = {
	{"schema_version", "text", NULL, "version of the schema that the producer promises"},
	{"json_schema", "any", NULL, "JSON Schema of a record; one that breaks it is rejected"},
	{"compatibility", "none|backward|forward|full", "none",
	 "what a new version must be, compared with the one before"},
	{"delivery", "batch|stream", NULL, "how the producer delivers; stream: files are watched for"},
	{"watermark", "duration", NULL,
	 "how much older than the latest event of former loads an event may be"},
	{"late", "accept|quarantine|drop", "accept", "what becomes of records that are later"},
	{"privacy_level", "public|internal|restricted", NULL, "who may see the records"},
	{NULL}};

void
etl_contract_check(const EtlStream *stream)
{
	Jsonb	   *schema = etl_json_get(stream->contract, "json_schema");

	etl_options_check(stream->contract, "stream:contract", etl_contract_options, NULL);
	if (schema == NULL)
		return;
	etl_json_schema_check(schema);
	if (strcmp(stream->format, "csv") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("contract key \"json_schema\" needs a JSON format"),
				 errdetail("The fields of a CSV file are text, whatever they mean."),
				 errhint("Declare the columns, and define checks.")));
}

/* ---- the schema of columns ---- */

/*
 * append_type writes the schema of a type.
 */
static void
append_type(StringInfo out, Oid type, int32 typmod, bool nullable)
{
	static const struct
	{
		Oid			type;
		const char *name;
		const char *more;
	} types[] = {{INT2OID, "integer", ",\"minimum\":-32768,\"maximum\":32767"},
				 {INT4OID, "integer", ",\"minimum\":-2147483648,\"maximum\":2147483647"},
				 {INT8OID, "integer", ",\"minimum\":-9223372036854775808,\"maximum\":9223372036854775807"},
				 {NUMERICOID, "number", ""},
				 {FLOAT4OID, "number", ""},
				 {FLOAT8OID, "number", ""},
				 {BOOLOID, "boolean", ""},
				 {DATEOID, "string", ",\"format\":\"date\""},
				 {TIMESTAMPTZOID, "string", ",\"format\":\"date-time\""},
				 {UUIDOID, "string", ",\"format\":\"uuid\""}};
	Oid			element = get_element_type(type);
	const char *name = OidIsValid(element) ? "array" : "string";
	const char *more = "";

	if (type == JSONOID || type == JSONBOID)
	{
		appendStringInfoString(out, "{}");
		return;
	}
	for (int i = 0; i < lengthof(types); i++)
		if (types[i].type == type)
		{
			name = types[i].name;
			more = types[i].more;
		}
	appendStringInfo(out, nullable ? "{\"type\":[\"%s\",\"null\"]%s" : "{\"type\":\"%s\"%s", name, more);
	if ((type == VARCHAROID || type == BPCHAROID) && typmod > VARHDRSZ)
		appendStringInfo(out, ",\"maxLength\":%d", typmod - VARHDRSZ);
	if (OidIsValid(element))
	{
		appendStringInfoString(out, ",\"items\":");
		append_type(out, element, typmod, true);
	}
	appendStringInfoChar(out, '}');
}

/* A schema while its columns come. */
typedef struct Columns
{
	StringInfoData properties;
	StringInfoData required;
} Columns;

static void
add_column(Columns *columns, const char *field, Oid type, int32 typmod, bool not_null)
{
	if (columns->properties.data == NULL)
	{
		initStringInfo(&columns->properties);
		initStringInfo(&columns->required);
	}
	if (columns->properties.len > 0)
		appendStringInfoChar(&columns->properties, ',');
	escape_json(&columns->properties, field);
	appendStringInfoChar(&columns->properties, ':');
	append_type(&columns->properties, type, typmod, !not_null);
	if (!not_null)
		return;
	if (columns->required.len > 0)
		appendStringInfoChar(&columns->required, ',');
	escape_json(&columns->required, field);
}

static Jsonb *
end_columns(const Columns *columns, const char *title)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(
		&out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\"");
	if (title != NULL)
	{
		appendStringInfoString(&out, ",\"title\":");
		escape_json(&out, title);
	}
	appendStringInfo(&out, ",\"properties\":{%s},\"required\":[%s]}",
					 columns->properties.data ? columns->properties.data : "",
					 columns->required.data ? columns->required.data : "");
	return etl_json_parse(out.data);
}

/*
 * declared_schema is the schema that the column list of a stream stands for;
 * NULL: it declares none.
 */
static Jsonb *
declared_schema(const EtlStream *stream)
{
	Columns		columns = {0};
	ListCell   *cell;
	ListCell   *other;

	if (stream->columns == NULL)
		return NULL;
	foreach(cell, etl_columns_parse(stream->columns))
	{
		ColumnDef  *column = lfirst(cell);
		bool		not_null;
		Oid			type;
		int32		typmod;

		if (!IsA(column, ColumnDef))
			continue;
		not_null = column->is_not_null || etl_name_among(stream->key, column->colname);
		foreach(other, column->constraints)
			if (IsA(lfirst(other), Constraint) &&
				(((Constraint *) lfirst(other))->contype == CONSTR_NOTNULL ||
				 ((Constraint *) lfirst(other))->contype == CONSTR_PRIMARY))
				not_null = true;
		typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
		add_column(&columns, column->colname, type, typmod, not_null);
	}
	return end_columns(&columns, NULL);
}

/*
 * promised returns the schema that a stream promises; NULL: none.
 */
static Jsonb *
promised(const EtlStream *stream)
{
	Jsonb	   *schema = etl_json_get(stream->contract, "json_schema");

	return schema ? schema : declared_schema(stream);
}

/* ---- versions ---- */

/*
 * list_texts joins a list of texts as lines.
 */
static char *
list_texts(List *texts)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, texts)
		appendStringInfo(&out, "%s%s.", out.len ? "\n" : "", (char *) lfirst(cell));
	return out.data;
}

void
etl_contract_compare(const EtlStream *old, const EtlStream *stream)
{
	const char *wanted = etl_json_get_text(stream->contract, "compatibility");
	const char *version = etl_json_get_text(stream->contract, "schema_version");
	const char *old_version = etl_json_get_text(old->contract, "schema_version");
	Jsonb	   *before = promised(old);
	Jsonb	   *now = promised(stream);
	List	   *backward;
	List	   *forward;

	if (before == NULL || now == NULL || strcmp(etl_json_text(before), etl_json_text(now)) == 0)
		return;
	backward = etl_json_schema_breaks(now, before);
	forward = etl_json_schema_breaks(before, now);
	if (wanted != NULL &&
		((backward != NIL && (strcmp(wanted, "backward") == 0 || strcmp(wanted, "full") == 0)) ||
		 (forward != NIL && (strcmp(wanted, "forward") == 0 || strcmp(wanted, "full") == 0))))
		ereport(
			ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("the new schema of stream \"%s\" is not %s compatible", stream->target,
					strcmp(wanted, "full") == 0 ? "fully" : wanted),
			 errdetail("%s", list_texts(
								 strcmp(wanted, "forward") == 0	 ? forward :
								 strcmp(wanted, "backward") == 0 ? backward :
																   list_concat(backward, forward))),
			 errhint(
				 "Change the schema so that both go together, or the contract's compatibility.")));
	etl_schema_change_store(stream->target, 0,
							psprintf("contract_%s", etl_json_schema_verdict(backward == NIL, forward == NIL)),
							NULL, old_version, version);
}

/* ---- records ---- */

/*
 * parse_record reads the bytes of a record; NULL when jsonb cannot hold them.
 * jsonb_in is pure, so that no subtransaction is needed.
 */
static Jsonb *
parse_record(const EtlRecord *record)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *text = pnstrdup(record->raw, record->raw_length);
	Jsonb *volatile document = NULL;

	PG_TRY();
	{
		text = pg_any_to_server(text, record->raw_length, PG_UTF8);
		document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
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
	return document;
}

/* A decoder whose records keep a promise. */
typedef struct Promise
{
	const Jsonb *schema;
	MemoryContext record;
	int			nfields;
} Promise;

/*
 * keep_promise is the EtlReshape of this file: fields as they are, records
 * that break the schema refused.
 */
static EtlRecordState
keep_promise(void *arg, EtlDecoder *outer, EtlRecord *record, EtlRecordState state)
{
	Promise    *promise = arg;
	Jsonb	   *document;
	List	   *faults;
	int			n;
	const char **names = etl_decoder_fields(etl_decoder_inner(outer), &n);
	StringInfoData message;
	ListCell   *cell;

	if (state == ETL_RECORD_BAD)
		return state;
	for (int i = promise->nfields; i < record->nvalues; i++)
		(void) etl_decoder_field(outer, names[i]);
	promise->nfields = Max(promise->nfields, record->nvalues);
	for (int i = 0; i < record->nvalues; i++)
		*etl_decoder_value(outer, i) = record->values[i];

	MemoryContextReset(promise->record);
	MemoryContextSwitchTo(promise->record);
	document = parse_record(record);
	if (document == NULL)
		return etl_decoder_refuse(outer, record, "contract", NULL,
								  "record is no JSON that PostgreSQL can hold");
	faults = etl_json_schema_validate(promise->schema, document, MAX_FAULTS);
	if (faults == NIL)
		return ETL_RECORD_OK;
	initStringInfo(&message);
	foreach(cell, faults)
	{
		EtlSchemaFault *fault = lfirst(cell);

		appendStringInfo(&message, "%s%s %s", message.len ? "; " : "", fault->path, fault->message);
	}
	return etl_decoder_refuse(outer, record, "contract", NULL, message.data);
}

EtlDecoder *
etl_decoder_promise(EtlDecoder *inner, const Jsonb *schema)
{
	Promise    *promise = palloc0(sizeof(Promise));

	promise->schema = schema;
	promise->record =
		AllocSetContextCreate(CurrentMemoryContext, "etl promised record", ALLOCSET_DEFAULT_SIZES);
	return etl_decoder_reshape(inner, keep_promise, promise);
}

/* ---- SQL ---- */

/*
 * etl_sql_json_schema makes the JSON Schema of a node: the contract's, or
 * that of its relation, or of its declared columns.
 */
Datum
etl_sql_json_schema(PG_FUNCTION_ARGS)
{
	char	   *target = etl_name_canonical(etl_arg_required(fcinfo, 0, "target"));
	EtlStream  *stream = etl_stream_find(target);
	Oid			relid = etl_name_relation(target);
	Columns		columns = {0};
	Relation	rel;

	if (stream != NULL && etl_json_get(stream->contract, "json_schema") != NULL)
		PG_RETURN_JSONB_P(etl_json_get(stream->contract, "json_schema"));
	if (!OidIsValid(relid))
	{
		Jsonb	   *schema = stream ? declared_schema(stream) : NULL;

		if (schema != NULL)
			PG_RETURN_JSONB_P(schema);
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("relation \"%s\" does not exist", target),
				 errhint("Run its node first, or declare the columns of the stream.")));
	}
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, target);
	rel = table_open(relid, AccessShareLock);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		char	   *original;

		if (att->attisdropped || strcmp(NameStr(att->attname), ETL_LOAD_ID_COLUMN) == 0 ||
			strcmp(NameStr(att->attname), ETL_ROW_COLUMN) == 0 ||
			strcmp(NameStr(att->attname), ETL_LOADED_AT_COLUMN) == 0)
			continue;
		/* what lands in a stream is called as its producer calls it */
		original = stream ? GetComment(relid, RelationRelationId, att->attnum) : NULL;
		add_column(&columns, original ? original : NameStr(att->attname), att->atttypid, att->atttypmod,
				   att->attnotnull);
	}
	table_close(rel, AccessShareLock);
	PG_RETURN_JSONB_P(end_columns(&columns, target));
}
