/*-------------------------------------------------------------------------
 *
 * affected.c
 *    Which rows of a result a change can touch: the query, relaxed.
 *
 * For each place that reads what changed the query is asked over the changed
 * rows of that place, old and new, and everything that was or is elsewhere,
 * with whatever could hide a row left out: aggregates, HAVING, windows,
 * DISTINCT, LIMIT, and conditions on what is not known exactly.  So every row
 * of the result that differs, as it was and as it is, has its like among the
 * rows of a relaxed query, in the columns that are *known*:
 *
 * - on the way from that place to the result, those that the operators keep
 *   apart (groups, partitions, DISTINCT ON): another row of the same group
 *   may come up when one goes;
 * - elsewhere, those that are no result of an aggregate or a window.
 *
 * The optional side of an outer join becomes a plain join where the change is
 * on it, and once more a row of NULLs, which comes or goes with the match;
 * elsewhere it stays if its rows are exactly those of before and after, and
 * is left out otherwise.  A subquery in a condition matters to the rows for
 * which a changed row meets its conditions, be it EXISTS or NOT EXISTS.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "common/compat.h"
#include "model/internal.h"

/* A query on its way to being relaxed. */
typedef struct Level
{
	Query	   *query;
	struct Level *outer;
	Bitmapset **unknown;		/* by entry: columns that are not known */
	bool	   *replaced;		/* by entry: no whole row, no system columns */
	bool	   *inexact;		/* by entry: may have rows of neither before nor after */
	Bitmapset  *nulls;			/* entries shown as NULLs */
} Level;

typedef struct Search
{
	EtlDeltaLeaf *leaf;			/* the place whose change is followed */
	List	   *leaves;
	int			variant;		/* which optional side on the way is shown as NULLs; 0: none */
	int			optional;		/* optional sides on the way */
	bool		shown;			/* the variant makes a difference */
	const char *why;			/* why it cannot be done */
} Search;

static Bitmapset *relax(Query *query, Level *outer, Search *search, bool path, bool *exact);

/* ---- what is known ---- */

typedef struct Look
{
	Level	   *level;
	int			depth;			/* queries between the expression and 'level' */
	List	   *leaves;
	bool		nulls;			/* what is shown as NULLs is looked for, too */
} Look;

/*
 * unknown_walker finds what is not known in an expression of a level.
 */
static bool
unknown_walker(Node *node, Look *look)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Level	   *level = look->level;

		if ((int) var->varlevelsup < look->depth)
			return false;
		for (int i = (int) var->varlevelsup - look->depth; i > 0 && level != NULL; i--)
			level = level->outer;
		if (level == NULL)
			return false;
		if (look->nulls && bms_is_member(var->varno, level->nulls))
			return true;
		if (var->varattno <= 0)
			return level->replaced[var->varno];
		return bms_is_member(var->varattno, level->unknown[var->varno]);
	}
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup >= look->depth)
		return true;
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup >= look->depth)
		return true;
	if (IsA(node, WindowFunc) && look->depth == 0)
		return true;
	if (IsA(node, RangeTblEntry))
		return list_member_ptr(look->leaves, node);
	if (IsA(node, Query))
	{
		bool		found;

		look->depth++;
		found = query_tree_walker((Query *) node, unknown_walker, look,
								  QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
		look->depth--;
		return found;
	}
	return expression_tree_walker(node, unknown_walker, look);
}

/*
 * is_unknown tells whether an expression of a level depends on what is not
 * known.
 */
static bool
is_unknown(Node *node, Level *level, Search *search)
{
	List	   *entries = NIL;
	ListCell   *cell;
	Look		look = {level, 0, NIL, false};

	foreach(cell, search->leaves)
		entries = lappend(entries, ((EtlDeltaLeaf *) lfirst(cell))->rte);
	look.leaves = entries;
	return unknown_walker(node, &look);
}

typedef struct Nulls
{
	Bitmapset  *entries;
	int			depth;
	bool		found;
} Nulls;

/*
 * nulls_mutator shows the columns of some entries as NULLs.
 */
