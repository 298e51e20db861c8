/*-------------------------------------------------------------------------
 *
 * unit_test.h
 *    Unit tests of models: what the files of model/ that run them share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_UNIT_TEST_H
#define ETL_MODEL_UNIT_TEST_H

#include "catalog/unit_test.h"
#include "model/internal.h"

/* ---- unit_define.c ---- */

/* char *: everything whose rows can be given to a model, views on the way included */
extern List *etl_unit_inputs(const EtlModel *model);
/* raises ET001 for a name among the given rows that the model does not read */
extern void etl_unit_check_given(const EtlModel *model, const List *steps);
extern List *etl_unit_steps(const Jsonb *given);	/* Jsonb *: objects of rows by name */

/* ---- unit_given.c: rows in the place of relations ---- */

/* the rows of a list as a SELECT of columns of these names and types */
extern char *etl_unit_rows_sql(const Jsonb *rows, TupleDesc desc, List *columns, const char *of);
/* the rows of a relation; none when it is not named */
extern Jsonb *etl_unit_rows_of(const Jsonb *rows, const char *name);
/* columns that the objects of a list name, in the order of 'desc'; 42703 for one that it has not */
extern List *etl_unit_columns(const Jsonb *rows, TupleDesc desc, const char *of);
/* puts the rows in the place of what a query reads, in its tree */
extern Query *etl_unit_give(Query *query, const Jsonb *rows);

/* Tables that stand for what a model reads, in a schema of their own. */
typedef struct EtlUnitScratch
{
	char	   *schema;
	const EtlModel *model;
	EtlModel   *copy;			/* of the model, reading these tables */
	List	   *relations;		/* EtlUnitTable * */
} EtlUnitScratch;

typedef struct EtlUnitTable
{
	Oid			real;
	Oid			relid;			/* what stands for it */
	char	   *name;			/* of the real one, canonical */
} EtlUnitTable;

extern EtlUnitScratch *etl_unit_scratch(const EtlModel *model, const Jsonb *first);
/* makes the tables hold what the rows say, by deletes and inserts of what differs */
extern void etl_unit_put(EtlUnitScratch *scratch, const Jsonb *rows);

/* ---- unit_stand_in.c ---- */

/* makes, empty, what a model reads and what is not there yet */
extern void etl_unit_stand_ins(const EtlModel *model, const List *steps);

/* ---- unit_guard.c: that nothing real is read ---- */

extern void etl_unit_guard_begin(const char *scratch_schema);
extern void etl_unit_guard_end(void);

/* ---- unit_diff.c ---- */

typedef struct EtlUnitDiff
{
	int			rows;			/* that differ */
	StringInfoData json;
} EtlUnitDiff;

/* compares rows of a query with those expected of it; 'where' names them in the result */
extern void etl_unit_compare(EtlUnitDiff *diff, const char *where, const Jsonb *expected, TupleDesc desc,
							 Tuplestorestate *actual, List *key);

#endif							/* ETL_MODEL_UNIT_TEST_H */
