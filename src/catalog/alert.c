/*-------------------------------------------------------------------------
 *
 * alert.c
 *    Channels, rules of alerts, what fired, and what is to be delivered.
 *
 * etl.alert_open has a row for each fingerprint that is open or was lately:
 * its key is what keeps two processes from telling the same thing twice.  It
 * is locked before the alert itself, here and everywhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/alert.h"
#include "catalog/history_room.h"
#include "catalog/sql.h"
#include "common/wake.h"

int
etl_alerts_wanted(void)
{
	return (int) etl_sql_int8(
		"SELECT (EXISTS (SELECT FROM etl.alert_rule)"
		" OR EXISTS (SELECT FROM etl.alert_open WHERE resolved_at IS NULL))::int::bigint"
		" + 2 * EXISTS (SELECT FROM etl.sla)::int", NULL);
}

/* ---- what fired ---- */

/*
 * read_alert makes the struct of one row.
 */
static EtlAlert *
read_alert(EtlRows *rows, int i)
{
	EtlAlert   *alert = palloc0(sizeof(EtlAlert));

	alert->alert_id = etl_row_int8(rows, i, "alert_id");
	alert->fingerprint = etl_row_text(rows, i, "fingerprint");
	alert->rule = etl_row_text(rows, i, "rule");
	alert->event = etl_row_text(rows, i, "event");
	alert->object = etl_row_text(rows, i, "object");
	alert->object_kind = etl_row_text(rows, i, "object_kind");
	alert->severity = etl_row_text(rows, i, "severity");
	alert->what = etl_row_text(rows, i, "what");
	alert->error = etl_row_text(rows, i, "error");
	alert->sqlstate = etl_row_text(rows, i, "sqlstate");
	alert->cause = etl_row_text(rows, i, "cause");
	alert->remedy = etl_row_text(rows, i, "remedy");
	alert->others = etl_row_int4(rows, i, "others");
	alert->occurrences = etl_row_int4(rows, i, "occurrences");
	alert->run_id = etl_row_int8(rows, i, "run_id");
	alert->since = etl_row_timestamp(rows, i, "since");
	alert->last_at = etl_row_timestamp(rows, i, "last_at");
	alert->resolved_at = etl_row_timestamp(rows, i, "resolved_at");
	alert->acknowledged_by = etl_row_text(rows, i, "acknowledged_by");
	return alert;
}

/*
 * read_alerts makes a list of structs.
 */
static List *
read_alerts(EtlRows *rows)
{
	List	   *alerts = NIL;

	for (int i = 0; i < rows->n; i++)
		alerts = lappend(alerts, read_alert(rows, i));
	return alerts;
}

EtlAlert *
etl_alert_find(int64 alert_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, alert_id);
	rows = etl_sql_query("SELECT * FROM etl.alert WHERE alert_id = $1", &params);
	return rows->n == 0 ? NULL : read_alert(rows, 0);
}

bool
etl_alert_is_open(const char *fingerprint)
{
	EtlParams	params = {0};

	etl_param_text(&params, fingerprint);
	return etl_sql_int8("SELECT 1::bigint FROM etl.alert_open WHERE fingerprint = $1 AND resolved_at IS NULL",
						&params) > 0;
}

int
etl_alerts_of_run(const char *rule, const char *event, int64 run_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, rule);
	etl_param_text(&params, event);
	etl_param_int8(&params, run_id);
	return (int) etl_sql_int8("SELECT count(*) FROM etl.alert_open"
							  " WHERE rule = $1 AND event = $2 AND run_id = $3", &params);
}

/*
 * alert_params adds what the row of an alert is made of: $1 to $17.
 */
static void
alert_params(EtlParams *params, const EtlAlert *alert, const EtlAlertPolicy *policy, TimestampTz now)
{
	etl_param_int8(params, alert->alert_id);
	etl_param_text(params, alert->fingerprint);
	etl_param_text(params, alert->rule);
	etl_param_text(params, alert->event);
	etl_param_text(params, alert->object);
	etl_param_text(params, alert->object_kind);
	etl_param_text(params, alert->severity);
	etl_param_text(params, alert->what);
	etl_param_text(params, alert->error);
	etl_param_text(params, alert->sqlstate);
	etl_param_text(params, alert->cause);
	etl_param_text(params, alert->remedy);
	etl_param_int4(params, alert->others);
	etl_param_datum(params, INT8OID, Int64GetDatum(alert->run_id), alert->run_id == 0);
	etl_param_timestamp(params, alert->since);
	etl_param_timestamp(params, now);
	etl_param_bool(params, policy->momentary);
}

