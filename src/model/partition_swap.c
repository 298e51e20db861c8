/*-------------------------------------------------------------------------
 *
 * partition_swap.c
 *    Publishing a partitioned model by replacing the partitions that change.
 *
 * Of a difference each row is routed to its partition.  A partition that the
 * difference touches is built beside: its rows that stay, and those that
 * come, frozen, with indexes and statistics; one that is not there yet is
 * built as a table of its own.  Only then are the locks taken, all or none,
 * storage is exchanged and new partitions are attached.  What the difference
 * does not touch is neither read nor locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/brief_lock.h"
#include "common/compat.h"
#include "common/names.h"
#include "model/internal.h"

/* One partition that changes. */
typedef struct Part
{
	Oid			leaf;			/* the key; of a new one its table */
	EtlPartition *made;			/* a new one; NULL: it is there */
	Tuplestorestate *come;		/* rows of the difference, in its shape */
	Tuplestorestate *go;		/* places of rows that do not stay */
	int64		comes;
	int64		goes;
	EtlSwap    *swap;
} Part;

typedef struct Found
{
	Oid			leaf;
	Part	   *part;
} Found;

struct EtlPartitionSwap
{
	Oid			relid;
	Oid			rest;			/* the default partition, or InvalidOid */
	TupleDesc	place;			/* a row of 'go' */
	int			memory;			/* kB a store */
	List	   *parts;			/* Part * */
	HTAB	   *by_leaf;		/* Found */
	List	   *columns;		/* char *: of the query, that the table has */
	bool		recorded;		/* models want to know which rows change */
};

/*
 * etl_partition_swap_hindrance tells why a partitioned table must be
 * published by DML; NULL when its partitions may be replaced.
 */
const char *
etl_partition_swap_hindrance(Oid relid)
{
	const char *hindrance = etl_swap_hindrance_of_partition(relid);
	ListCell   *cell;

	foreach(cell, hindrance == NULL ? find_inheritance_children(relid, NoLock) : NIL)
	{
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
		hindrance = etl_swap_hindrance_of_partition(lfirst_oid(cell));
		if (hindrance != NULL)
			break;
	}
	return hindrance;
}

/* ---- which row goes where ---- */

/*
 * part_of returns the entry of a partition, which it adds if need be.
 */
static Part *
part_of(EtlPartitionSwap *swap, Oid leaf)
{
	bool		found;
	Found	   *entry = hash_search(swap->by_leaf, &leaf, HASH_ENTER, &found);
	Part	   *part;

	if (found)
		return entry->part;
	part = entry->part = palloc0(sizeof(Part));
	part->leaf = leaf;
	part->come = tuplestore_begin_heap(true, false, swap->memory);
	part->go = tuplestore_begin_heap(true, false, swap->memory);
	swap->parts = lappend(swap->parts, part);
	return part;
}

/*
 * by_attribute gives a row of the difference the shape of the table.
 */
static void
by_attribute(TupleTableSlot *row, const AttrNumber *places, TupleTableSlot *whole)
{
	ExecClearTuple(whole);
	memset(whole->tts_isnull, true, whole->tts_tupleDescriptor->natts * sizeof(bool));
	slot_getallattrs(row);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
		if (places[i] > 0)
		{
			whole->tts_values[places[i] - 1] = row->tts_values[i];
			whole->tts_isnull[places[i] - 1] = row->tts_isnull[i];
		}
	ExecStoreVirtualTuple(whole);
}

/*
 * note_place notes the place of a row that does not stay.
 */
static void
note_place(EtlPartitionSwap *swap, TupleTableSlot *row)
{
	bool		isnull;
	Datum		table = slot_getattr(row, 2, &isnull);
	Datum		place = slot_getattr(row, 3, &isnull);
	Part	   *part = part_of(swap, DatumGetObjectId(table));

	isnull = false;
	tuplestore_putvalues(part->go, swap->place, &place, &isnull);
	part->goes++;
}

/*
 * route sends the rows of a difference to their partitions.
 */
