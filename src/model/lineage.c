/*-------------------------------------------------------------------------
 *
 * lineage.c
 *    Where every column of a model comes from.
 *
 * The analyzer has resolved each column to a range-table entry; this file
 * follows these references through subqueries, CTEs, set operations, joins
 * and unmanaged views down to columns of nodes and tables, and tells which
 * columns decided about a row: of the query itself, and of all that it reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "common/json.h"
#include "common/names.h"
#include "model/lineage.h"

static const char *const kind_names[] = {
	"identity", "transformation", "aggregation", "opaque", "conditional", "join", "filter", "group",
	"sort", "window"};

/*
 * new_level makes a level of a query inside of another one; NULL: of none.
 */
static EtlLineageLevel *
new_level(EtlLineageLevel *outer, Query *query)
{
	EtlLineageLevel *level = palloc0(sizeof(EtlLineageLevel));

	level->query = query;
	level->outer = outer;
	level->root = outer ? outer->root : level;
	return level;
}

/*
 * etl_lineage_level returns the level of a query inside of another one, the
 * same one every time.
 */
EtlLineageLevel *
etl_lineage_level(EtlLineageLevel *outer, Query *query)
{
	EtlLineageLevel *level;
	ListCell   *cell;

	foreach(cell, outer->below)
	{
		level = lfirst(cell);
		if (level->query == query)
			return level;
	}
	level = new_level(outer, query);
	outer->below = lappend(outer->below, level);
	return level;
}

/*
 * view_level returns the level of a view that etl does not manage; NULL when
 * the relation is none.
 */
static EtlLineageLevel *
view_level(EtlLineageLevel *level, Oid relid)
{
	EtlLineageLevel *root = level->root;
	EtlLineageLevel *found;
	Relation	view;
	ListCell   *cell;

	if (get_rel_relkind(relid) != RELKIND_VIEW || etl_node_owner(etl_name_of_relation(relid)) != NULL)
		return NULL;
	foreach(cell, root->below)
	{
		found = lfirst(cell);
		if (found->view == relid)
			return found;
	}
	view = table_open(relid, AccessShareLock);
	found = new_level(NULL, copyObject(get_view_query(view)));
	table_close(view, NoLock);
	(void) etl_ungroup((Node *) found->query, &(bool){true});
	found->root = root;
	found->view = relid;
	root->below = lappend(root->below, found);
	return found;
}

/*
 * relation_edges returns the edges to one column (0: all) of a relation;
 * through it when it is a view that etl does not manage.
 */
static List *
relation_edges(EtlLineageLevel *level, Oid relid, AttrNumber attnum)
{
	EtlLineageLevel *view;
	List	   *edges = NIL;

	if (attnum == 0)
	{
		Relation	rel = table_open(relid, AccessShareLock);
		int			natts = RelationGetNumberOfAttributes(rel);

		table_close(rel, NoLock);
		for (AttrNumber i = 1; i <= natts; i++)
			if (get_attname(relid, i, true) != NULL)
				edges = etl_lineage_add_all(edges, relation_edges(level, relid, i), EDGE_TRANSFORMATION);
		return edges;
	}
	view = attnum > 0 ? view_level(level, relid) : NULL;
	if (view != NULL)
		return etl_lineage_of_column(view, attnum);
	return etl_lineage_add(NIL, etl_name_of_relation(relid), get_attname(relid, attnum, true), EDGE_IDENTITY);
}

/*
 * settle finds the edges of all columns of a recursive CTE.  They feed each
 * other: all are found again, with those known so far where the CTE reads
 * itself, until no new one appears.  Returns the last turn.
 */
static EtlLineageLevel *
settle(EtlLineageLevel *cte)
{
	int			ncolumns = list_length(cte->query->targetList);
	List	  **known = palloc0(sizeof(List *) * ncolumns);
	EtlLineageLevel *turn = NULL;
	bool		grown = cte->settled == NULL;

	while (grown)
	{
		/* of a turn before nothing is kept: less was known */
		turn = new_level(cte->outer, cte->query);
		turn->known = known;
		grown = false;
		for (int i = 0; i < ncolumns; i++)
		{
			List	   *edges = etl_lineage_add_all(list_copy(known[i]), etl_lineage_of_column(turn, i + 1),
											  EDGE_IDENTITY);

			grown = grown || list_length(edges) > list_length(known[i]);
			known[i] = edges;
		}
		if (!grown)
			cte->settled = turn;
	}
	return cte->settled;
}

