/*-------------------------------------------------------------------------
 *
 * deadline.c
 *    Judging what is promised of nodes by what happened.
 *
 * A node's deadline is judged once: its row in etl.sla_result is the note
 * that it was.  What was missed stays open until it is made good, and what
 * made good for a day before its midnight does not count for the next.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/date.h"

#include "catalog/sla.h"
#include "catalog/sql.h"

/* how far back deadlines are judged that nobody has looked at */
#define LONGEST_GAP "interval '40 days'"

/* when a node was last loaded; a model: last succeeded */
#define LAST_LOADED \
	" (SELECT CASE WHEN EXISTS (SELECT FROM etl.stream AS s WHERE s.target = n.node)" \
	" THEN (SELECT max(l.finished_at) FROM etl.load AS l WHERE l.target = n.node AND l.status = 'succeeded')" \
	" ELSE (SELECT x.last_success_at FROM etl.node_state AS x WHERE x.target = n.node) END)"

/*
 * begin_params adds what every judgement needs: $1 promise, $2 nodes.
 */
static void
begin_params(EtlParams *params, const EtlSla *sla, List *nodes)
{
	memset(params, 0, sizeof(*params));
	etl_param_text(params, sla->name);
	etl_param_texts(params, nodes);
}

/*
 * count_missed counts the rows of an insertion that say missed.
 */
static int
count_missed(EtlRows *rows)
{
	int			n = 0;

	for (int i = 0; i < rows->n; i++)
		n += !etl_row_bool(rows, i, "met");
	return n;
}

List *
etl_sla_deadlines(const EtlSla *sla, int64 time, TimestampTz now)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *result = NIL;

	etl_param_timestamp(&params, sla->judged_until);
	etl_param_timestamp(&params, now);
	etl_param_text(&params, sla->timezone);
	etl_param_datum(&params, TIMEOID, TimeADTGetDatum(time), false);
	rows = etl_sql_query(
		"SELECT (d.day + $4) AT TIME ZONE $3 AS at FROM (SELECT g::date AS day FROM generate_series("
		" (greatest($1, $2 - " LONGEST_GAP ") AT TIME ZONE $3)::date::timestamp,"
		" ($2 AT TIME ZONE $3)::date::timestamp, interval '1 day') AS g) AS d"
		" WHERE (d.day + $4) AT TIME ZONE $3 > $1 AND (d.day + $4) AT TIME ZONE $3 <= $2 ORDER BY 1",
		&params);
	for (int i = 0; i < rows->n; i++)
	{
		TimestampTz *at = palloc(sizeof(TimestampTz));

		*at = etl_row_timestamp(rows, i, "at");
		result = lappend(result, at);
	}
	return result;
}

int
etl_sla_judge_daily(const EtlSla *sla, List *nodes, const char *measure, TimestampTz due_at)
{
	const char *moment = strcmp(measure, "finish_by") == 0 ?
							 "t.status = 'succeeded' AND t.finished_at" :
							 "t.started_at";
	const char *column = strcmp(measure, "finish_by") == 0 ? "t.finished_at" : "t.started_at";
	EtlParams	params;

	begin_params(&params, sla, nodes);
	etl_param_text(&params, measure);
	etl_param_timestamp(&params, due_at);
	etl_param_text(&params, sla->timezone);
	return count_missed(etl_sql_query(
		psprintf(
			"INSERT INTO etl.sla_result (sla, node, measure, due_at, met, done_at)"
			" SELECT $1, n.node, $3, $4, d.at IS NOT NULL, d.at FROM unnest($2) AS n (node),"
			" LATERAL (SELECT min(%s) AS at FROM etl.task AS t WHERE t.node = n.node AND %s <= $4"
			"  AND %s > least((($4 AT TIME ZONE $5)::date::timestamp) AT TIME ZONE $5, $4 - "
			"interval '12 hours')"
			"  AND (%s >= (($4 AT TIME ZONE $5)::date::timestamp) AT TIME ZONE $5 OR %s > "
			"coalesce((SELECT max(r.done_at) FROM etl.sla_result AS r WHERE r.sla = $1"
			"   AND r.node = n.node AND r.measure = $3 AND NOT r.met AND r.due_at < $4), "
			"'-infinity'))) AS d"
			" ON CONFLICT DO NOTHING RETURNING met", column, moment, column, column, column),
		&params));
}

