/*-------------------------------------------------------------------------
 *
 * reach.c
 *    Which relations of a query need only be read for what the affected keys
 *    are joined or gathered with.
 *
 * A subquery that gathers rows (GROUP BY, DISTINCT ON, a window) is made as a
 * whole before it is joined, and one whose columns the key is not among as a
 * whole before the key is asked for.  But of its groups only those count
 *
 * - that the rows with an affected key are joined with: their values of the
 *   join are read first;
 * - that have a row with an affected key: the values that keep the groups
 *   apart are read first from these rows.
 *
 * Both are found by an index where there is one: first the rows with an
 * affected key, then those that have the values of these (a reach).  What has
 * been reached so is where the next one may begin.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "model/restrict.h"

/* what is reached from what is reached from … */
#define MAX_DEPTH 3

/* The relations that an expression is read from, as far as they are restricted. */
typedef struct Landing
{
	List	   *places;			/* EtlDeltaLeaf *: those to land on */
	bool		optional;		/* NULLs in the place of rows do not count */
	List	   *sources;		/* EtlDeltaLeaf *: those it landed on … */
	List	   *values;			/* Node *: … and what it is there, as varno 1 */
} Landing;

static bool land_in(Landing *landing, Query *query, Node *expr);

/*
 * land follows an expression over the entries of a level down to relations
 * that are restricted.
 */
static bool
land(Landing *landing, Query *query, Node *expr)
{
	int			entry = etl_only_entry(expr);
	RangeTblEntry *rte;
	ListCell   *cell;

	if (entry == 0)
		return false;
	if (!etl_query_preserves((Node *) query->jointree, entry) &&
		(!landing->optional || contain_nonstrict_functions(expr)))
		return false;
	rte = rt_fetch(entry, query->rtable);
	if (rte->rtekind == RTE_SUBQUERY)
		return land_in(landing, rte->subquery, etl_renumbered(expr));
	foreach(cell, landing->places)
		if (((EtlDeltaLeaf *) lfirst(cell))->rte == rte)
		{
			landing->sources = lappend(landing->sources, lfirst(cell));
			landing->values = lappend(landing->values, etl_renumbered(expr));
			return true;
		}
	return false;
}

/*
 * land_in does the same for an expression over the output of a query.
 */
static bool
land_in(Landing *landing, Query *query, Node *expr)
{
	Node	   *below;

	check_stack_depth();
	if (query->setOperations == NULL)
	{
		below = etl_descend(query, expr, false);
		return below != NULL && land(landing, query, below);
	}
	if (!etl_query_only_unites(query->setOperations, false))
		return false;
	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind == RTE_SUBQUERY &&
			(!etl_branch_fits(query, rte->subquery, expr) || !land_in(landing, rte->subquery, expr)))
			return false;
	}
	return true;
}

/*
 * are_same tells whether two lists hold the same pointers.
 */
static bool
are_same(List *a, List *b)
{
	ListCell   *one;
	ListCell   *other;

	if (list_length(a) != list_length(b))
		return false;
	forboth(one, a, other, b)
		if (lfirst(one) != lfirst(other))
			return false;
	return true;
}

/*
 * add_value adds a value to a reach, which is read from one set of relations;
 * returns its number, -1 when it is read from others.
 */
static int
add_value(EtlDeltaReach *reach, const Landing *landing)
{
	int			number = reach->values == NIL ? 0 : list_length(linitial(reach->values));
	ListCell   *value;
	ListCell   *values;

	if (reach->sources == NIL)
	{
		reach->sources = landing->sources;
		foreach(value, landing->values)
			reach->values = lappend(reach->values, list_make1(lfirst(value)));
		return number;
	}
	if (!are_same(reach->sources, landing->sources))
		return -1;
	forboth(value, landing->values, values, reach->values)
		lfirst(values) = lappend(lfirst(values), lfirst(value));
	return number;
}

/*
 * begin_below prepares the restriction by a reach.
 */
