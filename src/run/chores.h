/*-------------------------------------------------------------------------
 *
 * chores.h
 *    Periodic work that may run the SQL of users or wait for a network.
 *
 * Called by worker/, which gives each chore that is due a task worker, and
 * by tick().  A chore is never at work twice in a database: whoever starts
 * it holds its lock (etl_chore_run takes it).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_CHORES_H
#define ETL_RUN_CHORES_H

#include "utils/timestamp.h"

#include "run/run.h"

typedef struct EtlChore
{
	const char *name;

	/*
	 * Does what is due at 'now', committing through the driver as it likes.
	 * Returns when it wants to be called next (on the clock of etl_now());
	 * DT_NOEND: only when it is woken.
	 */
	TimestampTz (*work) (EtlRunDriver *driver, TimestampTz now);

	/*
	 * Says when there is work, without doing it: one cheap statement on
	 * etl's own tables, for the scheduler, in a transaction of its own.  At
	 * or before 'now': at once.  DT_NOEND: nothing, until woken.  NULL: the
	 * chore is started at every wake-up.
	 */
	TimestampTz (*due) (TimestampTz now);
} EtlChore;

extern const EtlChore etl_chores[];
extern const int etl_n_chores;

/*
 * etl_chore_run works on chore 'i' unless another process does; returns what
 * its work returned, 'now' and a second when another process has it.
 */
extern TimestampTz etl_chore_run(int i, EtlRunDriver *driver, TimestampTz now);

#endif							/* ETL_RUN_CHORES_H */
