/*-------------------------------------------------------------------------
 *
 * inline.c
 *    A query with nothing but subqueries between it and the relations.
 *
 * Views and plain CTEs become subqueries, and columns of joins become those
 * of what is joined, so that whoever looks for what a query reads has one
 * kind of step to take.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "model/internal.h"

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
 * etl_entry_open_view makes the entry of a view one of its query.
 */
void
etl_entry_open_view(RangeTblEntry *rte)
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

/*
 * inline_entry turns a view or a plain CTE into a subquery.
 */
static void
inline_entry(RangeTblEntry *rte, Scope *scope)
{
	if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->inFromCl)
		etl_entry_open_view(rte);
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

/*
 * How many entries a query would have with all it reads written out, and how
 * many of them only since CTEs are written out where PostgreSQL keeps them:
 * the time and memory of its planner grow with more than the square of those.
 */
#define MAX_ENTRIES 300
#define MAX_COPIES	64

typedef struct Extent
{
	Scope	   *scope;
	List	   *seen;			/* CommonTableExpr */
	int			n;
	int			copies;
	bool		again;			/* below a CTE that was seen before */
} Extent;

static bool
too_large(const Extent *size)
{
	return size->n > MAX_ENTRIES || size->copies > MAX_COPIES;
}

/*
 * size_walker counts the entries of the queries below a node, and those of
 * what they name each time that they name it, until there are too many.
 */
static bool
size_walker(Node *node, Extent *size)
{
	Scope	   *outer = size->scope;
	ListCell   *cell;

	if (node == NULL || too_large(size))
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, size_walker, size);
	check_stack_depth();
	size->scope = &(Scope){((Query *) node)->cteList, outer};
	foreach(cell, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		CommonTableExpr *cte =
			rte->rtekind == RTE_CTE && !rte->self_reference ? find_cte(rte, size->scope) : NULL;
		Scope	   *scope = size->scope;

		size->n++;
		if (size->again)
			size->copies++;
		if (cte != NULL && !cte->cterecursive)
		{
			bool		again = size->again;

			size->again |= list_member_ptr(size->seen, cte);
			size->seen = list_append_unique_ptr(size->seen, cte);
			for (Index i = 0; i < rte->ctelevelsup; i++)
				size->scope = size->scope->outer;
			(void) size_walker(cte->ctequery, size);
			size->again = again;
		}
		else if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->inFromCl)
		{
			Relation	view = table_open(rte->relid, AccessShareLock);

			size->scope = NULL;
			(void) size_walker((Node *) get_view_query(view), size);
			table_close(view, NoLock);
		}
		size->scope = scope;
	}
	(void) query_tree_walker((Query *) node, size_walker, size, QTW_IGNORE_CTE_SUBQUERIES);
	size->scope = outer;
	return false;
}

/*
 * etl_query_is_too_large tells whether a query is one that
 * etl_query_inline shall not write out.
 */
bool
etl_query_is_too_large(const Query *query)
{
	Extent		size = {NULL, NIL, 0, 0, false};

	(void) size_walker((Node *) unconstify(Query *, query), &size);
	return too_large(&size);
}

/*
 * flatten_walker finds the queries below a node.
 */
static bool
flatten_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *cell;
		bool		joins = false;

		foreach(cell, query->rtable)
			joins |= lfirst_node(RangeTblEntry, cell)->rtekind == RTE_JOIN;
		if (joins)
		{
			query->targetList = (List *) etl_flatten_joins(query, (Node *) query->targetList);
			query->jointree = (FromExpr *) etl_flatten_joins(query, (Node *) query->jointree);
			query->havingQual = etl_flatten_joins(query, query->havingQual);
			foreach(cell, query->rtable)
			{
				RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

				if (rte->rtekind == RTE_SUBQUERY && rte->lateral)
					rte->subquery = (Query *) etl_flatten_joins(query, (Node *) rte->subquery);
			}
		}
		return query_tree_walker(query, flatten_walker, context, QTW_IGNORE_JOINALIASES);
	}
	return expression_tree_walker(node, flatten_walker, context);
}

void
etl_query_inline(Query *query)
{
	inline_query(query, NULL);
	(void) etl_ungroup((Node *) query, &(bool){false});
	(void) flatten_walker((Node *) query, NULL);
}