static EtlRestriction
begin_below(const EtlRestriction *restriction, EtlDeltaReach *reach)
{
	EtlRestriction below = *restriction;

	below.reach = reach;
	below.places = &restriction->delta->reached;
	below.depth++;
	return below;
}

/*
 * user_of tells whose rights a place is read with.
 */
static Oid
user_of(const EtlRestriction *restriction, const EtlDeltaLeaf *place)
{
	return OidIsValid(place->as_user) ? place->as_user : restriction->owner;
}

int
etl_reach_depth(const EtlDeltaReach *reach)
{
	int			depth = 0;
	ListCell   *cell;

	if (reach == NULL)
		return 0;
	foreach(cell, reach->sources)
		depth = Max(depth, ((EtlDeltaLeaf *) lfirst(cell))->depth);
	return depth + 1;
}

/*
 * etl_reach_fits: the text of a place holds those of its sources, for each of
 * these once more, so that a long way would be a text without end.
 */
bool
etl_reach_fits(const EtlRestriction *restriction, const EtlDeltaLeaf *place)
{
	ListCell   *cell;

	foreach(cell, restriction->reach ? restriction->reach->sources : NIL)
		if (user_of(restriction, lfirst(cell)) != user_of(restriction, place))
			return false;
	return etl_reach_depth(restriction->reach) <= MAX_DEPTH;
}

/* ---- what is joined ---- */

/*
 * gathers tells whether the planner makes a subquery before it is joined.
 */
static bool
gathers(Query *query)
{
	if (query->hasAggs || query->groupClause != NIL || query->distinctClause != NIL ||
		query->windowClause != NIL ||
		(query->setOperations != NULL && !etl_query_only_unites(query->setOperations, true)))
		return true;
	for (int i = 1; i <= list_length(query->rtable); i++)
		if (rt_fetch(i, query->rtable)->rtekind == RTE_SUBQUERY &&
			gathers(rt_fetch(i, query->rtable)->subquery))
			return true;
	return false;
}

/* A subquery that is joined. */
typedef struct Partner
{
	Query	   *query;
	int			entry;
	List	   *places;			/* EtlDeltaLeaf *: what is restricted so far */
	EtlDeltaReach *reach;
	List	   *keys;			/* EtlPushed *: its columns that equal the values, as varno 1 */
} Partner;

/*
 * follow_equality adds to the reach what a condition says to equal a column
 * of the partner.  That of an outer join, in which the entries 'optional' are
 * optional, says it of these alone.
 */
static void
follow_equality(Partner *partner, Node *condition, Bitmapset *optional)
{
	OpExpr	   *equality = (OpExpr *) condition;

	if (!IsA(condition, OpExpr) || list_length(equality->args) != 2 ||
		(optional != NULL && !bms_is_member(partner->entry, optional)))
		return;
	for (int side = 0; side < 2; side++)
	{
		Node	   *column = list_nth(equality->args, side);
		Node	   *other = list_nth(equality->args, 1 - side);
		Landing		landing = {partner->places, .optional = true};
		int			number;

		if (etl_only_entry(column) != partner->entry || etl_only_entry(other) == partner->entry ||
			bms_is_member(etl_only_entry(other), optional) || exprType(column) != exprType(other) ||
			exprCollation(column) != exprCollation(other) ||
			lookup_type_cache(exprType(column), TYPECACHE_EQ_OPR)->eq_opr != equality->opno ||
			!land(&landing, partner->query, other))
			continue;
		number = add_value(partner->reach, &landing);
		if (number >= 0)
			partner->keys = etl_push_add(partner->keys, number, etl_renumbered(column), false);
	}
}

/*
 * follow_joins follows the equalities of a join tree.
 */
