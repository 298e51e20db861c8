/*-------------------------------------------------------------------------
 *
 * setcheck.c
 *    Checks that look at the whole relation: unique, row_count, freshness,
 *    and a relationship of a relation with itself.
 *
 * Each is one aggregate query, run as the owner with the settings of the
 * check, in a subtransaction of its own: one that cannot be evaluated has
 * status error and the others go on.  unique is one GROUP BY, of which the
 * outer query needs only sizes of groups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/run_as.h"
#include "quality/check.h"

/* why a unique check puts a row aside */
#define TWICE "is there more than once"

typedef struct SetWork
{
	EtlCheckState *state;
	Oid			relid;
	char	   *relation;		/* qualified and quoted */
	char	   *alias;			/* as which expressions may name it */
	List	  **rejects;
} SetWork;

/*
 * etl_check_alias is the name under which expressions of a check may refer
 * to the relation, whichever relation stands in for it.
 */
char *
etl_check_alias(const char *target)
{
	return pstrdup(quote_identifier(etl_name_parse(target)->relation));
}

/*
 * columns_sql lists the check's columns, each as alias.column.
 */
static char *
columns_sql(List *columns, const char *alias)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, columns)
		appendStringInfo(&sql, "%s%s.%s", sql.len > 0 ? ", " : "", alias,
						 quote_identifier(lfirst(cell)));
	return sql.data;
}

/*
 * condition_sql is the check's where as SQL; "true" without one.  The text
 * was parsed as one expression; the line break ends a comment in it.
 */
static char *
condition_sql(EtlCheckState *state)
{
	const char *where = etl_json_get_text(state->def->options, "where");

	if (where == NULL)
		return "true";
	(void) etl_rowexpr_parse("where", where);
	return psprintf("(%s\n)", where);
}

/*
 * run_row runs a query of one row and returns it.
 */
static HeapTuple
run_row(const char *sql, TupleDesc *desc)
{
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "unexpected result of: %s", sql);
	*desc = SPI_tuptable->tupdesc;
	return SPI_tuptable->vals[0];
}

/*
 * run_counts runs a query whose two columns are evaluated and failed.
 */
static void
run_counts(EtlCheckState *state, const char *sql)
{
	TupleDesc	desc;
	HeapTuple	row = run_row(sql, &desc);
	bool		isnull;

	state->evaluated = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	state->failed = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
}

/* ---- unique ---- */

/*
 * count_unique counts the rows and, of each key, all but one.  A key with a
 * null is no key.
 */
static void
count_unique(SetWork *work)
{
	EtlCheckState *state = work->state;
	char	   *columns = columns_sql(state->def->columns, work->alias);

	run_counts(state, psprintf(
						  "SELECT COALESCE(pg_catalog.sum(g.n), 0)::pg_catalog.int8,"
						  " COALESCE(pg_catalog.sum(g.n - 1) FILTER (WHERE g.is_key), 0)::pg_catalog.int8"
						  " FROM (SELECT pg_catalog.count(*) AS n,"
						  " pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0 AS is_key"
						  " FROM %s AS %s WHERE %s GROUP BY %s) AS g",
						  columns, work->relation, work->alias, condition_sql(state), columns));
}

/*
 * add_reject appends the reject of one moved row.
 */
static void
add_reject(SetWork *work, HeapTuple row, TupleDesc desc)
{
	EtlCheckState *state = work->state;
	EtlReject  *reject;
	bool		isnull;
	Datum		value;
	MemoryContext old = MemoryContextSwitchTo(state->set->context);

	reject = palloc0(sizeof(EtlReject));
	reject->target = state->set->target;
	reject->raw = TextDatumGetCString(SPI_getbinval(row, desc, 1, &isnull));
	reject->raw_length = strlen(reject->raw);
	reject->record_size = reject->raw_length;
	reject->of_row = true;
	value = SPI_getbinval(row, desc, 3, &isnull);
	reject->load_id = isnull ? 0 : DatumGetInt64(value);
	value = SPI_getbinval(row, desc, 4, &isnull);
	reject->position = isnull ? 0 : DatumGetInt64(value);
	reject->reasons = etl_checks_reason(state, etl_columns_text(state->def->columns),
										SPI_getvalue(row, desc, 2), TWICE);
	*work->rejects = lappend(*work->rejects, reject);
	MemoryContextSwitchTo(old);
}

/*
 * move_duplicates deletes all but the first row of each key and makes
 * rejects of them.  Rows that were there before a load stay, and come first.
 */
