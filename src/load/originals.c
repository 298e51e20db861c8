/*-------------------------------------------------------------------------
 *
 * originals.c
 *    The bytes of landed records, for as long as their load lasts.
 *
 * A unique check with on_fail quarantine finds its rows when the whole load
 * has landed.  So that such a reject holds its record byte for byte too, and
 * can be replayed, the bytes are kept beside until then, on disk when they
 * are many; only streams that have such a check pay for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "load/land.h"

#define NCOLUMNS 5

struct EtlOriginals
{
	TupleDesc	desc;			/* load_id, position, origin, size, raw */
	Tuplestorestate *rows;
	MemoryContext context;		/* reset with each record */
};

/* What names a record. */
typedef struct RecordKey
{
	int64		load_id;
	int64		position;
} RecordKey;

typedef struct Wanted
{
	RecordKey	key;
	List	   *rejects;		/* EtlReject * */
} Wanted;

EtlOriginals *
etl_originals_begin(void)
{
	EtlOriginals *originals = palloc0(sizeof(EtlOriginals));

	originals->desc = CreateTemplateTupleDesc(NCOLUMNS);
	TupleDescInitEntry(originals->desc, 1, "load_id", INT8OID, -1, 0);
	TupleDescInitEntry(originals->desc, 2, "position", INT8OID, -1, 0);
	TupleDescInitEntry(originals->desc, 3, "origin", TEXTOID, -1, 0);
	TupleDescInitEntry(originals->desc, 4, "size", INT8OID, -1, 0);
	TupleDescInitEntry(originals->desc, 5, "raw", BYTEAOID, -1, 0);
	originals->rows = tuplestore_begin_heap(false, false, work_mem);
	originals->context = AllocSetContextCreate(CurrentMemoryContext, "etl original records",
											   ALLOCSET_DEFAULT_SIZES);
	return originals;
}

void
etl_originals_keep(EtlOriginals *originals, int64 load_id, const char *origin, const EtlRecord *record)
{
	MemoryContext old = MemoryContextSwitchTo(originals->context);
	bool		nulls[NCOLUMNS] = {false};
	Datum		values[NCOLUMNS];
	bytea	   *raw = palloc(VARHDRSZ + record->raw_length);

	SET_VARSIZE(raw, VARHDRSZ + record->raw_length);
	memcpy(VARDATA(raw), record->raw, record->raw_length);
	values[0] = Int64GetDatum(load_id);
	values[1] = Int64GetDatum(record->position);
	values[2] = CStringGetTextDatum(origin);
	values[3] = Int64GetDatum(record->raw_size);
	values[4] = PointerGetDatum(raw);
	tuplestore_putvalues(originals->rows, originals->desc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(originals->context);
}

/*
 * wanted_of indexes rejects by what names their record.
 */
static HTAB *
wanted_of(List *rejects)
{
	HASHCTL		control = {
		.keysize = sizeof(RecordKey), .entrysize = sizeof(Wanted), .hcxt = CurrentMemoryContext};
	HTAB	   *wanted = hash_create("etl wanted records", list_length(rejects), &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ListCell   *cell;

	foreach(cell, rejects)
	{
		EtlReject  *reject = lfirst(cell);
		RecordKey	key = {reject->load_id, reject->position};
		bool		found;
		Wanted	   *entry = hash_search(wanted, &key, HASH_ENTER, &found);

		entry->rejects = lappend(found ? entry->rejects : NIL, reject);
	}
	return wanted;
}

/*
 * give puts the bytes of a kept record into its rejects.
 */
static void
give(List *rejects, TupleTableSlot *slot, bool of_rows)
{
	bytea	   *raw = DatumGetByteaPP(slot->tts_values[4]);
	ListCell   *cell;

	foreach(cell, rejects)
	{
		EtlReject  *reject = lfirst(cell);

		reject->origin = TextDatumGetCString(slot->tts_values[2]);
		reject->record_size = DatumGetInt64(slot->tts_values[3]);
		reject->of_row = of_rows;
		reject->raw_length = VARSIZE_ANY_EXHDR(raw);
		reject->raw = palloc(reject->raw_length + 1);
		memcpy(reject->raw, VARDATA_ANY(raw), reject->raw_length);
	}
}

void
etl_originals_restore(EtlOriginals *originals, List *rejects, bool of_rows)
{
	TupleTableSlot *slot;
	HTAB	   *wanted;

	if (rejects == NIL)
		return;
	wanted = wanted_of(rejects);
	slot = MakeSingleTupleTableSlot(originals->desc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(originals->rows, true, false, slot))
	{
		RecordKey	key;
		Wanted	   *entry;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		key.load_id = DatumGetInt64(slot->tts_values[0]);
		key.position = DatumGetInt64(slot->tts_values[1]);
		entry = hash_search(wanted, &key, HASH_FIND, NULL);
		if (entry != NULL)
			give(entry->rejects, slot, of_rows);
	}
	ExecDropSingleTupleTableSlot(slot);
	hash_destroy(wanted);
}

void
etl_originals_end(EtlOriginals *originals)
{
	tuplestore_end(originals->rows);
	MemoryContextDelete(originals->context);
}
