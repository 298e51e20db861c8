/*-------------------------------------------------------------------------
 *
 * runs.c
 *    Runs and their tasks, and what a run must know of the graph at once.
 *
 * A run of a thousand nodes that has nothing to do must not cost a thousand
 * statements: tasks are inserted and updated many at once, from arrays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"

#include "catalog/history_room.h"
#include "catalog/runs.h"
#include "catalog/schedule.h"
#include "catalog/sql.h"
#include "common/wake.h"

#define RUN_COLUMNS \
	"run_id, selector, exclude, full_refresh, params, publish, retry_of, since, until, reprocess, trigger, " \
	"trigger_name, due_at, lane, priority, timeout_ms, workers, retry, status, led_by, led_at, crashes, incomplete, " \
	"queued_at, started_at, finished_at, nodes_total, nodes_succeeded, nodes_failed, " \
	"nodes_skipped, rows_written, rows_rejected, error, requested_by"

/*
 * etl_run_next_id draws the number of the next run.
 */
int64
etl_run_next_id(void)
{
	return etl_sql_int8("SELECT pg_catalog.nextval('etl.run_id_seq')", NULL);
}

/*
 * etl_run_insert writes the row of a run that begins.
 */
void
etl_run_insert(const EtlRun *run)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run->run_id);
	etl_param_text(&params, run->selector);
	etl_param_text(&params, run->exclude);
	etl_param_bool(&params, run->full_refresh);
	etl_param_jsonb(&params, run->params);
	etl_param_text(&params, run->publish);
	etl_param_int8(&params, run->retry_of);
	etl_param_timestamp(&params, run->since);
	etl_param_timestamp(&params, run->until);
	etl_param_text(&params, run->trigger ? run->trigger : "manual");
	etl_param_text(&params, run->trigger_name);
	etl_param_timestamp(&params, run->due_at);
	etl_param_int4(&params, run->priority);
	etl_param_int8(&params, run->timeout_ms);
	etl_param_text(&params, run->status);
	etl_param_text(&params, run->led_by ? run->led_by : "call");
	etl_param_timestamp(&params, run->led_at);
	etl_param_timestamp(&params, run->started_at);
	etl_param_int4(&params, run->nodes_total);
	etl_param_text(&params, run->requested_by);
	etl_param_text(&params, run->lane);
	etl_param_int4(&params, run->workers);
	etl_param_jsonb(&params, run->retry);
	etl_param_text(&params, run->reprocess);
	/* so that a copy of this database knows that its runs are not its own */
	etl_instance_claim();
	etl_history_keep_room(ETL_HISTORY_RUN, run->run_id);
	etl_sql_exec("INSERT INTO etl.run (run_id, selector, exclude, full_refresh, params, publish,"
				 " retry_of, since, until, trigger, trigger_name, due_at, priority, timeout_ms,"
				 " status, led_by, led_at, started_at, nodes_total, requested_by, lane, workers, retry,"
				 " reprocess)"
				 " VALUES ($1, $2, $3, $4, $5, $6, NULLIF($7, 0), $8, $9, $10, $11, $12, $13, $14,"
				 " $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)", &params);
}

/*
 * etl_run_update writes how far a run has come.
 */
void
etl_run_update(const EtlRun *run)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run->run_id);
	etl_param_text(&params, run->status);
	etl_param_timestamp(&params, run->finished_at);
	etl_param_int4(&params, run->nodes_succeeded);
	etl_param_int4(&params, run->nodes_failed);
	etl_param_int4(&params, run->nodes_skipped);
	etl_param_int8(&params, run->rows_written);
	etl_param_int8(&params, run->rows_rejected);
	etl_param_text(&params, run->error);
	etl_param_int4(&params, run->nodes_total);
	etl_param_timestamp(&params, run->started_at);
	etl_param_timestamp(&params, run->led_at);
	etl_param_int4(&params, run->crashes);
	etl_param_bool(&params, run->incomplete);
	etl_sql_exec("UPDATE etl.run SET status = $2, finished_at = $3, nodes_succeeded = $4,"
				 " nodes_failed = $5, nodes_skipped = $6, rows_written = $7, rows_rejected = $8,"
				 " error = $9, nodes_total = $10, started_at = $11, led_at = $12, crashes = $13,"
				 " incomplete = $14 WHERE run_id = $1", &params);
	/* what waits behind it, in its lane or as an event of its schedule, can go on */
	if (run->lane != NULL && run->finished_at != DT_NOBEGIN)
		etl_wake_for_run_at_commit();
}

