/*-------------------------------------------------------------------------
 *
 * writer.c
 *    Rows into the landing relation, a batch at a time.
 *
 * Three ways, chosen once per load from what the relation carries; a new one
 * gets its indexes after its rows (first.c):
 *	bulk	table_multi_insert and index insertion, as COPY does it: the
 *			relation has nothing that could refuse a row any more, since
 *			NOT NULL and CHECK were evaluated as predicates before.
 *	sql		INSERT … ON CONFLICT DO NOTHING from a tuplestore: unique
 *			indexes, foreign keys, triggers, generated columns, partitions,
 *			foreign tables; without the clause where there is a deferrable
 *			constraint or a rule, which it does not go with.  A batch that
 *			fails is halved until the rows at fault are alone, so that a
 *			subtransaction is paid for by faults, never by rows.
 *	stage	rows of a merge stream gather in a tuplestore until the load is
 *			read; merge.c applies them.
 *
 * Constraints that wait for the commit are made immediate first: what they
 * refuse is a row then, and not the load.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "load/extend.h"
#include "load/flush_ahead.h"
#include "load/form.h"
#include "load/landing.h"

#define TUPLES_SIZE (512 * 1024)

typedef enum WriterKind
{
	WRITE_BULK,
	WRITE_SQL,
	WRITE_STAGE
} WriterKind;

/* The record behind a row that may still be refused. */
typedef struct Kept
{
	int64		position;
	char	   *raw;
	int			raw_length;
	int64		raw_size;
	bool		landed;
} Kept;

struct EtlLoadWriter
{
	EtlLanding *landing;
	WriterKind	kind;
	EState	   *estate;
	ResultRelInfo *result;
	BulkInsertState bulk;
	TupleTableSlot *row;		/* the row at work, its values not copied */
	TupleTableSlot *slots[ETL_BATCH_ROWS];	/* the rows of the batch */
	HeapTuple	formed[ETL_BATCH_ROWS];	/* WRITE_BULK: their tuples */
	EtlExtension extension;
	XLogRecPtr	flushed;		/* WAL that etl_flush_ahead asked for */
	bool		extends;		/* blocks are added by us, */
	bool		begun;			/* from the second batch on */
	char	   *tuples;			/* where these lie */
	Size		tuples_used;
	Kept	   *kept;			/* WRITE_SQL */
	int			n;				/* rows in the batch */
	Size		bytes;
	Tuplestorestate *staged;	/* WRITE_STAGE: of the load */
	char	   *insert_sql;		/* WRITE_SQL */
	char	   *plain_sql;		/* the same without ON CONFLICT: its error names the constraint */
	bool		indexes_after;	/* they are built when all rows are there */
	bool		may_refuse;		/* more than the key's index may refuse a row */
};

/*
 * choose_kind looks at what the relation carries.
 */
static WriterKind
choose_kind(EtlLoadWriter *writer)
{
	EtlLanding *landing = writer->landing;
	ResultRelInfo *result = writer->result;
	bool		simple = etl_relation_is_simple(landing->rel);

	if (landing->options->merge)
		return simple && etl_first_is(landing) && !writer->may_refuse && result->ri_NumIndices > 0 ?
				   WRITE_BULK :
				   WRITE_STAGE;
	if (!simple)
		return WRITE_SQL;
	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		Form_pg_index index = result->ri_IndexRelationDescs[i]->rd_index;

		if (index->indisunique || index->indisexclusion ||
			etl_index_may_refuse(result->ri_IndexRelationDescs[i], result->ri_IndexRelationInfo[i]))
			return WRITE_SQL;
	}
	return WRITE_BULK;
}

bool
etl_load_writer_may_refuse(EtlLoadWriter *writer)
{
	return writer->kind == WRITE_STAGE && writer->may_refuse;
}

/*
 * begin_staged makes room for rows that are merged at the end.
 */
static void
begin_staged(EtlLoadWriter *writer)
{
	MemoryContext old = MemoryContextSwitchTo(writer->landing->context);

	writer->staged = tuplestore_begin_heap(false, false, work_mem);
	MemoryContextSwitchTo(old);
}