/*
 * silence_of finds a silence that an alert falls under; 0: none.
 */
static int64
silence_of(const EtlAlert *alert, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, alert->object);
	etl_param_text(&params, alert->event);
	etl_param_text(&params, alert->rule);
	etl_param_timestamp(&params, now);
	return etl_sql_int8("SELECT silence_id FROM etl.silence WHERE starts_at <= $4 AND ends_at > $4"
						" AND coalesce(event = $2, true) AND coalesce(rule = $3, true)"
						" AND $1 LIKE replace(replace(replace(replace(object, E'\\\\', E'\\\\\\\\'),"
						" '%', E'\\\\%'), '_', E'\\\\_'), '*', '%')"
						" ORDER BY ends_at DESC LIMIT 1", &params);
}

/*
 * insert_alert opens a new alert for a fingerprint.
 */
static void
insert_alert(EtlAlert *alert, const EtlAlertPolicy *policy, TimestampTz now)
{
	EtlParams	params = {0};

	etl_history_keep_room(ETL_HISTORY_ALERT, alert->alert_id);
	alert_params(&params, alert, policy, now);
	etl_sql_exec("INSERT INTO etl.alert (alert_id, fingerprint, rule, event, object, object_kind, severity,"
				 " what, error, sqlstate, cause, remedy, others, run_id, since, last_at, resolved_at)"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
				 " CASE WHEN $17 THEN $16 END)", &params);
}

/*
 * count_alert notes that an open alert has happened again, or that one has
 * come back that was over.
 */
static void
count_alert(EtlAlert *alert, const EtlAlertPolicy *policy, TimestampTz now)
{
	EtlParams	params = {0};

	alert_params(&params, alert, policy, now);
	if (policy->count_only)
	{
		params.n = 1;
		etl_param_timestamp(&params, now);
		etl_sql_exec("UPDATE etl.alert SET occurrences = occurrences + 1, last_at = $2, resolved_at = NULL"
					 " WHERE alert_id = $1", &params);
		return;
	}
	etl_sql_exec("UPDATE etl.alert SET severity = $7, what = $8, error = $9, sqlstate = $10, cause = $11,"
				 " remedy = $12, others = $13, run_id = $14, occurrences = occurrences + 1, last_at = $16,"
				 " resolved_at = CASE WHEN $17 THEN $16 END"
				 " WHERE alert_id = $1 AND ($2, $3, $4, $5, $6, $15) IS NOT NULL", &params);
}

/*
 * open_row takes the row of a fingerprint, or makes it; true when an alert
 * of it is there to count in.  *quiet: it was told within its cooldown.
 */
static bool
open_row(EtlAlert *alert, const EtlAlertPolicy *policy, TimestampTz now, bool *quiet)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	TimestampTz notified_at;
	TimestampTz resolved_at;
	TimestampTz cooled = now - policy->cooldown_ms * INT64CONST(1000);
	bool		there;

	etl_param_text(&params, alert->fingerprint);
	etl_param_text(&params, alert->rule);
	etl_param_text(&params, alert->event);
	etl_param_datum(&params, INT8OID, Int64GetDatum(alert->run_id), alert->run_id == 0);
	rows = etl_sql_query(
		"INSERT INTO etl.alert_open AS o (fingerprint, alert_id, rule, event, run_id)"
		" VALUES ($1, nextval('etl.alert_id_seq'), $2, $3, $4)"
		" ON CONFLICT (fingerprint) DO UPDATE SET run_id = coalesce(excluded.run_id, o.run_id)"
		" RETURNING alert_id, notified_at, resolved_at, xmax = 0 AS created", &params);
	alert->alert_id = etl_row_int8(rows, 0, "alert_id");
	notified_at = etl_row_timestamp(rows, 0, "notified_at");
	resolved_at = etl_row_timestamp(rows, 0, "resolved_at");
	*quiet = notified_at != DT_NOBEGIN && notified_at > cooled;
	if (etl_row_bool(rows, 0, "created"))
		return false;
	there = resolved_at == DT_NOBEGIN || *quiet;

	/* one that was over before the cooldown began is history: this is another */
	if (!there)
		alert->alert_id = etl_sql_int8("SELECT nextval('etl.alert_id_seq')", NULL);
	return there;
}

