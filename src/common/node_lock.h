/*-------------------------------------------------------------------------
 *
 * node_lock.h
 *    One session at a time works on a node.
 *
 * Called by run/ for the nodes that it works on, and by whatever changes a
 * node in a way that a run at work on it must not meet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_NODE_LOCK_H
#define ETL_NODE_LOCK_H

/* field 4 of the tag: pg_advisory_lock uses 1 and 2 */
#define ETL_LOCK_CLASS_NODE 69

/* waits until no other session works on the node, and says for whom; keeps the others out */
extern void etl_lock_node(const char *node, bool session);
/* the same until the transaction ends, without waiting; false when another session works on it */
extern bool etl_try_lock_node(const char *node);
extern void etl_unlock_node(const char *node);	/* session-level ones */
extern bool etl_node_is_wanted(const char *node);	/* does another session wait for its lock? */

#endif							/* ETL_NODE_LOCK_H */
