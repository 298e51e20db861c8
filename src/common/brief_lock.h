/*-------------------------------------------------------------------------
 *
 * brief_lock.h
 *    Exclusive locks of relations that nobody is made to queue behind.
 *
 * Called by model/ before it publishes, and by load/ before it changes a
 * table or a view that others read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_BRIEF_LOCK_H
#define ETL_BRIEF_LOCK_H

#include "nodes/pg_list.h"

/*
 * etl_lock_briefly takes the exclusive lock of a relation by polling, to be
 * held until the transaction ends: a queued request would hold up every new
 * reader.  Raises ET019, which names who holds the relation, when readers leave
 * no gap within etl.publish_lock_timeout.
 */
extern void etl_lock_briefly(Oid relid);

/* takes those of several: all or none, so that nobody waits while we wait for another one */
extern void etl_lock_all_briefly(List *relids);

/* takes the lock if nobody holds the relation; tells whether it did */
extern bool etl_lock_at_once(Oid relid);

#endif							/* ETL_BRIEF_LOCK_H */
