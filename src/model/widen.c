/*-------------------------------------------------------------------------
 *
 * widen.c
 *    From a change to the rows that share a DISTINCT ON or a window with it.
 *
 * One level that keeps the first row of each DISTINCT ON key, or looks at the
 * other rows of a partition, keeps only these columns of the changed rows
 * apart: when a row comes, another one that has other values goes.  But that
 * one has the same key.  So what a change can touch behind the level is found
 * among all rows, of before and since, whose key is that of a changed row;
 * these are joined with the keys, and all their columns are known:
 *
 *    SELECT w.* FROM (the level over all rows) w
 *      JOIN (SELECT DISTINCT key FROM (the level over the changed ones)) c
 *        ON w.key = c.key
 *
 * Keys that hold a NULL are found in a variant of their own, so that the
 * others can be looked up by an index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteManip.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "model/relax.h"

/*
 * refers_outside tells whether a query uses columns of those around it.
 */
static bool
refers_outside(Query *query, EtlRelaxLevel *outer)
{
	for (int depth = 1; outer != NULL; outer = outer->outer, depth++)
		if (contain_vars_of_level((Node *) query, depth))
			return true;
	return false;
}

/*
 * names_key tells whether DISTINCT ON or a PARTITION BY names a target.
 */
static bool
names_key(Query *query, TargetEntry *target)
{
	List	   *clauses = query->hasDistinctOn ? list_copy(query->distinctClause) : NIL;
	ListCell   *cell;

	foreach(cell, query->windowClause)
		clauses = list_concat(clauses, lfirst_node(WindowClause, cell)->partitionClause);
	foreach(cell, clauses)
		if (get_sortgroupclause_tle(lfirst(cell), query->targetList) == target)
			return true;
	return false;
}

/*
 * show_keys makes the columns visible that a level keeps apart and does not
 * yield, behind those that it yields.
 */
static void
show_keys(Query *query)
{
	List	   *yielded = NIL;
	List	   *keys = NIL;
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!target->resjunk)
			yielded = lappend(yielded, target);
		else if (names_key(query, target))
			keys = lappend(keys, target);
		else
			others = lappend(others, target);
	}
	foreach(cell, keys)
	{
		TargetEntry *target = lfirst(cell);

		target->resjunk = false;
		target->resname = psprintf("etl_key_%d", foreach_current_index(cell) + 1);
	}
	query->targetList = list_concat(list_concat(yielded, keys), others);
	foreach(cell, query->targetList)
		lfirst_node(TargetEntry, cell)->resno = foreach_current_index(cell) + 1;
}

/*
 * etl_relax_widen_begin returns the query to join the changed rows of this
 * one to, with its places among those of the search; NULL where that is of no
 * use.  To be called before the query is relaxed.
 */
Query *
etl_relax_widen_begin(Query *query, EtlRelaxLevel *outer, EtlRelaxSearch *search)
{
	Query	   *whole;
	const char *hindrance;

	if (!search->widen || (!query->hasDistinctOn && query->windowClause == NIL) || query->hasAggs ||
		query->groupClause != NIL || query->groupingSets != NIL || query->setOperations != NULL ||
		query->limitCount != NULL || query->limitOffset != NULL || query->hasTargetSRFs ||
		refers_outside(query, outer))
		return NULL;
	show_keys(query);
	whole = copyObject(query);
	/* a list that is there grows in its place: the finder has the same */
	search->leaves = list_concat(search->leaves, etl_leaves_find(whole, search->inputs, &hindrance));
	return whole;
}

/*
 * compare renders that a column of all rows has the value of the key.  'or_null':
 * or neither has one.
 */
static Node *
compare(TargetEntry *target, bool or_null)
{
	Oid			type = exprType((Node *) target->expr);
	Oid			collation = exprCollation((Node *) target->expr);
	Var		   *row = makeVar(1, target->resno, type, exprTypmod((Node *) target->expr), collation, 0);
	Var		   *key = copyObject(row);
	OpExpr	   *equality;

	key->varno = key->varnosyn = 2;
	equality = (OpExpr *) make_opclause(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr, BOOLOID, false,
										(Expr *) row, (Expr *) key, InvalidOid, collation);
	set_opfuncid(equality);
	if (!or_null)
		return (Node *) equality;
	NodeSetTag(equality, T_DistinctExpr);
	return (Node *) make_notclause((Expr *) equality);
}