/*
 * recursive_edges returns the edges of a column of a recursive CTE; those of
 * a SEARCH or CYCLE clause are made of all others.
 */
static List *
recursive_edges(EtlLineageLevel *cte, AttrNumber attnum)
{
	int			ncolumns = list_length(cte->query->targetList);
	List	  **known = settle(cte)->known;
	List	   *edges = NIL;

	if (attnum <= ncolumns)
		return known[attnum - 1];
	for (int i = 0; i < ncolumns; i++)
		edges = etl_lineage_add_all(edges, known[i], EDGE_TRANSFORMATION);
	return edges;
}

/*
 * find_cte returns the level of a CTE and tells whether it is recursive;
 * NULL for a term of a recursive one that reads itself, which is *term then.
 */
static EtlLineageLevel *
find_cte(RangeTblEntry *rte, EtlLineageLevel *level, bool *recursive, EtlLineageLevel **term)
{
	ListCell   *cell;

	*term = NULL;
	for (Index i = 0; i < rte->ctelevelsup && level; i++)
	{
		*term = level;
		level = level->outer;
	}
	if (level == NULL || rte->self_reference)
		return NULL;
	*term = NULL;
	foreach(cell, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		if (strcmp(cte->ctename, rte->ctename) != 0 || !IsA(cte->ctequery, Query))
			continue;
		*recursive = cte->cterecursive;
		return etl_lineage_level(level, (Query *) cte->ctequery);
	}
	return NULL;
}

/*
 * cte_edges returns the edges of a column of a CTE.
 */
static List *
cte_edges(RangeTblEntry *rte, EtlLineageLevel *level, AttrNumber attnum)
{
	List	   *all = NIL;
	bool		recursive;
	EtlLineageLevel *term;
	EtlLineageLevel *cte;

	if (attnum <= 0)
	{
		for (int i = 1; i <= list_length(rte->coltypes); i++)
			all = etl_lineage_add_all(all, cte_edges(rte, level, i), EDGE_TRANSFORMATION);
		return all;
	}
	cte = find_cte(rte, level, &recursive, &term);
	if (cte != NULL)
		return recursive ? recursive_edges(cte, attnum) : etl_lineage_of_column(cte, attnum);
	if (term == NULL || term->known == NULL || attnum > list_length(term->query->targetList))
		return NIL;
	return term->known[attnum - 1];
}

/*
 * function_edges returns the edges of a column of a function in FROM: what
 * its arguments say, and the relation whose row type it was given.
 */
static List *
function_edges(RangeTblEntry *rte, EtlLineageLevel *level, AttrNumber attnum)
{
	List	   *edges = NIL;
	ListCell   *cell;
	ListCell   *arg;

	foreach(cell, rte->functions)
	{
		FuncExpr   *call = (FuncExpr *) lfirst_node(RangeTblFunction, cell)->funcexpr;
		EtlLineageLevel *body;
		bool		keeps_columns;

		if (!IsA(call, FuncExpr))
		{
			edges = etl_lineage_add_all(
				edges, etl_lineage_trace((Node *) call, level, EDGE_TRANSFORMATION),
				EDGE_TRANSFORMATION);
			continue;
		}
		body = list_length(rte->functions) == 1 ? etl_lineage_body(call, level) : NULL;
		if (body != NULL)
			return etl_lineage_of_body(body, Max(attnum, 0));
		keeps_columns = call->funcid >= FirstNormalObjectId &&
						strcmp(get_func_name(call->funcid), "dedupe") == 0 &&
						strcmp(get_namespace_name(get_func_namespace(call->funcid)), "etl") == 0;
		foreach(arg, call->args)
		{
			Node	   *node = lfirst(arg);
			Oid			relid = IsA(node, Const) ? get_typ_typrelid(((Const *) node)->consttype) : InvalidOid;

			if (OidIsValid(relid) && attnum > 0 && get_attname(relid, attnum, true) != NULL &&
				get_rel_relkind(relid) != RELKIND_COMPOSITE_TYPE)
				edges = etl_lineage_add_all(edges, relation_edges(level, relid, attnum),
											keeps_columns ? EDGE_IDENTITY : EDGE_OPAQUE);
			else
				edges =
					etl_lineage_add_all(edges, etl_lineage_trace(node, level, EDGE_TRANSFORMATION),
										EDGE_TRANSFORMATION);
		}
		foreach(arg, etl_names_of_function(call->funcid))
			edges = etl_lineage_add(edges, lfirst(arg), "*", EDGE_OPAQUE);
	}
	return edges;
}