/*
 * close_row notes in the row of a fingerprint what was done.
 */
static void
close_row(const EtlAlert *alert, const EtlAlertPolicy *policy, bool told, bool there, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, alert->fingerprint);
	etl_param_int8(&params, alert->alert_id);
	etl_param_timestamp(&params, now);
	etl_param_bool(&params, policy->momentary);
	etl_param_bool(&params, told);
	etl_param_timestamp(&params, policy->escalate_ms > 0 && !policy->momentary ?
									 now + policy->escalate_ms * INT64CONST(1000) :
									 DT_NOBEGIN);
	etl_param_bool(&params, there);
	etl_param_int8(&params, policy->cooldown_ms);
	etl_sql_exec("UPDATE etl.alert_open SET alert_id = $2, resolved_at = CASE WHEN $4 THEN $3 END,"
				 " tell_at = CASE WHEN $5 OR NOT $7 OR $4 THEN NULL WHEN resolved_at IS NOT NULL"
				 " THEN notified_at + $8 * interval '1 millisecond' ELSE tell_at END,"
				 " notified_at = CASE WHEN $5 THEN $3 WHEN $7 THEN notified_at END,"
				 " escalate_at = CASE WHEN NOT $7 OR resolved_at IS NOT NULL THEN $6 ELSE escalate_at END"
				 " WHERE fingerprint = $1", &params);
}

/*
 * wait_for makes an alert wait for nodes.
 */
static void
wait_for(int64 alert_id, List *nodes)
{
	EtlParams	params = {0};

	if (nodes == NIL)
		return;
	etl_param_texts(&params, nodes);
	etl_param_int8(&params, alert_id);
	etl_sql_exec("INSERT INTO etl.alert_node (node, alert_id) SELECT DISTINCT unnest($1), $2"
				 " ON CONFLICT DO NOTHING", &params);
}

EtlFired
etl_alert_fire(EtlAlert *alert, const EtlAlertPolicy *policy, List *nodes, TimestampTz now)
{
	bool		quiet;
	bool		there = open_row(alert, policy, now, &quiet);
	int64		silence = silence_of(alert, now);
	bool		told;
	EtlParams	params = {0};
	EtlAlert   *known = there ? etl_alert_find(alert->alert_id) : NULL;

	/* retention may have taken the alert whose fingerprint is remembered */
	if (there && known == NULL)
		there = false;
	told = !(quiet && there) && silence == 0 && (known == NULL || known->acknowledged_by == NULL);
	if (there)
		count_alert(alert, policy, now);
	else
		insert_alert(alert, policy, now);
	etl_param_int8(&params, alert->alert_id);
	etl_param_datum(&params, INT8OID, Int64GetDatum(silence), silence == 0);
	if (silence != 0 || there)
		etl_sql_exec("UPDATE etl.alert SET silence_id = $2 WHERE alert_id = $1"
					 " AND silence_id IS DISTINCT FROM $2", &params);
	close_row(alert, policy, told, there, now);
	wait_for(alert->alert_id, policy->momentary ? NIL : nodes);
	etl_wake_at_commit();
	if (told)
		etl_alert_enqueue(alert->alert_id, policy->channels, there ? "again" : "firing", now);
	return there ? ETL_FIRED_AGAIN : ETL_FIRED_NEW;
}

List *
etl_alerts_waiting_for(List *nodes)
{
	EtlParams	params = {0};

	etl_param_texts(&params, nodes);
	return read_alerts(etl_sql_query(
		"WITH o AS MATERIALIZED (SELECT fingerprint, alert_id FROM etl.alert_open"
		" WHERE resolved_at IS NULL AND alert_id IN (SELECT n.alert_id FROM etl.alert_node AS n"
		" WHERE n.node = ANY ($1)) ORDER BY fingerprint FOR UPDATE)"
		" SELECT a.* FROM etl.alert AS a JOIN o USING (alert_id) ORDER BY a.alert_id", &params));
}

