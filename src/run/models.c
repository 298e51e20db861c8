/*-------------------------------------------------------------------------
 *
 * models.c
 *    Work on models: one, or several that publish together.
 *
 * Analyzed and planned under their locks, built in one subtransaction, written
 * down and committed.  Those of a group share the transaction and the fate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/progress.h"
#include "common/run_as.h"
#include "model/model.h"
#include "run/run.h"

/* The nodes that are worked on in one go: nearly always one. */
typedef struct Work
{
	EtlRunState *state;
	List	   *nodes;			/* EtlNode *, parents first */
	EtlNode    *at;				/* the one at work, for errors */
	List	   *results;		/* EtlBuildResult *, in the order of nodes */
	List	   *skipped;		/* EtlNode *: given up while the group was built */
	bool		postponed;		/* analysis found an input that is not done yet */
} Work;

typedef struct ResolveWork
{
	EtlModel   *model;
	bool		resolved;
	char	   *missing;
} ResolveWork;

/*
 * resolve_model analyzes one model; an argument of etl_subxact.
 */
static void
resolve_model(void *arg)
{
	ResolveWork *work = arg;

	work->resolved = etl_model_resolve(work->model, &work->missing);
}

/*
 * cannot_resolve notes a model whose input is not there: skipped when a node
 * may still bring it, failed when nobody will.
 */
static void
cannot_resolve(Work *work, EtlNode *node, const char *missing)
{
	EtlRunState *state = work->state;
	EtlNode    *input = missing ? etl_graph_find(state->graph, missing) : NULL;
	ErrorData	error = {0};

	if (input != NULL && !input->done && list_member_ptr(work->nodes, input))
		return;					/* one of its own group brings it */
	node->task->action = "unresolved";
	if (input != NULL)
	{
		etl_node_skipped(state, node, node, input->name->canonical,
						 psprintf("its input %s does not exist yet", missing));
		return;
	}
	error.sqlerrcode = ETL_ERR_UNRESOLVED;
	error.message = psprintf("input \"%s\" does not exist", missing ? missing : "?");
	error.detail = "No relation, stream or model of that name is there, so the model cannot be analyzed.";
	error.hint = psprintf("Create it, define a stream or model of that name, or correct the query of %s.",
						  node->name->canonical);
	etl_node_failed(state, node, &error);
}

/*
 * resolve makes a model resolved whose inputs now exist.  False when the
 * node is not to be built now.
 */
static bool
resolve(Work *work, EtlNode *node)
{
	EtlRunState *state = work->state;
	ResolveWork resolving = {node->model, false, NULL};
	ErrorData  *error;
	MemoryContext old;
	ListCell   *cell;

	error = etl_subxact(resolve_model, &resolving);
	if (error != NULL)
		etl_node_failed(state, node, error);
	else if (!resolving.resolved)
		cannot_resolve(work, node, resolving.missing);
	if (node->done || !resolving.resolved)
		return false;

	/* what the analyzed query reads may be more than its names said */
	old = MemoryContextSwitchTo(state->driver.context);
	if (etl_graph_refresh(state->graph, node))
		state->first = 0;
	MemoryContextSwitchTo(old);
	foreach(cell, node->parents)
	{
		EtlNode    *parent = lfirst(cell);

		if (!etl_node_is_done(parent) && !list_member_ptr(work->nodes, parent))
			work->postponed = true;
	}
	return !work->postponed;
}

/*
 * wants_to_run evaluates the node's own condition.
 */
static bool
wants_to_run(Work *work, EtlNode *node)
{
	bool		holds;
	ErrorData  *error = etl_rule_run_if(node, &holds);

	if (error != NULL)
		etl_node_failed(work->state, node, error);
	else if (!holds)
	{
		node->conditional = true;
		etl_node_skipped(work->state, node, node, NULL, "its condition run_if does not hold");
	}
	return error == NULL && holds;
}

/*
 * prepare_models analyzes and plans the nodes under their locks.  What has
 * nothing to do is finished here.
 */
static void
prepare_models(Work *work)
{
	EtlRunState *state = work->state;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, work->nodes)
	{
		EtlNode    *node = lfirst(cell);
		EtlModelPlan *plan;
		MemoryContext old = MemoryContextSwitchTo(state->driver.context);

		/* it may have been defined anew, or resolved by another run */
		work->at = node;
		node->model = etl_model_get(node->name->canonical);
		etl_fallback_apply(node->model, node->instead);
		etl_slices_ask(state, node);
		MemoryContextSwitchTo(old);
		if (!node->model->resolved && !resolve(work, node))
			continue;
		if (!wants_to_run(work, node))
			continue;
		/* alone, and due when the run was planned: the build decides itself */
		if (list_length(work->nodes) == 1 && strcmp(node->task->action, "unchanged") != 0 &&
			strcmp(node->task->action, "unresolved") != 0)
			continue;
		plan = etl_model_plan(node->model, state->run.full_refresh);
		node->task->action = etl_run_keep(state, plan->action);
		node->task->reason = etl_run_keep(state, plan->reason);
		if (strcmp(plan->action, "unchanged") == 0 && list_length(work->nodes) == 1)
			etl_node_unchanged(state, node, plan->action, plan->reason);
	}
	PopActiveSnapshot();
}

