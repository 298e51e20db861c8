/*-------------------------------------------------------------------------
 *
 * build.c
 *    One build of a model: decide, stage, check, publish, remember.
 *
 * Everything happens in the caller's (sub)transaction and under one
 * snapshot, so that pending loads, inputs and result agree; what was
 * consumed is stored beside the rows that came of it.  The swap, which
 * makes readers wait, is the last step.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/frozen.h"
#include "catalog/kept.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/dependents.h"
#include "model/internal.h"

struct EtlStaged
{
	EtlDriver  *driver;
	EtlModel   *model;
	EtlDue	   *due;
	EtlBuildResult *result;
	EtlCheckSet *checks;
	List	   *dependents;		/* managed views dropped on the way */
	EtlMatviewDress *dress;		/* of a materialized view that is made again */
	List	   *recorded;		/* char *: inputs whose changes are recorded from now on */
	bool		copied;			/* rows of another relation are published, not the model's query */
	char	   *keep;			/* table for the rows that are replaced; NULL: they are not kept */
	bool		kept;			/* they are in it already */
	bool		created;
	EtlSwap    *swap;			/* one of the two, or neither for a new table */
	EtlDiff    *diff;
	bool		by_parts;		/* the difference is published by replacing partitions … */
	EtlPartitionSwap *parts;	/* … which are these */
	bool		opened;			/* slices are made due, and built later */
};

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
		query = etl_slice_query(staged->model, due);
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
		staged->diff = etl_snapshot_stage(staged->model, staged->due, rows, count, quarantined,
										  create_queryEnv(), "true");
	else
		staged->diff = etl_diff_compute(staged->model, staged->due->relid, desc, rows, count,
										create_queryEnv(), NULL);
}

/*
 * drop_unfit drops what another kind of model left, and a materialized view
 * of other columns.
 */
static void
drop_unfit(EtlStaged *staged, TupleDesc desc)
{
	EtlDue	   *due = staged->due;
	char		relkind = get_rel_relkind(due->relid);

	if (etl_kind_has(staged->model, relkind) && etl_partition_fits(staged->model, due->relid) &&
		(relkind != RELKIND_MATVIEW || etl_matview_fits(due->relid, desc)))
		return;
	if (!due->state->created && relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW)
		ereport(
			ERROR,
			(errcode(ETL_ERR_NOT_MANAGED),
			 errmsg("table %s cannot be adopted: it is partitioned in another way",
					staged->model->target),
			 errdetail("Making the model would drop it with its contents."),
			 errhint("Drop or rename it, or define the model with the table's own partitioning.")));
	staged->dependents = etl_dependents_drop(due->relid, NIL);
	if (relkind == RELKIND_MATVIEW && etl_model_is_matview(staged->model))
		staged->dress = etl_matview_undress(staged->model, due->relid);
	if (relkind != RELKIND_VIEW)
		etl_lock_briefly(due->relid);
	etl_execute_utility(psprintf("DROP %s %s", etl_kind_word(relkind), etl_quoted_relation(due->relid)));
	due->relid = InvalidOid;
}

/*
 * prepare_relation makes the target ready for the query's columns; inside
 * etl_run_as.  Sets due->relid.
 */
static void
prepare_relation(EtlStaged *staged, TupleDesc desc)
{
	EtlDue	   *due = staged->due;

	if (OidIsValid(due->relid))
		drop_unfit(staged, desc);
	if (!OidIsValid(due->relid))
	{
		due->relid = etl_table_create(staged->model, desc);
		staged->created = true;
	}
	else if (due->state->built_version != staged->model->version)
		etl_table_set_parameters(staged->model, due->relid);
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
		if (lost != NIL)
			staged->dependents = etl_dependents_drop(due->relid, lost);
		if (etl_model_is_snapshot(staged->model))
			etl_snapshot_reshape(staged->model, due->relid, desc, due->state->created);
		else
			etl_table_reshape(staged->model, due->relid, desc);
	}
}

/*
 * may_swap tells whether the table may be published by a swap.
 */
