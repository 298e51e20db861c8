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

/* rows written at once, and the bytes that may wait for it */
#define SLOTS			128
#define MAX_BATCH_BYTES (4 * 1024 * 1024)

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

/* etl.reject, open for writing. */
struct EtlRejectWriter
{
	MemoryContext context;		/* lives as long as the writer */
	MemoryContext batch;		/* rows that the slots hold */
	Relation	rel;
	Oid			sequence;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slots[SLOTS];
	int			n;				/* slots filled */
	Size		bytes;			/* in them */
	bytea	   *raw;			/* as large as the largest record so far */
	Size		raw_size;
	Datum		status;			/* the text "open" */
	char	   *target_of;		/* what 'target' and 'origin' were made of */
	char	   *origin_of;
	Datum		target;
	Datum		origin;
};

/*
 * etl_bytes_text renders the bytes of a record as text: what is not valid in
 * the server's encoding, and NUL, as \xHH.
 */
char *
etl_bytes_text(const char *bytes, int length)
{
	const char *p = bytes;
	const char *end = p + length;
	StringInfoData out;

	/* nearly every record is plain text */
	if (memchr(p, '\0', length) == NULL && pg_verify_mbstr(GetDatabaseEncoding(), p, length, true))
		return pnstrdup(p, length);

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
	return out.data;
}

/*
 * etl_sql_record renders the bytes of a record as text.
 */
Datum
etl_sql_record(PG_FUNCTION_ARGS)
{
	bytea	   *raw = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_TEXT_P(cstring_to_text(etl_bytes_text(VARDATA_ANY(raw), VARSIZE_ANY_EXHDR(raw))));
}

/*
 * etl_reject_writer_begin opens etl.reject and its indexes.  The writer lives
 * in the caller's subtransaction and memory context.
 */
EtlRejectWriter *
etl_reject_writer_begin(void)
{
	Oid			schema = get_namespace_oid("etl", false);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl rejects",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlRejectWriter *writer = palloc0(sizeof(EtlRejectWriter));

	writer->context = context;
	writer->batch = AllocSetContextCreate(context, "etl batch of rejects", ALLOCSET_DEFAULT_SIZES);
	writer->rel = table_open(get_relname_relid("reject", schema), RowExclusiveLock);
	writer->sequence = get_relname_relid("reject_id_seq", schema);
	if (RelationGetDescr(writer->rel)->natts != NCOLUMNS)
		elog(ERROR, "etl.reject has %d columns instead of %d",
			 RelationGetDescr(writer->rel)->natts, NCOLUMNS);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->rel, 0, NULL, 0);
	ExecOpenIndices(writer->result, false);
	writer->status = CStringGetTextDatum("open");
	MemoryContextSwitchTo(old);
	return writer;
}

/*
 * shared_text makes the text of a string, or gives back the one of the row
 * before, which in all likelihood has the same.
 */
static Datum
shared_text(EtlRejectWriter *writer, const char *value, char **made_of, Datum *made)
{
	if (*made_of == NULL || strcmp(value, *made_of) != 0)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		if (*made_of != NULL)
		{
			pfree(*made_of);
			pfree(DatumGetPointer(*made));
		}
		*made_of = pstrdup(value);
		*made = CStringGetTextDatum(value);
		MemoryContextSwitchTo(old);
	}
	return *made;
}

/*
 * raw_value makes the bytea of the record's bytes, in memory used again.
 */
static Datum
raw_value(EtlRejectWriter *writer, const EtlReject *reject)
{
	Size		size = VARHDRSZ + reject->raw_length;

	if (size > writer->raw_size)
	{
		if (writer->raw != NULL)
			pfree(writer->raw);
		writer->raw = NULL;
		writer->raw_size = size + size / 2;
		writer->raw = MemoryContextAllocHuge(writer->context, writer->raw_size);
	}
	SET_VARSIZE(writer->raw, size);
	if (reject->raw_length > 0)
		memcpy(VARDATA(writer->raw), reject->raw, reject->raw_length);
	return PointerGetDatum(writer->raw);
}

/*
 * form_row makes the row of a reject.
 */
static HeapTuple
form_row(EtlRejectWriter *writer, const EtlReject *reject)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {0};

	values[COL_REJECT_ID] = Int64GetDatum(nextval_internal(writer->sequence, false));
	values[COL_TARGET] = shared_text(writer, reject->target, &writer->target_of, &writer->target);
	values[COL_LOAD_ID] = Int64GetDatum(reject->load_id);
	nulls[COL_LOAD_ID] = reject->load_id == 0;
	values[COL_RUN_ID] = Int64GetDatum(reject->run_id);
	nulls[COL_RUN_ID] = reject->run_id == 0;
	nulls[COL_ORIGIN] = reject->origin == NULL;
	if (reject->origin != NULL)
		values[COL_ORIGIN] = shared_text(writer, reject->origin, &writer->origin_of, &writer->origin);
	values[COL_POSITION] = Int64GetDatum(reject->position);
	nulls[COL_POSITION] = reject->position == 0;
	values[COL_RAW] = raw_value(writer, reject);
	values[COL_RECORD_SIZE] = Int64GetDatum(reject->record_size);
	values[COL_REASONS] = PointerGetDatum(reject->reasons);
	values[COL_STATUS] = writer->status;
	values[COL_REJECTED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[COL_CLOSED_AT] = true;
	values[COL_OF_ROW] = BoolGetDatum(true);
	nulls[COL_OF_ROW] = !reject->of_row;
	return heap_form_tuple(RelationGetDescr(writer->rel), values, nulls);
}

void
etl_reject_writer_put(EtlRejectWriter *writer, const EtlReject *reject)
{
	MemoryContext old;
	TupleTableSlot **slot = &writer->slots[writer->n];
	HeapTuple	row;

	if (*slot == NULL)
	{
		old = MemoryContextSwitchTo(writer->context);
		*slot = MakeSingleTupleTableSlot(RelationGetDescr(writer->rel), &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}
	old = MemoryContextSwitchTo(writer->batch);
	row = form_row(writer, reject);
	/* the slot owns the row, so that it is not copied again before it is written */
	ExecStoreHeapTuple(row, *slot, true);
	MemoryContextSwitchTo(old);
	writer->bytes += row->t_len;
	if (++writer->n == SLOTS || writer->bytes >= MAX_BATCH_BYTES)
		etl_reject_writer_flush(writer);
}

void
etl_reject_writer_flush(EtlRejectWriter *writer)
{
	MemoryContext old = MemoryContextSwitchTo(writer->batch);

	if (writer->n > 0)
		table_multi_insert(writer->rel, writer->slots, writer->n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < writer->n; i++)
	{
		writer->slots[i]->tts_tableOid = RelationGetRelid(writer->rel);
		list_free(etl_insert_index_tuples(writer->result, writer->slots[i], writer->estate));
		ResetPerTupleExprContext(writer->estate);
		ExecClearTuple(writer->slots[i]);
	}
	writer->n = 0;
	writer->bytes = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->batch);
}

void
etl_reject_writer_end(EtlRejectWriter *writer)
{
	etl_reject_writer_flush(writer);
	for (int i = 0; i < SLOTS && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->result);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	MemoryContextDelete(writer->context);
	CommandCounterIncrement();
}

void
etl_rejects_store(List *rejects)
{
	EtlRejectWriter *writer;
	ListCell   *cell;

	if (rejects == NIL)
		return;
	writer = etl_reject_writer_begin();
	foreach(cell, rejects)
		etl_reject_writer_put(writer, lfirst(cell));
	etl_reject_writer_end(writer);
}