int
etl_sla_judge_fresh(const EtlSla *sla, List *nodes, TimestampTz now)
{
	EtlParams	params;

	begin_params(&params, sla, nodes);
	etl_param_timestamp(&params, now);
	etl_param_interval(&params, sla->freshness);
	etl_param_timestamp(&params, sla->begins_at);
	return count_missed(etl_sql_query(
		"INSERT INTO etl.sla_result (sla, node, measure, due_at, met)"
		" SELECT $1, f.node, 'freshness', f.at + $4, false FROM (SELECT n.node,"
		" coalesce(" LAST_LOADED ", $5) AS at FROM unnest($2) AS n (node)) AS f"
		" WHERE f.at + $4 <= $3 AND NOT EXISTS (SELECT FROM etl.sla_result AS r WHERE r.sla = $1"
		"  AND r.node = f.node AND r.measure = 'freshness' AND r.done_at IS NULL)"
		" ON CONFLICT DO NOTHING RETURNING met", &params));
}

void
etl_sla_note_fresh_day(const EtlSla *sla, List *nodes, TimestampTz midnight)
{
	EtlParams	params;

	begin_params(&params, sla, nodes);
	etl_param_timestamp(&params, midnight);
	etl_param_text(&params, sla->timezone);
	etl_sql_exec("INSERT INTO etl.sla_result (sla, node, measure, due_at, met, done_at)"
				 " SELECT $1, n.node, 'freshness', $3, true, $3 FROM unnest($2) AS n (node)"
				 " WHERE " LAST_LOADED " IS NOT NULL AND NOT EXISTS (SELECT FROM etl.sla_result AS r"
				 "  WHERE r.sla = $1 AND r.node = n.node AND r.measure = 'freshness' AND NOT r.met"
				 "  AND r.due_at <= $3 AND coalesce(r.done_at, 'infinity') >"
				 "  ($3 AT TIME ZONE $4 - interval '1 day') AT TIME ZONE $4) ON CONFLICT DO NOTHING",
				 &params);
}

int
etl_sla_judge_duration(const EtlSla *sla, List *nodes, TimestampTz now)
{
	EtlParams	params;

	begin_params(&params, sla, nodes);
	etl_param_timestamp(&params, now);
	etl_param_interval(&params, sla->max_duration);
	etl_param_timestamp(&params, sla->begins_at);
	etl_param_timestamp(&params, sla->judged_until);
	return count_missed(etl_sql_query(
		"INSERT INTO etl.sla_result (sla, node, measure, due_at, met, done_at)"
		" SELECT $1, t.node, 'max_duration', t.started_at + $4,"
		" bool_and(t.finished_at IS NOT NULL AND t.finished_at <= t.started_at + $4), max(t.finished_at)"
		" FROM etl.task AS t WHERE t.node = ANY ($2) AND t.started_at >= $5"
		" AND ((t.status = 'running' AND t.started_at + $4 <= $3)"
		"  OR (t.finished_at > $6 AND t.finished_at <= $3)) GROUP BY t.node, t.started_at"
		" ON CONFLICT DO NOTHING RETURNING met", &params));
}