/*
 * etl_run_count: see runs.h.
 */
void
etl_run_count(int64 run_id)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run_id);
	etl_sql_exec("UPDATE etl.run AS r SET nodes_succeeded = n.succeeded, nodes_failed = n.failed,"
				 " nodes_skipped = n.skipped, rows_written = w.written, rows_rejected = w.rejected"
				 " FROM (SELECT count(*) FILTER (WHERE status = 'succeeded') AS succeeded,"
				 "  count(*) FILTER (WHERE status = 'failed') AS failed,"
				 "  count(*) FILTER (WHERE status = 'skipped') AS skipped"
				 "  FROM (SELECT DISTINCT ON (node) status FROM etl.task WHERE run_id = $1"
				 "   ORDER BY node, task_id DESC) AS last) AS n,"
				 " (SELECT coalesce(sum(rows_inserted + rows_updated + rows_deleted), 0) AS written,"
				 "  coalesce(sum(rows_rejected), 0) AS rejected FROM etl.task WHERE run_id = $1) AS w"
				 " WHERE r.run_id = $1", &params);
}

/*
 * etl_run_count_rows: see runs.h.
 */
void
etl_run_count_rows(EtlRun *run)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, run->run_id);
	rows = etl_sql_query("SELECT pg_catalog.sum(rows_inserted + rows_updated + rows_deleted)::bigint"
						 " AS written, pg_catalog.sum(rows_rejected)::bigint AS rejected"
						 " FROM etl.task WHERE run_id = $1", &params);
	run->rows_written = etl_row_int8(rows, 0, "written");
	run->rows_rejected = etl_row_int8(rows, 0, "rejected");
}

/*
 * read_run makes a struct of a row.
 */
static EtlRun *
read_run(EtlRows *rows, int i)
{
	EtlRun	   *run = palloc0(sizeof(EtlRun));

	run->run_id = etl_row_int8(rows, i, "run_id");
	run->selector = etl_row_text(rows, i, "selector");
	run->exclude = etl_row_text(rows, i, "exclude");
	run->full_refresh = etl_row_bool(rows, i, "full_refresh");
	run->params = etl_row_jsonb(rows, i, "params");
	run->publish = etl_row_text(rows, i, "publish");
	run->retry_of = etl_row_int8(rows, i, "retry_of");
	run->since = etl_row_timestamp(rows, i, "since");
	run->until = etl_row_timestamp(rows, i, "until");
	run->reprocess = etl_row_text(rows, i, "reprocess");
	run->trigger = etl_row_text(rows, i, "trigger");
	run->trigger_name = etl_row_text(rows, i, "trigger_name");
	run->due_at = etl_row_timestamp(rows, i, "due_at");
	run->lane = etl_row_text(rows, i, "lane");
	run->priority = etl_row_int4(rows, i, "priority");
	run->timeout_ms = etl_row_int8(rows, i, "timeout_ms");
	run->workers = etl_row_int4(rows, i, "workers");
	run->retry = etl_row_jsonb(rows, i, "retry");
	run->status = etl_row_text(rows, i, "status");
	run->led_by = etl_row_text(rows, i, "led_by");
	run->led_at = etl_row_timestamp(rows, i, "led_at");
	run->crashes = etl_row_int4(rows, i, "crashes");
	run->incomplete = etl_row_bool(rows, i, "incomplete");
	run->queued_at = etl_row_timestamp(rows, i, "queued_at");
	run->started_at = etl_row_timestamp(rows, i, "started_at");
	run->finished_at = etl_row_timestamp(rows, i, "finished_at");
	run->nodes_total = etl_row_int4(rows, i, "nodes_total");
	run->nodes_succeeded = etl_row_int4(rows, i, "nodes_succeeded");
	run->nodes_failed = etl_row_int4(rows, i, "nodes_failed");
	run->nodes_skipped = etl_row_int4(rows, i, "nodes_skipped");
	run->rows_written = etl_row_int8(rows, i, "rows_written");
	run->rows_rejected = etl_row_int8(rows, i, "rows_rejected");
	run->error = etl_row_text(rows, i, "error");
	run->requested_by = etl_row_text(rows, i, "requested_by");
	return run;
}

