/*-------------------------------------------------------------------------
 *
 * board.c
 *    What is to be done, who does it, and what is done: shared by those who
 *    work on one run.
 *
 * A finished node never changes again, and the log only grows: a participant
 * reads on from where it was, so that a run of ten thousand nodes is not
 * looked through at every step.  What a participant finished is committed
 * before the board says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/progress.h"
#include "run/board.h"

/* the places of finished nodes */
#define BOARD_LOG(board) ((int *) ((char *) (board) + (board)->log))

/*
 * etl_board_name returns the name of a node.
 */
const char *
etl_board_name(const EtlBoard *board, int place)
{
	return (const char *) board + board->node[place].name;
}

/*
 * leave notes that a participant has gone.  What it had claimed is lost;
 * without its leader a run is over.
 */
static void
leave(EtlBoard *board, int place)
{
	int			helpers[ETL_BOARD_PARTICIPANTS];
	int			n = 0;

	SpinLockAcquire(&board->mutex);
	board->pids[place] = 0;
	if (place == 0)
	{
		board->closed = true;
		for (int i = 1; i < ETL_BOARD_PARTICIPANTS; i++)
			if (board->pids[i] != 0)
				helpers[n++] = board->pids[i];
	}
	for (int i = 0; i < board->n; i++)
		if (board->node[i].state == ETL_BOARD_CLAIMED && board->node[i].claimed_by == place)
			board->node[i].lost = true;
	SpinLockRelease(&board->mutex);

	for (int i = 0; i < n; i++)
		(void) kill(helpers[i], SIGINT);
	ConditionVariableBroadcast(&board->moved);
}

/*
 * on_detach leaves the board of a segment that is about to be unmapped, when
 * the participant ends in whatever way.
 */
static void
on_detach(dsm_segment *segment, Datum place)
{
	/* its memory goes before PostgreSQL would take this process off the list of sleepers */
	ConditionVariableCancelSleep();
	leave(dsm_segment_address(segment), DatumGetInt32(place));
}

/*
 * board_size computes how much memory a graph needs.
 */
static Size
board_size(EtlGraph *graph)
{
	Size		size = offsetof(EtlBoard, node) + (sizeof(EtlBoardNode) + sizeof(int)) * graph->n;

	for (int i = 0; i < graph->n; i++)
		size += strlen(graph->nodes[i]->name->canonical) + 1;
	return size;
}

/*
 * fill writes the nodes as they stand when the work begins.
 */
static void
fill(EtlBoard *board, EtlGraph *graph)
{
	char	   *names;

	board->n = graph->n;
	board->log = offsetof(EtlBoard, node) + sizeof(EtlBoardNode) * graph->n;
	names = (char *) board + board->log + sizeof(int) * graph->n;
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];
		EtlBoardNode *entry = &board->node[i];

		node->place = i;
		entry->selected = node->selected;
		entry->changed = node->changed;
		entry->blocked_by = node->blocked_by ? node->blocked_by->index : -1;
		entry->group = node->group;
		entry->rank = node->rank;
		entry->task_id = node->task ? node->task->task_id : 0;
		entry->attempt = node->task ? node->task->attempt : 0;
		entry->name = names - (char *) board;
		strcpy(names, node->name->canonical);
		names += strlen(names) + 1;
		if (!node->done)
			continue;
		/* a leader before this one has finished it */
		entry->state = strcmp(node->task->status, "succeeded") == 0 ? ETL_BOARD_SUCCEEDED :
					   strcmp(node->task->status, "failed") == 0	? ETL_BOARD_FAILED :
																	  ETL_BOARD_SKIPPED;
		BOARD_LOG(board)
		[board->nlog++] = i;
	}
}

/*
 * etl_board_make: see board.h.
 */
void
etl_board_make(EtlRunState *state, bool shared)
{
	EtlGraph   *graph = state->graph;
	Size		size = board_size(graph);
	EtlBoard   *board;

	if (shared)
	{
		state->segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
		shared = state->segment != NULL;
	}
	if (shared)
	{
		dsm_pin_mapping(state->segment);
		board = dsm_segment_address(state->segment);
		memset(board, 0, size);
	}
	else
		board = MemoryContextAllocZero(state->driver.context, size);

	SpinLockInit(&board->mutex);
	ConditionVariableInit(&board->moved);
	board->run_id = state->run.run_id;
	board->size = size;
	board->pids[0] = MyProcPid;
	fill(board, graph);
	state->board = board;
	state->place = 0;
	state->seen = board->nlog;
	state->at = MemoryContextAlloc(state->driver.context, sizeof(EtlNode *) * Max(graph->n, 1));
	memcpy(state->at, graph->nodes, sizeof(EtlNode *) * graph->n);
	if (shared)
		on_dsm_detach(state->segment, on_detach, Int32GetDatum(0));
}

/*
 * take_place finds a place among the participants; -1 when the run is over
 * or there is none.
 */
