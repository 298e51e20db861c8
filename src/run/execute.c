/*-------------------------------------------------------------------------
 *
 * execute.c
 *    A run at work: which node is next, and what becomes of it.
 *
 * A node is worked on when everything above it is done.  Each has one
 * transaction (a stream: one a load); a failure is written down and stops
 * only what depends on it.  Nodes that publish together share a transaction
 * and a fate.
 *
 *	 queued --> running --> succeeded
 *	   |           '------> failed      its own error, or of its group
 *	   '------------------> skipped     something above it failed
 *
 * Another session may be at work on the same node.  So a node is locked
 * first and planned again under the lock: what the other has done is found
 * done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/errors.h"
#include "common/progress.h"
#include "load/load.h"
#include "run/run.h"

typedef struct PullWork
{
	EtlRunState *state;
	EtlNode    *node;
	EtlPullResult result;
} PullWork;

/*
 * pull_stream lands what is new; commits load by load.
 */
static void
pull_stream(void *arg)
{
	PullWork   *work = arg;

	EtlRunState *state = work->state;
	EtlNode    *node = work->node;
	MemoryContext old;

	etl_nodes_begin(state, list_make1(node));
	etl_progress_start(state->run.run_id, node->name->canonical, "loading");
	PushActiveSnapshot(GetTransactionSnapshot());
	old = MemoryContextSwitchTo(state->driver.context);
	node->stream = etl_stream_get(node->name->canonical);
	MemoryContextSwitchTo(old);

	/* outside a transaction block no snapshot may be held while a network is waited for */
	if (!state->driver.base.atomic)
		PopActiveSnapshot();
	etl_pull(&state->driver.base, node->stream, &work->result);
	if (state->driver.base.atomic)
		PopActiveSnapshot();
}

/*
 * remember_version notes with which definition a stream was pulled, for
 * state:modified.
 */
static void
remember_version(EtlRunState *state, EtlNode *node)
{
	EtlNodeState *known;

	PushActiveSnapshot(GetTransactionSnapshot());
	known = etl_node_state_get(node->name->canonical);
	if (known->built_version != node->stream->version)
	{
		known->built_version = node->stream->version;
		etl_node_state_set(node->name->canonical, known);
	}
	PopActiveSnapshot();
}

/*
 * with_remark joins a reason and what is to be said beside it.
 */
static const char *
with_remark(const char *reason, const char *remark)
{
	return remark ? psprintf("%s; %s", reason, remark) : reason;
}

/*
 * work_on_stream pulls a stream and notes what came of it.
 */
static void
work_on_stream(EtlRunState *state, EtlNode *node)
{
	PullWork	work = {state, node, {0}};
	EtlPullResult *result = &work.result;
	EtlTask    *task = node->task;
	ErrorData  *error = etl_driver_try(&state->driver, pull_stream, &work);

	if (error != NULL && state->driver.base.atomic)
		memset(result, 0, sizeof(EtlPullResult));	/* all of it was rolled back */
	task->action = "load";
	task->rows_inserted = result->inserted;
	task->rows_updated = result->updated;
	task->rows_deleted = result->deleted;
	task->rows_rejected = result->rejected;
	node->changed = result->loads > 0;
	if (error != NULL && etl_error_is_cancel(error))
	{
		etl_node_broken_off(state, node);
		ReThrowError(error);
	}
	if (error == NULL)
		remember_version(state, node);
	if (error != NULL)
		etl_node_failed(state, node, error);
	else if (result->loads == 0)
		etl_node_unchanged(state, node, "load",
						   with_remark(result->reason ? result->reason : "nothing new", result->remark));
	else
	{
		char	   *loads = psprintf(INT64_FORMAT " load%s", result->loads, result->loads == 1 ? "" : "s");

		task->reason = etl_run_keep(state, with_remark(loads, result->remark));
		etl_node_finish(state, node, "succeeded");
	}
	etl_nodes_settle(state, list_make1(node));
}

/*
 * tell reports the finished tasks of the nodes; to the server log only what failed.
 */
static void
tell(EtlRunState *state, List *nodes)
{
	ListCell   *cell;

	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);

		if (node->done && (state->tells || strcmp(node->task->status, "failed") == 0))
			etl_report_task(node->task);
	}
}

/*
 * is_ready tells whether everything above the nodes is done.
 */
static bool
is_ready(List *nodes)
{
	ListCell   *cell;
	ListCell   *parent;

	foreach(cell, nodes)
		foreach(parent, ((EtlNode *) lfirst(cell))->parents)
			if (!((EtlNode *) lfirst(parent))->done && !list_member_ptr(nodes, lfirst(parent)))
				return false;
	return true;
}

