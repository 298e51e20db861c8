/*-------------------------------------------------------------------------
 *
 * change.h
 *    Which rows of a relation changed, kept until every consumer has them.
 *
 * Called by model/ and load/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CHANGE_H
#define ETL_CHANGE_H

#include "catalog/sql.h"

/* names of the triggers begin with it */
#define ETL_CHANGE_TRIGGER "etl_changed_"

/* The rows that one statement changed. */
typedef struct EtlChangeSet
{
	int64		set_id;
	char	   *unknown;		/* why it is not known which rows; NULL: they are in etl.change */
	List	   *columns;		/* char *: "name type" of each column of the records */
	int64		rows;
	int64		load_id;		/* of an append stream: the rows of this load are gone; 0: none */
} EtlChangeSet;

/* makes values go to text and back unchanged; returns the level for AtEOXact_GUC */
extern int etl_change_text_begin(void);
/* a column as sets name it, and all of a relation: "name type" */
extern char *etl_change_column(Form_pg_attribute column);
extern List *etl_change_columns(TupleDesc desc);

/* adds a set in the transaction of the change; returns its number */
extern int64 etl_change_set_add(const char *target, const char *unknown, List *columns, int64 rows);
/* says that a set holds the rows of a load, which are gone, and how many there were */
extern void etl_change_set_load(int64 set_id, int64 load_id, int64 rows);
/* adds 'n' records (text Datums of rows) to a set, numbered from 'first': as before, or as since */
extern void etl_change_rows_add(int64 set_id, int64 first, bool gone, Datum *records, int n);

/* is there a committed consumer, as of now and whatever the transaction's snapshot says? */
extern bool etl_changes_wanted(const char *target);

/* at most 'limit' rows (n, gone, record) of a set, with numbers greater than 'after' */
extern EtlRows *etl_change_rows_read(int64 set_id, int64 after, int limit);

/* makes the triggers that record changes of a relation, for the partitioned table 'of' if it is a partition */
extern void etl_change_triggers_make(const char *target, const char *of);

/* drops these triggers, and what they have recorded */
extern void etl_change_triggers_drop(const char *target);

/* forgets the sets of a relation that all its consumers have */
extern void etl_changes_prune(const char *target);

#endif							/* ETL_CHANGE_H */