bool
etl_alert_node_done(int64 alert_id, List *nodes)
{
	EtlParams	params = {0};

	etl_param_int8(&params, alert_id);
	etl_param_texts(&params, nodes);
	etl_sql_exec("DELETE FROM etl.alert_node WHERE alert_id = $1 AND node = ANY ($2)", &params);
	params.n = 1;
	return etl_sql_int8("SELECT 1::bigint FROM etl.alert_node WHERE alert_id = $1 LIMIT 1", &params) == 0;
}

List *
etl_alerts_open(const char *event, const char *object)
{
	EtlParams	params = {0};

	etl_param_text(&params, event);
	etl_param_text(&params, object);
	return read_alerts(etl_sql_query(
		"SELECT a.* FROM etl.alert_open AS o JOIN etl.alert AS a USING (alert_id)"
		" WHERE o.event = $1 AND o.resolved_at IS NULL AND ($2::text IS NULL OR a.object = $2)"
		" ORDER BY o.fingerprint", &params));
}

void
etl_alert_resolve(int64 alert_id, List *channels, TimestampTz now)
{
	EtlParams	params = {0};
	bool		told;

	etl_param_int8(&params, alert_id);
	told = etl_sql_int8("SELECT 1::bigint FROM etl.alert_open WHERE alert_id = $1"
						" AND notified_at IS NOT NULL AND tell_at IS NULL", &params) > 0;
	etl_sql_exec("DELETE FROM etl.alert_node WHERE alert_id = $1", &params);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.alert_open SET resolved_at = $2, escalate_at = NULL, tell_at = NULL "
				 "WHERE alert_id = $1", &params);
	etl_sql_exec("UPDATE etl.alert SET resolved_at = $2 WHERE alert_id = $1", &params);

	/* who was not told that it began need not be told that it is over */
	if (told)
		etl_alert_enqueue(alert_id, channels, "resolved", now);
}

void
etl_alert_acknowledge(int64 alert_id, const char *by, const char *note, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_int8(&params, alert_id);
	etl_sql_exec("UPDATE etl.alert_open SET escalate_at = NULL WHERE alert_id = $1", &params);
	etl_param_text(&params, by);
	etl_param_text(&params, note);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.alert SET acknowledged_at = $4, acknowledged_by = $2, note = $3"
				 " WHERE alert_id = $1", &params);
}

/*
 * etl_alert_enqueue writes what is to be delivered: the alert as it is now.
 */
void
etl_alert_enqueue(int64 alert_id, List *channels, const char *message, TimestampTz now)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	if (channels == NIL)
		return;
	etl_history_keep_room(ETL_HISTORY_DELIVERY, 0);
	etl_param_int8(&params, alert_id);
	etl_param_texts(&params, channels);
	etl_param_text(&params, message);
	etl_param_timestamp(&params, now);
	rows = etl_sql_query(
		"INSERT INTO etl.outbox (channel, alert_id, message, body, next_try, created_at)"
		" SELECT c.name, a.alert_id, $3, jsonb_build_object('alert_id', a.alert_id,"
		" 'fingerprint', a.fingerprint, 'message', $3, 'rule', a.rule, 'event', a.event,"
		" 'severity', a.severity, 'object', a.object, 'object_kind', a.object_kind, 'what', a.what,"
		" 'since', a.since, 'at', $4, 'error', a.error, 'sqlstate', a.sqlstate, 'cause', a.cause,"
		" 'remedy', a.remedy, 'others', a.others, 'occurrences', a.occurrences, 'run_id', a.run_id,"
		" 'acknowledged_by', a.acknowledged_by, 'note', a.note, 'resolved_at', a.resolved_at,"
		" 'database', current_database()), $4, $4"
		" FROM etl.alert AS a, etl.channel AS c WHERE a.alert_id = $1 AND c.name = ANY ($2)"
		" ORDER BY c.name COLLATE \"C\" RETURNING delivery_id", &params);
	if (rows->n > 0)
		etl_history_keep_room(ETL_HISTORY_DELIVERY, etl_row_int8(rows, rows->n - 1, "delivery_id"));
	etl_wake_at_commit();
}

