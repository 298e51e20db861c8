/*-------------------------------------------------------------------------
 *
 * incremental.c
 *    Staging what arrived: the delta of an incremental model.
 *
 * append: the query over the rows of the pending loads gives the new rows.
 * merge: the keys that changed rows touch, as they were and as they are, are
 * collected first; the query over the input rows of those keys gives their
 * whole new content, which is compared with what the table holds of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "catalog/consumption.h"
#include "common/json.h"
#include "model/internal.h"

/* keys that go to the catalog in one statement, which looks at every open reject */
#define BATCH_KEYS 100000

/* what a page read by an index costs, of one read in turn: of disks without moving parts */
#define PAGE_COST "1.1"

/* The affected keys, as rows of etl_affected. */
typedef struct Affected
{
	Tuplestorestate *rows;
	int64		count;
	bool		nulls;			/* a key has a NULL */
} Affected;

/*
 * key_order renders the order that affected keys are kept in: that of an
 * index on them, if their types have one.
 */
static const char *
key_order(const EtlDelta *delta)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		if (!OidIsValid(lookup_type_cache(key->type, TYPECACHE_LT_OPR)->lt_opr))
			return "";
		appendStringInfo(&sql, "%s%d", sql.len ? ", " : " ORDER BY ", foreach_current_index(cell) + 1);
	}
	return sql.data;
}

/*
 * keep_distinct makes affected keys of what was found, each once.
 */
