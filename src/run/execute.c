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
 *	   | ^          |  '--> failed      its own error, or of its group
 *	   | '----------'                   an error that may heal: tried again later
 *	   '------------------> skipped     something above it failed, or a condition
 *
 * Everybody who works on the run goes through this loop: its leader, and the
 * helpers that joined it.  The board (board.h) says what is taken and what is
 * done.  Alone, nodes are taken parents first and by name, the same way every
 * time; together, the longest way to the end goes first.
 *
 * Another run may be at work on the same node.  So a node is locked first and
 * planned again under the lock: what the other has done is found done.  A
 * participant holds the locks of the nodes it works on and of no others, taken
 * in name order, and waits for nobody of its own run meanwhile: so there is no
 * circle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/child.h"
#include "catalog/graph.h"
#include "catalog/pool.h"
#include "catalog/tasks.h"
#include "common/node_lock.h"
#include "common/progress.h"
#include "run/board.h"
#include "run/run.h"

/* how often a free place in a pool is looked for */
#define POOL_POLL_MS 100

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
 * tell_others reports the tasks that helpers have finished, as far as their
 * rows are written.
 */
static void
tell_others(EtlRunState *state)
{
	List	   *ids = NIL;
	List	   *rest = NIL;
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);
	ListCell   *cell;

	foreach(cell, state->untold)
		ids = lappend(ids, ((EtlNode *) lfirst(cell))->task);
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_tasks_read(ids);
	PopActiveSnapshot();
	foreach(cell, state->untold)
	{
		EtlNode    *node = lfirst(cell);

		if (node->task->finished_at == DT_NOBEGIN)
			rest = lappend(rest, node);
		else if (state->tells)
			etl_report_task(node->task);
	}
	list_free(ids);
	list_free(state->untold);
	state->untold = rest;
	MemoryContextSwitchTo(old);
}

/*
 * etl_node_is_done: see run.h.
 */
bool
etl_node_is_done(EtlNode *node)
{
	bool		changed_above;
	ListCell   *cell;

	if (node->done || node->selected)
		return node->done;
	check_stack_depth();
	foreach(cell, node->parents)
		if (!etl_node_is_done(lfirst(cell)))
			return false;
	etl_node_inherit(node, &changed_above);
	node->changed = changed_above;
	return node->done = true;
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
			if (!etl_node_is_done(lfirst(parent)) && !list_member_ptr(nodes, lfirst(parent)))
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
 * give_back unlocks nodes and ends what was shown of their progress.
 */
static void
give_back(List *locked)
{
	ListCell   *cell;

	etl_progress_stop();
	foreach(cell, locked)
		etl_unlock_node(lfirst(cell));
}

/*
 * lock_and_work does the work of nodes under their locks.
 */
static bool
lock_and_work(EtlRunState *state, List *nodes)
{
	EtlNode    *first = linitial(nodes);
	const Jsonb *options = first->stream ? first->stream->options : first->model->options;
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
		etl_clocks_start(options);
		if (first->stream != NULL)
			etl_work_on_stream(state, first);
		else
			done = etl_work_on_models(state, nodes);
	}
	PG_CATCH();
	{
		give_back(locked);
		/* in a transaction block the end of a limit ends the block */
		if (!session)
			etl_clocks_restate(state);
		etl_clocks_stop();
		PG_RE_THROW();
	}
	PG_END_TRY();
	give_back(locked);
	etl_clocks_stop();
	return done;
}

/*
 * skip_all skips nodes because of what one of them says.
 */
static void
skip_all(EtlRunState *state, List *nodes, const EtlSkip *skip)
{
	ListCell   *cell;

	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);

		node->conditional = skip->conditional;
		etl_node_skipped(state, node, skip->root ? skip->root : node,
						 skip->root ? skip->root->name->canonical : NULL, skip->reason);
	}
}

/*
 * find_lost finds a node whose process is gone, and notes that as the
 * failure of its attempt.
 */