/*
 * etl_lineage_of_var returns the edges of a column reference.
 */
List *
etl_lineage_of_var(Var *var, EtlLineageLevel *level)
{
	RangeTblEntry *rte;
	List	   *edges = NIL;
	ListCell   *cell;
	EtlLineageLevel *inner;

	for (Index i = 0; i < var->varlevelsup && level; i++)
		level = level->outer;
	if (level == NULL || var->varno <= 0 || var->varno > list_length(level->query->rtable))
		return NIL;
	rte = rt_fetch(var->varno, level->query->rtable);
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			return relation_edges(level, rte->relid, var->varattno);
		case RTE_SUBQUERY:
			inner = etl_lineage_level(level, rte->subquery);
			if (var->varattno > 0)
				return etl_lineage_of_column(inner, var->varattno);
			for (int i = 1; i <= list_length(rte->subquery->targetList); i++)
				edges = etl_lineage_add_all(edges, etl_lineage_of_column(inner, i), EDGE_TRANSFORMATION);
			return edges;
		case RTE_JOIN:
			if (var->varattno > 0)
				return etl_lineage_trace(list_nth(rte->joinaliasvars, var->varattno - 1), level,
										 EDGE_IDENTITY);
			return etl_lineage_trace((Node *) rte->joinaliasvars, level, EDGE_TRANSFORMATION);
		case RTE_CTE:
			return cte_edges(rte, level, var->varattno);
		case RTE_FUNCTION:
			return function_edges(rte, level, var->varattno);
		case RTE_VALUES:
			foreach(cell, rte->values_lists)
				if (var->varattno > 0)
					edges = etl_lineage_add_all(edges,
												etl_lineage_trace(list_nth(lfirst(cell), var->varattno - 1),
																  level, EDGE_TRANSFORMATION),
												EDGE_TRANSFORMATION);
			return edges;
		case RTE_TABLEFUNC:
			return etl_lineage_trace((Node *) rte->tablefunc, level, EDGE_TRANSFORMATION);
		default:
			return NIL;
	}
}

/*
 * rows_of_entry returns the edges of what decides about the rows of an entry
 * in FROM.
 */
static List *
rows_of_entry(RangeTblEntry *rte, EtlLineageLevel *level)
{
	EtlLineageLevel *inner = NULL;
	EtlLineageLevel *term;
	List	   *edges = NIL;
	ListCell   *cell;
	ListCell   *name;
	bool		recursive = false;

	if (rte->rtekind == RTE_RELATION)
		inner = view_level(level, rte->relid);
	else if (rte->rtekind == RTE_SUBQUERY)
		inner = etl_lineage_level(level, rte->subquery);
	else if (rte->rtekind == RTE_CTE)
		inner = find_cte(rte, level, &recursive, &term);
	else if (rte->rtekind == RTE_FUNCTION)
	{
		foreach(cell, rte->functions)
		{
			FuncExpr   *call = (FuncExpr *) lfirst_node(RangeTblFunction, cell)->funcexpr;

			inner = IsA(call, FuncExpr) ? etl_lineage_body(call, level) : NULL;
			if (inner == NULL && IsA(call, FuncExpr))
				foreach(name, etl_names_of_function(call->funcid))
					edges = etl_lineage_add(edges, lfirst(name), "*", EDGE_OPAQUE);
			else if (inner != NULL)
				edges = etl_lineage_add_all(edges, etl_lineage_of_rows(inner), EDGE_IDENTITY);
		}
		return edges;
	}
	if (inner == NULL)
		return NIL;
	if (recursive)
		inner = settle(inner);
	/* an aggregate over everything yields one row, whatever there is */
	if (inner->query->hasAggs && inner->query->groupClause == NIL && inner->query->groupingSets == NIL &&
		inner->query->havingQual == NULL)
		return NIL;
	return etl_lineage_of_rows(inner);
}

