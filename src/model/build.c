/*-------------------------------------------------------------------------
 *
 * build.c
 *    One build of a model: decide what is to be done, and stage it; finish.c
 *    checks, publishes and remembers.
 *
 * Everything happens in the caller's (sub)transaction and under one
 * snapshot, so that pending loads, inputs and result agree; what was
 * consumed is stored beside the rows that came of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "common/brief_lock.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/dependents.h"
#include "model/internal.h"
#include "model/staged.h"

/*
 * fill runs the model's whole query into a heap or a tuplestore.
 */
static int64
fill(EtlStaged *staged, EtlWriter *writer)
{
	EtlDue	   *due = staged->due;
	Query	   *query = due->query;
	int64		rows;

	if (due->slicing != NULL)
	{
		query = etl_slice_query(due);
		etl_writer_guard(writer, due->slicing, due->begin == DT_NOEND ? DT_NOBEGIN : due->begin, due->end);
	}
	etl_execute_sampled(query, staged->model->query, due->sampled ? due->sample : NULL,
						etl_writer_receiver(writer));
	rows = etl_writer_rows(writer);
	staged->result->rejected += etl_writer_rejected(writer);
	etl_writer_end(writer);
	return rows;
}

/*
 * stage_heap fills a heap that nobody else reads yet: a new table, or the
 * transient one of a swap.
 */
static void
stage_heap(EtlStaged *staged, TupleDesc desc)
{
	EtlWriter  *writer = etl_writer_begin(staged->model, desc, staged->checks, staged->driver->run_id);
	Oid			heap = staged->swap ? staged->swap->transient : staged->due->relid;

	etl_writer_to_heap(writer, heap, staged->due->relid, true);
	staged->result->inserted = fill(staged, writer);
	CommandCounterIncrement();
	if (staged->created && etl_model_is_matview(staged->model))
		etl_matview_populate(heap);
}

/*
 * stage_diff compares the query's whole result with what the table holds.
 */
static void
stage_diff(EtlStaged *staged, TupleDesc desc)
{
	EtlWriter  *writer = etl_writer_begin(staged->model, desc, staged->checks, staged->driver->run_id);
	Tuplestorestate *rows = etl_writer_to_tuplestore(writer);
	Tuplestorestate *quarantined = NULL;
	bool		snapshot = etl_model_is_snapshot(staged->model);
	int64		count;

	if (snapshot)
		quarantined = etl_writer_keep_quarantined(writer);
	count = fill(staged, writer);
	if (snapshot)
	{
		etl_reshape(staged->due);
		staged->diff = etl_snapshot_stage(staged->model, staged->due, rows, count, quarantined,
										  create_queryEnv(), "true");
		return;
	}
	staged->diff = etl_diff_compute(staged->model, staged->due->relid, desc, rows, count,
									create_queryEnv(), NULL, etl_reshape_coming(staged, desc));
	etl_reshape(staged->due);
}

/*
 * comes_to_reference tells whether a table gets a foreign key and nothing else
 * that its readers would have to wait for: what is swapped would have its rows
 * looked at under the lock.
 */
static bool
comes_to_reference(EtlStaged *staged, TupleDesc desc)
{
	return staged->due->state->built_version != staged->model->version &&
		   etl_given_adds_reference(staged->model, staged->due->relid) &&
		   etl_table_fits(staged->model, staged->due->relid, desc);
}

/*
 * may_swap tells whether the table may be published by a swap.
 */
static bool
may_swap(EtlStaged *staged, bool by_dml, TupleDesc desc)
{
	Oid			relid = staged->due->relid;

	return !by_dml && !staged->created && !etl_model_is_snapshot(staged->model) &&
		   strcmp(staged->due->plan.action, "incremental") != 0 && !staged->opened &&
		   etl_swap_hindrance(relid) == NULL && !comes_to_reference(staged, desc) &&
		   !etl_table_has_kept_columns(staged->model, relid, desc);
}

/*
 * must_be_seen raises an error for a table of which row security shows its
 * owner a part: what it hides would neither be changed nor go.
 */
static void
must_be_seen(Oid relid)
{
	char	   *name = etl_name_of_relation(relid);

	if (check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("row security hides rows of %s from its owner", name),
			 errdetail("Rows that \"%s\" does not see would neither be changed nor removed.",
					   GetUserNameFromId(GetUserId(), false)),
			 errhint("ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, which then holds for all others; or let "
					 "the owner pass it: ALTER ROLE … BYPASSRLS.", name)));
}

