/*-------------------------------------------------------------------------
 *
 * delta.c
 *    Whether a query has a correct delta, and which.
 *
 * Two kinds are known.  A query that treats rows one by one gives, over the
 * new rows of an append stream, exactly the new rows of its result.  And
 * where some key columns of the result are computed from the changed stream
 * alone and every operator on the way keeps them (groups by them, partitions
 * by them, is distinct on them), the rows of a key depend on the input rows
 * of that key only: the affected keys are recomputed.  Everything else is
 * refreshed in full, with the reason found here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"

/* ---- inlining views and CTEs, so that only subqueries are left ---- */

/* CTE lists of the queries around the one at hand, innermost first. */
typedef struct Scope
{
	List	   *ctes;
	struct Scope *outer;
} Scope;

static void inline_query(Query *query, Scope *outer);

/*
 * find_cte returns the CTE that an entry means.
 */
static CommonTableExpr *
find_cte(RangeTblEntry *rte, Scope *scope)
{
	ListCell   *cell;

	for (Index i = 0; i < rte->ctelevelsup && scope; i++)
		scope = scope->outer;
	if (scope != NULL)
		foreach(cell, scope->ctes)
			if (strcmp(lfirst_node(CommonTableExpr, cell)->ctename, rte->ctename) == 0)
				return lfirst(cell);
	return NULL;
}

/*
 * inline_entry turns a view or a plain CTE into a subquery.
 */
static void
inline_entry(RangeTblEntry *rte, Scope *scope)
{
	if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->inFromCl)
	{
		Relation	view = table_open(rte->relid, AccessShareLock);

		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = copyObject(get_view_query(view));
		rte->security_barrier = RelationIsSecurityView(view);
		rte->relid = InvalidOid;
		rte->relkind = 0;
		rte->rellockmode = 0;
		rte->inh = false;
		etl_entry_forget_rights(rte);
		table_close(view, NoLock);
	}
	else if (rte->rtekind == RTE_CTE && !rte->self_reference)
	{
		CommonTableExpr *cte = find_cte(rte, scope);

		if (cte == NULL || cte->cterecursive || !IsA(cte->ctequery, Query))
			return;
		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = copyObject((Query *) cte->ctequery);
		if (rte->ctelevelsup > 0)
			IncrementVarSublevelsUp((Node *) rte->subquery, rte->ctelevelsup, 1);
		rte->security_barrier = false;
		rte->ctename = NULL;
		rte->ctelevelsup = 0;
		rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
	}
}

/*
 * inline_walker finds the subqueries in expressions.
 */
static bool
inline_walker(Node *node, Scope *scope)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		inline_query((Query *) node, scope);
		return false;
	}
	return expression_tree_walker(node, inline_walker, scope);
}

/*
 * inline_query inlines what one query and those inside it read.
 */
static void
inline_query(Query *query, Scope *outer)
{
	Scope		scope = {query->cteList, outer};
	ListCell   *cell;
	List	   *kept = NIL;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		inline_entry(rte, &scope);
		if (rte->rtekind == RTE_SUBQUERY)
			inline_query(rte->subquery, &scope);
	}
	query_tree_walker(query, inline_walker, &scope, QTW_IGNORE_RC_SUBQUERIES);
	/* recursive ones stay, with what they mean */
	foreach(cell, query->cteList)
		if (lfirst_node(CommonTableExpr, cell)->cterecursive)
			kept = lappend(kept, lfirst(cell));
	query->cteList = kept;
}

/* ---- finding the leaves ---- */

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
 * leaf_walker collects the places that read a changed stream, and what
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
			if (get_attnum(rte->relid, "_etl_load_id") <= 0)
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
 * leaves_in counts the leaves that a query reads, at any depth.
 */
static int
leaves_in(Query *query, List *leaves)
{
	LeafCount	count = {leaves, 0};

	count_walker((Node *) query, &count);
	return count.n;
}

/*
 * leaves_of counts the leaves that an entry is or contains.
 */