/*
 * qual_edges returns the edges of a FROM clause: of what decides about the
 * rows that are read, and of the conditions; those between relations are
 * joins, the others filters.
 */
static List *
qual_edges(Node *node, EtlLineageLevel *level, List *edges)
{
	ListCell   *cell;

	if (node == NULL)
		return edges;
	if (IsA(node, RangeTblRef))
		return etl_lineage_add_all(
			edges,
			rows_of_entry(rt_fetch(((RangeTblRef *) node)->rtindex, level->query->rtable), level),
			EDGE_IDENTITY);
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		edges = etl_lineage_add_all(edges, etl_lineage_trace(join->quals, level, EDGE_JOIN), EDGE_JOIN);
		return qual_edges(join->rarg, level, qual_edges(join->larg, level, edges));
	}
	foreach(cell, castNode(FromExpr, node)->fromlist)
		edges = qual_edges(lfirst(cell), level, edges);
	foreach(cell, make_ands_implicit((Expr *) castNode(FromExpr, node)->quals))
	{
		Relids		relids = pull_varnos(NULL, lfirst(cell));
		EtlEdgeKind kind = bms_membership(relids) == BMS_MULTIPLE ? EDGE_JOIN : EDGE_FILTER;

		edges = etl_lineage_add_all(edges, etl_lineage_trace(lfirst(cell), level, kind), kind);
	}
	return edges;
}

/*
 * branch_level returns the level of a branch of a set operation.
 */
static EtlLineageLevel *
branch_level(RangeTblRef *branch, EtlLineageLevel *level)
{
	return etl_lineage_level(level, rt_fetch(branch->rtindex, level->query->rtable)->subquery);
}

/*
 * branch_edges returns the edges of a column through the branches of a set
 * operation; what EXCEPT takes away only filters.
 */
static List *
branch_edges(Node *node, EtlLineageLevel *level, int resno, EtlEdgeKind kind)
{
	SetOperationStmt *operation;
	List	   *edges;

	if (IsA(node, RangeTblRef))
		return etl_lineage_add_all(
			NIL, etl_lineage_of_column(branch_level((RangeTblRef *) node, level), resno), kind);
	operation = castNode(SetOperationStmt, node);
	edges = branch_edges(operation->larg, level, resno, kind);
	return etl_lineage_add_all(edges,
							   branch_edges(operation->rarg, level, resno,
											operation->op == SETOP_EXCEPT ? EDGE_FILTER : kind),
							   EDGE_IDENTITY);
}

/*
 * rows_of_branches returns the edges of what decides about the rows of a set
 * operation: that of its branches, and every column of what EXCEPT and
 * INTERSECT compare with.
 */
static List *
rows_of_branches(Node *node, EtlLineageLevel *level, List *edges)
{
	SetOperationStmt *operation;

	if (IsA(node, RangeTblRef))
		return etl_lineage_add_all(
			edges, etl_lineage_of_rows(branch_level((RangeTblRef *) node, level)), EDGE_IDENTITY);
	operation = castNode(SetOperationStmt, node);
	edges = rows_of_branches(operation->larg, level, edges);
	edges = rows_of_branches(operation->rarg, level, edges);
	if (operation->op == SETOP_UNION)
		return edges;
	for (int i = 1; i <= list_length(operation->colTypes); i++)
	{
		edges = etl_lineage_add_all(edges, branch_edges(operation->larg, level, i, EDGE_FILTER), EDGE_FILTER);
		edges = etl_lineage_add_all(edges, branch_edges(operation->rarg, level, i, EDGE_FILTER), EDGE_FILTER);
	}
	return edges;
}

