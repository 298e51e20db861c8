/*-------------------------------------------------------------------------
 *
 * graph.h
 *    What a run must know of all nodes at once.
 *
 * Called by run/, once for each run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_GRAPH_H
#define ETL_CATALOG_GRAPH_H

#include "nodes/pg_list.h"

/* why a run put records of a node aside, most frequent first: char *, "12 × message" */
extern List *etl_reject_reasons(int64 run_id, const char *target);

/* flags a dataset as built on input that did not succeed; NULL takes the flag away unless an input has it */
extern void etl_node_flag(const char *target, const char *reason);
extern List *etl_checked_all(void);	/* char *: what has checks */
extern bool etl_nodes_flagged(void);	/* is any dataset flagged? */

typedef struct EtlNamePair
{
	char	   *node;
	char	   *other;
} EtlNamePair;

extern List *etl_dependencies_all(void);	/* EtlNamePair *: node depends on other */
extern List *etl_foreign_keys_all(void);	/* EtlNamePair *: node references other, both models */

typedef struct EtlBuiltVersion
{
	char	   *target;
	int			version;
} EtlBuiltVersion;

extern List *etl_built_versions(void);	/* EtlBuiltVersion *: what was published, and of which definition */

#endif							/* ETL_CATALOG_GRAPH_H */