static int
leaves_of(RangeTblEntry *rte, List *leaves)
{
	ListCell   *cell;

	if (rte->rtekind == RTE_SUBQUERY)
		return leaves_in(rte->subquery, leaves);
	foreach(cell, leaves)
		if (((EtlDeltaLeaf *) lfirst(cell))->rte == rte)
			return 1;
	return 0;
}

/* ---- what keeps rows and keys apart ---- */

/*
 * preserved tells whether every row of an entry that passes the conditions
 * reaches the result, never a row of NULLs in its place.
 */
static bool
preserved(Node *node, int varno)
{
	ListCell   *cell;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == varno;
	if (IsA(node, FromExpr))
	{
		foreach(cell, ((FromExpr *) node)->fromlist)
			if (preserved(lfirst(cell), varno))
				return true;
		return false;
	}
	switch (castNode(JoinExpr, node)->jointype)
	{
		case JOIN_INNER:
			return preserved(((JoinExpr *) node)->larg, varno) || preserved(((JoinExpr *) node)->rarg, varno);
		case JOIN_LEFT:
			return preserved(((JoinExpr *) node)->larg, varno);
		case JOIN_RIGHT:
			return preserved(((JoinExpr *) node)->rarg, varno);
		default:
			return false;
	}
}

/*
 * child_of returns the number of the one entry through which a query reads
 * its leaves; 0 when there are several ways, or one that is no plain join.
 */
static int
child_of(Query *query, List *leaves)
{
	int			all = leaves_in(query, leaves);

	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (leaves_of(rte, leaves) == all)
			return preserved((Node *) query->jointree, i) ? i : 0;
	}
	return 0;
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
 * reads_whole_row tells whether a query uses an entry as a row, or its
 * system columns, which a subquery in its place could not give.
 */
static bool
reads_whole_row(Query *query, int varno)
{
	RowSearch	search = {varno, 0};

	return query_tree_walker(query, row_walker, &search, 0);
}

/*
 * only_unions tells whether a set operation is all UNION (ALL).
 */
static bool
only_unions(Node *node, bool all)
{
	SetOperationStmt *operation = (SetOperationStmt *) node;

	if (IsA(node, RangeTblRef))
		return true;
	return operation->op == SETOP_UNION && (operation->all || !all) &&
		   only_unions(operation->larg, all) && only_unions(operation->rarg, all);
}

/*
 * row_by_row tells why a query does not treat the rows of its leaves one by
 * one; NULL when it does.
 */
static const char *
row_by_row(Query *query, List *leaves)
{
	const char *why = NULL;
	int			child;

	if (query->limitCount || query->limitOffset)
		return "its query has a LIMIT";
	if (query->setOperations)
	{
		if (!only_unions(query->setOperations, true))
			return "its query has a set operation other than UNION ALL";
		for (int i = 1; i <= list_length(query->rtable) && why == NULL; i++)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->rtekind == RTE_SUBQUERY && leaves_of(rte, leaves) > 0)
				why = row_by_row(rte->subquery, leaves);
		}
		return why;
	}
	if (query->hasAggs || query->groupClause || query->groupingSets || query->havingQual)
		return "its query aggregates";
	if (query->hasWindowFuncs)
		return "its query has window functions";
	if (query->distinctClause)
		return "its query is DISTINCT";
	child = child_of(query, leaves);
	if (child == 0)
		return "its query reads what changed in a subquery, on the optional side of a join, or twice";
	if (rt_fetch(child, query->rtable)->rtekind == RTE_SUBQUERY)
		return row_by_row(rt_fetch(child, query->rtable)->subquery, leaves);
	return reads_whole_row(query, child) ? "its query uses whole rows or system columns" : NULL;
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
 * kept_by_operators tells whether the operators of one level keep the rows
 * of different values of a target apart.
 */
static bool
kept_by_operators(Query *query, TargetEntry *entry)
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

typedef struct Replace
{
	Query	   *query;
	int			varno;
	EtlDeltaLeaf *leaf;
	List	   *leaves;
	bool		failed;
} Replace;