static void
move_duplicates(SetWork *work)
{
	EtlCheckState *state = work->state;
	Oid			types[2] = {INT8ARRAYOID, INT8ARRAYOID};
	char	   *new_rows = etl_check_new_rows(state->set, work->relid, work->alias);
	bool		landed = get_attnum(work->relid, "_etl_load_id") > 0 &&
				  get_attnum(work->relid, "_etl_row") > 0;
	char	   *columns = columns_sql(state->def->columns, work->alias);
	const char *alias = work->alias;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		"WITH \"etl ranked\" AS (SELECT %s.ctid AS row_ctid, %s.tableoid AS row_table,"
		" pg_catalog.row_number() OVER (PARTITION BY %s ORDER BY %s) AS n"
		" FROM %s AS %s WHERE pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0 AND %s)",
		alias, alias, columns,
		etl_check_survivor_order(state, work->relid, alias, psprintf("%s.ctid", alias)), work->relation,
		alias, columns, condition_sql(state));
	appendStringInfo(&sql,
					 " DELETE FROM %s AS %s USING \"etl ranked\""
					 " WHERE %s.ctid OPERATOR(pg_catalog.=) \"etl ranked\".row_ctid"
					 " AND %s.tableoid OPERATOR(pg_catalog.=) \"etl ranked\".row_table"
					 " AND \"etl ranked\".n OPERATOR(pg_catalog.>) 1",
					 work->relation, alias, alias, alias);
	if (new_rows != NULL)
		appendStringInfo(&sql, " AND %s", new_rows);
	appendStringInfo(&sql, " RETURNING (pg_catalog.to_jsonb(%s.*) OPERATOR(pg_catalog.-)"
						   " '{_etl_load_id,_etl_row}'::pg_catalog.text[])::pg_catalog.text,"
						   " pg_catalog.concat_ws(', ', %s)", alias, columns);
	if (landed)
		appendStringInfo(&sql, ", %s._etl_load_id, %s._etl_row", alias, alias);
	else
		appendStringInfoString(&sql, ", NULL::pg_catalog.int8, NULL::pg_catalog.int8");

	if (SPI_execute_with_args(sql.data, state->set->only_rows ? 2 : 0, types, state->set->rows, NULL,
							  false, 0) != SPI_OK_DELETE_RETURNING)
		elog(ERROR, "unexpected result of: %s", sql.data);
	for (uint64 i = 0; i < SPI_processed; i++)
		add_reject(work, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
}

/*
 * state_of returns the state of a check of the set.
 */
static EtlCheckState *
state_of(EtlCheckSet *set, const EtlCheck *check)
{
	for (int i = 0; i < set->nstates; i++)
		if (set->states[i].def == check)
			return &set->states[i];
	elog(ERROR, "check %s is not one of %s", check->name, set->target);
	return NULL;
}

char *
etl_checks_losers_sql(EtlCheckSet *set, const EtlCheck *check, Oid relid, const char *rows)
{
	EtlCheckState *state = state_of(set, check);
	char	   *alias = etl_check_alias(set->target);
	char	   *columns = columns_sql(check->columns, alias);
	char	   *place = psprintf("%s.etl_n NULLS FIRST, %s.etl_ctid", alias, alias);

	return psprintf(
		"SELECT l.etl_n, l.etl_table, l.etl_ctid, l.etl_raw, l.etl_value FROM (SELECT %s.etl_n,"
		" %s.etl_table, %s.etl_ctid, (pg_catalog.to_jsonb(%s.*) OPERATOR(pg_catalog.-)"
		" '{etl_n,etl_table,etl_ctid}'::pg_catalog.text[])::pg_catalog.text AS etl_raw,"
		" pg_catalog.concat_ws(', ', %s) AS etl_value,"
		" pg_catalog.row_number() OVER (PARTITION BY %s ORDER BY %s) AS etl_rank"
		" FROM (%s) AS %s WHERE pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0 AND %s) l"
		" WHERE l.etl_rank OPERATOR(pg_catalog.>) 1", alias, alias, alias, alias, columns, columns,
		etl_check_survivor_order(state, relid, alias, place), rows, alias, columns,
		condition_sql(state));
}

EtlReject *
etl_checks_put_aside(EtlCheckSet *set, const EtlCheck *check, char *raw, const char *value)
{
	EtlCheckState *state = state_of(set, check);
	EtlReject  *reject = palloc0(sizeof(EtlReject));

	reject->target = set->target;
	reject->raw = raw;
	reject->record_size = reject->raw_length = strlen(raw);
	reject->of_row = true;
	reject->reasons = etl_checks_reason(state, etl_columns_text(check->columns), value, TWICE);
	state->put_aside++;
	return reject;
}

