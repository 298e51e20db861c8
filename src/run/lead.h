/*-------------------------------------------------------------------------
 *
 * lead.h
 *    Runs that are queued: putting them there, leading them, helping.
 *
 * Called by worker/ (scheduler and tasks), by schedules and by tick().  A
 * run is led by exactly one process, its leader, which holds the run's lock:
 * a run that says running and whose lock is free is dead.  Helpers join a
 * leader and work on nodes beside it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_LEAD_H
#define ETL_RUN_LEAD_H

#include "nodes/pg_list.h"
#include "storage/dsm.h"

#include "catalog/runs.h"

/*
 * etl_run_queue inserts a queued run, which begins when this transaction has
 * committed and a process is free; returns its number.  What is zero or NULL
 * in 'request' gets its default (selector "*", publish "each", trigger
 * "manual", requested_by the current user); a time that is not given is
 * DT_NOBEGIN or 0.  The selector is judged when the run is led.
 */
extern int64 etl_run_queue(const EtlRun *request);

/* etl_runs_queued lists the runs that wait for a leader, the first to start first: int64 * */
extern List *etl_runs_queued(void);

/*
 * etl_run_lead leads a queued run to its end in this process.  Outside of
 * any transaction (a worker) it makes its own; within a CALL that may commit
 * it commits through SPI.  A run that another process leads already, or that
 * is not queued any more, is left alone.  What goes wrong with the run is in
 * its row; what is raised is a cancel or a shutdown of this process, and
 * errors of etl itself.
 */
extern void etl_run_lead(int64 run_id);

/*
 * etl_run_help works on nodes of a run beside its leader until there are no
 * more; called by workers, outside of any transaction.  Returns at once when
 * the run has ended.
 */
extern void etl_run_help(int64 run_id, dsm_handle board);

/*
 * etl_runs_reconcile looks after runs whose leader is dead: those of a
 * session become interrupted; queued ones are queued again, to continue from
 * their last commit.  The task at work is parked (failed) after three deaths
 * in a row without any commit between.  Called in a transaction; the caller
 * commits.  Returns how many were queued again.
 */
extern int etl_runs_reconcile(void);

/*
 * What worker/ offers to runs; set in _PG_init where workers exist.  'request'
 * asks for helpers and returns how many will come: none when there is no
 * free place.
 */
typedef struct EtlHelperService
{
	int			(*request) (int64 run_id, dsm_handle board, int wanted);
} EtlHelperService;

extern const EtlHelperService *etl_helpers;	/* NULL: there are no workers */

#endif							/* ETL_RUN_LEAD_H */