static Node *
nulls_mutator(Node *node, Nulls *nulls)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if ((int) var->varlevelsup != nulls->depth || !bms_is_member(var->varno, nulls->entries))
			return node;
		nulls->found = true;
		return (Node *) makeNullConst(var->vartype, var->vartypmod, var->varcollid);
	}
	if (IsA(node, Query))
	{
		Query	   *result;

		/* places are known by their entries, which a copy would lose */
		nulls->depth++;
		result = query_tree_mutator((Query *) node, nulls_mutator, nulls,
									QTW_DONT_COPY_QUERY | QTW_IGNORE_RANGE_TABLE);
		nulls->depth--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, nulls_mutator, nulls);
}

/*
 * show_nulls applies the variant to an expression of a level.
 */
static Node *
show_nulls(Node *node, Level *level, Search *search)
{
	Nulls		nulls = {level->nulls, 0, false};

	if (level->nulls == NULL)
		return node;
	node = nulls_mutator(node, &nulls);
	search->shown |= nulls.found;
	return node;
}

/*
 * keep_known leaves of a condition the parts that are known; *weak is set
 * when that is less than all.
 */
static Node *
keep_known(Node *quals, Level *level, Search *search, bool *weak)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) quals))
	{
		if (is_unknown(lfirst(cell), level, search))
			*weak = true;
		else
			kept = lappend(kept, show_nulls(lfirst(cell), level, search));
	}
	return kept == NIL ? NULL : (Node *) make_ands_explicit(kept);
}

/* ---- joins ---- */

/*
 * entries_below collects the entries that a part of a join tree joins.
 */
static Bitmapset *
entries_below(Node *node)
{
	Bitmapset  *entries = NULL;
	ListCell   *cell;

	if (IsA(node, RangeTblRef))
		return bms_make_singleton(((RangeTblRef *) node)->rtindex);
	if (IsA(node, JoinExpr))
		return bms_union(entries_below(((JoinExpr *) node)->larg), entries_below(((JoinExpr *) node)->rarg));
	foreach(cell, castNode(FromExpr, node)->fromlist)
		entries = bms_join(entries, entries_below(lfirst(cell)));
	return entries;
}

/*
 * changed_below counts the places that changed below a part of a join tree,
 * and tells whether all entries of it are exact.
 */
static int
changed_below(Node *node, Level *level, Search *search, bool *exact)
{
	Bitmapset  *entries = entries_below(node);
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
leave_out(Node *node, Level *level)
{
	Bitmapset  *entries = entries_below(node);
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
 * make_inner makes an outer join a plain one.
 */
static void
make_inner(JoinExpr *join, Level *level)
{
	join->jointype = JOIN_INNER;
	if (join->rtindex == 0)
		return;
	/* the planner looks for outer joins among the entries */
	rt_fetch(join->rtindex, level->query->rtable)->jointype = JOIN_INNER;
	etl_forget_nulling(level->query, join->rtindex);
}

/*
 * relax_join relaxes a part of a join tree and returns what is left of it;
 * 'entry' is the one through which the change is read.
 */
static Node *
relax_join(Node *node, Level *level, Search *search, int entry, bool *weak)
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
			lfirst(cell) = relax_join(lfirst(cell), level, search, entry, weak);
		((FromExpr *) node)->quals = keep_known(((FromExpr *) node)->quals, level, search, weak);
		return node;
	}
	optional = join->jointype == JOIN_RIGHT ? &join->larg : &join->rarg;
	kept = join->jointype == JOIN_RIGHT ? &join->rarg : &join->larg;
	*kept = relax_join(*kept, level, search, entry, weak);
	*optional = relax_join(*optional, level, search, entry, &weak_optional);
	join->quals = keep_known(join->quals, level, search, &weak_optional);
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
	if (entry > 0 && bms_is_member(entry, entries_below(*optional)))
	{
		make_inner(join, level);
		search->optional++;
		if (search->optional == search->variant)
			level->nulls = entries_below(*optional);
		*weak = true;
		return node;
	}
	if (!weak_optional && exact && changed <= 1)
		return node;
	leave_out(*optional, level);
	make_inner(join, level);
	*weak = true;
	return *kept;
}

/* ---- one level ---- */

/*
 * forget_operators makes a query a plain one.
 */
