/*-------------------------------------------------------------------------
 *
 * control.c
 *    Runs from outside: submit, wait, cancel, retry, mark.
 *
 * What is done to a run that somebody leads is done by telling its leader;
 * what is done to another is done to its row, under the run's lock until the
 * transaction ends, so that nobody takes it up meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/environment.h"
#include "catalog/tasks.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "common/progress.h"
#include "run/backfill.h"
#include "run/lead.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_submit);
PG_FUNCTION_INFO_V1(etl_sql_wait);
PG_FUNCTION_INFO_V1(etl_sql_cancel);
PG_FUNCTION_INFO_V1(etl_sql_retry);
PG_FUNCTION_INFO_V1(etl_sql_mark);

/* how often wait() looks: soon at first, then rarely */
#define FIRST_LOOK_MS 5
#define LAST_LOOK_MS  250

/*
 * find_run reads a run, or raises ET002.
 */
static EtlRun *
find_run(int64 run_id)
{
	EtlRun	   *run = etl_run_find(run_id);

	if (run == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("there is no run %lld", (long long) run_id),
				 errhint("SELECT run_id, status FROM etl.runs lists them.")));
	return run;
}

/*
 * argument_run_id reads the first argument.
 */
static int64
argument_run_id(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("run_id must not be null")));
	return PG_GETARG_INT64(0);
}

/*
 * check_may_control raises 42501 unless the user asked for the run, or
 * operates.
 */
static void
check_may_control(const EtlRun *run, const char *what)
{
	Oid			operators = get_role_oid("etl_operator", true);
	Oid			owner = get_role_oid(run->requested_by, true);

	if (superuser() || (OidIsValid(operators) && has_privs_of_role(GetUserId(), operators)) ||
		(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s run %lld", what, (long long) run->run_id),
			 errdetail("It was asked for by role \"%s\".", run->requested_by),
			 errhint("Ask to be granted etl_operator.")));
}

/*
 * say_who_leads tells that nobody takes up the run by itself.
 */
static void
say_who_leads(int64 run_id)
{
	if (etl_helpers != NULL)
		return;
	ereport(NOTICE,
			(errmsg("run %lld waits in the queue: there are no workers", (long long) run_id),
			 errhint("CALL etl.tick() works through the queue, or add etl to shared_preload_libraries.")));
}

/*
 * etl_sql_submit is etl.submit(...).
 */
Datum
etl_sql_submit(PG_FUNCTION_ARGS)
{
	EtlRun		run = {0};
	EtlGraph   *graph = etl_graph_load();
	int64		run_id;

	/* workers are at work on production */
	etl_environment_must_be_off("runs are not queued");
	run.selector = etl_arg_text(fcinfo, 0);
	run.exclude = etl_arg_text(fcinfo, 1);
	run.full_refresh = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	run.since = PG_ARGISNULL(3) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(3);
	run.until = PG_ARGISNULL(4) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(4);
	run.params = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	run.publish = etl_arg_text(fcinfo, 6);
	run.timeout_ms = etl_run_timeout_ms;
	etl_run_check_arguments(&run);

	/* what is wrong with it is said now, to who asks for it */
	etl_select(graph, run.selector, run.exclude);
	etl_check_may_run(graph, GetUserId());
	if (run.since != DT_NOBEGIN || run.until != DT_NOBEGIN)
		etl_check_interval(graph);
	run_id = etl_run_queue(&run);
	say_who_leads(run_id);
	PG_RETURN_INT64(run_id);
}

/*
 * is_over tells whether a run has a last status, and which.
 */
static bool
is_over(int64 run_id, char **status)
{
	EtlRun	   *run = find_run(run_id);

	*status = pstrdup(run->status);
	if (strcmp(*status, "queued") == 0)
		return false;
	if (strcmp(*status, "running") != 0)
		return true;

	/* nobody takes up the run of a session that is gone; it may also have ended just now */
	if (strcmp(run->led_by, "queue") == 0 || etl_run_is_alive(run_id))
		return false;
	run = find_run(run_id);
	*status = strcmp(run->status, "running") == 0 ? "interrupted" : pstrdup(run->status);
	return true;
}

/*
 * check_can_end raises ET014 when waiting could never end.
 */
