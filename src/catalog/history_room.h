/*-------------------------------------------------------------------------
 *
 * history_room.h
 *    Room for what happens: partitions of the history tables, and retention.
 *
 * The catalog's writers keep room; the chore of run/ trims.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HISTORY_ROOM_H
#define ETL_HISTORY_ROOM_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

typedef enum EtlHistory
{
	ETL_HISTORY_RUN,
	ETL_HISTORY_TASK,
	ETL_HISTORY_LOG,
	ETL_HISTORY_CHECK,
	ETL_HISTORY_ALERT,
	ETL_HISTORY_DELIVERY
} EtlHistory;

/*
 * etl_history_keep_room makes sure that rows up to 'id', and many more, have
 * a partition to go to.  Called with 0 before rows whose numbers are not
 * known yet, and with the last number after.
 */
extern void etl_history_keep_room(EtlHistory history, int64 id);

/* What was, or would be, removed of one relation. */
typedef struct EtlTrimmed
{
	const char *relation;
	int64		rows;
	int			partitions;		/* dropped whole */
} EtlTrimmed;

/*
 * etl_history_trim removes what is older than 'before' (DT_NOBEGIN: nothing
 * is) or beyond the newest 'keep_runs' runs (0: all are kept).  Runs that
 * have not ended stay, and so does the newest result of every check.  Alerts
 * and deliveries go by age, when they are over.
 */
extern List *etl_history_trim(TimestampTz before, int64 keep_runs, int64 keep_entries,
							  bool dry_run);	/* EtlTrimmed * */

/* when the chore last did so; DT_NOBEGIN: never */
extern TimestampTz etl_history_trimmed_at(void);
extern void etl_history_set_trimmed_at(TimestampTz now);

#endif							/* ETL_HISTORY_ROOM_H */
