/*-------------------------------------------------------------------------
 *
 * erase.h
 *    Taking copies of rows out of what etl keeps beside the relations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_ERASE_H
#define ETL_CATALOG_ERASE_H

#include "catalog/sql.h"

/* how many pages etl.reject has now */
extern int64 etl_rejects_pages(void);
/* rejects of a target, closed ones too, that have bytes and lie in these pages */
extern EtlRows *etl_rejects_in_pages(const char *target, int64 first, int64 end);
/* leaves of a reject that there was one; an open one becomes discarded */
extern void etl_reject_erase(int64 reject_id, Datum ctid);
/* how many old and new rows of a relation are on record, and taking all of them out: its readers build in full */
extern int64 etl_changes_count(const char *target);
extern void etl_changes_erase(const char *target, const char *why);
/* the models that read a node, and those that read them */
extern List *etl_models_below(const char *target);
/* the columns of a model that show a column of a node as it is, char * */
extern List *etl_columns_showing(const char *model, const char *node, const char *column);
/*
 * how many frozen keys of a model have one of these values (columns[i] =
 * values[i]) in each of these columns that they have; they go unless it is a dry run
 */
extern int64 etl_frozen_erase(const char *model, List *columns, List *values, bool dry_run);

#endif							/* ETL_CATALOG_ERASE_H */
