/*-------------------------------------------------------------------------
 *
 * slices.c
 *    Work on a model that builds interval by interval.
 *
 * One transaction says which slices are due; each of them is then built in
 * one of its own, with its row in the ledger.  A slice that fails does not
 * stop the others: it is written down, and the next try builds it alone.
 * What dies on the way goes on after the last slice that was committed.
 *
 * Processes of the run that have no node of their own build slices of one
 * whose slices are apart: each is locked by whoever builds it.  They only
 * ever succeed: what fails is left to the one that works on the node, which
 * builds whatever the others have not.
 *
 * A backfill lies below live work: before each slice it looks whether it was
 * paused, and lets a run by that waits for the same model.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/node_lock.h"
#include "common/progress.h"
#include "run/backfill.h"
#include "run/board.h"
#include "run/run.h"

/* that many failures in a row say that the next slice would fail, too */
#define MAX_FAILURES 10

typedef struct SliceWork
{
	EtlRunState *state;
	EtlNode    *node;
	EtlSlice   *slice;			/* NULL: the opening */
	EtlBuildResult result;
	int			total;			/* slices to build */
	int			built;
	int			failed;
	int			failed_in_a_row;
	bool		shared;			/* others may build some of them */
	ErrorData  *error;			/* the first one */
} SliceWork;

void
etl_slices_ask(EtlRunState *state, EtlNode *node)
{
	EtlRun	   *run = &state->run;

	if ((run->since == DT_NOBEGIN && run->until == DT_NOBEGIN) || !etl_node_uses_interval(node))
		return;
	state->request.since = run->since;
	state->request.until = run->until == DT_NOBEGIN ? DT_NOEND : run->until;
	state->request.reprocess = run->reprocess ? run->reprocess : "all";
	state->request.run_id = run->run_id;
	state->request.retry_of = run->retry_of;
	node->model->request = &state->request;
}

/*
 * add_rows adds what a build wrote to what the task did.
 */
static void
add_rows(EtlTask *task, const EtlBuildResult *result)
{
	task->rows_inserted += result->inserted;
	task->rows_updated += result->updated;
	task->rows_deleted += result->deleted;
	task->rows_rejected += result->rejected;
}

/*
 * build does one piece of the work; an argument of etl_subxact.
 */
static void
build(void *arg)
{
	SliceWork  *work = arg;
	EtlDriver  *driver = &work->state->driver.base;

	if (work->slice != NULL)
		etl_slice_build(driver, work->node->model, work->slice, &work->result);
	else
		etl_model_build(driver, work->node->model, work->state->run.full_refresh, &work->result);
	CommandCounterIncrement();
}

/*
 * try_build does one piece of the work and returns its error.
 */
static ErrorData *
try_build(SliceWork *work)
{
	ErrorData  *error;

	PushActiveSnapshot(GetTransactionSnapshot());
	error = etl_subxact(build, work);
	PopActiveSnapshot();
	/* the query that failed is not looked at any more */
	if (error != NULL)
		etl_progress_measure = NULL;
	return error;
}

/*
 * open_node finds out what is due; false when the node is finished with it.
 */
static bool
open_node(SliceWork *work)
{
	EtlRunState *state = work->state;
	EtlNode    *node = work->node;
	EtlBuildResult *result = &work->result;
	ErrorData  *error;

	etl_progress_start(state->run.run_id, node->name->canonical, "building");
	node->task->started_at = GetCurrentTimestamp();
	error = try_build(work);
	if (error != NULL)
	{
		node->check_results = result->check_results;
		etl_node_failed(state, node, error);
		return false;
	}
	if (strcmp(result->plan.action, "unchanged") == 0)
	{
		etl_node_unchanged(state, node, "unchanged", result->plan.reason);
		return false;
	}
	node->task->action = etl_run_keep(state, result->plan.action);
	node->task->reason = etl_run_keep(state, result->plan.reason);
	add_rows(node->task, result);
	node->changed = true;
	if (result->opened)
		return true;
	node->check_results = result->check_results;
	etl_node_finish(state, node, "succeeded");
	return false;
}

/*
 * note_failure writes down that a slice failed.
 */
