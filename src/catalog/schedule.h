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

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

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
	bool		paused;
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
} EtlSchedule;

extern const char *etl_schedule_store(const EtlSchedule *schedule);
extern EtlSchedule *etl_schedule_find(const char *name);
extern EtlSchedule *etl_schedule_get(const char *name);	/* raises ET002 */
extern List *etl_schedules_all(void);	/* EtlSchedule *, by name */
extern bool etl_schedule_delete(const char *name);

/* Locked rows; those that another process has locked are left to it. */
extern List *etl_schedules_due(TimestampTz now);	/* by time, EtlSchedule * */
extern EtlSchedule *etl_schedule_lock(const char *name);	/* NULL: taken, gone or paused */
extern TimestampTz etl_schedules_next_due(void);	/* DT_NOEND: none */

/* writes anchor, next_due, fire_at and last_due */
extern void etl_schedule_set_state(const EtlSchedule *schedule);
extern void etl_schedule_set_paused(const char *name, bool paused);
extern void etl_schedule_set_days_off(const char *name, List *days, TimestampTz now);

/* ---- slots ---- */

/* false when the slot was dealt with before */
extern bool etl_slot_store(const char *schedule, TimestampTz due_at, const char *status,
						   int64 run_id, const char *reason);
extern void etl_slot_set_run(const char *schedule, TimestampTz due_at, int64 run_id);
/* the newest run of the schedule that is queued or running, 0 when there is none */
extern int64 etl_schedule_active_run(const char *trigger_name);

/* ---- events ---- */

typedef struct EtlEvent
{
	char	   *schedule;
	int			number;
	char	   *kind;			/* file | published | notify | sql */
	char	   *argument;
	Interval   *every;
	char	   *seen;
	TimestampTz happened_at;	/* DT_NOBEGIN: has not */
	TimestampTz check_at;		/* DT_NOBEGIN: nobody has to look */
} EtlEvent;

/* replaces the events of a schedule; what is known of equal ones is kept */
extern void etl_events_store(const char *schedule, List *events);	/* EtlEvent * */
extern List *etl_events_of(const char *schedule);	/* by number */
extern List *etl_events_of_kind(const char *kind);	/* of all that are not paused */
extern List *etl_events_to_check(TimestampTz now);	/* check_at has come */
extern TimestampTz etl_events_next_check(void);	/* DT_NOEND: none */
extern List *etl_events_happened(void);	/* char *: schedules with one */
extern bool etl_event_happened(const char *kind, const char *argument, TimestampTz at);
extern void etl_event_set(const EtlEvent *event);	/* seen, happened_at, check_at */
extern void etl_events_reset(const char *schedule);
/* notes what was published since it was last looked at; true when anything was */
extern bool etl_events_find_published(TimestampTz now);

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
