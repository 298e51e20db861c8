/*-------------------------------------------------------------------------
 *
 * deadline.c
 *    What only the clock can tell: a chore.
 *
 * Promises that are missed although nothing ran, alerts that nobody has
 * acknowledged, silences that end, nodes that nobody tries, and the summary
 * of the day.  Each of them knows when it has to be looked at next; between
 * these moments nothing is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "alert/internal.h"
#include "catalog/alert_facts.h"
#include "catalog/alert_rule.h"
#include "catalog/history.h"
#include "catalog/sla.h"
#include "common/clock.h"
#include "common/driver.h"

/* how soon something is looked at again that went wrong */
#define PAUSE_AFTER_ERROR (5 * USECS_PER_MINUTE)
#define PAUSE_AFTER_LOCK  (5 * USECS_PER_SEC)

/* how long a row is waited for that somebody has locked */
#define LONGEST_LOCK "1s"

typedef struct Look
{
	EtlSla	   *sla;
	EtlAlertRule *rule;
	TimestampTz now;
} Look;

/*
 * event_of tells as which event a measure is raised.
 */
static const char *
event_of(const char *measure)
{
	return strcmp(measure, "freshness") == 0 ? "freshness" : "sla_missed";
}

/*
 * settle_measure resolves the alerts about a measure that is not missed any more.
 */
static void
settle_measure(const EtlSla *sla, const char *measure, TimestampTz now)
{
	char	   *end = psprintf("/%s/%s", sla->name, measure);
	static const char *const events[] = {"sla_missed", "freshness"};
	ListCell   *cell;

	for (int i = 0; i < lengthof(events); i++)
		foreach(cell, etl_alerts_open(events[i], sla->name))
		{
			EtlAlert   *alert = lfirst(cell);
			size_t		length = strlen(alert->fingerprint);

			if (length > strlen(end) && strcmp(alert->fingerprint + length - strlen(end), end) == 0)
				etl_alert_settle(alert, now);
		}
}

/*
 * tell_measure raises what is missed of a measure: one fact, which names the
 * node that the others depend on and counts the rest.
 */
static void
tell_measure(const EtlSla *sla, const char *measure, TimestampTz now)
{
	TimestampTz since;
	List	   *nodes = etl_sla_missed(sla->name, measure, &since);
	EtlFact		fact = {0};
	const char *root;
	int			others;

	if (nodes == NIL)
	{
		settle_measure(sla, measure, now);
		return;
	}
	root = linitial(nodes);
	others = list_length(nodes) - 1;
	fact.event = event_of(measure);
	fact.also = strcmp(measure, "freshness") == 0 ? "sla_missed" : NULL;
	fact.object = sla->name;
	fact.object_kind = "sla";
	fact.detail = measure;
	fact.what = psprintf("%s missed %s of the promise %s%s", root, measure, sla->name,
						 others == 0 ? "" : psprintf("; so did %d more", others));
	fact.cause = strcmp(measure, "max_duration") == 0 ?
					 "it takes longer than promised" :
					 "its run did not start, did not succeed, or found nothing new";
	fact.remedy = psprintf(
		"SELECT * FROM etl.tasks WHERE node = %s ORDER BY task_id DESC LIMIT 5; CALL etl.run(%s);",
		quote_literal_cstr(root), quote_literal_cstr(psprintf("+%s", root)));
	fact.others = others;
	fact.nodes = nodes;
	fact.since = since;
	etl_alert_raise(&fact);
}

/*
 * is_told tells whether some rule has an open alert about a measure.
 */
static bool
is_told(const EtlSla *sla, const char *measure)
{
	char	   *end = psprintf("/%s/%s", sla->name, measure);
	static const char *const events[] = {"sla_missed", "freshness"};
	ListCell   *cell;

	for (int i = 0; i < lengthof(events); i++)
		foreach(cell, etl_alerts_open(events[i], sla->name))
		{
			const char *fingerprint = ((EtlAlert *) lfirst(cell))->fingerprint;

			if (strlen(fingerprint) > strlen(end) &&
				strcmp(fingerprint + strlen(fingerprint) - strlen(end), end) == 0)
				return true;
		}
	return false;
}

/*
 * judge_times judges the deadlines of a time of day.
 */
static int
judge_times(const EtlSla *sla, List *nodes, const TimeADT *time, const char *measure, TimestampTz now)
{
	int			missed = 0;
	ListCell   *cell;

	foreach(cell, time ? etl_sla_deadlines(sla, *time, now) : NIL)
		missed += etl_sla_judge_daily(sla, nodes, measure, *(TimestampTz *) lfirst(cell));
	return missed;
}

/*
 * judge_fresh judges freshness, and notes the days on which it was kept.
 */
