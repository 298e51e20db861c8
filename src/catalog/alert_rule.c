/*-------------------------------------------------------------------------
 *
 * alert_rule.c
 *    Definitions of channels and of rules of alerts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/alert_rule.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/errors.h"
#include "common/options.h"
#include "common/run_as.h"

/*
 * stored notes and tells what an upsert did.
 */
static const char *
stored(const char *kind, const char *name, EtlRows *rows)
{
	return etl_defined(kind, name, NULL,
					   rows->n == 0						? "unchanged" :
					   etl_row_bool(rows, 0, "created") ? "created" :
														  "updated");
}

const char *
etl_channel_store(const EtlChannel *channel)
{
	EtlChannel *old = etl_channel_find(channel->name);
	EtlParams	params = {0};

	if (old != NULL)
		etl_check_owner(old->owner, "channel", channel->name);
	etl_param_text(&params, channel->name);
	etl_param_text(&params, channel->kind);
	etl_param_jsonb(&params, channel->options);
	etl_param_text(&params, channel->owner);
	return stored(
		"channel", channel->name,
		etl_sql_query(
			"INSERT INTO etl.channel AS c (name, kind, options, owner) VALUES ($1, $2, $3, $4)"
			" ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, options = excluded.options,"
			" version = c.version + 1, defined_at = clock_timestamp(), failures = 0, problem = NULL"
			" WHERE (c.kind, c.options) IS DISTINCT FROM (excluded.kind, excluded.options)"
			" RETURNING xmax = 0 AS created", &params));
}

EtlChannel *
etl_channel_find(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	EtlChannel *channel;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.channel WHERE name = $1", &params);
	if (rows->n == 0)
		return NULL;
	channel = palloc0(sizeof(EtlChannel));
	channel->name = etl_row_text(rows, 0, "name");
	channel->kind = etl_row_text(rows, 0, "kind");
	channel->options = etl_row_jsonb(rows, 0, "options");
	channel->owner = etl_row_text(rows, 0, "owner");
	channel->failures = etl_row_int4(rows, 0, "failures");
	return channel;
}

EtlChannel *
etl_channel_get(const char *name)
{
	EtlChannel *channel = etl_channel_find(name);
	const char *nearest;

	if (channel != NULL)
		return channel;
	nearest = etl_nearest(
		name, etl_column_texts(etl_sql_query("SELECT name FROM etl.channel", NULL), "name"));
	ereport(ERROR,
			(errcode(ETL_ERR_UNDEFINED), errmsg("channel \"%s\" is not defined", name),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) :
					   errhint("Define it with etl.define_channel().")));
	return NULL;
}

bool
etl_channel_delete(const char *name, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.outbox SET status = 'dead', ended_at = $2, error = 'the channel was dropped'"
				 " WHERE channel = $1 AND status = 'waiting'", &params);
	params.n = 1;
	etl_sql_exec("UPDATE etl.alert_rule SET channels = array_remove(channels, $1), version = version + 1"
				 " WHERE $1 = ANY (channels)", &params);
	etl_undefined("channel", name, NULL);
	return etl_sql_query("DELETE FROM etl.channel WHERE name = $1 RETURNING name", &params)->n > 0;
}

const char *
etl_alert_rule_store(const EtlAlertRule *rule)
{
	EtlAlertRule *old = etl_alert_rule_find(rule->name);
	EtlParams	params = {0};

	if (old != NULL)
		etl_check_owner(old->owner, "alert", rule->name);
	etl_param_text(&params, rule->name);
	etl_param_texts(&params, rule->events);
	etl_param_texts(&params, rule->channels);
	etl_param_text(&params, rule->selector);
	etl_param_text(&params, rule->severity);
	etl_param_jsonb(&params, rule->options);
	etl_param_text(&params, rule->owner);
	return stored(
		"alert", rule->name,
		etl_sql_query(
			"INSERT INTO etl.alert_rule AS r (name, events, channels, selector, severity, options, "
			"owner)"
			" VALUES ($1, $2, $3, $4, $5, $6, $7)"
			" ON CONFLICT (name) DO UPDATE SET events = excluded.events, channels = "
			"excluded.channels,"
			" selector = excluded.selector, severity = excluded.severity, options = "
			"excluded.options,"
			" version = r.version + 1, defined_at = clock_timestamp()"
			" WHERE (r.events, r.channels, r.selector, r.severity, r.options) IS DISTINCT FROM"
			" (excluded.events, excluded.channels, excluded.selector, excluded.severity, "
			"excluded.options)"
			" RETURNING xmax = 0 AS created", &params));
}

