/*-------------------------------------------------------------------------
 *
 * ending.c
 *    What a process writes down when it is told to end while it is at work.
 *
 * The callback runs before PostgreSQL's own that ends the transaction, like
 * the one that drops temporary tables, and does as that does.  It stays
 * registered: those of others that come and go must find theirs on top.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/pquery.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "run/ending.h"

volatile sig_atomic_t etl_told_to_end = false;

static void (*at_end)(Datum arg) = NULL;
static Datum at_end_arg;

/*
 * write_down calls what is to be called; an exit callback.  A worker that
 * ends without having been told to was at something that ended it.
 */
static void
write_down(int code, Datum unused)
{
	void		(*note) (Datum arg) = at_end;

	at_end = NULL;
	if (note == NULL || (AmBackgroundWorkerProcess() && !etl_told_to_end))
		return;
	AbortOutOfAnyTransaction();
	/* its snapshot is gone */
	ActivePortal = NULL;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	note(at_end_arg);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * etl_at_end: see ending.h.
 */
void
etl_at_end(void (*note)(Datum arg), Datum arg)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(write_down, 0);
	registered = true;
	at_end_arg = arg;
	at_end = note;
}
