/*-------------------------------------------------------------------------
 *
 * snapshot.h
 *    What snapshot.c tells snapshot_sql.c of a merge; nobody else includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_SNAPSHOT_H
#define ETL_SNAPSHOT_H

#include "model/internal.h"

/* One merge, and the pieces of SQL that its queries are made of. */
typedef struct EtlMerge
{
	const EtlModel *model;
	Oid			relid;
	char	   *table;
	TupleDesc	desc;			/* of the query */
	List	   *columns;		/* char *: columns of the query that the table has */
	QueryEnvironment *environment;
	bool		empty;			/* the table holds nothing yet */
	bool		by_columns;		/* no staged key has a NULL */
	bool		marked;			/* the table has is_deleted */
	bool		history;		/* rows tell their moment */
	char	   *now;
	char	   *staged;			/* FROM item without alias: rows of the query, etl_key, etl_at */
	char	   *current;		/* the same: versions of the table, etl_key, etl_table, etl_ctid */
} EtlMerge;

/* queries of rows (op, table, ctid, columns…), as diff.c applies them */
extern char *etl_snapshot_observed(const EtlMerge *merge);
extern char *etl_snapshot_compared(const EtlMerge *merge, List *added);
/* and what goes on after them: UNION ALL … */
extern char *etl_snapshot_returned(const EtlMerge *merge);
extern char *etl_snapshot_vanished(const EtlMerge *merge, const char *scope, bool quarantined);

/* columns, each with a prefix such as "s." */

#endif							/* ETL_SNAPSHOT_H */
