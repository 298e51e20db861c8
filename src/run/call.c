/*-------------------------------------------------------------------------
 *
 * call.c
 *    CALL etl.run(): from its arguments to its last word.
 *
 * Checks the arguments, picks and plans the nodes, opens the run, has
 * execute.c do the work, closes the run.  Until the run is open an error is
 * the caller's alone; afterwards it is also in the run's row: an error that
 * is nobody's node (a cancel) is caught, recorded, committed, and raised
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "load/load.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_run);

typedef struct RunArguments
{
	char	   *selector;
	char	   *exclude;
	bool		full_refresh;
	bool		interval_given;
	int			workers;		/* 0: not given */
	Jsonb	   *params;
	char	   *publish;
	int64		retry_of;		/* 0: none */
} RunArguments;

/*
 * read_arguments reads and checks what CALL was given.
 */
static void
read_arguments(FunctionCallInfo fcinfo, RunArguments *args)
{
	args->selector = etl_arg_text(fcinfo, 0);
	args->exclude = etl_arg_text(fcinfo, 1);
	args->full_refresh = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	args->interval_given = !PG_ARGISNULL(3) || !PG_ARGISNULL(4);
	args->workers = PG_ARGISNULL(5) ? 0 : PG_GETARG_INT32(5);
	args->params = PG_ARGISNULL(6) ? etl_json_parse("{}") : DatumGetJsonbPCopy(PG_GETARG_DATUM(6));
	args->publish = PG_ARGISNULL(7) ? "each" : etl_arg_text(fcinfo, 7);
	args->retry_of = PG_ARGISNULL(8) ? 0 : PG_GETARG_INT64(8);

	if (args->selector == NULL)
		args->selector = "*";
	if (!PG_ARGISNULL(5) && args->workers < 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("workers must be at least 1")));
	if (etl_json_kind(args->params) != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("params must be a JSON object"),
				 errhint("Write params => '{\"region\": \"EU\"}'.")));
	if (strcmp(args->publish, "each") != 0 && strcmp(args->publish, "together") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("publish is \"%s\", but must be each or together", args->publish)));
}

/*
 * close_dead_runs marks runs whose process is gone as interrupted.
 */
static void
close_dead_runs(void)
{
	ListCell   *cell;

	foreach(cell, etl_runs_running())
	{
		int64		run_id = *(int64 *) lfirst(cell);

		if (!etl_lock_run(run_id))
			continue;
		etl_run_close(run_id, "interrupted", "the session that ran it ended");
		etl_unlock_run(run_id);
	}
}

/*
 * restrict_to_retry leaves selected only what did not succeed in another
 * run, and takes over that run's arguments where none are given.
 */
static void
restrict_to_retry(EtlGraph *graph, RunArguments *args, int *attempt)
{
	EtlRun	   *run = etl_run_find(args->retry_of);
	Bitmapset  *wanted = NULL;
	ListCell   *cell;

	if (run == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("there is no run %lld", (long long) args->retry_of),
				 errhint("SELECT run_id, status FROM etl.runs lists them.")));
	if (strcmp(run->status, "running") == 0 && etl_run_is_alive(args->retry_of))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("run %lld is still running", (long long) args->retry_of),
				 errhint("Wait until it has ended.")));

	foreach(cell, etl_tasks_of(args->retry_of))
	{
		EtlTask    *task = lfirst(cell);
		EtlNode    *node = etl_graph_find(graph, task->node);

		*attempt = Max(*attempt, task->attempt + 1);
		if (node != NULL && strcmp(task->status, "succeeded") != 0)
			wanted = bms_add_member(wanted, node->index);
	}
	for (int i = 0; i < graph->n; i++)
		graph->nodes[i]->selected = graph->nodes[i]->selected && bms_is_member(i, wanted);
	etl_graph_number_steps(graph);

	args->full_refresh = args->full_refresh || run->full_refresh;
	if (etl_json_keys(args->params) == NIL && run->params != NULL)
		args->params = run->params;
}

/*
 * check_interval refuses since and until where no selected model keeps an
 * interval ledger.
 */
static void
check_interval(EtlGraph *graph)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("since and until need models that keep an interval ledger"),
			 errdetail("None of the %d nodes does; they follow what changed in their inputs.", graph->n),
			 errhint("Leave since and until out; full_refresh => true builds everything again.")));
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
 * open_run writes the run and its tasks, all of them waiting.
 */
