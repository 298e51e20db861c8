/*-------------------------------------------------------------------------
 *
 * condition.c
 *    What schedules ask of the data of users: conditions, calendars, files.
 *
 * This is the part of schedules that runs SQL of users and reads directories,
 * so it is done by chores and tick(), never by the scheduler.  A condition
 * happens when it becomes true, not as long as it is; files happen when there
 * are others than last time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "access/relation.h"
#include "catalog/event.h"
#include "catalog/history.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/run_as.h"
#include "common/timeout.h"
#include "common/wake.h"
#include "load/load.h"
#include "run/calendar.h"
#include "run/condition.h"
#include "run/events.h"
#include "run/schedule.h"

#define MAX_DAYS_OFF	  100000
#define CALENDAR_AGE	  USECS_PER_HOUR
#define FAILED_PAUSE	  USECS_PER_MINUTE	/* until what raised an error is looked at again */
#define CALENDAR_LIMIT_MS 10000

/* One look at an event. */
typedef struct Look
{
	EtlEvent   *event;
	TimestampTz now;
	bool		happened;
	int64		again_ms;		/* when a file may be taken that is still being written; 0: there is none */
} Look;

/* ---- sql ---- */

/*
 * within runs work(arg) with a limit of time; what takes longer is an error
 * like others, and no cancel of this process.
 */
static void
within(int64 ms, const char *hint, void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	bool		timed = etl_timeout_start(ETL_TIMEOUT_STATEMENT, ms, 0);

	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!timed || !etl_timeout_take(ETL_TIMEOUT_STATEMENT, error))
			PG_RE_THROW();
		FlushErrorState();
		error->hint = pstrdup(hint);
		etl_rethrow(error);
	}
	PG_END_TRY();
	if (timed)
		etl_timeout_stop(ETL_TIMEOUT_STATEMENT);
}

/*
 * query_as_owner runs a query as a schedule's owner, at most 'limit' rows, and
 * leaves SPI connected.
 */
static void
query_as_owner(const EtlSchedule *schedule, EtlRunAs *as, const char *query, long limit)
{
	int			code;

	etl_run_as_begin(as, schedule->owner, schedule->settings);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	code = SPI_execute(query, true, limit);
	if (code != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("a condition must be a SELECT")));
}

/* A condition that is being evaluated. */
typedef struct Condition
{
	const EtlSchedule *schedule;
	const char *query;
	bool		met;
} Condition;

/*
 * evaluate evaluates a condition as its schedule's owner; an argument of
 * within.
 */
static void
evaluate(void *arg)
{
	Condition  *condition = arg;
	EtlRunAs	as;
	bool		isnull = true;

	query_as_owner(condition->schedule, &as, condition->query, 1);
	if (SPI_tuptable->tupdesc->natts != 1 || TupleDescAttr(SPI_tuptable->tupdesc, 0)->atttypid != BOOLOID)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the condition of a schedule must return one boolean"),
				 errhint("For example SELECT count(*) > 0 FROM raw.inbox.")));
	if (SPI_processed > 0)
	{
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		condition->met = !isnull && DatumGetBool(value);
	}
	SPI_finish();
	etl_run_as_end(&as);
}

/*
 * look_at_sql evaluates the condition of an event.
 */
static void
look_at_sql(Look *look)
{
	EtlEvent   *event = look->event;
	Condition	condition = {etl_schedule_find(event->schedule), event->argument, false};

	if (condition.schedule == NULL)
		return;
	within(event->timeout_ms, "Make the condition faster, or raise its timeout in on_event.", evaluate,
		   &condition);
	look->happened = condition.met && (event->seen == NULL || strcmp(event->seen, "true") != 0);
	event->seen = condition.met ? "true" : "false";
}

/* ---- files ---- */

/*
 * look_at_files looks for files that a stream has not loaded.
 */
