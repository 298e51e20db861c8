/*-------------------------------------------------------------------------
 *
 * load.h
 *    Landing: what run/ asks of streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_H
#define ETL_LOAD_H

#include "catalog/definition.h"
#include "catalog/expiry.h"
#include "catalog/history.h"
#include "common/driver.h"
#include "storage/dsm.h"

typedef struct EtlPullResult
{
	int64		loads;
	int64		read;
	int64		inserted;
	int64		updated;
	int64		deleted;
	int64		rejected;
	char	   *reason;			/* when loads = 0: "no new files match …" */
	char	   *remark;			/* what the user should know beside it, or NULL */
} EtlPullResult;

/*
 * etl_pull fetches what is new and commits it load by load.  Raises the
 * error of the load that failed; earlier loads of it stay.  'result' counts
 * what was committed, also when it raises.
 */
extern void etl_pull(EtlDriver *driver, const EtlStream *stream, EtlPullResult *result);

/* true when the stream's connector must wait for a network */
extern bool etl_pull_needs_network(const EtlStream *stream);

/*
 * etl_pull_arrivals returns a text that stands for the files that a pull
 * would look at closer, another one for other files; NULL when there are none,
 * or the stream is not fed from files.  'more': there are others, which are
 * still being written.
 */
extern char *etl_pull_arrivals(const EtlStream *stream, bool *more);

/*
 * etl_stream_relation returns the landing relation of a stream, creating or
 * adopting it when its columns are all declared; InvalidOid when it can only
 * be made from the first load.
 */
extern Oid etl_stream_relation(const EtlStream *stream);
/* gives a relation that is there the columns that were declared since it was made */
extern void etl_stream_add_declared(const EtlStream *stream);

/*
 * What worker/ offers to loads; set in _PG_init where workers exist.
 * 'request' has a worker call etl_team_help with a segment; false when no
 * worker is free.
 */
typedef struct EtlTeamService
{
	bool		(*request) (dsm_handle segment);
} EtlTeamService;

extern const EtlTeamService *etl_team_service;	/* NULL: there are no workers */

/* decodes and coerces for a load of another process; outside of any transaction */
extern void etl_team_help(dsm_handle segment);

/* what is beyond a stream's option retention, EtlExpiry *, the oldest first */
extern List *etl_stream_expiring(const EtlStream *stream, TimestampTz now);
extern const char *etl_expiry_action(const EtlStream *stream);	/* delete | drop | archive */
extern bool etl_stream_expire(const EtlStream *stream, EtlExpiry *expiry);

#endif							/* ETL_LOAD_H */