static void
forget_operators(Query *query)
{
	query->groupClause = NIL;
	query->groupingSets = NIL;
	query->havingQual = NULL;
	query->distinctClause = NIL;
	query->hasDistinctOn = false;
	query->windowClause = NIL;
	query->sortClause = NIL;
	query->limitCount = query->limitOffset = NULL;
	query->rowMarks = NIL;
	query->constraintDeps = NIL;
	query->hasAggs = query->hasWindowFuncs = query->hasTargetSRFs = query->hasForUpdate = false;
}

/*
 * null_target makes an unknown column a NULL of its type.
 */
static void
null_target(TargetEntry *target)
{
	Node	   *expr = (Node *) target->expr;

	target->expr = (Expr *) makeNullConst(exprType(expr), exprTypmod(expr), exprCollation(expr));
}

/*
 * relax_targets leaves the columns that are known and returns their numbers.
 */
static Bitmapset *
relax_targets(Level *level, Search *search, bool path)
{
	Query	   *query = level->query;
	Bitmapset  *known = NULL;
	List	   *targets = NIL;
	ListCell   *cell;

	/* all are judged before one is changed: windows name their columns */
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!target->resjunk && (!path || etl_query_keeps(query, target)) &&
			!expression_returns_set((Node *) target->expr) &&
			!is_unknown((Node *) target->expr, level, search))
			known = bms_add_member(known, target->resno);
	}
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (target->resjunk)
			continue;
		if (bms_is_member(target->resno, known))
			target->expr = (Expr *) show_nulls((Node *) target->expr, level, search);
		else
			null_target(target);
		target->ressortgroupref = 0;
		targets = lappend(targets, target);
	}
	query->targetList = targets;
	return known;
}

/*
 * relax_entries relaxes the subqueries that a level reads from; returns the
 * entry through which the change is read, 0 when that is none.
 */
static int
relax_entries(Level *level, Search *search, bool path, bool *exact)
{
	Query	   *query = level->query;
	List	   *one = list_make1(search->leaf);
	int			entry = 0;

	for (int i = 1; i <= list_length(query->rtable) && search->why == NULL; i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		bool		sub_exact = true;
		bool		on_path = path && etl_leaves_of(rte, one) > 0;
		Bitmapset  *known;

		if (etl_leaves_of(rte, search->leaves) == 0)
			continue;
		level->replaced[i] = true;
		if (on_path)
			entry = i;
		if (rte->rtekind != RTE_SUBQUERY)
			continue;
		known = relax(rte->subquery, level, search, on_path, &sub_exact);
		for (int n = 1; n <= list_length(rte->eref->colnames); n++)
			if (!bms_is_member(n, known))
				level->unknown[i] = bms_add_member(level->unknown[i], n);
		level->inexact[i] = !sub_exact;
		*exact &= sub_exact;
		if (on_path && known == NULL && !rte->lateral && search->why == NULL)
			search->why = "what changed reaches all rows of a subquery that it reads";
	}
	return entry;
}

typedef struct LinkSearch
{
	List	   *one;
	SubLink    *link;
} LinkSearch;

/*
 * link_walker finds the outermost subquery in an expression that reads a leaf.
 */
static bool
link_walker(Node *node, LinkSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && etl_leaves_below(((SubLink *) node)->subselect, search->one) > 0)
	{
		search->link = (SubLink *) node;
		return true;
	}
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, link_walker, search);
}

/*
 * link_condition turns a subquery in an expression into the condition that
 * the change matters to a row.
 */
static Node *
link_condition(SubLink *link, bool is_condition, Level *level, Search *search)
{
	Query	   *query = castNode(Query, link->subselect);
	bool		exact;
	Bitmapset  *known = relax(query, level, search, true, &exact);
	SubLink    *result;

	if (is_condition && link->subLinkType == ANY_SUBLINK &&
		bms_num_members(known) == list_length(query->targetList) &&
		!is_unknown(link->testexpr, level, search))
		return (Node *) link;
	if (!contain_vars_of_level((Node *) query, 1))
		search->why = "a subquery that reads what changed matters to all rows";
	result = makeNode(SubLink);
	result->subLinkType = EXISTS_SUBLINK;
	result->subselect = (Node *) query;
	result->location = -1;
	return (Node *) result;
}