static void
look_at_files(Look *look)
{
	EtlEvent   *event = look->event;
	EtlStream  *stream = etl_stream_find(event->argument);
	bool		unsettled = false;
	char	   *arrivals = stream ? etl_pull_arrivals(stream, &unsettled) : NULL;
	char	   *settle = unsettled ? etl_json_get_text(stream->options, "settle") : NULL;

	look->happened = arrivals != NULL && (event->seen == NULL || strcmp(event->seen, arrivals) != 0);
	event->seen = arrivals;
	if (settle != NULL)
		look->again_ms = etl_option_duration_ms("settle", settle);
}

/* ---- looking ---- */

/*
 * look_again has an event looked at by then.
 */
static void
look_again(EtlEvent *event, TimestampTz at)
{
	if (event->check_at == DT_NOBEGIN || event->check_at > at)
		event->check_at = at;
}

/*
 * look_at_event looks at one event and notes what was there; an argument of
 * etl_subxact.
 */
static void
look_at_event(void *arg)
{
	Look	   *look = arg;
	EtlEvent   *event = look->event;

	if (strcmp(event->kind, "sql") == 0)
		look_at_sql(look);
	else
		look_at_files(look);
	event->error = NULL;
	event->happened_at = look->happened ? look->now : DT_NOBEGIN;

	/* files are looked at again only where nobody watches the directory */
	event->check_at = event->every == NULL ?
						  DT_NOBEGIN :
						  DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
																  TimestampTzGetDatum(look->now),
																  IntervalPGetDatum(event->every)));
	if (look->again_ms > 0)
		look_again(event, look->now + look->again_ms * 1000);
	etl_event_set(event);
}

/*
 * note_failure keeps the error of a look, and reports it when it is new.
 */
static void
note_failure(EtlEvent *event, const ErrorData *error, TimestampTz now)
{
	if (event->error == NULL || strcmp(event->error, error->message) != 0)
		etl_log_store("error", 0, NULL,
					  psprintf("an event of schedule \"%s\" could not be evaluated: %s", event->schedule,
							   error->message),
					  psprintf("%s %s", event->kind, event->argument));
	/* what was seen before goes on to hold: a condition does not become true by an error */
	event->error = error->message;
	event->happened_at = DT_NOBEGIN;
	event->check_at = now + FAILED_PAUSE;
	etl_event_set(event);
}

/*
 * etl_conditions_look: see condition.h.
 */
bool
etl_conditions_look(EtlRunDriver *driver, List *events, TimestampTz now)
{
	bool		happened = false;
	ListCell   *cell;

	foreach(cell, events)
	{
		Look		look = {.event = lfirst(cell), .now = now};
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetTransactionSnapshot());
		error = etl_subxact(look_at_event, &look);
		if (error != NULL)
			note_failure(look.event, error, now);
		PopActiveSnapshot();
		if (error == NULL && look.happened)
		{
			happened = true;
			etl_wake_at_commit();
		}
		driver->base.commit(&driver->base);
	}
	return happened;
}

TimestampTz
etl_conditions_due(TimestampTz now)
{
	return etl_instance_state() == ETL_INSTANCE_OURS ? etl_events_next_check() : DT_NOEND;
}

TimestampTz
etl_conditions_work(EtlRunDriver *driver, TimestampTz now)
{
	List	   *events;
	TimestampTz next;

	PushActiveSnapshot(GetTransactionSnapshot());
	events = etl_conditions_due(now) <= now ? etl_events_to_check(now) : NIL;
	PopActiveSnapshot();
	(void) etl_conditions_look(driver, events, now);

	PushActiveSnapshot(GetTransactionSnapshot());
	next = etl_conditions_due(now);
	PopActiveSnapshot();
	return next;
}

/* ---- calendars ---- */

/*
 * date_column names the first column of type date of a relation.
 */
