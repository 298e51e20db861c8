/*-------------------------------------------------------------------------
 *
 * writer.c
 *    Rows of a model's query on their way into a heap or a tuplestore.
 *
 * Every row passes the row checks once, before it is stored anywhere: what
 * is quarantined never reaches the relation.  Rejects are spilled beside
 * and stored after the query has ended, since a parallel query allows no
 * other statement while it runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/guc.h"
#include "common/progress.h"
#include "model/internal.h"

#define BATCH_ROWS	1000
#define BATCH_BYTES (1024 * 1024)

struct EtlWriter
{
	DestReceiver pub;
	const EtlModel *model;
	int64		run_id;
	TupleDesc	query_desc;
	EtlCheckSet *checks;		/* NULL: no row checks */
	const EtlSlicing *slicing;	/* NULL: rows may be of any time */
	TimestampTz since;
	TimestampTz until;
	int64		received;
	int64		rows;
	int64		rejected;

	/* what was quarantined: (record text, reasons jsonb) */
	TupleDesc	reject_desc;
	Tuplestorestate *rejects;
	Tuplestorestate *quarantined;	/* the rows themselves; NULL: nobody asks for them */
	TupleTableSlot *versioned;	/* a row with the columns of a snapshot, for the checks */

	/* one of the three sinks */
	Tuplestorestate *store;
	TupleTableSlot *store_slot;

	EtlInsertion *insertion;

	Relation	heap;
	Relation	target;
	Relation	constraints_of; /* the target, with the columns of the heap */
	ResultRelInfo *result_rel;
	EState	   *estate;
	AttrNumber *attnums;		/* of each query column in the heap; 0: it has none of that name */
	TupleTableSlot **slots;
	int			nslots;
	Size		bytes;
	BulkInsertState bulk;
	int			options;
	CommandId	cid;
	MemoryContext context;		/* the writer's own */
	MemoryContext row_context;	/* reset often */
};

/*
 * flush writes the collected rows in one call.
 */
static void
flush(EtlWriter *writer)
{
	if (writer->nslots == 0)
		return;
	table_multi_insert(writer->heap, writer->slots, writer->nslots, writer->cid, writer->options,
					   writer->bulk);
	for (int i = 0; i < writer->nslots; i++)
		ExecClearTuple(writer->slots[i]);
	writer->nslots = 0;
	writer->bytes = 0;
	CHECK_FOR_INTERRUPTS();
}

/*
 * put_heap maps a row to the heap's columns and collects it.
 */
static void
put_heap(EtlWriter *writer, TupleTableSlot *row)
{
	TupleDesc	desc = RelationGetDescr(writer->heap);
	TupleConstr *constr = RelationGetDescr(writer->constraints_of)->constr;
	TupleTableSlot *slot = writer->slots[writer->nslots];

	if (slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		slot = writer->slots[writer->nslots] = table_slot_create(writer->heap, NULL);
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, desc->natts);
	for (int i = 0; i < writer->query_desc->natts; i++)
	{
		int			at = writer->attnums[i] - 1;

		if (at < 0)
			continue;
		slot->tts_values[at] = row->tts_values[i];
		slot->tts_isnull[at] = row->tts_isnull[i];
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(writer->heap);
	if (constr != NULL)
	{
		ResetPerTupleExprContext(writer->estate);
		if (constr->has_generated_stored)
			ExecComputeStoredGenerated(writer->result_rel, writer->estate, slot, CMD_INSERT);
		if (constr->has_not_null || constr->num_check > 0)
			ExecConstraints(writer->result_rel, slot, writer->estate);
	}
	ExecMaterializeSlot(slot);
	if (TTS_IS_BUFFERTUPLE(slot))
		writer->bytes += ((BufferHeapTupleTableSlot *) slot)->base.tuple->t_len;
	writer->nslots++;
	if (writer->nslots == BATCH_ROWS || writer->bytes > BATCH_BYTES)
		flush(writer);
}

/*
 * put_reject keeps a quarantined row whole, as JSON, with its reasons.
 */
static void
put_reject(EtlWriter *writer, TupleTableSlot *row, Jsonb *reasons)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	BlessTupleDesc(row->tts_tupleDescriptor);
	values[0] = DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(row));
	values[1] = PointerGetDatum(reasons);
	tuplestore_putvalues(writer->rejects, writer->reject_desc, values, nulls);
	writer->rejected++;
}

/*
 * as_version gives a row the columns of a snapshot's version: it is to become
 * a current one.
 */