/*
 * prepare_relation makes the target ready for the query's columns, or for the
 * swap that changes them; inside etl_run_as.  Sets due->relid.
 */
static void
prepare_relation(EtlStaged *staged, bool by_dml, TupleDesc desc)
{
	EtlDue	   *due = staged->due;

	if (!OidIsValid(due->relid))
	{
		due->relid = etl_table_create(staged->model, staged->model->target, desc);
		staged->created = true;
	}
	else if (etl_replace_is_due(staged, desc))
		etl_replace_begin(staged, desc);
	else if (due->state->built_version != staged->model->version)
		etl_table_set_parameters(staged->model, due->relid);
	if (!staged->created && !may_swap(staged, by_dml, desc))
		must_be_seen(due->relid);
	if (!staged->created && !etl_table_fits(staged->model, due->relid, desc))
	{
		List	   *lost = etl_table_lost_columns(staged->model, due->relid, desc);

		if (lost != NIL && !due->state->created && !etl_model_is_snapshot(staged->model))
			ereport(ERROR,
					(errcode(ETL_ERR_NOT_MANAGED),
					 errmsg("table %s cannot be adopted: it has a column that the query does not "
							"yield, or yields with another type", staged->model->target),
					 errdetail("A model's table holds exactly the columns of its query; columns of "
							   "the table would be dropped."),
					 errhint("Drop the column, or let the query yield it with the table's type.")));
		if (may_swap(staged, by_dml, desc))
		{
			staged->refit = etl_refit_plan(staged->model, due->relid, desc);
			return;
		}
		etl_reshape_plan(staged, desc);
	}
	else if (!staged->created && due->state->built_version != staged->model->version &&
			 !may_swap(staged, by_dml, desc))
		etl_reshape_plan(staged, desc);
}

/*
 * keep_rows sees to it that the rows that a full build replaces are kept, as
 * option keep_versions says: by a swap that leaves them over, else in a copy.
 */
static void
keep_rows(EtlStaged *staged, bool by_dml, TupleDesc desc)
{
	EtlDue	   *due = staged->due;

	staged->keep = etl_keep_name(staged->model, due->relid, due->state);
	staged->kept = staged->keep != NULL &&
				   (!may_swap(staged, by_dml, desc) || !etl_partition_fits(staged->model, due->relid));
	if (staged->kept)
		etl_keep_copy(due->relid, staged->keep);
}

/*
 * forget_other_sample empties a snapshot whose history is one of other parts
 * of its inputs.
 */
static void
forget_other_sample(EtlStaged *staged)
{
	const char *was = staged->due->state->sample;
	const char *is = staged->due->sample;

	if (staged->created || (was == NULL ? is == NULL : is != NULL && strcmp(was, is) == 0))
		return;
	etl_execute(psprintf("DELETE FROM %s", etl_quoted_relation(staged->due->relid)), create_queryEnv(), NULL);
}

/*
 * may_replace_partitions tells whether what differs is published by replacing
 * partitions: by a full build, and where the definition says so.
 */
static bool
may_replace_partitions(EtlStaged *staged, bool by_dml, TupleDesc desc)
{
	EtlDue	   *due = staged->due;

	return etl_model_is_partitioned(staged->model) && !staged->created && !by_dml &&
		   (strcmp(due->plan.action, "incremental") != 0 || etl_partition_replaces(staged->model)) &&
		   staged->diff->inserted + staged->diff->updated + staged->diff->deleted > 0 &&
		   (staged->checks == NULL || !etl_checks_may_move(staged->checks)) &&
		   !etl_table_has_kept_columns(staged->model, due->relid, desc) &&
		   etl_partition_swap_hindrance(due->relid) == NULL;
}

/*
 * analyze_whole gathers the statistics of a table whose partitions were
 * replaced: not at once, since readers would wait for it.
 */
static void
analyze_whole(EtlStaged *staged)
{
	EtlNodeState *state = staged->due->state;
	Relation	rel = table_open(staged->due->relid, AccessShareLock);
	double		tuples = rel->rd_rel->reltuples;

	table_close(rel, NoLock);
	if (staged->created || !etl_model_is_partitioned(staged->model) ||
		state->rows_changed <= Max(tuples, 0) / 10)
		return;
	etl_table_analyze(staged->due->relid);
	state->rows_changed = 0;
}

/*
 * hold_target keeps others from dropping or altering the table while the model
 * is built; readers and writers are not disturbed.
 */
static void
hold_target(const EtlModel *model, Oid relid)
{
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;

	if (rel != NULL)
		relation_close(rel, NoLock);
	else if (OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("%s was dropped while its build began", model->target),
				 errhint("Run the model again.")));
}

