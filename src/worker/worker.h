/*-------------------------------------------------------------------------
 *
 * worker.h
 *    Processes: what the files of worker/ share, in memory and in functions.
 *
 * README.md draws the states.  All of this exists only when the library is
 * preloaded; otherwise etl_shared is NULL and nothing here is called.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_WORKER_H
#define ETL_WORKER_H

#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#define ETL_PROBLEM_SIZE 256
#define ETL_MAX_CHORES	 16
#define ETL_MAX_LOOK	 64

/* a worker that was registered and has not come after this time will not come */
#define ETL_START_TIMEOUT_MS 15000

/* what fails is tried again after 1, 2, 4 … seconds */
#define ETL_MAX_BACKOFF_S 30

/* when to ask again for a background worker: nobody tells when one ends */
#define ETL_ASK_AGAIN_MS 5000

/* ---- jobs ---- */

typedef enum EtlJobKind
{
	ETL_JOB_NONE = 0,
	ETL_JOB_LEAD,				/* lead a run */
	ETL_JOB_HELP,				/* help the process that leads it */
	ETL_JOB_DECODE,				/* decode and coerce for a load */
	ETL_JOB_CHORE				/* one of etl_chores[] */
} EtlJobKind;

typedef struct EtlJob
{
	EtlJobKind	kind;
	int64		run_id;			/* LEAD, HELP */
	dsm_handle	board;			/* HELP, DECODE: the segment to attach */
	int			chore;			/* CHORE */
} EtlJob;

/* ---- what is in shared memory: plain values, and pointers into it ---- */

/* Something that went wrong, kept for etl.status(). */
typedef struct EtlProblem
{
	TimestampTz at;				/* 0: nothing */
	char		text[ETL_PROBLEM_SIZE];
} EtlProblem;

typedef struct EtlLauncher
{
	PGPROC	   *proc;			/* NULL: not running */
	int			pid;
	TimestampTz started_at;
	bool		kicked;			/* since it last looked; a latch may be reset by who waits for a lock */
	bool		scan;			/* pg_database may have changed */
	bool		look_at_all;	/* more databases than fit into look[] */
	int			n_look;
	Oid			look[ETL_MAX_LOOK];	/* the extension may have come or gone here */
	EtlProblem	problem;
} EtlLauncher;

typedef enum EtlSchedulerState
{
	ETL_SCHEDULER_FREE = 0,		/* the slot belongs to no database */
	ETL_SCHEDULER_STARTING,		/* registered, or finding out whether it is needed */
	ETL_SCHEDULER_RUNNING,
	ETL_SCHEDULER_ENDED,		/* gone; the launcher has not taken note yet */
	ETL_SCHEDULER_WAITING		/* gone; started again when its back-off is over */
} EtlSchedulerState;

typedef enum EtlEnding
{
	ETL_ENDED_DIED = 0,			/* killed, or an error: started again */
	ETL_ENDED_STOPPED,			/* asked to leave, see stop.c */
	ETL_ENDED_ABSENT			/* the database does not have the extension */
} EtlEnding;

typedef struct EtlScheduler
{
	Oid			database;
	EtlSchedulerState state;
	EtlEnding	ending;
	uint32		generation;		/* tells a late starter that the slot is no longer its own */
	PGPROC	   *proc;
	int			pid;
	TimestampTz since;			/* when it came into this state */
	bool		kicked;			/* since it last looked, as in EtlLauncher */
	bool		stop;			/* leave */
	bool		wake;			/* look at runs and schedules */
	bool		wake_chores;	/* and at chores */
	bool		chore_ended;	/* see chore_due */
	bool		task_died;		/* what it worked on must be reconciled */
	bool		waiting_for_chore;	/* for a place among those that do chores */
	bool		waiting;		/* for a place among the workers */
	TimestampTz waiting_since;
	int			queued;			/* runs that wait */
	bool		mismatch;		/* library and extension differ in version */
	TimestampTz chore_due[ETL_MAX_CHORES];	/* written when a chore ends, then 0 again */
	int			chore_failures[ETL_MAX_CHORES];	/* in a row */
	EtlProblem	problem;
} EtlScheduler;

typedef enum EtlTaskState
{
	ETL_TASK_FREE = 0,
	ETL_TASK_STARTING,			/* registered, with its first job; no process yet */
	ETL_TASK_IDLE,				/* warm, waits for a job */
	ETL_TASK_BUSY,
	ETL_TASK_LEAVING			/* takes no more jobs */
} EtlTaskState;

