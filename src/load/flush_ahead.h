/*-------------------------------------------------------------------------
 *
 * flush_ahead.h
 *    WAL on its way to disk while rows are still being written.
 *
 * Called by writer.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_FLUSH_AHEAD_H
#define ETL_LOAD_FLUSH_AHEAD_H

#include "access/xlogdefs.h"

/* has the WAL writer write what this process added since 'asked', when that is much */
extern void etl_flush_ahead(XLogRecPtr *asked);

#endif							/* ETL_LOAD_FLUSH_AHEAD_H */
