/*-------------------------------------------------------------------------
 *
 * task.c
 *    A worker: it does one job after the other in one database.
 *
 * It is connected without a role, since the owners of definitions often
 * cannot log in; run/ becomes the owner where user SQL is run.  It comes
 * with its first job, stays warm for a minute after its last one, and holds
 * neither a transaction nor a lock between two of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "catalog/extension.h"
#include "common/clock.h"
#include "load/load.h"
#include "run/chores.h"
#include "run/lead.h"
#include "worker/worker.h"

#define STAY_WARM_MS 60000
/* a process that has done so much, or grown so large, is replaced by a new one */
#define MAX_JOBS	 1000
#define MAX_MEMORY	 (64 * 1024 * 1024)

static EtlTaskSlot *my_slot = NULL;
static uint32 my_generation;
static TimestampTz chore_due;	/* of the chore that was done; 0: it failed */

/*
 * leave frees the slot; an exit callback.  A job that it was at is left to
 * the scheduler to look after.
 */
static void
leave(int code, Datum arg)
{
	EtlScheduler *scheduler;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	if (my_slot->generation == my_generation)
	{
		scheduler = etl_shared_scheduler(my_slot->database);
		if (my_slot->state == ETL_TASK_BUSY && scheduler != NULL)
		{
			scheduler->task_died = true;
			scheduler->wake = true;
			if (my_slot->job.kind == ETL_JOB_CHORE)
				etl_pool_chore_ended(my_slot, 0);
			etl_scheduler_kick(scheduler);
		}
		my_slot->state = ETL_TASK_FREE;
		my_slot->proc = NULL;
		my_slot->pid = 0;
		etl_pool_place_is_free();
	}
	LWLockRelease(etl_shared->lock);
	ConditionVariableBroadcast(&etl_shared->left);
}

/*
 * take_place makes the process known in the slot it was started for; one
 * that comes too late, or is not wanted any more, leaves.
 */
static void
take_place(const EtlStart *start)
{
	EtlTaskSlot *slot = &etl_shared->tasks[start->slot];
	bool		wanted;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	wanted = slot->generation == start->generation && slot->state == ETL_TASK_STARTING;
	if (wanted)
	{
		slot->proc = MyProc;
		slot->pid = MyProcPid;
		my_slot = slot;
		my_generation = slot->generation;
		slot->state = ETL_TASK_BUSY;
		slot->since = GetCurrentTimestamp();
		/* late, when the process has left the proc array, but can still take a lock */
		on_shmem_exit(leave, 0);
		wanted = !slot->leave;
	}
	LWLockRelease(etl_shared->lock);
	if (!wanted)
		proc_exit(0);
}

/*
 * etl_job_describe says in words what a job is.
 */
char *
etl_job_describe(const EtlJob *job)
{
	switch (job->kind)
	{
		case ETL_JOB_LEAD:
			return psprintf("leads run %lld", (long long) job->run_id);
		case ETL_JOB_HELP:
			return psprintf("helps run %lld", (long long) job->run_id);
		case ETL_JOB_DECODE:
			return pstrdup("decodes for a load");
		default:
			return psprintf("does %s", etl_chores[job->chore].name);
	}
}

/*
 * is_possible makes sure that the extension has not been dropped or updated
 * since the job was given.
 */
static bool
is_possible(void)
{
	EtlExtension extension;

	StartTransactionCommand();
	extension = etl_extension_lock(NULL);
	CommitTransactionCommand();
	return extension == ETL_EXTENSION_PRESENT;
}

/*
 * do_chore does a chore and returns when it is due again by the real clock.
 */
static TimestampTz
do_chore(int chore)
{
	EtlRunDriver driver = {0};
	TimestampTz due;

	etl_driver_begin_worker(&driver);
	due = etl_chore_run(chore, NULL, &driver, etl_now());
	etl_driver_end(&driver);
	return etl_process_due(due);
}

/*
 * work does a job.
 */