static bool
may_swap(EtlStaged *staged, bool by_dml, TupleDesc desc)
{
	Oid			relid = staged->due->relid;

	return !by_dml && etl_swap_hindrance(relid) == NULL &&
		   !etl_table_has_kept_columns(staged->model, relid, desc);
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
				   (!may_swap(staged, by_dml, desc) || !etl_table_fits(staged->model, due->relid, desc));
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
 * stage_stored computes what the publication of a stored model will write.
 */
static void
stage_stored(EtlStaged *staged, bool by_dml)
{
	EtlModel   *model = staged->model;
	EtlDue	   *due = staged->due;
	TupleDesc	desc = etl_query_desc(due->query);
	EtlRunAs	as;

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
	prepare_relation(staged, desc);
	analyze_whole(staged);
	if (staged->opened)
	{
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
	{
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
			stage_heap(staged, desc);
		}
		else
			stage_diff(staged, desc);
	}
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
	etl_due_lock(model);
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
	etl_due_lock(model);
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	staged->due = etl_due_of_slice(model, slice);
	result->plan = staged->due->plan;
	stage_stored(staged, true);
	PopActiveSnapshot();
	return staged;
}

/*
 * apply runs one half of a diff as the model's owner.
 */
static void
apply(EtlStaged *staged, void (*half)(EtlDiff *diff))
{
	EtlRunAs	as;

	if (staged->diff == NULL || staged->by_parts)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_run_as_begin(&as, staged->model->owner, staged->model->settings);
	half(staged->diff);
	etl_run_as_end(&as);
	PopActiveSnapshot();
}

/*
 * make_partitions makes the partitions that the rows need, or those that
 * will take the place of the ones that the rows change.
 */
static void
make_partitions(EtlStaged *staged)
{
	EtlRunAs	as;

	PushActiveSnapshot(GetTransactionSnapshot());
	etl_run_as_begin(&as, staged->model->owner, staged->model->settings);
	if (staged->by_parts)
		staged->parts = etl_partition_swap_begin(staged->model, staged->diff, staged->driver->run_id);
	else
		etl_partition_make(staged->model, staged->diff, etl_storage_parameters(staged->model));
	etl_run_as_end(&as);
	PopActiveSnapshot();
}

void
etl_model_apply_upserts(EtlStaged *staged)
{
	if (staged->diff != NULL && etl_model_is_partitioned(staged->model))
		make_partitions(staged);
	apply(staged, etl_diff_apply_upserts);
}

void
etl_model_apply_deletes(EtlStaged *staged)
{
	apply(staged, etl_diff_apply_deletes);
}

/*
 * check_new_state evaluates the checks that need the whole new state and
 * raises ET011 when one blocks; result->check_results is set before.
 */
static void
check_new_state(EtlStaged *staged)
{
	Oid			heap = staged->swap ? staged->swap->transient : staged->due->relid;
	List	   *rejects = NIL;
	ListCell   *cell;

	if (staged->checks == NULL)
		return;
	if (staged->parts != NULL)
		heap = etl_partition_swap_view(staged->parts);
	etl_checks_set(staged->checks, heap, &rejects);
	if (staged->parts != NULL)
		etl_execute_utility(psprintf("DROP VIEW %s", etl_quoted_relation(heap)));
	foreach(cell, rejects)
	{
		EtlReject  *reject = lfirst(cell);

		reject->target = staged->model->target;
		reject->run_id = staged->driver->run_id;
		reject->load_id = 0;
	}
	if (rejects != NIL)
	{
		etl_rejects_store(rejects);
		staged->result->rejected += list_length(rejects);
		staged->result->inserted = Max(staged->result->inserted - list_length(rejects), 0);
	}
	staged->result->check_results = etl_checks_results(staged->checks, staged->driver->run_id);
	etl_checks_verdict(staged->checks);
	CommandCounterIncrement();
}

/*
 * gather_statistics analyzes what is new, rebuilt, or changed by more than
 * a tenth since the last time.
 */
static void
gather_statistics(EtlStaged *staged)
{
	EtlNodeState *state = staged->due->state;

	if (staged->diff != NULL)
	{
		Relation	rel = table_open(staged->due->relid, AccessShareLock);
		double		tuples = rel->rd_rel->reltuples;

		table_close(rel, NoLock);
		state->rows_changed += staged->diff->inserted + staged->diff->updated + staged->diff->deleted;
		if (staged->parts != NULL || state->rows_changed == 0 ||
			(tuples >= 0 && state->rows_changed <= tuples / 10))
			return;
	}
	state->rows_changed = 0;
	etl_table_analyze(staged->swap ? staged->swap->transient : staged->due->relid);
}

/*
 * contains tells whether a name is in a list.
 */
static bool
contains(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/*
 * remember stores what this build used and made.
 */
static void
remember(EtlStaged *staged)
{
	EtlNodeState *state = staged->due->state;
	EtlJsonBuilder *inputs = etl_json_object_begin();
	bool		stored = strcmp(staged->model->materialized, "view") != 0;
	bool		incremental = etl_model_follows(staged->model);
	bool		consumes = !staged->due->sliced || staged->due->consume;
	bool		changed = staged->diff != NULL ?
					   staged->diff->inserted + staged->diff->updated + staged->diff->deleted > 0 :
					   (stored && !staged->opened) || state->built_version != staged->model->version;
	List	   *names = NIL;
	ListCell   *cell;

	staged->due->built = staged->swap ? staged->swap->transient : staged->due->relid;
	if (staged->due->slicing != NULL)
		etl_slices_remember(staged->driver, staged->model, staged->due, staged->result);
	foreach(cell, consumes ? staged->due->inputs : NIL)
	{
		EtlInput   *input = lfirst(cell);

		names = lappend(names, input->name);
		if (input->consumption != NULL)
		{
			/* an append stream says itself when rows of its loads go */
			input->consumption->recorded |=
				contains(staged->recorded, input->name) || (incremental && !etl_input_is_recorded(input));
			etl_consumption_store(staged->model->target, input->name, input->consumption);
		}
		if (input->kind != 's' && input->kind != 'r')
			etl_json_add_int64(inputs, input->name, input->publication);
	}
	if (consumes)
		etl_consumption_end(staged->model->target, names);
	/* what reads this model is due when its rows changed, or when it is another query */
	if (changed)
		state->publication++;
	state->created = true;
	state->built_version = staged->model->version;
	if (staged->due->slice == NULL)
		state->built_fingerprint = staged->due->fingerprint;
	state->sample = staged->due->sample;
	if (consumes)
		state->inputs = etl_json_object_end(inputs);
	state->last_success_at = GetCurrentTimestamp();
	state->last_run_id = staged->driver->run_id;
	etl_node_state_set(staged->model->target, state);
	if (!stored || strcmp(staged->due->plan.action, "incremental") == 0)
		return;
	etl_cover_remember(staged->model, staged->due);
	if (!staged->copied)
		etl_frozen_forget(staged->model->target);
	if (state->rebuild != NULL)
		etl_node_rebuilt(staged->model->target, state->rebuild);
}

/*
 * explain_duplicate says of an error at hand, when the index on the model's
 * key could not be built, what the query yields; returns otherwise.
 */
static void
explain_duplicate(const EtlModel *model)
{
	ErrorData  *error = CopyErrorData();
	char	   *key = etl_diff_key_columns(model);
	char	   *start = psprintf("Key (%s)=", key);

	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || model->key == NIL || error->detail == NULL ||
		strncmp(error->detail, start, strlen(start)) != 0)
		return;
	FlushErrorState();
	error->message = psprintf("the query of %s yields more than one row for a key", model->target);
	error->hint = psprintf("Make the query yield one row a key, for example with SELECT "
						   "DISTINCT ON (%s) … ORDER BY.", key);
	etl_rethrow(error);
}

/*
 * finish_table indexes and analyzes the new rows; inside etl_run_as.
 */
static void
finish_table(EtlStaged *staged)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		if (staged->swap != NULL)
			etl_swap_index(staged->swap);
		else if (staged->parts == NULL)
		{
			if (staged->created)
				etl_given_constraints(staged->model, staged->due->relid, 0);
			etl_table_indexes(staged->model, staged->due->relid);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		explain_duplicate(staged->model);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!staged->opened)
		gather_statistics(staged);
}