/*
 * compare_names orders a list of names.
 */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * lock_and_work does the work of nodes under their locks.
 */
static bool
lock_and_work(EtlRunState *state, List *nodes)
{
	EtlNode    *first = linitial(nodes);
	bool		session = !state->driver.base.atomic;
	List	   *names = NIL;
	List *volatile locked = NIL;
	volatile bool done = true;
	ListCell   *cell;

	foreach(cell, nodes)
		names = lappend(names, ((EtlNode *) lfirst(cell))->name->canonical);
	list_sort(names, compare_names);

	PG_TRY();
	{
		/* in a transaction block they were all locked at the beginning */
		foreach(cell, session ? names : NIL)
		{
			etl_lock_node(lfirst(cell), true);
			locked = lappend(locked, lfirst(cell));
		}
		state->driver.base.node = first->name->canonical;
		if (first->stream != NULL)
			work_on_stream(state, first);
		else
			done = etl_work_on_models(state, nodes);
	}
	PG_FINALLY();
	{
		etl_progress_stop();
		foreach(cell, locked)
			etl_unlock_node(lfirst(cell));
	}
	PG_END_TRY();
	return done;
}

/*
 * skip_all skips nodes because of what failed above one of them.
 */
static void
skip_all(EtlRunState *state, List *nodes, EtlNode *root)
{
	ListCell   *cell;

	foreach(cell, nodes)
		etl_node_skipped(state, lfirst(cell), root, root->name->canonical,
						 psprintf("it needs %s, which did not succeed", root->name->canonical));
}

/*
 * take works on a node that is ready, or finds that there is nothing to do.
 */
static bool
take(EtlRunState *state, EtlNode *node)
{
	bool		changed_above;
	EtlNode    *blocked_by = NULL;
	List	   *nodes;
	ListCell   *cell;
	bool		done = true;

	if (!is_ready(list_make1(node)) && node->group == 0)
		return false;
	if (!node->selected)
	{
		etl_node_inherit(node, &changed_above);
		node->changed = changed_above;
		return node->done = is_ready(list_make1(node));
	}

	nodes = etl_group_members(state->graph, node);
	if (!is_ready(nodes))
		return false;
	foreach(cell, nodes)
	{
		EtlNode    *member = lfirst(cell);

		etl_node_inherit(member, &changed_above);
		blocked_by = blocked_by ? blocked_by : member->blocked_by;
	}
	if (blocked_by != NULL)
		skip_all(state, nodes, blocked_by);
	else if (node->planned_unchanged && !changed_above && node->group == 0)
		etl_node_unchanged(state, node, "unchanged", node->reason);
	else
		done = lock_and_work(state, nodes);

	/* a view shows what changed above it, even when it stays as it is */
	foreach(cell, nodes)
	{
		EtlNode    *member = lfirst(cell);

		etl_node_inherit(member, &changed_above);
		if (member->model != NULL && strcmp(member->model->materialized, "view") == 0)
			member->changed = member->changed || changed_above;
	}
	tell(state, nodes);
	return done;
}

/*
 * skip_rest skips what never became ready: nodes below a circle that
 * analysis has found.
 */
static void
skip_rest(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;

	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->order[i];
		EtlNode    *cause = node;
		ListCell   *cell;

		if (!node->selected || node->done)
			continue;
		foreach(cell, node->parents)
		{
			EtlNode    *parent = lfirst(cell);

			if (parent->blocked_by != NULL || !parent->done)
				cause = parent;
		}
		etl_node_skipped(state, node, node, cause->name->canonical,
						 "its inputs depend on each other in a circle");
		tell(state, list_make1(node));
	}
}

/*
 * etl_run_execute works through the selected nodes.
 */
void
etl_run_execute(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;
	MemoryContext context = AllocSetContextCreate(state->driver.context, "etl node",
												  ALLOCSET_DEFAULT_SIZES);
	bool		progress = true;

	PushActiveSnapshot(GetTransactionSnapshot());
	etl_groups_make(state);
	PopActiveSnapshot();

	while (progress)
	{
		progress = false;
		for (int i = 0; i < graph->n; i++)
		{
			EtlNode    *node = graph->order[i];

			CHECK_FOR_INTERRUPTS();
			if (node->done)
				continue;
			MemoryContextSwitchTo(context);
			progress |= take(state, node);
			MemoryContextSwitchTo(state->driver.context);
			MemoryContextReset(context);
		}
	}
	skip_rest(state);
}
