/*-------------------------------------------------------------------------
 *
 * shmem.c
 *    The shared memory of the workers, and the hooks that make it.
 *
 * It holds plain values and pointers to PGPROCs, which are in shared memory
 * themselves.  A process that dies in an orderly way clears its slot in its
 * exit callback; after any other death the postmaster makes the shared
 * memory anew.  So a slot never outlives its process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "common/progress.h"
#include "common/wake.h"
#include "load/load.h"
#include "run/lead.h"
#include "worker/worker.h"

EtlShared  *etl_shared = NULL;

static const EtlHelperService helper_service = {.request = etl_pool_request_help};
static const EtlTeamService team_service = {.request = etl_pool_request_decoder};
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

/*
 * shared_size computes how much is needed; both limits are known when the
 * request hook is called.
 */
static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(EtlShared));

	size = add_size(size, MAXALIGN(mul_size(max_worker_processes, sizeof(EtlScheduler))));
	size = add_size(size, MAXALIGN(mul_size(max_worker_processes, sizeof(EtlTaskSlot))));
	return add_size(size, MAXALIGN(mul_size(MaxBackends, sizeof(EtlHold))));
}

/*
 * request reserves the memory and the lock.
 */
static void
request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(add_size(shared_size(), etl_progress_shmem_size()));
	RequestNamedLWLockTranche("etl", 1);
}

/*
 * startup makes the memory, or finds it; again after every crash.
 */
static void
startup(void)
{
	bool		found;
	char	   *place;

	if (previous_startup)
		previous_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	etl_shared = ShmemInitStruct("etl", shared_size(), &found);
	if (!found)
	{
		memset(etl_shared, 0, shared_size());
		etl_shared->lock = &GetNamedLWLockTranche("etl")->lock;
		ConditionVariableInit(&etl_shared->left);
		etl_shared->n_slots = max_worker_processes;
		etl_shared->max_holds = MaxBackends;

		place = (char *) etl_shared + MAXALIGN(sizeof(EtlShared));
		etl_shared->schedulers = (EtlScheduler *) place;
		place += MAXALIGN(max_worker_processes * sizeof(EtlScheduler));
		etl_shared->tasks = (EtlTaskSlot *) place;
		place += MAXALIGN(max_worker_processes * sizeof(EtlTaskSlot));
		etl_shared->holds = (EtlHold *) place;
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * etl_shared_scheduler finds the slot of a database; the lock is held.
 */
EtlScheduler *
etl_shared_scheduler(Oid database)
{
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlScheduler *scheduler = &etl_shared->schedulers[i];

		if (scheduler->state != ETL_SCHEDULER_FREE && scheduler->database == database)
			return scheduler;
	}
	return NULL;
}

/*
 * etl_shared_is_held tells whether a statement keeps workers out of a
 * database; the lock is held.
 */
bool
etl_shared_is_held(Oid database)
{
	for (int i = 0; i < etl_shared->n_holds; i++)
		if (etl_shared->holds[i].database == database)
			return true;
	return false;
}

/*
 * etl_launcher_kick has the launcher look at shared memory; the lock is held.
 */
void
etl_launcher_kick(void)
{
	etl_shared->launcher.kicked = true;
	if (etl_shared->launcher.proc != NULL)
		SetLatch(&etl_shared->launcher.proc->procLatch);
}

/*
 * etl_scheduler_kick has a scheduler look at its slot; the lock is held.
 */
void
etl_scheduler_kick(EtlScheduler *scheduler)
{
	if (scheduler == NULL)
		return;
	scheduler->kicked = true;
	if (scheduler->proc != NULL)
		SetLatch(&scheduler->proc->procLatch);
}

/*
 * etl_problem_set notes what went wrong, for etl.status(); NULL clears it.
 */
void
etl_problem_set(EtlProblem *problem, const char *text)
{
	TimestampTz now = text ? GetCurrentTimestamp() : 0;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	problem->at = now;
	problem->text[0] = '\0';
	if (text != NULL)
		strlcpy(problem->text, text, pg_mbcliplen(text, strlen(text), ETL_PROBLEM_SIZE - 1) + 1);
	LWLockRelease(etl_shared->lock);
}

/*
 * wake_scheduler is what etl_wake_hook points to.  A database that has a
 * definition but no scheduler is made known to the launcher.
 */
static void
wake_scheduler(Oid database, bool chores)
{
	EtlScheduler *scheduler;
	bool		unknown;

	if (etl_shared == NULL || !OidIsValid(database))
		return;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	scheduler = etl_shared_scheduler(database);
	unknown = scheduler == NULL && !etl_shared_is_held(database);
	if (scheduler != NULL)
	{
		scheduler->wake = true;
		scheduler->wake_chores = scheduler->wake_chores || chores;
		etl_scheduler_kick(scheduler);
	}
	LWLockRelease(etl_shared->lock);

	if (unknown)
		etl_launcher_tell(database);
}

/*
 * etl_worker_install sets the hooks and registers the launcher.  Under
 * pg_upgrade nothing of it may happen: the new cluster must stay as it is.
 */
void
etl_worker_install(void)
{
	if (IsBinaryUpgrade)
		return;

	previous_request = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
	etl_wake_hook = wake_scheduler;
	etl_helpers = &helper_service;
	etl_team_service = &team_service;
	etl_utility_install();
	etl_launcher_register();
}