static void
note_failure(SliceWork *work, ErrorData *error)
{
	EtlNode    *node = work->node;
	MemoryContext old;

	PushActiveSnapshot(GetTransactionSnapshot());
	etl_interval_failed(node->name->canonical, work->slice, work->state->run.run_id, error->message,
						unpack_sql_state(error->sqlerrcode));
	etl_log_store("error", work->state->run.run_id, node->name->canonical,
				  psprintf("interval %s: %s", work->slice->name, error->message), error->detail);
	PopActiveSnapshot();
	work->failed++;
	work->failed_in_a_row++;
	if (work->error != NULL)
		return;
	old = MemoryContextSwitchTo(work->state->driver.context);
	work->error = palloc0(sizeof(ErrorData));
	work->error->sqlerrcode = error->sqlerrcode;
	work->error->message = psprintf("interval %s: %s", work->slice->name, error->message);
	work->error->detail = error->detail ? pstrdup(error->detail) : NULL;
	work->error->hint = error->hint ? pstrdup(error->hint) : NULL;
	node->check_results = work->result.check_results;
	MemoryContextSwitchTo(old);
}

/*
 * build_slice builds one slice, unless somebody has meanwhile, and commits.
 */
static void
build_slice(SliceWork *work)
{
	EtlRunState *state = work->state;
	EtlNode    *node = work->node;
	ErrorData  *error;
	bool		open;

	PushActiveSnapshot(GetTransactionSnapshot());
	open = etl_interval_is_open(node->name->canonical, work->slice, state->run.run_id);
	PopActiveSnapshot();
	if (!open)
	{
		work->built++;
		return;
	}
	etl_progress_phase(psprintf("interval %d of %d: %s", work->built + work->failed + 1, work->total,
								work->slice->name));
	error = try_build(work);
	if (error != NULL)
		note_failure(work, error);
	else
	{
		work->built++;
		work->failed_in_a_row = 0;
		add_rows(node->task, &work->result);
		if (work->error == NULL)
			node->check_results = work->result.check_results;
	}
	state->driver.base.commit(&state->driver.base);
}

/*
 * let_others_by lets a run that waits for the model go before a backfill;
 * true when the backfill was paused.
 */
static bool
let_others_by(SliceWork *work)
{
	EtlRunState *state = work->state;
	const char *name = work->node->name->canonical;
	bool		held;

	if (state->run.priority >= 0)
		return false;
	if (etl_node_is_wanted(name))
	{
		state->driver.base.commit(&state->driver.base);
		etl_unlock_node(name);
		etl_lock_node(name, true);
	}
	if (state->run.lane == NULL)
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	held = etl_run_is_held(state->run.run_id);
	PopActiveSnapshot();
	return held;
}

/*
 * finish notes what became of the node when its slices are through.
 */
static void
finish(SliceWork *work)
{
	EtlRunState *state = work->state;
	EtlNode    *node = work->node;

	node->built_at = GetCurrentTimestamp();
	if (work->failed == 0)
	{
		etl_node_finish(state, node, "succeeded");
		return;
	}
	if (work->error->detail == NULL)
		work->error->detail = psprintf("%d of %d intervals failed; those that were built stay.", work->failed,
									   work->total);
	if (work->error->hint == NULL)
		work->error->hint = psprintf(
			"The next run builds what is left: SELECT since, until, error FROM etl.intervals"
			" WHERE target = %s AND status <> 'done'.", quote_literal_cstr(node->name->canonical));
	etl_node_failed(state, node, work->error);
}

/*
 * pause_node ends the attempt; the run goes back into the queue, where it waits.
 */
static void
pause_node(SliceWork *work)
{
	EtlRunState *state = work->state;
	EtlTask    *task = work->node->task;
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);

	task->status = "interrupted";
	task->reason = psprintf("paused after %d of %d intervals", work->built + work->failed, work->total);
	task->finished_at = GetCurrentTimestamp();
	state->finished = list_append_unique_ptr(state->finished, task);
	state->paused = true;
	MemoryContextSwitchTo(old);
}

/* ---- several processes ---- */

