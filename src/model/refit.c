/*-------------------------------------------------------------------------
 *
 * refit.c
 *    A table gets other columns, constraints and indexes together with its
 *    rows.
 *
 * What a changed definition asks of its table is first done to the heap that
 * the new rows are built in, where it may take as long as it takes.  At the
 * swap, under the lock, the old rows are taken out of the table, the same is
 * done to it while it is empty, and it gets the new rows with the indexes
 * that are built.  Both heaps are treated alike, so that their columns have
 * the same numbers, those that were dropped included.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_constraint.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "common/names.h"
#include "common/parse.h"
#include "load/belongings.h"
#include "load/dependents.h"
#include "model/internal.h"

/* ---- columns ---- */

/*
 * etl_refit_plan says what is to become of a table; raises ET013 or ET017
 * for columns that must stay.
 */
EtlRefit *
etl_refit_plan(const EtlModel *model, Oid relid, TupleDesc desc)
{
	EtlRefit   *refit = palloc0(sizeof(EtlRefit));
	ListCell   *cell;

	refit->model = model;
	if (etl_model_is_matview(model))
		return refit;
	refit->columns = etl_table_reshape_actions(model, relid, desc, true);
	if (refit->columns == NULL)
		return refit;
	refit->lost = etl_table_lost_columns(model, relid, desc);
	if (refit->lost != NIL)
	{
		etl_dependents_must_be_managed(relid, refit->lost);
		etl_columns_must_be_free(relid, refit->lost);
		refit->dress = etl_view_undress(relid, model->owner);
		foreach(cell, refit->lost)
			refit->names = lappend(refit->names, get_attname(relid, lfirst_int(cell), false));
	}
	return refit;
}

/*
 * alter gives a heap the columns.
 */
static void
alter(Oid relid, const char *actions)
{
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(relid), actions));
	CommandCounterIncrement();
}

/*
 * etl_refit_begin gives the transient heap of a swap the columns to be.
 */
void
etl_refit_begin(EtlSwap *swap, EtlRefit *refit)
{
	swap->refit = refit;
	refit->unwanted = etl_table_indexes_unwanted(refit->model, swap->relid);
	if (refit->columns != NULL)
		alter(swap->transient, refit->columns);
}

/*
 * uses_one_of tells whether expressions over a table use a column that is
 * not there, as a member of 'gone' (offset as in pull_varattnos).
 */
static bool
uses_one_of(Node *expressions, Bitmapset *gone)
{
	Bitmapset  *used = NULL;

	pull_varattnos(expressions, 1, &used);
	return bms_overlap(used, gone);
}

/*
 * mask_constraints returns the constraints of a table without the checks
 * that go with columns, or with the definition that declared them.
 */
static TupleConstr *
mask_constraints(const EtlModel *model, Oid relid, const TupleConstr *have, Bitmapset *gone)
{
	TupleConstr *constr = palloc(sizeof(TupleConstr));

	*constr = *have;
	constr->check = palloc(sizeof(ConstrCheck) * Max(have->num_check, 1));
	constr->num_check = 0;
	for (int i = 0; i < have->num_check; i++)
		if (!uses_one_of(stringToNode(have->check[i].ccbin), gone) &&
			!etl_given_drops(model, relid, have->check[i].ccname))
			constr->check[constr->num_check++] = have->check[i];
	return constr;
}

/*
 * etl_refit_mask returns a table as it will be when it has the rows of 'heap':
 * with its columns, and the constraints that are left.  It serves to check
 * rows and no other purpose.
 */