/*
 * etl_run_find reads a run; NULL when there is none of that number.
 */
EtlRun *
etl_run_find(int64 run_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, run_id);
	rows = etl_sql_query("SELECT " RUN_COLUMNS " FROM etl.run WHERE run_id = $1", &params);
	return rows->n == 0 ? NULL : read_run(rows, 0);
}

/*
 * etl_run_newest returns the greatest number a run has, 0 when there is none.
 */
int64
etl_run_newest(void)
{
	return etl_sql_int8("SELECT pg_catalog.max(run_id) FROM etl.run", NULL);
}

/*
 * read_runs makes a list of structs.
 */
static List *
read_runs(EtlRows *rows)
{
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
		result = lappend(result, read_run(rows, i));
	return result;
}

/*
 * etl_runs_running lists the runs whose row says that they are running.
 */
List *
etl_runs_running(void)
{
	return read_runs(etl_sql_query("SELECT " RUN_COLUMNS " FROM etl.run WHERE status = 'running'"
								   " ORDER BY run_id", NULL));
}

/*
 * etl_runs_waiting lists the queued runs in the order in which they start;
 * of a lane only the first, and none while another of the lane is running.
 */
List *
etl_runs_waiting(void)
{
	EtlRows    *rows = etl_sql_query("SELECT r.run_id FROM etl.run AS r WHERE r.status = 'queued' AND NOT r.held"
								  " AND (r.lane IS NULL OR NOT EXISTS (SELECT FROM etl.run AS o"
								  " WHERE o.lane = r.lane AND (o.status = 'running'"
								  " OR o.status = 'queued' AND NOT o.held AND o.run_id < r.run_id)))"
								  " ORDER BY r.priority DESC, r.run_id", NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		int64	   *run_id = palloc(sizeof(int64));

		*run_id = etl_row_int8(rows, i, "run_id");
		result = lappend(result, run_id);
	}
	return result;
}

/*
 * etl_run_close ends a run from outside: its tasks that were waiting or at
 * work get the same status.
 */
void
etl_run_close(int64 run_id, const char *status, const char *error, const char *sqlstate)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run_id);
	etl_param_text(&params, status);
	etl_param_text(&params, error);
	etl_sql_exec("UPDATE etl.run SET status = $2, error = $3, finished_at = pg_catalog.clock_timestamp()"
				 " WHERE run_id = $1 AND status IN ('queued', 'running')", &params);
	etl_param_text(&params, sqlstate);
	etl_sql_exec("UPDATE etl.task SET finished_at = pg_catalog.clock_timestamp(),"
				 " status = CASE WHEN $2 = 'failed' AND status = 'queued' THEN 'cancelled' ELSE $2 END,"
				 " error = CASE WHEN status = 'running' THEN $3 END,"
				 " sqlstate = CASE WHEN status = 'running' THEN coalesce($4, sqlstate)"
				 "  WHEN $2 = 'cancelled' THEN '57014' END"
				 " WHERE run_id = $1 AND status IN ('queued', 'running')", &params);
	etl_wake_for_run_at_commit();
}

/*
 * etl_run_is_uncommitted: see runs.h.
 */
bool
etl_run_is_uncommitted(int64 run_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	bool		isnull;

	etl_param_int8(&params, run_id);
	rows = etl_sql_query("SELECT xmin FROM etl.run WHERE run_id = $1 AND status = 'queued'", &params);
	return rows->n > 0 && TransactionIdIsCurrentTransactionId(
							  DatumGetTransactionId(etl_row_datum(rows, 0, "xmin", &isnull)));
}

/*
 * park ends the tasks at work as failed, or the run when there are none.
 */
static void
park(int64 run_id, const char *error)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run_id);
	etl_param_text(&params, error);
	if (etl_sql_exec("UPDATE etl.task SET status = 'failed', sqlstate = '57P02', error = $2,"
					 " finished_at = pg_catalog.clock_timestamp(),"
					 " hint = 'Look into the server log for what ended the process, then retry the run.'"
					 " WHERE run_id = $1 AND status = 'running'", &params) > 0)
		etl_sql_exec("UPDATE etl.run SET crashes = 0 WHERE run_id = $1 AND $2 IS NOT NULL", &params);
	else
		etl_run_close(run_id, "failed", error, "57P02");
}

