/*-------------------------------------------------------------------------
 *
 * watch.h
 *    Seeing how far a running query has come; for model/execute.c and index_build.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_WATCH_H
#define ETL_MODEL_WATCH_H

#include "nodes/execnodes.h"

/* measures a started plan by its scans until etl_watch_end */
extern void etl_watch_begin(PlanState *plan);
extern void etl_watch_end(void);

#endif							/* ETL_MODEL_WATCH_H */