static void
work(const EtlJob *job)
{
	char	   *what = etl_job_describe(job);

	SetCurrentStatementStartTimestamp();
	pgstat_report_appname(what);
	pgstat_report_activity(STATE_RUNNING, what);
	chore_due = 0;
	if (!is_possible())
		return;
	switch (job->kind)
	{
		case ETL_JOB_LEAD:
			etl_run_lead(job->run_id);
			break;
		case ETL_JOB_HELP:
			etl_run_help(job->run_id, job->board);
			break;
		case ETL_JOB_DECODE:
			etl_team_help(job->board);
			break;
		case ETL_JOB_CHORE:
			chore_due = do_chore(job->chore);
			break;
		default:
			break;
	}
	if (IsTransactionState())
		elog(ERROR, "a job has left its transaction open");
}

/*
 * note_error keeps an error's message for etl.status().
 */
static void
note_error(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	etl_problem_set(&my_slot->problem, error->message);
}

/*
 * do_job does a job and survives its errors.  Returns whether it went well.
 */
static bool
do_job(const EtlJob *job, MemoryContext context)
{
	volatile bool well = true;

	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(job);
	}
	PG_CATCH();
	{
		well = false;
		note_error(context);
		etl_process_recover(true);
	}
	PG_END_TRY();

	/* what SQL of a model has locked for its session, or wished to cancel, ends with the job */
	LockReleaseSession(USER_LOCKMETHOD);
	MemoryContextSwitchTo(context);
	MemoryContextReset(context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return well;
}

/*
 * finish says that the job is done.  Returns whether the process may stay.
 */
static bool
finish(bool well, bool tired)
{
	EtlScheduler *scheduler;
	bool		stay;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	scheduler = etl_shared_scheduler(my_slot->database);
	if (scheduler != NULL && !well)
	{
		scheduler->task_died = true;
		scheduler->wake = true;
		etl_scheduler_kick(scheduler);
	}
	if (my_slot->job.kind == ETL_JOB_CHORE)
		etl_pool_chore_ended(my_slot, chore_due);
	memset(&my_slot->job, 0, sizeof(EtlJob));
	my_slot->since = GetCurrentTimestamp();
	stay = !my_slot->leave && !tired;
	my_slot->state = stay ? ETL_TASK_IDLE : ETL_TASK_LEAVING;
	if (stay)
		etl_pool_place_is_free();
	LWLockRelease(etl_shared->lock);
	return stay;
}

/*
 * has_job waits for a job; false when the process shall leave instead.
 */
static bool
has_job(void)
{
	for (;;)
	{
		TimestampTz now;
		bool		busy;
		long		wait_ms = 0;

		ResetLatch(MyLatch);
		/* a cancel that came late meant the job before */
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		etl_process_reload();
		now = GetCurrentTimestamp();

		LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
		busy = my_slot->state == ETL_TASK_BUSY;
		if (!busy)
		{
			wait_ms = STAY_WARM_MS - TimestampDifferenceMilliseconds(my_slot->since, now);
			if (my_slot->leave || wait_ms <= 0)
				my_slot->state = ETL_TASK_LEAVING;
		}
		LWLockRelease(etl_shared->lock);
		if (busy)
			return true;
		if (my_slot->state == ETL_TASK_LEAVING)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait_ms + 1,
						 PG_WAIT_EXTENSION);
	}
}

/*
 * etl_task_main is the worker.
 */
void
etl_task_main(Datum arg)
{
	EtlStart	start;
	MemoryContext context;
	bool		well;
	bool		tired;

	etl_process_begin();
	etl_process_read_start(&start);
	take_place(&start);
	BackgroundWorkerInitializeConnectionByOid(start.database, InvalidOid, 0);
	etl_process_settings();
	context = AllocSetContextCreate(TopMemoryContext, "etl job", ALLOCSET_DEFAULT_SIZES);

	for (int jobs = 0; has_job(); jobs++)
	{
		EtlJob		job = my_slot->job;

		well = do_job(&job, context);
		tired = jobs >= MAX_JOBS || MemoryContextMemAllocated(TopMemoryContext, true) > MAX_MEMORY;
		if (!finish(well, tired))
			break;
	}
	proc_exit(0);
}
