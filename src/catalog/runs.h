/*-------------------------------------------------------------------------
 *
 * runs.h
 *    Runs and their tasks, and what a run must know of the graph at once.
 *
 * Called by run/.  Rows are written in the transaction of the facts they
 * tell; a run's own row is touched only by the session that runs it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUNS_H
#define ETL_RUNS_H

#include "catalog/history.h"

typedef struct EtlRun
{
	int64		run_id;
	char	   *selector;
	char	   *exclude;
	bool		full_refresh;
	Jsonb	   *params;
	char	   *publish;		/* each | together */
	int64		retry_of;		/* 0: none */
	TimestampTz since;			/* DT_NOBEGIN: not given, here and below */
	TimestampTz until;
	char	   *reprocess;		/* of the intervals between: missing | failed | all; NULL: all */
	char	   *trigger;		/* manual | schedule | event | backfill …; NULL: manual */
	char	   *trigger_name;
	TimestampTz due_at;			/* when its schedule wanted it */
	char	   *lane;			/* runs of one lane go one after another; NULL: none */
	int			priority;		/* greater ones start first */
	int64		timeout_ms;		/* 0: none */
	int			workers;		/* nodes at work at once; 0: not given */
	Jsonb	   *retry;			/* of its tasks, where their definition has none; NULL: not given */
	const char *status;
	const char *led_by;			/* call | queue; NULL: call */
	TimestampTz led_at;			/* when its leader began, after a crash the last one */
	int			crashes;		/* in a row, without any commit between */
	bool		incomplete;		/* something was built on input that did not succeed */
	TimestampTz queued_at;		/* read only */
	TimestampTz started_at;
	TimestampTz finished_at;	/* DT_NOBEGIN: still running */
	int			nodes_total;
	int			nodes_succeeded;
	int			nodes_failed;
	int			nodes_skipped;
	int64		rows_written;
	int64		rows_rejected;
	char	   *error;
	char	   *requested_by;
} EtlRun;

extern int64 etl_run_next_id(void);
extern void etl_run_insert(const EtlRun *run);
extern void etl_run_update(const EtlRun *run);
/* counts nodes and rows of a run again, from its tasks, in its row */
extern void etl_run_count(int64 run_id);
/* counts rows_written and rows_rejected again, from the tasks */
extern void etl_run_count_rows(EtlRun *run);
extern EtlRun *etl_run_find(int64 run_id);	/* NULL when there is none */
extern int64 etl_run_newest(void);	/* 0 when there is none */
extern List *etl_runs_running(void);	/* EtlRun *, those whose rows say so */
extern List *etl_runs_waiting(void);	/* int64 *: queued ones, the first to start first */

/* was the run queued by the current transaction? */
extern bool etl_run_is_uncommitted(int64 run_id);

/* a run that nobody leads: it, unless it has ended, and its open tasks get 'status' */
extern void etl_run_close(int64 run_id, const char *status, const char *error, const char *sqlstate);
/* runs of backfills with this selector, oldest first: EtlRun * */
extern List *etl_backfill_runs(const char *selector);
extern char *etl_lane_requested_by(const char *lane);	/* NULL: there is no such lane */
extern void etl_lane_hold(const char *lane, bool hold);	/* runs of it wait, or no longer */
extern bool etl_run_is_held(int64 run_id);
/* queued runs that are not to run here: they become interrupted */
extern void etl_runs_disown(const char *error);

/* notes that the leader of a run is ending because it was told to */
extern void etl_run_note_stopped(int64 run_id);

/*
 * etl_run_requeue queues a run again whose process has died.  Its tasks at
 * work become interrupted; after 'limit' deaths in a row without any commit
 * between they fail with 'parked' as their error instead, or the run does when
 * there are none.  False: its process did not die, it was told to end.
 */
extern bool etl_run_requeue(int64 run_id, int limit, const char *parked);

#endif							/* ETL_RUNS_H */
