/*-------------------------------------------------------------------------
 *
 * parse.h
 *    SQL of users to raw parse trees.
 *
 * Called by whoever reads the text of a definition.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_PARSE_H
#define ETL_PARSE_H

#include "nodes/pg_list.h"
#include "parser/parser.h"
#include "utils/elog.h"

/* While one is active, the position of an error is one in 'text', not in the caller's statement. */
typedef struct EtlQueryText
{
	ErrorContextCallback callback;
	const char *text;
} EtlQueryText;

extern void etl_query_text_begin(EtlQueryText *query, const char *text);
extern void etl_query_text_end(EtlQueryText *query);

/* a list of RawStmt; a syntax error shows this text and the place in it */
extern List *etl_parse(const char *text);

/* etl_condition_query makes a query of a condition, which may be one already */
extern char *etl_condition_query(const char *condition);

/* etl_name_twice returns the first name (char *) that a list holds again later, or NULL */
extern const char *etl_name_twice(List *names);

extern bool etl_name_among(List *names, const char *name);

/* true for ctid, xmin and the like, which no column can be called */
extern bool etl_name_is_system_column(const char *name);

#endif							/* ETL_PARSE_H */