/*
 * etl_run_note_stopped: see runs.h.  It is called by a process that ends:
 * whoever has locked the row, it does not wait.
 */
void
etl_run_note_stopped(int64 run_id)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run_id);
	etl_sql_exec("UPDATE etl.run SET stopped = true WHERE run_id = (SELECT r.run_id FROM etl.run AS r"
				 " WHERE r.run_id = $1 AND r.status = 'running' FOR UPDATE SKIP LOCKED)", &params);
}

/*
 * etl_run_requeue: see runs.h.
 */
bool
etl_run_requeue(int64 run_id, int limit, const char *parked)
{
	EtlParams	params = {0};
	bool		stopped;
	int64		crashes;

	etl_param_int8(&params, run_id);
	stopped = etl_sql_int8("SELECT stopped::int::bigint FROM etl.run WHERE run_id = $1", &params) != 0;
	crashes = etl_sql_int8(
		"UPDATE etl.run AS r SET stopped = false, crashes = CASE"
		" WHEN EXISTS (SELECT FROM etl.load AS l WHERE l.run_id = r.run_id AND l.finished_at >= r.led_at)"
		" OR EXISTS (SELECT FROM etl.task AS t WHERE t.run_id = r.run_id AND t.finished_at >= r.led_at"
		" AND t.status IN ('succeeded', 'failed')) THEN 0 ELSE crashes END + (NOT stopped)::int"
		" WHERE run_id = $1 RETURNING crashes::bigint", &params);
	if (crashes >= limit && !stopped)
		park(run_id, parked);
	etl_sql_exec("UPDATE etl.run SET status = 'queued' WHERE run_id = $1 AND status = 'running'", &params);
	etl_sql_exec("UPDATE etl.task SET status = 'interrupted', error = 'its process ended',"
				 " finished_at = pg_catalog.clock_timestamp()"
				 " WHERE run_id = $1 AND status = 'running'", &params);
	return !stopped;
}

/*
 * etl_runs_disown ends every queued run without running it.
 */
void
etl_runs_disown(const char *error)
{
	EtlParams	params = {0};

	etl_param_text(&params, error);
	etl_sql_exec("UPDATE etl.run SET status = 'interrupted', error = $1,"
				 " finished_at = pg_catalog.clock_timestamp() WHERE status = 'queued'", &params);
	etl_sql_exec("UPDATE etl.task SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()"
				 " WHERE status = 'queued' AND run_id IN (SELECT r.run_id FROM etl.run AS r"
				 " WHERE r.status = 'interrupted')", NULL);
}

/*
 * etl_backfill_runs lists the runs of backfills with a selector, oldest first.
 */
List *
etl_backfill_runs(const char *selector)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, selector);
	rows = etl_sql_query("SELECT " RUN_COLUMNS " FROM etl.run WHERE trigger = 'backfill'"
						 " AND selector = $1 ORDER BY run_id", &params);
	return read_runs(rows);
}

/*
 * etl_lane_requested_by tells whose runs a lane holds.
 */
char *
etl_lane_requested_by(const char *lane)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, lane);
	rows = etl_sql_query("SELECT requested_by FROM etl.run WHERE lane = $1 LIMIT 1", &params);
	return rows->n == 0 ? NULL : etl_row_text(rows, 0, "requested_by");
}

/*
 * etl_lane_hold pauses or resumes what a lane has not begun.
 */
void
etl_lane_hold(const char *lane, bool hold)
{
	EtlParams	params = {0};

	etl_param_text(&params, lane);
	etl_param_bool(&params, hold);
	etl_sql_exec("UPDATE etl.run SET held = $2 WHERE lane = $1 AND status IN ('queued', 'running')"
				 " AND held <> $2", &params);
}

bool
etl_run_is_held(int64 run_id)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run_id);
	return etl_sql_int8("SELECT count(*) FROM etl.run WHERE run_id = $1 AND held", &params) > 0;
}
