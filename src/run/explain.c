/*-------------------------------------------------------------------------
 *
 * explain.c
 *    What went wrong in a run, why, and what to do about it.
 *
 * One row for every task that did not succeed or that had rejects.  Cause and
 * remedy of an error come from catalog/remedy.c, from the database as it is
 * when it is asked: a remedy that is SQL can be run as it stands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/graph.h"
#include "catalog/remedy.h"
#include "catalog/tasks.h"
#include "common/errors.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_explain_run);

typedef struct Explanation
{
	char	   *what;
	char	   *why;
	char	   *remedy;
} Explanation;

/*
 * fill replaces %n by the node and %r by the run.
 */
static char *
fill(const char *template, const EtlTask *task)
{
	StringInfoData text;

	initStringInfo(&text);
	for (const char *p = template; *p; p++)
	{
		if (p[0] == '%' && p[1] == 'n')
			appendStringInfoString(&text, task->node);
		else if (p[0] == '%' && p[1] == 'r')
			appendStringInfo(&text, INT64_FORMAT, task->run_id);
		else
		{
			appendStringInfoChar(&text, *p);
			continue;
		}
		p++;
	}
	return text.data;
}

/*
 * since_when tells since when a task is as it is; a failed node since its
 * first failure after its last success.
 */
static char *
since_when(const EtlTask *task)
{
	int64		runs = 0;
	TimestampTz since = task->finished_at != DT_NOBEGIN ? task->finished_at : task->started_at;

	if (strcmp(task->status, "failed") == 0)
	{
		TimestampTz first = etl_failing_since(task->node, &runs);

		since = runs > 0 ? first : since;
	}
	if (since == DT_NOBEGIN)
		return "It was not begun.";
	if (runs < 2)
		return psprintf("Since %s.", timestamptz_to_str(since));
	return psprintf("Since %s, in " INT64_FORMAT " runs.", timestamptz_to_str(since), runs);
}

/*
 * explain_failed explains a task with an error.
 */
static void
explain_failed(const EtlTask *task, Explanation *explanation)
{
	bool		stream = strcmp(task->kind, "stream") == 0;
	int64		kept = task->rows_inserted + task->rows_updated + task->rows_deleted;
	EtlFailure	failure = {.run_id = task->run_id,
						  .node = task->node,
						  .sqlstate = task->sqlstate,
						  .message = task->error,
						  .detail = task->detail,
						  .hint = task->hint};
	EtlRemedy	remedy = {0};

	if (!stream)
		explanation->what = psprintf("Building %s failed; nothing of it was published, "
									 "readers see the rows of before.", task->node);
	else if (kept == 0)
		explanation->what = psprintf("Loading %s failed; nothing was landed.", task->node);
	else
		explanation->what = psprintf("Loading %s failed; %s row%s of the loads before stay.",
									 task->node, etl_format_count(kept), kept == 1 ? "" : "s");
	etl_remedy_find(&failure, &remedy);
	explanation->why = psprintf("%s (SQLSTATE %s)%s%s\nLikely cause: %s\n%s", task->error, task->sqlstate,
								task->detail ? "\n" : "", task->detail ? task->detail : "",
								remedy.cause, since_when(task));
	explanation->remedy =
		remedy.is_sql ? remedy.remedy :
						psprintf("%s Then CALL etl.run(retry_of => " INT64_FORMAT ").", remedy.remedy,
								 task->run_id);
}

/*
 * explain_skipped explains a task that was not tried.
 */
static void
explain_skipped(const EtlTask *task, List *tasks, Explanation *explanation)
{
	ListCell   *cell;

	explanation->what = psprintf("%s was not tried; it keeps what it had.", task->node);
	explanation->why = psprintf("Because %s.", task->reason ? task->reason : "of what is above it");
	foreach(cell, tasks)
	{
		EtlTask    *other = lfirst(cell);

		if (strcmp(other->node, task->skipped_because) == 0 && strcmp(other->status, "failed") == 0)
			explanation->why = psprintf("It needs %s, which failed: %s\n%s", other->node, other->error,
										since_when(other));
	}
	explanation->remedy = psprintf("See to %s; CALL etl.run(retry_of => " INT64_FORMAT ") then runs both.",
								   task->skipped_because, task->run_id);
}

