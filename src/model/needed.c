/*-------------------------------------------------------------------------
 *
 * needed.c
 *    Outer joins whose optional side must be there for the keys at hand.
 *
 * A key column that is read from the optional side of a join is NULL where
 * there is no match.  When none of the affected keys is NULL, only matches
 * matter: the join becomes a plain one, and both of its sides are read for
 * the affected keys only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "common/compat.h"
#include "model/internal.h"

static void need_column(Query *query, AttrNumber resno);

void
etl_join_make_inner(Query *query, JoinExpr *join)
{
	join->jointype = JOIN_INNER;
	if (join->rtindex == 0)
		return;
	/* the planner looks for outer joins among the entries */
	rt_fetch(join->rtindex, query->rtable)->jointype = JOIN_INNER;
	etl_forget_nulling(query, join->rtindex);
}

/*
 * need_entry makes plain joins of those that an entry is optional in.
 */
static void
need_entry(Query *query, Node *node, int entry)
{
	JoinExpr   *join = (JoinExpr *) node;
	ListCell   *cell;

	if (IsA(node, FromExpr))
		foreach(cell, ((FromExpr *) node)->fromlist)
			need_entry(query, lfirst(cell), entry);
	if (!IsA(node, JoinExpr) || !bms_is_member(entry, etl_entries_below(node)))
		return;
	need_entry(query, join->larg, entry);
	need_entry(query, join->rarg, entry);
	if ((join->jointype == JOIN_LEFT && bms_is_member(entry, etl_entries_below(join->rarg))) ||
		(join->jointype == JOIN_RIGHT && bms_is_member(entry, etl_entries_below(join->larg))))
		etl_join_make_inner(query, join);
}

/*
 * need_in_branches asks for a column of all branches of a UNION.
 */
static void
need_in_branches(Query *query, AttrNumber resno)
{
	if (!etl_query_only_unites(query->setOperations, false) || query->limitCount || query->limitOffset)
		return;
	for (int i = 1; i <= list_length(query->rtable); i++)
		if (rt_fetch(i, query->rtable)->rtekind == RTE_SUBQUERY)
			need_column(rt_fetch(i, query->rtable)->subquery, resno);
}

/*
 * need_column leaves out of a query rows in which a column is NULL, where an
 * outer join makes them and the query's operators keep them apart from others.
 */
static void
need_column(Query *query, AttrNumber resno)
{
	TargetEntry *target = get_tle_by_resno(query->targetList, resno);
	Var		   *var;
	RangeTblEntry *rte;

	if (query->setOperations != NULL)
	{
		need_in_branches(query, resno);
		return;
	}
	if (target == NULL || target->resjunk || !IsA(target->expr, Var) || !etl_query_keeps(query, target))
		return;
	var = (Var *) target->expr;
	if (var->varlevelsup > 0 || var->varattno <= 0)
		return;
	rte = rt_fetch(var->varno, query->rtable);
	if (rte->rtekind != RTE_RELATION && rte->rtekind != RTE_SUBQUERY)
		return;
	need_entry(query, (Node *) query->jointree, var->varno);
	if (rte->rtekind == RTE_SUBQUERY)
		need_column(rte->subquery, var->varattno);
}

void
etl_delta_need_keys(EtlDelta *delta)
{
	ListCell   *cell;

	foreach(cell, delta->keys)
		need_column(delta->query, ((EtlDeltaKey *) lfirst(cell))->resno);
	delta->places = NIL;
	etl_restrict_places(delta, delta->owner);
}