static bool
fail_lost(EtlRunState *state, List *nodes)
{
	EtlNode    *lost = NULL;
	ErrorData	error = {0};
	ListCell   *cell;

	foreach(cell, nodes)
		if (((EtlNode *) lfirst(cell))->lost)
			lost = lfirst(cell);
	if (lost == NULL)
		return false;
	error.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
	error.message = "the process that worked on it was terminated";
	etl_node_failed(state, lost, &error);
	if (lost->done)
	{
		EtlSkip		skip = {
			lost, false,
			psprintf("it publishes together with %s, which failed", lost->name->canonical)};

		skip_all(state, list_difference_ptr(nodes, list_make1(lost)), &skip);
	}
	etl_nodes_settle(state, nodes);
	return true;
}

/*
 * work_on works on claimed nodes, or finds that there is nothing to do.
 */
static void
work_on(EtlRunState *state, List *nodes)
{
	EtlNode    *first = linitial(nodes);
	EtlSkip		skip = {0};
	bool		changed_above = false;
	bool		done = true;
	ListCell   *cell;

	foreach(cell, nodes)
		if (skip.reason == NULL)
			etl_rule_judge(state, lfirst(cell), nodes, &skip);
	etl_node_inherit(first, &changed_above);

	if (fail_lost(state, nodes))
		;
	else if (skip.reason != NULL)
		skip_all(state, nodes, &skip);
	else if (first->planned_unchanged && !changed_above && first->group == 0 && !state->flags &&
			 first->incomplete == NULL)
		etl_node_unchanged(state, first, "unchanged", first->reason);
	else
		done = lock_and_work(state, nodes);

	/* a view shows what changed above it, even when it stays as it is; so do lists of a stream's records */
	foreach(cell, nodes)
	{
		EtlNode    *member = lfirst(cell);

		etl_node_inherit(member, &changed_above);
		if (member->model != NULL ? strcmp(member->model->materialized, "view") == 0 :
									etl_stream_parent(member->stream) != NULL)
			member->changed = member->changed || changed_above;
		if (!done)
			etl_board_edges_changed(state, member);
	}
	etl_board_publish(state, nodes);
	tell(state, nodes);
}

/*
 * may_claim tells whether nodes wait and may be tried now; when only the
 * time has not come yet, *until is when to look again.
 */
static bool
may_claim(EtlRunState *state, List *nodes, TimestampTz *until)
{
	ListCell   *cell;

	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);
		EtlBoardNode *entry = &state->board->node[node->place];

		if (node->task == NULL)
			return false;
		if (entry->state != ETL_BOARD_WAITING && !(entry->state == ETL_BOARD_CLAIMED && entry->lost))
			return false;
		if (entry->not_before != 0 && entry->not_before > GetCurrentTimestamp())
		{
			*until = Min(*until, entry->not_before);
			return false;
		}
	}
	return true;
}

/*
 * pick claims the first node that is ready, with those it publishes together
 * with; NIL when there is none until *until, or until the board moves.
 */
static List *
pick(EtlRunState *state, TimestampTz *until)
{
	EtlGraph   *graph = state->graph;
	EtlNode   **sequence = state->sequence ? state->sequence : graph->order;
	Bitmapset  *groups = NULL;

	*until = DT_NOEND;
	while (state->first < graph->n && (sequence[state->first]->done || !sequence[state->first]->selected))
		state->first++;
	for (int i = state->first; i < graph->n; i++)
	{
		EtlNode    *node = sequence[i];
		List	   *nodes;

		if (node->done || !node->selected || bms_is_member(node->group, groups))
			continue;
		if (node->group != 0)
			groups = bms_add_member(groups, node->group);
		nodes = etl_group_members(graph, node);
		if (!may_claim(state, nodes, until) || !is_ready(nodes))
			continue;
		if (!etl_pool_enter(state, nodes))
		{
			*until = Min(*until, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), POOL_POLL_MS));
			continue;
		}
		if (etl_board_claim(state, nodes))
			return nodes;
		etl_pool_leave(state);
	}
	return NIL;
}

