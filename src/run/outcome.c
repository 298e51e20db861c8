/*-------------------------------------------------------------------------
 *
 * outcome.c
 *    What became of a node, in memory and in its row.
 *
 * A finished task is noted at once and its row written with the next commit,
 * so that a run with nothing to do writes its rows in one statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/graph.h"
#include "catalog/tasks.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/retry.h"
#include "run/run.h"

/*
 * etl_run_keep copies a text into memory that lives as long as the run.
 */
char *
etl_run_keep(EtlRunState *state, const char *text)
{
	return text ? MemoryContextStrdup(state->driver.context, text) : NULL;
}

/*
 * etl_node_finish notes the end of a task; its row is written with the next commit.
 */
void
etl_node_finish(EtlRunState *state, EtlNode *node, const char *status)
{
	EtlTask    *task = node->task;
	EtlRun	   *run = &state->run;
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);

	task->status = status;
	task->finished_at = node->ended_at ? node->ended_at : GetCurrentTimestamp();
	if (task->started_at == DT_NOBEGIN && strcmp(status, "skipped") != 0)
		task->started_at = task->finished_at;
	run->rows_written += task->rows_inserted + task->rows_updated + task->rows_deleted;
	run->rows_rejected += task->rows_rejected;
	run->nodes_succeeded += strcmp(status, "succeeded") == 0;
	run->nodes_failed += strcmp(status, "failed") == 0;
	run->nodes_skipped += strcmp(status, "skipped") == 0;
	state->finished = lappend(state->finished, task);
	if (strcmp(status, "failed") == 0)
		state->failures = lappend(state->failures, task);
	if (node->incomplete != NULL && strcmp(status, "succeeded") == 0)
	{
		run->incomplete = state->flags = true;
		task->reason = psprintf("incomplete: %s%s%s", node->incomplete, task->reason ? "; " : "",
								task->reason ? task->reason : "");
	}
	node->done = true;
	node->tries++;
	node->not_before = 0;
	MemoryContextSwitchTo(old);
}

/*
 * etl_node_broken_off notes what a task had done when it was cancelled; its
 * status comes when the run is closed.
 */
void
etl_node_broken_off(EtlRunState *state, EtlNode *node)
{
	EtlTask    *task = node->task;
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);

	state->run.rows_written += task->rows_inserted + task->rows_updated + task->rows_deleted;
	state->run.rows_rejected += task->rows_rejected;
	state->finished = lappend(state->finished, task);
	MemoryContextSwitchTo(old);
}

/*
 * write_run writes the run's row, which its leader alone does.  How far it
 * has come is for people to read: once a second is enough.
 */
static void
write_run(EtlRunState *state)
{
	TimestampTz now = GetCurrentTimestamp();

	if (state->place != 0 || !TimestampDifferenceExceeds(state->run_written, now, 1000))
		return;
	etl_run_update(&state->run);
	state->run_written = now;
}

/*
 * write_finished writes the rows of finished tasks, those of next attempts,
 * and what failed into the log; the leader also that of the run.  The caller
 * commits.
 */
static void
write_finished(EtlRunState *state)
{
	ListCell   *cell;

	etl_tasks_update(state->finished);
	etl_tasks_insert(state->fresh);
	foreach(cell, state->failures)
	{
		EtlTask    *task = lfirst(cell);

		etl_log_store("error", state->run.run_id, task->node, task->error, task->detail);
	}
	etl_nodes_tell(state);
	list_free(state->finished);
	list_free(state->fresh);
	list_free(state->failures);
	state->finished = state->fresh = state->failures = NIL;
	write_run(state);
}

/*
 * next_attempt ends the attempt of a node that is to be tried again as
 * failed, and makes the task of the next one.
 */
static void
next_attempt(EtlRunState *state, EtlNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);
	EtlTask    *failed = node->task;
	EtlTask    *task = palloc(sizeof(EtlTask));

	failed->status = "failed";
	failed->finished_at = GetCurrentTimestamp();
	if (failed->started_at == DT_NOBEGIN)
		failed->started_at = failed->finished_at;
	state->run.rows_written += failed->rows_inserted + failed->rows_updated + failed->rows_deleted;
	state->run.rows_rejected += failed->rows_rejected;
	state->finished = list_append_unique_ptr(state->finished, failed);
	state->failures = lappend(state->failures, failed);

	*task = *failed;
	task->task_id = 0;
	task->status = "queued";
	task->attempt++;
	task->started_at = task->finished_at = DT_NOBEGIN;
	task->rows_inserted = task->rows_updated = task->rows_deleted = task->rows_rejected = 0;
	task->sqlstate = task->error = task->detail = task->hint = task->skipped_because = NULL;
	task->reason = psprintf("tried again after %s: %s", failed->sqlstate, failed->error);
	state->fresh = lappend(state->fresh, task);
	MemoryContextSwitchTo(old);

	node->task = task;
}

