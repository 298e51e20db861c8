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
#include "common/progress.h"
#include "run/backfill.h"
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

void
etl_slices_work(EtlRunState *state, EtlNode *node)
{
	SliceWork	work = {state, node};
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "etl slice", ALLOCSET_DEFAULT_SIZES);
	List	   *slices;
	ListCell   *cell;

	if (open_node(&work))
	{
		slices = work.result.slices;
		work.total = list_length(slices);
		state->driver.base.commit(&state->driver.base);
		MemoryContextSwitchTo(outer);
		foreach(cell, slices)
		{
			CHECK_FOR_INTERRUPTS();
			if (work.failed_in_a_row == MAX_FAILURES)
				break;
			if (let_others_by(&work))
			{
				pause_node(&work);
				break;
			}
			MemoryContextSwitchTo(each);
			work.slice = lfirst(cell);
			build_slice(&work);
			MemoryContextSwitchTo(outer);
			if (lnext(slices, cell) != NULL)
			{
				node->check_results = NIL;
				MemoryContextReset(each);
			}
		}
		if (!state->paused)
			finish(&work);
	}
	etl_nodes_settle(state, list_make1(node));
	MemoryContextDelete(each);
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