static void
follow_joins(Partner *partner, Node *node)
{
	Node	   *quals = NULL;
	Bitmapset  *optional = NULL;
	ListCell   *cell;

	if (IsA(node, FromExpr))
	{
		quals = ((FromExpr *) node)->quals;
		foreach(cell, ((FromExpr *) node)->fromlist)
			follow_joins(partner, lfirst(cell));
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		follow_joins(partner, join->larg);
		follow_joins(partner, join->rarg);
		if (join->jointype == JOIN_FULL)
			return;
		quals = join->quals;
		if (join->jointype != JOIN_INNER)
			optional = etl_entries_below(join->jointype == JOIN_LEFT ? join->rarg : join->larg);
	}
	foreach(cell, make_ands_implicit((Expr *) quals))
		follow_equality(partner, lfirst(cell), optional);
}

void
etl_reach_joined(EtlRestriction *restriction, Query *query, List *pushed)
{
	if (restriction->depth >= MAX_DEPTH)
		return;
	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		EtlDeltaReach *reach = palloc0(sizeof(EtlDeltaReach));
		Partner		partner = {query, i, .reach = reach};
		EtlRestriction below = begin_below(restriction, reach);
		bool		restricted = false;
		ListCell   *cell;

		foreach(cell, pushed)
			restricted |= ((EtlPushed *) lfirst(cell))->entry == i &&
						  (((EtlPushed *) lfirst(cell))->by_join ||
						   etl_query_preserves((Node *) query->jointree, i));
		if (restricted || rte->rtekind != RTE_SUBQUERY || rte->lateral || !gathers(rte->subquery))
			continue;
		partner.places = list_concat_copy(restriction->delta->reached, restriction->delta->places);
		follow_joins(&partner, (Node *) query->jointree);
		if (partner.keys != NIL)
			etl_push(&below, rte->subquery, partner.keys, NIL, false);
	}
}

/* ---- what is gathered ---- */

/*
 * compares_as_usual tells whether the clauses of a level that name a target
 * compare it as its type does.
 */
static bool
compares_as_usual(Query *query, TargetEntry *target)
{
	List	   *clauses = list_concat_copy(query->groupClause, query->distinctClause);
	Oid			equality = lookup_type_cache(exprType((Node *) target->expr), TYPECACHE_EQ_OPR)->eq_opr;
	ListCell   *cell;

	foreach(cell, query->windowClause)
		clauses = list_concat(clauses, lfirst_node(WindowClause, cell)->partitionClause);
	foreach(cell, clauses)
		if (equal(get_sortgroupclause_expr(lfirst(cell), query->targetList), target->expr) &&
			lfirst_node(SortGroupClause, cell)->eqop != equality)
			return false;
	return OidIsValid(equality);
}

/*
 * find_rows lists the relations of a level as if only the rows with the keys
 * counted.
 */
static List *
find_rows(const EtlRestriction *restriction, Query *query, List *keys)
{
	EtlRestriction finding = *restriction;
	List	   *places = NIL;

	finding.passes = true;
	finding.places = &places;
	etl_push(&finding, query, keys, NIL, false);
	return places;
}

void
etl_reach_gathered(EtlRestriction *restriction, Query *query, List *keys)
{
	EtlDeltaReach *reach = palloc0(sizeof(EtlDeltaReach));
	EtlRestriction below = begin_below(restriction, reach);
	List	   *pushed = NIL;
	List	   *places;
	ListCell   *cell;

	if (restriction->depth >= MAX_DEPTH ||
		(!query->hasAggs && query->groupClause == NIL && !query->hasDistinctOn && query->windowClause == NIL))
		return;
	places = find_rows(restriction, query, keys);
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Landing		landing = {places};
		int			number;

		if (!etl_query_keeps(query, target) || !compares_as_usual(query, target) ||
			!land(&landing, query, (Node *) target->expr))
			continue;
		number = add_value(reach, &landing);
		if (number >= 0)
			pushed = etl_push_add(pushed, number, (Node *) target->expr, false);
	}
	reach->with_nulls = true;
	if (pushed == NIL)
		return;
	pushed = etl_push_spread(&below, query, pushed, NIL, false);
	etl_reach_joined(&below, query, pushed);
}
