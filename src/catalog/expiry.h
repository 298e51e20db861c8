/*-------------------------------------------------------------------------
 *
 * expiry.h
 *    Which loads of a stream retention may take, and which it took.
 *
 * Called by load/, model/ and run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_EXPIRY_H
#define ETL_EXPIRY_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* What retention takes at once: a load, or the loads of a partition. */
typedef struct EtlExpiry
{
	char	   *period_start;	/* first day of the partition, YYYY-MM-DD; NULL: no partition */
	bool		partial;		/* other loads of the partition are kept, so these are, too */
	List	   *loads;			/* EtlLoad *: load_id, origin, started_at, rows_loaded */
} EtlExpiry;

/*
 * Loads of an append stream that began before 'before' or are not among the
 * last 'keep' (-1: any number), as EtlExpiry *, the oldest first; a period (day,
 * week, month) goes as a whole when 'period' is not NULL.
 */
extern List *etl_loads_expiring(const char *target, TimestampTz before, int64 keep, const char *period);
/* whether each of 'models' (char *) has consumed all of 'loads' */
extern bool etl_loads_consumed(const char *target, List *loads, List *models);
/* when the last load that retention took had begun; DT_NOBEGIN: it took none */
extern TimestampTz etl_stream_horizon(const char *target);
/* streams with the option retention, char * */
extern List *etl_streams_retained(void);

/* the first days, YYYY-MM-DD in UTC, of the period of a moment and of the next one */
extern void etl_period_of(const char *period, TimestampTz at, char **from, char **to);
/* puts the trigger that refuses changes on a relation */
extern void etl_immutable_trigger_make(const char *relation);

#endif							/* ETL_EXPIRY_H */
