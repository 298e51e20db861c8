/*-------------------------------------------------------------------------
 *
 * timeout.h
 *    Limits of time: of a statement, of a task, of a run.
 *
 * run/ sets the limits; model/execute.c and run/condition.c time the
 * statements of users.  What expires is cancelled like any statement; afterwards
 * etl_timeout_take tells the expiry from somebody's cancel.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_TIMEOUT_H
#define ETL_TIMEOUT_H

#include "utils/elog.h"

typedef enum EtlTimeout
{
	ETL_TIMEOUT_STATEMENT,
	ETL_TIMEOUT_TASK,
	ETL_TIMEOUT_RUN
} EtlTimeout;

/* starts a clock of which 'used' is over, unless 'ms' is 0 or it runs already; true when it was started */
extern bool etl_timeout_start(EtlTimeout which, int64 ms, int64 used);
/* stops a clock, and forgets that it has expired */
extern void etl_timeout_stop(EtlTimeout which);

/*
 * etl_timeout_take tells whether a cancel was the expiry of this clock; then
 * it makes the error say so.  The clock is stopped.
 */
extern bool etl_timeout_take(EtlTimeout which, ErrorData *error);

/* of each statement of users from now on; 0: no limit */
extern int64 etl_statement_limit_ms;

#endif							/* ETL_TIMEOUT_H */
