/*-------------------------------------------------------------------------
 *
 * record.c
 *    Recording which rows of a relation change, for incremental models.
 *
 * Statement triggers with transition tables see what every writer does: the
 * merge of a stream, a publication by DML, a user's own statement.  Loads of
 * append streams are told by their numbers instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/names.h"
#include "model/internal.h"

/* A statement that changes more rows than this is not recorded row by row. */
#define MAX_ROWS	1000000
/* what goes to the catalog in one statement */
#define BATCH_ROWS	1000
#define BATCH_BYTES (4 * 1024 * 1024)

PG_FUNCTION_INFO_V1(etl_sql_changed);

/* ---- writing ---- */

/*
 * add_rows adds the rows of a transition table to a set.
 */
static void
add_rows(int64 set_id, int64 first, bool gone, Tuplestorestate *rows, TupleDesc desc)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl changed rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MemoryContext batch = AllocSetContextCreate(context, "etl batch", ALLOCSET_DEFAULT_SIZES);
	Datum	   *records = palloc(sizeof(Datum) * BATCH_ROWS);
	FmgrInfo	output;
	int			n = 0;
	Size		bytes = 0;
	bool		more = true;

	fmgr_info(F_RECORD_OUT, &output);
	MemoryContextSwitchTo(batch);
	tuplestore_rescan(rows);
	while (more)
	{
		more = tuplestore_gettupleslot(rows, true, false, slot);
		if (more)
		{
			records[n] = CStringGetTextDatum(OutputFunctionCall(&output, ExecFetchSlotHeapTupleDatum(slot)));
			bytes += VARSIZE(DatumGetPointer(records[n++]));
		}
		if (n == BATCH_ROWS || bytes > BATCH_BYTES || (!more && n > 0))
		{
			etl_change_rows_add(set_id, first, gone, records, n);
			first += n;
			n = 0;
			bytes = 0;
			/* rows that were spilled to disk come in memory of their own, which the slot frees */
			ExecClearTuple(slot);
			MemoryContextReset(batch);
			CHECK_FOR_INTERRUPTS();
		}
	}
	tuplestore_rescan(rows);
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(context);
}

void
etl_record_add(const char *target, TupleDesc desc, Tuplestorestate *gone, Tuplestorestate *since)
{
	int64		ngone = gone ? tuplestore_tuple_count(gone) : 0;
	int64		nsince = since ? tuplestore_tuple_count(since) : 0;
	int64		set_id;
	int			level;

	if (ngone + nsince == 0)
		return;
	if (ngone + nsince > MAX_ROWS)
	{
		(void) etl_change_set_add(target, psprintf("too many rows of %s changed at once", target),
								  NIL, ngone + nsince);
		return;
	}
	level = etl_change_text_begin();
	set_id = etl_change_set_add(target, NULL, etl_change_columns(desc), ngone + nsince);
	if (ngone > 0)
		add_rows(set_id, 0, true, gone, desc);
	if (nsince > 0)
		add_rows(set_id, ngone, false, since, desc);
	AtEOXact_GUC(false, level);
}

/*
 * target_of names the relation that a statement changed.  A partition says
 * of which table it is; that one must be its owner's.
 */
static char *
target_of(const TriggerData *trigger)
{
	char	   *whole;
	Oid			relid;
	HeapTuple	tuple;
	bool		same;

	if (trigger->tg_trigger->tgnargs == 0)
		return etl_name_of_relation(RelationGetRelid(trigger->tg_relation));
	whole = trigger->tg_trigger->tgargs[0];
	relid = etl_name_relation(whole);
	tuple = OidIsValid(relid) ? SearchSysCache1(RELOID, ObjectIdGetDatum(relid)) : NULL;
	if (!HeapTupleIsValid(tuple))
		return NULL;
	same = ((Form_pg_class) GETSTRUCT(tuple))->relowner == trigger->tg_relation->rd_rel->relowner;
	ReleaseSysCache(tuple);
	return same ? whole : NULL;
}

/*
 * etl_sql_changed records what a statement changed; see the comment of
 * etl._changed.
 */
Datum
etl_sql_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	char	   *target;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("etl._changed is only a trigger that etl itself makes")));
	target = target_of(trigger);
	if (target == NULL || !etl_changes_wanted(target))
		PG_RETURN_POINTER(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		(void) etl_change_set_add(target, psprintf("%s was truncated", target), NIL, 0);
	else
		etl_record_add(target, RelationGetDescr(trigger->tg_relation), trigger->tg_oldtable,
					   trigger->tg_newtable);
	PG_RETURN_POINTER(NULL);
}

/* ---- reading ---- */

/*
 * column_numbers finds the columns that records of a set have in a relation;
 * NULL when one is not there any more, or has another type.
 */
