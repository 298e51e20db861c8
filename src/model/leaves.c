/*-------------------------------------------------------------------------
 *
 * leaves.c
 *    The places of a query that read what changed, and the way to them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "common/names.h"
#include "common/parse.h"
#include "model/internal.h"

typedef struct LeafSearch
{
	List	   *inputs;			/* EtlInput * that changed */
	List	   *leaves;
	const char *hindrance;
	Query	   *query;			/* the one whose entries are looked at */
} LeafSearch;

/*
 * changed_input returns the changed input of that name, or NULL.
 */
static EtlInput *
changed_input(List *inputs, const char *name)
{
	ListCell   *cell;

	foreach(cell, inputs)
		if (name != NULL && strcmp(((EtlInput *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

/*
 * hides_input notes a function whose body reads a changed input.
 */
static bool
hides_input(Oid function, void *arg)
{
	LeafSearch *search = arg;
	ListCell   *cell;

	if (function >= FirstNormalObjectId)
		foreach(cell, etl_names_of_function(function))
			if (changed_input(search->inputs, lfirst(cell)))
				search->hindrance = psprintf("a function reads %s", (char *) lfirst(cell));
	return false;
}

/*
 * leaf_walker collects the places that read a changed input, and what
 * reads one out of sight.
 */
static bool
leaf_walker(Node *node, LeafSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *outer = search->query;

		search->query = (Query *) node;
		query_tree_walker(search->query, leaf_walker, search, QTW_EXAMINE_RTES_BEFORE);
		search->query = outer;
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		EtlInput   *input = rte->rtekind == RTE_RELATION && rte->inFromCl ?
							  changed_input(search->inputs, etl_name_of_relation(rte->relid)) :
							  NULL;

		if (input != NULL)
		{
			EtlDeltaLeaf *leaf = palloc0(sizeof(EtlDeltaLeaf));

			leaf->rte = rte;
			leaf->as_user = etl_entry_user(search->query, rte);
			leaf->input = input;
			search->leaves = lappend(search->leaves, leaf);
			if (rte->tablesample != NULL)
				search->hindrance = "its query samples a table";
			if (input->kind == 's' && get_attnum(rte->relid, "_etl_load_id") <= 0)
				search->hindrance = psprintf("%s has no column _etl_load_id", input->name);
		}
		return false;
	}
	if (IsA(node, Const) && OidIsValid(get_typ_typrelid(((Const *) node)->consttype)))
	{
		char	   *name = etl_name_of_relation(get_typ_typrelid(((Const *) node)->consttype));

		if (changed_input(search->inputs, name))
			search->hindrance = psprintf("a function reads %s", name);
	}
	(void) check_functions_in_node(node, hides_input, search);
	return expression_tree_walker(node, leaf_walker, search);
}

typedef struct LeafCount
{
	List	   *leaves;
	int			n;
} LeafCount;

/*
 * count_walker counts leaves below a node.
 */
static bool
count_walker(Node *node, LeafCount *count)
{
	if (node == NULL)
		return false;
	CHECK_FOR_INTERRUPTS();
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, count_walker, count, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		ListCell   *cell;

		foreach(cell, count->leaves)
			if (((EtlDeltaLeaf *) lfirst(cell))->rte == (RangeTblEntry *) node)
				count->n++;
		return false;
	}
	return expression_tree_walker(node, count_walker, count);
}

/*
 * etl_leaves_find collects the places of an inlined query that read one of
 * 'inputs', always in the same order.  *hindrance is set when something reads
 * one out of sight.
 */
List *
etl_leaves_find(Query *query, List *inputs, const char **hindrance)
{
	LeafSearch	search = {inputs};

	(void) leaf_walker((Node *) query, &search);
	*hindrance = search.hindrance;
	return search.leaves;
}

/*
 * etl_leaves_below counts the leaves below an expression.
 */
int
etl_leaves_below(Node *node, List *leaves)
{
	LeafCount	count = {leaves, 0};

	count_walker(node, &count);
	return count.n;
}

/*
 * etl_leaves_in counts the leaves that a query reads, at any depth.
 */
int
etl_leaves_in(Query *query, List *leaves)
{
	LeafCount	count = {leaves, 0};

	count_walker((Node *) query, &count);
	return count.n;
}

/*
 * etl_leaves_of counts the leaves that an entry is or contains.
 */
int
etl_leaves_of(RangeTblEntry *rte, List *leaves)
{
	ListCell   *cell;

	if (rte->rtekind == RTE_SUBQUERY)
		return etl_leaves_in(rte->subquery, leaves);
	foreach(cell, leaves)
		if (((EtlDeltaLeaf *) lfirst(cell))->rte == rte)
			return 1;
	return 0;
}

typedef struct UseSearch
{
	RangeTblEntry *rte;
	Query	   *level;			/* the query that reads it */
	int			varno;			/* its number there */
	int			levels;
	Bitmapset  *columns;
	bool		more;			/* something else than plain columns of it is used */
} UseSearch;

/*
 * use_walker collects the columns of an entry that its query uses.
 */
static bool
use_walker(Node *node, UseSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup != search->levels)
			return false;
		if (var->varno != search->varno)
			search->more |= rt_fetch(var->varno, search->level->rtable)->rtekind == RTE_JOIN;
		else if (var->varattno > 0)
			search->columns = bms_add_member(search->columns, var->varattno);
		else
			search->more = true;
		return false;
	}
	if (IsA(node, Query))
	{
		search->levels++;
		(void) query_tree_walker((Query *) node, use_walker, search, QTW_IGNORE_JOINALIASES);
		search->levels--;
		return false;
	}
	return expression_tree_walker(node, use_walker, search);
}

/*
 * level_walker finds the query that reads an entry.
 */
static bool
level_walker(Node *node, UseSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		for (int i = 1; i <= list_length(query->rtable); i++)
			if (rt_fetch(i, query->rtable) == search->rte)
			{
				search->level = query;
				search->varno = i;
				return true;
			}
		return query_tree_walker(query, level_walker, search, 0);
	}
	return expression_tree_walker(node, level_walker, search);
}

