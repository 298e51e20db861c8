/*-------------------------------------------------------------------------
 *
 * pool.c
 *    Who does which job: idle workers, new ones, and none.
 *
 * Workers for runs are counted over all databases and number at most
 * etl.max_workers.  Those for chores are beside them, so that a run never
 * waits for a webhook that does not answer.
 *
 * Who finds no place is marked as waiting and woken when one becomes free.
 * A database that waits and has no worker at all comes before the others:
 * one that always has work cannot keep it out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "worker/worker.h"

/* so many workers of one database do chores */
#define CHORE_WORKERS 2

/*
 * count_workers counts the slots in use of one kind; the lock is held.
 * Workers for chores are counted in one database, others over all of them
 * unless a database is given.
 */
static int
count_workers(Oid database, bool for_chores)
{
	int			n = 0;

	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		if (slot->state != ETL_TASK_FREE && slot->for_chores == for_chores &&
			(!OidIsValid(database) || slot->database == database))
			n++;
	}
	return n;
}

/*
 * count_before counts the databases that wait without having a worker and
 * come before this one; the lock is held.
 */
static int
count_before(Oid database)
{
	EtlScheduler *mine = etl_shared_scheduler(database);
	bool		have_worker = count_workers(database, false) > 0;
	int			n = 0;

	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlScheduler *other = &etl_shared->schedulers[i];

		if (other->state != ETL_SCHEDULER_RUNNING || !other->waiting ||
			other->database == database || count_workers(other->database, false) > 0)
			continue;
		if (have_worker || mine == NULL || !mine->waiting ||
			other->waiting_since < mine->waiting_since)
			n++;
	}
	return n;
}

/*
 * find_idle finds a warm worker of a database; the lock is held.
 */
static EtlTaskSlot *
find_idle(Oid database, bool for_chores)
{
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		if (slot->state == ETL_TASK_IDLE && !slot->leave && slot->database == database &&
			slot->for_chores == for_chores)
			return slot;
	}
	return NULL;
}

/*
 * find_free finds a slot for a new worker, NULL when there may be none; the
 * lock is held.
 */
static EtlTaskSlot *
find_free(Oid database, bool for_chores)
{
	if (for_chores && count_workers(database, true) >= CHORE_WORKERS)
		return NULL;
	if (!for_chores &&
		etl_max_workers - count_workers(InvalidOid, false) <= count_before(database))
		return NULL;
	for (int i = 0; i < etl_shared->n_slots; i++)
		if (etl_shared->tasks[i].state == ETL_TASK_FREE)
			return &etl_shared->tasks[i];
	return NULL;
}

/*
 * ask_to_leave asks an idle worker to make place: one of another database,
 * or any when processes have run out; the lock is held.
 */
static void
ask_to_leave(Oid database, bool any)
{
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		if (slot->state != ETL_TASK_IDLE || slot->leave ||
			(!any && (slot->database == database || slot->for_chores)))
			continue;
		slot->leave = true;
		SetLatch(&slot->proc->procLatch);
		return;
	}
}

/*
 * etl_pool_make_place asks an idle worker to leave, so that there is a
 * process for what is more urgent.
 */
void
etl_pool_make_place(void)
{
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	ask_to_leave(InvalidOid, true);
	LWLockRelease(etl_shared->lock);
}

/*
 * wait_for_place marks a database as waiting for a place for a job; the lock
 * is held.  Who asks for help does not wait: it works alone.
 */
static void
wait_for_place(Oid database, const EtlJob *job)
{
	EtlScheduler *scheduler = etl_shared_scheduler(database);

	if (scheduler == NULL || job->kind == ETL_JOB_HELP || job->kind == ETL_JOB_DECODE)
		return;
	if (job->kind == ETL_JOB_CHORE)
	{
		scheduler->waiting_for_chore = true;
		return;
	}
	if (scheduler->waiting)
		return;
	scheduler->waiting = true;
	scheduler->waiting_since = GetCurrentTimestamp();
}

/*
 * etl_pool_place_is_free wakes the schedulers that wait; the lock is held.
 */
void
etl_pool_place_is_free(void)
{
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlScheduler *scheduler = &etl_shared->schedulers[i];

		if (scheduler->state != ETL_SCHEDULER_RUNNING ||
			!(scheduler->waiting || scheduler->waiting_for_chore))
			continue;
		scheduler->wake = true;
		scheduler->wake_chores = scheduler->wake_chores || scheduler->waiting_for_chore;
		scheduler->waiting_for_chore = false;
		etl_scheduler_kick(scheduler);
	}
}

/*
 * hand_over finds a slot for a job and puts it there; the lock is held.  A
 * slot that is STARTING then still needs its process.
 */
