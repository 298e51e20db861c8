/*-------------------------------------------------------------------------
 *
 * flush_ahead.c
 *    WAL on its way to disk while rows are still being written.
 *
 * A load fills a ring of buffers.  Before one is used again its page goes to
 * disk, and before that the WAL up to it, which this process would write and
 * wait for.  The WAL writer does it meanwhile when it is told as soon as
 * there is something to do; by itself it looks five times a second, at which
 * a load is ahead of it by more than the ring.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"

#include "load/flush_ahead.h"

#define STEP (1024 * 1024)		/* bytes of WAL, as much as the WAL writer flushes at once */

void
etl_flush_ahead(XLogRecPtr *asked)
{
	if (XactLastRecEnd < *asked + STEP)
		return;

	/* as at the end of an asynchronous commit: it wakes the WAL writer */
	XLogSetAsyncXactLSN(XactLastRecEnd);
	*asked = XactLastRecEnd;
}
