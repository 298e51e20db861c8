/*-------------------------------------------------------------------------
 *
 * form.c
 *    Heap tuples into memory of the caller's choice.
 *
 * heap_form_tuple allocates; here rows lie one after the other in memory
 * that is used again for every batch, or that two processes share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "load/form.h"

static inline bool
has_null(TupleDesc desc, const bool *nulls)
{
	return memchr(nulls, 1, desc->natts) != NULL;
}

static inline int
head_length(TupleDesc desc, const bool *nulls)
{
	return MAXALIGN(SizeofHeapTupleHeader + (has_null(desc, nulls) ? BITMAPLEN(desc->natts) : 0));
}

Size
etl_form_length(TupleDesc desc, Datum *values, bool *nulls)
{
	return head_length(desc, nulls) + heap_compute_data_size(desc, values, nulls);
}

void
etl_form_write(TupleDesc desc, Datum *values, bool *nulls, HeapTupleHeader to, Size length)
{
	int			head = head_length(desc, nulls);

	memset(to, 0, length);
	HeapTupleHeaderSetNatts(to, desc->natts);
	to->t_hoff = head;
	heap_fill_tuple(desc, values, nulls, (char *) to + head, length - head, &to->t_infomask,
					has_null(desc, nulls) ? to->t_bits : NULL);
}
