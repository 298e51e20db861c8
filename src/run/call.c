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

#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "run/lead.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_run);

typedef struct RunArguments
{
	char	   *selector;
	char	   *exclude;
	bool		full_refresh;
	TimestampTz since;			/* DT_NOBEGIN: not given */
	TimestampTz until;
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
	args->since = PG_ARGISNULL(3) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(3);
	args->until = PG_ARGISNULL(4) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(4);
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
 * work is etl_run_work; an argument of etl_driver_try.
 */
static void
work(void *state)
{
	etl_run_work(state);
}

/*
 * describe fills in what was asked for.
 */
static void
describe(EtlRun *run, const RunArguments *args)
{
	run->selector = args->selector;
	run->exclude = args->exclude;
	run->full_refresh = args->full_refresh;
	run->since = args->since;
	run->until = args->until;
	run->params = args->params;
	run->publish = args->publish;
	run->retry_of = args->retry_of;
	run->led_by = "call";
	run->due_at = DT_NOBEGIN;
	run->started_at = DT_NOBEGIN;
	run->requested_by = GetUserNameFromId(GetUserId(), false);
}

/*
 * run_call runs between opening and closing of the driver.
 */
static void
run_call(EtlRunState *state, RunArguments *args)
{
	ErrorData  *error;

	describe(&state->run, args);
	state->workers = args->workers;
	if (args->workers > 1 && (etl_helpers == NULL || state->driver.base.atomic))
	{
		state->workers = 1;
		ereport(NOTICE,
				(errmsg("workers => %d: this session works alone", args->workers),
				 etl_helpers == NULL ?
				 errdetail("There are no workers: etl is not in shared_preload_libraries.") :
				 errdetail("Inside a transaction block everything happens in its transaction.")));
	}
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
	state.tells = true;
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