/*
 * can_build tells whether a node's turn in its group has come to something:
 * what the group has built before may have made it possible, or impossible.
 */
static bool
can_build(Work *work, EtlNode *node)
{
	EtlSkip		skip = {0};

	etl_rule_judge(work->state, node, NIL, &skip);
	if (skip.reason != NULL)
	{
		node->conditional = skip.conditional;
		etl_node_skipped(work->state, node, skip.root ? skip.root : node,
						 skip.root ? skip.root->name->canonical : NULL,
						 skip.root ? "it needs what was skipped before" : skip.reason);
	}
	else if (!node->model->resolved)
		(void) resolve(work, node);
	if (node->done)
		work->skipped = lappend(work->skipped, node);
	return !node->done;
}

/*
 * build builds one node.  In a group never by a swap: its lock would be held
 * until the last node is built.
 */
static void
build(Work *work, EtlNode *node, EtlBuildResult *result)
{
	EtlDriver  *driver = &work->state->driver.base;
	bool		full_refresh = work->state->run.full_refresh;
	EtlStaged  *staged;

	if (list_length(work->nodes) == 1)
		etl_model_build(driver, node->model, full_refresh, result);
	else
	{
		staged = etl_model_stage(driver, node->model, full_refresh, true, result);
		etl_model_apply_deletes(staged);
		etl_model_apply_upserts(staged);
		etl_model_finish(staged);
	}
	if (result->opened)
		etl_slices_build_here(work->state, node, result);
}

/*
 * build_models builds the nodes that are not finished; an argument of
 * etl_subxact.
 */
static void
build_models(void *arg)
{
	Work	   *work = arg;
	ListCell   *cell;

	foreach(cell, work->nodes)
	{
		EtlNode    *node = lfirst(cell);
		EtlBuildResult *result = palloc0(sizeof(EtlBuildResult));

		work->results = lappend(work->results, result);
		if (node->done || !can_build(work, node))
			continue;
		work->at = node;
		work->state->driver.base.node = node->name->canonical;
		etl_progress_start(work->state->run.run_id, node->name->canonical, "building");
		node->task->started_at = GetCurrentTimestamp();
		build(work, node, result);
		node->built_at = GetCurrentTimestamp();
		CommandCounterIncrement();
	}
}

/*
 * blame makes the node that an error about a constraint names the failed one.
 */
static void
blame(Work *work, const ErrorData *error)
{
	ListCell   *cell;

	foreach(cell, work->nodes)
	{
		EtlNode    *node = lfirst(cell);

		if (!node->done && error->schema_name != NULL &&
			strcmp(node->name->schema, error->schema_name) == 0 &&
			strcmp(node->name->relation, error->table_name) == 0)
			work->at = node;
	}
}

/*
 * build_all_at_once builds the nodes and only then looks at their foreign
 * keys, so that a parent's row may go before the children's rows that
 * referenced it.  An argument of etl_subxact.
 */
static void
build_all_at_once(void *arg)
{
	Work	   *work = arg;
	EtlModel   *model = ((EtlNode *) linitial(work->nodes))->model;
	EtlRunAs	as;

	AfterTriggerBeginQuery();
	etl_model_defer_triggers = true;
	PG_TRY();
	{
		build_models(work);
	}
	PG_FINALLY();
	{
		etl_model_defer_triggers = false;
	}
	PG_END_TRY();

	etl_run_as_begin(&as, model->owner, NULL);
	AfterTriggerEndQuery(NULL);
	etl_run_as_end(&as);
}

/*
 * have_one_owner tells whether the triggers of all nodes may run together.
 */
static bool
have_one_owner(List *nodes)
{
	ListCell   *cell;

	foreach(cell, nodes)
		if (strcmp(((EtlNode *) lfirst(cell))->model->owner,
				   ((EtlNode *) linitial(nodes))->model->owner) != 0)
			return false;
	return true;
}

/*
 * forget_build forgets what a build that was rolled back has noted.
 */
static void
forget_build(Work *work)
{
	ListCell   *cell;

	etl_nodes_forget(work->state, work->skipped);
	work->skipped = NIL;
	work->results = NIL;
	/* what was analyzed within the group is not stored any more */
	foreach(cell, work->nodes)
	{
		EtlNode    *node = lfirst(cell);

		if (!node->done)
			node->model->resolved = etl_model_get(node->name->canonical)->resolved;
	}
}

/*
 * build_group builds the nodes in a subtransaction and returns its error.
 * When a foreign key is in the way, rows that go may be waiting for rows
 * that go later: then it is tried again with the keys looked at last.
 */
