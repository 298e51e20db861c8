/*-------------------------------------------------------------------------
 *
 * ahead.h
 *    What planning asks of every node, read ahead at once.
 *
 * Called by run/plan.c around the planning of many nodes; asked by the
 * functions that read the same of one node.  Between begin and end nothing
 * of it may be written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_AHEAD_H
#define ETL_AHEAD_H

#include "catalog/history.h"

extern void etl_ahead_begin(void);
extern void etl_ahead_end(void);

/* false: it is not known without looking */
extern bool etl_ahead_state(const char *target, EtlNodeState *state);
/* true: the relation has no checks */
extern bool etl_ahead_unchecked(const char *target);

#endif							/* ETL_AHEAD_H */
