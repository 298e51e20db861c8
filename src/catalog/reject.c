/*-------------------------------------------------------------------------
 *
 * reject.c
 *    Rejects on their way into etl.reject, and their bytes as text.
 *
 * Rejects may be many: they are written as COPY writes rows, straight into
 * the heap and the indexes.  Nobody but the extension's owner has grants on
 * the table, and it has neither triggers nor policies that would be passed by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/history.h"
#include "common/compat.h"

#define SLOTS 64

PG_FUNCTION_INFO_V1(etl_sql_record);

/* Columns of etl.reject, in the order of the table. */
enum
{
	COL_REJECT_ID,
	COL_TARGET,
	COL_LOAD_ID,
	COL_RUN_ID,
	COL_ORIGIN,
	COL_POSITION,
	COL_RAW,
	COL_RECORD_SIZE,
	COL_REASONS,
	COL_STATUS,
	COL_REJECTED_AT,
	COL_CLOSED_AT,
	COL_OF_ROW,
	NCOLUMNS
};

/* The table, open for writing. */
typedef struct RejectTable
{
	Relation	rel;
	Oid			sequence;
	EState	   *estate;
	ResultRelInfo *result;
	CommandId	cid;
	TupleTableSlot *slots[SLOTS];
	int			nslots;			/* made */
	int			n;				/* filled */
	Datum		status;			/* the text "open" */
	const char *target_of;		/* what 'target' and 'origin' were made of */
	const char *origin_of;
	Datum		target;
	Datum		origin;
} RejectTable;

/*
 * etl_sql_record renders the bytes of a record as text: what is not valid in
 * the server's encoding, and NUL, as \xHH.
 */
Datum
etl_sql_record(PG_FUNCTION_ARGS)
{
	bytea	   *raw = PG_GETARG_BYTEA_PP(0);
	int			length = VARSIZE_ANY_EXHDR(raw);
	const char *p = VARDATA_ANY(raw);
	const char *end = p + length;
	StringInfoData out;

	/* nearly every record is plain text */
	if (memchr(p, '\0', length) == NULL && pg_verify_mbstr(GetDatabaseEncoding(), p, length, true))
		PG_RETURN_TEXT_P(cstring_to_text_with_len(p, length));

	initStringInfo(&out);
	while (p < end)
	{
		int			width = pg_encoding_mblen(GetDatabaseEncoding(), p);

		if (*p != '\0' && width <= end - p &&
			pg_encoding_verifymbchar(GetDatabaseEncoding(), p, end - p) == width)
		{
			appendBinaryStringInfo(&out, p, width);
			p += width;
		}
		else
			appendStringInfo(&out, "\\x%02X", (unsigned char) *p++);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/*
 * open_table opens etl.reject and its indexes.
 */
static RejectTable *
open_table(void)
{
	Oid			schema = get_namespace_oid("etl", false);
	RejectTable *table = palloc0(sizeof(RejectTable));

	table->rel = table_open(get_relname_relid("reject", schema), RowExclusiveLock);
	table->sequence = get_relname_relid("reject_id_seq", schema);
	if (RelationGetDescr(table->rel)->natts != NCOLUMNS)
		elog(ERROR, "etl.reject has %d columns instead of %d",
			 RelationGetDescr(table->rel)->natts, NCOLUMNS);
	table->estate = CreateExecutorState();
	table->result = makeNode(ResultRelInfo);
	InitResultRelInfo(table->result, table->rel, 0, NULL, 0);
	ExecOpenIndices(table->result, false);
	table->cid = GetCurrentCommandId(true);
	table->status = CStringGetTextDatum("open");
	return table;
}

/*
 * write_slots writes what the slots hold.
 */
static void
write_slots(RejectTable *table)
{
	if (table->n == 0)
		return;
	table_multi_insert(table->rel, table->slots, table->n, table->cid, 0, NULL);
	for (int i = 0; i < table->n; i++)
	{
		table->slots[i]->tts_tableOid = RelationGetRelid(table->rel);
		list_free(etl_insert_index_tuples(table->result, table->slots[i], table->estate));
		ResetPerTupleExprContext(table->estate);
		ExecClearTuple(table->slots[i]);
	}
	table->n = 0;
}

/*
 * close_table makes what was written visible to the commands that follow.
 */
static void
close_table(RejectTable *table)
{
	for (int i = 0; i < table->nslots; i++)
		ExecDropSingleTupleTableSlot(table->slots[i]);
	ExecCloseIndices(table->result);
	FreeExecutorState(table->estate);
	table_close(table->rel, NoLock);
	CommandCounterIncrement();
}

/*
 * shared_text makes the text of a string, or gives back the one of the row
 * before, which in all likelihood has the same.
 */
static Datum
shared_text(const char *value, const char **made_of, Datum *made)
{
	if (value != *made_of)
	{
		*made = CStringGetTextDatum(value);
		*made_of = value;
	}
	return *made;
}

/*
 * put_reject fills the next slot.
 */
static void
put_reject(RejectTable *table, const EtlReject *reject)
{
	bytea	   *raw = palloc(VARHDRSZ + reject->raw_length);
	TupleTableSlot *slot;
	Datum	   *values;

	if (table->n == table->nslots)
		table->slots[table->nslots++] = table_slot_create(table->rel, NULL);
	slot = table->slots[table->n++];
	values = slot->tts_values;
	memset(slot->tts_isnull, 0, sizeof(bool) * NCOLUMNS);

	SET_VARSIZE(raw, VARHDRSZ + reject->raw_length);
	if (reject->raw_length > 0)
		memcpy(VARDATA(raw), reject->raw, reject->raw_length);

	values[COL_REJECT_ID] = Int64GetDatum(nextval_internal(table->sequence, false));
	values[COL_TARGET] = shared_text(reject->target, &table->target_of, &table->target);
	values[COL_LOAD_ID] = Int64GetDatum(reject->load_id);
	slot->tts_isnull[COL_LOAD_ID] = reject->load_id == 0;
	values[COL_RUN_ID] = Int64GetDatum(reject->run_id);
	slot->tts_isnull[COL_RUN_ID] = reject->run_id == 0;
	slot->tts_isnull[COL_ORIGIN] = reject->origin == NULL;
	if (reject->origin != NULL)
		values[COL_ORIGIN] = shared_text(reject->origin, &table->origin_of, &table->origin);
	values[COL_POSITION] = Int64GetDatum(reject->position);
	slot->tts_isnull[COL_POSITION] = reject->position == 0;
	values[COL_RAW] = PointerGetDatum(raw);
	values[COL_RECORD_SIZE] = Int64GetDatum(reject->record_size);
	values[COL_REASONS] = PointerGetDatum(reject->reasons);
	values[COL_STATUS] = table->status;
	values[COL_REJECTED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	slot->tts_isnull[COL_CLOSED_AT] = true;
	values[COL_OF_ROW] = BoolGetDatum(true);
	slot->tts_isnull[COL_OF_ROW] = !reject->of_row;
	ExecStoreVirtualTuple(slot);
}

void
etl_rejects_store(List *rejects)
{
	MemoryContext context;
	MemoryContext old;
	RejectTable *table;
	ListCell   *cell;

	if (rejects == NIL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "etl rejects", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	table = open_table();
	foreach(cell, rejects)
	{
		put_reject(table, lfirst(cell));
		if (table->n == SLOTS)
			write_slots(table);
	}
	write_slots(table);
	close_table(table);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
