/*-------------------------------------------------------------------------
 *
 * dbt.h
 *    What the files of etl.import_dbt share; nobody else includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DBT_H
#define ETL_DBT_H

#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* An import at work. */
typedef struct EtlDbt
{
	Jsonb	   *nodes;			/* of the manifest */
	Jsonb	   *sources;
	ReturnSetInfo *result;
} EtlDbt;

/* One entry of the manifest on its way. */
typedef struct EtlDbtItem
{
	EtlDbt	   *dbt;
	char	   *id;				/* its unique_id */
	Jsonb	   *node;
	Jsonb	   *config;
	char	   *target;			/* canonical; NULL: it is no relation */
	char	   *part;			/* of a test: its name */
	List	   *left;			/* char *: what of it has no counterpart */
} EtlDbtItem;

extern EtlDbtItem *etl_dbt_item(EtlDbt *dbt, char *id, Jsonb *node);
extern void etl_dbt_leave(EtlDbtItem *item, char *what);
/* adds the row of an entry; what is left belongs to its detail */
extern void etl_dbt_put(EtlDbtItem *item, const char *action, const char *detail);
/* calls a define function; NULL, and a row with the error, when it failed */
extern char *etl_dbt_call(EtlDbtItem *item, const char *sql);
/* the same, and a row with its answer */
extern void etl_dbt_define(EtlDbtItem *item, const char *sql, const char *detail);

extern Jsonb *etl_dbt_find(const EtlDbt *dbt, const char *id);	/* a node or source; NULL: there is none */
extern char *etl_dbt_relation(const Jsonb *node);	/* its canonical name, without the database */
extern char *etl_dbt_query(const char *sql);	/* compiled SQL with canonical names */
extern char *etl_dbt_column(const char *text);	/* NULL: it is an expression */
extern List *etl_dbt_parents(const Jsonb *node);	/* char *: depends_on.nodes */
extern bool etl_dbt_is(const Jsonb *object, const char *key, const char *value);
extern char *etl_dbt_list(List *texts);	/* as a JSON array */
extern void etl_dbt_schema(const char *target);	/* makes sure of it */

extern void etl_dbt_model(EtlDbtItem *item);	/* dbt_model.c: models and snapshots */
extern void etl_dbt_test(EtlDbtItem *item);	/* dbt_test.c */
extern void etl_dbt_freshness(EtlDbtItem *item);
extern void etl_dbt_unit_test(EtlDbtItem *item);	/* dbt_unit.c */

#endif							/* ETL_DBT_H */
