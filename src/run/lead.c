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

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/wake.h"
#include "run/lead.h"
#include "run/run.h"

/* deaths in a row, without any commit between, after which a task is parked */
#define MAX_CRASHES 3

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
		EtlRun	   *run = lfirst(cell);

		if (!etl_lock_run(run->run_id))
			continue;
		/* it may have ended between the look at its row and the lock */
		run = etl_run_find(run->run_id);
		if (run == NULL || strcmp(run->status, "running") != 0)
			;
		else if (strcmp(run->led_by, "queue") != 0)
			etl_run_close(run->run_id, "interrupted", "the session that ran it ended");
		else
		{
			etl_run_requeue(run->run_id, MAX_CRASHES,
							psprintf("parked: its process died %d times in a row while it was at "
									 "work, without any commit between", MAX_CRASHES));
			etl_wake_for_run_at_commit();
			again++;
		}
		etl_unlock_run(run->run_id);
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
 * lead_locked leads a run whose lock is held, and gives the lock back.
 */
static ErrorData *
lead_locked(EtlRunState *state)
{
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		error = etl_driver_try(&state->driver, lead, state);
		if (error != NULL)
			etl_run_break_off(state, error);
	}
	PG_CATCH();
	{
		etl_unlock_run(state->run.run_id);
		PG_RE_THROW();
	}
	PG_END_TRY();
	etl_unlock_run(state->run.run_id);
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
		ReThrowError(error);
	etl_driver_end(&state.driver);
}

/*
 * etl_run_help: see lead.h.
 */
void
etl_run_help(int64 run_id, dsm_handle board)
{
	/* no leader shares its board yet: the run has ended for us */
}
