/*-------------------------------------------------------------------------
 *
 * swap.c
 *    Publishing a rebuilt table by exchanging storage under its OID.
 *
 * The new rows are written frozen into a transient heap of the same shape,
 * indexed and analyzed there, and flushed to WAL; only then is the
 * exclusive lock taken, polled and never queued, and the pg_class rows of
 * heap, TOAST and paired indexes exchange their storage.  Readers see old
 * rows or new ones, those with an older snapshot too: frozen rows are
 * visible to everybody.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_publication.h"
#include "commands/cluster.h"
#include "commands/defrem.h"
#include "commands/publicationcmds.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "parser/parse_utilcmd.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/smgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "common/brief_lock.h"
#include "common/compat.h"
#include "common/errors.h"
#include "common/progress.h"
#include "model/internal.h"

/*
 * index_hindrance tells why an index cannot be paired, or NULL.
 */
static const char *
index_hindrance(Relation rel)
{
	const char *hindrance = NULL;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisexclusion)
			hindrance = "it has an exclusion constraint";
		else if (!index->rd_index->indisvalid)
			hindrance = "one of its indexes is invalid";
		else if (!index->rd_index->indimmediate)
			hindrance = "it has a deferrable constraint";
		else if (index->rd_index->indisreplident)
			hindrance = "one of its indexes is its replica identity";
		index_close(index, AccessShareLock);
	}
	return hindrance;
}

/*
 * only_records tells whether all that a partition, or the partitioned table,
 * has in the way of triggers is those that record: who replaces partitions
 * records himself.
 */
static bool
only_records(Relation rel)
{
	if (rel->trigdesc == NULL ||
		(!rel->rd_rel->relispartition && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE))
		return false;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		if (strncmp(rel->trigdesc->triggers[i].tgname, ETL_CHANGE_TRIGGER, strlen(ETL_CHANGE_TRIGGER)) != 0)
			return false;
	return true;
}

/*
 * hindrance_of tells what every storage that is exchanged must not have.
 */
static const char *
hindrance_of(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	if (rel->rd_rel->relhastriggers && !only_records(rel))
		return "it has foreign keys or triggers";
	if (rel->rd_rel->relhasrules)
		return "it has rules";
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return "it is temporary";
	if (XLogLogicalInfoActive() &&
		(GetRelationPublications(relid) != NIL || GetAllTablesPublications() != NIL ||
		 GetSchemaPublications(RelationGetNamespace(rel)) != NIL))
		return "it is in a publication";
	return NULL;
}

/*
 * etl_swap_hindrance tells why a table must be published by DML instead of
 * by a swap; NULL when it may be swapped.
 */
const char *
etl_swap_hindrance(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const char *hindrance = NULL;

	if (rel->rd_rel->relkind == RELKIND_MATVIEW)
		hindrance = index_hindrance(rel);
	else if (rel->rd_rel->relkind != RELKIND_RELATION)
		hindrance = "it is partitioned";
	else if (rel->rd_rel->relispartition || rel->rd_rel->relhassubclass || has_superclass(relid))
		hindrance = "it is part of an inheritance tree";
	else if ((hindrance = hindrance_of(rel)) == NULL)
		hindrance = index_hindrance(rel);
	table_close(rel, NoLock);
	return hindrance;
}

/*
 * etl_swap_hindrance_of_partition tells the same of a partition, or of the
 * table that is partitioned.
 */
const char *
etl_swap_hindrance_of_partition(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const char *hindrance = hindrance_of(rel);

	if (hindrance == NULL && rel->rd_rel->relispartition)
		hindrance = rel->rd_rel->relkind == RELKIND_RELATION ? index_hindrance(rel) :
															   "a partition of it is no plain table";
	table_close(rel, NoLock);
	return hindrance;
}

/*
 * etl_swap_begin makes the transient heap: same columns, dropped ones
 * included, same storage parameters, own TOAST table.  The target is held
 * against DDL and other writers of its storage, not against readers.
 */
