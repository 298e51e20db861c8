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
	EtlMatviewDress *dress;		/* of a materialized view that is made again */
	List	   *recorded;		/* char *: inputs whose changes are recorded from now on */
	bool		copied;			/* rows of another relation are published, not the model's query */
	char	   *keep;			/* table for the rows that are replaced; NULL: they are not kept */
	bool		kept;			/* they are in it already */
	bool		created;
	EtlRefit   *refit;			/* what a swap changes of the table beside its rows */
	EtlSwap    *swap;			/* one of the two, or neither for a new table */
	EtlDiff    *diff;
	bool		by_parts;		/* the difference is published by replacing partitions … */
	EtlPartitionSwap *parts;	/* … which are these */
	bool		opened;			/* slices are made due, and built later */
};

#endif							/* ETL_MODEL_STAGED_H */