/*
 * stage_whole computes what a full build writes, and where to: a new table, a
 * heap that takes the place of the old one, or the difference.
 */
static void
stage_whole(EtlStaged *staged, bool by_dml, TupleDesc desc)
{
	EtlModel   *model = staged->model;
	EtlDue	   *due = staged->due;

	etl_rejects_supersede(model->target);
	if (etl_model_is_snapshot(model) || (staged->created && etl_model_is_partitioned(model)))
	{
		if (etl_model_is_snapshot(model))
			forget_other_sample(staged);
		stage_diff(staged, desc);
	}
	else if (staged->created)
		stage_heap(staged, desc);
	else if (may_swap(staged, by_dml, desc) || etl_model_is_matview(model))
	{
		staged->swap = etl_swap_begin(due->relid);
		staged->swap->keep = staged->kept ? NULL : staged->keep;
		etl_refit_begin(staged->swap, staged->refit ?
										  staged->refit :
										  etl_refit_plan(model, due->relid, desc));
		stage_heap(staged, desc);
	}
	else
		stage_diff(staged, desc);
}

/*
 * stage_stored computes what the publication of a stored model will write.
 */
static void
stage_stored(EtlStaged *staged, bool by_dml)
{
	EtlModel   *model = staged->model;
	EtlDue	   *due = staged->due;
	TupleDesc	desc = etl_query_desc(due->query);
	EtlRunAs	as;

	hold_target(model, due->relid);
	etl_table_must_be_managed(model, due->relid, due->state);
	if (strcmp(due->plan.action, "incremental") != 0 && !staged->copied && !due->sampled &&
		due->state->sample == NULL)
		etl_cover_check(model, due);
	staged->opened = due->sliced && due->slice == NULL;
	etl_run_as_begin(&as, model->owner, model->settings);
	if (!staged->copied && !staged->opened)
		etl_table_hooks(model, "pre_hook");
	if (strcmp(due->plan.action, "incremental") != 0)
		keep_rows(staged, by_dml, desc);
	prepare_relation(staged, by_dml, desc);
	analyze_whole(staged);
	if (staged->opened)
	{
		etl_reshape(due);
		if (due->anew)
			etl_rejects_supersede(model->target);
		if (due->check_unplaced)
			etl_slices_check_unplaced(model, due);
		etl_run_as_end(&as);
		return;
	}
	if (etl_checks_of(model->target) != NIL)
		staged->checks = etl_checks_prepare(model->target,
											etl_model_is_snapshot(model) ?
												etl_snapshot_desc(desc, etl_snapshot_marks(model)) :
												desc);

	if (staged->checks != NULL && due->sample != NULL)
		etl_checks_only_warn(staged->checks);

	if (strcmp(due->plan.action, "incremental") == 0)
		staged->diff = due->slice != NULL ?
						   etl_slice_stage(staged->driver, model, due, staged->checks, staged->result) :
						   etl_incremental_stage(staged->driver, model, due, staged->checks, staged->result);
	else
		stage_whole(staged, by_dml, desc);

	if (staged->diff != NULL && staged->checks != NULL && !etl_model_is_snapshot(model))
		staged->diff = etl_losers_leave(model, due, staged->diff, staged->checks, staged->driver->run_id,
										&staged->result->rejected);
	if (staged->diff != NULL)
	{
		staged->result->inserted = staged->diff->inserted;
		staged->result->updated = staged->diff->updated;
		staged->result->deleted = staged->diff->deleted;
		staged->by_parts = may_replace_partitions(staged, by_dml, desc);
	}
	etl_run_as_end(&as);
}

/*
 * warn_of_deprecated says that a model still reads what should not be used.
 */
static void
warn_of_deprecated(EtlDriver *driver, const EtlModel *model)
{
	ListCell   *cell;

	foreach(cell, etl_deprecated_inputs(etl_dependencies_of(model->target), true))
	{
		ereport(WARNING, (errmsg("%s: %s", model->target, (char *) lfirst(cell))));
		etl_log_store("warning", driver->run_id, model->target, lfirst(cell), NULL);
	}
}