EtlLoadWriter *
etl_load_writer_begin(EtlLanding *landing)
{
	MemoryContext old = MemoryContextSwitchTo(landing->context);
	EtlLoadWriter *writer = palloc0(sizeof(EtlLoadWriter));

	writer->landing = landing;
	writer->row = MakeSingleTupleTableSlot(RelationGetDescr(landing->rel), &TTSOpsVirtual);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, landing->rel, 0, NULL, 0);
	if (landing->rel->rd_rel->relkind == RELKIND_RELATION)
		ExecOpenIndices(writer->result, true);
	writer->may_refuse = etl_relation_may_refuse(landing, writer->result);
	writer->kind = choose_kind(writer);
	writer->indexes_after = writer->kind == WRITE_BULK && writer->result->ri_NumIndices > 0 &&
							etl_first_is(landing);
	if (landing->rel->trigdesc != NULL || etl_relation_has_deferrable(landing->rel))
		etl_relation_hurry_constraints(landing->rel);

	if (writer->kind == WRITE_BULK)
	{
		writer->bulk = GetBulkInsertState();
		writer->tuples = palloc(TUPLES_SIZE);
		writer->extends = landing->rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
						  !RelationUsesLocalBuffers(landing->rel);
	}
	else if (writer->kind == WRITE_SQL)
	{
		writer->plain_sql = etl_insert_sql(landing, "");
		writer->insert_sql = landing->rel->rd_rules != NULL || etl_relation_has_deferrable(landing->rel) ?
								 writer->plain_sql :
								 etl_insert_sql(landing, "ON CONFLICT DO NOTHING");
		writer->kept = palloc0(sizeof(Kept) * ETL_BATCH_ROWS);
	}
	else
		begin_staged(writer);
	MemoryContextSwitchTo(old);
	return writer;
}

TupleTableSlot *
etl_load_writer_slot(EtlLoadWriter *writer)
{
	return ExecClearTuple(writer->row);
}

/*
 * batch_slot returns the slot of row 'i' of the batch.
 */
static TupleTableSlot *
batch_slot(EtlLoadWriter *writer, int i)
{
	TupleTableSlot **slot = &writer->slots[i];

	if (*slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->landing->context);

		*slot = MakeSingleTupleTableSlot(RelationGetDescr(writer->landing->rel),
										 writer->kind == WRITE_BULK ? &TTSOpsHeapTuple : &TTSOpsVirtual);
		MemoryContextSwitchTo(old);
	}
	return *slot;
}

/*
 * add_tuple puts a tuple into the batch.  Heads of tuples, and those that
 * are formed here, lie one after the other in memory that every batch uses
 * again.
 */
static HeapTuple
add_tuple(EtlLoadWriter *writer, HeapTupleHeader data, Size length)
{
	Size		size = HEAPTUPLESIZE + (data == NULL ? MAXALIGN(length) : 0);
	HeapTuple	tuple;

	if (size > TUPLES_SIZE - writer->tuples_used)
		tuple = MemoryContextAllocExtended(writer->landing->batch, size, MCXT_ALLOC_HUGE);
	else
	{
		tuple = (HeapTuple) (writer->tuples + writer->tuples_used);
		writer->tuples_used += size;
	}
	tuple->t_len = length;
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = RelationGetRelid(writer->landing->rel);
	tuple->t_data = data ? data : (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	writer->formed[writer->n] = tuple;
	return tuple;
}

/*
 * form_row makes the tuple of the row at work while its values are in the
 * processor's cache.
 */
static void
form_row(EtlLoadWriter *writer)
{
	TupleTableSlot *row = writer->row;
	Size		length = etl_form_length(row->tts_tupleDescriptor, row->tts_values, row->tts_isnull);
	HeapTuple	tuple = add_tuple(writer, NULL, length);

	etl_form_write(row->tts_tupleDescriptor, row->tts_values, row->tts_isnull, tuple->t_data, length);
}

bool
etl_load_writer_takes_tuples(EtlLoadWriter *writer)
{
	return writer->kind == WRITE_BULK;
}

void
etl_load_writer_put_tuple(EtlLoadWriter *writer, HeapTupleHeader data, Size length)
{
	HeapTuple	tuple = add_tuple(writer, data, length);

	etl_event_time_note_tuple(writer->landing, tuple);
	if (++writer->n >= ETL_BATCH_ROWS)
		etl_load_writer_flush(writer);
}

/*
 * keep_record copies what a later reject of this row would need.
 */
static void
keep_record(EtlLoadWriter *writer, const EtlRecord *record)
{
	Kept	   *kept = &writer->kept[writer->n];

	kept->position = record->position;
	kept->raw_length = record->raw_length;
	kept->raw_size = record->raw_size;
	kept->landed = false;
	kept->raw = MemoryContextAlloc(writer->landing->batch, record->raw_length + 1);
	memcpy(kept->raw, record->raw, record->raw_length);
}

void
etl_load_writer_put(EtlLoadWriter *writer, const EtlRecord *record)
{
	/* of rows that may still be refused, those that landed are noted later */
	if (writer->kind != WRITE_SQL)
		etl_event_time_note(writer->landing, writer->row);
	if (writer->kind == WRITE_BULK)
		form_row(writer);
	else if (writer->kind == WRITE_STAGE)
		tuplestore_puttupleslot(writer->staged, writer->row);
	else
	{
		ExecCopySlot(batch_slot(writer, writer->n), writer->row);
		keep_record(writer, record);
	}
	writer->n++;
	writer->bytes += record->raw_length;
	if (writer->n >= ETL_BATCH_ROWS || writer->bytes >= ETL_BATCH_BYTES)
		etl_load_writer_flush(writer);
}

/*
 * note_blocks widens the range of blocks that the load's rows lie in.
 */
static void
note_blocks(EtlLoad *load, const ItemPointer tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);

	if (load->first_block < 0 || block < load->first_block)
		load->first_block = block;
	if (block > load->last_block)
		load->last_block = block;
}

