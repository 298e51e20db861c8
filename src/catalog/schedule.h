/*-------------------------------------------------------------------------
 *
 * schedule.h
 *    Schedules, their slots and events, and which database this state is of.
 *
 * Called by run/.  What became of a slot is written in the transaction that
 * queues its run; the row of a schedule is locked before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_SCHEDULE_H
#define ETL_CATALOG_SCHEDULE_H

#include "catalog/definition.h"

typedef struct EtlSchedule
{
	char	   *name;
	char	   *selector;
	char	   *cron;			/* cron, every, on_event: NULL when not given */
	Interval   *every;
	Jsonb	   *on_event;
	char	   *timezone;
	char	   *overlap;		/* skip | queue | parallel */
	char	   *misfire;		/* skip | once | all */
	Jsonb	   *params;
	Jsonb	   *options;
	bool		paused_defined; /* what the definition says */
	bool		paused;			/* what holds */
	char	   *description;
	Jsonb	   *settings;
	char	   *owner;
	int			version;
	bool		is_stream;		/* not defined: a stream with delivery: stream, by its name */

	/* state; DT_NOBEGIN where there is none */
	TimestampTz anchor;
	TimestampTz next_due;
	TimestampTz fire_at;
	TimestampTz last_due;
	List	   *days_off;		/* of int: DateADT */
	char	   *problem;
} EtlSchedule;

extern const char *etl_schedule_store(const EtlSchedule *schedule);
extern EtlSchedule *etl_schedule_find(const char *name);
extern EtlSchedule *etl_schedule_get(const char *name);	/* raises ET002 */
extern List *etl_schedules_all(void);	/* EtlSchedule *, by name */
extern bool etl_schedule_delete(const char *name);

/* Locked rows; those that another process has locked are left to it. */
extern List *etl_schedules_due(TimestampTz now);	/* by time, EtlSchedule * */
extern TimestampTz etl_schedules_next_due(void);	/* DT_NOEND: none */

/* why a schedule cannot be evaluated; NULL: it can.  What begins so is about its calendar. */
#define ETL_CALENDAR_PROBLEM "calendar: "
extern void etl_schedule_set_problem(const char *name, const char *problem);
/* writes anchor, next_due, fire_at, last_due and problem */
extern void etl_schedule_set_state(const EtlSchedule *schedule);
extern void etl_schedule_set_paused(const char *name, bool paused);
extern void etl_schedule_set_days_off(const char *name, List *days, TimestampTz now);

/* schedules that have read a calendar from a relation, and when the oldest was read */
extern List *etl_schedules_with_calendar(void);
extern TimestampTz etl_calendars_oldest(void);	/* DT_NOEND: none */

/* ---- slots ---- */

/* false when the slot was dealt with before */
extern bool etl_slot_store(const char *schedule, TimestampTz due_at, const char *status,
						   int64 run_id, const char *reason);
extern void etl_slot_set_run(const char *schedule, TimestampTz due_at, int64 run_id);
/* the newest run of the schedule that is queued or running, 0 when there is none */
extern int64 etl_schedule_active_run(const char *trigger_name);
extern int etl_schedule_waiting_runs(const char *trigger_name);

/* ---- streams with delivery: stream, which runs follow as files arrive ---- */

extern bool etl_stream_is_delivered(const EtlStream *stream);
/* makes or removes the event of a stream, as it is defined; NULL contract: removes */
extern void etl_stream_store_event(const char *target, const Jsonb *contract);
/* the name under which its event stands, and back (NULL: it is a schedule's) */
extern char *etl_stream_schedule_name(const char *target);
extern const char *etl_stream_of_schedule(const char *name);

/* ---- instance ---- */

typedef enum EtlInstance
{
	ETL_INSTANCE_UNKNOWN,		/* nothing was ever scheduled */
	ETL_INSTANCE_OURS,
	ETL_INSTANCE_PAUSED,		/* by etl.pause() */
	ETL_INSTANCE_FOREIGN		/* restored, or copied: paused until etl.resume() */
} EtlInstance;

extern EtlInstance etl_instance_state(void);
extern void etl_instance_claim(void);	/* when it is unknown: it is this database */
extern void etl_instance_set(bool paused);	/* it is this database, whatever was there */

#endif							/* ETL_CATALOG_SCHEDULE_H */
