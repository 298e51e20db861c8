/*-------------------------------------------------------------------------
 *
 * known.c
 *    What a relaxed query knows exactly, and what it does not.
 *
 * A column is not known when it depends on an aggregate or a window, or on a
 * place whose rows are those of before and after together.  What conditions
 * say of such columns is left out, so that no row is hidden by it.
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
#include "model/relax.h"

/*
 * column_is_unknown tells whether a column is not known; 'alike': what is made of it
 * is the same for values that are equal.
 */
static bool
column_is_unknown(Var *var, EtlRelaxLook *look, bool alike)
{
	EtlRelaxLevel *level = look->level;

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
	return bms_is_member(var->varattno, level->unknown[var->varno]) ||
		   (!alike && bms_is_member(var->varattno, level->blurred[var->varno]));
}

/*
 * comparison_is_unknown finds what is not known in the arguments of an operator.
 */
static bool
comparison_is_unknown(Oid operator, Oid collation, List *args, EtlRelaxLook *look)
{
	ListCell   *cell;

	foreach(cell, args)
	{
		Var		   *var = lfirst(cell);

		if (IsA(var, Var) && etl_compares_alike(operator, collation, var) ?
				column_is_unknown(var, look, true) :
				etl_relax_unknown_walker((Node *) var, look))
			return true;
	}
	return false;
}

/*
 * etl_relax_unknown_walker finds what is not known in an expression of a level.
 */
bool
etl_relax_unknown_walker(Node *node, EtlRelaxLook *look)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return column_is_unknown((Var *) node, look, false);
	if (IsA(node, OpExpr) || IsA(node, DistinctExpr))
		return comparison_is_unknown(((OpExpr *) node)->opno, ((OpExpr *) node)->inputcollid,
									 ((OpExpr *) node)->args, look);
	if (IsA(node, ScalarArrayOpExpr))
		return comparison_is_unknown(((ScalarArrayOpExpr *) node)->opno,
									 ((ScalarArrayOpExpr *) node)->inputcollid,
									 ((ScalarArrayOpExpr *) node)->args, look);
	if (IsA(node, NullTest) && IsA(((NullTest *) node)->arg, Var))
		return column_is_unknown((Var *) ((NullTest *) node)->arg, look, true);
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
		found = query_tree_walker((Query *) node, etl_relax_unknown_walker, look,
								  QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
		look->depth--;
		return found;
	}
	return expression_tree_walker(node, etl_relax_unknown_walker, look);
}

/*
 * etl_relax_is_unknown tells whether an expression of a level depends on what is not
 * known.
 */
bool
etl_relax_is_unknown(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search)
{
	List	   *entries = NIL;
	ListCell   *cell;
	EtlRelaxLook look = {level, 0, NIL, false};

	foreach(cell, search->leaves)
		entries = lappend(entries, ((EtlDeltaLeaf *) lfirst(cell))->rte);
	look.leaves = entries;
	/* a column handed on is as known above as it is here */
	if (IsA(node, Var))
		return column_is_unknown((Var *) node, &look, true);
	return etl_relax_unknown_walker(node, &look);
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

		/* entries are copied; none of them is a place that changed, since that is not known */
		nulls->depth++;
		result = query_tree_mutator((Query *) node, nulls_mutator, nulls, QTW_DONT_COPY_QUERY);
		nulls->depth--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, nulls_mutator, nulls);
}

/*
 * etl_relax_show_nulls applies the variant to an expression of a level.
 */
Node *
etl_relax_show_nulls(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search)
{
	Nulls		nulls = {level->nulls, 0, false};

	if (level->nulls == NULL)
		return node;
	node = nulls_mutator(node, &nulls);
	search->shown |= nulls.found;
	return node;
}

/*
 * etl_relax_keep_known leaves of a condition the parts that are known; *weak is set
 * when that is less than all.
 */
Node *
etl_relax_keep_known(Node *quals, EtlRelaxLevel *level, EtlRelaxSearch *search, bool *weak)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) quals))
	{
		if (etl_relax_is_unknown(lfirst(cell), level, search))
		{
			*weak = true;
			if (bms_num_members(pull_varnos(NULL, lfirst(cell))) > 1)
				search->apart = lappend(search->apart, level->query);
		}
		else
			kept = lappend(kept, etl_relax_show_nulls(lfirst(cell), level, search));
	}
	return kept == NIL ? NULL : (Node *) make_ands_explicit(kept);
}