/*
 * explain_stopped explains a task that a cancel or a crash broke off.
 */
static void
explain_stopped(const EtlTask *task, const char *status, Explanation *explanation)
{
	explanation->what = psprintf("%s was %s; what was committed before stays.", task->node, status);
	explanation->why = psprintf("%s\n%s",
								task->error						 ? task->error :
								strcmp(status, "cancelled") == 0 ? "Somebody cancelled the run." :
																   "The process that ran it ended.",
								since_when(task));
	explanation->remedy = fill("CALL etl.run(retry_of => %r);", task);
}

/*
 * explain_rejects explains a task that put records aside.
 */
static void
explain_rejects(const EtlTask *task, Explanation *explanation)
{
	List	   *reasons = etl_reject_reasons(task->run_id, task->node);
	StringInfoData why;
	ListCell   *cell;

	initStringInfo(&why);
	foreach(cell, reasons)
		appendStringInfo(&why, "%s%s", why.len ? "\n" : "", (char *) lfirst(cell));
	explanation->remedy = etl_remedy_rejects(task->run_id, task->node);
	explanation->what = psprintf("%s put %s record%s aside, whole and with the reasons; the others are in.",
								 task->node, etl_format_count(task->rows_rejected),
								 task->rows_rejected == 1 ? "" : "s");
	appendStringInfo(&why, "\n%s", since_when(task));
	explanation->why = why.data;
	if (explanation->remedy == NULL)
		explanation->remedy =
			fill("Look at them with SELECT * FROM etl.rejects WHERE target = '%n' AND run_id = %r; "
				 "correct the "
				 "cause and SELECT * FROM etl.replay('%n'), or etl.discard('%n').", task);
}

/*
 * explain_incomplete explains a task that was done on the last good rows of
 * an input.
 */
static void
explain_incomplete(const EtlTask *task, Explanation *explanation)
{
	explanation->what = psprintf("%s was built, but not on what its inputs should be; it is flagged "
								 "incomplete.", task->node);
	explanation->why = psprintf("%s\n%s", task->reason, since_when(task));
	explanation->remedy = fill("See to the input; the next run of %n that finds it well takes the flag away.",
							   task);
}

/*
 * explain_task explains one task; false when there is nothing to explain.
 */
static bool
explain_task(const EtlTask *task, const char *status, List *tasks, Explanation *explanation)
{
	if (strcmp(status, "failed") == 0 && task->sqlstate != NULL)
		explain_failed(task, explanation);
	else if (strcmp(status, "skipped") == 0 && task->skipped_because != NULL)
		explain_skipped(task, tasks, explanation);
	else if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0 ||
			 strcmp(status, "interrupted") == 0)
		explain_stopped(task, status, explanation);
	else if (task->rows_rejected > 0)
		explain_rejects(task, explanation);
	else if (task->reason != NULL && strncmp(task->reason, "incomplete: ", 12) == 0)
		explain_incomplete(task, explanation);
	else
		return false;
	return true;
}

/*
 * is_last_attempt tells whether a task was not tried again.
 */
static bool
is_last_attempt(const EtlTask *task, List *tasks)
{
	ListCell   *cell;

	foreach(cell, tasks)
	{
		EtlTask    *other = lfirst(cell);

		if (other->attempt > task->attempt && strcmp(other->node, task->node) == 0)
			return false;
	}
	return true;
}

/*
 * add_row adds a row to the answer; node may be NULL.
 */
