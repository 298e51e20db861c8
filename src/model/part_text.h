/*-------------------------------------------------------------------------
 *
 * part_text.h
 *    The texts of views and functions, and what literals say.
 *
 * Called by traits.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_PART_TEXT_H
#define ETL_MODEL_PART_TEXT_H

#include "nodes/parsenodes.h"
#include "utils/rel.h"

/* what a view or function computes by; the same as long as its result can only be the same */
extern char *etl_view_text(Relation view, Query *query);
/* queries: what the body of an SQL function says; NIL: its source does */
extern char *etl_function_text(Oid function, List *queries);
extern char *etl_function_source(Oid function);
extern char *etl_part_hash(const char *text);
/* of the settings in force that change what a text means */
extern uint64 etl_settings_hash(void);

/* is it a date or a time, or made of such? */
extern bool etl_type_tells_time(Oid type);
/* is there a word that means another moment every day? */
extern bool etl_text_is_moment(const char *text);
/* the same of the literal at a place of a query */
extern bool etl_literal_is_moment(const char *source, int location);

#endif							/* ETL_MODEL_PART_TEXT_H */
