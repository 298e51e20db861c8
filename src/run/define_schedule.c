/*-------------------------------------------------------------------------
 *
 * define_schedule.c
 *    SQL functions that define, drop, pause, resume and preview schedules.
 *
 * A definition that is run again changes nothing about when its schedule is
 * due, and does not undo a pause: only what it says differently does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/environment.h"
#include "catalog/event.h"
#include "common/arguments.h"
#include "common/clock.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/retry.h"
#include "common/run_as.h"
#include "common/texts.h"
#include "common/wake.h"
#include "model/model.h"
#include "run/backfill.h"
#include "run/calendar.h"
#include "run/chores.h"
#include "run/condition.h"
#include "run/events.h"
#include "run/run.h"
#include "run/schedule.h"

PG_FUNCTION_INFO_V1(etl_sql_define_schedule);
PG_FUNCTION_INFO_V1(etl_sql_drop_schedule);
PG_FUNCTION_INFO_V1(etl_sql_next_runs);
PG_FUNCTION_INFO_V1(etl_sql_pause);
PG_FUNCTION_INFO_V1(etl_sql_resume);
PG_FUNCTION_INFO_V1(etl_sql_schedules_run);

#define MAX_NEXT_RUNS 10000
#define CHORE_PREFIX  "chore:"

/* ---- define ---- */

/*
 * check_word raises ET001 unless a value is one of three words.
 */
static void
check_word(const char *argument, const char *value, const char *a, const char *b, const char *c)
{
	if (strcmp(value, a) == 0 || strcmp(value, b) == 0 || strcmp(value, c) == 0)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for argument \"%s\": \"%s\"", argument, value),
			 errhint("Use %s, %s or %s.", a, b, c)));
}

/*
 * read_schedule reads the arguments of define_schedule.
 */
static void
read_schedule(FunctionCallInfo fcinfo, EtlSchedule *schedule)
{
	schedule->name = etl_arg_text(fcinfo, 0);
	schedule->selector = PG_ARGISNULL(1) ? "*" : etl_arg_text(fcinfo, 1);
	schedule->cron = etl_arg_text(fcinfo, 2);
	schedule->every = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	schedule->on_event = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	schedule->timezone = PG_ARGISNULL(5) ? "UTC" : etl_arg_text(fcinfo, 5);
	schedule->overlap = PG_ARGISNULL(6) ? "skip" : etl_arg_text(fcinfo, 6);
	schedule->misfire = PG_ARGISNULL(7) ? "once" : etl_arg_text(fcinfo, 7);
	schedule->params = PG_ARGISNULL(8) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(8);
	schedule->options = PG_ARGISNULL(9) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(9);
	schedule->paused = !PG_ARGISNULL(10) && PG_GETARG_BOOL(10);
	schedule->description = etl_arg_text(fcinfo, 11);
	schedule->settings = etl_settings_capture();
	schedule->owner = GetUserNameFromId(GetUserId(), false);
	schedule->anchor = schedule->next_due = schedule->fire_at = schedule->last_due = DT_NOBEGIN;
}

/*
 * check_options raises ET001 for options that no other file reads.
 */
static void
check_options(const Jsonb *options)
{
	char	   *timeout = etl_json_get_text(options, "timeout");
	int64		priority = 0;
	EtlRetryPolicy policy;

	etl_options_check(options, "schedule", etl_schedule_options, NULL);
	etl_retry_read(options, &policy);
	if (timeout != NULL && etl_option_duration_ms("timeout", timeout) <= 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"timeout\": \"%s\"", timeout),
				 errhint("It must be positive; leave it out for no limit.")));
	if (etl_json_has(options, "workers") && etl_json_get_int64(options, "workers", 0) < 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("option \"workers\" must be at least 1")));
	if (etl_json_has(options, "priority"))
		priority = etl_json_get_int64(options, "priority", 0);
	if (priority < -1000000 || priority > 1000000)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"priority\" must lie between -1000000 and 1000000")));
}

