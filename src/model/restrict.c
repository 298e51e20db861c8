/*-------------------------------------------------------------------------
 *
 * restrict.c
 *    Which relations of a query need only be read for the affected keys.
 *
 * The key columns are followed down through operators that keep them apart
 * to the relations that they come from, and over equalities of joins to those
 * that are joined by them.  So what a recomputation reads does not grow with
 * history where an index allows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "model/restrict.h"

/*
 * unclean_walker finds what an expression over a relation cannot have.
 */
static bool
unclean_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup > 0 || ((Var *) node)->varattno <= 0;
	if (IsA(node, SubLink) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc) ||
		IsA(node, Param))
		return true;
	return expression_tree_walker(node, unclean_walker, context);
}

int
etl_only_entry(Node *expr)
{
	int			entry = 0;
	ListCell   *cell;

	if (unclean_walker(expr, NULL) || expression_returns_set(expr) || contain_volatile_functions(expr))
		return 0;
	foreach(cell, pull_var_clause(expr, 0))
	{
		if (entry != 0 && entry != lfirst_node(Var, cell)->varno)
			return 0;
		entry = lfirst_node(Var, cell)->varno;
	}
	return entry;
}

typedef struct Descent
{
	Query	   *query;
	bool		keeps;			/* operators must keep what it reads apart */
	bool		itself;			/* the key is a column, and nothing is made of it */
	bool		failed;
} Descent;

/*
 * descend_mutator replaces output columns of a query by what they are.
 */
static Node *
descend_mutator(Node *node, Descent *descent)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		TargetEntry *target = get_tle_by_resno(descent->query->targetList, ((Var *) node)->varattno);

		if (target == NULL || target->resjunk ||
			(descent->keeps && (!etl_query_keeps(descent->query, target) ||
								(!descent->itself && etl_query_blurs(descent->query, target)))))
		{
			descent->failed = true;
			return node;
		}
		return copyObject((Node *) target->expr);
	}
	return expression_tree_mutator(node, descend_mutator, descent);
}

Node *
etl_descend(Query *query, Node *expr, bool keeps)
{
	Descent		descent = {query, keeps, IsA(expr, Var), false};
	Node	   *below = query->groupingSets == NIL ? descend_mutator(expr, &descent) : NULL;

	return descent.failed ? NULL : below;
}

/*
 * renumber_walker makes an expression over one entry one over varno 1.
 */
static bool
renumber_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		var->varno = var->varnosyn = 1;
		var->varattnosyn = var->varattno;
		etl_var_forget_nulling(var);
		return false;
	}
	return expression_tree_walker(node, renumber_walker, context);
}

Node *
etl_renumbered(Node *expr)
{
	Node	   *copy = copyObject(expr);

	(void) renumber_walker(copy, NULL);
	return copy;
}

List *
etl_push_add(List *pushed, int keyno, Node *expr, bool by_join)
{
	EtlPushed  *one = palloc0(sizeof(EtlPushed));

	one->keyno = keyno;
	one->expr = expr;
	one->entry = etl_only_entry(expr);
	one->by_join = by_join;
	return one->entry > 0 ? lappend(pushed, one) : pushed;
}

/*
 * add_equal adds what a condition says to equal a key column.  That of an
 * outer join, in which the entries 'optional' are optional, says it of these
 * alone, and only where the key is not one of theirs.
 */
static List *
add_equal(List *pushed, Node *condition, Bitmapset *optional)
{
	OpExpr	   *equality = (OpExpr *) condition;
	List	   *more = NIL;
	ListCell   *cell;

	if (!IsA(condition, OpExpr) || list_length(equality->args) != 2)
		return pushed;
	foreach(cell, pushed)
	{
		EtlPushed  *one = lfirst(cell);
		Oid			type = exprType(one->expr);

		if (one->by_join || bms_is_member(one->entry, optional) ||
			lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr != equality->opno)
			continue;
		for (int side = 0; side < 2; side++)
		{
			Node	   *other = list_nth(equality->args, 1 - side);

			if (equal(list_nth(equality->args, side), one->expr) && exprType(other) == type &&
				exprCollation(other) == exprCollation(one->expr) &&
				(optional == NULL || bms_is_member(etl_only_entry(other), optional)))
				more = etl_push_add(more, one->keyno, other, optional != NULL);
		}
	}
	return list_concat(pushed, more);
}

/*
 * add_joins follows the equalities of a join tree.
 */
