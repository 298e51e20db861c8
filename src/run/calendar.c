/*-------------------------------------------------------------------------
 *
 * calendar.c
 *    The moments at which a schedule is due.
 *
 * A schedule's grid comes from cron, or from its anchor and 'every'; the
 * options start, end, blackout, weekend and calendar take slots out of it.
 * Everything is computed from the slot, never from when something ran, so
 * that nothing drifts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "run/calendar.h"

#define DEFAULT_GRACE (2 * USECS_PER_MINUTE)
#define MAX_YEARS	  100
#define MAX_TRIES	  100000	/* slots, or spans without one, looked at for the next slot */

const EtlOptionDef etl_schedule_options[] = {
	{"blackout", "any", NULL,
	 "Spans without a run, one or a list: {\"since\": \"2026-12-24\", \"until\": \"2027-01-02\"}, "
	 "or each day "
	 "{\"since\": \"22:00\", \"until\": \"06:00\", \"days\": \"mon-fri\"}."},
	{"calendar", "any", NULL,
	 "Days off: a list of dates, or the name of a relation whose first column of type date holds "
	 "them; it is "
	 "read as the schedule's owner, at the definition and once an hour."},
	{"end", "text", NULL, "No slot at or after this time, read in the schedule's time zone."},
	{"exclude", "text", NULL, "A selector of nodes to leave out."},
	{"full_refresh", "boolean", "false", "Builds models from all of their inputs."},
	{"grace", "duration", "2 min",
	 "How late a slot may be started before misfire decides about it."},
	{"jitter", "duration", NULL,
	 "Starts each slot later by up to this, by an amount that depends on schedule and slot alone."},
	{"priority", "integer", "0",
	 "Of the queued runs, those with the greatest priority start first."},
	{"publish", "each|together", "each",
	 "together: all models of a run appear in one transaction."},
	{"retry", "object", NULL, "Attempts of each task: attempts, base, cap, as for a model."},
	{"start", "text", NULL,
	 "No slot before this time, read in the schedule's time zone; also what every counts from."},
	{"timeout", "duration", NULL, "How long a run may take."},
	{"weekend", "text", "sat,sun",
	 "Weekdays without a run, or none; by default only when there is a calendar."},
	{"workers", "integer", NULL, "How many nodes of a run may be at work at once."},
	{NULL}};

/* ---- reading ---- */

/*
 * read_time reads a timestamp that stands in the options, in a zone.
 */
static TimestampTz
read_time(const char *option, const char *text, pg_tz *zone)
{
	MemoryContext context = CurrentMemoryContext;
	pg_tz	   *saved = session_timezone;
	volatile TimestampTz result = 0;

	PG_TRY();
	{
		session_timezone = zone;
		result = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
		session_timezone = saved;
	}
	PG_CATCH();
	{
		session_timezone = saved;
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid time for option \"%s\": \"%s\"", option, text),
				 errhint("Write it as \"2026-12-24 18:00\", in the schedule's time zone, or with a zone of "
						 "its own.")));
	}
	PG_END_TRY();
	return result;
}

/*
 * read_time_of_day reads HH:MM or HH:MM:SS; -1 when it is none.  24:00 is the
 * end of the day.
 */
static int64
read_time_of_day(const char *text)
{
	int			hour;
	int			minute;
	int			second = 0;
	int			length = 0;

	if (sscanf(text, "%2d:%2d%n:%2d%n", &hour, &minute, &length, &second, &length) < 2 ||
		text[length] != '\0' || hour < 0 || minute < 0 || second < 0 ||
		minute > 59 || second > 59 || hour > 24 || (hour == 24 && minute + second > 0))
		return -1;
	return ((hour * INT64CONST(60) + minute) * 60 + second) * USECS_PER_SEC;
}

/*
 * refuse_blackout raises ET001 for a span that says nothing.
 */