/*
 * equal_is_same tells whether values of an expression that are equal are the
 * same, to every function.
 */
static bool
equal_is_same(Node *expr)
{
	Oid			collation = exprCollation(expr);
	TypeCacheEntry *type = lookup_type_cache(exprType(expr), TYPECACHE_BTREE_OPFAMILY);
	Oid			judge;

	if (!OidIsValid(type->btree_opf) || (type_is_collatable(type->type_id) && !OidIsValid(collation)))
		return false;
	judge = get_opfamily_proc(type->btree_opf, type->btree_opintype, type->btree_opintype,
							  BTEQUALIMAGE_PROC);
	return OidIsValid(judge) &&
		   DatumGetBool(OidFunctionCall1Coll(judge, collation, ObjectIdGetDatum(type->btree_opintype)));
}

/*
 * etl_leaf_used returns the columns of a leaf that a query uses, if it joins
 * the leaf to something else and rows can be grouped by them: of values that
 * are equal, one stands for the others.  NULL otherwise.
 */
Bitmapset *
etl_leaf_used(Query *query, const EtlDeltaLeaf *leaf)
{
	UseSearch	search = {leaf->rte};
	int			column = -1;

	if (!level_walker((Node *) query, &search) || list_length(search.level->rtable) < 2)
		return NULL;
	(void) query_tree_walker(search.level, use_walker, &search, QTW_IGNORE_JOINALIASES);
	while ((column = bms_next_member(search.columns, column)) >= 0)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(leaf->rte->relid, column, &type, &typmod, &collation);
		search.more |= !equal_is_same((Node *) makeVar(1, column, type, typmod, collation, 0));
	}
	return search.more ? NULL : search.columns;
}

/* ---- what keeps rows and keys apart ---- */

/*
 * etl_query_preserves tells whether every row of an entry that passes the conditions
 * reaches the result, never a row of NULLs in its place.
 */
bool
etl_query_preserves(Node *node, int varno)
{
	ListCell   *cell;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == varno;
	if (IsA(node, FromExpr))
	{
		foreach(cell, ((FromExpr *) node)->fromlist)
			if (etl_query_preserves(lfirst(cell), varno))
				return true;
		return false;
	}
	switch (castNode(JoinExpr, node)->jointype)
	{
		case JOIN_INNER:
			return etl_query_preserves(((JoinExpr *) node)->larg, varno) ||
				   etl_query_preserves(((JoinExpr *) node)->rarg, varno);
		case JOIN_LEFT:
			return etl_query_preserves(((JoinExpr *) node)->larg, varno);
		case JOIN_RIGHT:
			return etl_query_preserves(((JoinExpr *) node)->rarg, varno);
		default:
			return false;
	}
}

typedef struct RowSearch
{
	int			varno;
	int			levels;
} RowSearch;

/*
 * row_walker finds whole-row and system columns of one entry.
 */
static bool
row_walker(Node *node, RowSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == search->varno && ((Var *) node)->varlevelsup == search->levels &&
			   ((Var *) node)->varattno <= 0;
	if (IsA(node, Query))
	{
		bool		found;

		search->levels++;
		found = query_tree_walker((Query *) node, row_walker, search, 0);
		search->levels--;
		return found;
	}
	return expression_tree_walker(node, row_walker, search);
}

/*
 * etl_query_reads_whole_row tells whether a query uses an entry as a row, or its
 * system columns, which a subquery in its place could not give.
 */
