/*-------------------------------------------------------------------------
 *
 * belongings.h
 *    What others gave a table of etl's by hand, and lose when it changes.
 *
 * Called by model/ when a relation is made again, or its columns change.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_BELONGINGS_H
#define ETL_BELONGINGS_H

#include "nodes/pg_list.h"

/* warns of constraints, statistics, publications, and perhaps indexes, that others gave a relation made again */
extern void etl_relation_warn_of_loss(Oid relid, bool with_indexes);

/*
 * etl_belongings_of lists what others gave columns of a table (their numbers):
 * constraints, indexes, statistics, defaults, settings; NOT NULL except of the
 * columns named in 'declared'.
 */
extern List *etl_belongings_of(Oid relid, List *columns, List *declared);

/* warns of those that the table does not have any more, now that the columns have changed */
extern void etl_belongings_warn_of_loss(Oid relid, List *belongings);

#endif							/* ETL_BELONGINGS_H */
