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

/* ---- events ---- */

typedef struct EtlEvent
{
	char	   *schedule;
	int			number;
	char	   *kind;			/* file | published | notify | sql */
	char	   *argument;
	Interval   *every;
	int64		timeout_ms;		/* how long a look may take; 0: no limit */
	char	   *error;			/* of the last look; NULL: it went well */
	char	   *seen;
	TimestampTz happened_at;	/* DT_NOBEGIN: has not */
	TimestampTz check_at;		/* DT_NOBEGIN: nobody has to look */
} EtlEvent;

/* replaces the events of a schedule; what is known of equal ones is kept */
extern void etl_events_store(const char *schedule, List *events);	/* EtlEvent * */
extern List *etl_events_of(const char *schedule);	/* by number */
extern bool etl_events_lock(const char *schedule);	/* false: another process has them */
extern List *etl_channels(void);	/* char *: what notify events wait for */
extern List *etl_events_to_check(TimestampTz now);	/* check_at has come */
extern List *etl_events_to_look_at(void);	/* those of the kinds sql and file */
extern TimestampTz etl_events_next_check(void);	/* DT_NOEND: none */
extern List *etl_events_happened(void);	/* char *: schedules with one */
extern bool etl_event_happened(const char *kind, const char *argument, TimestampTz at);
/* after etl_event_happened: some of them could not be told, since they are locked */
extern bool etl_event_missed(const char *kind, const char *argument, TimestampTz at);
extern void etl_event_set(const EtlEvent *event);	/* seen, error, check_at, every; happened_at when given */
extern void etl_events_reset(const char *schedule);
/* nothing that happened before now counts, but files that are still to be loaded; NULL: for all schedules */
extern void etl_events_begin_anew(const char *schedule);
/* notes what was published since it was last looked at; true when anything was */
extern bool etl_events_find_published(TimestampTz now);

/* The directory of a file event; path and root as the stream and its source give them. */
typedef struct EtlFileEvent
{
	EtlEvent	event;
	char	   *owner;			/* of the stream */
	char	   *root;			/* may be NULL */
	char	   *path;
} EtlFileEvent;

extern List *etl_file_events(void);	/* of those that are not paused */

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
