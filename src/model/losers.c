/*-------------------------------------------------------------------------
 *
 * losers.c
 *    Rows that a unique check puts aside, and what lets them in again.
 *
 * They are taken out of the difference before it is applied: the table may
 * have a unique index, which would refuse them.
 *
 * A row that was put aside lost to another one, which is in the table.  It can come in only
 * when that one changes or goes, so its key is computed anew, too, when its
 * value is among those of the rows that are.  The first row of a value stays
 * the first whatever comes or goes beside it.
 *
 * With several such checks a row may have lost to one that another check put
 * aside later, and who lost to whom makes chains: then all rows that they put
 * aside are candidates again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

#include "catalog/consumption.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/internal.h"

/* rejects that are read or written at once */
#define BATCH 1000

/*
 * comparing_checks lists the checks that put rows aside; without those of
 * columns that cannot be compared, which fail anyway.
 */
static List *
comparing_checks(EtlCheckSet *checks, Oid relid)
{
	List	   *comparing = NIL;
	ListCell   *cell;
	ListCell   *column;

	foreach(cell, etl_checks_moving(checks))
	{
		bool		compares = true;

		foreach(column, ((EtlCheck *) lfirst(cell))->columns)
		{
			AttrNumber	attno = get_attnum(relid, lfirst(column));

			compares &= attno > 0 && etl_sql_equals(get_atttype(relid, attno), "", "") != NULL;
		}
		if (compares)
			comparing = lappend(comparing, lfirst(cell));
	}
	return comparing;
}

/* ---- who may come back ---- */

/*
 * read_lost adds what the checks put aside to the environment, as etl_lost;
 * NULL: there is nothing.
 */
static Tuplestorestate *
read_lost(const EtlModel *model, List *checks, QueryEnvironment *environment)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	Tuplestorestate *lost = tuplestore_begin_heap(true, false, work_mem);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl losers", ALLOCSET_DEFAULT_SIZES);
	List	   *names = NIL;
	List	   *batch;
	int64		after = 0;
	ListCell   *cell;

	TupleDescInitEntry(desc, 1, "lost", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, 1, DEFAULT_COLLATION_OID);
	foreach(cell, checks)
		names = lappend(names, ((EtlCheck *) lfirst(cell))->name);
	do
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		batch = etl_rejects_of_checks(model->target, names, &after, BATCH);
		foreach(cell, batch)
		{
			Datum		value = CStringGetTextDatum(lfirst(cell));
			bool		isnull = false;

			tuplestore_putvalues(lost, desc, &value, &isnull);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	} while (batch != NIL);
	MemoryContextDelete(context);
	if (tuplestore_tuple_count(lost) == 0)
	{
		tuplestore_end(lost);
		return NULL;
	}
	etl_environment_add(environment, "etl_lost", desc, lost, tuplestore_tuple_count(lost));
	return lost;
}

/*
 * column_definition renders a column as one of a row of JSON.
 */
static char *
column_definition(const char *name, Oid type, int32 typmod, Oid collation)
{
	return psprintf("%s %s%s", quote_identifier(name),
					format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
					OidIsValid(collation) ? psprintf(" COLLATE %s", generate_collation_name(collation)) : "");
}

/*
 * losers_sql renders the keys of the rows of etl_lost that share the values of
 * a check with what 'scope' selects of the table; without a check, of all.
 */
static char *
losers_sql(const EtlDelta *delta, const EtlCheck *check, Oid relid, const char *scope)
{
	StringInfoData sql;
	StringInfoData definitions;
	StringInfoData equal;
	List	   *names = NIL;
	ListCell   *cell;

	initStringInfo(&sql);
	initStringInfo(&definitions);
	initStringInfo(&equal);
	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		names = lappend(names, key->column);
		appendStringInfo(&definitions, "%s%s", definitions.len ? ", " : "",
						 column_definition(key->column, key->type, key->typmod, key->collation));
	}
	appendStringInfo(&sql, "SELECT DISTINCT %s", etl_diff_column_list(names, "r."));
	foreach(cell, check ? check->columns : NIL)
	{
		const char *name = lfirst(cell);
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(relid, get_attnum(relid, name), &type, &typmod, &collation);
		if (!etl_name_among(names, name))
			appendStringInfo(&definitions, ", %s", column_definition(name, type, typmod, collation));
		appendStringInfo(&equal, " AND %s",
						 etl_sql_equals(type, psprintf("c.%s", quote_identifier(name)),
										psprintf("r.%s", quote_identifier(name))));
	}
	appendStringInfo(&sql, " FROM etl_lost l, LATERAL pg_catalog.jsonb_to_record(l.lost::pg_catalog.jsonb)"
						   " AS r(%s)", definitions.data);
	if (check)
		appendStringInfo(&sql, " WHERE EXISTS (SELECT FROM %s c WHERE %s%s)",
						 etl_quoted_relation(relid), scope, equal.data);
	return sql.data;
}

