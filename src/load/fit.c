/*-------------------------------------------------------------------------
 *
 * fit.c
 *    Whether a row fits into a page, and its keys into the indexes.
 *
 * PostgreSQL finds out when it writes the row, and the error takes the whole
 * batch with it.  What cannot fit is known before: a page holds what is left
 * of a row when every value that can be moved out is moved out, and a B-tree
 * a third of a page of keys.  Such a row is a reject like any other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "common/driver.h"
#include "load/land.h"
#include "load/landing.h"

/* BTMaxItemSize, which has an argument before PostgreSQL 18 */
#define LONGEST_KEY \
	MAXALIGN_DOWN((BLCKSZ - MAXALIGN(SizeOfPageHeaderData + 3 * sizeof(ItemIdData) + 3 * sizeof(ItemPointerData)) - \
				   MAXALIGN(sizeof(BTPageOpaqueData))) / \
				  3)

/* A B-tree whose keys may be too long. */
typedef struct FitIndex
{
	char	   *name;
	TupleDesc	desc;
	AttrNumber *attnums;		/* of the relation, in the order of the index */
} FitIndex;

struct EtlFit
{
	bool		wide;			/* a row may be larger than a page */
	List	   *indexes;		/* of FitIndex * */
};

/* A key at work. */
typedef struct FormKey
{
	FitIndex   *index;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	Size		size;
} FormKey;

/*
 * may_be_wide tells whether a row of the relation may be larger than a page
 * although its long values are moved out.
 */
static bool
may_be_wide(TupleDesc desc)
{
	Size		most = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (att->attlen < 0 && att->attstorage == TYPSTORAGE_PLAIN)
			return true;
		most += att->attlen > 0 ? MAXALIGN(att->attlen) : MAXALIGN(TOAST_POINTER_SIZE) + MAXIMUM_ALIGNOF;
	}
	return most > MaxHeapTupleSize;
}

/*
 * long_keys describes an index whose keys may be too long; NULL: it is none.
 * What has expressions is not written in bulk anyway.
 */
static FitIndex *
long_keys(Relation index)
{
	TupleDesc	desc = RelationGetDescr(index);
	FitIndex   *found;
	bool		bounded = true;

	if (index->rd_rel->relam != BTREE_AM_OID || RelationGetIndexExpressions(index) != NIL)
		return NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int32		most = att->attlen > 0 ? att->attlen : type_maximum_size(att->atttypid, att->atttypmod);

		bounded = bounded && most > 0 && most < ETL_SURE_TO_FIT / desc->natts;
	}
	if (bounded)
		return NULL;
	found = palloc(sizeof(FitIndex));
	found->name = pstrdup(RelationGetRelationName(index));
	found->desc = CreateTupleDescCopy(desc);
	found->attnums = palloc(sizeof(AttrNumber) * desc->natts);
	memcpy(found->attnums, index->rd_index->indkey.values, sizeof(AttrNumber) * desc->natts);
	return found;
}

/*
 * etl_fit_begin: see land.h.
 */
EtlFit *
etl_fit_begin(Relation rel)
{
	EtlFit	   *fit = palloc0(sizeof(EtlFit));
	ListCell   *cell;

	/* what a trigger makes of a row is not known before */
	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->trigdesc != NULL || rel->rd_rules != NULL)
		return NULL;
	fit->wide = may_be_wide(RelationGetDescr(rel));
	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		FitIndex   *found = long_keys(index);

		if (found != NULL)
			fit->indexes = lappend(fit->indexes, found);
		index_close(index, AccessShareLock);
	}
	return fit->wide || fit->indexes != NIL ? fit : NULL;
}

/*
 * least_size measures a row whose long values are moved out, as heaptoast.c
 * would.
 */
static Size
least_size(TupleTableSlot *slot, bool has_toast)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	Size		size = 0;
	bool		nulls = false;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Pointer		value = DatumGetPointer(slot->tts_values[i]);
		Size		length;

		nulls = nulls || slot->tts_isnull[i];
		if (slot->tts_isnull[i])
			continue;
		if (att->attlen != -1)
		{
			size = att_align_nominal(size, att->attalign);
			size += att->attlen > 0 ? att->attlen : strlen(value) + 1;
			continue;
		}
		length = VARSIZE_ANY(value);
		if (has_toast && att->attstorage != TYPSTORAGE_PLAIN && length > MAXALIGN(TOAST_POINTER_SIZE))
			length = TOAST_POINTER_SIZE;
		else if (att->attstorage != TYPSTORAGE_PLAIN && VARATT_CAN_MAKE_SHORT(value))
			length = VARATT_CONVERTED_SHORT_SIZE(value);
		else if (!VARATT_IS_SHORT(value))
			size = att_align_nominal(size, att->attalign);
		size += length;
	}
	return MAXALIGN(MAXALIGN(SizeofHeapTupleHeader + (nulls ? BITMAPLEN(desc->natts) : 0)) + size);
}

/*
 * form_key measures a key as the index would hold it.  'arg' is a FormKey.
 */
static void
form_key(void *arg)
{
	FormKey    *key = arg;
	IndexTuple	tuple = index_form_tuple(key->index->desc, key->values, key->nulls);

	key->size = MAXALIGN(IndexTupleSize(tuple));
	pfree(tuple);
}

/*
 * check_key adds a reason when the row's key is too long for an index.
 */
static void
check_key(FitIndex *index, TupleTableSlot *slot, EtlReasons *reasons)
{
	FormKey		key = {index};
	Size		length = 0;
	ErrorData  *error;

	for (int i = 0; i < index->desc->natts; i++)
	{
		int			from = index->attnums[i] - 1;

		key.nulls[i] = from < 0 || slot->tts_isnull[from];
		if (key.nulls[i])
			continue;
		key.values[i] = slot->tts_values[from];
		length += TupleDescAttr(index->desc, i)->attlen == -1 ?
					  VARSIZE_ANY(DatumGetPointer(key.values[i])) :
					  TupleDescAttr(index->desc, i)->attlen;
	}
	if (length <= ETL_SURE_TO_FIT)
		return;
	error = etl_subxact(form_key, &key);
	if (error != NULL && !etl_fault_of_row(error))
		etl_rethrow(error);
	if (error != NULL || key.size > LONGEST_KEY)
		etl_reasons_add(reasons, "insert", NULL, NULL,
						psprintf("a key of %zu bytes is too long for the index \"%s\"", length, index->name));
}

/*
 * etl_fit_check: see land.h.
 */
void
etl_fit_check(const EtlFit *fit, Relation rel, TupleTableSlot *slot, EtlReasons *reasons)
{
	ListCell   *cell;

	if (fit->wide)
	{
		Size		size = least_size(slot, OidIsValid(rel->rd_rel->reltoastrelid));

		if (size > MaxHeapTupleSize)
			etl_reasons_add(reasons, "insert", NULL, NULL,
							psprintf("the row takes at least %zu bytes, and a page holds %zu; leave fields"
									 " out with the option \"transform\"",
									 size, (Size) MaxHeapTupleSize));
	}
	foreach(cell, fit->indexes)
		check_key(lfirst(cell), slot, reasons);
}
