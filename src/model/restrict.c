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
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "model/internal.h"

/* A key column as an expression over the entries of one level. */
typedef struct Pushed
{
	int			keyno;
	Node	   *expr;
	int			entry;			/* the only one it reads */
	bool		by_join;		/* it equals the key by a condition of a join that 'entry' is optional in */
} Pushed;

typedef struct Restriction
{
	EtlDelta   *delta;
	Oid			owner;
	bool		whole;			/* a place with all keys is on the way of every row */
} Restriction;

static void push(Restriction *restriction, Query *query, List *keys, List *conditions, bool always);

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

/*
 * only_entry returns the one entry that an expression reads; 0 when it is not
 * one, or not a plain expression.
 */
static int
only_entry(Node *expr)
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

		if (target == NULL || target->resjunk || !etl_query_keeps(descent->query, target) ||
			(!descent->itself && etl_query_blurs(descent->query, target)))
		{
			descent->failed = true;
			return node;
		}
		return copyObject((Node *) target->expr);
	}
	return expression_tree_mutator(node, descend_mutator, descent);
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

/*
 * renumbered returns an expression over one entry as one over varno 1.
 */
static Node *
renumbered(Node *expr)
{
	Node	   *copy = copyObject(expr);

	(void) renumber_walker(copy, NULL);
	return copy;
}

/*
 * add_pushed adds a key column over an entry, if it is one.
 */
static List *
add_pushed(List *pushed, int keyno, Node *expr, bool by_join)
{
	Pushed	   *one = palloc0(sizeof(Pushed));

	one->keyno = keyno;
	one->expr = expr;
	one->entry = only_entry(expr);
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
		Pushed	   *one = lfirst(cell);
		Oid			type = exprType(one->expr);

		if (one->by_join || bms_is_member(one->entry, optional) ||
			lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr != equality->opno)
			continue;
		for (int side = 0; side < 2; side++)
		{
			Node	   *other = list_nth(equality->args, 1 - side);

			if (equal(list_nth(equality->args, side), one->expr) && exprType(other) == type &&
				exprCollation(other) == exprCollation(one->expr) &&
				(optional == NULL || bms_is_member(only_entry(other), optional)))
				more = add_pushed(more, one->keyno, other, optional != NULL);
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
may_restrict(Query *query, const Pushed *one)
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
 * add_place restricts a relation.
 */
static void
add_place(Restriction *restriction, Query *query, int entry, List *keys, List *conditions, bool always)
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
		pg_class_aclcheck(rte->relid, user, ACL_SELECT) != ACLCHECK_OK)
		return;
	foreach(cell, keys)
	{
		Pushed	   *one = lfirst(cell);
		EtlDeltaKey *key = list_nth(restriction->delta->keys, one->keyno);

		if (exprType(one->expr) != key->type)
			continue;
		place->keynos = lappend_int(place->keynos, one->keyno);
		place->keys = lappend(place->keys, renumbered(one->expr));
	}
	if (place->keys == NIL)
		return;
	place->conditions = conditions;
	restriction->delta->places = lappend(restriction->delta->places, place);
	if (always && list_length(place->keys) == list_length(restriction->delta->keys))
		restriction->whole = true;
}

/*
 * push_into takes the key columns into one entry of a level.
 */
static void
push_into(Restriction *restriction, Query *query, int entry, List *pushed, List *conditions, bool always)
{
	RangeTblEntry *rte = rt_fetch(entry, query->rtable);
	List	   *mine = NIL;
	List	   *met = NIL;
	Bitmapset  *keynos = NULL;
	ListCell   *cell;

	foreach(cell, pushed)
	{
		Pushed	   *one = lfirst(cell);

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
			if (only_entry(lfirst(cell)) == entry && !contain_mutable_functions(lfirst(cell)))
				met = lappend(met, renumbered(lfirst(cell)));
	if (rte->rtekind == RTE_RELATION)
		add_place(restriction, query, entry, mine, met, always);
	else if (rte->rtekind == RTE_SUBQUERY)
	{
		List	   *keys = NIL;

		foreach(cell, mine)
			keys = add_pushed(keys, ((Pushed *) lfirst(cell))->keyno,
							  renumbered(((Pushed *) lfirst(cell))->expr), false);
		push(restriction, rte->subquery, keys, met, always);
	}
}

/*
 * push_into_branches takes the key columns into the branches of a UNION,
 * where their types are those of the result.
 */
static void
push_into_branches(Restriction *restriction, Query *query, List *keys)
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
		{
			Pushed	   *one = lfirst(cell);
			ListCell   *var;
			bool		fits = true;

			foreach(var, pull_var_clause(one->expr, 0))
			{
				TargetEntry *from = get_tle_by_resno(rte->subquery->targetList,
													 lfirst_node(Var, var)->varattno);

				fits &= from != NULL && exprType((Node *) from->expr) == lfirst_node(Var, var)->vartype &&
						(IsA(one->expr, Var) || !etl_query_blurs(query, from));
			}
			if (fits)
				same = lappend(same, one);
		}
		push(restriction, rte->subquery, same, NIL, false);
	}
}

/*
 * push takes the key columns, expressions over the output of a query (as
 * varno 1), down to the relations, and the conditions on it, too.  'always':
 * every row of the result comes through this query.
 */
static void
push(Restriction *restriction, Query *query, List *keys, List *conditions, bool always)
{
	List	   *pushed = NIL;
	List	   *met = NIL;
	ListCell   *cell;

	if (query->setOperations != NULL)
	{
		push_into_branches(restriction, query, keys);
		return;
	}
	foreach(cell, keys)
	{
		Node	   *key = ((Pushed *) lfirst(cell))->expr;
		Descent		descent = {query, IsA(key, Var), false};
		Node	   *expr = descend_mutator(key, &descent);

		if (!descent.failed)
			pushed = add_pushed(pushed, ((Pushed *) lfirst(cell))->keyno, expr, false);
	}
	foreach(cell, conditions)
	{
		Descent		descent = {query, false};
		Node	   *condition = descend_mutator(lfirst(cell), &descent);

		if (!descent.failed)
			met = lappend(met, condition);
	}
	pushed = add_joins(pushed, (Node *) query->jointree);
	for (int i = 1; i <= list_length(query->rtable); i++)
		push_into(restriction, query, i, pushed, met, always);
}

void
etl_restrict_places(EtlDelta *delta, Oid owner)
{
	Restriction restriction = {delta, owner, false};
	List	   *keys = NIL;
	int			keyno = 0;
	ListCell   *cell;

	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		keys = add_pushed(keys, keyno++,
						  (Node *) makeVar(1, key->resno, key->type, key->typmod, key->collation, 0), false);
	}
	push(&restriction, delta->query, keys, NIL, true);
	delta->wrapped = !restriction.whole;
	delta->owner = owner;
}