static EtlAssignment
hand_over(Oid database, const EtlJob *job, EtlTaskSlot **chosen)
{
	bool		for_chores = job->kind == ETL_JOB_CHORE;
	TimestampTz now = GetCurrentTimestamp();
	EtlTaskSlot *slot;
	uint32		generation;

	if (etl_shared_is_held(database))
		return ETL_HELD;

	slot = find_idle(database, for_chores);
	if (slot != NULL)
	{
		slot->state = ETL_TASK_BUSY;
		slot->since = now;
		slot->job = *job;
		SetLatch(&slot->proc->procLatch);
		*chosen = slot;
		return ETL_ASSIGNED;
	}

	slot = find_free(database, for_chores);
	if (slot == NULL)
	{
		ask_to_leave(database, false);
		wait_for_place(database, job);
		return ETL_ALL_BUSY;
	}
	generation = slot->generation + 1;
	memset(slot, 0, sizeof(EtlTaskSlot));
	slot->state = ETL_TASK_STARTING;
	slot->generation = generation;
	slot->database = database;
	slot->for_chores = for_chores;
	slot->since = slot->started_at = now;
	slot->job = *job;
	*chosen = slot;
	return ETL_ASSIGNED;
}

/*
 * etl_pool_assign: see worker.h.
 */
EtlAssignment
etl_pool_assign(Oid database, const EtlJob *job)
{
	EtlTaskSlot *slot = NULL;
	EtlStart	start = {0};
	EtlAssignment assignment;
	bool		is_new;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	assignment = hand_over(database, job, &slot);
	is_new = assignment == ETL_ASSIGNED && slot->state == ETL_TASK_STARTING;
	if (is_new)
	{
		start.slot = slot - etl_shared->tasks;
		start.generation = slot->generation;
		start.database = database;
	}
	LWLockRelease(etl_shared->lock);

	if (!is_new || etl_process_register("etl task", "etl_task_main", &start))
		return assignment;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	slot->state = ETL_TASK_FREE;
	ask_to_leave(database, true);
	wait_for_place(database, job);
	LWLockRelease(etl_shared->lock);
	return ETL_NO_PROCESS;
}

/*
 * etl_pool_request_help asks for helpers of a run led by this process, and
 * returns how many come.
 */
int
etl_pool_request_help(int64 run_id, dsm_handle board, int wanted)
{
	EtlJob		job = {.kind = ETL_JOB_HELP, .run_id = run_id, .board = board};
	int			n = 0;

	while (n < wanted && etl_pool_assign(MyDatabaseId, &job) == ETL_ASSIGNED)
		n++;
	return n;
}

/*
 * etl_pool_request_decoder asks for a helper of a load; false when none comes.
 */
bool
etl_pool_request_decoder(dsm_handle segment)
{
	EtlJob		job = {.kind = ETL_JOB_DECODE, .board = segment};

	return etl_pool_assign(MyDatabaseId, &job) == ETL_ASSIGNED;
}

/*
 * is_doing tells whether a worker of a database has a job.
 */
static bool
is_doing(Oid database, EtlJobKind kind, int64 run_id, int chore)
{
	bool		found = false;

	LWLockAcquire(etl_shared->lock, LW_SHARED);
	for (int i = 0; i < etl_shared->n_slots && !found; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		found = (slot->state == ETL_TASK_BUSY || slot->state == ETL_TASK_STARTING) &&
				slot->database == database && slot->job.kind == kind &&
				slot->job.run_id == run_id && slot->job.chore == chore;
	}
	LWLockRelease(etl_shared->lock);
	return found;
}

/*
 * etl_pool_is_led tells whether a worker leads a run, or is about to.
 */
bool
etl_pool_is_led(Oid database, int64 run_id)
{
	return is_doing(database, ETL_JOB_LEAD, run_id, 0);
}

/*
 * etl_pool_is_doing tells whether a worker does a chore, or is about to.
 */
bool
etl_pool_is_doing(Oid database, int chore)
{
	return is_doing(database, ETL_JOB_CHORE, 0, chore);
}

/*
 * etl_pool_chore_ended tells the scheduler that a worker is done with its
 * chore, and when it is due again, or that it has failed; the lock is held.
 */
void
etl_pool_chore_ended(const EtlTaskSlot *slot, TimestampTz due)
{
	EtlScheduler *scheduler = etl_shared_scheduler(slot->database);
	int			chore = slot->job.chore;

	if (scheduler == NULL)
		return;
	if (due != 0)
		scheduler->chore_failures[chore] = 0;
	else
		due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										  Min(300000L, 2000L << Min(scheduler->chore_failures[chore]++, 10)));
	scheduler->chore_due[chore] = due;
	scheduler->chore_ended = true;
	etl_scheduler_kick(scheduler);
}

/*
 * etl_pool_collect frees the slots of a database whose process never came:
 * the postmaster could not fork.
 */
void
etl_pool_collect(Oid database)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		if (slot->state != ETL_TASK_STARTING || slot->database != database || slot->pid != 0 ||
			!TimestampDifferenceExceeds(slot->since, now, ETL_START_TIMEOUT_MS))
			continue;
		slot->state = ETL_TASK_FREE;
		slot->generation++;
		ConditionVariableBroadcast(&etl_shared->left);
		etl_pool_place_is_free();
	}
	LWLockRelease(etl_shared->lock);
}
