/*-------------------------------------------------------------------------
 *
 * watch.h
 *    Seeing how far a running query has come; for model/execute.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_WATCH_H
#define ETL_MODEL_WATCH_H

#include "nodes/execnodes.h"

/* makes the scans of a started plan report progress until etl_watch_end */
extern void etl_watch_begin(PlanState *plan);
extern void etl_watch_end(void);

#endif							/* ETL_MODEL_WATCH_H */
