/*-------------------------------------------------------------------------
 *
 * tasks.c
 *    Rows of etl.task: written and read by the list, a statement for all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "catalog/history_room.h"
#include "catalog/sql.h"
#include "catalog/tasks.h"

#define TASK_COLUMNS \
	"task_id, run_id, node, kind, action, reason, status, attempt, started_at, finished_at, " \
	"rows_inserted, rows_updated, rows_deleted, rows_rejected, sqlstate, error, detail, hint, " \
	"skipped_because"

/*
 * array_param adds an array made of one field of every task.
 */
static void
array_param(EtlParams *params, Oid type, Datum *values, bool *nulls, int n)
{
	Oid			array_type = type == TEXTOID ? TEXTARRAYOID :
					 type == INT4OID ? INT4ARRAYOID :
					 type == INT8OID ? INT8ARRAYOID :
									   TIMESTAMPTZARRAYOID;
	bool		byval = type != TEXTOID;
	int			length = type == TEXTOID ? -1 : type == INT4OID ? 4 :
														  8;
	char		align = length == 8 ? TYPALIGN_DOUBLE : TYPALIGN_INT;
	int			dims[1] = {n};
	int			bounds[1] = {1};

	etl_param_datum(params, array_type,
					PointerGetDatum(construct_md_array(values, nulls, 1, dims, bounds, type,
													   length, byval, align)),
					false);
}

/*
 * texts, int4s, int8s and times gather the field at 'offset' of every task.
 */
static void
texts(EtlParams *params, List *tasks, size_t offset)
{
	int			n = list_length(tasks);
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
	{
		const char *text = *(char **) ((char *) list_nth(tasks, i) + offset);

		nulls[i] = text == NULL;
		values[i] = text ? CStringGetTextDatum(text) : (Datum) 0;
	}
	array_param(params, TEXTOID, values, nulls, n);
}

static void
int4s(EtlParams *params, List *tasks, size_t offset)
{
	int			n = list_length(tasks);
	Datum	   *values = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		values[i] = Int32GetDatum(*(int *) ((char *) list_nth(tasks, i) + offset));
	array_param(params, INT4OID, values, NULL, n);
}

static void
int8s(EtlParams *params, List *tasks, size_t offset)
{
	int			n = list_length(tasks);
	Datum	   *values = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(*(int64 *) ((char *) list_nth(tasks, i) + offset));
	array_param(params, INT8OID, values, NULL, n);
}

static void
times(EtlParams *params, List *tasks, size_t offset)
{
	int			n = list_length(tasks);
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
	{
		TimestampTz at = *(TimestampTz *) ((char *) list_nth(tasks, i) + offset);

		nulls[i] = at == DT_NOBEGIN;
		values[i] = TimestampTzGetDatum(at);
	}
	array_param(params, TIMESTAMPTZOID, values, nulls, n);
}

/*
 * etl_tasks_insert writes the tasks of a run as planned and numbers them.
 */
void
etl_tasks_insert(List *tasks)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	int			n = list_length(tasks);

	if (n == 0)
		return;
	etl_history_keep_room(ETL_HISTORY_TASK, 0);
	int8s(&params, tasks, offsetof(EtlTask, run_id));
	texts(&params, tasks, offsetof(EtlTask, node));
	texts(&params, tasks, offsetof(EtlTask, kind));
	texts(&params, tasks, offsetof(EtlTask, action));
	texts(&params, tasks, offsetof(EtlTask, reason));
	texts(&params, tasks, offsetof(EtlTask, status));
	int4s(&params, tasks, offsetof(EtlTask, attempt));
	times(&params, tasks, offsetof(EtlTask, started_at));
	times(&params, tasks, offsetof(EtlTask, finished_at));
	rows = etl_sql_query(
		"INSERT INTO etl.task (run_id, node, kind, action, reason, status, attempt,"
		" started_at, finished_at)"
		" SELECT run_id, node, kind, action, reason, status, attempt, started_at, finished_at"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY"
		" AS t (run_id, node, kind, action, reason, status, attempt, started_at,"
		" finished_at, n) ORDER BY n RETURNING task_id", &params);
	Assert(rows->n == n);
	for (int i = 0; i < n; i++)
		((EtlTask *) list_nth(tasks, i))->task_id = etl_row_int8(rows, i, "task_id");
	etl_history_keep_room(ETL_HISTORY_TASK, ((EtlTask *) llast(tasks))->task_id);
}

