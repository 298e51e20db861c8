/*-------------------------------------------------------------------------
 *
 * backfill.h
 *    Building intervals of the past again, below live work.
 *
 * Called by define_schedule.c (pause and resume) and open.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_BACKFILL_H
#define ETL_RUN_BACKFILL_H

#include "run/run.h"

/* a model that builds an interval of its event time without the rest */
extern bool etl_node_uses_interval(const EtlNode *node);
/* raises ET001 when no selected node does */
extern void etl_check_interval(EtlGraph *graph);

/* pauses or resumes the backfill of that name; false when 'name' is not one's */
extern bool etl_backfill_hold(const char *name, bool hold);

#endif							/* ETL_RUN_BACKFILL_H */