static int
take_place(EtlBoard *board)
{
	int			place = -1;

	SpinLockAcquire(&board->mutex);
	for (int i = 1; i < ETL_BOARD_PARTICIPANTS && !board->closed && place < 0; i++)
		if (board->pids[i] == 0)
		{
			board->pids[i] = MyProcPid;
			place = i;
		}
	SpinLockRelease(&board->mutex);
	return place;
}

/*
 * etl_board_attach: see board.h.  The graph is matched by name: the
 * definitions may not be those that the leader has read.
 */
bool
etl_board_attach(EtlRunState *state, dsm_handle handle)
{
	EtlGraph   *graph = state->graph;
	EtlBoard   *board;

	state->segment = dsm_attach(handle);
	if (state->segment == NULL)
		return false;
	dsm_pin_mapping(state->segment);
	board = dsm_segment_address(state->segment);
	state->place = board->run_id == state->run.run_id ? take_place(board) : -1;
	if (state->place < 0)
	{
		dsm_detach(state->segment);
		state->segment = NULL;
		return false;
	}
	on_dsm_detach(state->segment, on_detach, Int32GetDatum(state->place));

	state->board = board;
	state->at = palloc0(sizeof(EtlNode *) * Max(board->n, 1));
	for (int i = 0; i < graph->n; i++)
	{
		graph->nodes[i]->selected = false;
		graph->nodes[i]->place = -1;
	}
	for (int i = 0; i < board->n; i++)
	{
		EtlNode    *node = etl_graph_find(graph, etl_board_name(board, i));

		state->at[i] = node;
		if (node == NULL)
			continue;
		node->place = i;
		node->selected = board->node[i].selected;
		node->group = board->node[i].group;
		node->rank = board->node[i].rank;
	}
	return true;
}

/*
 * etl_board_detach leaves the board; nothing is at work any more.
 */
void
etl_board_detach(EtlRunState *state)
{
	if (state->segment != NULL)
		dsm_detach(state->segment);
	state->segment = NULL;
	state->board = NULL;
}

/*
 * status_of names a state as a task's row does.
 */
static const char *
status_of(EtlBoardState state)
{
	return state == ETL_BOARD_SUCCEEDED ? "succeeded" : state == ETL_BOARD_FAILED ? "failed" :
																					"skipped";
}

/*
 * see brings one node that another participant has finished into the graph.
 */
static void
see(EtlRunState *state, int place)
{
	EtlBoardNode *entry = &state->board->node[place];
	EtlNode    *node = state->at[place];
	EtlRun	   *run = &state->run;

	if (node == NULL || node->done)
		return;
	node->done = true;
	node->changed = entry->changed;
	node->conditional = entry->conditional;
	node->blocked_by = entry->blocked_by < 0 ? NULL : state->at[entry->blocked_by];
	if (node->blocked_by == NULL && entry->blocked_by >= 0)
		node->blocked_by = node;
	if (node->task != NULL)
	{
		node->task->task_id = entry->task_id;
		node->task->status = status_of(entry->state);
		state->untold = lappend(state->untold, node);
	}
	run->nodes_succeeded += entry->state == ETL_BOARD_SUCCEEDED;
	run->nodes_failed += entry->state == ETL_BOARD_FAILED;
	run->nodes_skipped += entry->state == ETL_BOARD_SKIPPED;
	run->rows_written += entry->rows_written;
	run->rows_rejected += entry->rows_rejected;
}

/*
 * etl_board_sync: see board.h.
 */
bool
etl_board_sync(EtlRunState *state)
{
	EtlBoard   *board = state->board;
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);
	int			nlog;
	int			version;

	SpinLockAcquire(&board->mutex);
	nlog = board->nlog;
	version = board->version;
	state->run.incomplete = state->run.incomplete || board->incomplete;
	SpinLockRelease(&board->mutex);

	while (state->seen < nlog)
		see(state, BOARD_LOG(board)[state->seen++]);
	MemoryContextSwitchTo(old);
	if (version == state->version)
		return false;
	state->version = version;
	return true;
}

/*
 * etl_board_claim: see board.h.
 */
bool
etl_board_claim(EtlRunState *state, List *nodes)
{
	EtlBoard   *board = state->board;
	bool		free = true;
	ListCell   *cell;

	SpinLockAcquire(&board->mutex);
	free = !board->closed;
	foreach(cell, nodes)
	{
		EtlBoardNode *entry = &board->node[((EtlNode *) lfirst(cell))->place];

		free = free && (entry->state == ETL_BOARD_WAITING ||
						(entry->state == ETL_BOARD_CLAIMED && entry->lost));
	}
	foreach(cell, free ? nodes : NIL)
	{
		EtlNode    *node = lfirst(cell);
		EtlBoardNode *entry = &board->node[node->place];

		node->lost = entry->lost;
		node->tries = entry->tries;
		node->not_before = 0;
		node->task->task_id = entry->task_id;
		node->task->attempt = entry->attempt;
		entry->lost = false;
		entry->state = ETL_BOARD_CLAIMED;
		entry->claimed_by = state->place;
	}
	SpinLockRelease(&board->mutex);
	if (free)
		state->waits_since = 0;
	return free;
}

