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

/* list of char *, NIL when it is null; raises ET001 for a null element, naming the argument */
extern List *etl_arg_texts(FunctionCallInfo fcinfo, int n, const char *name);

#endif							/* ETL_ARGUMENTS_H */
