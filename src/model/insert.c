/*-------------------------------------------------------------------------
 *
 * insert.c
 *    New rows into the table of a model that nothing watches.
 *
 * As COPY writes them, many in a call: 28,000 rows take half of the time of
 * an INSERT.  Where the table has more than constraints and indexes
 * (triggers, rules, generated columns), or its columns are not those of the
 * rows, a statement must do it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "load/landing.h"
#include "model/internal.h"

#define BATCH_ROWS	1000
#define BATCH_BYTES (64 * 1024)

struct EtlInsertion
{
	MemoryContext context;
	Relation	rel;
	int		   *from;			/* of each column of the table, the one of the rows; -1: dropped */
	EState	   *estate;
	ResultRelInfo *result;
	BulkInsertState bulk;
	CommandId	cid;
	TupleTableSlot *slots[BATCH_ROWS];
	int			n;
	Size		bytes;
};

/*
 * has_insert_trigger tells whether somebody wants to know of rows that come,
 * be it etl itself, which records them for the models that read this one.
 */
static bool
has_insert_trigger(TriggerDesc *triggers)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgtype & TRIGGER_TYPE_INSERT)
			return true;
	return false;
}

/*
 * find_columns finds the columns of a table among those of rows, from number
 * 'first' on; NULL when one is not there as it is.
 */
static int *
find_columns(TupleDesc table, TupleDesc rows, int first)
{
	int		   *from = palloc(sizeof(int) * Max(table->natts, 1));

	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute want = TupleDescAttr(table, i);
		int			found = want->attisdropped ? -1 : rows->natts;

		for (int k = first; k < rows->natts && !want->attisdropped; k++)
		{
			Form_pg_attribute have = TupleDescAttr(rows, k);

			if (strcmp(NameStr(have->attname), NameStr(want->attname)) == 0 &&
				have->atttypid == want->atttypid &&
				(have->atttypmod == want->atttypmod || want->atttypmod == -1))
				found = k;
		}
		if (found == rows->natts)
			return NULL;
		from[i] = found;
	}
	return from;
}

/*
 * flush writes the rows of a batch and their index entries.
 */
static void
flush(EtlInsertion *insertion)
{
	MemoryContext old;

	if (insertion->n == 0)
		return;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
	table_multi_insert(insertion->rel, insertion->slots, insertion->n, insertion->cid, 0, insertion->bulk);
	for (int i = 0; i < insertion->n; i++)
	{
		ResetPerTupleExprContext(insertion->estate);
		if (insertion->result->ri_NumIndices > 0)
			(void) etl_insert_index_tuples(insertion->result, insertion->slots[i], insertion->estate);
		ExecClearTuple(insertion->slots[i]);
	}
	ResetPerTupleExprContext(insertion->estate);
	MemoryContextSwitchTo(old);
	insertion->n = 0;
	insertion->bytes = 0;
	CHECK_FOR_INTERRUPTS();
}

void
etl_insertion_put(EtlInsertion *insertion, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(insertion->context);
	TupleDesc	desc = RelationGetDescr(insertion->rel);
	TupleTableSlot *slot = insertion->slots[insertion->n];

	if (slot == NULL)
		slot = insertion->slots[insertion->n] = table_slot_create(insertion->rel, NULL);
	slot_getallattrs(row);
	ExecClearTuple(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		int			from = insertion->from[i];

		slot->tts_values[i] = from < 0 ? (Datum) 0 : row->tts_values[from];
		slot->tts_isnull[i] = from < 0 || row->tts_isnull[from];
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(insertion->rel);
	if (desc->constr != NULL && (desc->constr->has_not_null || desc->constr->num_check > 0))
	{
		ExecConstraints(insertion->result, slot, insertion->estate);
		ResetPerTupleExprContext(insertion->estate);
	}
	ExecMaterializeSlot(slot);
	if (TTS_IS_BUFFERTUPLE(slot))
		insertion->bytes += ((BufferHeapTupleTableSlot *) slot)->base.tuple->t_len;
	if (++insertion->n == BATCH_ROWS || insertion->bytes > BATCH_BYTES)
		flush(insertion);
	MemoryContextSwitchTo(old);
}

EtlInsertion *
etl_insertion_begin(Oid relid, TupleDesc rows, int first)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	EtlInsertion *insertion;
	int		   *from = NULL;

	if (etl_relation_is_simple(rel) && !has_insert_trigger(rel->trigdesc) && !rel->rd_rel->relispartition &&
		!etl_relation_has_deferrable(rel) &&
		pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		from = find_columns(RelationGetDescr(rel), rows, first);
	if (from == NULL)
	{
		table_close(rel, NoLock);
		return NULL;
	}
	insertion = palloc0(sizeof(EtlInsertion));
	insertion->context = CurrentMemoryContext;
	insertion->rel = rel;
	insertion->from = from;
	insertion->estate = CreateExecutorState();
	etl_init_range_table(insertion->estate, relid);
	insertion->result = makeNode(ResultRelInfo);
	InitResultRelInfo(insertion->result, rel, 1, NULL, 0);
	ExecOpenIndices(insertion->result, false);
	insertion->bulk = GetBulkInsertState();
	/* both taken here, before a parallel query forbids it */
	insertion->cid = GetCurrentCommandId(true);
	(void) GetCurrentTransactionId();
	return insertion;
}

void
etl_insertion_end(EtlInsertion *insertion)
{
	flush(insertion);
	for (int i = 0; i < BATCH_ROWS && insertion->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(insertion->slots[i]);
	FreeBulkInsertState(insertion->bulk);
	table_finish_bulk_insert(insertion->rel, 0);
	ExecCloseIndices(insertion->result);
	FreeExecutorState(insertion->estate);
	table_close(insertion->rel, NoLock);
	CommandCounterIncrement();
}