/*
 * relax_links follows the change through a subquery in WHERE or the select
 * list; returns the condition that it matters.  'conditions' are the parts of
 * WHERE.
 */
static Node *
relax_links(Level *level, Search *search, List *conditions)
{
	LinkSearch	links = {list_make1(search->leaf), NULL};
	ListCell   *cell;

	foreach(cell, conditions)
		if (link_walker(lfirst(cell), &links))
			return link_condition(links.link, lfirst(cell) == links.link, level, search);
	foreach(cell, level->query->targetList)
		if (link_walker((Node *) lfirst_node(TargetEntry, cell)->expr, &links))
			return link_condition(links.link, false, level, search);
	search->why = "what changed is read in a HAVING, a join condition or a function's argument";
	return NULL;
}

/*
 * relax_union relaxes the branches of a UNION: on the way to the change only
 * the one that reads it is left.
 */
static Bitmapset *
relax_union(Level *level, Search *search, bool path)
{
	Query	   *query = level->query;
	List	   *one = list_make1(search->leaf);
	Bitmapset  *known = NULL;
	ListCell   *cell;
	bool		limited = query->limitCount != NULL || query->limitOffset != NULL;
	bool		exact;

	if (!etl_query_only_unites(query->setOperations, false))
		search->why = "its query has a set operation other than UNION";
	foreach(cell, query->targetList)
		if (!path || !limited)
			known = bms_add_member(known, lfirst_node(TargetEntry, cell)->resno);
	for (int i = 1; i <= list_length(query->rtable) && search->why == NULL; i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		bool		on_path = path && etl_leaves_of(rte, one) > 0;

		if (rte->rtekind != RTE_SUBQUERY || etl_leaves_of(rte, search->leaves) == 0 || (path && !on_path))
			continue;
		known = bms_int_members(known, relax(rte->subquery, level, search, on_path, &exact));
		if (!on_path)
			continue;
		foreach(cell, query->targetList)
		{
			TargetEntry *target = lfirst_node(TargetEntry, cell);
			TargetEntry *from = get_tle_by_resno(rte->subquery->targetList, target->resno);

			if (exprType((Node *) from->expr) != exprType((Node *) target->expr))
				known = bms_del_member(known, target->resno);
			if (bms_is_member(target->resno, known))
				target->expr = (Expr *) makeVarFromTargetEntry(i, from);
			else
				null_target(target);
			target->ressortgroupref = 0;
		}
		query->setOperations = NULL;
		query->jointree = makeFromExpr(list_make1(makeNode(RangeTblRef)), NULL);
		((RangeTblRef *) linitial(query->jointree->fromlist))->rtindex = i;
		rte->inFromCl = true;
		break;
	}
	query->sortClause = NIL;
	query->limitCount = query->limitOffset = NULL;
	return known;
}

/*
 * check_laterals raises the objection that an entry uses what is not known of
 * another.
 */
static void
check_laterals(Level *level, Search *search)
{
	ListCell   *cell;

	foreach(cell, level->query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		Look		look = {level, 0, NIL, true};

		if ((rte->rtekind == RTE_SUBQUERY && rte->lateral && unknown_walker((Node *) rte->subquery, &look)) ||
			(rte->rtekind == RTE_FUNCTION && unknown_walker((Node *) rte->functions, &look)) ||
			(rte->rtekind == RTE_VALUES && unknown_walker((Node *) rte->values_lists, &look)))
			search->why = "a LATERAL entry depends on what changed";
	}
}

/*
 * is_exact tells whether a level, relaxed as far as it is, had operators that
 * make rows which are neither those of before nor of after.
 */
static bool
is_exact(Query *query)
{
	return !query->hasAggs && query->groupClause == NIL && query->groupingSets == NIL &&
		   !query->hasDistinctOn && !query->hasWindowFuncs && !query->hasTargetSRFs &&
		   query->limitCount == NULL && query->limitOffset == NULL && query->setOperations == NULL;
}

/*
 * relax relaxes a query in place and returns the columns that are known of
 * it.  'path': it reads the change that is followed; otherwise it shows all
 * that was or is.  *exact is cleared when it may show more.
 */
