/*-------------------------------------------------------------------------
 *
 * explain.c
 *    What went wrong in a run, why, and what to do about it.
 *
 * One row for every task that did not succeed or that had rejects.  The
 * remedy is the hint of the error where there is one, else what its SQLSTATE
 * calls for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "common/errors.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_explain_run);

typedef struct Explanation
{
	char	   *what;
	char	   *why;
	char	   *remedy;
} Explanation;

/* What a code calls for when the error itself brought no hint; %n is the node, %r the run. */
static const struct
{
	const char *sqlstate;		/* a code, or a class */
	const char *remedy;
} remedies[] = {
	{"ET011", "Look at the rows with SELECT * FROM etl.validate('%n'), correct the data, the model "
			  "or the check"},
	{"ET005", "Check that the source can be reached with the options of its definition"},
	{"ET006", "Look at what the source answered, correct the options of the stream"},
	{"ET009",
	 "Correct the records at the source, or raise max_rejects of %n so that they are put aside"},
	{"ET010", "Adapt the stream's columns or its schema_policy to the source"},
	{"ET019", "Find who holds a lock on %n for long, or raise etl.publish_lock_timeout"},
	{"23", "Look at the rows that violate the constraint; filter them in the model, or quarantine "
		   "them with a check"},
	{"42501", "Grant the owner of %n the privilege that is missing"},
	{"42", "Correct the definition of %n"},
	{"22", "Correct the definition of %n, or quarantine the values it cannot take with a check on "
		   "its input"},
	{"53", "Give the server the resource that it lacks"},
	{"57", "It was stopped from outside"},
};

/*
 * fill replaces %n and %r in a template.
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
 * remedy_of finds what to do about a failed task.
 */
static char *
remedy_of(const EtlTask *task)
{
	const char *again = "then CALL etl.run(retry_of => %r).";

	for (int i = 0; i < lengthof(remedies) && task->hint == NULL; i++)
		if (task->sqlstate != NULL &&
			strncmp(task->sqlstate, remedies[i].sqlstate, strlen(remedies[i].sqlstate)) == 0)
			return fill(psprintf("%s; %s", remedies[i].remedy, again), task);
	if (task->hint != NULL)
		return psprintf("%s Then CALL etl.run(retry_of => " INT64_FORMAT ").", task->hint, task->run_id);
	return fill(psprintf("Correct the cause, %s", again), task);
}

/*
 * explain_failed explains a task with an error.
 */
static void
explain_failed(const EtlTask *task, Explanation *explanation)
{
	bool		stream = strcmp(task->kind, "stream") == 0;
	int64		kept = task->rows_inserted + task->rows_updated + task->rows_deleted;

	if (!stream)
		explanation->what = psprintf("Building %s failed; nothing of it was published, "
									 "readers see the rows of before.", task->node);
	else if (kept == 0)
		explanation->what = psprintf("Loading %s failed; nothing was landed.", task->node);
	else
		explanation->what = psprintf("Loading %s failed; %s row%s of the loads before stay.",
									 task->node, etl_format_count(kept), kept == 1 ? "" : "s");
	explanation->why = psprintf("%s (SQLSTATE %s)%s%s", task->error, task->sqlstate,
								task->detail ? "\n" : "", task->detail ? task->detail : "");
	explanation->remedy = remedy_of(task);
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
			explanation->why = psprintf("It needs %s, which failed: %s", other->node, other->error);
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
	explanation->why = strcmp(status, "cancelled") == 0 ? "Somebody cancelled the run." :
														  "The session that ran it ended.";
	explanation->remedy = fill("CALL etl.run(retry_of => %r) goes on from there.", task);
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
	explanation->what = psprintf("%s put %s record%s aside, whole and with the reasons; the others are in.",
								 task->node, etl_format_count(task->rows_rejected),
								 task->rows_rejected == 1 ? "" : "s");
	explanation->why = why.data;
	explanation->remedy = fill("SELECT * FROM etl.rejects WHERE target = '%n' AND run_id = %r; "
							   "correct the cause and SELECT * FROM etl.replay('%n'), or etl.discard('%n').",
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
	else
		return false;
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
 * etl_sql_explain_run is etl.explain_run(run_id).
 */
Datum
etl_sql_explain_run(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EtlRun	   *run;
	List	   *tasks;
	bool		alive;
	Oid			operators = get_role_oid("etl_operator", true);
	bool		sees_all = OidIsValid(operators) ? has_privs_of_role(GetUserId(), operators) : superuser();
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	run = find_run(fcinfo);
	tasks = etl_tasks_of(run->run_id);
	alive = etl_run_is_alive(run->run_id);
	foreach(cell, tasks)
	{
		EtlTask    *task = lfirst(cell);
		bool		open = strcmp(task->status, "queued") == 0 || strcmp(task->status, "running") == 0;
		const char *status = open && !alive ? "interrupted" : task->status;
		Explanation explanation = {0};
		Datum		values[5];
		bool		nulls[5] = {0};

		if (!sees_all && !etl_may_read(task->node))
			continue;
		if (!explain_task(task, status, tasks, &explanation))
			continue;
		values[0] = CStringGetTextDatum(task->node);
		values[1] = CStringGetTextDatum(status);
		values[2] = CStringGetTextDatum(explanation.what);
		values[3] = CStringGetTextDatum(explanation.why);
		values[4] = CStringGetTextDatum(explanation.remedy);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