Tuplestorestate *
etl_losers_keys(const EtlModel *model, const EtlDelta *delta, EtlCheckSet *checks, Oid relid,
				QueryEnvironment *environment, const char *scope)
{
	List	   *moving = comparing_checks(checks, relid);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	Tuplestorestate *lost;
	Tuplestorestate *keys;

	if (moving == NIL || !etl_rejects_any_open(model->target))
		return NULL;
	lost = read_lost(model, moving, environment);
	if (lost == NULL)
		return NULL;
	keys = tuplestore_begin_heap(true, false, work_mem);
	SetTuplestoreDestReceiverParams(receiver, keys, CurrentMemoryContext, false, NULL, NULL);
	etl_execute(losers_sql(delta, list_length(moving) == 1 ? linitial(moving) : NULL, relid, scope),
				environment, receiver);
	tuplestore_end(lost);
	if (tuplestore_tuple_count(keys) > 0)
		return keys;
	tuplestore_end(keys);
	return NULL;
}

/* ---- who must go ---- */

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
 * reject_losers makes rejects of what one check puts aside.
 */
static int64
reject_losers(const EtlModel *model, EtlCheckSet *checks, const EtlCheck *check, int64 run_id,
			  Tuplestorestate *losers, TupleDesc desc)
{
	EtlRejectWriter *writer = etl_reject_writer_begin();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int64		count = 0;
	bool		isnull;

	tuplestore_rescan(losers);
	while (tuplestore_gettupleslot(losers, true, false, slot))
	{
		EtlReject  *reject = etl_checks_put_aside(checks, check,
												 TextDatumGetCString(slot_getattr(slot, 4, &isnull)),
												 TextDatumGetCString(slot_getattr(slot, 5, &isnull)));

		reject->target = model->target;
		reject->run_id = run_id;
		etl_reject_writer_put(writer, reject);
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
leave(const EtlModel *model, EtlDiff *diff, EtlCheckSet *checks, const EtlCheck *check, int64 run_id,
	  int64 *rejected)
{
	QueryEnvironment *environment = create_queryEnv();
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	Tuplestorestate *losers = tuplestore_begin_heap(true, false, work_mem);
	TupleDesc	desc = losers_desc();
	EtlDiff    *left = diff;
	EtlRunAs	as;

	tuplestore_rescan(diff->rows);
	etl_environment_add(environment, "etl_diff", diff->desc, diff->rows,
						diff->inserted + diff->updated + diff->deleted);
	SetTuplestoreDestReceiverParams(receiver, losers, CurrentMemoryContext, false, NULL, NULL);
	etl_run_as_begin(&as, model->owner, check->settings);
	etl_execute(etl_checks_losers_sql(checks, check, diff->relid, rivals_sql(diff, check)), environment,
				receiver);
	etl_run_as_end(&as);
	if (tuplestore_tuple_count(losers) > 0)
	{
		*rejected += reject_losers(model, checks, check, run_id, losers, desc);
		etl_environment_add(environment, "etl_losers", desc, losers, tuplestore_tuple_count(losers));
		left = without_losers(diff, environment);
		tuplestore_end(diff->rows);
	}
	tuplestore_end(losers);
	return left;
}

EtlDiff *
etl_losers_leave(const EtlModel *model, EtlDiff *diff, EtlCheckSet *checks, int64 run_id, int64 *rejected)
{
	ListCell   *cell;

	foreach(cell, comparing_checks(checks, diff->relid))
		if (diff->rows != NULL && diff->inserted + diff->updated > 0)
			diff = leave(model, diff, checks, lfirst(cell), run_id, rejected);
	return diff;
}