/*
 * share lets others build slices that are due.  The last one is built here,
 * so that the results of its checks are those of the node.  A backfill stays
 * alone: it gives way to live work.
 */
static void
share(SliceWork *work, List *slices)
{
	EtlRunState *state = work->state;
	EtlBoardNode *entry = &state->board->node[work->node->place];
	const EtlIntervalRequest *request = work->node->model->request;

	work->shared = state->segment != NULL && state->run.priority >= 0 && list_length(slices) > 1 &&
				   etl_model_slices_apart(work->node->model) &&
				   !etl_json_has(work->node->model->options, "pool") &&
				   (request == NULL || strcmp(request->reprocess, "failed") != 0);
	if (!work->shared)
		return;
	SpinLockAcquire(&state->board->mutex);
	memset(entry->sliced, 0, sizeof(entry->sliced));
	entry->slices_since = ((EtlSlice *) linitial(slices))->since;
	entry->slices_until = ((EtlSlice *) llast(slices))->since;
	entry->slices_version = work->node->model->version;
	SpinLockRelease(&state->board->mutex);
	etl_run_call_more(state, list_length(slices));
	ConditionVariableBroadcast(&state->board->moved);
}

/*
 * unshare ends that, and counts what the others wrote.
 */
static void
unshare(SliceWork *work)
{
	EtlBoardNode *entry = &work->state->board->node[work->node->place];
	EtlBuildResult theirs = {0};

	if (!work->shared)
		return;
	SpinLockAcquire(&work->state->board->mutex);
	entry->slices_until = entry->slices_since;
	theirs.inserted = entry->sliced[0];
	theirs.updated = entry->sliced[1];
	theirs.deleted = entry->sliced[2];
	theirs.rejected = entry->sliced[3];
	SpinLockRelease(&work->state->board->mutex);
	add_rows(work->node->task, &theirs);
}

/*
 * build_locked builds a slice while nobody else does; false when somebody is
 * at it and is not to be waited for.
 */
static bool
build_locked(SliceWork *work, bool wait)
{
	const char *name = work->node->name->canonical;

	if (!work->shared)
	{
		build_slice(work);
		return true;
	}
	if (!etl_lock_slice(name, work->slice->since, wait))
		return false;
	PG_TRY();
	{
		build_slice(work);
	}
	PG_FINALLY();
	{
		etl_unlock_slice(name, work->slice->since);
	}
	PG_END_TRY();
	return true;
}

/*
 * build_all builds the slices of a list in their order, and returns those that
 * others are at.
 */
static List *
build_all(SliceWork *work, List *slices, bool wait)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "etl slice", ALLOCSET_DEFAULT_SIZES);
	List	   *elsewhere = NIL;
	ListCell   *cell;

	foreach(cell, slices)
	{
		bool		here;

		CHECK_FOR_INTERRUPTS();
		if (work->failed_in_a_row == MAX_FAILURES)
			break;
		if (let_others_by(work))
		{
			pause_node(work);
			break;
		}
		/* the results of the checks of the last one that is built are the node's */
		if (!wait)
		{
			work->node->check_results = NIL;
			MemoryContextReset(each);
		}
		MemoryContextSwitchTo(each);
		work->slice = lfirst(cell);
		here = build_locked(work, wait);
		MemoryContextSwitchTo(outer);
		if (!here)
			elsewhere = lappend(elsewhere, work->slice);
	}
	return elsewhere;
}

void
etl_slices_work(EtlRunState *state, EtlNode *node)
{
	SliceWork	work = {state, node};
	MemoryContext outer = CurrentMemoryContext;
	List	   *slices;

	if (open_node(&work))
	{
		slices = work.result.slices;
		work.total = list_length(slices);
		state->driver.base.commit(&state->driver.base);
		MemoryContextSwitchTo(outer);
		share(&work, slices);
		slices = build_all(&work, slices, false);
		if (slices != NIL)
			(void) build_all(&work, slices, true);
		unshare(&work);
		if (!state->paused)
			finish(&work);
	}
	etl_nodes_settle(state, list_make1(node));
}

/*
 * find_shared finds a node that shares its slices; its bounds are put into
 * 'range'.
 */
