/*-------------------------------------------------------------------------
 *
 * lock.c
 *    Who is alive: the locks of runs, of places in pools, of slices.
 *
 * They are advisory locks in classes of their own, as those of nodes are
 * (common/node_lock.c).  They die with the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/node_lock.h"
#include "run/run.h"

/* field 4 of the tag, after those of common/node_lock.h */
#define LOCK_CLASS_RUN	 70
#define LOCK_CLASS_POOL	 71
#define LOCK_CLASS_SLICE 72

static object_access_hook_type prev_object_access_hook = NULL;

/*
 * run_tag makes the tag of a run.
 */
static void
run_tag(LOCKTAG *tag, int64 run_id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) ((uint64) run_id >> 32), (uint32) run_id,
						 LOCK_CLASS_RUN);
}

/*
 * etl_lock_run marks a run as alive as long as this session works on it.
 */
bool
etl_lock_run(int64 run_id)
{
	LOCKTAG		tag;

	run_tag(&tag, run_id);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * etl_lock_run_here keeps everybody from leading a run until this
 * transaction ends.
 */
bool
etl_lock_run_here(int64 run_id)
{
	LOCKTAG		tag;

	run_tag(&tag, run_id);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * etl_unlock_run takes the mark away.
 */
void
etl_unlock_run(int64 run_id)
{
	LOCKTAG		tag;

	run_tag(&tag, run_id);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * etl_run_is_alive tells whether some session holds a run's mark.  On a
 * standby, where the locks of the primary are not seen, it says yes.
 */
bool
etl_run_is_alive(int64 run_id)
{
	LOCKTAG		tag;

	if (RecoveryInProgress())
		return true;
	run_tag(&tag, run_id);
	if (etl_lock_held_by_me(&tag, ExclusiveLock))
		return true;
	/* share locks of several who ask do not disturb each other */
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ShareLock, false);
	return false;
}

/*
 * etl_run_leader finds the process that holds a run's mark.  It may hold it
 * without a transaction, where only the table of locks tells.
 */
int
etl_run_leader(int64 run_id)
{
	LOCKTAG		tag;
	LockData   *locks = GetLockStatusData();

	run_tag(&tag, run_id);
	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (memcmp(&lock->locktag, &tag, sizeof(LOCKTAG)) == 0 &&
			(lock->holdMask & LOCKBIT_ON(ExclusiveLock)) != 0)
			return lock->pid;
	}
	return 0;
}

/*
 * pool_tag makes the tag of a place in a pool.
 */
static void
pool_tag(LOCKTAG *tag, const char *pool, int slot)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) pool, strlen(pool), slot);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_CLASS_POOL);
}

/*
 * etl_lock_pool takes a place in a pool, when it is free.
 */
bool
etl_lock_pool(const char *pool, int slot)
{
	LOCKTAG		tag;

	pool_tag(&tag, pool, slot);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * etl_unlock_pool gives a place back.
 */
void
etl_unlock_pool(const char *pool, int slot)
{
	LOCKTAG		tag;

	pool_tag(&tag, pool, slot);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * slice_tag makes the tag of a slice of a node.
 */
static void
slice_tag(LOCKTAG *tag, const char *node, TimestampTz since)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) node, strlen(node), since);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_CLASS_SLICE);
}

/*
 * etl_lock_slice keeps the others who work on a node from a slice of it.
 */
bool
etl_lock_slice(const char *node, TimestampTz since, bool wait)
{
	LOCKTAG		tag;

	slice_tag(&tag, node, since);
	if (wait)
		InvalidateCatalogSnapshotConditionally();
	return LockAcquire(&tag, ExclusiveLock, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * etl_unlock_slice lets them.
 */
void
etl_unlock_slice(const char *node, TimestampTz since)
{
	LOCKTAG		tag;

	slice_tag(&tag, node, since);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * holds_locks tells whether this process holds a lock of this file.
 */
static bool
holds_locks(void)
{
	LockData   *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		const LOCKTAG *tag = &lock->locktag;

		if (lock->pid == MyProcPid && tag->locktag_type == LOCKTAG_ADVISORY &&
			tag->locktag_field4 >= ETL_LOCK_CLASS_NODE && tag->locktag_field4 <= LOCK_CLASS_SLICE)
			return true;
	}
	return false;
}

/*
 * guard_locks keeps SQL that a run executes from giving back the locks of
 * the run: others would take it for dead, and do its work again.
 */
static void
guard_locks(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class_id, object_id, sub_id, arg);
	if (access == OAT_FUNCTION_EXECUTE && class_id == ProcedureRelationId &&
		object_id == F_PG_ADVISORY_UNLOCK_ALL && holds_locks())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_advisory_unlock_all() is not allowed in what a run executes"),
				 errdetail("It would also give back the locks of the run."),
				 errhint("Give back each lock with pg_advisory_unlock().")));
}

/*
 * etl_locks_install: see run.h.
 */
void
etl_locks_install(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = guard_locks;
}