/*
 * etl_node_retrying: see run.h.
 */
void
etl_node_retrying(EtlRunState *state, EtlNode *node, int sqlerrcode, const char *message)
{
	EtlTask    *task = node->task;

	if (state->driver.base.atomic)
		return;
	task->sqlstate = etl_run_keep(state, unpack_sql_state(sqlerrcode));
	task->error = etl_run_keep(state, message);
	next_attempt(state, node);
	if (state->tells)
		ereport(NOTICE,
				(errmsg("%s: attempt %d failed, trying again: %s", task->node, task->attempt, message)));
	node->task->status = "running";
	node->task->started_at = GetCurrentTimestamp();
	PushActiveSnapshot(GetTransactionSnapshot());
	write_finished(state);
	etl_tasks_update(list_make1(node->task));
	PopActiveSnapshot();
	etl_driver_commit_lazily(&state->driver);
}

/*
 * read_policy finds how often a node is tried: as its definition says, else
 * as the schedule of the run does.
 */
static void
read_policy(EtlRunState *state, EtlNode *node, EtlRetryPolicy *policy)
{
	const Jsonb *options = node->model ? node->model->options : NULL;
	EtlJsonBuilder *builder;

	if ((options == NULL || !etl_json_has(options, "retry")) && state->run.retry != NULL)
	{
		builder = etl_json_object_begin();
		etl_json_add(builder, "retry", state->run.retry);
		options = etl_json_object_end(builder);
	}
	etl_retry_read(options, policy);
}

/*
 * etl_node_failed notes an error.  When it may heal and the node has not
 * been tried often enough, it stays open, to be tried again later.
 */
void
etl_node_failed(EtlRunState *state, EtlNode *node, const ErrorData *error)
{
	EtlTask    *task = node->task;
	EtlRetryPolicy policy;

	task->sqlstate = etl_run_keep(state, unpack_sql_state(error->sqlerrcode));
	task->error = etl_run_keep(state, error->message ? error->message : "unknown error");
	task->detail = etl_run_keep(state, error->detail);
	task->hint = etl_run_keep(state, error->hint);
	node->ended_at = 0;
	if (!state->driver.base.atomic && etl_error_heals(error->sqlerrcode))
	{
		read_policy(state, node, &policy);
		if (node->tries + 1 < policy.attempts)
		{
			int64		delay_ms = etl_retry_delay_ms(&policy, ++node->tries);

			node->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);
			next_attempt(state, node);
			if (state->tells)
				ereport(NOTICE,
						(errmsg("%s: attempt %d failed, trying again in %.1f s: %s", task->node,
								task->attempt, delay_ms / 1000.0, task->error)));
			return;
		}
	}
	node->blocked_by = node;
	etl_node_finish(state, node, "failed");
}

/*
 * etl_node_put_back makes a node wait again that another one stopped.
 */
void
etl_node_put_back(EtlRunState *state, EtlNode *node, TimestampTz not_before)
{
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);

	node->task->status = "queued";
	node->task->started_at = DT_NOBEGIN;
	node->not_before = not_before;
	if (node->task->task_id != 0)
		state->finished = list_append_unique_ptr(state->finished, node->task);
	MemoryContextSwitchTo(old);
}

/*
 * etl_node_skipped notes why a node is not tried: 'because' names the node
 * at the root of it.
 */
void
etl_node_skipped(EtlRunState *state, EtlNode *node, EtlNode *root, const char *because,
				 const char *reason)
{
	node->task->skipped_because = etl_run_keep(state, because);
	node->task->reason = etl_run_keep(state, reason);
	node->blocked_by = root;
	etl_node_finish(state, node, "skipped");
}

/*
 * etl_node_unchanged notes that there was nothing to do.
 */
void
etl_node_unchanged(EtlRunState *state, EtlNode *node, const char *action, const char *reason)
{
	node->task->action = etl_run_keep(state, action);
	node->task->reason = etl_run_keep(state, reason);
	state->unchanged++;
	etl_node_finish(state, node, "succeeded");
}

/*
 * etl_nodes_flush: see run.h.
 */
void
etl_nodes_flush(EtlRunState *state)
{
	if (state->driver.base.atomic || state->finished == NIL)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	write_finished(state);
	PopActiveSnapshot();
	etl_driver_commit_lazily(&state->driver);
}

