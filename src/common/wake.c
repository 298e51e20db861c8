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

#include "common/wake.h"

void (*etl_wake_hook)(Oid database, bool chores) = NULL;

static bool wake_at_commit = false;
static bool wake_chores = false;

/*
 * end_of_transaction wakes after a commit and forgets after anything else.
 * What a prepared transaction did is looked at after COMMIT PREPARED, see
 * worker/utility.c.
 */
static void
end_of_transaction(XactEvent event, void *arg)
{
	if (!wake_at_commit)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			etl_wake_hook(MyDatabaseId, wake_chores);
			/* FALLTHROUGH */
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_at_commit = false;
			wake_chores = false;
			break;
		default:
			break;
	}
}

/*
 * wish_wake sets the flags.  The callback is registered once a backend: it
 * would otherwise be called once more with each transaction.
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
		registered = true;
	}
	wake_at_commit = true;
	wake_chores = wake_chores || chores;
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
