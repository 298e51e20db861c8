/*-------------------------------------------------------------------------
 *
 * lost_settle.c
 *    What becomes of rows that unique checks put aside, and of their rejects.
 *
 * JSON does not give back all values as they were.  Of rows that have such
 * values, those that come in are fetched from the query: they are the ones that
 * look as in their rejects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "catalog/consumption.h"
#include "model/lost.h"

/* rejects that are closed at once */
#define BATCH 1000

/* of a difference: a row that was read back */
#define IS_LOST "d.etl_op OPERATOR(pg_catalog.=) 'I' AND d.etl_ctid IS NOT NULL"

/* ---- as the query has them ---- */

/*
 * bounds renders that row c lies between the first and the last of etl_lost, for
 * a query that is cut by its time.
 */
static char *
bounds(const EtlDue *due, QueryEnvironment *environment)
{
	const char *column;
	char	   *type;
	char	   *limit[2];

	if (due->slice == NULL)
		return "true";
	column = quote_identifier(due->slicing->column);
	type = format_type_be_qualified(due->slicing->type);
	for (int i = 0; i < 2; i++)
		limit[i] = etl_first_text(
			psprintf("SELECT pg_catalog.%s(r.%s)::pg_catalog.text FROM etl_lost l,"
					 " LATERAL pg_catalog.jsonb_to_record(l.lost::pg_catalog.jsonb) AS r(%s %s)",
					 i ? "max" : "min", column, column, type),
			environment);
	return psprintf("c.%s OPERATOR(pg_catalog.>=) %s::%s AND c.%s OPERATOR(pg_catalog.<=) %s::%s", column,
					quote_literal_cstr(limit[0]), type, column, quote_literal_cstr(limit[1]), type);
}

/*
 * find_again runs the query for the rows of etl_lost, which are those that look
 * so: (n, columns).
 */
static Tuplestorestate *
find_again(const EtlModel *model, const EtlDue *due, const EtlDiff *diff, QueryEnvironment *environment)
{
	Tuplestorestate *found = tuplestore_begin_heap(true, false, work_mem);
	Tuplestorestate *paired;
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	char	   *columns = etl_diff_column_list(diff->columns, "c.");
	char	   *text = psprintf("(SELECT pg_catalog.to_jsonb(x.*)::pg_catalog.text FROM (SELECT %s) x)", columns);
	char	   *looks = psprintf("EXISTS (SELECT FROM etl_lost l WHERE l.lost OPERATOR(pg_catalog.=) %s)", text);

	SetTuplestoreDestReceiverParams(receiver, found, CurrentMemoryContext, false, NULL, NULL);
	etl_execute_query(etl_query_around(copyObject(due->query), "*",
									   psprintf("%s AND %s", bounds(due, environment), looks), environment),
					  model->query, environment, receiver);
	etl_environment_add(environment, "etl_found", etl_query_desc(due->query), found,
						tuplestore_tuple_count(found));
	/* of rows that look alike so many as were put aside */
	paired = etl_execute_keep(
		psprintf("SELECT l.n, %s FROM (SELECT c.*, %s AS etl_text, pg_catalog.row_number() OVER "
				 "(PARTITION BY %s)"
				 " AS etl_n FROM etl_found c) c JOIN (SELECT l.*, pg_catalog.row_number() OVER"
				 " (PARTITION BY l.lost ORDER BY l.n) AS etl_n FROM etl_lost l) l"
				 " ON l.lost OPERATOR(pg_catalog.=) c.etl_text AND l.etl_n OPERATOR(pg_catalog.=) "
				 "c.etl_n", columns, text, text),
		environment);
	tuplestore_end(found);
	return paired;
}

/*
 * paired_desc describes what find_again returns.
 */
static TupleDesc
paired_desc(const EtlDiff *diff)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1 + list_length(diff->columns));

	TupleDescInitEntry(desc, 1, "etl_lost_n", INT8OID, -1, 0);
	for (int i = 1; i <= list_length(diff->columns); i++)
	{
		Form_pg_attribute column = TupleDescAttr(diff->desc, i + 2);

		TupleDescInitEntry(desc, i + 1, NameStr(column->attname), column->atttypid, column->atttypmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, column->attcollation);
	}
	return desc;
}

/*
 * make_exact puts the rows that the query yields in the place of those that
 * were read back.  One that it does not yield stays aside.
 */