EtlSwap *
etl_swap_begin(Oid relid)
{
	EtlSwap    *swap = palloc0(sizeof(EtlSwap));
	Relation	rel = table_open(relid, ShareUpdateExclusiveLock);

	swap->relid = relid;
	swap->transient = make_new_heap(relid, rel->rd_rel->reltablespace, rel->rd_rel->relam,
									rel->rd_rel->relpersistence, ShareUpdateExclusiveLock);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return swap;
}

/*
 * clone_statement makes the statement that builds one index's pair.
 */
static IndexStmt *
clone_statement(Relation rel, Relation transient, Relation index, bool with_constraint)
{
	int			natts = RelationGetDescr(rel)->natts;
	AttrMap    *map = make_attrmap(natts);
	IndexStmt  *statement;
	Oid			constraint;

	for (int i = 0; i < natts; i++)
		map->attnums[i] = TupleDescAttr(RelationGetDescr(rel), i)->attisdropped ? 0 : i + 1;
	statement = generateClonedIndexStmt(makeRangeVar(get_namespace_name(RelationGetNamespace(transient)),
													 pstrdup(RelationGetRelationName(transient)), -1),
										index, map, &constraint);
	/* a constraint stays with the target: here only its index is needed */
	if (!with_constraint)
	{
		statement->primary = false;
		statement->isconstraint = false;
		statement->deferrable = false;
		statement->initdeferred = false;
	}
	statement->idxname = NULL;
	free_attrmap(map);
	return statement;
}

/*
 * etl_swap_clone_index gives a table an index like one of another, as a
 * constraint, too, if that is one and 'constraint' says so.
 */
Oid
etl_swap_clone_index(Oid from, Oid to, Oid index_oid, bool constraint)
{
	Relation	rel = table_open(from, AccessShareLock);
	Relation	fresh = table_open(to, ShareLock);
	Relation	index = index_open(index_oid, AccessShareLock);
	IndexStmt  *statement = clone_statement(rel, fresh, index, constraint);
	Oid			made;

	index_close(index, NoLock);
	made = etl_index_build(to, statement);
	table_close(fresh, NoLock);
	table_close(rel, NoLock);
	return made;
}

/*
 * etl_swap_index builds, on the transient heap, a pair for every index of
 * the target that stays.
 */
void
etl_swap_index(EtlSwap *swap)
{
	Relation	rel = table_open(swap->relid, AccessShareLock);
	ListCell   *cell;

	swap->had = RelationGetIndexList(rel);
	table_close(rel, NoLock);
	foreach(cell, swap->had)
		if (swap->refit == NULL || etl_refit_keeps(swap, lfirst_oid(cell)))
			swap->indexes = lappend_oid(swap->indexes, lfirst_oid(cell));
	foreach(cell, swap->indexes)
	{
		etl_progress_phase(psprintf("building index %d of %d", foreach_current_index(cell) + 1,
									list_length(swap->indexes)));
		swap->pairs = lappend_oid(swap->pairs, etl_swap_clone_index(swap->relid, swap->transient,
																	lfirst_oid(cell), false));
	}
}

/*
 * exchange swaps the storage of two relations in pg_class; with_toast for
 * heaps, whose TOAST tables change owner by link.
 */
static void
exchange(Oid first, Oid second)
{
	Relation	classes = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	one = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(first));
	HeapTuple	two = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(second));
	Form_pg_class a;
	Form_pg_class b;
	CatalogIndexState indexes;
	Relation	rel1;
	Relation	rel2;

	if (!HeapTupleIsValid(one) || !HeapTupleIsValid(two))
		elog(ERROR, "cache lookup failed for relation %u or %u", first, second);
	a = (Form_pg_class) GETSTRUCT(one);
	b = (Form_pg_class) GETSTRUCT(two);

#define EXCHANGE(type, field) \
	do \
	{ \
		type		was = a->field; \
		a->field = b->field; \
		b->field = was; \
	} while (0)
	EXCHANGE(Oid, relfilenode);
	EXCHANGE(Oid, reltablespace);
	EXCHANGE(char, relpersistence);
	EXCHANGE(Oid, reltoastrelid);
	EXCHANGE(TransactionId, relfrozenxid);
	EXCHANGE(MultiXactId, relminmxid);
	EXCHANGE(int32, relpages);
	EXCHANGE(float4, reltuples);
	EXCHANGE(int32, relallvisible);
	ETL_EXCHANGE_MORE(EXCHANGE);
