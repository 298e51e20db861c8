/*-------------------------------------------------------------------------
 *
 * progress.h
 *    How far the work on a node has come: for etl.progress and for NOTICEs.
 *
 * run/ starts and stops; load/ and model/ count and check.  Counting is one
 * addition, checking one branch: what costs more is done when a timer says
 * so, twice a second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_PROGRESS_H
#define ETL_PROGRESS_H

#include <signal.h>

#include "postgres.h"

#include "datatype/timestamp.h"

/* what this process has done on the node at work */
extern int64 etl_progress_rows;
extern int64 etl_progress_bytes;
extern int64 etl_progress_bytes_total;	/* 0: unknown */

/* asked for the bytes when nobody counts them: set while a query runs, else NULL */
extern void (*etl_progress_measure)(int64 *done, int64 *total);

extern volatile sig_atomic_t etl_progress_due;

extern void etl_progress_start(int64 run_id, const char *node, const char *phase);
extern void etl_progress_phase(const char *phase);
extern void etl_progress_stop(void);

/* whether this process works on a node, so that what it runs shall report */
extern bool etl_progress_is_on(void);

/* shows where this process is, and says so when the node takes long */
extern void etl_progress_report(void);
/* says so for every process at work in a run; for one that only waits for others */
extern void etl_progress_say(int64 run_id);
/* the same, and for one that waits for nobody at work: how long, and for what */
extern void etl_progress_say_waiting(int64 run_id, TimestampTz since, const char *what);
/* the node that a process of this database works on, and the phase; NULL when it does not */
extern char *etl_progress_of(int pid);

#define etl_progress_check() \
	do \
	{ \
		if (unlikely(etl_progress_due)) \
			etl_progress_report(); \
	} while (0)

/* what worker/ adds to the request for shared memory */
extern Size etl_progress_shmem_size(void);

#endif							/* ETL_PROGRESS_H */
