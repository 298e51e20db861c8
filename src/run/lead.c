/*-------------------------------------------------------------------------
 *
 * lead.c
 *    Runs that are queued: putting them there, leading them, helping.
 *
 *   queued --> running --> succeeded | failed | cancelled
 *      ^          |
 *      '----------'  its leader died: it continues from its last commit
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "catalog/environment.h"
#include "catalog/schedule.h"
#include "catalog/tasks.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/wake.h"
#include "run/board.h"
#include "run/ending.h"
#include "run/lead.h"
#include "run/run.h"

/* deaths in a row, without any commit between, after which a task is parked */
#define MAX_CRASHES 3

typedef struct HelpWork
{
	EtlRunState state;
	dsm_handle	board;
} HelpWork;

const EtlHelperService *etl_helpers = NULL;

/*
 * etl_run_queue: see lead.h.
 */
int64
etl_run_queue(const EtlRun *request)
{
	EtlRun		run = *request;

	run.run_id = etl_run_next_id();
	run.selector = run.selector ? run.selector : "*";
	run.params = run.params ? run.params : etl_json_parse("{}");
	run.publish = run.publish ? run.publish : "each";
	run.since = run.since ? run.since : DT_NOBEGIN;
	run.until = run.until ? run.until : DT_NOBEGIN;
	run.due_at = run.due_at ? run.due_at : DT_NOBEGIN;
	run.status = "queued";
	run.led_by = "queue";
	run.led_at = run.started_at = DT_NOBEGIN;
	run.requested_by = run.requested_by ? run.requested_by : GetUserNameFromId(GetUserId(), false);
	etl_run_insert(&run);
	etl_wake_for_run_at_commit();
	return run.run_id;
}

/*
 * etl_runs_queued: see lead.h.
 */
List *
etl_runs_queued(void)
{
	EtlInstance instance = etl_instance_state();

	/*
	 * What came with a copy of another database belongs to that one; while
	 * a dump is being restored, the row that says so may not have come yet.
	 */
	if (instance == ETL_INSTANCE_FOREIGN || instance == ETL_INSTANCE_UNKNOWN)
		return NIL;
	return etl_runs_waiting();
}

/*
 * etl_runs_reconcile: see lead.h.
 */
int
etl_runs_reconcile(void)
{
	int			again = 0;
	ListCell   *cell;

	foreach(cell, etl_runs_running())
	{
		int64		run_id = ((EtlRun *) lfirst(cell))->run_id;
		EtlRun	   *run;

		if (!etl_lock_run(run_id))
			continue;
		/* it may have ended between the look at its row and the lock */
		run = etl_run_find(run_id);
		if (run == NULL || strcmp(run->status, "running") != 0)
			;
		else if (strcmp(run->led_by, "queue") != 0)
		{
			etl_run_close(run_id, "interrupted", "the session that ran it ended", NULL);
			etl_run_count(run_id);
		}
		else
		{
			if (etl_run_requeue(run_id, MAX_CRASHES,
								psprintf("parked: its process died %d times in a row while it was at "
										 "work, without any commit between", MAX_CRASHES)))
				etl_alert_worker(run->run_id, run->selector,
								 psprintf("the process that led run " INT64_FORMAT
										  " died; the run goes on from its "
										  "last commit", run->run_id));
			etl_wake_for_run_at_commit();
			again++;
		}
		etl_unlock_run(run_id);
	}
	return again;
}

/*
 * take_over takes the lock of a queued run and reads its row; false when it
 * is not to be led.
 */
static bool
take_over(EtlRunState *state, int64 run_id)
{
	EtlRun	   *run;

	if (!etl_lock_run(run_id))
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	run = etl_run_find(run_id);
	PopActiveSnapshot();
	if (run == NULL || strcmp(run->status, "queued") != 0)
	{
		etl_unlock_run(run_id);
		return false;
	}
	state->run = *run;
	state->driver.base.run_id = run_id;
	state->workers = etl_helpers ? Max(etl_max_workers, 1) : 1;
	if (run->workers > 0)
		state->workers = Min(state->workers, run->workers);
	return true;
}

/*
 * lead opens the run and works through it; an argument of etl_driver_try.
 */
static void
lead(void *arg)
{
	EtlRunState *state = arg;

	etl_run_open(state);
	etl_run_work(state);
}

/*
 * note_stopped notes that the leader of a run was told to end.
 */
static void
note_stopped(Datum run_id)
{
	etl_run_note_stopped(DatumGetInt64(run_id));
}

/*
 * lead_locked leads a run whose lock is held, and gives the lock back.
 */