#undef EXCHANGE

	indexes = CatalogOpenIndexes(classes);
	CatalogTupleUpdateWithInfo(classes, &one->t_self, one, indexes);
	CatalogTupleUpdateWithInfo(classes, &two->t_self, two, indexes);
	CatalogCloseIndexes(indexes);
	InvokeObjectPostAlterHookArg(RelationRelationId, first, 0, InvalidOid, true);

	/* with wal_level=minimal the new file must be synced at commit */
	rel1 = relation_open(first, NoLock);
	rel2 = relation_open(second, NoLock);
	rel2->rd_createSubid = rel1->rd_createSubid;
	rel2->rd_newRelfilenodeSubid = rel1->rd_newRelfilenodeSubid;
	rel2->rd_firstRelfilenodeSubid = rel1->rd_firstRelfilenodeSubid;
	RelationAssumeNewRelfilenode(rel1);
	relation_close(rel1, NoLock);
	relation_close(rel2, NoLock);

	CacheInvalidateRelcacheByTuple(one);
	CacheInvalidateRelcacheByTuple(two);
	heap_freetuple(one);
	heap_freetuple(two);
	table_close(classes, RowExclusiveLock);
	RelationCloseSmgrByOid(first);
	RelationCloseSmgrByOid(second);
}

/*
 * relink_toast makes a TOAST table depend on the heap that now owns it.
 */
static void
relink_toast(Oid relid, Oid toast)
{
	ObjectAddress base;
	ObjectAddress dependent;

	if (!OidIsValid(toast))
		return;
	deleteDependencyRecordsFor(RelationRelationId, toast, false);
	ObjectAddressSet(base, RelationRelationId, relid);
	ObjectAddressSet(dependent, RelationRelationId, toast);
	recordDependencyOn(&dependent, &base, DEPENDENCY_INTERNAL);
}

/*
 * toast_of returns the TOAST table of a relation as the catalogue has it.
 */
static Oid
toast_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;

	ReleaseSysCache(tuple);
	return toast;
}

/*
 * move_statistics gives a relation the statistics that were gathered on
 * its pair.
 */
static void
move_statistics(Oid relid, Oid transient)
{
	RemoveStatistics(relid, 0);
	CopyStatistics(transient, relid);
}

/*
 * etl_swap_rename_toast gives a TOAST table and its index the names that belong to a
 * heap.
 */
void
etl_swap_rename_toast(Oid toast, Oid heap, const char *suffix)
{
	Relation	rel = table_open(toast, AccessExclusiveLock);
	Oid			index = linitial_oid(RelationGetIndexList(rel));
	char		name[NAMEDATALEN];

	table_close(rel, NoLock);
	snprintf(name, NAMEDATALEN, "pg_toast_%u%s", heap, suffix);
	RenameRelationInternal(toast, name, true, false);
	snprintf(name, NAMEDATALEN, "pg_toast_%u%s_index", heap, suffix);
	RenameRelationInternal(index, name, true, true);
	CommandCounterIncrement();
}

/*
 * drop_transient drops the old storage and gives the TOAST table its name.
 */
static void
drop_transient(Oid relid, Oid transient)
{
	ObjectAddress object;
	Oid			toast;

	ObjectAddressSet(object, RelationRelationId, transient);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();

	toast = toast_of(relid);
	if (OidIsValid(toast))
		etl_swap_rename_toast(toast, relid, "");
}

/*
 * etl_swap_flush writes the log of what was built: a commit that flushes it
 * would do so under the lock.
 */
void
etl_swap_flush(void)
{
	/* not the insert position: at the start of a page it lies behind a header nobody wrote */
	XLogFlush(XactLastRecEnd);
}

/*
 * rename_heap gives a heap of ours a name of its own: PostgreSQL calls every
 * heap that it makes for a table alike.
 */