/*
 * etl_tasks_update writes what became of tasks.
 */
void
etl_tasks_update(List *tasks)
{
	EtlParams	params = {0};

	if (tasks == NIL)
		return;
	int8s(&params, tasks, offsetof(EtlTask, task_id));
	texts(&params, tasks, offsetof(EtlTask, action));
	texts(&params, tasks, offsetof(EtlTask, reason));
	texts(&params, tasks, offsetof(EtlTask, status));
	times(&params, tasks, offsetof(EtlTask, started_at));
	times(&params, tasks, offsetof(EtlTask, finished_at));
	int8s(&params, tasks, offsetof(EtlTask, rows_inserted));
	int8s(&params, tasks, offsetof(EtlTask, rows_updated));
	int8s(&params, tasks, offsetof(EtlTask, rows_deleted));
	int8s(&params, tasks, offsetof(EtlTask, rows_rejected));
	texts(&params, tasks, offsetof(EtlTask, sqlstate));
	texts(&params, tasks, offsetof(EtlTask, error));
	texts(&params, tasks, offsetof(EtlTask, detail));
	texts(&params, tasks, offsetof(EtlTask, hint));
	texts(&params, tasks, offsetof(EtlTask, skipped_because));
	etl_sql_exec("UPDATE etl.task AS t SET action = n.action, reason = n.reason, status = n.status,"
				 " started_at = n.started_at, finished_at = n.finished_at,"
				 " rows_inserted = n.rows_inserted, rows_updated = n.rows_updated,"
				 " rows_deleted = n.rows_deleted, rows_rejected = n.rows_rejected,"
				 " sqlstate = n.sqlstate, error = n.error, detail = n.detail, hint = n.hint,"
				 " skipped_because = n.skipped_because"
				 " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
				 " AS n (task_id, action, reason, status, started_at, finished_at, rows_inserted,"
				 " rows_updated, rows_deleted, rows_rejected, sqlstate, error, detail, hint,"
				 " skipped_because)"
				 " WHERE t.task_id = n.task_id", &params);
}

/*
 * read_task fills a struct from a row.
 */
static void
read_task(EtlTask *task, EtlRows *rows, int i)
{
	task->task_id = etl_row_int8(rows, i, "task_id");
	task->run_id = etl_row_int8(rows, i, "run_id");
	task->node = etl_row_text(rows, i, "node");
	task->kind = etl_row_text(rows, i, "kind");
	task->action = etl_row_text(rows, i, "action");
	task->reason = etl_row_text(rows, i, "reason");
	task->status = etl_row_text(rows, i, "status");
	task->attempt = etl_row_int4(rows, i, "attempt");
	task->started_at = etl_row_timestamp(rows, i, "started_at");
	task->finished_at = etl_row_timestamp(rows, i, "finished_at");
	task->rows_inserted = etl_row_int8(rows, i, "rows_inserted");
	task->rows_updated = etl_row_int8(rows, i, "rows_updated");
	task->rows_deleted = etl_row_int8(rows, i, "rows_deleted");
	task->rows_rejected = etl_row_int8(rows, i, "rows_rejected");
	task->sqlstate = etl_row_text(rows, i, "sqlstate");
	task->error = etl_row_text(rows, i, "error");
	task->detail = etl_row_text(rows, i, "detail");
	task->hint = etl_row_text(rows, i, "hint");
	task->skipped_because = etl_row_text(rows, i, "skipped_because");
}

/*
 * etl_tasks_of reads the tasks of a run.
 */