static Node *key_over_leaf(Query *query, int resno, EtlDeltaLeaf *leaf, List *leaves);

/*
 * replace_mutator replaces the columns of a subquery by what they are over
 * the leaf.
 */
static Node *
replace_mutator(Node *node, Replace *replace)
{
	if (node == NULL || replace->failed)
		return node;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		RangeTblEntry *rte = rt_fetch(replace->varno, replace->query->rtable);
		Node	   *result = NULL;

		if (var->varlevelsup == 0 && var->varno == replace->varno && var->varattno > 0)
		{
			if (rte == replace->leaf->rte)
			{
				result = copyObject(node);
				((Var *) result)->varno = ((Var *) result)->varnosyn = 1;
				((Var *) result)->varattnosyn = ((Var *) result)->varattno;
			}
			else if (rte->rtekind == RTE_SUBQUERY)
				result = key_over_leaf(rte->subquery, var->varattno, replace->leaf, replace->leaves);
		}
		replace->failed |= result == NULL;
		return result;
	}
	if (IsA(node, SubLink) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc))
	{
		replace->failed = true;
		return NULL;
	}
	return expression_tree_mutator(node, replace_mutator, replace);
}

/*
 * key_over_leaf returns an output column of a query as an expression over
 * one leaf (as varno 1), when every operator between keeps its values
 * apart; otherwise NULL.
 */
static Node *
key_over_leaf(Query *query, int resno, EtlDeltaLeaf *leaf, List *leaves)
{
	TargetEntry *entry = get_tle_by_resno(query->targetList, resno);
	Replace		replace = {query, 0, leaf, leaves, false};
	List	   *one = list_make1(leaf);
	Node	   *result;

	if (entry == NULL || entry->resjunk)
		return NULL;
	if (query->setOperations)
	{
		if (!only_unions(query->setOperations, false) || query->limitCount || query->limitOffset)
			return NULL;
		for (int i = 1; i <= list_length(query->rtable); i++)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->rtekind != RTE_SUBQUERY || leaves_of(rte, one) == 0)
				continue;
			result = key_over_leaf(rte->subquery, resno, leaf, leaves);
			return result && exprType(result) == exprType((Node *) entry->expr) ? result : NULL;
		}
		return NULL;
	}
	if (!kept_by_operators(query, entry))
		return NULL;
	replace.varno = child_of(query, leaves);
	if (replace.varno == 0 || leaves_of(rt_fetch(replace.varno, query->rtable), one) == 0 ||
		(rt_fetch(replace.varno, query->rtable) == leaf->rte && reads_whole_row(query, replace.varno)))
		return NULL;
	result = etl_flatten_joins(query, copyObject((Node *) entry->expr));
	result = replace_mutator(result, &replace);
	return replace.failed || !contain_var_clause(result) ? NULL : result;
}

/* ---- the plan ---- */

/*
 * find_keys finds the key columns that every leaf keeps.
 */
static void
find_keys(EtlDelta *delta, const EtlModel *model)
{
	ListCell   *cell;
	ListCell   *target;
	ListCell   *place;

	foreach(cell, model->key)
		foreach(target, delta->query->targetList)
		{
			TargetEntry *entry = lfirst_node(TargetEntry, target);
			EtlDeltaKey *key = palloc0(sizeof(EtlDeltaKey));
			List	   *found = NIL;

			if (entry->resjunk || strcmp(entry->resname, lfirst(cell)) != 0)
				continue;
			foreach(place, delta->leaves)
			{
				Node	   *node = key_over_leaf(delta->query, entry->resno, lfirst(place), delta->leaves);

				if (node != NULL)
					found = lappend(found, node);
			}
			key->column = pstrdup(entry->resname);
			key->type = exprType((Node *) entry->expr);
			key->typmod = exprTypmod((Node *) entry->expr);
			key->collation = exprCollation((Node *) entry->expr);
			if (list_length(found) != list_length(delta->leaves) ||
				!OidIsValid(lookup_type_cache(key->type, TYPECACHE_EQ_OPR)->eq_opr))
				continue;
			delta->keys = lappend(delta->keys, key);
			for (int i = 0; i < list_length(found); i++)
			{
				EtlDeltaLeaf *leaf = list_nth(delta->leaves, i);

				leaf->keys = lappend(leaf->keys, list_nth(found, i));
			}
		}
}

