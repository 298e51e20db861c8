/*-------------------------------------------------------------------------
 *
 * alert_facts.h
 *    What rules of alerts compare with: how nodes usually fare.
 *
 * Called by alert/, in the transaction of the fact.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_ALERT_FACTS_H
#define ETL_CATALOG_ALERT_FACTS_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* of nodes that just succeeded, those whose try before failed: char * */
extern List *etl_nodes_recovered(List *nodes, int64 run_id);
/* seconds that a node usually took, the last ten times that it did something; 0: unknown */
extern double etl_node_usual_seconds(const char *node, int64 before_task);
extern bool etl_rejects_are_open(const char *node);
/* what a run changed of a relation's columns, "column_added colour, size"; NULL: nothing */
extern char *etl_schema_changes_of(const char *node, int64 run_id);
/* nodes of a list that nobody has tried since a moment: char *; *next: the oldest try of the others */
extern List *etl_nodes_not_tried(List *nodes, TimestampTz since, TimestampTz *next);
/* one line of what happened in a time, for a summary */
extern char *etl_runs_summary(TimestampTz since, TimestampTz until);

#endif							/* ETL_CATALOG_ALERT_FACTS_H */