Relation
etl_refit_mask(const EtlModel *model, Relation table, Relation heap)
{
	TupleDesc	have = RelationGetDescr(table);
	TupleDesc	desc = RelationGetDescr(heap);
	Bitmapset  *gone = NULL;
	Relation	mask;
	List	   *released;

	/* a partition, or a new table */
	if (RelationGetRelid(table) == RelationGetRelid(heap) || have->constr == NULL ||
		etl_name_relation(model->target) != RelationGetRelid(table))
		return table;
	released = etl_given_released(model, RelationGetRelid(table));
	for (int i = 0; i < Min(have->natts, desc->natts); i++)
		if (!TupleDescAttr(have, i)->attisdropped &&
			(TupleDescAttr(desc, i)->atttypid != TupleDescAttr(have, i)->atttypid ||
			 TupleDescAttr(desc, i)->atttypmod != TupleDescAttr(have, i)->atttypmod ||
			 TupleDescAttr(desc, i)->attcollation != TupleDescAttr(have, i)->attcollation))
			gone = bms_add_member(gone, i + 1 - FirstLowInvalidHeapAttributeNumber);
	mask = palloc(sizeof(RelationData));
	*mask = *table;
	mask->rd_att = CreateTupleDescCopy(desc);
	for (int i = 0; i < Min(have->natts, desc->natts); i++)
	{
		Form_pg_attribute from = TupleDescAttr(have, i);
		Form_pg_attribute to = TupleDescAttr(mask->rd_att, i);

		if (to->attisdropped)
			continue;
		to->attnotnull = from->attnotnull && !etl_name_among(released, NameStr(from->attname));
		to->atthasdef = from->atthasdef;
		to->attgenerated = from->attgenerated;
		etl_attribute_changed(mask->rd_att, i);
	}
	mask->rd_att->constr = mask_constraints(model, RelationGetRelid(table), have->constr, gone);
	mask->rd_rel = palloc(CLASS_TUPLE_SIZE);
	memcpy(mask->rd_rel, table->rd_rel, CLASS_TUPLE_SIZE);
	mask->rd_rel->relchecks = mask->rd_att->constr->num_check;
	return mask;
}

/* ---- indexes ---- */

/*
 * lost_columns returns the columns that go as uses_one_of wants them.
 */
static Bitmapset *
lost_columns(const EtlRefit *refit)
{
	Bitmapset  *gone = NULL;
	ListCell   *cell;

	foreach(cell, refit->lost)
		gone = bms_add_member(gone, lfirst_int(cell) - FirstLowInvalidHeapAttributeNumber);
	return gone;
}

/*
 * index_goes tells whether an index is over a column that goes.
 */
static bool
index_goes(const EtlRefit *refit, Oid index_oid)
{
	Bitmapset  *gone = lost_columns(refit);
	Relation	index;
	bool		goes = false;

	if (gone == NULL)
		return false;
	index = index_open(index_oid, AccessShareLock);
	for (int i = 0; i < index->rd_index->indnatts; i++)
		goes |= list_member_int(refit->lost, index->rd_index->indkey.values[i]);
	goes |= uses_one_of((Node *) RelationGetIndexExpressions(index), gone) ||
			uses_one_of((Node *) RelationGetIndexPredicate(index), gone);
	index_close(index, NoLock);
	return goes;
}

/*
 * etl_refit_keeps tells whether an index of the table is there after the
 * change: the definition still wants it, it is over columns that stay, and of
 * no constraint that goes.
 */
bool
etl_refit_keeps(const EtlSwap *swap, Oid index_oid)
{
	EtlRefit   *refit = swap->refit;
	Oid			constraint = get_index_constraint(index_oid);

	return !list_member_oid(refit->unwanted, index_oid) &&
		   !(OidIsValid(constraint) &&
			 etl_given_drops(refit->model, swap->relid, get_constraint_name(constraint))) &&
		   !index_goes(refit, index_oid);
}

/*
 * indexes_of returns the indexes of a heap.
 */
static List *
indexes_of(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);

	table_close(rel, NoLock);
	return indexes;
}

/*
 * etl_refit_prepare gives the transient heap, which has its rows and the
 * pairs of the table's indexes, what the definition asks for besides.
 */
void
etl_refit_prepare(EtlSwap *swap)
{
	EtlRefit   *refit = swap->refit;

	refit->constraints =
		etl_given_constraints_beside(refit->model, swap->relid, refit->lost, swap->transient);
	refit->made = list_difference_oid(indexes_of(swap->transient), swap->pairs);
	refit->made = list_concat(refit->made,
							  etl_table_indexes_beside(refit->model, swap->relid, swap->indexes,
													   swap->transient, refit->made));
	if (refit->columns != NULL || refit->constraints || refit->made != NIL || refit->unwanted != NIL)
		etl_swap_make_room(swap);
}

/* ---- under the lock ---- */

/*
 * check_columns raises an error for heaps that are not alike: nobody can have
 * altered the table, but rows of another shape would be damaged.
 */