static void
check_can_end(int64 run_id)
{
	if (etl_run_is_uncommitted(run_id))
		ereport(ERROR,
				(errcode(ETL_ERR_IN_TRANSACTION),
				 errmsg("run %lld begins only when this transaction has ended", (long long) run_id),
				 errdetail("It was submitted in the transaction that now wants to wait for it."),
				 errhint("Commit first: SELECT etl.submit(...) and SELECT etl.wait(...) as two "
						 "statements.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ETL_ERR_IN_TRANSACTION),
				 errmsg("etl.wait() needs isolation level read committed"),
				 errdetail("This transaction would never see that the run has ended."),
				 errhint("BEGIN ISOLATION LEVEL READ COMMITTED, or wait outside the transaction block.")));
}

/*
 * etl_sql_wait is etl.wait(run_id, timeout).
 */
Datum
etl_sql_wait(PG_FUNCTION_ARGS)
{
	int64		run_id = argument_run_id(fcinfo);
	TimestampTz until = DT_NOEND;
	long		pause_ms = FIRST_LOOK_MS;
	char	   *status;

	if (!PG_ARGISNULL(1))
		until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														TimestampTzGetDatum(GetCurrentTimestamp()),
														PG_GETARG_DATUM(1)));
	check_can_end(run_id);
	while (!is_over(run_id, &status))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= until)
			break;
		if (until != DT_NOEND)
			pause_ms = Min(pause_ms, TimestampDifferenceMilliseconds(now, until) + 1);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause_ms,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		etl_progress_say(run_id);
		pause_ms = Min(pause_ms + pause_ms / 2, LAST_LOOK_MS);
	}
	PG_RETURN_TEXT_P(cstring_to_text(status));
}

/*
 * etl_sql_cancel is etl.cancel(run_id).
 */
Datum
etl_sql_cancel(PG_FUNCTION_ARGS)
{
	int64		run_id = argument_run_id(fcinfo);
	EtlRun	   *run = find_run(run_id);
	int			leader;

	check_may_control(run, "cancel");
	if (!etl_lock_run_here(run_id))
	{
		leader = etl_run_leader(run_id);
		if (leader == MyProcPid)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("run %lld is led by this session", (long long) run_id),
					 errhint("Cancel the statement instead.")));
		if (leader != 0)
			(void) kill(leader, SIGINT);
		PG_RETURN_VOID();
	}

	/* nobody leads it, and nobody can begin to before this transaction ends */
	run = find_run(run_id);
	if (strcmp(run->status, "queued") == 0 || strcmp(run->status, "running") == 0)
		etl_run_close(run_id, "cancelled",
					  psprintf("cancelled by %s", GetUserNameFromId(GetUserId(), false)), "57014");
	else
		ereport(NOTICE,
				(errmsg("run %lld has ended already: %s", (long long) run_id, run->status)));
	PG_RETURN_VOID();
}

/*
 * etl_sql_retry is etl.retry(run_id).
 */
Datum
etl_sql_retry(PG_FUNCTION_ARGS)
{
	EtlRun		run = {0};
	EtlRun	   *other = find_run(argument_run_id(fcinfo));
	int64		run_id;

	etl_environment_must_be_off("runs are not queued");
	check_may_control(other, "retry");
	etl_run_check_ended(other);
	run.retry_of = other->run_id;
	run.full_refresh = other->full_refresh;
	run.params = other->params;
	run.publish = other->publish;
	run.since = other->since;
	run.until = other->until;
	run.reprocess = other->reprocess;
	run.timeout_ms = other->timeout_ms;
	run_id = etl_run_queue(&run);
	say_who_leads(run_id);
	PG_RETURN_INT64(run_id);
}

/*
 * etl_sql_mark is etl.mark(run_id, node, status, reason).
 */
Datum
etl_sql_mark(PG_FUNCTION_ARGS)
{
	int64		run_id = argument_run_id(fcinfo);
	char	   *node = etl_environment_target(etl_name_parse(etl_arg_required(fcinfo, 1, "node"))->canonical);
	char	   *status = etl_arg_required(fcinfo, 2, "status");
	char	   *reason = etl_arg_required(fcinfo, 3, "reason");
	char	   *user = GetUserNameFromId(GetUserId(), false);

	check_may_control(find_run(run_id), "mark tasks of");
	if (strcmp(status, "succeeded") != 0 && strcmp(status, "failed") != 0 && strcmp(status, "skipped") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("status is \"%s\", but must be succeeded, failed or skipped", status)));
	if (*reason == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("reason must not be empty"),
				 errhint("Say why: it stays with the task and in etl.logs.")));
	if (!etl_lock_run_here(run_id))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("run %lld is at work", (long long) run_id),
				 errhint("Wait until it has ended, or etl.cancel(%lld).", (long long) run_id)));
	if (!etl_task_mark(run_id, node, status, psprintf("marked %s by %s: %s", status, user, reason)))
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("run %lld has no task \"%s\"", (long long) run_id, node),
				 errhint("SELECT node, status FROM etl.tasks WHERE run_id = %lld lists them.",
						 (long long) run_id)));
	etl_log_store("warning", run_id, node, psprintf("marked %s by %s", status, user), reason);
	PG_RETURN_VOID();
}