static void
add_row(ReturnSetInfo *result, const char *node, const char *status, const Explanation *explanation)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {node == NULL, false, false, false, false};

	if (node != NULL)
		values[0] = CStringGetTextDatum(node);
	values[1] = CStringGetTextDatum(status);
	values[2] = CStringGetTextDatum(explanation->what);
	values[3] = CStringGetTextDatum(explanation->why);
	values[4] = CStringGetTextDatum(explanation->remedy);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * explain_run explains what is not about one of the run's nodes: that it
 * still waits, or why none of them was tried.  false: there is nothing.
 */
static bool
explain_run(const EtlRun *run, List *tasks, Explanation *explanation)
{
	EtlFailure	failure = {.run_id = run->run_id, .message = run->error};
	EtlRemedy	remedy = {0};

	if (strcmp(run->status, "queued") == 0)
	{
		etl_remedy_queued(run->run_id, &remedy);
		explanation->what = psprintf("Run " INT64_FORMAT " (%s) waits; nothing of it was tried.",
									 run->run_id, run->selector);
		explanation->why = psprintf("Likely cause: %s\nSince %s.", remedy.cause,
									timestamptz_to_str(run->queued_at));
	}
	else if (strcmp(run->status, "failed") == 0 && run->error != NULL && tasks == NIL)
	{
		etl_remedy_find(&failure, &remedy);
		explanation->what = psprintf("Run " INT64_FORMAT " (%s) failed before any node was tried.",
									 run->run_id, run->selector);
		explanation->why = psprintf("%s\nLikely cause: %s\nSince %s.", run->error, remedy.cause,
									timestamptz_to_str(run->finished_at));
	}
	else
		return false;
	explanation->remedy = remedy.remedy;
	return true;
}

/*
 * find_run returns the run that is asked for, or the last one.
 */
static EtlRun *
find_run(FunctionCallInfo fcinfo)
{
	int64		run_id = !PG_ARGISNULL(0)		? PG_GETARG_INT64(0) :
				   etl_last_run_id != 0 ? etl_last_run_id :
										  etl_run_newest();
	EtlRun	   *run = etl_run_find(run_id);

	/* the session's last one may have been rolled back by its caller */
	if (run == NULL && PG_ARGISNULL(0))
		run = etl_run_find(etl_run_newest());
	if (run == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 PG_ARGISNULL(0) ? errmsg("there has been no run yet") :
								   errmsg("there is no run %lld", (long long) run_id),
				 errhint("SELECT run_id, status FROM etl.runs lists them.")));
	return run;
}

/*
 * is_last tells whether an attempt of a node is its last one.
 */
static bool
is_last(List *tasks, const EtlTask *task)
{
	ListCell   *cell;

	if (strcmp(task->status, "succeeded") == 0)
		return true;
	foreach(cell, tasks)
	{
		EtlTask    *other = lfirst(cell);

		if (other->task_id > task->task_id && strcmp(other->node, task->node) == 0)
			return false;
	}
	return true;
}

/*
 * etl_sql_explain_run is etl.explain_run(run_id).
 */
Datum
etl_sql_explain_run(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EtlRun	   *run;
	List	   *tasks;
	Explanation of_run = {0};
	bool		alive;
	Oid			operators = get_role_oid("etl_operator", true);
	bool		sees_all = OidIsValid(operators) ? has_privs_of_role(GetUserId(), operators) : superuser();
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	run = find_run(fcinfo);
	tasks = etl_tasks_of(run->run_id);
	alive = etl_run_is_alive(run->run_id);
	if (sees_all && explain_run(run, tasks, &of_run))
		add_row(result, NULL, run->status, &of_run);
	foreach(cell, tasks)
	{
		EtlTask    *task = lfirst(cell);
		bool		open = strcmp(task->status, "queued") == 0 || strcmp(task->status, "running") == 0;
		const char *status = open && !alive ? "interrupted" : task->status;
		Explanation explanation = {0};

		if (!is_last(tasks, task) || (!sees_all && !etl_may_read(task->node)))
			continue;
		if (is_last_attempt(task, tasks) && explain_task(task, status, tasks, &explanation))
			add_row(result, task->node, status, &explanation);
	}
	return (Datum) 0;
}
