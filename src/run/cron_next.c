/*-------------------------------------------------------------------------
 *
 * cron_next.c
 *    When a cron expression comes next in a zone, and what clocks in zones
 *    show.
 *
 * Two clocks are kept apart: an instant (seconds since 1970 in UTC) and a wall
 * (what a clock in the zone shows, as seconds since its own 1970). The fields
 * describe walls. A wall becomes an instant as "the first instant at which the
 * clock shows this or later": in a gap that is the first valid instant, in an
 * overlap the first of two, and since the mapping never goes backwards, "the
 * next instant" is the instant of the next wall beyond the greatest that the
 * clock has shown so far.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "port/pg_bitutils.h"
#include "utils/datetime.h"

#include "common/errors.h"
#include "common/options.h"
#include "run/cron.h"

#define DAYS_IN_CYCLE 146097	/* the Gregorian calendar repeats after 400 years */
#define ZONE_REACH	  (3 * SECS_PER_DAY)	/* no clock is ever further from UTC */
#define BIT(n)		  (UINT64CONST(1) << (n))

/*
 * weekday_of gives the day of the week, 0 for Sunday.
 */
static int
weekday_of(int julian)
{
	return j2day(julian);
}

/*
 * month_length gives the number of days of a month.
 */
static int
month_length(int year, int month)
{
	return day_tab[isleap(year)][month - 1];
}

/*
 * nearest_workday finds the day from Monday to Friday nearest to a day of a
 * month, in the same month.
 */
static int
nearest_workday(int year, int month, int day)
{
	int			length = month_length(year, month);
	int			weekday;

	if (day > length)
		return 0;
	weekday = weekday_of(date2j(year, month, day));
	if (weekday == 6)
		return day > 1 ? day - 1 : day + 2;
	if (weekday == 0)
		return day < length ? day + 1 : day - 2;
	return day;
}

/*
 * is_day_of_month tells whether the field for the day of the month means
 * this day.
 */
static bool
is_day_of_month(const EtlCron *cron, int year, int month, int day)
{
	int			length = month_length(year, month);

	if (cron->days & BIT(day))
		return true;
	if (cron->days_before_end & BIT(length - day))
		return true;
	if (cron->last_workday && nearest_workday(year, month, length) == day)
		return true;
	for (uint64 bits = cron->days_nearest; bits != 0; bits &= bits - 1)
		if (nearest_workday(year, month, pg_rightmost_one_pos64(bits)) == day)
			return true;
	return false;
}

/*
 * is_day_of_week does the same for the day of the week.
 */
static bool
is_day_of_week(const EtlCron *cron, int year, int month, int day, int weekday)
{
	if (cron->weekdays & BIT(weekday))
		return true;
	if ((cron->weekdays_last & BIT(weekday)) && day + 7 > month_length(year, month))
		return true;
	return (cron->weekdays_nth[weekday] & BIT((day - 1) / 7 + 1)) != 0;
}

/*
 * is_day tells whether a day is meant: when both fields restrict, either
 * suffices, as cron has always had it.
 */
static bool
is_day(const EtlCron *cron, int julian)
{
	int			year;
	int			month;
	int			day;
	bool		of_month;
	bool		of_week;

	j2date(julian, &year, &month, &day);
	if (!(cron->months & BIT(month)))
		return false;
	of_month = is_day_of_month(cron, year, month, day);
	of_week = is_day_of_week(cron, year, month, day, weekday_of(julian));
	if (cron->any_day || cron->any_weekday)
		return of_month && of_week;
	return of_month || of_week;
}

/*
 * next_bit returns the first bit set from 'from' on, -1 when there is none.
 */
static int
next_bit(uint64 bits, int from)
{
	if (from > 63)
		return -1;
	bits &= ~UINT64CONST(0) << from;
	return bits == 0 ? -1 : pg_rightmost_one_pos64(bits);
}

/*
 * next_in_day returns the first second of a day from 'from' on, -1 when the
 * day has none left.
 */
static int
next_in_day(const EtlCron *cron, int from)
{
	int			hour = from / SECS_PER_HOUR;
	int			minute = from / SECS_PER_MINUTE % MINS_PER_HOUR;
	int			second = from % SECS_PER_MINUTE;

	for (int h = next_bit(cron->hours, hour); h >= 0; h = next_bit(cron->hours, h + 1))
	{
		for (int m = next_bit(cron->minutes, h == hour ? minute : 0); m >= 0;
			 m = next_bit(cron->minutes, m + 1))
		{
			int			s = next_bit(cron->seconds, h == hour && m == minute ? second : 0);

			if (s >= 0)
				return (h * MINS_PER_HOUR + m) * SECS_PER_MINUTE + s;
		}
	}
	return -1;
}

/*
 * floor_div divides towards minus infinity.
 */
static int64
floor_div(int64 value, int64 by)
{
	int64		quotient = value / by;

	return value % by < 0 ? quotient - 1 : quotient;
}

/*
 * etl_cron_next_wall returns the first wall after 'wall', ETL_CRON_NEVER when there is none
 * within a cycle of the calendar.
 */
int64
etl_cron_next_wall(const EtlCron *cron, int64 wall)
{
	int64		first = floor_div(wall + 1, SECS_PER_DAY);
	int			from = (int) (wall + 1 - first * SECS_PER_DAY);

	for (int64 day = first; day <= first + DAYS_IN_CYCLE; day++)
	{
		int			second;

		if (!is_day(cron, (int) (day + UNIX_EPOCH_JDATE)))
			continue;
		second = next_in_day(cron, day == first ? from : 0);
		if (second >= 0)
			return day * SECS_PER_DAY + second;
	}
	return ETL_CRON_NEVER;
}

