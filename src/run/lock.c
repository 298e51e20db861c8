/*-------------------------------------------------------------------------
 *
 * lock.c
 *    One session at a time works on a node.
 *
 * The locks are advisory locks in a class of their own, which no SQL
 * function can reach but pg_advisory_unlock_all(), which is refused to what
 * a run executes.  Outside a transaction block they belong to the
 * session: they survive the commits of a run, die with the process, and are
 * taken one at a time, so that runs cannot wait for each other in a circle.
 * Inside one they belong to the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/errors.h"
#include "run/run.h"

/* field 4 of the tag: pg_advisory_lock uses 1 and 2 */
#define LOCK_CLASS_NODE	 69
#define LOCK_CLASS_RUN	 70
#define LOCK_CLASS_POOL	 71
#define LOCK_CLASS_SLICE 72

static object_access_hook_type prev_object_access_hook = NULL;

/*
 * node_tag makes the tag of a node.
 */
static void
node_tag(LOCKTAG *tag, const char *node)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) node, strlen(node), 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_CLASS_NODE);
}

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
 * say_who_holds tells the user what is being waited for.
 */
static void
say_who_holds(const LOCKTAG *tag, const char *node)
{
	int			n = 0;
	VirtualTransactionId *holders = GetLockConflicts(tag, ExclusiveLock, &n);
	PGPROC	   *holder = n > 0 ? etl_vxid_proc(holders[0]) : NULL;
	int			pid = holder ? holder->pid : 0;

	if (pid != 0)
		ereport(NOTICE,
				(errmsg("waiting for %s, at work in another session (pid %d)", node, pid)));
	else
		ereport(NOTICE, (errmsg("waiting for %s, at work in another session", node)));
}

/* A node whose lock is waited for. */
typedef struct Wanted
{
	LOCKTAG		tag;
	bool		session;
} Wanted;

/*
 * wait_a_while waits for a lock until it is time to say so; an argument of
 * etl_subxact.
 */
static void
wait_a_while(void *arg)
{
	Wanted	   *wanted = arg;
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", "1900ms", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	(void) LockAcquire(&wanted->tag, ExclusiveLock, wanted->session, false);
	AtEOXact_GUC(false, level);
}

/*
 * wait_aloud waits for a lock and says so again and again.
 */
static void
wait_aloud(const LOCKTAG *tag, const char *node, bool session)
{
	Wanted		wanted = {*tag, session};
	ErrorData  *error;

	while ((error = etl_subxact(wait_a_while, &wanted)) != NULL)
	{
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			etl_rethrow(error);
		FreeErrorData(error);
		say_who_holds(tag, node);
		InvalidateCatalogSnapshotConditionally();
	}
}

/*
 * etl_lock_node waits until no other session works on the node.  While it
 * waits outside a transaction block no snapshot is held.
 */
void
etl_lock_node(const char *node, bool session)
{
	LOCKTAG		tag;

	node_tag(&tag, node);
	if (LockAcquire(&tag, ExclusiveLock, session, true) != LOCKACQUIRE_NOT_AVAIL)
		return;
	say_who_holds(&tag, node);
	InvalidateCatalogSnapshotConditionally();
	/* to nobody, and with a limit of the user's own, there is nothing to say */
	if (whereToSendOutput == DestRemote && LockTimeout == 0)
		wait_aloud(&tag, node, session);
	else
		(void) LockAcquire(&tag, ExclusiveLock, session, false);
}

/*
 * etl_try_lock_node keeps all others from working on a node until the
 * transaction ends; false when one does.
 */
bool
etl_try_lock_node(const char *node)
{
	LOCKTAG		tag;

	node_tag(&tag, node);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * etl_unlock_node gives back a session-level lock.
 */
void
etl_unlock_node(const char *node)
{
	LOCKTAG		tag;

	node_tag(&tag, node);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * etl_node_is_wanted tells whether another session waits for a node that
 * this one has locked.
 */
bool
etl_node_is_wanted(const char *node)
{
	LOCKTAG		tag;

	node_tag(&tag, node);
	return LockHasWaiters(&tag, ExclusiveLock, true);
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
			tag->locktag_field4 >= LOCK_CLASS_NODE && tag->locktag_field4 <= LOCK_CLASS_SLICE)
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
