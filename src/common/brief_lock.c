/*-------------------------------------------------------------------------
 *
 * brief_lock.c
 *    Exclusive locks of relations that nobody is made to queue behind.
 *
 * A request in PostgreSQL's queue stops every reader that comes after it,
 * for as long as a reader that came before it takes.  So the lock is asked
 * for without waiting, again and again, until a moment comes at which nobody
 * reads, or the time is over.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "common/brief_lock.h"
#include "common/compat.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/progress.h"

/* how long a request may stand in the queue, before others that wait */
#define QUEUED			 "20ms"
#define LONGEST_PAUSE_MS 50
/* as many holders are named */
#define NAMED_HOLDERS	 3

/*
 * conflicts lists the transactions that hold the relation against us.
 */
static VirtualTransactionId *
conflicts(Oid relid, int *n)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return GetLockConflicts(&tag, AccessExclusiveLock, n);
}

/*
 * stand_in_front waits for a lock in the queue, for a moment; an argument of
 * etl_subxact.
 */
static void
stand_in_front(void *relid)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", QUEUED, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	LockRelationOid(*(Oid *) relid, AccessExclusiveLock);
	AtEOXact_GUC(false, level);
}

/*
 * etl_lock_at_once: see brief_lock.h.  Where only requests are in the way,
 * which wait for what this transaction has of the relation, one of ours goes
 * before them.  It is given up at once, should a reader have come in between.
 */
bool
etl_lock_at_once(Oid relid)
{
	ErrorData  *error;
	int			holders = 0;

	if (ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return true;
	pfree(conflicts(relid, &holders));
	if (holders > 0)
		return false;
	error = etl_subxact(stand_in_front, &relid);
	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		etl_rethrow(error);
	FreeErrorData(error);
	return false;
}

/*
 * name_holders tells which processes hold a relation.
 */
static char *
name_holders(Oid relid)
{
	int			n = 0;
	VirtualTransactionId *holders = conflicts(relid, &n);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < n && i < NAMED_HOLDERS; i++)
	{
		PGPROC	   *proc = etl_vxid_proc(holders[i]);
		char	   *role = proc && OidIsValid(proc->roleId) ? GetUserNameFromId(proc->roleId, true) : NULL;

		/* one that was prepared, or that has ended meanwhile, left its place to another */
		if (proc == NULL || proc->pid == 0 || etl_proc_lxid(proc) != holders[i].localTransactionId)
			appendStringInfo(&text, "%sa transaction without a process (see pg_prepared_xacts)",
							 i ? ", " : "");
		else if (role != NULL)
			appendStringInfo(&text, "%sprocess %d of role \"%s\"", i ? ", " : "", proc->pid, role);
		else
			appendStringInfo(&text, "%sprocess %d", i ? ", " : "", proc->pid);
	}
	if (n > NAMED_HOLDERS)
		appendStringInfo(&text, " and %d more", n - NAMED_HOLDERS);
	return n > 0 ? text.data : NULL;
}

/*
 * give_up raises ET019 for a relation that readers leave no gap at.
 */
static void
give_up(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *holders = name_holders(relid);

	ereport(ERROR,
			(errcode(ETL_ERR_PUBLISH_LOCK),
			 errmsg("could not get the lock to publish \"%s\" within %d ms", name ? name : "?",
					etl_publish_lock_timeout_ms),
			 holders ? errdetail("It is read or locked by %s.", holders) :
					   errdetail("Sessions that read or lock it left no gap."),
			 errhint("End the transaction that holds it, see pg_locks and pg_stat_activity, or raise "
					 "etl.publish_lock_timeout.")));
}

void
etl_lock_all_briefly(List *relids)
{
	TimestampTz start = GetCurrentTimestamp();
	long		wait_ms = 1;

	for (;;)
	{
		Oid			busy = InvalidOid;
		List	   *taken = NIL;
		ListCell   *cell;

		foreach(cell, relids)
		{
			if (!etl_lock_at_once(lfirst_oid(cell)))
			{
				busy = lfirst_oid(cell);
				break;
			}
			taken = lappend_oid(taken, lfirst_oid(cell));
		}
		if (!OidIsValid(busy))
			return;
		foreach(cell, taken)
			UnlockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
		list_free(taken);
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), etl_publish_lock_timeout_ms))
			give_up(busy);
		if (wait_ms == 1)
			etl_progress_phase("waiting for readers");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait_ms,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		etl_progress_check();
		wait_ms = Min(wait_ms * 2, LONGEST_PAUSE_MS);
	}
}

void
etl_lock_briefly(Oid relid)
{
	List	   *relids = list_make1_oid(relid);

	etl_lock_all_briefly(relids);
	list_free(relids);
}
