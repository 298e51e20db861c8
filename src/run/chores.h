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

/*
 * Does what is due at 'now', committing through the driver as it likes.
 * Returns when it wants to be called next (on the clock of etl_now());
 * DT_NOEND: only when it is woken.
 */
typedef TimestampTz (*EtlChoreWork)(EtlRunDriver *driver, TimestampTz now);

typedef struct EtlChore
{
	const char *name;
	EtlChoreWork work;

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

/* the place of one of them in the list */
#define ETL_CHORE_CONDITIONS 0

/*
 * etl_chore_run works on chore 'i' unless another process does, or does
 * 'instead' in its place; returns what the work returned, 'now' and a second
 * when another process has it, DT_NOEND when it is parked.
 */
extern TimestampTz etl_chore_run(int i, EtlChoreWork instead, EtlRunDriver *driver, TimestampTz now);

extern bool etl_chore_is_parked(int i);
/* has a parked chore begun again, NULL: all; false: there is no chore of that name */
extern bool etl_chore_resume(const char *name);

#endif							/* ETL_RUN_CHORES_H */