void
etl_sla_recover(const EtlSla *sla, List *nodes, TimestampTz now)
{
	EtlParams	params;

	begin_params(&params, sla, nodes);
	etl_param_timestamp(&params, now);
	etl_param_interval(&params, sla->freshness);
	etl_param_interval(&params, sla->max_duration);
	etl_sql_exec(
		"UPDATE etl.sla_result AS r SET done_at = greatest(d.at, r.due_at) FROM (SELECT x.node, "
		"x.measure,"
		" x.due_at, CASE WHEN x.node <> ALL ($2) THEN $3"
		" WHEN x.measure = 'freshness' THEN (SELECT f.at FROM (SELECT" LAST_LOADED " AS at"
		"  FROM (SELECT x.node) AS n) AS f WHERE $4::interval IS NULL OR f.at + $4 > $3)"
		" WHEN x.measure = 'finish_by' THEN (SELECT min(t.finished_at) FROM etl.task AS t"
		"  WHERE t.node = x.node AND t.status = 'succeeded' AND t.finished_at > x.due_at AND "
		"t.finished_at <= $3)"
		" WHEN x.measure = 'start_by' THEN (SELECT min(t.started_at) FROM etl.task AS t"
		"  WHERE t.node = x.node AND t.started_at > x.due_at AND t.started_at <= $3)"
		" ELSE (SELECT CASE WHEN bool_or(t.status = 'running') THEN NULL ELSE "
		"coalesce(max(t.finished_at), $3) END"
		"  FROM etl.task AS t WHERE t.node = x.node AND t.started_at + $5 = x.due_at) END AS at"
		" FROM etl.sla_result AS x WHERE x.sla = $1 AND x.done_at IS NULL) AS d"
		" WHERE r.sla = $1 AND r.node = d.node AND r.measure = d.measure AND r.due_at = d.due_at"
		" AND r.done_at IS NULL AND d.at IS NOT NULL", &params);
}

List *
etl_sla_missed(const char *sla, const char *measure, TimestampTz *since)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *nodes = NIL;

	etl_param_text(&params, sla);
	etl_param_text(&params, measure);
	rows = etl_sql_query(
		"WITH RECURSIVE open AS (SELECT node, min(due_at) AS due_at FROM etl.sla_result"
		"  WHERE sla = $1 AND measure = $2 AND done_at IS NULL GROUP BY node),"
		" up AS (SELECT node AS origin, node FROM open UNION SELECT u.origin, d.depends_on"
		"  FROM etl.dependency AS d JOIN up AS u ON d.node = u.node)"
		" SELECT o.node, o.due_at, (SELECT count(*) FROM up AS u JOIN open AS p ON p.node = u.node"
		"  WHERE u.origin = o.node) AS depth FROM open AS o ORDER BY depth, o.due_at, o.node COLLATE \"C\"",
		&params);
	*since = DT_NOEND;
	for (int i = 0; i < rows->n; i++)
	{
		nodes = lappend(nodes, etl_row_text(rows, i, "node"));
		*since = Min(*since, etl_row_timestamp(rows, i, "due_at"));
	}
	return nodes;
}

TimestampTz
etl_sla_next_miss(const EtlSla *sla, List *nodes, TimestampTz now)
{
	EtlParams	params;
	TimestampTz at;

	begin_params(&params, sla, nodes);
	etl_param_timestamp(&params, now);
	etl_param_interval(&params, sla->freshness);
	etl_param_interval(&params, sla->max_duration);
	etl_param_timestamp(&params, sla->begins_at);
	at =
		etl_row_timestamp(etl_sql_query("SELECT least($3 + $4, $3 + $5,"
										" (SELECT min(f.at + $4) FROM (SELECT coalesce(" LAST_LOADED
										", $6) AS at FROM unnest($2) AS n (node)) AS f"
										"  WHERE f.at + $4 > $3),"
										" (SELECT min(t.started_at + $5) FROM etl.task AS t WHERE "
										"t.node = ANY ($2) AND t.status = 'running'"
										"  AND t.started_at + $5 > $3)) AS at WHERE $1 IS NOT NULL",
										&params),
						  0, "at");
	return at == DT_NOBEGIN ? DT_NOEND : at;
}

List *
etl_nodes_without_failed_root(const char *rule, List *nodes)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_texts(&params, nodes);
	etl_param_text(&params, rule);
	rows = etl_sql_query(
		"WITH RECURSIVE up AS (SELECT n AS origin, n AS node FROM unnest($1) AS n UNION"
		"  SELECT u.origin, d.depends_on FROM etl.dependency AS d JOIN up AS u ON d.node = u.node)"
		" SELECT n.node FROM unnest($1) WITH ORDINALITY AS n (node, i)"
		" WHERE NOT EXISTS (SELECT FROM up AS u JOIN etl.alert_node AS a ON a.node = u.node"
		"  JOIN etl.alert_open AS o USING (alert_id) WHERE u.origin = n.node AND o.rule = $2"
		"  AND o.event IN ('run_failed', 'check_failed') AND o.resolved_at IS NULL) ORDER BY n.i",
		&params);
	return etl_column_texts(rows, "node");
}