static void
rename_heap(Oid heap, Oid relid, const char *suffix)
{
	char		name[NAMEDATALEN];

	snprintf(name, NAMEDATALEN, "pg_temp_%u_%s", relid, suffix);
	RenameRelationInternal(heap, name, true, false);
	CommandCounterIncrement();
}

/*
 * etl_swap_make_room makes a heap that the old rows can go to before the new
 * ones come.
 */
void
etl_swap_make_room(EtlSwap *swap)
{
	Relation	rel = table_open(swap->relid, ShareUpdateExclusiveLock);

	rename_heap(swap->transient, swap->relid, "new");
	swap->old = make_new_heap(swap->relid, rel->rd_rel->reltablespace, rel->rd_rel->relam,
							  rel->rd_rel->relpersistence, ShareUpdateExclusiveLock);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	rename_heap(swap->old, swap->relid, "old");
}

/*
 * exchange_heaps exchanges the storage of two heaps.
 */
static void
exchange_heaps(Oid first, Oid second)
{
	exchange(first, second);
	CommandCounterIncrement();
	relink_toast(first, toast_of(first));
	relink_toast(second, toast_of(second));
	CommandCounterIncrement();
}

/*
 * etl_swap_empty takes the old rows out of the table: what is done to it
 * then takes no time.  Its indexes are not valid until they are exchanged.
 */
void
etl_swap_empty(EtlSwap *swap)
{
	exchange_heaps(swap->relid, swap->old);
	/* a column may bring the table another one of its name */
	if (OidIsValid(toast_of(swap->old)))
		etl_swap_rename_toast(toast_of(swap->old), swap->old, "_old");
}

/*
 * remove_old drops what holds the old rows, or keeps it.
 */
static void
remove_old(EtlSwap *swap)
{
	Oid			old = swap->transient;
	List	   *indexes = swap->pairs;

	if (OidIsValid(swap->old))
	{
		ObjectAddress object;

		ObjectAddressSet(object, RelationRelationId, swap->transient);
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
		CommandCounterIncrement();
		old = swap->old;
		indexes = NIL;
	}
	if (swap->keep == NULL)
		drop_transient(swap->relid, old);
	else
		etl_keep_storage(swap->relid, old, toast_of(swap->relid), toast_of(old), indexes, swap->keep);
	CommandCounterIncrement();
}

/*
 * etl_swap_publish exchanges the storage of the target and the transient
 * heap and drops the latter, which then holds the old rows.  To be called
 * last before the commit: from here on readers wait.
 */
void
etl_swap_publish(EtlSwap *swap)
{
	Relation	rel;
	Relation	fresh;
	bool		same_indexes;
	ListCell   *one;
	ListCell   *two;

	if (!swap->locked)
	{
		etl_swap_flush();
		etl_lock_briefly(swap->relid);
	}
	rel = table_open(swap->relid, NoLock);
	fresh = table_open(swap->transient, AccessExclusiveLock);
	CheckTableNotInUse(rel, "publish");
	TransferPredicateLocksToHeapRelation(rel);
	same_indexes = equal(RelationGetIndexList(rel), swap->had);
	if (RelationGetDescr(rel)->constr && RelationGetDescr(rel)->constr->missing)
		RelationClearMissing(rel);
	table_close(fresh, NoLock);
	table_close(rel, NoLock);
	if (!same_indexes)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the indexes of \"%s\" changed while it was rebuilt",
						get_rel_name(swap->relid)),
				 errhint("Run the model again.")));

	if (swap->refit != NULL)
		etl_refit_apply(swap);
	exchange_heaps(swap->relid, swap->transient);
	forboth(one, swap->indexes, two, swap->pairs)
	{
		LockRelationOid(lfirst_oid(one), AccessExclusiveLock);
		exchange(lfirst_oid(one), lfirst_oid(two));
		move_statistics(lfirst_oid(one), lfirst_oid(two));
	}
	move_statistics(swap->relid, swap->transient);
	CommandCounterIncrement();
	remove_old(swap);
}
