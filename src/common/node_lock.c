/*-------------------------------------------------------------------------
 *
 * node_lock.c
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

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/driver.h"
#include "common/node_lock.h"

/*
 * node_tag makes the tag of a node.
 */
static void
node_tag(LOCKTAG *tag, const char *node)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) node, strlen(node), 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, ETL_LOCK_CLASS_NODE);
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