/*
 * write_bulk writes the batch as COPY would.
 */
static void
write_bulk(EtlLoadWriter *writer)
{
	EtlLanding *landing = writer->landing;
	MemoryContext old = MemoryContextSwitchTo(landing->batch);

	/* marked as the slot's own, or every tuple would be copied once more */
	for (int i = 0; i < writer->n; i++)
		ExecStoreHeapTuple(writer->formed[i], batch_slot(writer, i), true);
	for (int i = 0; i < writer->n;)
	{
		int			fit = writer->extends && writer->begun ?
					  etl_extension_fit(&writer->extension, landing->rel, writer->bulk,
										writer->formed + i, writer->n - i) :
					  0;

		if (fit == 0)
			fit = writer->n - i;
		table_multi_insert(landing->rel, writer->slots + i, fit, GetCurrentCommandId(true), 0,
						   writer->bulk);
		i += fit;
	}
	MemoryContextSwitchTo(old);

	for (int i = 0; i < writer->n; i++)
	{
		writer->slots[i]->tts_flags &= ~TTS_FLAG_SHOULDFREE;
		note_blocks(landing->load, &writer->slots[i]->tts_tid);
		if (writer->result->ri_NumIndices > 0 && !writer->indexes_after)
		{
			List	   *recheck;

			writer->slots[i]->tts_tableOid = RelationGetRelid(landing->rel);
			recheck = etl_insert_index_tuples(writer->result, writer->slots[i], writer->estate);
			list_free(recheck);
			ResetPerTupleExprContext(writer->estate);
		}
	}
	etl_flush_ahead(&writer->flushed);
	landing->load->rows_loaded += writer->n;
	writer->begun = true;
	writer->tuples_used = 0;
}

/* ---- WRITE_SQL ---- */

/* Rows first … last - 1 of the batch. */
typedef struct Range
{
	EtlLoadWriter *writer;
	const char *sql;
	int			first;
	int			last;
} Range;

static int
compare_kept(const void *a, const void *b)
{
	int64		left = ((const Kept *) a)->position;
	int64		right = ((const Kept *) b)->position;

	return left < right ? -1 : left > right;
}

/*
 * insert_range inserts the rows of a range with one statement and marks
 * those that landed.  'arg' is a Range.
 */
static void
insert_range(void *arg)
{
	Range	   *range = arg;
	EtlLoadWriter *writer = range->writer;
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);

	for (int i = range->first; i < range->last; i++)
	{
		writer->kept[i].landed = false;
		tuplestore_puttupleslot(store, writer->slots[i]);
	}
	enr->md.name = "etl_staged";
	enr->md.reliddesc = RelationGetRelid(writer->landing->rel);
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = range->last - range->first;
	enr->reldata = store;

	SPI_connect();
	SPI_register_relation(enr);
	if (SPI_execute(range->sql, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "unexpected result of: %s", range->sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Kept		wanted;
		Kept	   *found;

		wanted.position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
													  1, &isnull));
		found = bsearch(&wanted, writer->kept + range->first, range->last - range->first,
						sizeof(Kept), compare_kept);
		if (found == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("a trigger of \"%s\" changed %s", writer->landing->stream->target,
							ETL_ROW_COLUMN),
					 errhint("The column says where the record stands in its load: leave it alone.")));
		found->landed = true;
		if (SPI_tuptable->tupdesc->natts > 1)
			note_blocks(writer->landing->load,
						(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i],
																	SPI_tuptable->tupdesc, 2, &isnull)));
	}
	SPI_finish();
	tuplestore_end(store);
}

/*
 * reject_kept turns row 'i' of the batch into a reject.
 */
static void
reject_kept(EtlLoadWriter *writer, int i, EtlReasons *reasons)
{
	Kept	   *kept = &writer->kept[i];

	etl_rejects_add(writer->landing->rejects, kept->position, kept->raw, kept->raw_length,
					kept->raw_size, reasons);
}

/*
 * conflicting_index returns the name of the index that a row conflicts with,
 * and how the message begins; NULL: none, or it is an index of a partition or
 * of a foreign table.
 */