static TupleTableSlot *
as_version(EtlWriter *writer, TupleTableSlot *row)
{
	TupleTableSlot *slot = writer->versioned;
	int			n = writer->query_desc->natts;

	if (slot == NULL)
		return row;
	ExecClearTuple(slot);
	memcpy(slot->tts_values, row->tts_values, n * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, n * sizeof(bool));
	for (int i = n; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_isnull[i] = i < n + 2;	/* valid_from, valid_to */
		slot->tts_values[i] = BoolGetDatum(i == n + 2);
	}
	return ExecStoreVirtualTuple(slot);
}

/*
 * is_outside tells whether a row lies outside of the slice that is written.
 */
static bool
is_outside(EtlWriter *writer, TupleTableSlot *row)
{
	int			i = writer->slicing->resno - 1;
	TimestampTz at;

	return row->tts_isnull[i] || !etl_slice_value(writer->slicing, row->tts_values[i], &at) ||
		   at < writer->since || at >= writer->until;
}

/*
 * receive takes one row of the query.
 */
static bool
receive(TupleTableSlot *row, DestReceiver *self)
{
	EtlWriter  *writer = (EtlWriter *) self;
	MemoryContext old = MemoryContextSwitchTo(writer->row_context);

	etl_progress_rows++;
	etl_progress_check();
	slot_getallattrs(row);
	if ((++writer->received & 1023) == 0 ||
		MemoryContextMemAllocated(writer->row_context, false) > BATCH_BYTES)
		MemoryContextReset(writer->row_context);
	if (writer->slicing != NULL && is_outside(writer, row))
		etl_slice_refuse(writer->model, writer->slicing, row, writer->since, writer->until);
	if (writer->checks != NULL)
	{
		Jsonb	   *reasons = NULL;

		if (etl_checks_row(writer->checks, as_version(writer, row), &reasons) == ETL_ROW_QUARANTINE)
		{
			put_reject(writer, row, reasons);
			if (writer->quarantined != NULL)
				tuplestore_puttupleslot(writer->quarantined, row);
			MemoryContextSwitchTo(old);
			return true;
		}
	}
	writer->rows++;
	if (writer->store != NULL)
		tuplestore_puttupleslot(writer->store, row);
	else if (writer->insertion != NULL)
		etl_insertion_put(writer->insertion, row);
	else
		put_heap(writer, row);
	MemoryContextSwitchTo(old);
	return true;
}

static void
startup(DestReceiver *self, int operation, TupleDesc desc)
{
	EtlWriter  *writer = (EtlWriter *) self;

	/* taken here, before a parallel query forbids new command ids */
	writer->cid = GetCurrentCommandId(true);
}

static void
shutdown_receiver(DestReceiver *self)
{
	EtlWriter  *writer = (EtlWriter *) self;

	if (writer->heap != NULL)
		flush(writer);
}

static void
destroy(DestReceiver *self)
{
}

/*
 * etl_writer_begin prepares a writer for rows of shape 'query_desc'.
 */
EtlWriter *
etl_writer_begin(const EtlModel *model, TupleDesc query_desc, EtlCheckSet *checks, int64 run_id)
{
	EtlWriter  *writer = palloc0(sizeof(EtlWriter));

	writer->pub.receiveSlot = receive;
	writer->pub.rStartup = startup;
	writer->pub.rShutdown = shutdown_receiver;
	writer->pub.rDestroy = destroy;
	writer->pub.mydest = DestNone;
	writer->model = model;
	writer->run_id = run_id;
	writer->query_desc = BlessTupleDesc(query_desc);
	writer->checks = checks != NULL && etl_checks_has_rows(checks) ? checks : NULL;
	writer->context = CurrentMemoryContext;
	writer->row_context = AllocSetContextCreate(CurrentMemoryContext, "etl model rows",
												ALLOCSET_DEFAULT_SIZES);
	if (writer->checks != NULL)
	{
		writer->reject_desc = CreateTemplateTupleDesc(2);
		TupleDescInitEntry(writer->reject_desc, 1, "record", TEXTOID, -1, 0);
		TupleDescInitEntry(writer->reject_desc, 2, "reasons", JSONBOID, -1, 0);
		writer->rejects = tuplestore_begin_heap(false, false, work_mem);
		if (etl_model_is_snapshot(model))
			writer->versioned = MakeSingleTupleTableSlot(
				etl_snapshot_desc(query_desc, etl_snapshot_marks(model)), &TTSOpsVirtual);
	}
	return writer;
}

/*
 * etl_writer_to_heap sends the rows into a relation, columns by name; they
 * must keep the constraints of 'constraints_of' (the target of a swap).
 */