/*
 * clause_edges adds the edges of the expressions that a list of clauses means.
 */
static List *
clause_edges(List *edges, List *clauses, EtlLineageLevel *level, EtlEdgeKind kind)
{
	ListCell   *cell;

	foreach(cell, clauses)
	{
		TargetEntry *entry = get_sortgroupclause_tle(lfirst(cell), level->query->targetList);

		edges = etl_lineage_add_all(edges,
									level->query->setOperations && !entry->resjunk ?
										branch_edges(level->query->setOperations, level, entry->resno, kind) :
										etl_lineage_trace((Node *) entry->expr, level, kind),
									kind);
	}
	return edges;
}

/*
 * etl_lineage_of_rows returns the edges of what decides about the rows of a
 * level.
 */
List *
etl_lineage_of_rows(EtlLineageLevel *level)
{
	Query	   *query = level->query;
	List	   *edges;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (level->rows_found)
		return level->rows;
	edges = query->setOperations ? rows_of_branches(query->setOperations, level, NIL) :
								   qual_edges((Node *) query->jointree, level, NIL);
	edges = etl_lineage_add_all(edges, etl_lineage_trace(query->havingQual, level, EDGE_FILTER), EDGE_FILTER);
	edges = clause_edges(edges, query->groupClause, level, EDGE_GROUP);
	edges = clause_edges(edges, query->distinctClause, level, EDGE_GROUP);
	edges = clause_edges(edges, query->sortClause, level, EDGE_SORT);
	edges = etl_lineage_add_all(edges, etl_lineage_trace(query->limitOffset, level, EDGE_FILTER),
								EDGE_FILTER);
	edges = etl_lineage_add_all(edges, etl_lineage_trace(query->limitCount, level, EDGE_FILTER), EDGE_FILTER);
	level->rows = edges;
	level->rows_found = true;
	return edges;
}

/*
 * etl_lineage_of_column returns all edges of one output column of a level.
 */
List *
etl_lineage_of_column(EtlLineageLevel *level, int resno)
{
	int			ncolumns = list_length(level->query->targetList);
	List	   *edges;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (resno < 1 || resno > ncolumns)
		return NIL;
	if (level->columns == NULL)
	{
		level->columns = palloc0(sizeof(List *) * ncolumns);
		level->found = palloc0(sizeof(bool) * ncolumns);
	}
	if (level->found[resno - 1])
		return level->columns[resno - 1];
	if (level->query->setOperations != NULL)
		edges = branch_edges(level->query->setOperations, level, resno, EDGE_IDENTITY);
	else
		edges = etl_lineage_trace(
			(Node *) list_nth_node(TargetEntry, level->query->targetList, resno - 1)->expr, level,
			EDGE_IDENTITY);
	edges = etl_lineage_add_all(edges, etl_lineage_of_rows(level), EDGE_IDENTITY);
	level->columns[resno - 1] = edges;
	level->found[resno - 1] = true;
	return edges;
}

/*
 * etl_query_lineage returns the edges of every column of a model.
 */
List *
etl_query_lineage(Query *query, const EtlModel *model)
{
	EtlLineageLevel *level = new_level(NULL, copyObject(query));
	List	   *result = NIL;
	ListCell   *cell;
	ListCell   *item;

	(void) etl_ungroup((Node *) level->query, &(bool){true});
	foreach(cell, level->query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		List	   *edges;

		if (entry->resjunk)
			continue;
		edges = list_copy(etl_lineage_of_column(level, entry->resno));
		foreach(item, etl_json_get_list(model->options, "depends_on"))
			edges = etl_lineage_add(edges, etl_name_canonical(lfirst(item)), "*", EDGE_OPAQUE);
		foreach(item, edges)
		{
			EtlEdge    *edge = lfirst(item);
			EtlColumnEdge *column = palloc0(sizeof(EtlColumnEdge));

			column->column_name = pstrdup(entry->resname);
			column->source = edge->source;
			column->source_column = edge->column;
			column->transformation = kind_names[edge->kind];
			result = lappend(result, column);
		}
	}
	return result;
}
