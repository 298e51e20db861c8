/*-------------------------------------------------------------------------
 *
 * rowset.h
 *    Functions that return the rows of a query they write; called by model/
 *    and quality/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ROWSET_H
#define ETL_ROWSET_H

#include "access/tupdesc.h"
#include "fmgr.h"

/* the relation whose row type the first argument has; ET001 for another type */
extern Oid etl_rowset_relation(FunctionCallInfo fcinfo, const char *function);
/* "t.a, t.b": a null for each dropped column, so that rows fit the row type as it is stored */
extern char *etl_rowset_columns(TupleDesc desc);
/* begins a result of that shape */
extern void etl_rowset_begin(FunctionCallInfo fcinfo, TupleDesc desc, const char *function);
/* runs a query with the caller's rights and the snapshot of the calling query, into the result */
extern void etl_rowset_run(FunctionCallInfo fcinfo, const char *sql);

#endif							/* ETL_ROWSET_H */
