/*-------------------------------------------------------------------------
 *
 * children.h
 *    Child tables: the lists inside the records of a stream.
 *
 * Included only by src/load/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_CHILDREN_H
#define ETL_LOAD_CHILDREN_H

#include "catalog/child.h"
#include "load/landing.h"

#define ETL_PARENT_LOAD_COLUMN "_etl_parent_load_id"
#define ETL_PARENT_ROW_COLUMN  "_etl_parent_row"
#define ETL_INDEX_COLUMN	   "_etl_index"

/* children.c: spools the lists of a record that may land, and lands them with it */
extern void etl_children_note(EtlLanding *landing, const EtlRecord *record);
/*
 * lands what was spooled for the rows that are in the relation now, in loads
 * of their own; outside of etl_run_as.  Returns the number of rejects.
 */
extern int64 etl_children_land(EtlLanding *landing, const EtlLoad *load);

/* child_define.c: the stream for the lists of a path, made or renewed; NULL relid: there is no relation yet */
extern EtlStream *etl_child_define(const EtlStream *stream, const EtlLoadOptions *options,
								   const char *path, Oid relid);
/* those that the definition of a stream names */
extern void etl_children_define(const EtlStream *stream, const EtlLoadOptions *options);
/* a column of the stream that its children have, too: names here and there, in pairs */
extern List *etl_child_keys(const EtlStream *stream);

/*
 * child_gone.c: deletes what landed with the rows of a stream that a condition
 * over its columns is true for, as whoever is current, before they go; 'why'
 * tells the models (NULL: it is no deletion to them)
 */
extern void etl_children_delete(const EtlStream *stream, const char *condition, const char *why);
/* the same for rows of one child itself; 'sql' runs a statement and returns its rows */
extern void etl_child_delete(const EtlStream *child, const char *condition, const char *why,
							 uint64 (*sql)(const char *statement));
/* loads that landed with a load get its status; unless they are only expired, their rejects are superseded */
extern void etl_children_set_status(int64 load_id, const char *status);
/* whether the row that a rejected item belongs to is still there */
extern bool etl_child_has_parent(const EtlStream *child, EtlDecoder *decoder, const EtlRecord *record);
/* locks what a stream lands with, the outermost first, and the stream */
extern void etl_child_lock(const EtlStream *stream);

#endif							/* ETL_LOAD_CHILDREN_H */