/*
 * is_quick tells whether a node is done in no time: a view that nobody checks
 * and that runs no SQL of its own.
 */
static bool
is_quick(const EtlNode *node)
{
	return node->model != NULL && !node->checked && strcmp(node->model->materialized, "view") == 0 &&
		   !etl_json_has(node->model->options, "pre_hook") &&
		   !etl_json_has(node->model->options, "post_hook");
}

/*
 * etl_nodes_begin shows the nodes as running, and that what came before is
 * done.  What takes no time is not worth a commit of its own.
 */
void
etl_nodes_begin(EtlRunState *state, List *nodes)
{
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);
	bool		quick = state->driver.base.atomic || state->run.crashes == 0;
	ListCell   *cell;

	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);

		if (node->done)
			continue;
		node->task->status = "running";
		node->task->started_at = GetCurrentTimestamp();
		if (!state->driver.base.atomic)
			state->finished = list_append_unique_ptr(state->finished, node->task);
		quick = quick && (state->driver.base.atomic || is_quick(node));
	}
	MemoryContextSwitchTo(old);
	if (quick)
		return;

	PushActiveSnapshot(GetTransactionSnapshot());
	write_finished(state);
	PopActiveSnapshot();

	/* after a crash it must be known for certain what was at work at the next one */
	if (state->run.crashes > 0)
		state->driver.base.commit(&state->driver.base);
	else
		etl_driver_commit_lazily(&state->driver);
}

/*
 * is_last tells whether nothing is left to do for a run but to end it: of a
 * leader who works alone.
 */
static bool
is_last(const EtlRunState *state)
{
	const EtlRun *run = &state->run;

	return state->segment == NULL && run->nodes_failed == 0 &&
		   run->nodes_succeeded + run->nodes_skipped == run->nodes_total;
}

/*
 * etl_nodes_settle writes and commits what became of the nodes, and tells it.
 * For a view, whose rows are those of its inputs, no flush is waited for: the
 * last commit of the run makes all of them durable, and a crash before it
 * loses the view and its task together.  The same holds of a model that comes
 * last, since the end of the run is written right after it.
 */
void
etl_nodes_settle(EtlRunState *state, List *nodes)
{
	bool		quick = state->run.crashes == 0;
	bool		last = is_last(state);
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);

		if (node->check_results != NIL)
			etl_check_results_store(node->check_results);
		state->checks = list_concat(state->checks, node->check_results);
		node->check_results = NIL;
		if (node->done && state->flags && strcmp(node->task->status, "succeeded") == 0)
			etl_node_flag(node->name->canonical, node->incomplete);
		quick = quick && (is_quick(node) || (last && node->model != NULL)) &&
				strcmp(node->task->status, "succeeded") == 0;
	}
	write_finished(state);
	PopActiveSnapshot();
	if (quick)
		etl_driver_commit_lazily(&state->driver);
	else
		state->driver.base.commit(&state->driver.base);
}

/*
 * etl_nodes_forget undoes the notes about nodes whose commit failed.
 */
void
etl_nodes_forget(EtlRunState *state, List *nodes)
{
	EtlRun	   *run = &state->run;
	ListCell   *cell;

	state->checks = NIL;
	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);
		EtlTask    *task = node->task;

		if (!node->done)
			continue;
		run->rows_written -= task->rows_inserted + task->rows_updated + task->rows_deleted;
		run->rows_rejected -= task->rows_rejected;
		run->nodes_succeeded -= strcmp(task->status, "succeeded") == 0;
		run->nodes_failed -= strcmp(task->status, "failed") == 0;
		run->nodes_skipped -= strcmp(task->status, "skipped") == 0;
		task->rows_inserted = task->rows_updated = task->rows_deleted = task->rows_rejected = 0;
		node->done = node->changed = false;
		node->tries--;
		state->finished = list_delete_ptr(state->finished, task);
		state->failures = list_delete_ptr(state->failures, task);
	}
}

/*
 * etl_node_inherit carries what happened above a node down to it; through a
 * node that is not selected it goes on.
 */
void
etl_node_inherit(EtlNode *node, bool *changed_above)
{
	ListCell   *cell;

	*changed_above = false;
	foreach(cell, node->parents)
	{
		EtlNode    *parent = lfirst(cell);

		*changed_above = *changed_above || parent->changed;
		if (!node->selected && node->blocked_by == NULL)
		{
			node->blocked_by = parent->blocked_by;
			node->conditional = parent->conditional;
		}
	}
}