static int *
column_numbers(TupleDesc desc, List *columns)
{
	int		   *numbers = palloc(sizeof(int) * Max(list_length(columns), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, columns)
	{
		int			i;

		for (i = 0; i < desc->natts; i++)
			if (!TupleDescAttr(desc, i)->attisdropped &&
				strcmp(etl_change_column(TupleDescAttr(desc, i)), lfirst(cell)) == 0)
				break;
		if (i == desc->natts)
			return NULL;
		numbers[n++] = i;
	}
	return numbers;
}

const char *
etl_record_hindrance(const char *name, Oid relid, const List *sets)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const char *hindrance = NULL;
	ListCell   *cell;

	foreach(cell, sets)
	{
		EtlChangeSet *set = lfirst(cell);

		if (set->unknown != NULL)
			hindrance = set->unknown;
		else if (column_numbers(RelationGetDescr(rel), set->columns) == NULL)
			hindrance = psprintf("columns of %s changed", name);
	}
	table_close(rel, NoLock);
	return hindrance;
}

TupleDesc
etl_record_desc(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	from = RelationGetDescr(rel);
	TupleDesc	desc = CreateTemplateTupleDesc(from->natts + 1);

	TupleDescInitEntry(desc, 1, "etl_gone", BOOLOID, -1, 0);
	for (int i = 0; i < from->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(from, i);

		if (column->attisdropped)
			TupleDescInitEntry(desc, i + 2, psprintf("etl_dropped_%d", i), INT4OID, -1, 0);
		else
		{
			TupleDescInitEntry(desc, i + 2, NameStr(column->attname), column->atttypid,
							   column->atttypmod, column->attndims);
			TupleDescInitEntryCollation(desc, i + 2, column->attcollation);
		}
	}
	table_close(rel, NoLock);
	return desc;
}

/*
 * put_set reads the records of one set into a tuplestore of 'desc'.
 */
static void
put_set(const EtlChangeSet *set, TupleDesc relation, TupleDesc desc, Tuplestorestate *rows)
{
	int			ncolumns = list_length(set->columns);
	int		   *numbers = column_numbers(relation, set->columns);
	TupleDesc	record = CreateTemplateTupleDesc(ncolumns);
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	Datum	   *fields = palloc(sizeof(Datum) * ncolumns);
	bool	   *missing = palloc(sizeof(bool) * ncolumns);
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "etl batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext one =
		AllocSetContextCreate(CurrentMemoryContext, "etl changed row", ALLOCSET_DEFAULT_SIZES);
	FmgrInfo	input;
	int64		last = -1;
	bool		more;
	EtlRows    *read;

	for (int i = 0; i < ncolumns; i++)
		TupleDescCopyEntry(record, i + 1, relation, numbers[i] + 1);
	record = BlessTupleDesc(record);
	fmgr_info(F_RECORD_IN, &input);
	memset(nulls, true, desc->natts);
	nulls[0] = false;
	do
	{
		MemoryContext old = MemoryContextSwitchTo(batch);

		read = etl_change_rows_read(set->set_id, last, BATCH_ROWS);
		MemoryContextSwitchTo(one);
		for (int i = 0; i < read->n; i++)
		{
			Datum		row = InputFunctionCall(&input, etl_row_text(read, i, "record"), RECORDOID,
										  record->tdtypmod);
			HeapTupleData tuple = {0};

			tuple.t_data = DatumGetHeapTupleHeader(row);
			tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
			heap_deform_tuple(&tuple, record, fields, missing);
			values[0] = BoolGetDatum(etl_row_bool(read, i, "gone"));
			for (int c = 0; c < ncolumns; c++)
			{
				values[numbers[c] + 1] = fields[c];
				nulls[numbers[c] + 1] = missing[c];
			}
			tuplestore_putvalues(rows, desc, values, nulls);
			last = etl_row_int8(read, i, "n");
			/* a row may be large: it is not kept beside the others */
			MemoryContextReset(one);
		}
		MemoryContextSwitchTo(old);
		more = read->n == BATCH_ROWS;
		MemoryContextReset(batch);
		CHECK_FOR_INTERRUPTS();
	} while (more);
	MemoryContextDelete(one);
	MemoryContextDelete(batch);
}

Tuplestorestate *
etl_record_read(Oid relid, const List *sets, TupleDesc desc)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);
	int			level = etl_change_text_begin();
	ListCell   *cell;

	foreach(cell, sets)
		put_set(lfirst(cell), RelationGetDescr(rel), desc, rows);
	AtEOXact_GUC(false, level);
	table_close(rel, NoLock);
	return rows;
}

/* ---- which inputs ---- */

bool
etl_input_is_recorded(const EtlInput *input)
{
	return input->kind == 'm' || input->kind == 'w' ||
		   (input->kind == 's' && strcmp(input->stream->mode, "append") != 0);
}