static void
route(EtlPartitionSwap *swap, EtlDiff *diff)
{
	Relation	rel = table_open(swap->relid, RowExclusiveLock);
	EState	   *estate = CreateExecutorState();
	ModifyTableState *modify = makeNode(ModifyTableState);
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *row = MakeSingleTupleTableSlot(diff->desc, &TTSOpsMinimalTuple);
	TupleTableSlot *whole = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	AttrNumber *places = palloc(sizeof(AttrNumber) * diff->desc->natts);
	PartitionTupleRouting *routing;

	for (int i = 0; i < diff->desc->natts; i++)
		places[i] = i < 3 && !diff->only_inserts ?
						0 :
						get_attnum(swap->relid, NameStr(TupleDescAttr(diff->desc, i)->attname));
	etl_init_range_table(estate, swap->relid);
	InitResultRelInfo(target, rel, 1, NULL, 0);
	modify->ps.state = estate;
	modify->operation = CMD_INSERT;
	modify->resultRelInfo = modify->rootResultRelInfo = target;
	routing = ExecSetupPartitionTupleRouting(estate, rel);
	tuplestore_rescan(diff->rows);
	while (tuplestore_gettupleslot(diff->rows, true, false, row))
	{
		bool		isnull;
		char		op = diff->only_inserts ? 'I' : DatumGetChar(slot_getattr(row, 1, &isnull));
		ResultRelInfo *leaf;
		Part	   *part;

		CHECK_FOR_INTERRUPTS();
		if (op != 'I')
			note_place(swap, row);
		if (op == 'D')
			continue;
		by_attribute(row, places, whole);
		leaf = ExecFindPartition(modify, target, routing, whole, estate);
		part = part_of(swap, RelationGetRelid(leaf->ri_RelationDesc));
		tuplestore_puttupleslot(part->come, row);
		part->comes++;
		ResetPerTupleExprContext(estate);
	}
	ExecCleanupTupleRouting(modify, routing);
	FreeExecutorState(estate);
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(whole);
	table_close(rel, NoLock);
}

/*
 * sift returns the rows that come to a partition and fulfil a condition.
 */
static Tuplestorestate *
sift(EtlPartitionSwap *swap, EtlDiff *diff, const Part *part, const char *condition)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, swap->memory);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	QueryEnvironment *environment = create_queryEnv();

	tuplestore_rescan(part->come);
	etl_environment_add(environment, "etl_come", diff->desc, part->come, part->comes);
	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
	etl_execute(psprintf("SELECT * FROM etl_come WHERE %s", condition), environment, receiver);
	return rows;
}

/*
 * part_off takes the rows of a partition that is not there yet from those
 * that would else lie in the default one.
 */
static void
part_off(EtlPartitionSwap *swap, const EtlModel *model, EtlDiff *diff, EtlPartition *made)
{
	Part	   *rest = part_of(swap, swap->rest);
	Part	   *part = part_of(swap, etl_partition_create(swap->relid, made, etl_storage_parameters(model)));
	Tuplestorestate *others;

	part->made = made;
	tuplestore_end(part->come);
	part->come = sift(swap, diff, rest, made->condition);
	part->comes = tuplestore_tuple_count(part->come);
	others = sift(swap, diff, rest, psprintf("(%s) IS NOT TRUE", made->condition));
	tuplestore_end(rest->come);
	rest->come = others;
	rest->comes = tuplestore_tuple_count(others);
}

/* ---- building beside ---- */

/*
 * rows_query renders what a partition will hold.
 */
static char *
rows_query(const EtlPartitionSwap *swap, const Part *part)
{
	char	   *columns = etl_diff_column_list(swap->columns, "");

	if (part->made != NULL)
		return psprintf("SELECT %s FROM etl_come", columns);
	return psprintf("SELECT %s FROM ONLY %s c WHERE NOT EXISTS (SELECT FROM etl_go g WHERE g.place"
					" OPERATOR(pg_catalog.=) c.ctid) UNION ALL SELECT %s FROM etl_come",
					columns, etl_quoted_relation(part->leaf), columns);
}

/*
 * selected runs a query of the rows of a partition that change.
 */