static char *
conflicting_index(EtlLoadWriter *writer, TupleTableSlot *slot, const char **kind)
{
	ResultRelInfo *result = writer->result;

	slot->tts_tableOid = RelationGetRelid(writer->landing->rel);
	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		Relation	index = result->ri_IndexRelationDescs[i];
		ItemPointerData conflict;
		bool		free;

		if (!index->rd_index->indisunique && !index->rd_index->indisexclusion)
			continue;
		free = etl_check_index_constraints(result, slot, writer->estate, &conflict,
										   list_make1_oid(RelationGetRelid(index)));
		ResetPerTupleExprContext(writer->estate);
		*kind = index->rd_index->indisexclusion ? "conflicting key value violates exclusion" :
												  "duplicate key value violates unique";
		if (!free)
			return pstrdup(RelationGetRelationName(index));
	}
	return NULL;
}

/*
 * count_landed counts a row that is in the relation.
 */
static void
count_landed(EtlLoadWriter *writer, int i)
{
	etl_event_time_note(writer->landing, writer->slots[i]);
	writer->landing->load->rows_loaded++;
}

/*
 * account_for finds out why a row did not land, and makes it a reject; where
 * the indexes at hand do not tell, the error of another try does.
 */
static void
account_for(EtlLoadWriter *writer, int i)
{
	EtlReasons	reasons = {0};
	const char *kind;
	char	   *index = conflicting_index(writer, writer->slots[i], &kind);

	if (index != NULL)
		etl_reasons_add(&reasons, index, NULL, NULL,
						psprintf("%s constraint \"%s\"", kind, index));
	else if (writer->insert_sql != writer->plain_sql)
	{
		Range		range = {writer, writer->plain_sql, i, i + 1};
		ErrorData  *error = etl_subxact(insert_range, &range);

		if (error != NULL && !etl_fault_of_row(error))
			etl_rethrow(error);
		if (error != NULL)
			etl_fault_reason(&reasons, error);
		else if (writer->kept[i].landed)
		{
			count_landed(writer, i);
			return;
		}
	}
	if (reasons.n == 0)
		etl_reasons_add(&reasons, "trigger", NULL, NULL,
						"a trigger or rule of the relation kept the row from being inserted");
	reject_kept(writer, i, &reasons);
}

/*
 * write_range inserts a range, halving it where the relation refuses rows.
 */
static void
write_range(EtlLoadWriter *writer, int first, int last)
{
	Range		range = {writer, writer->insert_sql, first, last};
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	error = etl_subxact(insert_range, &range);
	if (error == NULL)
	{
		for (int i = first; i < last; i++)
			if (writer->kept[i].landed)
				count_landed(writer, i);
			else
				account_for(writer, i);
		return;
	}
	if (!etl_fault_of_row(error))
		etl_rethrow(error);
	if (last - first == 1)
	{
		EtlReasons	reasons = {0};

		etl_fault_reason(&reasons, error);
		reject_kept(writer, first, &reasons);
		return;
	}
	write_range(writer, first, (first + last) / 2);
	write_range(writer, (first + last) / 2, last);
}

void
etl_load_writer_flush(EtlLoadWriter *writer)
{
	if (writer->n > 0 && writer->kind != WRITE_STAGE)
	{
		if (writer->kind == WRITE_BULK)
			write_bulk(writer);
		else
			write_range(writer, 0, writer->n);
		for (int i = 0; i < writer->n; i++)
			ExecClearTuple(writer->slots[i]);
	}
	ExecClearTuple(writer->row);

	/* what becomes of a replayed record must be known one by one */
	if (writer->kind == WRITE_STAGE && writer->landing->replay != NULL)
	{
		etl_merge_apply(writer->landing, writer->staged);
		/* not cleared: each statement over it has left a read pointer */
		tuplestore_end(writer->staged);
		begin_staged(writer);
	}
	writer->n = 0;
	writer->bytes = 0;
	MemoryContextReset(writer->landing->batch);
	CHECK_FOR_INTERRUPTS();
}

void
etl_load_writer_end(EtlLoadWriter *writer)
{
	EtlLanding *landing = writer->landing;

	etl_load_writer_flush(writer);
	if (writer->kind == WRITE_STAGE)
	{
		etl_merge_apply(landing, writer->staged);
		tuplestore_end(writer->staged);
	}
	if (writer->bulk)
	{
		etl_extension_end(&writer->extension, landing->rel);
		FreeBulkInsertState(writer->bulk);
		table_finish_bulk_insert(landing->rel, 0);
	}
	for (int i = 0; i < ETL_BATCH_ROWS && writer->slots[i]; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecDropSingleTupleTableSlot(writer->row);
	if (landing->rel->rd_rel->relkind == RELKIND_RELATION)
		ExecCloseIndices(writer->result);
	FreeExecutorState(writer->estate);
	CommandCounterIncrement();
	if (writer->indexes_after)
		etl_first_build_indexes(landing);
}