EtlStaged *
etl_model_stage(EtlDriver *driver, EtlModel *model, bool full_refresh, bool by_dml,
				EtlBuildResult *result)
{
	EtlStaged  *staged = palloc0(sizeof(EtlStaged));
	char	   *missing = NULL;

	memset(result, 0, sizeof(*result));
	staged->driver = driver;
	staged->model = model;
	staged->result = result;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!model->resolved && !etl_model_resolve(model, &missing))
		ereport(ERROR,
				(errcode(ETL_ERR_UNRESOLVED),
				 errmsg("model %s cannot be built yet: %s does not exist", model->target, missing),
				 errhint("Load or build %s first, for example with CALL etl.run('+%s').",
						 missing, model->target)));
	/* what was replaced may read something else, whose changes matter from now on */
	if (etl_due_lock(model) && model->instead == NULL && etl_model_resolve_again(model))
		(void) etl_due_lock(model);
	/* what is recorded from now on is what the next snapshot does not see */
	staged->recorded = etl_record_begin(model, etl_model_inputs(model));
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	staged->due = etl_due(model, full_refresh);
	result->plan = staged->due->plan;
	if (strcmp(result->plan.action, "unresolved") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_UNRESOLVED),
				 errmsg("model %s cannot be built: %s", model->target, result->plan.reason),
				 errhint("Make it, or define the model without it.")));

	if (strcmp(result->plan.action, "unchanged") != 0)
		warn_of_deprecated(driver, model);
	if (strcmp(result->plan.action, "unchanged") != 0)
	{
		if (strcmp(model->materialized, "view") == 0)
		{
			etl_table_must_be_managed(model, staged->due->relid, staged->due->state);
			etl_view_build(driver, model, staged->due, result);
		}
		else
			stage_stored(staged, by_dml || driver->atomic);
	}
	PopActiveSnapshot();
	if (staged->opened)
	{
		result->opened = true;
		result->slices = staged->due->slices;
	}
	return staged;
}

/*
 * slice_begin stages one slice.
 */
static EtlStaged *
slice_begin(EtlDriver *driver, EtlModel *model, const EtlSlice *slice, EtlBuildResult *result)
{
	EtlStaged  *staged = palloc0(sizeof(EtlStaged));

	memset(result, 0, sizeof(*result));
	staged->driver = driver;
	staged->model = model;
	staged->result = result;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) etl_due_lock(model);
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	staged->due = etl_due_of_slice(model, slice);
	result->plan = staged->due->plan;
	stage_stored(staged, true);
	PopActiveSnapshot();
	return staged;
}

void
etl_model_build(EtlDriver *driver, EtlModel *model, bool full_refresh, EtlBuildResult *result)
{
	EtlStaged  *staged = etl_model_stage(driver, model, full_refresh, false, result);

	/* deletes first: a row that goes may hold a unique value of one that comes */
	etl_model_apply_deletes(staged);
	etl_model_apply_upserts(staged);
	etl_model_finish(staged);
}

void
etl_model_publish_copy(EtlDriver *driver, EtlModel *model, const char *relation,
					   char *fingerprint, EtlBuildResult *result)
{
	EtlStaged  *staged = palloc0(sizeof(EtlStaged));
	EtlDue	   *due = palloc0(sizeof(EtlDue));
	EtlRunAs	as;

	memset(result, 0, sizeof(*result));
	staged->driver = driver;
	staged->model = model;
	staged->result = result;
	staged->copied = true;
	staged->due = due;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	due->state = etl_node_state_get(model->target);
	due->relid = etl_name_relation(model->target);
	due->fingerprint = fingerprint;
	due->plan.action = OidIsValid(due->relid) ? "full" : "create";
	due->plan.reason = psprintf("the rows of %s", relation);
	result->plan = due->plan;
	etl_run_as_begin(&as, model->owner, model->settings);
	due->query = etl_query_analyze(psprintf("SELECT * FROM %s", relation), NULL);
	if (etl_model_has_slices(model))
	{
		due->slicing = etl_slicing_of(model, due->query);
		etl_intervals_bounds(model, due);
	}
	etl_run_as_end(&as);
	stage_stored(staged, driver->atomic);
	PopActiveSnapshot();
	etl_model_apply_deletes(staged);
	etl_model_apply_upserts(staged);
	etl_model_finish(staged);
}

void
etl_slice_build(EtlDriver *driver, EtlModel *model, const EtlSlice *slice, EtlBuildResult *result)
{
	EtlStaged  *staged = slice_begin(driver, model, slice, result);

	/* what several compute at the same time is published one after the other */
	LockDatabaseObject(RelationRelationId, staged->due->relid, 0, ExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	staged->due->state = etl_node_state_get(model->target);
	PopActiveSnapshot();
	etl_model_apply_deletes(staged);
	etl_model_apply_upserts(staged);
	etl_model_finish(staged);
}