static void
keep_distinct(Affected *affected, const EtlDelta *delta, TupleDesc desc, Tuplestorestate *found)
{
	QueryEnvironment *environment = create_queryEnv();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(found);
	etl_environment_add(environment, "etl_found", desc, found, tuplestore_tuple_count(found));
	affected->rows =
		etl_execute_keep(psprintf("SELECT DISTINCT * FROM etl_found%s", key_order(delta)), environment);
	affected->count = 0;
	while (tuplestore_gettupleslot(affected->rows, true, false, slot))
	{
		affected->count++;
		slot_getallattrs(slot);
		for (int i = 0; i < desc->natts; i++)
			affected->nulls |= slot->tts_isnull[i];
	}
	tuplestore_rescan(affected->rows);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * collect_keys runs the queries of the affected keys.
 */
static void
collect_keys(const EtlDelta *delta, const EtlModel *model, TupleDesc desc, Affected *affected)
{
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *found = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	List	   *changes;
	ListCell   *cell;

	changes = etl_delta_changes(delta, environment, true);
	SetTuplestoreDestReceiverParams(receiver, found, CurrentMemoryContext, false, NULL, NULL);
	foreach(cell, etl_delta_finders(delta, environment))
		etl_execute_query(etl_query_around(lfirst(cell), "DISTINCT *", "true", environment), model->query,
						  environment, receiver);
	keep_distinct(affected, delta, desc, found);
	tuplestore_end(found);
	foreach(cell, changes)
		tuplestore_end(lfirst(cell));
}

/*
 * add_losers adds the keys of the rows that a unique check put aside, and that
 * may come back: the rows they lost to are computed anew.
 */
static void
add_losers(const EtlDelta *delta, const EtlModel *model, EtlCheckSet *checks, Oid relid, TupleDesc desc,
		   Affected *affected)
{
	QueryEnvironment *environment = create_queryEnv();
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	Tuplestorestate *before = affected->rows;
	Tuplestorestate *found;

	if (affected->count == 0 || checks == NULL || etl_model_is_snapshot(model))
		return;
	etl_environment_add(environment, "etl_affected", desc, before, affected->count);
	found = etl_losers_keys(model, delta, checks, relid, environment,
							etl_delta_scope(delta, "c", affected->nulls));
	tuplestore_rescan(before);
	if (found == NULL)
		return;
	SetTuplestoreDestReceiverParams(receiver, found, CurrentMemoryContext, false, NULL, NULL);
	etl_execute("SELECT * FROM etl_affected", environment, receiver);
	keep_distinct(affected, delta, desc, found);
	tuplestore_end(found);
	tuplestore_end(before);
}

/*
 * supersede_rejects closes the rejects of the affected keys: what becomes of
 * these keys is decided anew.
 */
static void
supersede_rejects(const EtlModel *model, const EtlDelta *delta, const Affected *affected, TupleDesc desc)
{
	TupleDesc	named = CreateTupleDescCopy(desc);
	MemoryContext batch;
	MemoryContext old;
	TupleTableSlot *slot;
	List	   *columns = NIL;
	List	   *keys = NIL;
	bool		more = true;
	ListCell   *cell;

	if (!etl_rejects_any_open(model->target))
		return;
	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		namestrcpy(&TupleDescAttr(named, list_length(columns))->attname, key->column);
		columns = lappend(columns, key->column);
	}
	slot = MakeSingleTupleTableSlot(BlessTupleDesc(named), &TTSOpsMinimalTuple);
	batch = AllocSetContextCreate(CurrentMemoryContext, "etl affected keys", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(batch);
	while (more)
	{
		more = tuplestore_gettupleslot(affected->rows, true, false, slot);
		if (more)
			keys = lappend(keys, TextDatumGetCString(DirectFunctionCall1(
									 row_to_json, ExecFetchSlotHeapTupleDatum(slot))));
		if (list_length(keys) < BATCH_KEYS && more)
			continue;
		if (keys != NIL)
			etl_rejects_supersede_keys(model->target, columns, keys);
		ExecClearTuple(slot);
		MemoryContextReset(batch);
		keys = NIL;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
	tuplestore_rescan(affected->rows);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * spare_frozen takes the frozen keys out of the affected ones, where these
 * tell them, so that nothing is read for them; false where they do not.
 */
static bool
spare_frozen(const EtlFrozen *frozen, TupleDesc desc, Affected *affected)
{
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *rows;
	char	   *condition = etl_frozen_spares_keys(frozen, "a");

	if (condition == NULL)
		return false;
	etl_environment_add(environment, "etl_affected", desc, affected->rows, affected->count);
	etl_frozen_to_environment(frozen, environment);
	rows = etl_execute_keep(psprintf("SELECT * FROM etl_affected a WHERE %s", condition), environment);
	tuplestore_end(affected->rows);
	affected->rows = rows;
	affected->count = tuplestore_tuple_count(rows);
	return true;
}

/*
 * find_affected finds the keys whose rows are computed anew, and returns those
 * among them that are frozen, or NULL.
 */
static EtlFrozen *
find_affected(EtlDriver *driver, const EtlModel *model, EtlDue *due, EtlCheckSet *checks, TupleDesc keys,
			  Affected *affected, EtlBuildResult *result)
{
	EtlDelta   *delta = due->delta;
	EtlFrozen  *frozen;

	collect_keys(delta, model, keys, affected);
	add_losers(delta, model, checks, due->relid, keys, affected);
	frozen = etl_frozen_among(model, delta, etl_query_desc(due->query), keys, affected->rows,
							  affected->nulls);
	if (frozen != NULL)
		result->rejected += etl_frozen_reject_late(frozen, model, driver->run_id);
	due->spared = frozen != NULL && spare_frozen(frozen, keys, affected);
	if (frozen == NULL || due->spared)
		supersede_rejects(model, delta, affected, keys);
	return frozen;
}

/*
 * stage computes the difference that the pending loads make.
 */
static EtlDiff *
stage(EtlDriver *driver, const EtlModel *model, EtlDue *due, EtlCheckSet *checks, EtlBuildResult *result)
{
	EtlDelta   *delta = due->delta;
	TupleDesc	desc = etl_query_desc(due->query);
	QueryEnvironment *environment = create_queryEnv();
	Affected	affected = {0};
	EtlWriter  *writer;
	Tuplestorestate *rows;
	Tuplestorestate *quarantined = NULL;
	EtlFrozen  *frozen = NULL;
	Query	   *query;
	EtlDiffScope scope = {NULL, etl_query_yields_once(due->query, model->key)};
	EtlDiff    *diff;

	/* there is only a column that comes */
	if (delta == NULL)
	{
		etl_reshape(due);
		return etl_diff_inserts(due->relid, desc, tuplestore_begin_heap(true, false, work_mem), 0);
	}
	if (!delta->append)
	{
		TupleDesc	keys = etl_delta_keys_desc(delta);

		frozen = find_affected(driver, model, due, checks, keys, &affected, result);
		etl_environment_add(environment, "etl_affected", keys, affected.rows, affected.count);
		scope.condition = etl_delta_scope(delta, "c", affected.nulls);
		scope.not_null = !affected.nulls && list_length(delta->keys) == list_length(model->key);
	}

	writer = etl_writer_begin(model, desc, checks, driver->run_id);
	/* rows that only come need not be kept beside: that took a quarter of their time */
	rows = delta->append && !etl_model_is_snapshot(model) && due->reshaping == NULL &&
				   (checks == NULL || !etl_checks_may_move(checks)) &&
				   etl_writer_to_table(writer, due->relid) ?
			   NULL :
			   etl_writer_to_tuplestore(writer);
	if (etl_model_is_snapshot(model))
		quarantined = etl_writer_keep_quarantined(writer);
	query = etl_delta_rewrite(delta, affected.nulls, environment);
	if (frozen != NULL)
	{
		etl_frozen_to_environment(frozen, environment);
		query = etl_query_around(query, "*", etl_frozen_spares(frozen, "c"), environment);
		scope.condition = psprintf("%s AND %s", scope.condition, etl_frozen_spares(frozen, "c"));
	}
	etl_execute_query(query, model->query, environment, etl_writer_receiver(writer));
	etl_writer_end(writer);
	result->rejected += etl_writer_rejected(writer);
	etl_reshape(due);

	if (etl_model_is_snapshot(model))
		diff = etl_snapshot_stage(model, due, rows, etl_writer_rows(writer), quarantined, environment,
								  scope.condition);
	else if (rows == NULL)
		diff = etl_diff_written(due->relid, desc, etl_writer_rows(writer));
	else if (delta->append)
		diff = etl_diff_inserts(due->relid, desc, rows, etl_writer_rows(writer));
	else
		diff = etl_diff_compute(model, due->relid, desc, rows, etl_writer_rows(writer), environment,
								&scope, NIL);
	if (affected.rows != NULL)
		tuplestore_end(affected.rows);
	if (frozen != NULL)
		etl_frozen_end(frozen);
	return diff;
}

/*
 * prefer_indexes makes up for what the planner does not know: the affected
 * keys come sorted, so that a page which an index finds for one is often there
 * for the next.  By its default cost, that of disks which turn, a history of a
 * million rows was read as a whole for 6,000 keys, in five times the time.
 * Whoever has set the cost knows better.
 */
static void
prefer_indexes(const EtlModel *model)
{
	const Jsonb *given = etl_json_get(model->settings, "settings");

	if (random_page_cost == DEFAULT_RANDOM_PAGE_COST &&
		(given == NULL || !etl_json_has(given, "random_page_cost")))
		(void) set_config_option("random_page_cost", PAGE_COST, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * etl_incremental_stage does it without compiling the queries: what is
 * estimated to take long enough for that are thousands of short index scans,
 * and compiling took longer than these.
 */
EtlDiff *
etl_incremental_stage(EtlDriver *driver, const EtlModel *model, EtlDue *due, EtlCheckSet *checks,
					  EtlBuildResult *result)
{
	int			level = NewGUCNestLevel();
	EtlDiff    *diff;

	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	prefer_indexes(model);
	diff = stage(driver, model, due, checks, result);
	AtEOXact_GUC(false, level);
	return diff;
}

QueryEnvironment *
etl_incremental_shape(EtlDelta *delta)
{
	QueryEnvironment *environment = create_queryEnv();

	(void) etl_delta_changes(delta, environment, false);
	if (!delta->append)
		etl_environment_add(environment, "etl_affected", etl_delta_keys_desc(delta), NULL, 1000);
	return environment;
}
