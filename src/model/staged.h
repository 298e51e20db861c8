/*-------------------------------------------------------------------------
 *
 * staged.h
 *    A build between its halves: made by build.c, published by finish.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_STAGED_H
#define ETL_MODEL_STAGED_H

#include "model/internal.h"

struct EtlStaged
{
	EtlDriver  *driver;
	EtlModel   *model;
	EtlDue	   *due;
	EtlBuildResult *result;
	EtlCheckSet *checks;
	List	   *dependents;		/* managed views dropped on the way */
	List	   *recorded;		/* char *: inputs whose changes are recorded from now on */
	bool		copied;			/* rows of another relation are published, not the model's query */
	char	   *keep;			/* table for the rows that are replaced; NULL: they are not kept */
	bool		kept;			/* they are in it already */
	bool		created;
	Oid			replaced;		/* what the created relation takes the place of at the end; or InvalidOid */
	List	   *others_indexes; /* those that others made of what is replaced; replace.c */
	EtlRefit   *refit;			/* what a swap changes of the table beside its rows */
	EtlSwap    *swap;			/* one of the two, or neither for a new table */
	EtlDiff    *diff;
	bool		by_parts;		/* the difference is published by replacing partitions … */
	EtlPartitionSwap *parts;	/* … which are these */
	bool		opened;			/* slices are made due, and built later */
};

/* ---- reshape.c: a table that is published by DML gets other columns ---- */

/* says that it is to, once its rows are computed; raises what is in the way */
extern void etl_reshape_plan(EtlStaged *staged, TupleDesc desc);
/*
 * the columns that come with it, to compare with the rows that are there as if
 * they were all NULL; alters it at once where it has to be rewritten
 */
extern List *etl_reshape_coming(EtlStaged *staged, TupleDesc desc);

/* ---- replace.c: another relation in the place of the target ---- */

/* must the target be made again, since what is there can never hold the model? */
extern bool etl_replace_is_due(EtlStaged *staged, TupleDesc desc);
/* makes the new one beside it: due->relid is that from now on; inside etl_run_as */
extern void etl_replace_begin(EtlStaged *staged, TupleDesc desc);
/* builds the indexes that others made, once its rows are there; inside etl_run_as */
extern void etl_replace_index(EtlStaged *staged);
/* puts it in the place of the old one, which is dropped; inside etl_run_as */
extern void etl_replace_publish(EtlStaged *staged);

#endif							/* ETL_MODEL_STAGED_H */