/* ---- silences ---- */

int64
etl_silence_store(const char *object, const char *event, const char *rule, TimestampTz starts_at,
				  TimestampTz ends_at, const char *reason, const char *author)
{
	EtlParams	params = {0};

	etl_param_text(&params, object);
	etl_param_text(&params, event);
	etl_param_text(&params, rule);
	etl_param_timestamp(&params, starts_at);
	etl_param_timestamp(&params, ends_at);
	etl_param_text(&params, reason);
	etl_param_text(&params, author);
	return etl_sql_int8("INSERT INTO etl.silence (object, event, rule, starts_at, ends_at, reason, author)"
						" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING silence_id", &params);
}

bool
etl_silence_end(int64 silence_id, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_int8(&params, silence_id);
	etl_param_timestamp(&params, now);
	return etl_sql_query("UPDATE etl.silence SET ends_at = greatest(starts_at, $2)"
						 " WHERE silence_id = $1 AND ends_at > $2 RETURNING silence_id", &params)
			   ->n > 0;
}

char *
etl_silence_author(int64 silence_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, silence_id);
	rows = etl_sql_query("SELECT author FROM etl.silence WHERE silence_id = $1", &params);
	return rows->n == 0 ? NULL : etl_row_text(rows, 0, "author");
}

/* ---- by the clock ---- */

List *
etl_alerts_to_escalate(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	return read_alerts(etl_sql_query(
		"WITH o AS (UPDATE etl.alert_open SET escalate_at = NULL WHERE fingerprint IN"
		" (SELECT fingerprint FROM etl.alert_open WHERE escalate_at <= $1 AND resolved_at IS NULL"
		"  ORDER BY fingerprint FOR UPDATE SKIP LOCKED) RETURNING alert_id)"
		" UPDATE etl.alert AS a SET escalated_at = $1 FROM o"
		" WHERE a.alert_id = o.alert_id AND a.acknowledged_at IS NULL RETURNING a.*", &params));
}

List *
etl_alerts_to_tell(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	return read_alerts(etl_sql_query(
		"WITH o AS (UPDATE etl.alert_open AS o SET notified_at = $1, tell_at = NULL FROM etl.alert AS a"
		"  LEFT JOIN etl.silence AS s USING (silence_id)"
		"  WHERE a.alert_id = o.alert_id AND o.resolved_at IS NULL AND coalesce(s.ends_at <= $1, true)"
		"  AND (o.tell_at <= $1 OR (o.notified_at IS NULL AND s.silence_id IS NOT NULL))"
		"  RETURNING o.alert_id)"
		" UPDATE etl.alert AS a SET silence_id = NULL FROM o"
		" WHERE a.alert_id = o.alert_id AND a.acknowledged_at IS NULL RETURNING a.*", &params));
}

void
etl_alert_set_severity(int64 alert_id, const char *severity)
{
	EtlParams	params = {0};

	etl_param_int8(&params, alert_id);
	etl_param_text(&params, severity);
	etl_sql_exec("UPDATE etl.alert SET severity = $2 WHERE alert_id = $1", &params);
}

TimestampTz
etl_alerts_due(void)
{
	return etl_row_due(
		etl_sql_query(
			"SELECT least((SELECT least(min(digest_at), min(no_run_at)) FROM etl.alert_rule),"
			" (SELECT min(escalate_at) FROM etl.alert_open WHERE resolved_at IS NULL),"
			" (SELECT min(greatest(o.tell_at, s.ends_at)) FROM etl.alert_open AS o JOIN etl.alert "
			"AS a "
			"USING (alert_id)"
			"  LEFT JOIN etl.silence AS s USING (silence_id) WHERE o.resolved_at IS NULL AND "
			"o.tell_at "
			"IS NOT NULL),"
			" (SELECT min(s.ends_at) FROM etl.alert_open AS o JOIN etl.alert AS a USING (alert_id)"
			"  JOIN etl.silence AS s USING (silence_id)"
			"  WHERE o.resolved_at IS NULL AND o.notified_at IS NULL)) AS at", NULL),
		0, "at");
}