void
etl_model_finish(EtlStaged *staged)
{
	EtlModel   *model = staged->model;
	int			old_version = staged->due->state->built_version;
	EtlRunAs	as;

	if (strcmp(staged->due->plan.action, "unchanged") == 0)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (strcmp(model->materialized, "view") != 0)
	{
		etl_run_as_begin(&as, model->owner, model->settings);
		check_new_state(staged);
		finish_table(staged);
		etl_run_as_end(&as);
	}
	/* columns may have come or gone since the definition was resolved */
	if (staged->due->columns_changed)
		etl_model_resolve(model, NULL);
	if (staged->keep != NULL)
		etl_kept_store(model->target, quote_qualified_identifier(
										  get_namespace_name(get_rel_namespace(staged->due->relid)),
										  staged->keep));
	remember(staged);

	if (strcmp(model->materialized, "view") != 0)
	{
		etl_run_as_begin(&as, model->owner, model->settings);
		if (staged->swap != NULL)
		{
			etl_swap_publish(staged->swap);
			if (etl_model_is_matview(model))
			{
				if (old_version != model->version)
					etl_matview_define(model, staged->due->relid);
				etl_matview_populate(staged->due->relid);
			}
			etl_table_indexes(model, staged->due->relid);
			if (etl_record_is_on(staged->due->relid))
				(void) etl_change_set_add(model->target, psprintf("%s was rebuilt", model->target), NIL, 0);
		}
		if (staged->parts != NULL)
		{
			etl_partition_swap_publish(staged->parts);
			etl_table_indexes(model, staged->due->relid);
		}
		if (staged->dress != NULL)
			etl_matview_dress(staged->due->relid, staged->dress);
		if (old_version != model->version || staged->created || staged->due->columns_changed)
		{
			etl_given_constraints(model, staged->due->relid, old_version);
			/* a constraint that went may have kept the key unique */
			etl_table_indexes(model, staged->due->relid);
			etl_given_words(model, staged->due->relid);
		}
		etl_run_as_end(&as);
		etl_dependents_restore(staged->dependents, NULL);
		if (staged->keep != NULL)
			etl_keep_prune(model, etl_keep_versions(model));
		etl_run_as_begin(&as, model->owner, model->settings);
		if (!staged->copied && !staged->opened)
			etl_table_hooks(model, "post_hook");
		etl_run_as_end(&as);
	}
	/* it may have spilled to a file, which must not outlive the transaction */
	if (staged->diff != NULL)
	{
		tuplestore_end(staged->diff->rows);
		staged->diff->rows = NULL;
	}
	PopActiveSnapshot();
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

	etl_model_apply_deletes(staged);
	etl_model_apply_upserts(staged);
	etl_model_finish(staged);
}