static void
refuse_blackout(const Jsonb *value)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for option \"blackout\": %s", etl_json_text(value)),
			 errdetail("A span needs since and until, two moments or two times of the day, and the second "
					   "moment later than the first."),
			 errhint("Write {\"since\": \"2026-12-24\", \"until\": \"2027-01-02\"} or {\"since\": \"22:00\", "
					 "\"until\": \"06:00\", \"days\": \"mon-fri\"}.")));
}

const EtlOptionDef etl_blackout_options[] = {
	{"since", "text", NULL, "Where it begins."},
	{"until", "text", NULL, "Where it ends; this moment no longer belongs to it."},
	{"days", "text", NULL, "Weekdays on which a daily span begins."},
	{NULL}};

/*
 * read_blackout reads one span.
 */
static EtlBlackout *
read_blackout(const Jsonb *value, pg_tz *zone)
{
	EtlBlackout *span = palloc0(sizeof(EtlBlackout));
	char	   *since;
	char	   *until;
	char	   *days;

	if (etl_json_kind(value) != 'o')
		refuse_blackout(value);
	etl_options_check(value, "schedule:blackout", etl_blackout_options, NULL);
	since = etl_json_get_text(value, "since");
	until = etl_json_get_text(value, "until");
	days = etl_json_get_text(value, "days");
	if (since == NULL || until == NULL)
		refuse_blackout(value);

	span->from = read_time_of_day(since);
	span->to = read_time_of_day(until);
	span->daily = span->from >= 0 && span->to >= 0;
	span->weekdays = etl_cron_weekdays(days ? days : "*");
	if (span->daily)
	{
		if (span->from == span->to)
			refuse_blackout(value);
		return span;
	}
	span->since = read_time("blackout", since, zone);
	span->until = read_time("blackout", until, zone);
	if (span->until <= span->since || days != NULL)
		refuse_blackout(value);
	return span;
}

/*
 * elements returns the values of an array, or the value itself, as documents.
 */
static List *
elements(const Jsonb *value)
{
	List	   *result = NIL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (etl_json_kind(value) != 'a')
		return list_make1(unconstify(Jsonb *, value));
	iterator = JsonbIteratorInit(&unconstify(Jsonb *, value)->root);
	(void) JsonbIteratorNext(&iterator, &item, true);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) == WJB_ELEM)
		result = lappend(result, JsonbValueToJsonb(&item));
	return result;
}

/*
 * read_date reads a date of a calendar.
 */
static DateADT
read_date(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile DateADT date = 0;

	PG_TRY();
	{
		date = DatumGetDateADT(DirectFunctionCall1(date_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid date in option \"calendar\": \"%s\"", text),
				 errhint("Write dates as \"2026-12-25\", or the name of a relation that holds them.")));
	}
	PG_END_TRY();
	return date;
}

/*
 * read_days_off reads the options calendar and weekend.
 */
static void
read_days_off(EtlTiming *timing, const Jsonb *options)
{
	Jsonb	   *calendar = etl_json_get(options, "calendar");
	char	   *weekend = etl_json_get_text(options, "weekend");
	ListCell   *cell;

	if (calendar != NULL && etl_json_kind(calendar) == 's')
	{
		timing->calendar = etl_name_canonical(etl_json_bare_text(calendar));
		timing->days_off = timing->schedule->days_off;
	}
	else if (calendar != NULL)
		foreach(cell, elements(calendar))
			timing->days_off = lappend_int(timing->days_off,
										   read_date(etl_json_bare_text(lfirst(cell))));

	if (weekend == NULL)
		weekend = calendar ? "sat,sun" : "none";
	if (pg_strcasecmp(weekend, "none") != 0)
		timing->weekend = etl_cron_weekdays(weekend);
	if (timing->weekend == (UINT64CONST(1) << 7) - 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"weekend\": \"%s\"", weekend),
				 errdetail("No day of the week is left."),
				 errhint("Write the days without a run, for example \"sat,sun\", or \"none\".")));
}

/*
 * duration reads an option in microseconds.
 */