/*
 * check_schedule raises ET001 for what the arguments alone show to be wrong.
 */
static void
check_schedule(const EtlSchedule *schedule)
{
	if (schedule->name == NULL || schedule->name[0] == '\0')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("a schedule needs a name")));
	if (etl_stream_of_schedule(schedule->name) != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the name of a schedule must not begin with \"stream:\"")));
	if (schedule->cron == NULL && schedule->every == NULL && schedule->on_event == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("schedule \"%s\" never runs", schedule->name),
				 errhint("Give it cron => '0 2 * * *', every => '15 minutes' or on_event => "
						 "'{\"published\": \"raw.orders\"}'.")));
	if (schedule->cron != NULL && schedule->every != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("schedule \"%s\" has both cron and every", schedule->name),
				 errhint("Leave one of them out, or define two schedules.")));
	check_word("overlap", schedule->overlap, "skip", "queue", "parallel");
	check_word("misfire", schedule->misfire, "skip", "once", "all");
	if (etl_json_kind(schedule->params) != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("params must be a JSON object"),
				 errhint("Write params => '{\"region\": \"EU\"}'.")));
	etl_sample_check(schedule->params);
	check_options(schedule->options);
}

/*
 * select_nodes tries the selectors; an argument of etl_subxact.
 */
static void
select_nodes(void *arg)
{
	EtlSchedule *schedule = arg;

	etl_select(etl_graph_load(), schedule->selector, etl_json_get_text(schedule->options, "exclude"));
}

/*
 * check_selector raises the error of a selector that cannot be read, and
 * only tells of one that finds nothing yet: definitions come in any order.
 */
static void
check_selector(EtlSchedule *schedule)
{
	ErrorData  *error = etl_subxact(select_nodes, schedule);

	if (error == NULL)
		return;
	if (error->sqlerrcode != ETL_ERR_UNDEFINED)
		etl_rethrow(error);
	ereport(NOTICE,
			(errmsg("the selector of schedule \"%s\" does not fit yet: %s", schedule->name,
					error->message)));
}

/*
 * check_files raises ET001 for a file event of a stream that is known not to
 * be fed from files.
 */
static void
check_files(List *events)
{
	ListCell   *cell;

	foreach(cell, events)
	{
		const EtlEvent *event = lfirst(cell);
		EtlStream  *stream = strcmp(event->kind, "file") == 0 ? etl_stream_find(event->argument) : NULL;
		EtlSource  *source = stream ? etl_source_find(stream->source) : NULL;

		if (source != NULL && strcmp(source->connector, "file") != 0)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("no file arrives for stream %s", event->argument),
					 errdetail("Its source \"%s\" is of the connector %s.", source->name, source->connector),
					 errhint("Use cron or every, or {\"published\": \"%s\"}.", event->argument)));
	}
}

/*
 * same_every compares intervals that may be missing, field by field: a month
 * is not thirty days.
 */
static bool
same_every(const Interval *a, const Interval *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->month == b->month && a->day == b->day && a->time == b->time;
}

/*
 * plan_next computes the next slot of a schedule after a moment.
 */
static void
plan_next(EtlSchedule *schedule, TimestampTz after)
{
	EtlTiming  *timing = etl_timing_make(schedule);
	TimestampTz next;

	if (schedule->anchor == DT_NOBEGIN)
		schedule->anchor = after - ((after % USECS_PER_SEC) + USECS_PER_SEC) % USECS_PER_SEC;
	next = etl_timing_has_slots(timing) ? etl_timing_next(timing, after) : DT_NOEND;
	schedule->next_due = next == DT_NOEND ? DT_NOBEGIN : next;
	schedule->fire_at = next == DT_NOEND ? DT_NOBEGIN : etl_timing_fire_at(timing, next);
	etl_schedule_set_state(schedule);
}

/*
 * etl_schedule_replan: see schedule.h.
 */