/*
 * read_rule makes the struct of one row.
 */
static EtlAlertRule *
read_rule(EtlRows *rows, int i)
{
	EtlAlertRule *rule = palloc0(sizeof(EtlAlertRule));

	rule->name = etl_row_text(rows, i, "name");
	rule->events = etl_row_texts(rows, i, "events");
	rule->channels = etl_row_texts(rows, i, "channels");
	rule->selector = etl_row_text(rows, i, "selector");
	rule->severity = etl_row_text(rows, i, "severity");
	rule->options = etl_row_jsonb(rows, i, "options");
	rule->owner = etl_row_text(rows, i, "owner");
	rule->digest_at = etl_row_timestamp(rows, i, "digest_at");
	rule->no_run_at = etl_row_timestamp(rows, i, "no_run_at");
	return rule;
}

EtlAlertRule *
etl_alert_rule_find(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.alert_rule WHERE name = $1", &params);
	return rows->n == 0 ? NULL : read_rule(rows, 0);
}

List *
etl_alert_rules_all(void)
{
	EtlRows    *rows = etl_sql_query("SELECT * FROM etl.alert_rule ORDER BY name COLLATE \"C\"", NULL);
	List	   *rules = NIL;

	for (int i = 0; i < rows->n; i++)
		rules = lappend(rules, read_rule(rows, i));
	return rules;
}

List *
etl_alert_rules_of_channel(const char *channel)
{
	EtlParams	params = {0};

	etl_param_text(&params, channel);
	return etl_column_texts(etl_sql_query(
								"SELECT name FROM etl.alert_rule WHERE $1 = ANY (channels)"
								" OR options->'escalate'->'channels' ? $1 ORDER BY name COLLATE \"C\"",
								&params),
							"name");
}

bool
etl_alert_rule_delete(const char *name, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_timestamp(&params, now);
	etl_sql_exec("WITH gone AS (DELETE FROM etl.alert_open WHERE rule = $1 RETURNING alert_id),"
				 " nodes AS (DELETE FROM etl.alert_node WHERE alert_id IN (SELECT alert_id FROM gone))"
				 " UPDATE etl.alert SET resolved_at = $2"
				 " WHERE alert_id IN (SELECT alert_id FROM gone) AND resolved_at IS NULL", &params);
	params.n = 1;
	etl_undefined("alert", name, NULL);
	return etl_sql_query("DELETE FROM etl.alert_rule WHERE name = $1 RETURNING name", &params)->n > 0;
}

void
etl_alert_rule_set_times(const EtlAlertRule *rule)
{
	EtlParams	params = {0};

	etl_param_text(&params, rule->name);
	etl_param_timestamp(&params, rule->digest_at);
	etl_param_timestamp(&params, rule->no_run_at);
	etl_sql_exec("UPDATE etl.alert_rule SET digest_at = $2, no_run_at = $3 WHERE name = $1", &params);
}

List *
etl_alert_rules_due(TimestampTz now)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *rules = NIL;

	etl_param_timestamp(&params, now);
	rows = etl_sql_query("SELECT * FROM etl.alert_rule WHERE digest_at <= $1 OR no_run_at <= $1"
						 " ORDER BY name COLLATE \"C\" FOR UPDATE SKIP LOCKED", &params);
	for (int i = 0; i < rows->n; i++)
		rules = lappend(rules, read_rule(rows, i));
	return rules;
}