static Tuplestorestate *
selected(EtlPartitionSwap *swap, const char *sql, QueryEnvironment *environment, TupleDesc *desc)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, swap->memory);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);

	*desc = BlessTupleDesc(etl_query_desc(etl_query_analyze(sql, environment)));
	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
	etl_execute(sql, environment, receiver);
	return rows;
}

/*
 * record_part records which rows of a partition go and come: no trigger sees
 * its storage exchanged.
 */
static void
record_part(EtlPartitionSwap *swap, Part *part, QueryEnvironment *environment)
{
	StringInfoData columns;
	Tuplestorestate *go = NULL;
	Tuplestorestate *come;
	TupleDesc	desc;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, swap->columns)
	{
		AttrNumber	attnum = get_attnum(swap->relid, lfirst(cell));
		int32		typmod;
		Oid			type;
		Oid			collation;

		/* as the table holds them */
		get_atttypetypmodcoll(swap->relid, attnum, &type, &typmod, &collation);
		appendStringInfo(&columns, "%sc.%s::%s", columns.len ? ", " : "",
						 quote_identifier(lfirst(cell)),
						 format_type_extended(
							 type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	}
	if (part->made == NULL)
		go = selected(swap, psprintf("SELECT %s FROM ONLY %s c JOIN etl_go g ON g.place"
									 " OPERATOR(pg_catalog.=) c.ctid",
									 columns.data, etl_quoted_relation(part->leaf)),
					  environment, &desc);
	tuplestore_rescan(part->come);
	tuplestore_rescan(part->go);
	come = selected(swap, psprintf("SELECT %s FROM etl_come c", columns.data), environment, &desc);
	etl_record_add(etl_name_of_relation(swap->relid), desc, go, come);
	tuplestore_end(come);
	if (go != NULL)
		tuplestore_end(go);
}

/*
 * fill writes the rows of a partition into storage that nobody reads yet.
 */
static void
fill(EtlPartitionSwap *swap, Part *part, const EtlModel *model, EtlDiff *diff, int64 run_id)
{
	QueryEnvironment *environment = create_queryEnv();
	char	   *sql = rows_query(swap, part);
	Oid			heap = part->swap ? part->swap->transient : part->leaf;
	TupleDesc	desc;
	EtlWriter  *writer;

	tuplestore_rescan(part->come);
	tuplestore_rescan(part->go);
	etl_environment_add(environment, "etl_come", diff->desc, part->come, part->comes);
	etl_environment_add(environment, "etl_go", swap->place, part->go, part->goes);
	desc = etl_query_desc(etl_query_analyze(sql, environment));
	/* its rows have passed the checks before the difference was made */
	writer = etl_writer_begin(model, desc, NULL, run_id);
	etl_writer_to_heap(writer, heap, part->leaf, true);
	etl_execute(sql, environment, etl_writer_receiver(writer));
	etl_writer_end(writer);
	if (swap->recorded)
	{
		tuplestore_rescan(part->come);
		tuplestore_rescan(part->go);
		record_part(swap, part, environment);
	}
	CommandCounterIncrement();
	tuplestore_end(part->come);
	tuplestore_end(part->go);
}

/*
 * finish_new gives the table of a new partition what it must have to be
 * attached without a look at its rows.
 */
static void
finish_new(EtlPartitionSwap *swap, Part *part)
{
	Relation	rel = table_open(swap->relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	table_close(rel, NoLock);
	foreach(cell, indexes)
		(void) etl_swap_clone_index(swap->relid, part->leaf, lfirst_oid(cell), true);
	etl_execute_utility(psprintf("ALTER TABLE %s ADD CONSTRAINT etl_bound CHECK (%s)",
								 etl_quoted_relation(part->leaf), part->made->condition));
	CommandCounterIncrement();
	etl_table_analyze(part->leaf);
	if (swap->recorded)
		etl_record_add_part(swap->relid, part->leaf);
}

/*
 * etl_partition_swap_begin builds the partitions that a difference changes,
 * beside those that are read; inside etl_run_as.
 */
EtlPartitionSwap *
etl_partition_swap_begin(const EtlModel *model, EtlDiff *diff, int64 run_id)
{
	EtlPartitionSwap *swap = palloc0(sizeof(EtlPartitionSwap));
	List	   *missing = etl_partition_missing(model, diff);
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Found), .hcxt = CurrentMemoryContext};
	ListCell   *cell;

	swap->relid = diff->relid;
	swap->columns = diff->columns;
	swap->recorded = etl_record_is_on(diff->relid);
	swap->by_leaf = hash_create("etl partitions", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	swap->rest = get_default_partition_oid(diff->relid);
	swap->memory = Max(64, work_mem / Max(1, list_length(find_inheritance_children(diff->relid, NoLock))));
	swap->place = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(swap->place, 1, "place", TIDOID, -1, 0);
	BlessTupleDesc(swap->place);
	route(swap, diff);
	foreach(cell, missing)
		part_off(swap, model, diff, lfirst(cell));
	foreach(cell, swap->parts)
	{
		Part	   *part = lfirst(cell);

		if (part->comes + part->goes == 0)
		{
			/* all its rows have got a partition of their own */
			(void) hash_search(swap->by_leaf, &part->leaf, HASH_REMOVE, NULL);
			swap->parts = foreach_delete_current(swap->parts, cell);
			continue;
		}
		if (part->made == NULL)
			part->swap = etl_swap_begin(part->leaf);
		fill(swap, part, model, diff, run_id);
		if (part->made != NULL)
		{
			finish_new(swap, part);
			continue;
		}
		etl_swap_index(part->swap);
		etl_table_analyze(part->swap->transient);
	}
	return swap;
}

/*
 * etl_partition_swap_view makes a view of the whole table as it will be, for
 * its checks; the caller drops it.
 */
Oid
etl_partition_swap_view(EtlPartitionSwap *swap)
{
	Oid			schema = get_rel_namespace(swap->relid);
	char	   *name = ChooseRelationName(get_rel_name(swap->relid), NULL, "etl_new", schema, false);
	char	   *columns = etl_diff_column_list(swap->columns, "");
	StringInfoData sql;
	List	   *heaps = NIL;
	ListCell   *cell;

	foreach(cell, find_inheritance_children(swap->relid, NoLock))
		if (hash_search(swap->by_leaf, &lfirst_oid(cell), HASH_FIND, NULL) == NULL)
			heaps = lappend_oid(heaps, lfirst_oid(cell));
	foreach(cell, swap->parts)
	{
		Part	   *part = lfirst(cell);

		heaps = lappend_oid(heaps, part->swap ? part->swap->transient : part->leaf);
	}
	initStringInfo(&sql);
	foreach(cell, heaps)
		appendStringInfo(&sql, "%sSELECT %s FROM ONLY %s", sql.len ? " UNION ALL " : "", columns,
						 etl_quoted_relation(lfirst_oid(cell)));
	etl_execute_utility(psprintf("CREATE VIEW %s AS %s",
								 quote_qualified_identifier(get_namespace_name(schema), name), sql.data));
	CommandCounterIncrement();
	return get_relname_relid(name, schema);
}

/*
 * etl_partition_swap_publish exchanges and attaches; last before the commit,
 * since from here on readers wait.
 */
void
etl_partition_swap_publish(EtlPartitionSwap *swap)
{
	List	   *locked = NIL;
	bool		fresh = false;
	ListCell   *cell;

	foreach(cell, swap->parts)
	{
		Part	   *part = lfirst(cell);

		fresh |= part->made != NULL;
		if (part->made == NULL)
			locked = lappend_oid(locked, part->leaf);
		else if (OidIsValid(swap->rest))
			locked = list_append_unique_oid(locked, swap->rest);
	}
	etl_swap_flush();
	etl_lock_all_briefly(locked);
	foreach(cell, swap->parts)
	{
		Part	   *part = lfirst(cell);

		if (part->made == NULL)
		{
			part->swap->locked = true;
			etl_swap_publish(part->swap);
			continue;
		}
		etl_partition_attach(swap->relid, part->leaf, part->made);
		etl_execute_utility(psprintf("ALTER TABLE %s DROP CONSTRAINT etl_bound",
									 etl_quoted_relation(part->leaf)));
		CommandCounterIncrement();
	}
	if (swap->recorded && fresh)
		etl_record_know_parts(swap->relid);
}
