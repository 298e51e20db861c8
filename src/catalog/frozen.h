/*-------------------------------------------------------------------------
 *
 * frozen.h
 *    The keys of models whose history retention removed in part.
 *
 * Called by model/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_FROZEN_H
#define ETL_FROZEN_H

#include "nodes/pg_list.h"

/* keys: char *, JSON arrays of the texts of the columns' values, in their order */
extern void etl_frozen_add(const char *model, List *columns, List *keys);
/* the sets of columns by which keys of a model are frozen, List * of char *; NIL: none are */
extern List *etl_frozen_columns(const char *model);
/*
 * those of some columns, as they were added; when 'candidates' is not NIL only
 * those among them and, with 'nulls', those with a NULL
 */
extern List *etl_frozen_keys(const char *model, List *columns, List *candidates, bool nulls);
/* a model is built of what is there, all of it */
extern void etl_frozen_forget(const char *model);

#endif							/* ETL_FROZEN_H */