static int
judge_fresh(const EtlSla *sla, List *nodes, TimestampTz now)
{
	int			missed;
	ListCell   *cell;

	if (sla->freshness == NULL)
		return 0;
	missed = etl_sla_judge_fresh(sla, nodes, now);
	foreach(cell, etl_sla_deadlines(sla, 0, now))
		etl_sla_note_fresh_day(sla, nodes, *(TimestampTz *) lfirst(cell));
	return missed;
}

/*
 * next_look finds when a promise can be missed next.
 */
static TimestampTz
next_look(const EtlSla *sla, List *nodes, TimestampTz now)
{
	TimestampTz next = etl_sla_next_miss(sla, nodes, now);

	if (sla->finish_by != NULL)
		next = Min(next, etl_next_time_of_day(now, *sla->finish_by, sla->timezone));
	if (sla->start_by != NULL)
		next = Min(next, etl_next_time_of_day(now, *sla->start_by, sla->timezone));
	if (sla->freshness != NULL)
		next = Min(next, etl_next_time_of_day(now, 0, sla->timezone));
	return next;
}

/*
 * look_at_sla judges one promise; an argument of etl_subxact.
 */
static void
look_at_sla(void *arg)
{
	static const char *const measures[] = {"freshness", "finish_by", "start_by", "max_duration"};
	Look	   *look = arg;
	EtlSla	   *sla = look->sla;
	TimestampTz now = look->now;
	List	   *nodes = etl_selected_nodes(sla->selector);
	int			missed[lengthof(measures)] = {0};

	etl_sla_recover(sla, nodes, now);
	missed[0] = judge_fresh(sla, nodes, now);
	missed[1] = judge_times(sla, nodes, sla->finish_by, "finish_by", now);
	missed[2] = judge_times(sla, nodes, sla->start_by, "start_by", now);
	if (sla->max_duration != NULL)
		missed[3] = etl_sla_judge_duration(sla, nodes, now);
	/* one that was missed may be good already, when it is judged late */
	etl_sla_recover(sla, nodes, now);
	for (int i = 0; i < lengthof(measures); i++)
	{
		TimestampTz since;

		if (missed[i] > 0 || !is_told(sla, measures[i]) ||
			etl_sla_missed(sla->name, measures[i], &since) == NIL)
			tell_measure(sla, measures[i], now);
	}
	sla->judged_until = now;
	etl_sla_set_state(sla, next_look(sla, nodes, now));
}

/*
 * say_time says a length of time in words.
 */
static char *
say_time(int64 ms)
{
	static const struct
	{
		int64		ms;
		const char *name;
	} units[] = {{86400000, "day"}, {3600000, "hour"}, {60000, "minute"}, {1000, "second"}};

	for (int i = 0; i < lengthof(units); i++)
	{
		int64		n = ms / units[i].ms;

		if (n > 0 && ms % units[i].ms == 0)
			return psprintf(INT64_FORMAT " %s%s", n, units[i].name, n == 1 ? "" : "s");
	}
	return psprintf("%g seconds", ms / 1000.0);
}

/*
 * tell_not_tried raises which nodes of a rule nobody has tried.
 */
static void
tell_not_tried(EtlAlertRule *rule, const EtlRuleOptions *options, TimestampTz now)
{
	int64		length = options->no_run_ms * INT64CONST(1000);
	List	   *nodes = etl_selected_nodes(rule->selector);
	TimestampTz oldest;
	List	   *late = etl_nodes_not_tried(nodes, now - length, &oldest);
	EtlFact		fact = {0};

	rule->no_run_at = Min(
		now + length, oldest == DT_NOEND ? DT_NOEND : Max(oldest + length, now + USECS_PER_SEC));
	if (late == NIL)
		return;
	fact.event = "no_run";
	fact.object = rule->name;
	fact.object_kind = "rule";
	fact.rule = rule->name;
	fact.what =
		psprintf("%s was not tried for %s%s", (char *) linitial(late), say_time(options->no_run_ms),
				 list_length(late) == 1 ?
					 "" :
					 psprintf("; nor %s %d more", list_length(late) == 2 ? "was" : "were",
							  list_length(late) - 1));
	fact.cause = "its schedule is paused or missing, or no process runs it";
	fact.remedy = psprintf("SELECT * FROM etl.status(); SELECT name, paused, next_due FROM "
						   "etl.schedules; CALL etl.run(%s);", quote_literal_cstr(linitial(late)));
	fact.others = list_length(late) - 1;
	fact.nodes = late;
	fact.since = now - length;
	etl_alert_raise(&fact);
}

/*
 * tell_digest raises the summary of the day.
 */
