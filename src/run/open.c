/*-------------------------------------------------------------------------
 *
 * open.c
 *    The beginning and the end of a run.
 *
 * Picks and plans the nodes, writes the run and its tasks; has execute.c do
 * the work; writes how it ended.  The same for a CALL, which brings a new
 * run, and for a queued run, whose row is there already and whose tasks are
 * too when a leader before this one has died.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "catalog/tasks.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/node_lock.h"
#include "common/timeout.h"
#include "load/load.h"
#include "run/backfill.h"
#include "run/board.h"
#include "run/lead.h"
#include "run/run.h"

/*
 * is_final tells whether a status is a task's last one.
 */
static bool
is_final(const char *status)
{
	return strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 ||
		   strcmp(status, "skipped") == 0;
}

/*
 * etl_run_check_arguments: see run.h.
 */
void
etl_run_check_arguments(EtlRun *run)
{
	if (run->selector == NULL)
		run->selector = "*";
	if (run->publish == NULL)
		run->publish = "each";
	if (run->params == NULL)
		run->params = etl_json_parse("{}");
	if (etl_json_kind(run->params) != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("params must be a JSON object"),
				 errhint("Write params => '{\"region\": \"EU\"}'.")));
	etl_sample_check(run->params);
	if (strcmp(run->publish, "each") != 0 && strcmp(run->publish, "together") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("publish is \"%s\", but must be each or together", run->publish)));
	if (run->since != DT_NOBEGIN && run->until != DT_NOBEGIN && run->since >= run->until)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("since must be before until"),
				 errdetail("The interval is half-open: [since, until).")));
}

/*
 * etl_run_check_ended: see run.h.
 */
void
etl_run_check_ended(const EtlRun *run)
{
	if (strcmp(run->status, "queued") != 0 &&
		(strcmp(run->status, "running") != 0 ||
		 (strcmp(run->led_by, "queue") != 0 && !etl_run_is_alive(run->run_id))))
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("run %lld is still %s", (long long) run->run_id, run->status),
			 errhint("Wait until it has ended.")));
}

/*
 * restrict_to_retry leaves selected only what did not succeed in another
 * run, and takes over that run's arguments where none are given.
 */
static void
restrict_to_retry(EtlRunState *state, int *attempt)
{
	EtlRun	   *run = &state->run;
	EtlRun	   *other = etl_run_find(run->retry_of);
	EtlGraph   *graph = state->graph;
	Bitmapset  *wanted = NULL;
	ListCell   *cell;

	if (other == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("there is no run %lld", (long long) run->retry_of),
				 errhint("SELECT run_id, status FROM etl.runs lists them.")));
	etl_run_check_ended(other);

	/* the last attempt of a node tells */
	foreach(cell, etl_tasks_of(run->retry_of))
	{
		EtlTask    *task = lfirst(cell);
		EtlNode    *node = etl_graph_find(graph, task->node);

		*attempt = Max(*attempt, task->attempt + 1);
		if (node == NULL)
			continue;
		if (strcmp(task->status, "succeeded") != 0)
			wanted = bms_add_member(wanted, node->index);
		else
			wanted = bms_del_member(wanted, node->index);
	}
	for (int i = 0; i < graph->n; i++)
		graph->nodes[i]->selected = graph->nodes[i]->selected && bms_is_member(i, wanted);
	etl_graph_number_steps(graph);

	run->full_refresh = run->full_refresh || other->full_refresh;
	if (run->since == DT_NOBEGIN && run->until == DT_NOBEGIN)
	{
		run->since = other->since;
		run->until = other->until;
		run->reprocess = other->reprocess;
	}
	if ((run->params == NULL || etl_json_keys(run->params) == NIL) && other->params != NULL)
		run->params = other->params;
	etl_sample_check(run->params);
}

/*
 * check_atomic refuses what cannot be done in a caller's transaction.
 */
static void
check_atomic(EtlGraph *graph)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ETL_ERR_IN_TRANSACTION),
				 errmsg("inside a transaction block etl.run() needs isolation level read committed"),
				 errdetail("It could not see what another session did while it waited for it."),
				 errhint("Run it outside the transaction block, or BEGIN ISOLATION LEVEL READ COMMITTED.")));
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];

		if (!node->selected || node->stream == NULL || !etl_pull_needs_network(node->stream))
			continue;
		ereport(ERROR,
				(errcode(ETL_ERR_IN_TRANSACTION),
				 errmsg("%s waits for a network, which a transaction block must not",
						node->name->canonical),
				 errdetail("Locks and the snapshot of the transaction would be held all the time."),
				 errhint("Run CALL etl.run('%s') alone, outside the transaction block and with "
						 "autocommit on.", node->name->canonical)));
	}
}

/*
 * lock_all takes the nodes' locks in name order, for the whole transaction.
 */