static int64
duration(const Jsonb *options, const char *key, int64 default_value)
{
	char	   *text = etl_json_get_text(options, key);
	int64		value = text ? etl_option_duration_ms(key, text) * 1000 : default_value;

	if (value < 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid duration for option \"%s\": \"%s\"", key, text),
				 errhint("It must not be negative.")));
	return value;
}

/*
 * check_every raises ET001 for an interval that does not lead forward.
 */
static void
check_every(const Interval *every)
{
	if (every->month < 0 || every->day < 0 || every->time < 0 ||
		(every->month == 0 && every->day == 0 && every->time < USECS_PER_SEC) ||
		every->month > MAX_YEARS * MONTHS_PER_YEAR || every->day > MAX_YEARS * 366 ||
		every->time > MAX_YEARS * 366 * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for argument \"every\": \"%s\"",
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(every)))),
				 errhint("It must be from one second to %d years, and no part of it negative.", MAX_YEARS)));
}

/*
 * etl_timing_make: see calendar.h.
 */
EtlTiming *
etl_timing_make(const EtlSchedule *schedule)
{
	EtlTiming  *timing = palloc0(sizeof(EtlTiming));
	const Jsonb *options = schedule->options;
	char	   *start = etl_json_get_text(options, "start");
	char	   *end = etl_json_get_text(options, "end");
	Jsonb	   *blackout = etl_json_get(options, "blackout");
	ListCell   *cell;

	timing->schedule = schedule;
	timing->zone = etl_zone_find(schedule->timezone);
	timing->by_cron = schedule->cron != NULL;
	if (timing->by_cron)
		etl_cron_parse(schedule->cron, &timing->cron);
	if (schedule->every != NULL)
		check_every(schedule->every);
	timing->start = start ? read_time("start", start, timing->zone) : DT_NOBEGIN;
	timing->end = end ? read_time("end", end, timing->zone) : DT_NOEND;
	if (timing->end <= timing->start)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"end\" is not after option \"start\"")));
	timing->jitter = duration(options, "jitter", 0);
	timing->grace = duration(options, "grace", DEFAULT_GRACE);
	if (blackout != NULL)
		foreach(cell, elements(blackout))
			timing->blackouts = lappend(timing->blackouts, read_blackout(lfirst(cell), timing->zone));
	read_days_off(timing, options);
	return timing;
}

bool
etl_timing_has_slots(const EtlTiming *timing)
{
	return timing->by_cron || timing->schedule->every != NULL;
}

/* ---- the grid ---- */

/*
 * every_slot returns slot number k: the anchor and k times the interval,
 * months and days on the wall, the rest by elapsed time.
 */
static TimestampTz
every_slot(const EtlTiming *timing, TimestampTz anchor, int64 k)
{
	const Interval *every = timing->schedule->every;
	TimestampTz base = anchor;

	if (every->month != 0 || every->day != 0)
	{
		Interval	calendar = {0};

		calendar.month = every->month * (int) k;
		calendar.day = every->day * (int) k;
		base = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
													 TimestampGetDatum(etl_zone_wall(timing->zone, anchor)),
													 IntervalPGetDatum(&calendar)));
		base = etl_zone_instant(timing->zone, base);
	}
	return base + k * every->time;
}

/*
 * next_every returns the first slot of the grid of 'every' after a moment.
 */
static TimestampTz
next_every(const EtlTiming *timing, TimestampTz after)
{
	const Interval *every = timing->schedule->every;
	TimestampTz anchor = timing->start != DT_NOBEGIN ? timing->start : timing->schedule->anchor;
	int64		mean = every->time + every->day * USECS_PER_DAY +
				 (int64) (every->month * (DAYS_PER_YEAR / MONTHS_PER_YEAR) * USECS_PER_DAY);
	int64		k = (after - anchor) / mean;

	while (every_slot(timing, anchor, k) > after)
		k--;
	while (every_slot(timing, anchor, k) <= after)
		k++;
	return every_slot(timing, anchor, k);
}

/*
 * next_on_grid returns the next slot before anything is taken out.
 */
