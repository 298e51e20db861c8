/*-------------------------------------------------------------------------
 *
 * cron.h
 *    Cron expressions: reading them, and when they come next in a zone.
 *
 * Called by schedule.c and calendar.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_CRON_H
#define ETL_RUN_CRON_H

#include "pgtime.h"
#include "utils/timestamp.h"

typedef struct EtlCron
{
	uint64		seconds;		/* bit n: second n, and so on */
	uint64		minutes;
	uint64		hours;
	uint64		days;			/* of the month, from bit 1 */
	uint64		months;			/* from bit 1 */
	uint64		weekdays;		/* bit 0: Sunday */

	uint64		days_before_end;	/* L: bit 0, L-3: bit 3 */
	uint64		days_nearest;	/* 15W: bit 15: the weekday (mon-fri) nearest to the 15th */
	bool		last_workday;	/* LW */
	uint64		weekdays_last;	/* 5L: bit 5 */
	uint64		weekdays_nth[7];	/* 5#2: bit 2 of element 5 */

	bool		any_day;		/* day of month starts with *, or is ? */
	bool		any_weekday;	/* the same for the day of week */
	bool		every_hour;		/* runs by elapsed time where the clock is put back */
} EtlCron;

/* raises ET001 naming field and character; also for what never comes */
extern void etl_cron_parse(const char *text, EtlCron *cron);

/* reads weekdays alone, "mon-fri" or "sat,sun", as bits from Sunday on; raises ET001 */
extern uint64 etl_cron_weekdays(const char *text);

/*
 * etl_cron_next returns the first instant after 'after', DT_NOEND when there
 * is none.  A local time that a change of the clock leaves out stands for the
 * first instant after the gap; one that comes twice counts the first time.
 * Only where every hour is meant each hour that passes counts.
 */
extern TimestampTz etl_cron_next(const EtlCron *cron, const pg_tz *zone, TimestampTz after);

/* the first wall after 'wall' (seconds of the zone's own 1970) that is meant, or ETL_CRON_NEVER */
#define ETL_CRON_NEVER PG_INT64_MAX
extern int64 etl_cron_next_wall(const EtlCron *cron, int64 wall);

/* raises ET001 for what is no zone of the time zone database */
extern pg_tz *etl_zone_find(const char *name);

/* the first instant at which clocks in 'zone' show 'wall', or later */
extern TimestampTz etl_zone_instant(const pg_tz *zone, Timestamp wall);
extern Timestamp etl_zone_wall(const pg_tz *zone, TimestampTz instant);

#endif							/* ETL_RUN_CRON_H */