/*
 * input_hindrance tells why the change of an input has no delta; NULL when
 * it has one, or did not change.
 */
static const char *
input_hindrance(const EtlModel *model, EtlInput *input, const Jsonb *built_inputs)
{
	if (input->kind == 'r')
		return psprintf("etl does not see which rows of %s changed", input->name);
	if (input->kind != 's')
	{
		if (etl_json_get_int64(built_inputs, input->name, 0) == input->publication)
			return NULL;
		return psprintf("etl does not know which rows of %s changed", input->name);
	}
	if (input->consumption->lost != NIL)
		return "what they gave cannot be told apart in the result";
	if (input->consumption->pending != NIL && strcmp(input->stream->mode, "append") != 0)
		return psprintf("%s is a %s stream", input->name, input->stream->mode);
	return NULL;
}

/*
 * unreadable_leaf tells why the owner cannot read what changed by itself:
 * the view of another role may show what its own rights do not reach.
 */
static const char *
unreadable_leaf(const EtlModel *model, List *leaves)
{
	Oid			owner = get_role_oid(model->owner, false);
	ListCell   *cell;

	foreach(cell, leaves)
	{
		EtlDeltaLeaf *leaf = lfirst(cell);

		if (pg_class_aclcheck(leaf->rte->relid, owner, ACL_SELECT) != ACLCHECK_OK)
			return psprintf("its owner reads %s only through a view of another role", leaf->input->name);
	}
	return NULL;
}

/*
 * has_unions tells whether a set operation is anywhere on the way.
 */
static bool
has_unions(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return ((Query *) node)->setOperations != NULL ||
			   query_tree_walker((Query *) node, has_unions, context, 0);
	return expression_tree_walker(node, has_unions, context);
}

EtlDelta *
etl_delta_plan(const EtlModel *model, const Query *query, List *inputs)
{
	EtlDelta   *delta = palloc0(sizeof(EtlDelta));
	LeafSearch	search = {0};
	EtlNodeState *state = etl_node_state_get(model->target);
	const char *not_row_by_row;
	ListCell   *cell;

	foreach(cell, inputs)
	{
		EtlInput   *input = lfirst(cell);

		delta->hindrance = input_hindrance(model, input, state->inputs);
		if (delta->hindrance != NULL)
			return delta;
		if (input->kind == 's' && input->consumption->pending != NIL)
			search.inputs = lappend(search.inputs, input);
	}

	delta->query = copyObject(unconstify(Query *, query));
	inline_query(delta->query, NULL);
	(void) etl_ungroup((Node *) delta->query, &(bool){false});
	leaf_walker((Node *) delta->query, &search);
	delta->leaves = search.leaves;
	delta->set_operation = has_unions((Node *) delta->query, NULL);
	if (search.hindrance != NULL)
		delta->hindrance = search.hindrance;
	else if (delta->leaves == NIL)
		delta->hindrance = "its query does not show where it reads what changed";
	else if (contain_volatile_functions((Node *) delta->query))
		delta->hindrance = "its query uses a volatile function";
	else
		delta->hindrance = unreadable_leaf(model, delta->leaves);
	if (delta->hindrance != NULL)
		return delta;

	not_row_by_row = row_by_row(delta->query, delta->leaves);
	if (model->key == NIL || (model->strategy && strcmp(model->strategy, "append") == 0))
	{
		delta->append = true;
		delta->hindrance = not_row_by_row;
		return delta;
	}
	find_keys(delta, model);
	if (delta->keys == NIL)
		delta->hindrance = "no key column stays apart through its query and comes from what changed alone";
	return delta;
}