static List *
add_joins(List *pushed, Node *node)
{
	Node	   *quals = NULL;
	Bitmapset  *optional = NULL;
	ListCell   *cell;

	if (IsA(node, FromExpr))
	{
		quals = ((FromExpr *) node)->quals;
		foreach(cell, ((FromExpr *) node)->fromlist)
			pushed = add_joins(pushed, lfirst(cell));
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		pushed = add_joins(add_joins(pushed, join->larg), join->rarg);
		if (join->jointype == JOIN_FULL)
			return pushed;
		quals = join->quals;
		if (join->jointype != JOIN_INNER)
			optional = etl_entries_below(join->jointype == JOIN_LEFT ? join->rarg : join->larg);
	}
	foreach(cell, make_ands_implicit((Expr *) quals))
		pushed = add_equal(pushed, lfirst(cell), optional);
	return pushed;
}

/*
 * may_restrict tells whether an entry may lose its rows of other keys: each
 * of its rows is in the result with its own key, or in none, or is joined
 * only to rows of that key.
 */
static bool
may_restrict(Query *query, const EtlPushed *one)
{
	if (one->by_join)
		return true;
	return etl_query_preserves((Node *) query->jointree, one->entry);
}

/*
 * conditions_on lists the conditions that every row of an entry meets, or it
 * does not reach the result.
 */
static List *
conditions_on(Node *node, int entry)
{
	List	   *all = NIL;
	List	   *below = NIL;
	Node	   *quals = NULL;
	ListCell   *cell;

	if (IsA(node, RangeTblRef))
		return NIL;
	if (IsA(node, FromExpr))
	{
		quals = ((FromExpr *) node)->quals;
		below = ((FromExpr *) node)->fromlist;
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		quals = join->jointype == JOIN_INNER ? join->quals : NULL;
		below = list_make2(join->larg, join->rarg);
	}
	foreach(cell, below)
		if (etl_query_preserves(lfirst(cell), entry))
			all = list_concat_copy(all, conditions_on(lfirst(cell), entry));
	return list_concat_copy(all, make_ands_implicit((Expr *) quals));
}

/*
 * compares_with tells whether an expression can be compared with a key column,
 * or with a value of the reach, as values of one type.
 */
static bool
compares_with(const EtlRestriction *restriction, const EtlPushed *one)
{
	Node	   *value;

	if (restriction->reach == NULL)
		return exprType(one->expr) == ((EtlDeltaKey *) list_nth(restriction->delta->keys, one->keyno))->type;
	value = list_nth(linitial(restriction->reach->values), one->keyno);
	return exprType(one->expr) == exprType(value) && exprCollation(one->expr) == exprCollation(value);
}

/*
 * add_place restricts a relation.
 */
static void
add_place(EtlRestriction *restriction, Query *query, int entry, List *keys, List *conditions, bool always)
{
	RangeTblEntry *rte = rt_fetch(entry, query->rtable);
	EtlDeltaLeaf *place = palloc0(sizeof(EtlDeltaLeaf));
	ListCell   *cell;
	Oid			user;

	place->rte = rte;
	place->as_user = etl_entry_user(query, rte);
	user = OidIsValid(place->as_user) ? place->as_user : restriction->owner;
	if (!rte->inFromCl || rte->tablesample != NULL || etl_query_reads_whole_row(query, entry) ||
		(rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_PARTITIONED_TABLE) ||
		pg_class_aclcheck(rte->relid, user, ACL_SELECT) != ACLCHECK_OK ||
		!etl_reach_fits(restriction, place))
		return;
	foreach(cell, keys)
	{
		EtlPushed  *one = lfirst(cell);

		if (!compares_with(restriction, one))
			continue;
		place->keynos = lappend_int(place->keynos, one->keyno);
		place->keys = lappend(place->keys, etl_renumbered(one->expr));
	}
	if (place->keys == NIL)
		return;
	place->conditions = conditions;
	place->reach = restriction->reach;
	place->depth = etl_reach_depth(restriction->reach);
	*restriction->places = lappend(*restriction->places, place);
	if (always && list_length(place->keys) == list_length(restriction->delta->keys))
		restriction->whole = true;
}

/*
 * push_into takes the key columns into one entry of a level.
 */