static void
tell_digest(EtlAlertRule *rule, const EtlRuleOptions *options, TimestampTz now)
{
	EtlFact		fact = {0};

	fact.event = "digest";
	fact.object = rule->name;
	fact.object_kind = "rule";
	fact.rule = rule->name;
	fact.detail = psprintf(INT64_FORMAT, rule->digest_at / USECS_PER_DAY);
	fact.what = etl_runs_summary(now - USECS_PER_DAY, now);
	fact.remedy = "SELECT * FROM etl.runs ORDER BY run_id DESC;";
	fact.since = now - USECS_PER_DAY;
	fact.momentary = true;
	etl_alert_raise(&fact);
	rule->digest_at = etl_digest_next(options, now);
}

/*
 * look_at_rule does what a rule wants by the clock; an argument of etl_subxact.
 */
static void
look_at_rule(void *arg)
{
	Look	   *look = arg;
	EtlAlertRule *rule = look->rule;
	EtlRuleOptions options;

	etl_rule_options_read(rule->options, &options);
	if (rule->no_run_at != DT_NOBEGIN && rule->no_run_at <= look->now)
		tell_not_tried(rule, &options, look->now);
	if (rule->digest_at != DT_NOBEGIN && rule->digest_at <= look->now)
		tell_digest(rule, &options, look->now);
	etl_alert_rule_set_times(rule);
}

/*
 * look_at_alerts escalates, and tells what a silence held back; an argument
 * of etl_subxact.
 */
static void
look_at_alerts(void *arg)
{
	Look	   *look = arg;
	ListCell   *cell;

	foreach(cell, etl_alerts_to_escalate(look->now))
	{
		EtlAlert   *alert = lfirst(cell);
		EtlAlertRule *rule = etl_alert_rule_find(alert->rule);
		EtlRuleOptions options;

		if (rule == NULL)
			continue;
		etl_rule_options_read(rule->options, &options);
		if (options.escalate_severity != NULL)
			etl_alert_set_severity(alert->alert_id, options.escalate_severity);
		etl_alert_enqueue(alert->alert_id,
						  options.escalate_channels ? options.escalate_channels : rule->channels,
						  "escalated", look->now);
	}
	foreach(cell, etl_alerts_to_tell(look->now))
	{
		EtlAlert   *alert = lfirst(cell);
		EtlAlertRule *rule = etl_alert_rule_find(alert->rule);

		if (rule != NULL)
			etl_alert_enqueue(alert->alert_id, rule->channels, "firing", look->now);
	}
}

/*
 * try_look looks in a subtransaction and returns when to look again: 0 when
 * all is well.  What went wrong is in the log, unless somebody had a row
 * locked.
 */
static TimestampTz
try_look(void (*work)(void *arg), Look *look, const char *of)
{
	ErrorData  *error = etl_subxact(work, look);

	if (error == NULL)
		return 0;
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return look->now + PAUSE_AFTER_LOCK;
	etl_log_store("error", 0, NULL, psprintf("%s could not be judged: %s", of, error->message),
				  error->detail);
	return look->now + PAUSE_AFTER_ERROR;
}

/*
 * etl_deadlines_work is the chore.
 */
TimestampTz
etl_deadlines_work(EtlDriver *driver, TimestampTz now)
{
	Look		look = {.now = now};
	TimestampTz due;
	TimestampTz again;
	ListCell   *cell;

	etl_reports_catch_up(driver, now);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("lock_timeout", LONGEST_LOCK, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	foreach(cell, etl_slas_due(now))
	{
		look.sla = lfirst(cell);
		again = try_look(look_at_sla, &look, psprintf("promise \"%s\"", look.sla->name));
		if (again != 0)
			etl_sla_set_state(look.sla, again);
	}
	foreach(cell, etl_alert_rules_due(now))
	{
		look.rule = lfirst(cell);
		again = try_look(look_at_rule, &look, psprintf("alert \"%s\"", look.rule->name));
		if (again == 0)
			continue;
		if (look.rule->no_run_at != DT_NOBEGIN)
			look.rule->no_run_at = again;
		if (look.rule->digest_at != DT_NOBEGIN)
			look.rule->digest_at = again;
		etl_alert_rule_set_times(look.rule);
	}
	(void) try_look(look_at_alerts, &look, "alerts");
	PopActiveSnapshot();
	driver->commit(driver);

	PushActiveSnapshot(GetTransactionSnapshot());
	due = etl_deadlines_due(now);
	PopActiveSnapshot();
	/* what another session has locked is looked at again, but not in a circle */
	return Max(due, now + USECS_PER_SEC);
}

TimestampTz
etl_deadlines_due(TimestampTz now)
{
	return Min(Min(etl_slas_next_check(now), etl_alerts_due()), etl_reports_due());
}
