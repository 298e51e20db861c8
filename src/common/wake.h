/*-------------------------------------------------------------------------
 *
 * wake.h
 *    Telling the scheduler of this database that there is something to look at.
 *
 * Called by whoever queues a run, changes a schedule, a channel, an alert or
 * a deadline, writes to the outbox, or publishes.  Without workers the
 * functions do nothing, so nobody needs to ask whether there are any.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_WAKE_H
#define ETL_WAKE_H

#include "postgres.h"

/* wake the scheduler when this transaction commits: it looks at runs, schedules and chores */
extern void etl_wake_at_commit(void);

/* the same, when only a run was queued or has become ready: chores are left alone */
extern void etl_wake_for_run_at_commit(void);

/* wake it at once: for changes that are not in the database (a file arrived, a process ended) */
extern void etl_wake_now(void);

/* set by worker/ when the library is preloaded */
extern void (*etl_wake_hook)(Oid database, bool chores);

#endif							/* ETL_WAKE_H */
