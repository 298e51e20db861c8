/*-------------------------------------------------------------------------
 *
 * clock.h
 *    The clock that schedules, SLAs and retries read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CLOCK_H
#define ETL_CLOCK_H

#include "utils/timestamp.h"

/* etl_now returns etl.test_now when it is set, else the real time. */
extern TimestampTz etl_now(void);

#endif							/* ETL_CLOCK_H */
