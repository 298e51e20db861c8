/*-------------------------------------------------------------------------
 *
 * sql.c
 *    Running SQL on etl's own tables.
 *
 * The tables belong to the extension's owner and nobody else has grants on
 * them: whoever calls, the switch of user lives only in here, around
 * statements that etl itself wrote.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "catalog/extension.h"
#include "catalog/sql.h"
#include "common/errors.h"

/* statements whose plans a process keeps; etl has fewer */
#define MAX_PLANS 512

/*
 * param adds one value.
 */
static void
param(EtlParams *params, Oid type, Datum value, bool isnull)
{
	Assert(params->n < ETL_MAX_PARAMS);
	params->types[params->n] = type;
	params->values[params->n] = value;
	params->nulls[params->n] = isnull ? 'n' : ' ';
	params->n++;
}

void
etl_param_text(EtlParams *params, const char *value)
{
	param(params, TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

void
etl_param_int8(EtlParams *params, int64 value)
{
	param(params, INT8OID, Int64GetDatum(value), false);
}

void
etl_param_int4(EtlParams *params, int32 value)
{
	param(params, INT4OID, Int32GetDatum(value), false);
}

void
etl_param_bool(EtlParams *params, bool value)
{
	param(params, BOOLOID, BoolGetDatum(value), false);
}

void
etl_param_float8(EtlParams *params, double value)
{
	param(params, FLOAT8OID, Float8GetDatum(value), false);
}

void
etl_param_jsonb(EtlParams *params, const Jsonb *value)
{
	param(params, JSONBOID, PointerGetDatum(value), value == NULL);
}

void
etl_param_bytea(EtlParams *params, const char *bytes, int length)
{
	bytea	   *value = NULL;

	if (bytes != NULL)
	{
		value = palloc(VARHDRSZ + length);
		SET_VARSIZE(value, VARHDRSZ + length);
		memcpy(VARDATA(value), bytes, length);
	}
	param(params, BYTEAOID, PointerGetDatum(value), value == NULL);
}

void
etl_param_texts(EtlParams *params, List *values)
{
	Datum	   *items = palloc(sizeof(Datum) * Max(list_length(values), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, values)
		items[n++] = CStringGetTextDatum((char *) lfirst(cell));
	param(params, TEXTARRAYOID,
		  PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT)), false);
}

void
etl_param_timestamp(EtlParams *params, TimestampTz value)
{
	param(params, TIMESTAMPTZOID, TimestampTzGetDatum(value), value == DT_NOBEGIN);
}

/*
 * param_array adds an array of values of eight bytes.
 */
static void
param_array(EtlParams *params, Oid type, Oid element, const int64 *values, int n)
{
	Datum	   *items = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		items[i] = Int64GetDatum(values[i]);
	param(params, type,
		  PointerGetDatum(
			  construct_array(items, n, element, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
		  false);
}

void
etl_param_int8s(EtlParams *params, const int64 *values, int n)
{
	param_array(params, INT8ARRAYOID, INT8OID, values, n);
}

void
etl_param_timestamps(EtlParams *params, const TimestampTz *values, int n)
{
	param_array(params, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, values, n);
}

void
etl_param_interval(EtlParams *params, const Interval *value)
{
	param(params, INTERVALOID, PointerGetDatum(value), value == NULL);
}

void
etl_param_datum(EtlParams *params, Oid type, Datum value, bool isnull)
{
	param(params, type, value, isnull);
}

/*
 * copy_rows copies SPI's result into 'context'.
 */
static EtlRows *
copy_rows(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlRows    *rows = palloc0(sizeof(EtlRows));

	rows->n = (int) SPI_processed;
	rows->row = -1;
	if (SPI_tuptable != NULL)
	{
		rows->desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
		rows->values = palloc(sizeof(Datum) * Max(rows->desc->natts, 1));
		rows->nulls = palloc(sizeof(bool) * Max(rows->desc->natts, 1));
		rows->rows = palloc(sizeof(HeapTuple) * Max(rows->n, 1));
		for (int i = 0; i < rows->n; i++)
			rows->rows[i] = heap_copytuple(SPI_tuptable->vals[i]);
	}
	MemoryContextSwitchTo(old);
	return rows;
}

/* A statement whose plan is kept, by the hash of its text. */
typedef struct KeptPlan
{
	uint64		hash;			/* key */
	char	   *sql;
	int			nargs;
	Oid			types[ETL_MAX_PARAMS];
	SPIPlanPtr	plan;
} KeptPlan;

/*
 * same_statement tells whether a kept plan is that of a statement.
 */
static bool
same_statement(const KeptPlan *kept, const char *sql, const EtlParams *params)
{
	int			nargs = params ? params->n : 0;

	return kept->nargs == nargs && strcmp(kept->sql, sql) == 0 &&
		   (nargs == 0 || memcmp(kept->types, params->types, sizeof(Oid) * nargs) == 0);
}

/*
 * find_plan returns the plan of a statement, which is made at its first
 * execution in a process and kept; NULL when there is no place for it.  Most
 * statements are so short that planning costs more than running them: of a
 * run of 1,000 views it took half of the time.
 */
static SPIPlanPtr
find_plan(const char *sql, EtlParams *params)
{
	static HTAB *plans = NULL;
	uint64		hash = hash_bytes_extended((const unsigned char *) sql, strlen(sql), 0);
	int			nargs = params ? params->n : 0;
	KeptPlan   *kept;
	SPIPlanPtr	plan;

	if (plans == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(KeptPlan)};

		plans = hash_create("etl plans", MAX_PLANS, &control, HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(plans, &hash, HASH_FIND, NULL);
	if (kept != NULL)
		return same_statement(kept, sql, params) ? kept->plan : NULL;
	if (hash_get_num_entries(plans) >= MAX_PLANS)
		return NULL;

	plan = SPI_prepare_cursor(sql, nargs, params ? params->types : NULL, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "%s while preparing: %s", SPI_result_code_string(SPI_result), sql);
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	kept = hash_search(plans, &hash, HASH_ENTER, NULL);
	kept->sql = MemoryContextStrdup(TopMemoryContext, sql);
	kept->nargs = nargs;
	if (nargs > 0)
		memcpy(kept->types, params->types, sizeof(Oid) * nargs);
	kept->plan = plan;
	return plan;
}

/*
 * set_local sets a setting until the end of the current level.
 */
static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * run_statement runs one statement as the extension's owner; 'read_only'
 * keeps to the active snapshot.
 */
static EtlRows *
run_statement(const char *sql, EtlParams *params, bool read_only)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			owner = etl_extension_owner();
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
	int			code;
	SPIPlanPtr	plan;
	EtlRows    *rows;

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	guc_level = NewGUCNestLevel();
	set_local("search_path", "pg_catalog, pg_temp");
	/* a plan that is kept must not read a table from end to end because it is small today */
	set_local("enable_seqscan", "off");
	set_local("jit", "off");

	SPI_connect();
	plan = find_plan(sql, params);
	if (plan != NULL)
		code = SPI_execute_plan(plan, params ? params->values : NULL, params ? params->nulls : NULL,
								read_only, 0);
	else
		code = SPI_execute_with_args(sql, params ? params->n : 0, params ? params->types : NULL,
									 params ? params->values : NULL, params ? params->nulls : NULL,
									 read_only, 0);
	if (code < 0)
		elog(ERROR, "%s while running: %s", SPI_result_code_string(code), sql);
	rows = copy_rows(context);
	SPI_finish();

	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(saved_user, saved_context);
	return rows;
}

EtlRows *
etl_sql_query(const char *sql, EtlParams *params)
{
	return run_statement(sql, params, false);
}

EtlRows *
etl_sql_query_seen(const char *sql, EtlParams *params)
{
	return run_statement(sql, params, true);
}

uint64
etl_sql_exec(const char *sql, EtlParams *params)
{
	return (uint64) etl_sql_query(sql, params)->n;
}

int64
etl_sql_int8(const char *sql, EtlParams *params)
{
	EtlRows    *rows = etl_sql_query(sql, params);
	bool		isnull;
	Datum		value;

	if (rows->n == 0)
		return 0;
	value = heap_getattr(rows->rows[0], 1, rows->desc, &isnull);
	return isnull ? 0 : DatumGetInt64(value);
}

/*
 * find_column returns the index of a column.  Columns are mostly read in
 * their order: the search goes on where the last one ended.
 */
static int
find_column(EtlRows *rows, const char *column)
{
	int			natts = rows->desc ? rows->desc->natts : 0;

	for (int k = 1; k <= natts; k++)
	{
		int			candidate = (rows->column + k) % natts;

		if (strcmp(NameStr(TupleDescAttr(rows->desc, candidate)->attname), column) == 0)
			return candidate;
	}
	elog(ERROR, "no column \"%s\" in a catalogue query", column);
}

Datum
etl_row_datum(EtlRows *rows, int i, const char *column, bool *isnull)
{
	rows->column = find_column(rows, column);
	if (i != rows->row)
	{
		heap_deform_tuple(rows->rows[i], rows->desc, rows->values, rows->nulls);
		rows->row = i;
	}
	*isnull = rows->nulls[rows->column];
	return rows->values[rows->column];
}

char *
etl_row_text(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

int64
etl_row_int8(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

int32
etl_row_int4(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
etl_row_bool(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? false : DatumGetBool(value);
}

TimestampTz
etl_row_timestamp(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

TimestampTz
etl_row_due(EtlRows *rows, int i, const char *column)
{
	TimestampTz at = etl_row_timestamp(rows, i, column);

	return at == DT_NOBEGIN ? DT_NOEND : at;
}

Interval *
etl_row_interval(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? NULL : DatumGetIntervalP(value);
}

Jsonb *
etl_row_jsonb(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

List *
etl_row_texts(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);
	Datum	   *items;
	bool	   *nulls;
	int			n;
	List	   *result = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls, &n);
	for (int k = 0; k < n; k++)
		if (!nulls[k])
			result = lappend(result, TextDatumGetCString(items[k]));
	return result;
}

List *
etl_column_texts(EtlRows *rows, const char *column)
{
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
		result = lappend(result, etl_row_text(rows, i, column));
	return result;
}
