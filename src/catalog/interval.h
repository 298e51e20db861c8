/*-------------------------------------------------------------------------
 *
 * interval.h
 *    The interval ledger: which slices of its event time a model has built.
 *
 * Called by model/ and run/.  A slice is done in the transaction that
 * publishes its rows.  Slices of a model never overlap.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_INTERVAL_H
#define ETL_INTERVAL_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* A slice [since, until) of a model's event time. */
typedef struct EtlSlice
{
	TimestampTz since;
	TimestampTz until;
	const char *status;			/* due | done | failed; NULL: not in the ledger */
	char	   *reason;			/* why it is due */
	char	   *name;			/* [since, until), for people; NULL as read */
	int64		run_id;			/* that built or tried it last; 0: none */
	char	   *error;			/* of the last try, when it failed */
} EtlSlice;

/* What a run with since and until asks of the models that keep a ledger. */
typedef struct EtlIntervalRequest
{
	TimestampTz since;
	TimestampTz until;
	const char *reprocess;		/* missing | failed | all */
	int64		run_id;			/* what this run has built is not built again; 0: not known yet … */
	int64		retry_of;		/* … nor what the one has that it repeats; 0: none */
} EtlIntervalRequest;

/* EtlSlice *, oldest first, as the active snapshot sees them */
extern List *etl_intervals_read(const char *model);
/* makes slices due, with their reasons; what has failed stays so */
extern void etl_intervals_add(const char *model, List *slices);
/* is a slice still to be built by a run? false when it was built since it was listed */
extern bool etl_interval_is_open(const char *model, const EtlSlice *slice, int64 run_id);
extern void etl_interval_done(const char *model, const EtlSlice *slice, int64 run_id, int64 rows);
extern void etl_interval_failed(const char *model, const EtlSlice *slice, int64 run_id,
								const char *error, const char *sqlstate);
/* makes the ledger say that exactly these slices are done */
extern void etl_intervals_replace(const char *model, List *slices, int64 run_id);
/* makes done slices that touch [since, until) due again; returns how many */
extern int64 etl_intervals_reset(const char *model, TimestampTz since, TimestampTz until, const char *reason);
extern void etl_intervals_forget(const char *model);

/* closes the open rejects of a model whose event time lies in a slice; 'wall': it has no zone */
extern void etl_rejects_supersede_slice(const char *model, const char *column, const EtlSlice *slice,
										bool wall);

#endif							/* ETL_INTERVAL_H */
