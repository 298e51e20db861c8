/*-------------------------------------------------------------------------
 *
 * expire.h
 *    Retention of streams, for the chore that does it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_EXPIRE_H
#define ETL_RUN_EXPIRE_H

#include "run/run.h"

/* lets go of what no stream keeps, in the current transaction */
extern void etl_expire_all(void);

#endif							/* ETL_RUN_EXPIRE_H */