static TimestampTz
next_on_grid(const EtlTiming *timing, TimestampTz after)
{
	if (timing->start != DT_NOBEGIN)
		after = Max(after, timing->start - 1);
	if (!IS_VALID_TIMESTAMP(after) || after > END_TIMESTAMP / 2 || after < 0 - END_TIMESTAMP / 2)
		return DT_NOEND;
	if (timing->by_cron)
		return etl_cron_next(&timing->cron, timing->zone, after);
	return timing->schedule->every ? next_every(timing, after) : DT_NOEND;
}

/* ---- what is taken out ---- */

/*
 * day_of splits a wall into its day, counted as DateADT, and the time.
 */
static int32
day_of(Timestamp wall, int64 *time)
{
	int64		day = wall / USECS_PER_DAY;

	if (wall % USECS_PER_DAY < 0)
		day--;
	*time = wall - day * USECS_PER_DAY;
	return (int32) day;
}

/*
 * has_weekday tells whether a day is among weekdays.
 */
static bool
has_weekday(uint64 weekdays, int32 day)
{
	return (weekdays >> j2day(day + POSTGRES_EPOCH_JDATE)) & 1;
}

/*
 * off_until returns the end of the day off that a slot falls on, DT_NOBEGIN
 * when it falls on none.
 */
static TimestampTz
off_until(const EtlTiming *timing, TimestampTz slot)
{
	int64		time;
	int32		day;

	if (timing->weekend == 0 && timing->days_off == NIL)
		return DT_NOBEGIN;
	day = day_of(etl_zone_wall(timing->zone, slot), &time);
	if (!has_weekday(timing->weekend, day) && !list_member_int(timing->days_off, day))
		return DT_NOBEGIN;
	return etl_zone_instant(timing->zone, (day + INT64CONST(1)) * USECS_PER_DAY);
}

/*
 * dark_until returns the end of the blackout that covers a slot, DT_NOBEGIN
 * when none does.
 */
static TimestampTz
dark_until(const EtlTiming *timing, const EtlBlackout *span, TimestampTz slot)
{
	int64		time;
	int32		day;
	bool		over_midnight = span->to <= span->from;

	if (!span->daily)
		return slot >= span->since && slot < span->until ? span->until : DT_NOBEGIN;

	day = day_of(etl_zone_wall(timing->zone, slot), &time);
	if (time >= span->from && (over_midnight || time < span->to) && has_weekday(span->weekdays, day))
		return etl_zone_instant(timing->zone, (day + (over_midnight ? 1 : 0)) * USECS_PER_DAY + span->to);
	if (over_midnight && time < span->to && has_weekday(span->weekdays, day - 1))
		return etl_zone_instant(timing->zone, day * USECS_PER_DAY + span->to);
	return DT_NOBEGIN;
}

/*
 * etl_timing_next: see calendar.h.
 */
TimestampTz
etl_timing_next(const EtlTiming *timing, TimestampTz after)
{
	for (int i = 0; i < MAX_TRIES; i++)
	{
		TimestampTz slot = next_on_grid(timing, after);
		TimestampTz free_from = DT_NOBEGIN;
		ListCell   *cell;

		CHECK_FOR_INTERRUPTS();
		if (slot == DT_NOEND || slot >= timing->end)
			return DT_NOEND;
		free_from = off_until(timing, slot);
		foreach(cell, timing->blackouts)
			free_from = Max(free_from, dark_until(timing, lfirst(cell), slot));
		if (free_from == DT_NOBEGIN)
			return slot;
		/* clocks that are put back may show a day again: never go back */
		after = Max(slot, free_from - 1);
	}
	return DT_NOEND;
}

/*
 * etl_timing_fire_at: see calendar.h.
 */
TimestampTz
etl_timing_fire_at(const EtlTiming *timing, TimestampTz slot)
{
	uint64		hash;

	if (timing->jitter == 0 || slot == DT_NOEND)
		return slot;
	hash = hash_bytes_extended((const unsigned char *) timing->schedule->name,
							   strlen(timing->schedule->name), (uint64) slot);
	return slot + hash % (uint64) timing->jitter;
}