/*
 * is_null renders that a column of the keys has no value.
 */
static Node *
is_null(TargetEntry *target)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) makeVar(2, target->resno, exprType((Node *) target->expr),
								 exprTypmod((Node *) target->expr), exprCollation((Node *) target->expr), 0);
	test->nulltesttype = IS_NULL;
	test->location = -1;
	return (Node *) test;
}

/*
 * condition_of joins all rows with the keys; 'nulls': those of which a column
 * has no value.
 */
static Node *
condition_of(List *keys, bool nulls)
{
	List	   *conditions = NIL;
	List	   *missing = NIL;
	ListCell   *cell;

	foreach(cell, keys)
	{
		conditions = lappend(conditions, compare(lfirst(cell), nulls));
		missing = lappend(missing, is_null(lfirst(cell)));
	}
	if (nulls)
		conditions = lappend(conditions, make_orclause(missing));
	return (Node *) make_ands_explicit(conditions);
}

/*
 * each_once makes a query yield its key columns alone, each key once; the
 * others are there as NULLs.
 */
static void
each_once(Query *query, List *keys)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		SortGroupClause *clause = makeNode(SortGroupClause);
		Node	   *expr = (Node *) target->expr;

		if (!list_member_ptr(keys, target))
			target->expr = (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
		expr = (Node *) target->expr;
		get_sort_group_operators(exprType(expr), false, true, false, &clause->sortop, &clause->eqop, NULL,
								 &clause->hashable);
		clause->tleSortGroupRef = target->ressortgroupref = target->resno;
		query->distinctClause = lappend(query->distinctClause, clause);
	}
}

/*
 * add_entry reads a subquery in FROM.
 */
static void
add_entry(Query *query, Query *subquery, const char *name)
{
	ParseNamespaceItem *item;
	RangeTblRef *reference = makeNode(RangeTblRef);

	IncrementVarSublevelsUp((Node *) subquery, 1, 1);
	item = addRangeTableEntryForSubquery(make_parsestate(NULL), subquery, makeAlias(name, NIL), false, true);
	query->rtable = lappend(query->rtable, item->p_rte);
	reference->rtindex = list_length(query->rtable);
	query->jointree->fromlist = lappend(query->jointree->fromlist, reference);
}

/*
 * join puts the join of all rows with the keys of the changed ones in the
 * place of a query.
 */
static void
join(Query *query, Query *whole, List *keys, bool nulls)
{
	Query	   *changed = makeNode(Query);
	List	   *targets = NIL;
	ListCell   *cell;

	*changed = *query;
	memset(query, 0, sizeof(Query));
	NodeSetTag(query, T_Query);
	query->commandType = CMD_SELECT;
	query->querySource = changed->querySource;
	query->canSetTag = changed->canSetTag;
	query->stmt_location = query->stmt_len = -1;
	query->jointree = makeFromExpr(NIL, condition_of(keys, nulls));
	foreach(cell, whole->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		targets = lappend(targets, makeTargetEntry((Expr *) makeVarFromTargetEntry(1, target), target->resno,
												   target->resname, false));
	}
	query->targetList = targets;
	each_once(changed, keys);
	add_entry(query, whole, "etl_all");
	add_entry(query, changed, "etl_keys");
}

/*
 * etl_relax_widen_end puts into the place of a query, which is relaxed, all
 * rows that have a key of its own; returns the columns that are known.
 */
Bitmapset *
etl_relax_widen_end(Query *query, Query *whole, EtlRelaxSearch *search, Bitmapset *known,
					Bitmapset *known_of_all)
{
	List	   *keys = NIL;
	bool		nulls = search->variant & 1 << search->optional;
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		int			resno = lfirst_node(TargetEntry, cell)->resno;

		if (bms_is_member(resno, known) && bms_is_member(resno, known_of_all))
			keys = lappend(keys, lfirst(cell));
	}
	if (keys == NIL || bms_is_subset(known_of_all, known))
		return known;
	join(query, whole, keys, nulls);
	search->shown |= nulls;
	etl_relax_count_optional(search);
	return known_of_all;
}