static void
lock_all(EtlGraph *graph)
{
	for (int i = 0; i < graph->n; i++)
		if (graph->nodes[i]->selected)
			etl_lock_node(graph->nodes[i]->name->canonical, false);
}

/*
 * check_rights judges the run by the rights of who asked for it.
 */
static void
check_rights(EtlRunState *state)
{
	const char *name = state->run.requested_by;
	Oid			role = get_role_oid(name, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", who asked for this run, does not exist any more", name),
				 errhint("Submit it again as a role that exists.")));
	etl_check_may_run(state->graph, role);
}

/*
 * take_up notes what earlier leaders of this run have done: its nodes are
 * those that have tasks.
 */
static void
take_up(EtlRunState *state, List *tasks)
{
	EtlGraph   *graph = state->graph;
	EtlRun	   *run = &state->run;
	ListCell   *cell;

	run->nodes_succeeded = run->nodes_failed = run->nodes_skipped = 0;
	run->rows_written = run->rows_rejected = 0;
	for (int i = 0; i < graph->n; i++)
		graph->nodes[i]->selected = false;

	/* a node's last attempt comes last */
	foreach(cell, tasks)
	{
		EtlTask    *task = lfirst(cell);
		EtlNode    *node = etl_graph_find(graph, task->node);

		run->rows_written += task->rows_inserted + task->rows_updated + task->rows_deleted;
		run->rows_rejected += task->rows_rejected;
		if (node == NULL)
			continue;
		node->selected = true;
		node->task = task;
	}
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];
		EtlTask    *task = node->task;

		if (task == NULL || !is_final(task->status))
			continue;
		node->done = true;
		node->changed = strcmp(task->status, "succeeded") == 0;
		run->nodes_succeeded += node->changed;
		run->nodes_failed += strcmp(task->status, "failed") == 0;
		run->nodes_skipped += strcmp(task->status, "skipped") == 0;
		if (!node->changed)
			node->blocked_by = task->skipped_because ? etl_graph_find(graph, task->skipped_because) : node;
		if (!node->changed && node->blocked_by == NULL)
			node->blocked_by = node;
	}
	etl_graph_number_steps(graph);
}

/*
 * new_task makes the task of a node's next attempt, waiting.
 */
static EtlTask *
new_task(EtlRunState *state, EtlNode *node, int attempt)
{
	EtlTask    *task = palloc0(sizeof(EtlTask));

	task->run_id = state->run.run_id;
	task->node = node->name->canonical;
	task->kind = node->kind;
	task->action = pstrdup(node->action);
	task->reason = node->reason;
	task->status = "queued";
	task->attempt = attempt;
	task->started_at = DT_NOBEGIN;
	task->finished_at = DT_NOBEGIN;
	return task;
}

/*
 * is_certain tells whether it is certain before any work that a node has
 * nothing to do: nothing that this run does can change what is above it.
 * What is above it has been asked before.
 */
static bool
is_certain(EtlRunState *state, EtlNode *node)
{
	EtlSkip		skip = {0};
	ListCell   *cell;

	if (node->selected && (node->done || !node->planned_unchanged || node->group != 0 || state->flags))
		return false;
	foreach(cell, node->parents)
		if (!((EtlNode *) lfirst(cell))->certain)
			return false;
	if (node->selected)
		etl_rule_judge(state, node, NIL, &skip);
	return skip.reason == NULL;
}

/*
 * write_tasks writes the tasks that are not written yet.  Those of nodes that
 * have nothing to do for certain are written as finished, once: with the
 * update that ends other tasks, a run with nothing to do took twice as long.
 */
static void
write_tasks(EtlRunState *state, List *tasks)
{
	EtlGraph   *graph = state->graph;

	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->order[i];

		node->certain = is_certain(state, node);
		if (!node->certain || !node->selected || node->task->task_id != 0)
			continue;
		etl_node_unchanged(state, node, "unchanged", node->reason);
		state->certain = lappend(state->certain, node);
	}
	etl_tasks_insert(tasks);
	etl_nodes_tell(state);
	state->finished = NIL;
}

/*
 * write_run writes the run and those of its tasks that are not written yet.
 */
static void
write_run(EtlRunState *state, int attempt)
{
	EtlRun	   *run = &state->run;
	EtlGraph   *graph = state->graph;
	bool		known = run->run_id != 0;
	List	   *tasks = NIL;

	if (!known)
		run->run_id = etl_run_next_id();
	run->status = "running";
	run->led_at = GetCurrentTimestamp();
	if (run->started_at == DT_NOBEGIN || !known)
		run->started_at = run->led_at;
	run->finished_at = DT_NOBEGIN;

	run->nodes_total = 0;
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->order[i];

		if (!node->selected)
			continue;
		run->nodes_total++;
		if (node->task != NULL && strcmp(node->task->status, "interrupted") != 0)
			continue;
		node->task = new_task(state, node, node->task ? node->task->attempt + 1 : attempt);
		tasks = lappend(tasks, node->task);
	}

	if (!state->driver.base.atomic && !known)
		(void) etl_lock_run(run->run_id);
	state->driver.base.run_id = run->run_id;
	etl_last_run_id = run->run_id;
	if (known)
		etl_run_update(run);
	else
		etl_run_insert(run);
	write_tasks(state, tasks);
}