static void
check_columns(EtlSwap *swap)
{
	Relation	rel = table_open(swap->relid, NoLock);
	Relation	fresh = table_open(swap->transient, AccessExclusiveLock);
	TupleDesc	a = RelationGetDescr(rel);
	TupleDesc	b = RelationGetDescr(fresh);
	bool		alike = a->natts == b->natts;

	for (int i = 0; alike && i < a->natts; i++)
	{
		Form_pg_attribute one = TupleDescAttr(a, i);
		Form_pg_attribute two = TupleDescAttr(b, i);

		alike = one->attisdropped == two->attisdropped && one->attlen == two->attlen &&
				one->attalign == two->attalign && one->attbyval == two->attbyval &&
				one->atttypid == two->atttypid && one->atttypmod == two->atttypmod &&
				strcmp(NameStr(one->attname), NameStr(two->attname)) == 0;
	}
	table_close(fresh, NoLock);
	table_close(rel, NoLock);
	if (!alike)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the columns of \"%s\" changed while it was rebuilt", get_rel_name(swap->relid)),
				 errhint("Run the model again.")));
}

/*
 * pair_of returns the index of the transient heap that belongs to one of the
 * table.
 */
static Oid
pair_of(EtlSwap *swap, Oid index)
{
	ListCell   *one;
	ListCell   *two;

	forboth(one, swap->indexes, two, swap->pairs)
		if (lfirst_oid(one) == index)
			return lfirst_oid(two);
	foreach(one, swap->refit->made)
		if (etl_index_same_tail(get_rel_name(index), get_rel_name(lfirst_oid(one))))
			return lfirst_oid(one);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("index \"%s\" came to \"%s\" while it was rebuilt", get_rel_name(index),
					get_rel_name(swap->relid)),
			 errhint("Run the model again.")));
}

/*
 * drop_with_columns drops the indexes and constraints over columns that get
 * another type, as they would go with columns that are dropped: those that
 * the definition declares are made again.
 */
static void
drop_with_columns(EtlSwap *swap)
{
	ObjectAddresses *objects = new_object_addresses();
	Bitmapset  *gone = lost_columns(swap->refit);
	Relation	rel = table_open(swap->relid, NoLock);
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	ObjectAddress object;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Oid			constraint = get_index_constraint(lfirst_oid(cell));

		if (!index_goes(swap->refit, lfirst_oid(cell)))
			continue;
		if (OidIsValid(constraint))
			ObjectAddressSet(object, ConstraintRelationId, constraint);
		else
			ObjectAddressSet(object, RelationRelationId, lfirst_oid(cell));
		add_exact_object_address(&object, objects);
	}
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		if (uses_one_of(stringToNode(constr->check[i].ccbin), gone))
		{
			ObjectAddressSet(object, ConstraintRelationId,
							 get_relation_constraint_oid(swap->relid, constr->check[i].ccname, false));
			add_exact_object_address(&object, objects);
		}
	table_close(rel, NoLock);
	performMultipleDeletions(objects, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	free_object_addresses(objects);
	CommandCounterIncrement();
}

/*
 * etl_refit_apply changes the table, which readers have left, and pairs the
 * indexes that it has then.
 */
void
etl_refit_apply(EtlSwap *swap)
{
	EtlRefit   *refit = swap->refit;
	List	   *belongings = etl_given_belongings(refit->model, swap->relid, refit->lost);
	List	   *indexes;
	List	   *pairs = NIL;
	ListCell   *cell;

	if (!OidIsValid(swap->old))
		return;
	etl_swap_empty(swap);
	if (refit->lost != NIL)
		drop_with_columns(swap);
	if (refit->columns != NULL)
		alter(swap->relid, refit->columns);
	if (refit->dress != NULL)
		etl_columns_dress(swap->relid, refit->dress, refit->names);
	etl_given_constraints_of_rows(refit->model, swap->relid);
	etl_table_indexes(refit->model, swap->relid);
	check_columns(swap);

	indexes = indexes_of(swap->relid);
	foreach(cell, indexes)
		pairs = lappend_oid(pairs, pair_of(swap, lfirst_oid(cell)));
	swap->indexes = indexes;
	swap->pairs = pairs;
	etl_belongings_warn_of_loss(swap->relid, belongings);
}