static EtlNode *
find_shared(EtlRunState *state, EtlSlice *range, int *version)
{
	EtlBoard   *board = state->board;
	EtlNode    *found = NULL;

	SpinLockAcquire(&board->mutex);
	for (int i = 0; i < board->n && found == NULL && !board->closed; i++)
	{
		EtlBoardNode *entry = &board->node[i];

		if (entry->state != ETL_BOARD_CLAIMED || entry->lost || entry->claimed_by == state->place ||
			entry->slices_since >= entry->slices_until || state->at[i] == NULL || state->at[i]->unhelpful)
			continue;
		range->since = entry->slices_since;
		range->until = entry->slices_until;
		*version = entry->slices_version;
		found = state->at[i];
	}
	SpinLockRelease(&board->mutex);
	return found;
}

/*
 * is_due tells whether a slice of the ledger is still to be built.
 */
static bool
is_due(const char *name, TimestampTz since)
{
	bool		due = false;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, etl_intervals_read(name))
	{
		EtlSlice   *slice = lfirst(cell);

		due |= slice->since == since && strcmp(slice->status, "due") == 0;
	}
	PopActiveSnapshot();
	return due;
}

/*
 * help_build builds a slice whose lock is held, and commits.
 */
static void
help_build(SliceWork *work)
{
	EtlRunState *state = work->state;
	EtlBoardNode *entry = &state->board->node[work->node->place];
	ErrorData  *error = NULL;

	if (!is_due(work->node->name->canonical, work->slice->since))
		return;
	etl_clocks_start(work->node->model->options);
	error = try_build(work);
	etl_clocks_stop();
	work->node->unhelpful = error != NULL;
	state->driver.base.commit(&state->driver.base);
	if (error != NULL)
		return;
	work->built++;
	SpinLockAcquire(&state->board->mutex);
	entry->sliced[0] += work->result.inserted;
	entry->sliced[1] += work->result.updated;
	entry->sliced[2] += work->result.deleted;
	entry->sliced[3] += work->result.rejected;
	SpinLockRelease(&state->board->mutex);
}

/*
 * help_slice locks a slice that is due and builds it; false when others are
 * at all of them.
 */
static bool
help_slice(SliceWork *work, const EtlSlice *range)
{
	const char *name = work->node->name->canonical;
	List	   *ledger;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	ledger = etl_intervals_read(name);
	PopActiveSnapshot();
	foreach(cell, ledger)
	{
		work->slice = lfirst(cell);
		if (work->slice->since < range->since || work->slice->since >= range->until ||
			strcmp(work->slice->status, "due") != 0 || !etl_lock_slice(name, work->slice->since, false))
			continue;
		PG_TRY();
		{
			help_build(work);
		}
		PG_FINALLY();
		{
			etl_clocks_stop();
			etl_unlock_slice(name, work->slice->since);
		}
		PG_END_TRY();
		return work->built > 0;
	}
	return false;
}

bool
etl_slices_help(EtlRunState *state)
{
	SliceWork	work = {state};
	EtlSlice	range = {0};
	EtlModel   *model;
	int			version;

	if (state->segment == NULL || (work.node = find_shared(state, &range, &version)) == NULL)
		return false;
	/* the definition may be another than when this process joined the run */
	PushActiveSnapshot(GetTransactionSnapshot());
	model = etl_model_find(work.node->name->canonical);
	PopActiveSnapshot();
	if (model == NULL || model->version != version)
	{
		work.node->unhelpful = true;
		return false;
	}
	ConditionVariableCancelSleep();
	work.node->model = model;
	state->driver.base.node = work.node->name->canonical;
	return help_slice(&work, &range);
}

void
etl_slices_build_here(EtlRunState *state, EtlNode *node, EtlBuildResult *result)
{
	ListCell   *cell;

	foreach(cell, result->slices)
	{
		EtlBuildResult one;

		CHECK_FOR_INTERRUPTS();
		etl_slice_build(&state->driver.base, node->model, lfirst(cell), &one);
		result->inserted += one.inserted;
		result->updated += one.updated;
		result->deleted += one.deleted;
		result->rejected += one.rejected;
		result->check_results = one.check_results;
		CommandCounterIncrement();
	}
}