static ErrorData *
build_group(Work *work)
{
	ErrorData  *error = etl_subxact(build_models, work);

	if (error != NULL && error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION &&
		list_length(work->nodes) > 1 && have_one_owner(work->nodes))
	{
		forget_build(work);
		error = etl_subxact(build_all_at_once, work);
		if (error != NULL && error->table_name != NULL)
			blame(work, error);
	}
	return error;
}

/*
 * note_built notes what the builds did.
 */
static void
note_built(Work *work)
{
	EtlRunState *state = work->state;
	ListCell   *cell;
	ListCell   *result_cell;

	forboth(cell, work->nodes, result_cell, work->results)
	{
		EtlNode    *node = lfirst(cell);
		EtlBuildResult *result = lfirst(result_cell);
		EtlTask    *task = node->task;

		if (node->done)
			continue;
		if (strcmp(result->plan.action ? result->plan.action : "", "unchanged") == 0)
		{
			etl_node_unchanged(state, node, "unchanged", result->plan.reason);
			task->finished_at = node->built_at;
			continue;
		}
		task->action = etl_run_keep(state, result->plan.action);
		task->reason = etl_run_keep(state, result->plan.reason);
		task->rows_inserted = result->inserted;
		task->rows_updated = result->updated;
		task->rows_deleted = result->deleted;
		task->rows_rejected = result->rejected;
		node->changed = true;
		node->check_results = result->check_results;
		etl_node_finish(state, node, "succeeded");
		/* of nodes that publish together each tells its own time */
		task->finished_at = node->built_at;
	}
}

/*
 * note_failed notes the error of the node at work; those that would have
 * been published together with it share its fate.
 */
static void
note_failed(Work *work, ErrorData *error)
{
	EtlNode    *failed = work->at;
	ListCell   *cell;
	int			i = list_member_ptr(work->nodes, failed) ? 0 : -1;

	if (!failed->done)
		etl_node_failed(work->state, failed, error);
	foreach(cell, work->nodes)
	{
		EtlNode    *node = lfirst(cell);

		if (node == failed && i >= 0 && i < list_length(work->results))
			node->check_results = ((EtlBuildResult *) list_nth(work->results, i))->check_results;
		i += i >= 0;
		if (node->done || node == failed)
			continue;
		if (!failed->done)
			etl_node_put_back(work->state, node, failed->not_before);
		else
			etl_node_skipped(work->state, node, failed, failed->name->canonical,
							 psprintf("it publishes together with %s, which failed",
									  failed->name->canonical));
	}
}

/*
 * work_models does everything about the nodes up to their commit; an
 * argument of etl_driver_try.
 */
static void
work_models(void *arg)
{
	Work	   *work = arg;
	EtlRunState *state = work->state;
	ErrorData  *error;
	bool		open = false;
	bool		failed = false;
	bool		later = false;	/* to be tried again */
	ListCell   *cell;

	/* a lock may have been waited for: look at the world as it is now */
	if (IsolationUsesXactSnapshot())
		state->driver.base.commit(&state->driver.base);
	prepare_models(work);
	foreach(cell, work->nodes)
	{
		EtlNode    *node = lfirst(cell);

		open = open || !node->done;
		failed = failed || strcmp(node->task->status, "failed") == 0;
		later = later || (!node->done && node->not_before != 0);
	}
	if (!open || later || work->postponed)
	{
		/* what analysis has stored must not stay locked while others are waited for */
		if (failed || later || state->flags)
			etl_nodes_settle(state, work->nodes);
		else if (work->postponed)
			state->driver.base.commit(&state->driver.base);
		return;
	}

	etl_nodes_begin(state, work->nodes);
	if (list_length(work->nodes) == 1 && !state->driver.base.atomic && etl_model_has_slices(work->at->model))
	{
		etl_slices_work(state, linitial(work->nodes));
		return;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	error = build_group(work);
	PopActiveSnapshot();
	if (error == NULL)
		note_built(work);
	else
		note_failed(work, error);
	etl_nodes_settle(state, work->nodes);
}

/*
 * etl_work_on_models builds nodes that publish together, or one.  False when
 * they have to wait for an input that analysis has found.
 */
bool
etl_work_on_models(EtlRunState *state, List *nodes)
{
	Work		work = {state, nodes, linitial(nodes), NIL, NIL, false};
	ErrorData  *error = etl_driver_try(&state->driver, work_models, &work);

	if (error == NULL)
		return !work.postponed;
	if (etl_node_is_cancelled(error))
	{
		EtlNode    *node = linitial(nodes);

		/* what was committed interval by interval stays */
		if (!node->done &&
			node->task->rows_inserted + node->task->rows_updated + node->task->rows_deleted > 0)
			etl_node_broken_off(state, node);
		etl_rethrow(error);
	}

	/* the error came from outside the build: from planning, or the commit */
	etl_nodes_forget(state, nodes);
	note_failed(&work, error);
	etl_nodes_settle(state, nodes);
	return true;
}
