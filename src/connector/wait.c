/*-------------------------------------------------------------------------
 *
 * wait.c
 *    Waiting for sockets or for a moment, on behalf of connectors.
 *
 * The one place where etl sleeps.  While it does, no snapshot is held (the
 * caller has none active), and every second at the latest interrupts are
 * served: cancel, shutdown and DROP DATABASE are never held up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/progress.h"
#include "connector/connector.h"

#define SLICE_MS 1000

/*
 * wait_slice waits at most 'timeout' ms and returns true when a socket is
 * ready.  The event set is made anew each time: PostgreSQL 15 cannot take a
 * socket out of one, and libcurl opens and closes them as it likes.
 */
static bool
wait_slice(const EtlWait *wait, long timeout)
{
	WaitEventSet *set = etl_create_wait_event_set(wait->nsockets + 2);
	WaitEvent	occurred[ETL_MAX_SOCKETS + 2];
	bool		ready = false;
	int			n;

	PG_TRY();
	{
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		for (int i = 0; i < wait->nsockets; i++)
			AddWaitEventToSet(set, wait->events[i], wait->sockets[i], NULL, NULL);

		n = WaitEventSetWait(set, timeout, occurred, lengthof(occurred), PG_WAIT_EXTENSION);
		for (int i = 0; i < n; i++)
		{
			if (occurred[i].events & WL_LATCH_SET)
				ResetLatch(MyLatch);
			else
				ready = true;
		}
	}
	PG_FINALLY();
	{
		FreeWaitEventSet(set);
	}
	PG_END_TRY();
	return ready;
}

void
etl_wait(const EtlWait *wait)
{
	/* a lookup since the last commit may have left one */
	InvalidateCatalogSnapshotConditionally();

	for (;;)
	{
		long		timeout = SLICE_MS;

		CHECK_FOR_INTERRUPTS();
		etl_progress_check();
		if (!TIMESTAMP_NOT_FINITE(wait->until))
		{
			timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait->until);
			if (timeout <= 0 && wait->nsockets == 0)
				return;
			timeout = Min(timeout, SLICE_MS);
		}
		if (wait_slice(wait, timeout))
			break;
		if (!TIMESTAMP_NOT_FINITE(wait->until) && GetCurrentTimestamp() >= wait->until)
			break;
	}
	CHECK_FOR_INTERRUPTS();
}
