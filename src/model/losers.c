/*-------------------------------------------------------------------------
 *
 * losers.c
 *    Taking out of a difference what unique checks put aside.
 *
 * That is done before the difference is applied: the table may have a unique
 * index, which would refuse these rows.  Rows that were put aside before and
 * may come in now (lost.c) are part of it.  The checks judge one after the
 * other, as they do over the whole table: what one puts aside is no rival for
 * the next.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/run_as.h"
#include "model/lost.h"

/*
 * losers_desc describes what etl_checks_losers_sql yields.
 */
static TupleDesc
losers_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(5);

	TupleDescInitEntry(desc, 1, "etl_n", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "etl_table", OIDOID, -1, 0);
	TupleDescInitEntry(desc, 3, "etl_ctid", TIDOID, -1, 0);
	TupleDescInitEntry(desc, 4, "etl_raw", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 5, "etl_value", TEXTOID, -1, 0);
	return desc;
}

/*
 * numbered_rows renders the rows of a difference, each with its number.
 */
static char *
numbered_rows(const EtlDiff *diff)
{
	return psprintf("(SELECT pg_catalog.row_number() OVER () AS etl_n, %sd.* FROM etl_diff d)",
					diff->only_inserts ? "'I'::\"char\" AS etl_op, NULL::pg_catalog.oid AS etl_table,"
										 " NULL::pg_catalog.tid AS etl_ctid, " :
										 "");
}

/*
 * rivals_sql renders the rows that will be in the table and have a value of
 * the check that comes: others are as unique as they were.
 */
static char *
rivals_sql(const EtlDiff *diff, const EtlCheck *check)
{
	char	   *rows = numbered_rows(diff);
	StringInfoData equal;
	ListCell   *cell;

	initStringInfo(&equal);
	foreach(cell, check->columns)
		appendStringInfo(&equal, "%s%s", equal.len ? " AND " : "",
						 etl_sql_equals(get_atttype(diff->relid, get_attnum(diff->relid, lfirst(cell))),
										psprintf("c.%s", quote_identifier(lfirst(cell))),
										psprintf("d.%s", quote_identifier(lfirst(cell)))));
	return psprintf(
		"SELECT d.etl_n, d.etl_table, d.etl_ctid, %s FROM %s d WHERE d.etl_op OPERATOR(pg_catalog.<>) 'D'"
		" UNION ALL SELECT NULL, c.tableoid, c.ctid, %s FROM %s c WHERE EXISTS (SELECT FROM %s d"
		" WHERE d.etl_op OPERATOR(pg_catalog.<>) 'D' AND %s) AND NOT EXISTS (SELECT FROM %s d"
		" WHERE c.ctid OPERATOR(pg_catalog.=) d.etl_ctid AND c.tableoid OPERATOR(pg_catalog.=) d.etl_table)",
		etl_diff_column_list(diff->columns, "d."), rows, etl_diff_column_list(diff->columns, "c."),
		etl_quoted_relation(diff->relid), rows, equal.data, rows);
}

/*
 * aside_desc describes the rows that are put aside.
 */
static TupleDesc
aside_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(4);

	TupleDescInitEntry(desc, 1, "check_name", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, 1, DEFAULT_COLLATION_OID);
	TupleDescInitEntry(desc, 2, "lost_n", INT8OID, -1, 0);	/* NULL: it was not aside before */
	TupleDescInitEntry(desc, 3, "raw", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 4, "value", TEXTOID, -1, 0);
	return desc;
}

/*
 * put_aside adds what one check put aside.
 */
