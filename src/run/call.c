/*-------------------------------------------------------------------------
 *
 * call.c
 *    CALL etl.run(): from its arguments to its last word.
 *
 * Checks the arguments, opens the run and works through it in this session.
 * Until the run is open an error is the caller's alone; afterwards it is
 * also in the run's row: an error that is nobody's node (a cancel) is
 * caught, recorded, committed, and raised again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/timeout.h"
#include "run/lead.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_run);

/*
 * read_arguments reads and checks what CALL was given.
 */
static void
read_arguments(FunctionCallInfo fcinfo, EtlRunState *state)
{
	EtlRun	   *run = &state->run;

	run->selector = etl_arg_text(fcinfo, 0);
	run->exclude = etl_arg_text(fcinfo, 1);
	run->full_refresh = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	run->since = PG_ARGISNULL(3) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(3);
	run->until = PG_ARGISNULL(4) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(4);
	state->workers = PG_ARGISNULL(5) ? 1 : PG_GETARG_INT32(5);
	run->params = PG_ARGISNULL(6) ? NULL : DatumGetJsonbPCopy(PG_GETARG_DATUM(6));
	run->publish = etl_arg_text(fcinfo, 7);
	run->retry_of = PG_ARGISNULL(8) ? 0 : PG_GETARG_INT64(8);
	run->due_at = run->started_at = DT_NOBEGIN;
	run->timeout_ms = etl_run_timeout_ms;
	run->led_by = "call";
	run->requested_by = GetUserNameFromId(GetUserId(), false);

	if (state->workers < 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("workers must be at least 1")));
	etl_run_check_arguments(run);
}

/*
 * look_for_workers makes the session work alone where nobody can help.
 */
static void
look_for_workers(EtlRunState *state)
{
	if (state->workers == 1 ||
		(etl_helpers != NULL && !state->driver.base.atomic && !etl_environment_on()))
		return;
	ereport(NOTICE,
			(errmsg("workers => %d: this session works alone", state->workers),
			 etl_environment_on() ?
				 errdetail("Workers are at work on production.") :
			 etl_helpers == NULL ?
				 errdetail("There are no workers: etl is not in shared_preload_libraries.") :
				 errdetail("Inside a transaction block everything happens in its transaction.")));
	state->workers = 1;
}

/*
 * work is etl_run_work; an argument of etl_driver_try.
 */
static void
work(void *state)
{
	etl_run_work(state);
}

/*
 * run_call runs between opening and closing of the driver.
 */
static void
run_call(EtlRunState *state)
{
	ErrorData  *error;

	look_for_workers(state);
	etl_run_open(state);
	if (state->driver.base.atomic)
	{
		etl_run_work(state);
		return;
	}
	error = etl_driver_try(&state->driver, work, state);
	if (error != NULL)
	{
		etl_run_break_off(state, error);
		etl_rethrow(error);
	}
}

/*
 * etl_sql_run is the procedure etl.run().
 */
Datum
etl_sql_run(PG_FUNCTION_ARGS)
{
	EtlRunState state = {0};
	bool		can_commit = fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
					  !castNode(CallContext, fcinfo->context)->atomic;

	etl_driver_begin(&state.driver, !can_commit, NULL);
	state.tells = true;
	PG_TRY();
	{
		read_arguments(fcinfo, &state);
		run_call(&state);
	}
	PG_FINALLY();
	{
		/* a session's locks outlive its errors */
		if (!state.driver.base.atomic && state.run.run_id != 0)
			etl_unlock_run(state.run.run_id);
		if (state.run.timeout_ms > 0)
			etl_timeout_stop(ETL_TIMEOUT_RUN);
	}
	PG_END_TRY();

	etl_report_run(&state);
	etl_driver_end(&state.driver);
	PG_RETURN_VOID();
}