void
etl_schedule_replan(const char *name)
{
	EtlSchedule *schedule = etl_schedule_find(name);

	/* slots that are due and were not looked at yet stay */
	if (schedule != NULL)
		plan_next(schedule, schedule->next_due == DT_NOBEGIN ? etl_now() :
															   Min(etl_now(), schedule->next_due - 1));
	etl_wake_at_commit();
}

/*
 * set_state brings the state of a schedule in line with its new definition.
 */
static void
set_state(EtlSchedule *schedule, const EtlSchedule *old, const EtlTiming *timing)
{
	TimestampTz now = etl_now();
	bool		same_grid = old != NULL && etl_same_text(old->cron, schedule->cron) &&
					 same_every(old->every, schedule->every) &&
					 strcmp(old->timezone, schedule->timezone) == 0;

	if (same_grid)
		schedule->anchor = old->anchor;
	if (old != NULL)
		schedule->last_due = old->last_due;
	if (timing->calendar != NULL)
		schedule->days_off = etl_calendar_read(schedule, timing->calendar);
	if (timing->calendar != NULL)
		etl_schedule_set_days_off(schedule->name, schedule->days_off, GetCurrentTimestamp());

	/* paused as it was last, unless the definition now says otherwise */
	if (old != NULL && old->paused_defined == schedule->paused)
		schedule->paused = old->paused;
	etl_schedule_set_paused(schedule->name, schedule->paused);
	if (timing->calendar == NULL)
		etl_schedule_set_days_off(schedule->name, NIL, DT_NOBEGIN);

	if (same_grid && strcmp(etl_json_text(old->options), etl_json_text(schedule->options)) == 0 &&
		old->paused == schedule->paused)
		return;
	plan_next(schedule, now);
	if (old == NULL || old->paused)
		etl_events_reset(schedule->name);
}

/*
 * etl_sql_define_schedule is etl.define_schedule().
 */
