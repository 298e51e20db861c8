/*-------------------------------------------------------------------------
 *
 * consumption.h
 *    What a stored model has consumed of its inputs, exactly.
 *
 * Called by model/.  The functions that read see what the active snapshot
 * sees, so that pending loads, inputs and result agree.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CONSUMPTION_H
#define ETL_CONSUMPTION_H

#include "catalog/change.h"
#include "catalog/history.h"

/* How a stream, or another input, differs from what the model consumed of it. */
typedef struct EtlConsumption
{
	List	   *pending;		/* EtlLoad *: succeeded, not consumed */
	List	   *lost;			/* EtlLoad *: consumed, but replaced or unloaded since */
	bool		recorded;		/* changes have been recorded for it since it last consumed */
	List	   *sets;			/* EtlChangeSet *: recorded, not consumed */
} EtlConsumption;

extern EtlConsumption *etl_consumption_read(const char *model, const char *stream);
/* consumes the pending loads and forgets the lost ones, in the publishing transaction */
extern void etl_consumption_store(const char *model, const char *stream,
								  const EtlConsumption *consumption);

/* forgets that changes are recorded for a model of other inputs than 'names' (char *) */
extern void etl_consumption_end(const char *model, List *names);

/*
 * What became of the rows that a model was built of: loads of a stream that
 * it consumed and that still count (EtlLoad *, by load id; replays apart),
 * how many rows the stream's loads left in its relation, and how many of
 * them were gone when the model was last built in full.
 */
extern List *etl_consumed_loads(const char *model, const char *stream);
extern int64 etl_stream_rows_held(const char *stream);
extern int64 etl_consumed_missing(const char *model, const char *stream);
extern void etl_consumed_set_missing(const char *model, const char *stream, int64 rows);

/* publication number of a node as the active snapshot sees it; 0 when it has none */
extern int64 etl_publication_seen(const char *target);

/* closes a model's open rejects as superseded, when a full refresh replaces them */
extern void etl_rejects_supersede(const char *target);
extern bool etl_rejects_any_open(const char *target);
/*
 * closes those of some keys, which are computed anew: 'columns' are the key's,
 * 'keys' the keys as JSON objects of these columns
 */
extern void etl_rejects_supersede_keys(const char *target, List *columns, List *keys);

/* A row that a check of a model put aside. */
typedef struct EtlLostRow
{
	int64		reject_id;
	char	   *check;
	char	   *record;			/* the row as JSON */
} EtlLostRow;

/*
 * the next rows (EtlLostRow *), at most 'limit' and about 4 MB, that one of the
 * named checks of a model put aside: open rejects after reject 'after'
 */
extern List *etl_rejects_of_checks(const char *target, List *checks, int64 after, int limit);
/* closes some of them */
extern void etl_rejects_supersede_some(const int64 *reject_ids, int n);

/* forgets everything that was built and consumed, and the dependencies of a node that is dropped */
extern void etl_node_forget(const char *target);

#endif							/* ETL_CONSUMPTION_H */