static void
put_aside(Tuplestorestate *aside, const EtlCheck *check, Tuplestorestate *losers, TupleDesc losers_desc)
{
	TupleDesc	desc = aside_desc();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(losers_desc, &TTSOpsMinimalTuple);
	Datum		name = CStringGetTextDatum(check->name);

	tuplestore_rescan(losers);
	while (tuplestore_gettupleslot(losers, true, false, slot))
	{
		Datum		values[4];
		bool		nulls[4] = {0};

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		values[0] = name;
		/* one that was read back has a place, and no table */
		nulls[1] = !slot->tts_isnull[1] || slot->tts_isnull[2];
		values[1] = nulls[1] ? 0 :
							   Int64GetDatum(ItemPointerGetBlockNumber((ItemPointer) DatumGetPointer(
								   slot->tts_values[2])));
		values[2] = slot->tts_values[3];
		values[3] = slot->tts_values[4];
		tuplestore_putvalues(aside, desc, values, nulls);
	}
	tuplestore_rescan(losers);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * check_named returns the check of a name.
 */
static const EtlCheck *
check_named(List *checks, const char *name)
{
	ListCell   *cell;

	foreach(cell, checks)
		if (strcmp(((EtlCheck *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	elog(ERROR, "there is no check %s", name);
}

/*
 * reject_rows makes rejects of what was put aside.
 */
static int64
reject_rows(const EtlModel *model, EtlCheckSet *checks, List *moving, int64 run_id, Tuplestorestate *aside)
{
	EtlRejectWriter *writer = etl_reject_writer_begin();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(aside_desc(), &TTSOpsMinimalTuple);
	int64		count = 0;
	bool		isnull;

	tuplestore_rescan(aside);
	while (tuplestore_gettupleslot(aside, true, false, slot))
	{
		char	   *name = TextDatumGetCString(slot_getattr(slot, 1, &isnull));
		EtlReject  *reject = etl_checks_put_aside(checks, check_named(moving, name),
												 TextDatumGetCString(slot_getattr(slot, 3, &isnull)),
												 TextDatumGetCString(slot_getattr(slot, 4, &isnull)));

		CHECK_FOR_INTERRUPTS();
		reject->target = model->target;
		reject->run_id = run_id;
		etl_reject_writer_put(writer, reject);
		pfree(name);
		pfree(reject->raw);
		pfree(reject->reasons);
		pfree(reject);
		count++;
	}
	etl_reject_writer_end(writer);
	ExecDropSingleTupleTableSlot(slot);
	return count;
}

/*
 * without_losers makes the difference that is left: what would have come does
 * not, what would have changed goes, and so does what was there.
 */
static EtlDiff *
without_losers(EtlDiff *diff, QueryEnvironment *environment)
{
	char	   *columns = etl_diff_column_list(diff->columns, "d.");
	EtlDiff    *left;

	left = etl_diff_make(
		diff->relid, diff->columns, diff->desc,
		psprintf("SELECT CASE WHEN l.etl_n IS NULL THEN d.etl_op ELSE 'D' END, d.etl_table, d.etl_ctid, %s"
				 " FROM %s d LEFT JOIN etl_losers l ON l.etl_n OPERATOR(pg_catalog.=) d.etl_n"
				 " WHERE l.etl_n IS NULL OR d.etl_op OPERATOR(pg_catalog.<>) 'I'"
				 " UNION ALL SELECT 'D', l.etl_table, l.etl_ctid, %s"
				 " FROM etl_losers l LEFT JOIN etl_diff d ON false WHERE l.etl_n IS NULL",
				 columns, numbered_rows(diff), columns),
		environment);
	left->key = diff->key;
	return left;
}

/*
 * leave takes out of a difference what one check puts aside.
 */
static EtlDiff *
leave(const EtlModel *model, EtlDiff *diff, EtlCheckSet *checks, const EtlCheck *check,
	  Tuplestorestate *aside)
{
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *losers;
	TupleDesc	desc = losers_desc();
	EtlDiff    *left = diff;
	EtlRunAs	as;

	etl_diff_to_environment(environment, diff);
	etl_run_as_begin(&as, model->owner, check->settings);
	losers = etl_execute_keep(etl_checks_losers_sql(checks, check, diff->relid, rivals_sql(diff, check)),
							  environment);
	etl_run_as_end(&as);
	if (tuplestore_tuple_count(losers) > 0)
	{
		put_aside(aside, check, losers, desc);
		etl_environment_add(environment, "etl_losers", desc, losers, tuplestore_tuple_count(losers));
		left = without_losers(diff, environment);
		tuplestore_end(diff->rows);
	}
	tuplestore_end(losers);
	return left;
}

EtlDiff *
etl_losers_leave(const EtlModel *model, const EtlDue *due, EtlDiff *diff, EtlCheckSet *checks, int64 run_id,
				 int64 *rejected)
{
	List	   *moving = etl_lost_checks(checks, diff->relid);
	Tuplestorestate *aside;
	EtlLost    *lost;
	ListCell   *cell;

	/* with several checks a row that was aside, and is gone, may have kept others aside */
	if (moving == NIL || diff->rows == NULL ||
		(list_length(moving) == 1 && diff->inserted + diff->updated + diff->deleted == 0))
		return diff;
	aside = tuplestore_begin_heap(true, false, work_mem);
	lost = etl_lost_join(model, due, &diff, moving);
	foreach(cell, moving)
		if (diff->inserted + diff->updated > 0)
			diff = leave(model, diff, checks, lfirst(cell), aside);
	if (lost != NULL)
		diff = etl_lost_settle(model, due, lost, diff, aside_desc(), &aside);
	if (tuplestore_tuple_count(aside) > 0)
		*rejected += reject_rows(model, checks, moving, run_id, aside);
	tuplestore_end(aside);
	return diff;
}
