/*-------------------------------------------------------------------------
 *
 * reread.h
 *    The names of a file's fields for a record of it that is read again.
 *
 * Included only by src/load/replay.c and reread.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_REREAD_H
#define ETL_LOAD_REREAD_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* the options with these names in the place of the file's header */
extern Jsonb *etl_reread_options(const Jsonb *options, List *fields);

/* the options with which one element is a document */
extern Jsonb *etl_reread_element(const Jsonb *options);

#endif							/* ETL_LOAD_REREAD_H */
