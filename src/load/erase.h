/*-------------------------------------------------------------------------
 *
 * erase.h
 *    What the files that erase rows share; nobody else includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_ERASE_H
#define ETL_LOAD_ERASE_H

#include "utils/hsearch.h"

#include "load/landing.h"

/* One column and the value that rows to be erased have in it. */
typedef struct EtlEraseValue
{
	char	   *column;
	char	   *text;
	Oid			type;			/* InvalidOid: texts are compared */
	int32		typmod;
	Datum		value;			/* of that type */
} EtlEraseValue;

/* A row that is erased, by its place in a load. */
typedef struct EtlErasedRow
{
	int64		load_id;
	int64		row_number;
} EtlErasedRow;

/*
 * erase_reject.c: how many rejects are copies of what is erased; they lose
 * their bytes unless it is a dry run.  'keys' is a list of lists of
 * EtlEraseValue: a record that has all values of one of them is meant.
 */
extern int64 etl_erase_rejects(const EtlStream *stream, List *keys, bool dry_run);
/* the same for items of rows (EtlErasedRow) of the parent that are erased */
extern int64 etl_erase_item_rejects(const EtlStream *child, HTAB *parents, bool dry_run);
/* the same for rows of a model, by columns of the same names */
extern int64 etl_erase_model_rejects(const char *target, List *keys, bool dry_run);

/*
 * erase_frozen.c: how many frozen keys of a model below a stream name what is
 * erased; they go, and the model is built in full, unless it is a dry run.
 */
extern int64 etl_erase_frozen(const char *stream, const char *model, List *keys, const char *why,
							  bool dry_run);

#endif							/* ETL_LOAD_ERASE_H */