static void
open_run(EtlRunState *state, const RunArguments *args, int attempt)
{
	EtlRun	   *run = &state->run;
	EtlGraph   *graph = state->graph;
	List	   *tasks = NIL;

	run->run_id = etl_run_next_id();
	run->selector = args->selector;
	run->exclude = args->exclude;
	run->full_refresh = args->full_refresh;
	run->params = args->params;
	run->publish = args->publish;
	run->retry_of = args->retry_of;
	run->status = "running";
	run->started_at = GetCurrentTimestamp();
	run->finished_at = DT_NOBEGIN;
	run->requested_by = GetUserNameFromId(GetUserId(), false);

	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->order[i];
		EtlTask    *task;

		if (!node->selected)
			continue;
		task = node->task = palloc0(sizeof(EtlTask));
		task->run_id = run->run_id;
		task->node = node->name->canonical;
		task->kind = node->kind;
		task->action = pstrdup(node->action);
		task->reason = node->reason;
		task->status = "queued";
		task->attempt = attempt;
		task->started_at = DT_NOBEGIN;
		task->finished_at = DT_NOBEGIN;
		tasks = lappend(tasks, task);
	}
	run->nodes_total = list_length(tasks);

	if (!state->driver.base.atomic)
		(void) etl_lock_run(run->run_id);
	state->driver.base.run_id = run->run_id;
	etl_last_run_id = run->run_id;
	etl_run_insert(run);
	etl_tasks_insert(tasks);
}

/*
 * prepare does everything that comes before the work.
 */
static void
prepare(EtlRunState *state, RunArguments *args)
{
	bool		atomic = state->driver.base.atomic;
	int			attempt = 1;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (!atomic)
		close_dead_runs();
	CommandCounterIncrement();
	state->graph = etl_graph_load();
	etl_select(state->graph, args->selector, args->exclude);
	if (args->retry_of != 0)
		restrict_to_retry(state->graph, args, &attempt);
	etl_check_may_run(state->graph);
	if (args->interval_given)
		check_interval(state->graph);
	if (atomic)
	{
		check_atomic(state->graph);
		lock_all(state->graph);
		PopActiveSnapshot();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	if (args->workers > 1)
		ereport(NOTICE,
				(errmsg("a CALL works on one node at a time; workers => %d changes nothing", args->workers)));
	state->driver.params = etl_json_text(args->params);
	etl_plan_nodes(state->graph, args->full_refresh, true);
	open_run(state, args, attempt);
	PopActiveSnapshot();
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
	if (run->nodes_failed > 0)
		run->error = psprintf("failed: %s", etl_report_failures(state));
	etl_tasks_update(state->finished);
	state->finished = NIL;
	etl_run_update(run);
	PopActiveSnapshot();
	state->driver.base.commit(&state->driver.base);
}

/*
 * work does the run and closes it; an argument of etl_driver_try.
 */
static void
work(void *arg)
{
	EtlRunState *state = arg;

	etl_run_execute(state);
	close_run(state);
}

/*
 * record_end writes that a run was broken off, and by what.
 */
static void
record_end(EtlRunState *state, ErrorData *error)
{
	bool		cancelled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	PushActiveSnapshot(GetTransactionSnapshot());
	etl_tasks_update(state->finished);
	etl_run_update(&state->run);
	etl_run_close(state->run.run_id, cancelled ? "cancelled" : "failed", error->message);
	PopActiveSnapshot();
	state->driver.base.commit(&state->driver.base);
}

/*
 * run_call runs between opening and closing of the driver.
 */
static void
run_call(EtlRunState *state, RunArguments *args)
{
	ErrorData  *error;

	prepare(state, args);
	if (state->driver.base.atomic)
	{
		work(state);
		return;
	}
	error = etl_driver_try(&state->driver, work, state);
	if (error != NULL)
	{
		record_end(state, error);
		ReThrowError(error);
	}
}

/*
 * etl_sql_run is the procedure etl.run().
 */
Datum
etl_sql_run(PG_FUNCTION_ARGS)
{
	EtlRunState state = {0};
	RunArguments args;
	bool		can_commit = fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
					  !castNode(CallContext, fcinfo->context)->atomic;

	etl_driver_begin(&state.driver, !can_commit, NULL);
	PG_TRY();
	{
		read_arguments(fcinfo, &args);
		run_call(&state, &args);
	}
	PG_FINALLY();
	{
		/* a session's locks outlive its errors */
		if (!state.driver.base.atomic && state.run.run_id != 0)
			etl_unlock_run(state.run.run_id);
	}
	PG_END_TRY();

	etl_report_run(&state);
	etl_driver_end(&state.driver);
	PG_RETURN_VOID();
}
