/*-------------------------------------------------------------------------
 *
 * retention.h
 *    History ends: the chore that removes what is old; see chores.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_RETENTION_H
#define ETL_RUN_RETENTION_H

#include "utils/timestamp.h"

#include "run/run.h"

extern TimestampTz etl_retention_due(TimestampTz now);
extern TimestampTz etl_retention_work(EtlRunDriver *driver, TimestampTz now);

#endif							/* ETL_RUN_RETENTION_H */
