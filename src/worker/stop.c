/*-------------------------------------------------------------------------
 *
 * stop.c
 *    Keeping workers out of a database while a statement needs it alone.
 *
 * DROP, RENAME, SET TABLESPACE and a copy fail while another process is
 * connected, and before PostgreSQL 19 nothing of the server ends background
 * workers for them.  The statement's session puts a hold on the database
 * and ends its workers; whoever wants to start one looks for holds under
 * the same lock.  The holds of a session end with its transaction, however
 * that ends, and the launcher then looks at the database again.
 *
 * What a stopped worker was doing is reconciled as after its death.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "worker/worker.h"

#define STOP_WITHIN_MS 5000
/* a scheduler leaves by itself; one that waits for a lock has to be told */
#define POLITE_FOR_MS  1000

/*
 * release_holds ends this session's holds with its transaction.
 */
static void
release_holds(XactEvent event, void *arg)
{
	Oid			released[ETL_MAX_LOOK];
	int			n = 0;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	for (int i = etl_shared->n_holds - 1; i >= 0; i--)
	{
		EtlHold    *hold = &etl_shared->holds[i];

		if (hold->pid != MyProcPid)
			continue;
		if (n < ETL_MAX_LOOK)
			released[n++] = hold->database;
		*hold = etl_shared->holds[--etl_shared->n_holds];
	}
	LWLockRelease(etl_shared->lock);

	for (int i = 0; i < n; i++)
		etl_launcher_tell(released[i]);
}

/*
 * put_hold notes that this session needs the database.
 */
static void
put_hold(Oid database)
{
	static bool registered = false;
	bool		full;

	if (!registered)
		RegisterXactCallback(release_holds, NULL);
	registered = true;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	full = etl_shared->n_holds == etl_shared->max_holds;
	if (!full)
	{
		etl_shared->holds[etl_shared->n_holds].database = database;
		etl_shared->holds[etl_shared->n_holds].pid = MyProcPid;
		etl_shared->n_holds++;
	}
	LWLockRelease(etl_shared->lock);
	if (full)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases are dropped, renamed or copied at the same time")));
}

/*
 * tell_to_leave tells the workers of a database to end and returns how many
 * are still there.
 */
static int
tell_to_leave(Oid database, bool first, bool politely)
{
	EtlScheduler *scheduler;
	int			n = 0;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	scheduler = etl_shared_scheduler(database);
	if (scheduler != NULL &&
		(scheduler->pid != 0 || scheduler->state == ETL_SCHEDULER_STARTING))
	{
		n++;
		scheduler->stop = true;
		etl_scheduler_kick(scheduler);
		if (!politely && scheduler->pid != 0)
			kill(scheduler->pid, SIGTERM);
	}
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		if (slot->state == ETL_TASK_FREE || slot->database != database)
			continue;
		n++;
		slot->leave = true;
		if (slot->pid == 0)
			continue;
		if (slot->state == ETL_TASK_BUSY && (first || !politely))
			kill(slot->pid, SIGTERM);
		else
			SetLatch(&slot->proc->procLatch);
	}
	LWLockRelease(etl_shared->lock);
	return n;
}

/*
 * etl_stop_is_needed tells whether a database has workers at all.
 */
bool
etl_stop_is_needed(Oid database)
{
	EtlScheduler *scheduler;
	bool		needed;

	LWLockAcquire(etl_shared->lock, LW_SHARED);
	scheduler = etl_shared_scheduler(database);
	needed = scheduler != NULL && scheduler->state != ETL_SCHEDULER_FREE;
	for (int i = 0; i < etl_shared->n_slots && !needed; i++)
		needed = etl_shared->tasks[i].state != ETL_TASK_FREE &&
				 etl_shared->tasks[i].database == database;
	LWLockRelease(etl_shared->lock);
	return needed;
}

/*
 * etl_stop_database: see worker.h.
 */
void
etl_stop_database(Oid database)
{
	TimestampTz begin = GetCurrentTimestamp();
	bool		first = true;
	bool		politely = true;

	put_hold(database);
	ConditionVariablePrepareToSleep(&etl_shared->left);
	while (tell_to_leave(database, first, politely) > 0)
	{
		TimestampTz now = GetCurrentTimestamp();

		first = false;
		politely = !TimestampDifferenceExceeds(begin, now, POLITE_FOR_MS);
		if (TimestampDifferenceExceeds(begin, now, STOP_WITHIN_MS))
		{
			ereport(WARNING,
					(errmsg("etl workers in database %u have not ended within %d s", database,
							STOP_WITHIN_MS / 1000),
					 errhint("SELECT * FROM etl.status() in that database shows what they do.")));
			break;
		}
		(void) ConditionVariableTimedSleep(&etl_shared->left, 250, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}
