/*-------------------------------------------------------------------------
 *
 * newest.c
 *    Searching for affected keys without finding the newest rows of others.
 *
 * Which row is the newest of its key, by DISTINCT ON or by row_number(), is
 * known of all rows when all of them were read.  A search for what is joined
 * with a change looks among all rows instead, which an index finds, old ones
 * among them: a few keys too many are computed anew, and found unchanged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"

#include "model/relax.h"

/* A column of an entry. */
typedef struct ColumnSearch
{
	int			varno;
	AttrNumber	column;
	int			depth;
	int			uses;
} ColumnSearch;

/*
 * only_passes_on tells whether more rows of what a query reads make more rows
 * of its result, and never fewer or others, were its DISTINCT ON left out.
 */
static bool
only_passes_on(Query *query)
{
	return !query->hasAggs && query->groupClause == NIL && query->groupingSets == NIL &&
		   query->havingQual == NULL && !query->hasWindowFuncs && !query->hasTargetSRFs &&
		   query->limitCount == NULL && query->limitOffset == NULL && query->setOperations == NULL;
}

/*
 * use_walker counts the uses of a column, and of the row that it is part of.
 */
static bool
use_walker(Node *node, ColumnSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varno == search->varno && var->varlevelsup == search->depth &&
			(var->varattno == search->column || var->varattno == 0))
			search->uses++;
		return false;
	}
	if (IsA(node, Query))
	{
		search->depth++;
		(void) query_tree_walker((Query *) node, use_walker, search, QTW_IGNORE_JOINALIASES);
		search->depth--;
		return false;
	}
	return expression_tree_walker(node, use_walker, search);
}

/*
 * is_about tells whether a condition is one on a column and nothing else.
 */
static bool
is_about(Node *condition, ColumnSearch *search)
{
	ListCell   *cell;

	if (contain_subplans(condition) || contain_volatile_functions(condition) ||
		contain_vars_of_level(condition, 1))
		return false;
	foreach(cell, pull_var_clause(condition, 0))
	{
		Var		   *var = lfirst_node(Var, cell);

		if (var->varno != search->varno || var->varattno != search->column)
			return false;
	}
	return contain_vars_of_level(condition, 0);
}

/*
 * split_conditions counts the uses of a column by conditions on it alone, that
 * all rows of a part of a join tree meet; with 'remove' it leaves them out.
 */
static int
split_conditions(Node *node, ColumnSearch *search, bool remove)
{
	ColumnSearch found = *search;
	List	   *kept = NIL;
	Node	  **quals;
	ListCell   *cell;

	found.uses = 0;
	if (IsA(node, RangeTblRef))
		return 0;
	if (IsA(node, FromExpr))
	{
		quals = &((FromExpr *) node)->quals;
		foreach(cell, ((FromExpr *) node)->fromlist)
			found.uses += split_conditions(lfirst(cell), search, remove);
	}
	else if (((JoinExpr *) node)->jointype == JOIN_INNER)
	{
		quals = &((JoinExpr *) node)->quals;
		found.uses += split_conditions(((JoinExpr *) node)->larg, search, remove);
		found.uses += split_conditions(((JoinExpr *) node)->rarg, search, remove);
	}
	else
		return 0;
	foreach(cell, make_ands_implicit((Expr *) *quals))
	{
		if (is_about(lfirst(cell), search))
			(void) use_walker(lfirst(cell), &found);
		else
			kept = lappend(kept, lfirst(cell));
	}
	if (remove)
		*quals = kept ? (Node *) make_ands_explicit(kept) : NULL;
	return found.uses;
}

/*
 * numbering returns the target that row_number() is in a query which has no
 * other window function; NULL when there is none.
 */
static TargetEntry *
numbering(Query *query)
{
	TargetEntry *number = NULL;
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!contain_window_function((Node *) target->expr))
			continue;
		if (number != NULL || target->resjunk || target->ressortgroupref != 0 ||
			!IsA(target->expr, WindowFunc) ||
			((WindowFunc *) target->expr)->winfnoid != F_ROW_NUMBER)
			return NULL;
		number = target;
	}
	return number;
}

/*
 * forget_numbers leaves out row_number() of a subquery that is only asked for
 * some of the numbers, and asks for them no more.
 */
static void
forget_numbers(Query *query, int varno)
{
	Query	   *subquery = rt_fetch(varno, query->rtable)->subquery;
	TargetEntry *number = subquery->hasWindowFuncs ? numbering(subquery) : NULL;
	ColumnSearch search = {varno};

	if (number == NULL)
		return;
	search.column = number->resno;
	(void) query_tree_walker(query, use_walker, &search, QTW_IGNORE_JOINALIASES);
	if (search.uses != split_conditions((Node *) query->jointree, &search, false))
		return;
	(void) split_conditions((Node *) query->jointree, &search, true);
	number->expr = (Expr *) makeNullConst(exprType((Node *) number->expr), -1, InvalidOid);
	subquery->windowClause = NIL;
	subquery->hasWindowFuncs = false;
}

void
etl_relax_newest(Query *query)
{
	if (!only_passes_on(query))
		return;
	if (query->hasDistinctOn)
	{
		query->distinctClause = query->sortClause = NIL;
		query->hasDistinctOn = false;
	}
	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		/* in the place of a row of NULLs another one would hide it */
		if (rte->rtekind != RTE_SUBQUERY || !etl_query_preserves((Node *) query->jointree, i))
			continue;
		forget_numbers(query, i);
		etl_relax_newest(rte->subquery);
	}
}
