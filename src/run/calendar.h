/*-------------------------------------------------------------------------
 *
 * calendar.h
 *    The moments at which a schedule is due.
 *
 * Called by schedule.c and define_schedule.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_CALENDAR_H
#define ETL_RUN_CALENDAR_H

#include "catalog/schedule.h"
#include "etl_connector.h"
#include "run/cron.h"

/* A span of time in which a schedule is not due. */
typedef struct EtlBlackout
{
	bool		daily;			/* from a time of the day to another, on some weekdays */
	TimestampTz since;			/* not daily */
	TimestampTz until;
	int64		from;			/* daily: microseconds since midnight */
	int64		to;				/* less than 'from': on the next day */
	uint64		weekdays;		/* those on which it begins */
} EtlBlackout;

/* A schedule, read once. */
typedef struct EtlTiming
{
	const EtlSchedule *schedule;
	pg_tz	   *zone;
	bool		by_cron;
	EtlCron		cron;
	TimestampTz start;			/* DT_NOBEGIN, DT_NOEND: unbounded */
	TimestampTz end;
	int64		jitter;			/* microseconds, as the grace */
	int64		grace;			/* later than this is missed */
	List	   *blackouts;		/* EtlBlackout * */
	uint64		weekend;		/* weekdays off */
	char	   *calendar;		/* relation that holds the days off; NULL: none */
	List	   *days_off;		/* of int: DateADT */
} EtlTiming;

extern const EtlOptionDef etl_schedule_options[];
extern const EtlOptionDef etl_blackout_options[];

/* raises ET001 for what cannot be read, naming it */
extern EtlTiming *etl_timing_make(const EtlSchedule *schedule);
extern bool etl_timing_has_slots(const EtlTiming *timing);	/* cron or every was given */
/* the first slot after 'after', DT_NOEND when there is none */
extern TimestampTz etl_timing_next(const EtlTiming *timing, TimestampTz after);
/* when a slot is started: later by its jitter, always the same */
extern TimestampTz etl_timing_fire_at(const EtlTiming *timing, TimestampTz slot);

#endif							/* ETL_RUN_CALENDAR_H */