bool
etl_query_reads_whole_row(Query *query, int varno)
{
	RowSearch	search = {varno, 0};

	return query_tree_walker(query, row_walker, &search, 0);
}

/*
 * etl_query_only_unites tells whether a set operation is all UNION (ALL).
 */
bool
etl_query_only_unites(Node *node, bool all)
{
	SetOperationStmt *operation = (SetOperationStmt *) node;

	if (IsA(node, RangeTblRef))
		return true;
	return operation->op == SETOP_UNION && (operation->all || !all) &&
		   etl_query_only_unites(operation->larg, all) && etl_query_only_unites(operation->rarg, all);
}

/*
 * in_clause tells whether a target stands in a GROUP BY or DISTINCT list.
 */
static bool
in_clause(TargetEntry *entry, List *clause)
{
	ListCell   *cell;

	foreach(cell, clause)
		if (entry->ressortgroupref != 0 &&
			lfirst_node(SortGroupClause, cell)->tleSortGroupRef == entry->ressortgroupref)
			return true;
	return false;
}

/*
 * etl_query_yields_once tells whether a query yields no two rows of a key, as
 * its grouping or its DISTINCT says.
 */
bool
etl_query_yields_once(Query *query, List *key)
{
	List	   *clause = query->groupClause ? query->groupClause : query->distinctClause;
	ListCell   *cell;

	if (clause == NIL || query->setOperations || query->groupingSets || query->hasTargetSRFs)
		return false;
	foreach(cell, clause)
	{
		TargetEntry *entry = get_sortgroupclause_tle(lfirst(cell), query->targetList);

		if (entry->resjunk || !etl_name_among(key, entry->resname))
			return false;
	}
	return true;
}

/*
 * etl_query_keeps tells whether the operators of one level keep the rows
 * of different values of a target apart.
 */
bool
etl_query_keeps(Query *query, TargetEntry *entry)
{
	ListCell   *cell;

	if (query->limitCount || query->limitOffset || query->hasTargetSRFs || query->groupingSets)
		return false;
	if ((query->hasAggs || query->groupClause) && !in_clause(entry, query->groupClause))
		return false;
	if (query->hasDistinctOn && !in_clause(entry, query->distinctClause))
		return false;
	foreach(cell, query->windowClause)
	{
		bool		found = false;
		ListCell   *partition;

		foreach(partition, lfirst_node(WindowClause, cell)->partitionClause)
			found |= equal(get_sortgroupclause_expr(lfirst(partition), query->targetList), entry->expr);
		if (!found)
			return false;
	}
	return true;
}

/* ---- equal is not always the same: 1.0 and 1.00 ---- */

/*
 * etl_query_blurs tells whether one level gives one row for values of a target
 * that are equal and not the same.
 */
bool
etl_query_blurs(Query *query, TargetEntry *target)
{
	bool		gathers = query->groupClause || query->distinctClause || query->windowClause;

	if (query->setOperations != NULL)
		gathers = !etl_query_only_unites(query->setOperations, true);
	return gathers && !equal_is_same((Node *) target->expr);
}

/*
 * etl_query_blurred lists the columns of a query that its levels on the way to a
 * leaf blur.
 */
Bitmapset *
etl_query_blurred(Query *query, List *leaf)
{
	Bitmapset  *blurred = NULL;
	ListCell   *cell;

	foreach(cell, query->targetList)
		if (etl_query_blurs(query, lfirst_node(TargetEntry, cell)))
			blurred = bms_add_member(blurred, lfirst_node(TargetEntry, cell)->resno);
	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		Bitmapset  *below;

		if (rte->rtekind != RTE_SUBQUERY || etl_leaves_of(rte, leaf) == 0)
			continue;
		below = etl_query_blurred(rte->subquery, leaf);
		if (query->setOperations != NULL)
			blurred = bms_add_members(blurred, below);
		else
			foreach(cell, query->targetList)
			{
				Var		   *var = (Var *) lfirst_node(TargetEntry, cell)->expr;

				if (IsA(var, Var) && var->varlevelsup == 0 && var->varno == i &&
					bms_is_member(var->varattno, below))
					blurred = bms_add_member(blurred, lfirst_node(TargetEntry, cell)->resno);
			}
	}
	return blurred;
}

/*
 * etl_compares_alike tells whether an operator says the same of values of a
 * column that are equal: it compares as their equality does.
 */
bool
etl_compares_alike(Oid operator, Oid collation, const Var *column)
{
	Oid			family = lookup_type_cache(column->vartype, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	Oid			negator = get_negator(operator);

	return OidIsValid(family) && collation == column->varcollid &&
		   (op_in_opfamily(operator, family) || (OidIsValid(negator) && op_in_opfamily(negator, family)));
}