/* ---- a relationship with itself ---- */

/*
 * orphan_sql is the condition that a row's columns are not null and not found.
 */
static char *
orphan_sql(SetWork *work)
{
	EtlCheckState *state = work->state;
	TupleDesc	desc = state->set->desc;
	List	   *to = etl_json_get_list(state->def->options, "columns");
	ListCell   *cell;
	ListCell   *parent_cell;
	StringInfoData sql;

	if (to == NIL)
		to = state->def->columns;
	initStringInfo(&sql);
	appendStringInfo(&sql, "pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0"
						   " AND NOT EXISTS (SELECT 1 FROM %s AS \"etl parent\" WHERE true",
					 columns_sql(state->def->columns, work->alias), work->relation);
	forboth(cell, state->def->columns, parent_cell, to)
	{
		Oid			child = SPI_gettypeid(desc, SPI_fnumber(desc, lfirst(cell)));
		Oid			parent = SPI_gettypeid(desc, SPI_fnumber(desc, lfirst(parent_cell)));

		appendStringInfo(&sql, " AND \"etl parent\".%s %s %s.%s",
						 quote_identifier(pstrdup(lfirst(parent_cell))), etl_rowexpr_equality(parent, child),
						 work->alias, quote_identifier(lfirst(cell)));
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static void
count_orphans(SetWork *work)
{
	run_counts(work->state, psprintf("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE %s)"
									 " FROM %s AS %s WHERE %s", orphan_sql(work), work->relation,
									 work->alias, condition_sql(work->state)));
}

/* ---- row_count, freshness ---- */

static void
count_rows(SetWork *work)
{
	EtlCheckState *state = work->state;
	const Jsonb *options = state->def->options;
	TupleDesc	desc;
	HeapTuple	row;
	bool		isnull;
	int64		count;
	bool		few;
	bool		many;

	row = run_row(psprintf("SELECT pg_catalog.count(*) FROM %s AS %s WHERE %s",
						   work->relation, work->alias, condition_sql(state)),
				  &desc);
	count = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	few = etl_json_has(options, "min") && count < etl_json_get_int64(options, "min", 0);
	many = etl_json_has(options, "max") && count > etl_json_get_int64(options, "max", 0);
	state->evaluated = 1;
	state->failed = few || many ? 1 : 0;
	state->value = MemoryContextStrdup(state->set->context, psprintf(INT64_FORMAT, count));
	if (few || many)
		state->note = MemoryContextStrdup(state->set->context,
										  psprintf(INT64_FORMAT " rows are too %s", count,
												   few ? "few" : "many"));
}

/*
 * current_time_for_checks is the clock that tests can set.
 */
static TimestampTz
current_time_for_checks(void)
{
	if (etl_test_now != NULL && *etl_test_now != '\0')
		return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(etl_test_now),
													   ObjectIdGetDatum(InvalidOid),
													   Int32GetDatum(-1)));
	return GetCurrentTimestamp();
}

/*
 * event_time_of returns the event time column of a node, NULL when it has none.
 */
static char *
event_time_of(const char *target)
{
	EtlStream  *stream = etl_stream_find(target);
	EtlModel   *model = stream ? NULL : etl_model_find(target);

	return stream ? stream->event_time : model ? model->event_time :
												 NULL;
}

static void
measure_freshness(SetWork *work)
{
	EtlCheckState *state = work->state;
	char	   *max_age = etl_json_get_text(state->def->options, "max_age");
	char	   *column = state->def->columns != NIL ? linitial(state->def->columns) :
												event_time_of(state->set->target);
	MemoryContext context = state->set->context;
	TupleDesc	desc;
	HeapTuple	row;
	Datum		newest;
	bool		isnull;
	int64		age;			/* microseconds */

	if (column == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("it names no column and %s has no event_time", state->set->target)));
	row = run_row(psprintf("SELECT pg_catalog.max(%s.%s)::pg_catalog.timestamptz FROM %s AS %s WHERE %s",
						   work->alias, quote_identifier(column), work->relation, work->alias,
						   condition_sql(state)),
				  &desc);
	newest = SPI_getbinval(row, desc, 1, &isnull);
	state->evaluated = isnull ? 0 : 1;
	state->failed = 0;
	if (isnull)
	{
		state->note = MemoryContextStrdup(context, psprintf("no row has a value in %s", column));
		return;
	}
	age = TIMESTAMP_IS_NOEND(DatumGetTimestampTz(newest)) ?
			  PG_INT64_MIN / 2 :
		  TIMESTAMP_IS_NOBEGIN(DatumGetTimestampTz(newest)) ?
			  PG_INT64_MAX / 2 :
			  current_time_for_checks() - DatumGetTimestampTz(newest);
	state->failed = age > etl_option_duration_ms("max_age", max_age) * 1000 ? 1 : 0;
	state->value = MemoryContextStrdup(context, psprintf("%.3f", (double) age / USECS_PER_SEC));
	if (state->failed)
		state->note = MemoryContextStrdup(context, psprintf("the newest %s is %s, older than %s", column,
															timestamptz_to_str(DatumGetTimestampTz(newest)),
															max_age));
}

