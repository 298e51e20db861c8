/*-------------------------------------------------------------------------
 *
 * finish.c
 *    The end of a build: what was staged is checked, indexed, published and
 *    remembered.
 *
 * The swap, which makes readers wait, is the last step.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/frozen.h"
#include "catalog/kept.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "load/dependents.h"
#include "model/internal.h"
#include "model/staged.h"

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
					   (stored && !staged->opened) || state->built_version != staged->model->version ||
						   (!stored && staged->due->reread);
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
			input->consumption->recorded |= etl_name_among(staged->recorded, input->name) ||
											(incremental && !etl_input_is_recorded(input));
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
 * renamed returns a text with the name of what the rows are built in, which
 * nobody knows, replaced by that of the table.
 */
static char *
renamed(char *text, const char *wrong, const char *right)
{
	StringInfoData result;
	char	   *at;

	if (text == NULL || strstr(text, wrong) == NULL)
		return text;
	initStringInfo(&result);
	for (; (at = strstr(text, wrong)) != NULL; text = at + strlen(wrong))
	{
		appendBinaryStringInfo(&result, text, at - text);
		appendStringInfoString(&result, right);
	}
	appendStringInfoString(&result, text);
	return result.data;
}

/*
 * explain_heap makes an error at hand, which came of work at what the rows are
 * built in, one of the target; returns when that is the target itself.
 */
static void
explain_heap(const EtlStaged *staged, const char *wrong)
{
	EtlName    *name = etl_name_parse(staged->model->target);
	ErrorData  *error;

	if (staged->swap == NULL && !OidIsValid(staged->replaced))
		return;
	error = CopyErrorData();
	FlushErrorState();
	error->message = renamed(error->message, wrong, name->relation);
	error->detail = renamed(error->detail, wrong, name->relation);
	error->context = renamed(error->context, wrong, name->relation);
	error->table_name = renamed(error->table_name, wrong, name->relation);
	error->constraint_name = renamed(error->constraint_name, wrong, name->relation);
	etl_rethrow(error);
}

/*
 * finish_table indexes and analyzes the new rows; inside etl_run_as.
 */
static void
finish_table(EtlStaged *staged)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = staged->swap ? psprintf("pg_temp_%u", staged->due->relid) :
								get_rel_name(staged->due->relid);

	PG_TRY();
	{
		if (staged->swap != NULL)
		{
			etl_swap_index(staged->swap);
			etl_refit_prepare(staged->swap);
		}
		else if (staged->parts == NULL)
		{
			if (staged->created)
				etl_given_constraints(staged->model, staged->due->relid, 0);
			etl_table_indexes(staged->model, staged->due->relid);
			if (OidIsValid(staged->replaced))
				etl_replace_index(staged);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		explain_duplicate(staged->model);
		explain_heap(staged, name);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!staged->opened)
		gather_statistics(staged);
}

/*
 * release_columns takes the managed views away that read columns which go
 * with the swap, once all of their readers and the table's have gone.
 */
static void
release_columns(EtlStaged *staged)
{
	if (staged->swap->refit->lost == NIL)
		return;
	etl_swap_flush();
	staged->dependents = etl_dependents_drop(staged->due->relid, staged->swap->refit->lost);
	staged->swap->locked = true;
}

/*
 * publish puts the new rows in the place of the old ones, and gives the table
 * what the definition says of it; inside etl_run_as.  'old_version' is what was
 * served until now.
 */
static void
publish(EtlStaged *staged, int old_version)
{
	EtlModel   *model = staged->model;

	if (staged->swap != NULL)
	{
		release_columns(staged);
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
	if (OidIsValid(staged->replaced))
		etl_replace_publish(staged);
	if (old_version != model->version || staged->created || staged->due->columns_changed)
	{
		etl_given_constraints(model, staged->due->relid, old_version);
		/* a constraint that went may have kept the key unique */
		etl_table_indexes(model, staged->due->relid);
		etl_given_words(model, staged->due->relid);
	}
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
	if (staged->due->columns_changed || (staged->due->below != NULL && etl_model_is_view(model)))
		etl_model_resolve(model, NULL);
	if (staged->keep != NULL)
		etl_kept_store(model->target, quote_qualified_identifier(
										  get_namespace_name(get_rel_namespace(staged->due->relid)),
										  staged->keep));
	remember(staged);

	if (strcmp(model->materialized, "view") != 0)
	{
		etl_run_as_begin(&as, model->owner, model->settings);
		publish(staged, old_version);
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
	if (staged->diff != NULL && staged->diff->rows != NULL)
	{
		tuplestore_end(staged->diff->rows);
		staged->diff->rows = NULL;
	}
	PopActiveSnapshot();
}
