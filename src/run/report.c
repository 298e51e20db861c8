/*-------------------------------------------------------------------------
 *
 * report.c
 *    What a run tells the session that called it.
 *
 * A NOTICE for every finished task, one for the run; and when a task failed
 * the ERROR ET012, raised when everything is committed and every lock is
 * given back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_last_run_id);

int64		etl_last_run_id = 0;

/*
 * etl_sql_last_run_id is etl.last_run_id().
 */
Datum
etl_sql_last_run_id(PG_FUNCTION_ARGS)
{
	if (etl_last_run_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(etl_last_run_id);
}

/*
 * etl_format_count writes a number with commas.
 */
char *
etl_format_count(int64 count)
{
	char	   *digits = psprintf(INT64_FORMAT, count);
	int			length = strlen(digits);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < length; i++)
	{
		if (i > 0 && digits[i - 1] != '-' && (length - i) % 3 == 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoChar(&text, digits[i]);
	}
	return text.data;
}

/*
 * etl_format_seconds writes a duration.
 */
char *
etl_format_seconds(TimestampTz from, TimestampTz to)
{
	double		seconds = Max((double) (to - from) / 1000000.0, 0.0);

	return psprintf(seconds < 10 ? "%.2f s" : "%.1f s", seconds);
}

/*
 * count_rows writes "1 row", "2 rows".
 */
static char *
count_rows(int64 count)
{
	return psprintf("%s row%s", etl_format_count(count), count == 1 ? "" : "s");
}

/*
 * say_succeeded tells of a task that went well.
 */
static void
say_succeeded(const EtlTask *task)
{
	int64		written = task->rows_inserted + task->rows_updated + task->rows_deleted;
	char	   *time = etl_format_seconds(task->started_at, task->finished_at);
	char	   *rejects = task->rows_rejected == 0 ?
						"" :
						psprintf(" (%s rejected)", etl_format_count(task->rows_rejected));

	if (task->action != NULL && strcmp(task->action, "view") == 0)
		ereport(NOTICE, (errmsg("%s: view in %s%s", task->node, time, rejects)));
	else if (written == 0 && task->rows_rejected == 0 && task->action != NULL &&
			 (strcmp(task->action, "unchanged") == 0 || strcmp(task->action, "load") == 0))
		ereport(NOTICE, (errmsg("%s: nothing to do in %s: %s", task->node, time, task->reason)));
	else
		ereport(NOTICE, (errmsg("%s: %s in %s%s", task->node, count_rows(written), time, rejects)));
}

/*
 * etl_report_task tells what became of a task.
 */
void
etl_report_task(const EtlTask *task)
{
	if (strcmp(task->status, "succeeded") == 0)
		say_succeeded(task);
	else if (strcmp(task->status, "skipped") == 0)
		ereport(NOTICE, (errmsg("%s: skipped: %s", task->node, task->reason)));
	else
		ereport(WARNING,
				(errmsg("%s: failed after %s: %s", task->node,
						etl_format_seconds(task->started_at, task->finished_at), task->error),
				 task->detail ? errdetail_internal("%s", task->detail) : 0,
				 task->hint ? errhint("%s", task->hint) : 0));
}

/*
 * etl_report_failures names the failed tasks, separated by commas.
 */
char *
etl_report_failures(EtlRunState *state)
{
	StringInfoData text;
	EtlGraph   *graph = state->graph;

	initStringInfo(&text);
	for (int i = 0; i < graph->n; i++)
	{
		EtlTask    *task = graph->order[i]->task;

		if (task != NULL && strcmp(task->status, "failed") == 0)
			appendStringInfo(&text, "%s%s", text.len ? ", " : "", task->node);
	}
	return text.data;
}

/*
 * failure_detail writes a line, and inside a transaction block the whole
 * report, for every failed task.
 */
static char *
failure_detail(EtlRunState *state)
{
	StringInfoData text;
	EtlGraph   *graph = state->graph;

	initStringInfo(&text);
	for (int i = 0; i < graph->n; i++)
	{
		EtlTask    *task = graph->order[i]->task;

		if (task == NULL || strcmp(task->status, "failed") != 0)
			continue;
		appendStringInfo(&text, "%s%s: %s", text.len ? "\n" : "", task->node, task->error);
		if (state->driver.base.atomic && task->detail != NULL)
			appendStringInfo(&text, "\n%s", task->detail);
	}
	return text.data;
}

/*
 * raise_failed ends a run that has failed tasks.
 */
static void
raise_failed(EtlRunState *state)
{
	long long	run_id = (long long) state->run.run_id;

	if (state->driver.base.atomic)
		ereport(ERROR,
				(errcode(ETL_ERR_RUN_FAILED),
				 errmsg("run %lld failed: %s", run_id, etl_report_failures(state)),
				 errdetail_internal("%s", failure_detail(state)),
				 errhint("It ran inside a transaction block, so nothing of it is kept, not even its record. "
						 "Correct the cause and run again.")));
	ereport(ERROR,
			(errcode(ETL_ERR_RUN_FAILED),
			 errmsg("run %lld failed: %s", run_id, etl_report_failures(state)),
			 errdetail_internal("%s", failure_detail(state)),
			 errhint("SELECT * FROM etl.explain_run(%lld) says why and what to do; what succeeded stays.",
					 run_id)));
}

/*
 * etl_report_run closes the report of a run.
 */
void
etl_report_run(EtlRunState *state)
{
	EtlRun	   *run = &state->run;
	long long	run_id = (long long) run->run_id;
	char	   *time = etl_format_seconds(run->started_at, run->finished_at);
	char	   *rejects = run->rows_rejected == 0 ? "" :
											  psprintf(", %s rejected", etl_format_count(run->rows_rejected));

	if (run->nodes_failed > 0)
		raise_failed(state);
	else if (run->nodes_total == 0)
		ereport(NOTICE, (errmsg("run %lld: nothing to do: no node is selected", run_id)));
	else if (state->unchanged == run->nodes_total)
		ereport(NOTICE,
				(errmsg("run %lld: nothing to do: %s node%s up to date, in %s", run_id,
						etl_format_count(run->nodes_total), run->nodes_total == 1 ? "" : "s", time)));
	else
		ereport(NOTICE,
				(errmsg("run %lld succeeded: %s node%s%s, %s written%s, in %s", run_id,
						etl_format_count(run->nodes_total), run->nodes_total == 1 ? "" : "s",
						run->nodes_skipped == 0 ? "" :
												  psprintf(" (%d skipped)", run->nodes_skipped),
						count_rows(run->rows_written), rejects, time)));
}