static char *
date_column(const char *relation)
{
	Oid			relid = etl_name_relation(relation);
	Relation	rel;
	char	   *column = NULL;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the calendar \"%s\" does not exist", relation),
				 errhint("Create it, or give the days off as a list of dates.")));
	rel = relation_open(relid, AccessShareLock);
	for (int i = 0; i < RelationGetDescr(rel)->natts && column == NULL; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);

		if (!attribute->attisdropped && getBaseType(attribute->atttypid) == DATEOID)
			column = pstrdup(NameStr(attribute->attname));
	}
	relation_close(rel, AccessShareLock);
	if (column == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the calendar \"%s\" has no column of type date", relation)));
	return column;
}

/* A calendar that is being read. */
typedef struct Calendar
{
	const EtlSchedule *schedule;
	const char *relation;
	MemoryContext context;
	List	   *days;			/* of int: DateADT */
} Calendar;

/*
 * read_days reads a calendar; an argument of within.
 */
static void
read_days(void *arg)
{
	Calendar   *calendar = arg;
	EtlRunAs	as;

	query_as_owner(calendar->schedule, &as,
				   psprintf("SELECT DISTINCT %s::pg_catalog.date FROM %s ORDER BY 1",
							quote_identifier(date_column(calendar->relation)), calendar->relation),
				   MAX_DAYS_OFF);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old;
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		if (isnull || DATE_NOT_FINITE(DatumGetDateADT(value)))
			continue;
		old = MemoryContextSwitchTo(calendar->context);
		calendar->days = lappend_int(calendar->days, DatumGetDateADT(value));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	etl_run_as_end(&as);
}

/*
 * etl_calendar_read: see condition.h.
 */
List *
etl_calendar_read(const EtlSchedule *schedule, const char *relation)
{
	Calendar	calendar = {schedule, relation, CurrentMemoryContext, NIL};

	within(CALENDAR_LIMIT_MS, "Give the calendar an index, or name a table of dates.", read_days, &calendar);
	return calendar.days;
}

/*
 * read_calendar reads the calendar of a schedule again and notes the next
 * slot when it has changed; an argument of etl_subxact.
 */
static void
read_calendar(void *arg)
{
	EtlSchedule *schedule = arg;
	EtlTiming  *timing = etl_timing_make(schedule);
	List	   *days = etl_calendar_read(schedule, timing->calendar);

	etl_schedule_set_days_off(schedule->name, days, GetCurrentTimestamp());
	etl_schedule_set_problem(schedule->name, NULL);
	if (equal(days, schedule->days_off))
		return;
	etl_schedule_replan(schedule->name);
}

/*
 * etl_calendars_due: the oldest of the calendars that schedules have, and an
 * hour.
 */
TimestampTz
etl_calendars_due(TimestampTz now)
{
	TimestampTz oldest = etl_calendars_oldest();

	if (oldest == DT_NOEND)
		return DT_NOEND;
	return now + (oldest + CALENDAR_AGE - GetCurrentTimestamp());
}

TimestampTz
etl_calendars_work(EtlRunDriver *driver, TimestampTz now)
{
	TimestampTz next;
	List	   *schedules;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	schedules = etl_calendars_due(now) <= now ? etl_schedules_with_calendar() : NIL;
	PopActiveSnapshot();
	foreach(cell, schedules)
	{
		EtlSchedule *schedule = lfirst(cell);
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetTransactionSnapshot());
		error = etl_subxact(read_calendar, schedule);
		if (error != NULL)
		{
			/* what was read before goes on to hold */
			etl_schedule_set_problem(schedule->name, psprintf(ETL_CALENDAR_PROBLEM "%s", error->message));
			etl_log_store("error", 0, NULL,
						  psprintf("the calendar of schedule \"%s\" could not be read: %s", schedule->name,
								   error->message),
						  error->hint);
			etl_schedule_set_days_off(schedule->name, schedule->days_off, GetCurrentTimestamp());
		}
		PopActiveSnapshot();
		driver->base.commit(&driver->base);
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	next = etl_calendars_due(now);
	PopActiveSnapshot();
	return next;
}