Datum
etl_sql_define_schedule(PG_FUNCTION_ARGS)
{
	EtlSchedule schedule = {0};
	EtlSchedule *old;
	EtlTiming  *timing;
	EtlEventRule *rule = NULL;
	const char *result;

	read_schedule(fcinfo, &schedule);
	check_schedule(&schedule);
	if (etl_environment_skips("schedule", schedule.name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	timing = etl_timing_make(&schedule);
	if (schedule.on_event != NULL)
		rule = etl_event_rule(schedule.on_event);
	if (rule != NULL)
		check_files(rule->events);
	check_selector(&schedule);

	old = etl_schedule_find(schedule.name);
	result = etl_schedule_store(&schedule);
	if (strcmp(result, "unchanged") != 0)
	{
		etl_instance_claim();
		etl_events_store(schedule.name, rule ? rule->events : NIL);
		set_state(&schedule, old, timing);
		etl_wake_at_commit();
	}
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * etl_sql_drop_schedule is etl.drop_schedule(); its runs and slots stay.
 */
Datum
etl_sql_drop_schedule(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_text(fcinfo, 0);
	EtlSchedule *schedule = name ? etl_schedule_find(name) : NULL;

	if (schedule == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(schedule->owner, "schedule", name);
	etl_wake_at_commit();
	PG_RETURN_BOOL(etl_schedule_delete(name));
}

/* ---- preview ---- */

/*
 * etl_sql_next_runs is etl.next_runs().  The default now() means the clock
 * that schedules read.
 */
Datum
etl_sql_next_runs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EtlTiming  *timing;
	TimestampTz at;
	int			n;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("next_runs needs the name of a schedule")));
	timing = etl_timing_make(etl_schedule_get(etl_arg_text(fcinfo, 0)));
	n = PG_ARGISNULL(1) ? 5 : PG_GETARG_INT32(1);
	if (n < 0 || n > MAX_NEXT_RUNS)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("argument \"n\" must lie between 0 and %d", MAX_NEXT_RUNS)));
	at = PG_ARGISNULL(2) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(2);
	if (at == GetCurrentTransactionStartTimestamp())
		at = etl_now();

	for (int i = 0; i < n; i++)
	{
		Datum		value;
		bool		isnull = false;

		at = etl_timing_next(timing, at);
		if (at == DT_NOEND)
			break;
		value = TimestampTzGetDatum(at);
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* ---- pause and resume ---- */

/*
 * begin_anew makes a schedule start from now: what was due while it
 * was paused is not missed, it was not wanted.
 */
static void
begin_anew(EtlSchedule *schedule)
{
	etl_schedule_set_paused(schedule->name, false);
	plan_next(schedule, etl_now());
	etl_events_begin_anew(schedule->name);
}

/*
 * etl_sql_pause is etl.pause().
 */
Datum
etl_sql_pause(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_text(fcinfo, 0);
	EtlSchedule *schedule;

	etl_environment_must_be_off("no schedule is paused");
	if (name == NULL)
	{
		etl_check_may_operate(NULL);
		etl_instance_set(true);
	}
	else if (!etl_backfill_hold(name, true))
	{
		schedule = etl_schedule_get(name);
		etl_check_may_operate(schedule->owner);
		etl_schedule_set_paused(name, true);
	}
	etl_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * disown_runs ends the runs that came along with a copy of a database.
 */
static void
disown_runs(const char *reason)
{
	ListCell   *cell;

	etl_runs_disown(reason);
	foreach(cell, etl_runs_running())
	{
		int64		run_id = ((EtlRun *) lfirst(cell))->run_id;

		if (!etl_lock_run(run_id))
			continue;
		etl_run_close(run_id, "interrupted", reason, NULL);
		etl_unlock_run(run_id);
	}
}

/*
 * resume_all ends the pause of the database; where there is none, that of
 * every schedule.
 */
static void
resume_all(void)
{
	EtlInstance instance = etl_instance_state();
	bool		whole = instance == ETL_INSTANCE_PAUSED || instance == ETL_INSTANCE_FOREIGN;
	ListCell   *cell;

	(void) etl_chore_resume(NULL);
	if (instance == ETL_INSTANCE_FOREIGN)
		disown_runs("it belonged to the database that this one is a copy of");
	etl_instance_set(false);
	foreach(cell, etl_schedules_all())
	{
		EtlSchedule *schedule = lfirst(cell);

		if (whole ? !schedule->paused : schedule->paused)
			begin_anew(schedule);
	}
	if (whole)
		etl_events_begin_anew(NULL);
}

/*
 * etl_sql_resume is etl.resume().
 */
Datum
etl_sql_resume(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_text(fcinfo, 0);

	etl_environment_must_be_off("no schedule is resumed");
	if (name == NULL)
	{
		etl_check_may_operate(NULL);
		resume_all();
	}
	else if (strncmp(name, CHORE_PREFIX, strlen(CHORE_PREFIX)) == 0)
	{
		etl_check_may_operate(NULL);
		if (!etl_chore_resume(name + strlen(CHORE_PREFIX)))
			ereport(ERROR, (errcode(ETL_ERR_UNDEFINED),
							errmsg("there is no chore \"%s\"", name + strlen(CHORE_PREFIX)),
							errhint("SELECT detail FROM etl.status() WHERE state = 'parked' tells "
									"which are parked.")));
	}
	else if (!etl_backfill_hold(name, false))
	{
		EtlSchedule *schedule = etl_schedule_get(name);

		etl_check_may_operate(schedule->owner);
		if (schedule->paused)
			begin_anew(schedule);
		if (etl_instance_state() != ETL_INSTANCE_OURS)
			ereport(NOTICE,
					(errmsg("all schedules of this database are paused"),
					 errhint("SELECT etl.resume() lets them run.")));
	}
	etl_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * etl_sql_schedules_run is etl._schedules_run(), for the view.
 */
Datum
etl_sql_schedules_run(PG_FUNCTION_ARGS)
{
	EtlInstance instance = etl_instance_state();

	PG_RETURN_BOOL(instance == ETL_INSTANCE_OURS || instance == ETL_INSTANCE_UNKNOWN);
}