/* ---- all of them ---- */

/*
 * judge_set evaluates one check on the whole relation.
 */
static void
judge_set(void *arg)
{
	SetWork    *work = arg;
	EtlCheckState *state = work->state;
	EtlRunAs	as;

	etl_run_as_begin(&as, state->set->owner, state->def->settings);
	SPI_connect();
	switch (state->kind->id)
	{
		case ETL_KIND_UNIQUE:
			count_unique(work);
			if (work->rejects != NULL && state->failed > 0 &&
				strcmp(state->def->on_fail, "quarantine") == 0)
				move_duplicates(work);
			state->evaluated += state->put_aside;
			state->failed += state->put_aside;
			break;
		case ETL_KIND_RELATIONSHIP:
			count_orphans(work);
			break;
		case ETL_KIND_ROW_COUNT:
			count_rows(work);
			break;
		default:
			measure_freshness(work);
	}
	SPI_finish();
	etl_run_as_end(&as);
}

/*
 * judge_all judges the checks that move rows, or all the others.
 */
static void
judge_all(EtlCheckSet *set, SetWork *work, bool moving)
{
	for (int i = 0; i < set->nstates; i++)
	{
		EtlCheckState *state = &set->states[i];
		bool		moves = state->kind->id == ETL_KIND_UNIQUE &&
					 strcmp(state->def->on_fail, "quarantine") == 0;
		int			n_rejects = work->rejects ? list_length(*work->rejects) : 0;
		ErrorData  *error;

		if ((state->kind->of_rows && !state->by_sql) || state->error != NULL || moves != moving)
			continue;
		work->state = state;
		error = etl_subxact(judge_set, work);
		state->judged = true;
		if (error == NULL)
			continue;
		if (etl_check_must_obey(error->sqlerrcode))
			etl_rethrow(error);
		state->error = MemoryContextStrdup(set->context, error->message);
		if (work->rejects != NULL)
			*work->rejects = list_truncate(*work->rejects, n_rejects);
	}
}

void
etl_checks_set(EtlCheckSet *set, Oid relid, List **rejects)
{
	SetWork		work = {0};

	work.relid = relid;
	work.relation = etl_name_of_relation(relid);
	work.alias = etl_check_alias(set->target);
	work.rejects = rejects;

	/* what is counted last is what will be published */
	judge_all(set, &work, true);
	judge_all(set, &work, false);
}

/*
 * etl_set_failing_query is the query for the rows that fail a unique check
 * or a relationship with itself: their key (an SQL expression of the
 * caller), the value and the column.
 */
char *
etl_set_failing_query(EtlCheckState *state, Oid relid, const char *row_key)
{
	SetWork		work = {0};
	char	   *columns;

	work.state = state;
	work.relid = relid;
	work.relation = etl_name_of_relation(relid);
	work.alias = etl_check_alias(state->set->target);
	columns = columns_sql(state->def->columns, work.alias);

	if (state->kind->id == ETL_KIND_UNIQUE)
	{
		char	   *order = etl_check_survivor_order(state, relid, work.alias, psprintf("%s.ctid", work.alias));

		return psprintf("SELECT f.row_key, f.value FROM (SELECT %s AS row_key,"
						" pg_catalog.concat_ws(', ', %s) AS value,"
						" pg_catalog.row_number() OVER (PARTITION BY %s%s%s) AS n FROM %s AS %s"
						" WHERE pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0 AND %s) AS f"
						" WHERE f.n OPERATOR(pg_catalog.>) 1",
						row_key, columns, columns, *order ? " ORDER BY " : "", order,
						work.relation, work.alias, columns, condition_sql(state));
	}
	return psprintf("SELECT %s, pg_catalog.concat_ws(', ', %s) FROM %s AS %s WHERE %s AND %s",
					row_key, columns, work.relation, work.alias, orphan_sql(&work),
					condition_sql(state));
}
