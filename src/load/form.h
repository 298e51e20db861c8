/*-------------------------------------------------------------------------
 *
 * form.h
 *    Heap tuples into memory of the caller's choice.
 *
 * Called by writer.c and team_help.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_FORM_H
#define ETL_LOAD_FORM_H

#include "access/htup_details.h"
#include "access/tupdesc.h"

/* measures the tuple of a row; its length */
extern Size etl_form_length(TupleDesc desc, Datum *values, bool *nulls);
/* writes it to memory of that length */
extern void etl_form_write(TupleDesc desc, Datum *values, bool *nulls, HeapTupleHeader to, Size length);

#endif							/* ETL_LOAD_FORM_H */
