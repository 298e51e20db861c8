/*-------------------------------------------------------------------------
 *
 * wake.c
 *    Telling the scheduler of this database that there is something to look at.
 *
 * A wish to wake is a flag of the backend, kept until the end of its
 * transaction: the scheduler must not look before it can see.  A
 * subtransaction that rolls back leaves the flag set; the scheduler then
 * looks once in vain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/resowner.h"

#include "common/wake.h"

void (*etl_wake_hook)(Oid database, bool chores) = NULL;

static bool wake_at_commit = false;
static bool wake_chores = false;
static bool committed = false;	/* with a wish to wake */

/*
 * end_of_transaction notes a commit, and forgets the wish after anything
 * else.  What a prepared transaction did is looked at after COMMIT PREPARED,
 * see worker/utility.c.
 */
static void
end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		committed = wake_at_commit;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_at_commit = false;
}

/*
 * locks_released wakes.  At the moment that end_of_transaction is called the
 * commit can be seen, but its invalidations have not been sent: a scheduler
 * that is fast would look at the new rows with old relation caches, and not
 * see those in a new partition.
 */
static void
locks_released(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!committed || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	committed = false;
	etl_wake_hook(MyDatabaseId, wake_chores);
	wake_chores = false;
}

/*
 * wish_wake sets the flags.  The callbacks are registered once a backend:
 * each registration would be called with each transaction.
 */
static void
wish_wake(bool chores)
{
	static bool registered = false;

	if (etl_wake_hook == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(end_of_transaction, NULL);
		RegisterResourceReleaseCallback(locks_released, NULL);
		registered = true;
	}
	wake_chores = (wake_at_commit && wake_chores) || chores;
	wake_at_commit = true;
}

/*
 * etl_wake_at_commit wakes the scheduler when this transaction commits.
 */
void
etl_wake_at_commit(void)
{
	wish_wake(true);
}

/*
 * etl_wake_for_run_at_commit does so without waking the chores.
 */
void
etl_wake_for_run_at_commit(void)
{
	wish_wake(false);
}

/*
 * etl_wake_now wakes the scheduler at once.
 */
void
etl_wake_now(void)
{
	if (etl_wake_hook != NULL)
		etl_wake_hook(MyDatabaseId, true);
}