static Bitmapset *
relax(Query *query, Level *outer, Search *search, bool path, bool *exact)
{
	int			n = list_length(query->rtable) + 1;
	Level		level = {query, outer};
	bool		weak = false;
	List	   *conditions;
	Node	   *matters = NULL;
	Bitmapset  *known;
	int			entry;
	ListCell   *cell;

	if (search->why != NULL)
		return NULL;
	*exact = is_exact(query) && etl_leaves_in(query, search->leaves) <= 1;
	foreach(cell, query->cteList)
		if (etl_leaves_below(lfirst_node(CommonTableExpr, cell)->ctequery, search->leaves) > 0)
			search->why = "a recursive query reads what changed";
	if (query->groupingSets != NIL)
		search->why = "its query has grouping sets";
	level.unknown = palloc0(sizeof(Bitmapset *) * n);
	level.replaced = palloc0(sizeof(bool) * n);
	level.inexact = palloc0(sizeof(bool) * n);

	if (query->setOperations != NULL)
		return relax_union(&level, search, path);
	/* one row, whatever is read */
	if (!path && query->hasAggs && query->groupClause == NIL)
	{
		forget_operators(query);
		query->rtable = NIL;
		query->jointree = makeFromExpr(NIL, NULL);
		foreach(cell, query->targetList)
			null_target(lfirst(cell));
		return NULL;
	}
	entry = relax_entries(&level, search, path, exact);
	if (search->why != NULL)
		return NULL;
	conditions = make_ands_implicit((Expr *) query->jointree->quals);
	query->jointree = (FromExpr *) relax_join((Node *) query->jointree, &level, search, entry, &weak);
	if (path && entry == 0 && search->why == NULL)
		matters = relax_links(&level, search, conditions);
	check_laterals(&level, search);
	known = relax_targets(&level, search, path);
	if (weak || bms_num_members(known) < list_length(query->targetList))
		*exact = false;
	forget_operators(query);
	if (matters != NULL)
	{
		query->jointree->quals = (Node *) make_and_qual(query->jointree->quals, matters);
		query->hasSubLinks = true;
	}
	return known;
}

/* ---- all places ---- */

/*
 * etl_affected_finders makes the relaxed queries of all places that read
 * what changed.  *known gets the columns that all of them know.  Returns
 * EtlDeltaFinder *, or NIL and the reason.
 */
List *
etl_affected_finders(const Query *query, List *inputs, Bitmapset **known, const char **why)
{
	List	   *finders = NIL;
	int			nleaves = 1;
	const char *hindrance;

	*known = NULL;
	for (int i = 0; i < nleaves; i++)
		for (int variant = 0, variants = 0; variant <= variants; variant++)
		{
			EtlDeltaFinder *finder = palloc0(sizeof(EtlDeltaFinder));
			Search		search = {0};
			Bitmapset  *columns;
			bool		exact;

			finder->query = copyObject(unconstify(Query *, query));
			finder->leaves = etl_leaves_find(finder->query, inputs, &hindrance);
			nleaves = list_length(finder->leaves);
			finder->leaf = search.leaf = list_nth(finder->leaves, i);
			search.leaves = finder->leaves;
			search.variant = variant;
			columns = relax(finder->query, NULL, &search, true, &exact);
			if (search.why != NULL)
			{
				*why = search.why;
				return NIL;
			}
			variants = search.optional;
			if (variant > 0 && !search.shown)
				continue;
			*known = finders == NIL ? columns : bms_int_members(*known, columns);
			finders = lappend(finders, finder);
		}
	return finders;
}

/*
 * etl_affected_narrow leaves of a relaxed query the given columns.
 */
void
etl_affected_narrow(EtlDeltaFinder *finder, List *resnos)
{
	List	   *targets = NIL;
	ListCell   *cell;

	foreach(cell, resnos)
	{
		TargetEntry *target = copyObject(get_tle_by_resno(finder->query->targetList, lfirst_int(cell)));

		target->resno = list_length(targets) + 1;
		target->resname = psprintf("k%d", target->resno);
		targets = lappend(targets, target);
	}
	finder->query->targetList = targets;
	/* of what is found only whether it is there counts */
	finder->query->distinctClause = NIL;
}