/*
 * etl_run_open: see run.h.
 */
void
etl_run_open(EtlRunState *state)
{
	EtlRun	   *run = &state->run;
	bool		atomic = state->driver.base.atomic;
	List	   *tasks = NIL;
	int			attempt = 1;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (!atomic)
		etl_runs_reconcile();
	CommandCounterIncrement();
	etl_driver_set_params(&state->driver, run->params);
	state->graph = etl_graph_load();
	if (run->run_id != 0)
		tasks = etl_tasks_of(run->run_id);
	if (tasks != NIL)
		take_up(state, tasks);
	else
	{
		etl_select(state->graph, run->selector, run->exclude);
		if (run->retry_of != 0)
			restrict_to_retry(state, &attempt);
	}
	check_rights(state);
	if (run->since != DT_NOBEGIN || run->until != DT_NOBEGIN)
	{
		etl_check_interval(state->graph);
		for (int i = 0; i < state->graph->n; i++)
			etl_slices_ask(state, state->graph->nodes[i]);
	}
	if (atomic)
	{
		check_atomic(state->graph);
		lock_all(state->graph);
		PopActiveSnapshot();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	etl_driver_set_params(&state->driver, run->params);
	etl_plan_nodes(state->graph, run->full_refresh, true);
	etl_groups_make(state);
	etl_run_look_around(state);
	write_run(state, attempt);
	PopActiveSnapshot();

	/* what kills the server is found out by counting who began: that must survive */
	if (strcmp(run->led_by, "queue") == 0)
		state->driver.base.commit(&state->driver.base);
	else
		etl_driver_commit_lazily(&state->driver);
}

/*
 * close_run writes how the run ended.
 */
static void
close_run(EtlRunState *state)
{
	EtlRun	   *run = &state->run;

	PushActiveSnapshot(GetTransactionSnapshot());
	run->status = run->nodes_failed > 0 ? "failed" : "succeeded";
	run->finished_at = GetCurrentTimestamp();
	if (state->paused)
	{
		run->status = "queued";
		run->finished_at = DT_NOBEGIN;
	}
	if (run->nodes_failed > 0)
		run->error = psprintf("failed: %s", etl_report_failures(state));
	etl_tasks_update(state->finished);
	etl_nodes_tell(state);
	if (run->nodes_failed == 0 && !state->paused)
		etl_alert_run(run, NULL);
	state->finished = NIL;
	if (state->segment != NULL)
		etl_run_count_rows(run);
	etl_run_update(run);
	PopActiveSnapshot();

	/* a crash that loses the end of a run that did nothing costs nothing: it is said again */
	if (state->unchanged == run->nodes_total)
		etl_driver_commit_lazily(&state->driver);
	else
		state->driver.base.commit(&state->driver.base);
}

/*
 * start_clock limits the time of the run; what leaders before this one have
 * used up counts.
 */
static void
start_clock(const EtlRun *run)
{
	int64		used = TimestampDifferenceMilliseconds(run->started_at, GetCurrentTimestamp());

	(void) etl_timeout_start(ETL_TIMEOUT_RUN, run->timeout_ms, used);
}

/*
 * etl_run_work: see run.h.
 */
void
etl_run_work(EtlRunState *state)
{
	start_clock(&state->run);
	etl_run_execute(state);
	etl_timeout_stop(ETL_TIMEOUT_RUN);
	close_run(state);
	etl_board_detach(state);
}

/*
 * etl_run_break_off: see run.h.
 */
void
etl_run_break_off(EtlRunState *state, ErrorData *error)
{
	EtlRun	   *run = &state->run;

	(void) etl_timeout_take(ETL_TIMEOUT_RUN, error);
	run->status = etl_error_is_cancel(error) ? "cancelled" : "failed";
	run->error = error->message;
	run->finished_at = GetCurrentTimestamp();
	if (run->started_at == DT_NOBEGIN)
		run->started_at = run->finished_at;
	etl_board_close(state, true);
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_tasks_update(state->finished);
	if (strcmp(run->status, "failed") == 0)
		etl_alert_run(run, error);
	state->finished = NIL;
	etl_run_update(run);
	etl_run_close(run->run_id, run->status, run->error, unpack_sql_state(error->sqlerrcode));
	PopActiveSnapshot();
	state->driver.base.commit(&state->driver.base);
	etl_board_detach(state);
}
