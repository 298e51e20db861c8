/*-------------------------------------------------------------------------
 *
 * lineage.h
 *    Walking stored column edges; called by model/look.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_LINEAGE_H
#define ETL_CATALOG_LINEAGE_H

#include "catalog/definition.h"

typedef struct EtlLineageStep
{
	int			depth;			/* 1: edges of the column itself */
	char	   *target;
	EtlColumnEdge edge;
	bool		is_function;	/* of the target, which etl does not manage */
} EtlLineageStep;

/*
 * etl_lineage_walk returns the EtlLineageStep * that are at most 'depth'
 * (0: any) edges away, of one column or of all (NULL).
 */
extern List *etl_lineage_walk(const char *target, const char *column, const char *direction,
							  int depth);

/* views and materialized views on a relation: a list of oids */
extern List *etl_views_on(Oid relid);

typedef struct EtlFunctionReader
{
	Oid			oid;
	char	   *name;			/* with the types of its arguments */
	bool		is_sql;
} EtlFunctionReader;

/* functions whose text names a relation, or that depend on it: EtlFunctionReader * */
extern List *etl_functions_reading(const char *name, Oid relid);

/* raises ET002 unless some definition or edge knows the relation */
extern void etl_lineage_must_know(const char *target);

#endif							/* ETL_CATALOG_LINEAGE_H */
