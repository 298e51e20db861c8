/*-------------------------------------------------------------------------
 *
 * arguments.h
 *    Reading the arguments of SQL functions that take NULL as "not given".
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ARGUMENTS_H
#define ETL_ARGUMENTS_H

#include "fmgr.h"
#include "nodes/pg_list.h"

extern char *etl_arg_text(FunctionCallInfo fcinfo, int n);	/* NULL when it is null */

extern char *etl_arg_nonempty(FunctionCallInfo fcinfo, int n, const char *name);	/* the same; ET001 for '' */
extern char *etl_arg_required(FunctionCallInfo fcinfo, int n, const char *name);	/* raises 22004 for null */

/* list of char *, NIL when it is null; raises ET001 for a null or empty element, naming the argument */
extern List *etl_arg_texts(FunctionCallInfo fcinfo, int n, const char *name);
extern List *etl_arg_columns(FunctionCallInfo fcinfo, int n, const char *name);	/* and for one named twice */
extern List *etl_arg_tags(FunctionCallInfo fcinfo, int n);	/* and for one that no selector can name */

#endif							/* ETL_ARGUMENTS_H */