List *
etl_tasks_of(int64 run_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *result = NIL;

	etl_param_int8(&params, run_id);
	rows = etl_sql_query("SELECT " TASK_COLUMNS " FROM etl.task WHERE run_id = $1 ORDER BY task_id",
						 &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlTask    *task = palloc0(sizeof(EtlTask));

		read_task(task, rows, i);
		result = lappend(result, task);
	}
	return result;
}

/*
 * etl_tasks_read: see runs.h.
 */
void
etl_tasks_read(List *tasks)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	if (tasks == NIL)
		return;
	int8s(&params, tasks, offsetof(EtlTask, task_id));
	rows = etl_sql_query("SELECT " TASK_COLUMNS " FROM etl.task JOIN ROWS FROM (pg_catalog.unnest($1))"
						 " WITH ORDINALITY AS a (task_id, n) USING (task_id) ORDER BY a.n",
						 &params);
	for (int i = 0; i < rows->n && rows->n == list_length(tasks); i++)
		read_task(list_nth(tasks, i), rows, i);
}

/*
 * etl_task_mark: see runs.h.
 */
bool
etl_task_mark(int64 run_id, const char *node, const char *status, const char *reason)
{
	EtlParams	params = {0};

	etl_param_int8(&params, run_id);
	etl_param_text(&params, node);
	etl_param_text(&params, status);
	etl_param_text(&params, reason);
	if (etl_sql_exec("UPDATE etl.task SET status = $3, reason = $4,"
					 " finished_at = coalesce(finished_at, pg_catalog.clock_timestamp())"
					 " WHERE task_id = (SELECT pg_catalog.max(task_id) FROM etl.task"
					 "  WHERE run_id = $1 AND node = $2)", &params) == 0)
		return false;
	params.n = 1;
	etl_sql_exec("WITH last AS (SELECT DISTINCT ON (node) node, status FROM etl.task WHERE run_id = $1"
				 "  ORDER BY node, task_id DESC),"
				 " n AS (SELECT count(*) FILTER (WHERE status = 'succeeded') AS succeeded,"
				 "  count(*) FILTER (WHERE status = 'failed') AS failed,"
				 "  count(*) FILTER (WHERE status = 'skipped') AS skipped, count(*) AS total,"
				 "  'failed: ' || string_agg(node, ', ' ORDER BY node COLLATE \"C\")"
				 "   FILTER (WHERE status = 'failed') AS error FROM last)"
				 " UPDATE etl.run AS r SET nodes_succeeded = n.succeeded, nodes_failed = n.failed,"
				 " nodes_skipped = n.skipped, error = n.error, status = CASE"
				 " WHEN r.status = 'queued' THEN r.status WHEN n.failed > 0 THEN 'failed'"
				 " WHEN n.succeeded + n.skipped = n.total THEN 'succeeded' ELSE r.status END"
				 " FROM n WHERE r.run_id = $1", &params);
	return true;
}

/*
 * etl_tasks_seconds: see runs.h.
 */
List *
etl_tasks_seconds(void)
{
	EtlRows    *rows = etl_sql_query(
		"SELECT n.node, t.seconds FROM"
		" (SELECT target AS node FROM etl.stream UNION ALL SELECT target FROM etl.model) AS n,"
		" LATERAL (SELECT pg_catalog.avg(EXTRACT(epoch FROM l.finished_at - l.started_at))::float8"
		"  FROM (SELECT x.started_at, x.finished_at, x.status, x.action FROM etl.task AS x"
		"   WHERE x.node = n.node ORDER BY x.task_id DESC LIMIT 10) AS l"
		"  WHERE l.status = 'succeeded' AND l.action <> 'unchanged') AS t (seconds)"
		" WHERE t.seconds IS NOT NULL", NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlNodeSeconds *entry = palloc(sizeof(EtlNodeSeconds));
		bool		isnull;

		entry->node = etl_row_text(rows, i, "node");
		entry->seconds = DatumGetFloat8(etl_row_datum(rows, i, "seconds", &isnull));
		result = lappend(result, entry);
	}
	return result;
}