/*
 * is_over tells whether nothing is left, or nothing that could ever begin.
 */
static bool
is_over(EtlRunState *state, TimestampTz until)
{
	EtlBoard   *board = state->board;
	bool		open = false;

	if (board->closed)
		return true;
	for (int i = 0; i < board->n; i++)
	{
		EtlBoardNode *entry = &board->node[i];

		if (!entry->selected)
			continue;
		if (entry->state == ETL_BOARD_CLAIMED)
			return false;
		open = open || entry->state == ETL_BOARD_WAITING;
	}
	/* what was finished meanwhile may have made something ready */
	return !open || (until == DT_NOEND && state->seen == board->nlog);
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
 * reload_edges reads the edges again that others have found by analysis.
 */
static void
reload_edges(EtlRunState *state)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < state->board->n; i++)
		if (state->board->node[i].edges_changed && state->at[i] != NULL)
			(void) etl_graph_refresh(state->graph, state->at[i]);
	PopActiveSnapshot();
	state->first = 0;
	if (state->sequence != NULL)
		etl_rank_sort(state);
}

/*
 * step does one thing, or waits; false when there is nothing left.
 */
static bool
step(EtlRunState *state)
{
	TimestampTz until;
	List	   *nodes;

	CHECK_FOR_INTERRUPTS();
	if (state->paused)
		return false;
	if (etl_board_sync(state))
		reload_edges(state);
	if (state->place == 0 && state->untold != NIL)
		tell_others(state);
	nodes = pick(state, &until);
	if (nodes != NIL)
	{
		ConditionVariableCancelSleep();
		work_on(state, nodes);
		etl_pool_leave(state);
		return true;
	}
	etl_nodes_flush(state);
	if (is_over(state, until))
		return false;
	if (etl_slices_help(state))
		return true;
	etl_board_wait(state, until);
	return true;
}

/*
 * etl_run_steps works on nodes until none are left for this participant.
 */
void
etl_run_steps(EtlRunState *state)
{
	MemoryContext context = AllocSetContextCreate(state->driver.context, "etl node",
												  ALLOCSET_DEFAULT_SIZES);
	volatile bool more = true;

	while (more)
	{
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			more = step(state);
		}
		PG_CATCH();
		{
			/* places in pools belong to the process, which may go on to other work */
			etl_pool_leave(state);
			PG_RE_THROW();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(state->driver.context);
		MemoryContextReset(context);
	}
	ConditionVariableCancelSleep();
}

/*
 * etl_run_look_around reads what the work needs to know besides the graph.
 */
void
etl_run_look_around(EtlRunState *state)
{
	ListCell   *cell;

	state->pools = etl_pools_all();
	state->flags = etl_nodes_flagged();
	foreach(cell, etl_checked_all())
	{
		EtlNode    *node = etl_graph_find(state->graph, lfirst(cell));

		if (node != NULL)
			node->checked = true;
	}
}

/*
 * has_room tells whether the run may put one more process to work: a load
 * may use those that have no node.
 */
static bool
has_room(EtlDriver *driver)
{
	EtlRunState *state = (EtlRunState *) ((char *) driver - offsetof(EtlRunState, driver.base));

	return state->board != NULL && etl_board_participants(state) < state->workers;
}

/*
 * etl_run_execute: see run.h.
 */
void
etl_run_execute(EtlRunState *state)
{
	tell(state, state->certain);
	if (state->workers > 1)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		etl_rank_nodes(state);
		PopActiveSnapshot();
	}
	etl_board_make(state, state->workers > 1);
	if (state->segment != NULL)
	{
		etl_run_call_helpers(state);
		state->driver.base.has_room = has_room;
	}
	etl_run_steps(state);
	etl_board_close(state, false);
	if (etl_board_sync(state))
		reload_edges(state);
	if (!state->paused)
		skip_rest(state);
	if (state->untold != NIL)
		tell_others(state);
}