void
etl_writer_to_heap(EtlWriter *writer, Oid relid, Oid constraints_of, bool frozen)
{
	TupleDesc	desc;

	writer->heap = table_open(relid, RowExclusiveLock);
	writer->target = table_open(constraints_of, AccessShareLock);
	writer->constraints_of = etl_refit_mask(writer->model, writer->target, writer->heap);
	desc = RelationGetDescr(writer->heap);
	writer->attnums = palloc(sizeof(AttrNumber) * Max(writer->query_desc->natts, 1));
	for (int i = 0; i < writer->query_desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(writer->query_desc, i)->attname);

		writer->attnums[i] = 0;
		for (int k = 0; k < desc->natts; k++)
			if (!TupleDescAttr(desc, k)->attisdropped &&
				strcmp(NameStr(TupleDescAttr(desc, k)->attname), name) == 0)
				writer->attnums[i] = k + 1;
	}
	writer->slots = palloc0(sizeof(TupleTableSlot *) * BATCH_ROWS);
	writer->bulk = GetBulkInsertState();
	writer->options = TABLE_INSERT_SKIP_FSM | (frozen ? TABLE_INSERT_FROZEN : 0);
	writer->estate = CreateExecutorState();
	writer->result_rel = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result_rel, writer->constraints_of, 1, NULL, 0);
	/* a constraint's message names the columns by the range table */
	etl_init_range_table(writer->estate, constraints_of);
}

/*
 * etl_writer_to_tuplestore keeps the rows beside, to be compared.
 */
Tuplestorestate *
etl_writer_to_tuplestore(EtlWriter *writer)
{
	writer->store = tuplestore_begin_heap(true, false, work_mem);
	return writer->store;
}

bool
etl_writer_to_table(EtlWriter *writer, Oid relid)
{
	writer->insertion = etl_insertion_begin(relid, writer->query_desc, 0);
	return writer->insertion != NULL;
}

Tuplestorestate *
etl_writer_keep_quarantined(EtlWriter *writer)
{
	if (writer->checks == NULL)
		return NULL;
	writer->quarantined = tuplestore_begin_heap(true, false, work_mem);
	return writer->quarantined;
}

void
etl_writer_guard(EtlWriter *writer, const EtlSlicing *slicing, TimestampTz since, TimestampTz until)
{
	writer->slicing = slicing;
	writer->since = since;
	writer->until = until;
}

DestReceiver *
etl_writer_receiver(EtlWriter *writer)
{
	return &writer->pub;
}

/*
 * store_rejects writes what was quarantined into etl.reject, in batches.
 */
static void
store_rejects(EtlWriter *writer)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(writer->reject_desc, &TTSOpsMinimalTuple);
	MemoryContext old = MemoryContextSwitchTo(writer->row_context);
	List	   *batch = NIL;
	bool		more = true;

	while (more)
	{
		more = tuplestore_gettupleslot(writer->rejects, true, true, slot);
		if (more)
		{
			EtlReject  *reject = palloc0(sizeof(EtlReject));
			bool		isnull;

			reject->target = writer->model->target;
			reject->run_id = writer->run_id;
			reject->raw = TextDatumGetCString(slot_getattr(slot, 1, &isnull));
			reject->raw_length = strlen(reject->raw);
			reject->record_size = reject->raw_length;
			if (reject->raw_length > etl_max_record_size_kb * 1024)
				reject->raw_length = Min(reject->raw_length, 65536);
			reject->reasons = DatumGetJsonbPCopy(slot_getattr(slot, 2, &isnull));
			batch = lappend(batch, reject);
		}
		if (batch != NIL && (!more || list_length(batch) == BATCH_ROWS ||
							 MemoryContextMemAllocated(writer->row_context, false) > BATCH_BYTES))
		{
			etl_rejects_store(batch);
			/* the slot's tuple lies in the context that is reset */
			ExecClearTuple(slot);
			MemoryContextReset(writer->row_context);
			batch = NIL;
		}
	}
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(writer->rejects);
}

/*
 * etl_writer_end closes the sink and stores the rejects.
 */
void
etl_writer_end(EtlWriter *writer)
{
	if (writer->heap != NULL)
	{
		for (int i = 0; i < BATCH_ROWS && writer->slots[i] != NULL; i++)
			ExecDropSingleTupleTableSlot(writer->slots[i]);
		FreeBulkInsertState(writer->bulk);
		table_finish_bulk_insert(writer->heap, writer->options);
		FreeExecutorState(writer->estate);
		table_close(writer->heap, NoLock);
		table_close(writer->target, NoLock);
	}
	if (writer->insertion != NULL)
		etl_insertion_end(writer->insertion);
	if (writer->rejects != NULL)
		store_rejects(writer);
	MemoryContextDelete(writer->row_context);
}

int64
etl_writer_rows(EtlWriter *writer)
{
	return writer->rows;
}

int64
etl_writer_rejected(EtlWriter *writer)
{
	return writer->rejected;
}