/*
 * publish_node writes what became of one node.
 */
static void
publish_node(EtlRunState *state, EtlNode *node)
{
	EtlBoard   *board = state->board;
	EtlBoardNode *entry = &board->node[node->place];
	EtlTask    *task = node->task;

	entry->task_id = task->task_id;
	entry->attempt = task->attempt;
	entry->tries = node->tries;
	entry->not_before = node->not_before;
	entry->claimed_by = -1;
	if (!node->done)
	{
		entry->state = ETL_BOARD_WAITING;
		return;
	}
	entry->changed = node->changed;
	entry->conditional = node->conditional;
	entry->blocked_by = node->blocked_by ? node->blocked_by->place : -1;
	entry->rows_written = task->rows_inserted + task->rows_updated + task->rows_deleted;
	entry->rows_rejected = task->rows_rejected;
	entry->state = strcmp(task->status, "succeeded") == 0 ? ETL_BOARD_SUCCEEDED :
				   strcmp(task->status, "failed") == 0	  ? ETL_BOARD_FAILED :
															ETL_BOARD_SKIPPED;
	BOARD_LOG(board)
	[board->nlog++] = node->place;
}

/*
 * etl_board_publish: see board.h.
 */
void
etl_board_publish(EtlRunState *state, List *nodes)
{
	EtlBoard   *board = state->board;
	ListCell   *cell;

	SpinLockAcquire(&board->mutex);
	board->incomplete = board->incomplete || state->run.incomplete;
	foreach(cell, nodes)
		publish_node(state, lfirst(cell));
	SpinLockRelease(&board->mutex);
	if (state->segment != NULL)
		ConditionVariableBroadcast(&board->moved);
}

/*
 * etl_board_edges_changed: see board.h.
 */
void
etl_board_edges_changed(EtlRunState *state, EtlNode *node)
{
	EtlBoard   *board = state->board;

	SpinLockAcquire(&board->mutex);
	board->node[node->place].edges_changed = true;
	/* one's own graph has them already, unless another changed some, too */
	if (board->version++ == state->version)
		state->version++;
	SpinLockRelease(&board->mutex);
}

/*
 * etl_board_alone: see board.h.
 */
bool
etl_board_alone(const EtlRunState *state)
{
	EtlBoard   *board = state->board;

	for (int i = 0; i < ETL_BOARD_PARTICIPANTS && state->segment != NULL; i++)
		if (i != state->place && board->pids[i] != 0)
			return false;
	return true;
}

/* A sleep of one participant. */
typedef struct Sleep
{
	EtlBoard   *board;
	long		timeout;		/* ms */
} Sleep;

/*
 * sleep_on_board sleeps until the board moves; an argument of etl_driver_wait.
 */
static void
sleep_on_board(void *arg)
{
	Sleep	   *sleep = arg;

	CHECK_FOR_INTERRUPTS();
	/* the first call after other work only enters the list of sleepers: look again, then sleep */
	(void) ConditionVariableTimedSleep(&sleep->board->moved, sleep->timeout, PG_WAIT_EXTENSION);
}

/*
 * etl_board_participants: see board.h.
 */
int
etl_board_participants(const EtlRunState *state)
{
	int			n = 0;

	for (int i = 0; i < ETL_BOARD_PARTICIPANTS; i++)
		n += state->board->pids[i] != 0;
	return n;
}

/*
 * etl_board_wait: see board.h.
 */
void
etl_board_wait(EtlRunState *state, TimestampTz until)
{
	Sleep		sleep = {state->board, 1000};

	if (state->waits_since == 0)
		state->waits_since = GetCurrentTimestamp();
	if (until != DT_NOEND)
		sleep.timeout = Min(sleep.timeout,
							TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until) + 1);
	etl_driver_wait(&state->driver.base, sleep_on_board, &sleep);
	if (state->tells)
		etl_progress_say_waiting(state->run.run_id, state->waits_since,
								 until == DT_NOEND ? "waiting for other processes" :
													 "waiting for the next attempt, or a place in a pool");
}

/*
 * etl_board_close: see board.h.
 */
void
etl_board_close(EtlRunState *state, bool cancel)
{
	EtlBoard   *board = state->board;
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 10000);
	int			helpers[ETL_BOARD_PARTICIPANTS];
	int			n = 0;

	if (board == NULL || state->segment == NULL)
		return;
	SpinLockAcquire(&board->mutex);
	board->closed = true;
	for (int i = 1; i < ETL_BOARD_PARTICIPANTS && cancel; i++)
		if (board->pids[i] != 0)
			helpers[n++] = board->pids[i];
	SpinLockRelease(&board->mutex);

	for (int i = 0; i < n; i++)
		(void) kill(helpers[i], SIGINT);
	ConditionVariableBroadcast(&board->moved);
	while (!etl_board_alone(state) && GetCurrentTimestamp() < give_up)
		etl_board_wait(state, DT_NOEND);
	ConditionVariableCancelSleep();
}