typedef struct EtlTaskSlot
{
	EtlTaskState state;
	uint32		generation;
	Oid			database;
	bool		for_chores;		/* does not count against etl.max_workers */
	PGPROC	   *proc;
	int			pid;
	TimestampTz since;			/* when it came into this state */
	TimestampTz started_at;
	bool		leave;			/* when idle: another database needs the place */
	EtlJob		job;
	EtlProblem	problem;		/* of its last job */
} EtlTaskSlot;

/* A database that a statement needs for itself until its transaction ends. */
typedef struct EtlHold
{
	Oid			database;
	int			pid;			/* of the session */
} EtlHold;

typedef struct EtlShared
{
	LWLock	   *lock;			/* protects all of this; never held across anything that can fail */
	ConditionVariable left;		/* broadcast when a slot becomes free of its process */
	EtlLauncher launcher;
	int			n_slots;		/* of each array */
	int			max_holds;
	int			n_holds;
	EtlScheduler *schedulers;
	EtlTaskSlot *tasks;
	EtlHold    *holds;
} EtlShared;

extern EtlShared *etl_shared;

/* ---- shmem.c ---- */

extern void etl_worker_install(void);	/* from _PG_init, while the server preloads */
extern EtlScheduler *etl_shared_scheduler(Oid database);	/* lock held; NULL: none */
extern bool etl_shared_is_held(Oid database);	/* lock held */
extern void etl_launcher_kick(void);	/* lock held: have it look */
extern void etl_scheduler_kick(EtlScheduler *scheduler);	/* lock held; NULL: nothing */
extern void etl_problem_set(EtlProblem *problem, const char *text);	/* takes the lock */

/* ---- process.c: what the three kinds of process have in common ---- */

/* which slot a worker was started for; travels in bgw_extra */
typedef struct EtlStart
{
	int			slot;
	uint32		generation;
	Oid			database;
} EtlStart;

extern void etl_process_begin(void);
extern void etl_process_read_start(EtlStart *start);
extern void etl_process_settings(void);
extern void etl_process_reload(void);
extern void etl_process_recover(bool report);
extern TimestampTz etl_process_due(TimestampTz due);
extern bool etl_process_register(const char *type, const char *function, const EtlStart *start);

/* ---- launcher.c ---- */

extern void etl_launcher_register(void);
/* the extension or the database may have come or gone; InvalidOid: look at pg_database only */
extern void etl_launcher_tell(Oid database);
extern PGDLLEXPORT void etl_launcher_main(Datum arg);

/* ---- scheduler.c ---- */

extern PGDLLEXPORT void etl_scheduler_main(Datum arg);

/* ---- handout.c ---- */

/* gives queued runs to workers, until there is no more place; returns when to try again */
extern TimestampTz etl_hand_out_runs(EtlScheduler *scheduler);

/* ---- pool.c: who does which job ---- */

typedef enum EtlAssignment
{
	ETL_ASSIGNED,
	ETL_ALL_BUSY,				/* etl.max_workers are at work */
	ETL_NO_PROCESS,				/* max_worker_processes are in use */
	ETL_HELD					/* the database is being dropped, renamed, copied */
} EtlAssignment;

/*
 * etl_pool_assign gives a job of a database to an idle worker, or to a new
 * one.  When it cannot, the database's scheduler is woken when it may again.
 */
extern EtlAssignment etl_pool_assign(Oid database, const EtlJob *job);
extern int etl_pool_request_help(int64 run_id, dsm_handle board, int wanted);
extern bool etl_pool_request_decoder(dsm_handle segment);
extern bool etl_pool_is_led(Oid database, int64 run_id);
extern bool etl_pool_is_doing(Oid database, int chore);
extern void etl_pool_chore_ended(const EtlTaskSlot *slot, TimestampTz due);	/* lock held; 0: failed */
extern void etl_pool_collect(Oid database);	/* frees slots whose process never came */
extern void etl_pool_make_place(void);	/* asks an idle worker to leave, as processes have run out */
extern void etl_pool_place_is_free(void);	/* lock held: wakes the schedulers that wait for one */

/* ---- task.c ---- */

extern PGDLLEXPORT void etl_task_main(Datum arg);
extern char *etl_job_describe(const EtlJob *job);

/* ---- tell.c: alerts about processes, in a step of the scheduler ---- */

extern void etl_tell_no_process(int queued);
extern void etl_tell_process_again(void);
extern void etl_tell_shortage(int queued, TimestampTz since);
extern void etl_tell_enough_workers(void);

/* ---- stop.c ---- */

/*
 * etl_stop_database ends the workers of a database, waits for them for at
 * most five seconds, and lets none start there until the caller's
 * transaction has ended.
 */
extern void etl_stop_database(Oid database);
extern bool etl_stop_is_needed(Oid database);

/* ---- utility.c ---- */

extern void etl_utility_install(void);

#endif							/* ETL_WORKER_H */
