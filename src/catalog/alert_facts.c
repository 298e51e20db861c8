/*-------------------------------------------------------------------------
 *
 * alert_facts.c
 *    What rules of alerts compare with: how nodes usually fare.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/alert_facts.h"
#include "catalog/sql.h"

List *
etl_nodes_recovered(List *nodes, int64 run_id)
{
	EtlParams	params = {0};

	etl_param_texts(&params, nodes);
	etl_param_int8(&params, run_id);
	return etl_column_texts(
		etl_sql_query(
			"SELECT n.node FROM unnest($1) AS n (node), LATERAL (SELECT t.status FROM etl.task AS t"
			" WHERE t.node = n.node AND t.run_id <> $2 AND t.status IN ('succeeded', 'failed')"
			" ORDER BY t.task_id DESC LIMIT 1) AS t WHERE t.status = 'failed'", &params),
		"node");
}

double
etl_node_usual_seconds(const char *node, int64 before_task)
{
	EtlParams	params = {0};

	etl_param_text(&params, node);
	etl_param_int8(&params, before_task);
	return etl_sql_int8(
			   "SELECT (1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY s))::bigint FROM "
			   "(SELECT extract(epoch FROM finished_at - "
			   "started_at)"
			   " AS s FROM etl.task WHERE node = $1 AND task_id < $2 AND status = 'succeeded'"
			   " AND action <> 'unchanged' ORDER BY task_id DESC LIMIT 10) AS x HAVING count(*) >= "
			   "3", &params) /
		   1000.0;
}

bool
etl_rejects_are_open(const char *node)
{
	EtlParams	params = {0};

	etl_param_text(&params, node);
	return etl_sql_int8("SELECT 1::bigint FROM etl.reject WHERE target = $1 AND status = 'open' LIMIT 1",
						&params) > 0;
}

char *
etl_schema_changes_of(const char *node, int64 run_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, node);
	etl_param_int8(&params, run_id);
	return etl_row_text(
		etl_sql_query(
			"SELECT string_agg(change || coalesce(' ' || names, ''), ', '"
			" ORDER BY change COLLATE \"C\") AS changes FROM"
			" (SELECT c.change, string_agg(DISTINCT quote_ident(c.column_name), ', ') AS names"
			" FROM etl.schema_change AS c JOIN etl.load AS l USING (load_id)"
			" WHERE c.target = $1 AND l.run_id = $2"
			" AND c.change NOT IN ('table_created', 'table_adopted')"
			" GROUP BY c.change) AS x", &params),
		0, "changes");
}

List *
etl_nodes_not_tried(List *nodes, TimestampTz since, TimestampTz *next)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *result = NIL;

	etl_param_texts(&params, nodes);
	rows = etl_sql_query("SELECT n.node, coalesce((SELECT max(t.started_at) FROM etl.task AS t "
						 "WHERE t.node = n.node),"
						 " (SELECT defined_at FROM etl.stream WHERE target = n.node),"
						 " (SELECT defined_at FROM etl.model WHERE target = n.node)) AS at"
						 " FROM unnest($1) AS n (node) ORDER BY n.node COLLATE \"C\"", &params);
	*next = DT_NOEND;
	for (int i = 0; i < rows->n; i++)
	{
		TimestampTz at = etl_row_timestamp(rows, i, "at");

		if (at > since)
			*next = Min(*next, at);
		else
			result = lappend(result, etl_row_text(rows, i, "node"));
	}
	return result;
}

char *
etl_runs_summary(TimestampTz since, TimestampTz until)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, since);
	etl_param_timestamp(&params, until);
	return etl_row_text(
		etl_sql_query("SELECT format('%s of %s runs succeeded; %s rows written, %s rejected; %s "
					  "alerts are open',"
					  " count(*) FILTER (WHERE r.status = 'succeeded'), count(*), "
					  "coalesce(sum(r.rows_written), 0),"
					  " coalesce(sum(r.rows_rejected), 0),"
					  " (SELECT count(*) FROM etl.alert_open WHERE resolved_at IS NULL)) AS summary"
					  " FROM etl.run AS r WHERE r.finished_at >= $1 AND r.finished_at < $2",
					  &params),
		0, "summary");
}