static void
push_into(EtlRestriction *restriction, Query *query, int entry, List *pushed, List *conditions, bool always)
{
	RangeTblEntry *rte = rt_fetch(entry, query->rtable);
	List	   *mine = NIL;
	List	   *met = NIL;
	Bitmapset  *keynos = NULL;
	ListCell   *cell;

	foreach(cell, pushed)
	{
		EtlPushed  *one = lfirst(cell);

		if (one->entry != entry || bms_is_member(one->keyno, keynos) || !may_restrict(query, one))
			continue;
		keynos = bms_add_member(keynos, one->keyno);
		always &= !one->by_join;
		mine = lappend(mine, one);
	}
	if (mine == NIL)
		return;
	if (etl_query_preserves((Node *) query->jointree, entry))
		foreach(cell, list_concat_copy(conditions, conditions_on((Node *) query->jointree, entry)))
			if (etl_only_entry(lfirst(cell)) == entry && !contain_mutable_functions(lfirst(cell)))
				met = lappend(met, etl_renumbered(lfirst(cell)));
	if (rte->rtekind == RTE_RELATION)
		add_place(restriction, query, entry, mine, met, always);
	else if (rte->rtekind == RTE_SUBQUERY)
	{
		List	   *keys = NIL;

		foreach(cell, mine)
			keys = etl_push_add(keys, ((EtlPushed *) lfirst(cell))->keyno,
								etl_renumbered(((EtlPushed *) lfirst(cell))->expr), false);
		etl_push(restriction, rte->subquery, keys, met, always);
	}
}

bool
etl_branch_fits(Query *query, Query *branch, Node *expr)
{
	bool		fits = true;
	ListCell   *cell;

	foreach(cell, pull_var_clause(expr, 0))
	{
		Var		   *var = lfirst_node(Var, cell);
		TargetEntry *from = get_tle_by_resno(branch->targetList, var->varattno);

		fits &= from != NULL && exprType((Node *) from->expr) == var->vartype &&
				(IsA(expr, Var) || !etl_query_blurs(query, from));
	}
	return fits;
}

/*
 * push_into_branches takes the key columns into the branches of a UNION,
 * where their types are those of the result.
 */
static void
push_into_branches(EtlRestriction *restriction, Query *query, List *keys)
{
	if (!etl_query_only_unites(query->setOperations, false) || query->limitCount || query->limitOffset)
		return;
	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		List	   *same = NIL;
		ListCell   *cell;

		if (rte->rtekind != RTE_SUBQUERY)
			continue;
		foreach(cell, keys)
			if (etl_branch_fits(query, rte->subquery, ((EtlPushed *) lfirst(cell))->expr))
				same = lappend(same, lfirst(cell));
		etl_push(restriction, rte->subquery, same, NIL, false);
	}
}

List *
etl_push_spread(EtlRestriction *restriction, Query *query, List *pushed, List *conditions, bool always)
{
	pushed = add_joins(pushed, (Node *) query->jointree);
	for (int i = 1; i <= list_length(query->rtable); i++)
		push_into(restriction, query, i, pushed, conditions, always);
	return pushed;
}

/*
 * etl_push: conditions on the rows go down with the key columns.  'always':
 * every row of the result comes through this query.
 */
void
etl_push(EtlRestriction *restriction, Query *query, List *keys, List *conditions, bool always)
{
	List	   *pushed = NIL;
	List	   *met = NIL;
	bool		gathered = false;
	ListCell   *cell;

	check_stack_depth();
	if (query->setOperations != NULL)
	{
		push_into_branches(restriction, query, keys);
		return;
	}
	foreach(cell, keys)
	{
		EtlPushed  *key = lfirst(cell);
		Node	   *expr = etl_descend(query, key->expr, !restriction->passes);

		if (expr != NULL)
			pushed = etl_push_add(pushed, key->keyno, expr, false);
		else
			gathered = true;
	}
	foreach(cell, conditions)
	{
		Node	   *condition = etl_descend(query, lfirst(cell), true);

		if (condition != NULL)
			met = lappend(met, condition);
	}
	pushed = etl_push_spread(restriction, query, pushed, met, always);
	if (restriction->passes)
		return;
	etl_reach_joined(restriction, query, pushed);
	if (gathered)
		etl_reach_gathered(restriction, query, keys);
}

void
etl_restrict_places(EtlDelta *delta, Oid owner)
{
	EtlRestriction restriction = {delta, owner, .places = &delta->places};
	List	   *keys = NIL;
	int			keyno = 0;
	ListCell   *cell;

	delta->places = delta->reached = NIL;
	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		keys = etl_push_add(
			keys, keyno++,
			(Node *) makeVar(1, key->resno, key->type, key->typmod, key->collation, 0), false);
	}
	etl_push(&restriction, delta->query, keys, NIL, true);
	delta->wrapped = !restriction.whole;
	delta->owner = owner;
}