static EtlDiff *
make_exact(const EtlModel *model, const EtlDue *due, const EtlLost *lost, EtlDiff *diff)
{
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *back;
	Tuplestorestate *paired;
	EtlDiff    *made;
	char	   *columns = etl_diff_column_list(diff->columns, "d.");

	etl_lost_to_environment(environment, lost->rows);
	etl_diff_to_environment(environment, diff);
	back = etl_execute_keep("SELECT l.* FROM etl_lost l JOIN etl_diff d ON " IS_LOST
							" AND d.etl_ctid OPERATOR(pg_catalog.=) " LOST_PLACE,
							environment);
	if (tuplestore_tuple_count(back) == 0)
	{
		tuplestore_end(back);
		return diff;
	}
	environment = create_queryEnv();
	etl_lost_to_environment(environment, back);
	paired = find_again(model, due, diff, environment);
	environment = create_queryEnv();
	etl_diff_to_environment(environment, diff);
	etl_environment_add(environment, "etl_paired", paired_desc(diff), paired, tuplestore_tuple_count(paired));
	made = etl_diff_make(
		diff->relid, diff->columns, diff->desc,
		psprintf("SELECT d.etl_op, d.etl_table, d.etl_ctid, %s FROM etl_diff d WHERE NOT (" IS_LOST
				 ") UNION ALL SELECT 'I', NULL, " PAIRED_PLACE ", %s FROM etl_paired d",
				 columns, columns),
		environment);
	made->key = diff->key;
	tuplestore_end(back);
	tuplestore_end(paired);
	tuplestore_end(diff->rows);
	return made;
}

/* ---- what becomes of the rejects ---- */

/*
 * close_rejects closes the rejects that a query names.
 */
static void
close_rejects(const char *sql, QueryEnvironment *environment)
{
	Tuplestorestate *rows = etl_execute_keep(sql, environment);
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	TupleTableSlot *slot;
	int64		ids[BATCH];
	int			n = 0;
	bool		isnull;

	TupleDescInitEntry(desc, 1, "reject_id", INT8OID, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		ids[n++] = DatumGetInt64(slot_getattr(slot, 1, &isnull));
		if (n < BATCH)
			continue;
		etl_rejects_supersede_some(ids, n);
		n = 0;
	}
	if (n > 0)
		etl_rejects_supersede_some(ids, n);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
}

EtlDiff *
etl_lost_settle(const EtlModel *model, const EtlDue *due, EtlLost *lost, EtlDiff *diff, TupleDesc aside_desc,
				Tuplestorestate **aside)
{
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *fresh;

	if (!lost->exact)
		diff = make_exact(model, due, lost, diff);
	etl_lost_to_environment(environment, lost->rows);
	etl_diff_to_environment(environment, diff);
	tuplestore_rescan(*aside);
	etl_environment_add(environment, "etl_aside", aside_desc, *aside, tuplestore_tuple_count(*aside));
	/* which came in, or lost to another check this time; the others are aside as they were */
	close_rejects("SELECT l.reject_id FROM etl_lost l JOIN etl_diff d ON " IS_LOST
				  " AND d.etl_ctid OPERATOR(pg_catalog.=) " LOST_PLACE
				  " UNION ALL SELECT l.reject_id FROM etl_lost l JOIN etl_aside a ON a.lost_n "
				  "OPERATOR(pg_catalog.=) l.n"
				  " AND a.check_name OPERATOR(pg_catalog.<>) l.check_name", environment);
	fresh = etl_execute_keep(
		"SELECT a.check_name, a.lost_n, COALESCE(l.lost, a.raw), a.value FROM etl_aside a"
		" LEFT JOIN etl_lost l ON a.lost_n OPERATOR(pg_catalog.=) l.n"
		" WHERE l.n IS NULL OR a.check_name OPERATOR(pg_catalog.<>) l.check_name", environment);
	tuplestore_end(*aside);
	tuplestore_end(lost->rows);
	*aside = fresh;
	return diff;
}

/* ---- keys that move ---- */

/*
 * key_of renders the key of a row as JSON.
 */
static char *
key_of(const EtlModel *model, const char *format)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, model->key)
		appendStringInfo(&sql, "%s%s, ", cell == list_head(model->key) ? "pg_catalog.jsonb_build_array(" : "",
						 psprintf(format, strcmp(format, "x.%s") == 0 ? quote_identifier(lfirst(cell)) :
																		quote_literal_cstr(lfirst(cell))));
	sql.len -= 2;
	sql.data[sql.len] = '\0';
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

void
etl_lost_forget_moved(const EtlModel *model, EtlCheckSet *checks, Oid relid, TupleDesc desc,
					  Tuplestorestate *staged, int64 n)
{
	List	   *moving = checks ? etl_lost_checks(checks, relid) : NIL;
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *lost;

	if (moving == NIL || n == 0 || !etl_rejects_any_open(model->target) ||
		(lost = etl_lost_read(model, moving)) == NULL)
		return;
	etl_lost_to_environment(environment, lost);
	tuplestore_rescan(staged);
	etl_environment_add(environment, "etl_staged", desc, staged, n);
	close_rejects(
		psprintf("SELECT l.reject_id FROM (SELECT l.reject_id, l.lost::pg_catalog.jsonb AS lost "
				 "FROM etl_lost l)"
				 " l WHERE EXISTS (SELECT FROM etl_staged x WHERE %s OPERATOR(pg_catalog.=) %s)",
				 key_of(model, "l.lost OPERATOR(pg_catalog.->) %s::pg_catalog.text"),
				 key_of(model, "x.%s")),
		environment);
	tuplestore_rescan(staged);
	tuplestore_end(lost);
}
