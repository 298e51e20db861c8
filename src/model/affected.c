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

#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "common/compat.h"
#include "model/relax.h"

static Bitmapset *relax(Query *query, EtlRelaxLevel *outer, EtlRelaxSearch *search, bool path, bool *exact);

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
relax_targets(EtlRelaxLevel *level, EtlRelaxSearch *search, bool path)
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
			!etl_relax_is_unknown((Node *) target->expr, level, search))
			known = bms_add_member(known, target->resno);
	}
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (target->resjunk)
			continue;
		if (bms_is_member(target->resno, known))
			target->expr = (Expr *) etl_relax_show_nulls((Node *) target->expr, level, search);
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
relax_entries(EtlRelaxLevel *level, EtlRelaxSearch *search, bool path, bool *exact)
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
		if (on_path)
			level->blurred[i] = etl_query_blurred(rte->subquery, one);
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
 * compares_alike tells whether the comparison of an ANY says the same of values of
 * blurred columns that are equal.
 */
static bool
compares_alike(Node *test, Bitmapset *blurred)
{
	OpExpr	   *comparison = (OpExpr *) test;
	Param	   *param;
	Var		   *column;

	if (blurred == NULL)
		return true;
	if (!IsA(test, OpExpr) || list_length(comparison->args) != 2)
		return false;
	param = lsecond(comparison->args);
	if (!IsA(param, Param))
		return false;
	column = makeVar(1, 1, param->paramtype, param->paramtypmod, param->paramcollid, 0);
	return etl_compares_alike(comparison->opno, comparison->inputcollid, column);
}

/*
 * link_condition turns a subquery in an expression into the condition that
 * the change matters to a row.
 */
static Node *
link_condition(SubLink *link, bool is_condition, EtlRelaxLevel *level, EtlRelaxSearch *search)
{
	Query	   *query = castNode(Query, link->subselect);
	bool		exact;
	Bitmapset  *blurred = etl_query_blurred(query, list_make1(search->leaf));
	Bitmapset  *known = relax(query, level, search, true, &exact);
	SubLink    *result;

	if (is_condition && link->subLinkType == ANY_SUBLINK &&
		bms_num_members(known) == list_length(query->targetList) &&
		compares_alike(link->testexpr, blurred) && !etl_relax_is_unknown(link->testexpr, level, search))
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
relax_links(EtlRelaxLevel *level, EtlRelaxSearch *search, List *conditions)
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
relax_union(EtlRelaxLevel *level, EtlRelaxSearch *search, bool path)
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
check_laterals(EtlRelaxLevel *level, EtlRelaxSearch *search)
{
	ListCell   *cell;

	foreach(cell, level->query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		EtlRelaxLook look = {level, 0, NIL, true};

		if ((rte->rtekind == RTE_SUBQUERY && rte->lateral &&
			 etl_relax_unknown_walker((Node *) rte->subquery, &look)) ||
			(rte->rtekind == RTE_FUNCTION &&
			 etl_relax_unknown_walker((Node *) rte->functions, &look)) ||
			(rte->rtekind == RTE_VALUES &&
			 etl_relax_unknown_walker((Node *) rte->values_lists, &look)))
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
 * relax_level does what relax does, but for what only the rows of one key
 * share.
 */
static Bitmapset *
relax_level(Query *query, EtlRelaxLevel *outer, EtlRelaxSearch *search, bool path, bool *exact)
{
	int			n = list_length(query->rtable) + 1;
	EtlRelaxLevel level = {query, outer};
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
	level.blurred = palloc0(sizeof(Bitmapset *) * n);
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
	query->jointree = (FromExpr *) etl_relax_join((Node *) query->jointree, &level, search, entry, &weak);
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

/*
 * keep_columns leaves the first columns of a query, and of a set of them.
 */
static Bitmapset *
keep_columns(Query *query, int n, Bitmapset *columns)
{
	query->targetList = list_truncate(query->targetList, n);
	for (int i = bms_next_member(columns, n); i >= 0; i = bms_next_member(columns, i))
		columns = bms_del_member(columns, i);
	return columns;
}

/*
 * relax relaxes a query in place and returns the columns that are known of
 * it.  'path': it reads the change that is followed; otherwise it shows all
 * that was or is.  *exact is cleared when it may show more.
 */
static Bitmapset *
relax(Query *query, EtlRelaxLevel *outer, EtlRelaxSearch *search, bool path, bool *exact)
{
	int			n = ExecCleanTargetListLength(query->targetList);
	int			nleaves = list_length(search->leaves);
	Query	   *whole = path && search->why == NULL ? etl_relax_widen_begin(query, outer, search) : NULL;
	int			nwhole = list_length(search->leaves) - nleaves;
	Bitmapset  *known = relax_level(query, outer, search, path, exact);
	Bitmapset  *known_of_all;

	if (whole == NULL || search->why != NULL)
		return known;
	known_of_all = relax_level(whole, outer, search, false, exact);
	*exact = false;
	known_of_all = etl_relax_widen_end(query, whole, search, known, known_of_all);
	/* those of levels below, which are behind its own, stay */
	while (known_of_all == known && nwhole-- > 0)
		search->leaves = list_delete_nth_cell(search->leaves, nleaves);
	return keep_columns(query, n, known_of_all);
}

/* ---- all places ---- */

/*
 * etl_affected_finders makes the relaxed queries of all places that read
 * what changed.  *known gets the columns that all of them know; 'widen': those
 * too that only rows that share a DISTINCT ON or a window with a changed one
 * tell.  Returns EtlDeltaFinder *, or NIL and the reason.
 */
List *
etl_affected_finders(const Query *query, List *inputs, bool widen, Bitmapset **known, const char **why)
{
	List	   *finders = NIL;
	int			nleaves = 1;
	const char *hindrance;

	*known = NULL;
	for (int i = 0; i < nleaves; i++)
		for (int variant = 0, variants = 0; variant < 1 << variants; variant++)
		{
			EtlDeltaFinder *finder = palloc0(sizeof(EtlDeltaFinder));
			EtlRelaxSearch search = {0};
			Bitmapset  *columns;
			bool		exact;

			finder->query = copyObject(unconstify(Query *, query));
			finder->leaves = etl_leaves_find(finder->query, inputs, &hindrance);
			nleaves = list_length(finder->leaves);
			finder->leaf = search.leaf = list_nth(finder->leaves, i);
			search.leaves = finder->leaves;
			search.inputs = inputs;
			search.widen = widen;
			search.variant = variant;
			columns = relax(finder->query, NULL, &search, true, &exact);
			if (search.why != NULL)
			{
				*why = search.why;
				return NIL;
			}
			variants = search.optional;
			if (search.again || (variant > 0 && !search.shown))
				continue;
			finder->apart = search.apart;
			finder->by_match = search.by_match && variants == 1 && !search.widen;
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
	etl_relax_drop_idle(finder->query, finder->leaf);
	etl_relax_newest(finder->query);
}
