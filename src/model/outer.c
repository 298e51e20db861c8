/*-------------------------------------------------------------------------
 *
 * outer.c
 *    Joins of a relaxed query: which of their sides stay, and how.
 *
 * Where the change is on the optional side of an outer join, the join becomes
 * a plain one, and in another variant of the query the side is shown as NULLs:
 * a row of them comes or goes with the match.  Elsewhere an optional side stays
 * when its rows are exactly those of before and after, and is left out otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "common/compat.h"
#include "model/relax.h"

/* Optional sides on one way: there is a variant for each choice of them. */
#define MAX_OPTIONAL 5

/*
 * changed_below counts the places that changed below a part of a join tree,
 * and tells whether all entries of it are exact.
 */
static int
changed_below(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search, bool *exact)
{
	Bitmapset  *entries = etl_entries_below(node);
	int			changed = 0;
	int			i = -1;

	*exact = true;
	while ((i = bms_next_member(entries, i)) >= 0)
	{
		changed += etl_leaves_of(rt_fetch(i, level->query->rtable), search->leaves);
		*exact &= !level->inexact[i];
	}
	return changed;
}

/*
 * leave_out makes everything of a part of a join tree unknown.
 */
static void
leave_out(Node *node, EtlRelaxLevel *level)
{
	Bitmapset  *entries = etl_entries_below(node);
	int			i = -1;

	while ((i = bms_next_member(entries, i)) >= 0)
	{
		level->replaced[i] = true;
		level->unknown[i] =
			bms_add_range(level->unknown[i], 1,
						  Max(list_length(rt_fetch(i, level->query->rtable)->eref->colnames), 1));
	}
}

/*
 * etl_relax_count_optional counts what makes the number of variants double.
 */
void
etl_relax_count_optional(EtlRelaxSearch *search)
{
	if (++search->optional > MAX_OPTIONAL)
		search->why = "what changed is on the optional side of too many joins, one within the other";
}

/*
 * etl_relax_join relaxes a part of a join tree and returns what is left of it;
 * 'entry' is the one through which the change is read.
 */
Node *
etl_relax_join(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search, int entry, bool *weak)
{
	JoinExpr   *join = (JoinExpr *) node;
	bool		weak_optional = false;
	bool		exact;
	int			changed;
	Node	  **optional;
	Node	  **kept;

	if (IsA(node, RangeTblRef))
		return node;
	if (IsA(node, FromExpr))
	{
		ListCell   *cell;

		foreach(cell, ((FromExpr *) node)->fromlist)
			lfirst(cell) = etl_relax_join(lfirst(cell), level, search, entry, weak);
		((FromExpr *) node)->quals = etl_relax_keep_known(((FromExpr *) node)->quals, level, search, weak);
		return node;
	}
	optional = join->jointype == JOIN_RIGHT ? &join->larg : &join->rarg;
	kept = join->jointype == JOIN_RIGHT ? &join->rarg : &join->larg;
	*kept = etl_relax_join(*kept, level, search, entry, weak);
	*optional = etl_relax_join(*optional, level, search, entry, &weak_optional);
	join->quals = etl_relax_keep_known(join->quals, level, search, &weak_optional);
	if (join->jointype == JOIN_INNER)
	{
		*weak |= weak_optional;
		return node;
	}
	changed = changed_below(*optional, level, search, &exact);
	if (join->jointype == JOIN_FULL)
	{
		if (changed + changed_below(*kept, level, search, &exact) > 0 || weak_optional)
			search->why = "what changed is read by a FULL JOIN";
		return node;
	}
	if (entry > 0 && bms_is_member(entry, etl_entries_below(*optional)))
	{
		etl_join_make_inner(level->query, join);
		if (search->variant & 1 << search->optional)
		{
			/* the variant without what nothing has seen until here is another one */
			search->again |= search->nulls && !search->shown;
			search->nulls = true;
			search->shown = false;
			level->nulls = etl_entries_below(*optional);
			search->by_match = IsA(*optional, RangeTblRef) && !level->inexact[entry] && !weak_optional;
		}
		etl_relax_count_optional(search);
		*weak = true;
		return node;
	}
	if (!weak_optional && exact && changed <= 1)
		return node;
	leave_out(*optional, level);
	etl_join_make_inner(level->query, join);
	*weak = true;
	return *kept;
}

/* ---- sides that only multiply ---- */

/*
 * without_idle returns what of a part of a join tree is used, or could leave
 * rows out.
 */
static Node *
without_idle(Node *node, Relids used)
{
	JoinExpr   *join = (JoinExpr *) node;
	List	   *kept = NIL;
	ListCell   *cell;

	if (IsA(node, FromExpr))
	{
		foreach(cell, ((FromExpr *) node)->fromlist)
		{
			Node	   *item = without_idle(lfirst(cell), used);

			if (bms_overlap(etl_entries_below(item), used))
				kept = lappend(kept, item);
		}
		if (kept != NIL)
			((FromExpr *) node)->fromlist = kept;
		return node;
	}
	if (!IsA(node, JoinExpr) || join->jointype != JOIN_INNER)
		return node;
	join->larg = without_idle(join->larg, used);
	join->rarg = without_idle(join->rarg, used);
	if (join->quals != NULL)
		return node;
	if (!bms_overlap(etl_entries_below(join->larg), used))
		return join->rarg;
	return bms_overlap(etl_entries_below(join->rarg), used) ? node : join->larg;
}

/*
 * etl_relax_drop_idle leaves out relations whose join condition was relaxed
 * and that nothing else refers to: each row would be found once for each of
 * theirs.
 */
void
etl_relax_drop_idle(Query *query, EtlDeltaLeaf *leaf)
{
	Relids		used = bms_union(pull_varnos(NULL, (Node *) query->targetList),
							pull_varnos(NULL, (Node *) query->jointree));
	List	   *one = list_make1(leaf);

	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->lateral || (rte->rtekind == RTE_JOIN && bms_is_member(i, used)))
			return;
		if (etl_leaves_of(rte, one) > 0)
			used = bms_add_member(used, i);
	}
	if (query->setOperations == NULL)
		query->jointree = (FromExpr *) without_idle((Node *) query->jointree, used);
}