/*
 * offset_at returns how far clocks are ahead of UTC at an instant, and until
 * when that holds.
 */
static long
offset_at(const pg_tz *zone, int64 instant, int64 *until)
{
	pg_time_t	time = instant;
	pg_time_t	boundary;
	long		before;
	long		after;
	int			dst_before;
	int			dst_after;

	if (pg_next_dst_boundary(&time, &before, &dst_before, &boundary, &after, &dst_after, zone) > 0)
	{
		*until = boundary;
		return before;
	}
	*until = ETL_CRON_NEVER;
	return pg_localtime(&time, zone)->tm_gmtoff;
}

/*
 * greatest_wall returns the greatest wall that clocks have shown up to an
 * instant: more than they show there after they were put back.
 */
static int64
greatest_wall(const pg_tz *zone, int64 instant)
{
	int64		begin = instant - ZONE_REACH;
	int64		greatest = PG_INT64_MIN;

	while (begin <= instant)
	{
		int64		until;
		long		offset = offset_at(zone, begin, &until);

		greatest = Max(greatest, (until > instant ? instant : until - 1) + offset);
		begin = until;
	}
	return greatest;
}

/*
 * instant_of returns the first instant at which clocks show a wall or later.
 */
static int64
instant_of(const pg_tz *zone, int64 wall)
{
	int64		begin = wall - ZONE_REACH;

	for (;;)
	{
		int64		until;
		long		offset = offset_at(zone, begin, &until);
		int64		instant = Max(begin, wall - offset);

		if (instant < until)
			return instant;
		begin = until;
	}
}

/*
 * next_elapsed returns the next instant of what means every hour: each that
 * passes, whatever clocks show before or after.
 */
static int64
next_elapsed(const EtlCron *cron, const pg_tz *zone, int64 after)
{
	int64		begin = after + 1;
	int64		end = after + (int64) DAYS_IN_CYCLE * SECS_PER_DAY;

	while (begin < end)
	{
		int64		until;
		long		offset = offset_at(zone, begin, &until);
		int64		wall = etl_cron_next_wall(cron, begin + offset - 1);

		if (wall == ETL_CRON_NEVER)
			return ETL_CRON_NEVER;
		if (wall - offset < until)
			return wall - offset;
		begin = until;
	}
	return ETL_CRON_NEVER;
}

/*
 * to_instant and to_timestamp translate between PostgreSQL's clock and ours.
 */
static int64
to_instant(TimestampTz timestamp)
{
	return floor_div(timestamp, USECS_PER_SEC) +
		   (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

static TimestampTz
to_timestamp(int64 instant)
{
	return (instant - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC;
}

/*
 * etl_cron_next: see cron.h.
 */
TimestampTz
etl_cron_next(const EtlCron *cron, const pg_tz *zone, TimestampTz after)
{
	int64		instant;
	int64		wall;

	/* far from the ends of what timestamps can be */
	if (!IS_VALID_TIMESTAMP(after) || after > END_TIMESTAMP / 2)
		return DT_NOEND;
	after = Max(after, (TimestampTz) 0 - INT64CONST(1000) * 366 * USECS_PER_DAY);

	instant = to_instant(after);
	if (cron->every_hour)
		instant = next_elapsed(cron, zone, instant);
	else
	{
		wall = etl_cron_next_wall(cron, greatest_wall(zone, instant));
		instant = wall == ETL_CRON_NEVER ? ETL_CRON_NEVER : instant_of(zone, wall);
	}
	return instant == ETL_CRON_NEVER ? DT_NOEND : to_timestamp(instant);
}

/*
 * etl_zone_instant and etl_zone_wall: see cron.h.
 */
TimestampTz
etl_zone_instant(const pg_tz *zone, Timestamp wall)
{
	int64		seconds = to_instant(wall);

	return to_timestamp(instant_of(zone, seconds)) + (wall - to_timestamp(seconds));
}

Timestamp
etl_zone_wall(const pg_tz *zone, TimestampTz instant)
{
	int64		until;

	return instant + offset_at(zone, to_instant(instant), &until) * USECS_PER_SEC;
}

/*
 * nearest_zone looks for a zone whose name is like this one.
 */
static const char *
nearest_zone(const char *name)
{
	pg_tzenum  *zones = pg_tzenumerate_start();
	List	   *names = NIL;
	pg_tz	   *zone;

	while ((zone = pg_tzenumerate_next(zones)) != NULL)
		names = lappend(names, pstrdup(pg_get_timezone_name(zone)));
	pg_tzenumerate_end(zones);
	return etl_nearest(name, names);
}

/*
 * etl_zone_find: see cron.h.  What PostgreSQL also takes, offsets in POSIX
 * notation, is refused: there +2 means two hours behind.
 */
pg_tz *
etl_zone_find(const char *name)
{
	bool		is_offset = strpbrk(name, "+<,") != NULL || strspn(name, "0123456789:.-") == strlen(name);
	pg_tz	   *zone = NULL;
	const char *nearest;

	for (const char *c = name; *c; c++)
		is_offset = is_offset || (*c == '-' && c[1] >= '0' && c[1] <= '9');
	if (!is_offset || strncmp(name, "Etc/", 4) == 0)
		zone = pg_tzset(name);
	if (zone != NULL && pg_tz_acceptable(zone))
		return zone;

	nearest = is_offset ? NULL : nearest_zone(name);
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("\"%s\" is not a time zone", name),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) :
					   errhint("Write a name of the time zone database, such as Europe/Berlin or UTC.")));
	return NULL;
}