static ErrorData *
lead_locked(EtlRunState *state)
{
	ErrorData *volatile error = NULL;

	etl_at_end(note_stopped, Int64GetDatum(state->run.run_id));
	PG_TRY();
	{
		error = etl_driver_try(&state->driver, lead, state);
		if (error != NULL)
			etl_run_break_off(state, error);
	}
	PG_FINALLY();
	{
		etl_at_end(NULL, (Datum) 0);
		etl_unlock_run(state->run.run_id);
	}
	PG_END_TRY();
	return error;
}

/*
 * etl_run_lead: see lead.h.
 */
void
etl_run_lead(int64 run_id)
{
	EtlRunState state = {0};
	bool		worker = !IsTransactionState();
	ErrorData  *error = NULL;

	if (worker)
		etl_driver_begin_worker(&state.driver);
	else
		etl_driver_begin(&state.driver, false, NULL);
	if (take_over(&state, run_id))
		error = lead_locked(&state);

	/* whoever cancelled the session means its statement, too */
	if (error != NULL && !worker && etl_error_is_cancel(error))
		etl_rethrow(error);
	etl_driver_end(&state.driver);
}

/*
 * etl_run_call_helpers asks for as many helpers as there may be use for.
 */
void
etl_run_call_helpers(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;
	int			open = 0;

	for (int i = 0; i < graph->n; i++)
		open += graph->nodes[i]->selected && !graph->nodes[i]->done &&
				!graph->nodes[i]->planned_unchanged;
	etl_run_call_more(state, open);
}

/*
 * etl_run_call_more asks for more helpers, now that there is work for
 * 'processes' in all, and no more than the run may have.
 */
void
etl_run_call_more(EtlRunState *state, int processes)
{
	int			wanted = Min(Min(state->workers, processes) - 1, ETL_BOARD_PARTICIPANTS - 1) - state->called;

	if (wanted > 0)
		state->called += etl_helpers->request(state->run.run_id, dsm_segment_handle(state->segment), wanted);
}

/*
 * join_run reads what a helper must know and joins the board; false when
 * there is nothing to help with any more.
 */
static bool
join_run(EtlRunState *state, dsm_handle board)
{
	EtlRun	   *run;
	ListCell   *cell;
	bool		joined;

	PushActiveSnapshot(GetTransactionSnapshot());
	run = etl_run_find(state->run.run_id);
	if (run == NULL || strcmp(run->status, "running") != 0)
	{
		PopActiveSnapshot();
		return false;
	}
	state->run = *run;
	state->driver.base.run_id = run->run_id;
	etl_driver_set_params(&state->driver, run->params);
	state->graph = etl_graph_load();
	etl_run_look_around(state);
	foreach(cell, etl_tasks_of(run->run_id))
	{
		EtlTask    *task = lfirst(cell);
		EtlNode    *node = etl_graph_find(state->graph, task->node);

		if (node != NULL)
			node->task = task;
	}
	joined = etl_board_attach(state, board);
	if (joined)
	{
		etl_groups_link(state);
		etl_rank_sort(state);
	}
	PopActiveSnapshot();
	return joined;
}

/*
 * help joins a run and works on it; an argument of etl_driver_try.
 */
static void
help(void *arg)
{
	HelpWork   *work = arg;

	if (join_run(&work->state, work->board))
		etl_run_steps(&work->state);
}

/*
 * stop_helping writes what a helper had done when it was stopped.  Who
 * cancels a helper means the run: its leader is cancelled, too.
 */
static void
stop_helping(EtlRunState *state, const ErrorData *error)
{
	EtlBoard   *board = state->board;

	if (board != NULL && etl_error_is_cancel(error) && !board->closed && board->pids[0] != 0)
		(void) kill(board->pids[0], SIGINT);
	else if (!etl_error_is_cancel(error))
		ereport(WARNING,
				(errmsg("a helper of run %lld gives up: %s", (long long) state->run.run_id,
						error->message)));
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_tasks_update(state->finished);
	PopActiveSnapshot();
	state->driver.base.commit(&state->driver.base);
}

/*
 * etl_run_help: see lead.h.
 */
void
etl_run_help(int64 run_id, dsm_handle board)
{
	HelpWork	work = {{{0}}};
	ErrorData  *error;

	etl_driver_begin_worker(&work.state.driver);
	work.state.run.run_id = run_id;
	work.state.place = -1;
	work.board = board;
	error = etl_driver_try(&work.state.driver, help, &work);
	PG_TRY();
	{
		if (error != NULL)
			stop_helping(&work.state, error);
	}
	PG_FINALLY();
	{
		etl_board_detach(&work.state);
	}
	PG_END_TRY();
	etl_driver_end(&work.state.driver);
}
