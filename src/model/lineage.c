/*-------------------------------------------------------------------------
 *
 * lineage.c
 *    Where every column of a model comes from.
 *
 * The analyzer has resolved each column to a range-table entry; this file
 * follows these references through subqueries, CTEs, set operations, joins
 * and unmanaged views down to columns of nodes and tables, and tells on the
 * way what happened to the value, and which columns decided about its row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/compat.h"
#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"

/* What happens to a value, weakest first; from CONDITIONAL on: what decides about a row. */
typedef enum Kind
{
	IDENTITY,
	TRANSFORMATION,
	AGGREGATION,
	OPAQUE,
	CONDITIONAL,
	JOIN,
	FILTER,
	GROUP,
	SORT,
	WINDOW
} Kind;

static const char *const kind_names[] = {
	"identity", "transformation", "aggregation", "opaque", "conditional", "join", "filter", "group",
	"sort", "window"};

/* A query and those around it, as varlevelsup counts them. */
typedef struct Level
{
	Query	   *query;
	struct Level *outer;
	List	  **known;			/* of a recursive CTE: edges of each column, as far as they are known */
	FuncExpr   *call;			/* of the body of an SQL function: its call … */
	struct Level *call_level;	/* … and where that stands */
} Level;

typedef struct Edge
{
	char	   *source;
	char	   *column;
	Kind		kind;
} Edge;

/* The walk over one expression. */
typedef struct Trace
{
	Level	   *level;
	Kind		kind;
	List	   *edges;			/* Edge * */
} Trace;

static List *column_edges(Level *level, int resno);
static bool trace_walker(Node *node, Trace *trace);

/*
 * combine tells what happened when an outer step follows an inner one.
 */
static Kind
combine(Kind outer, Kind inner)
{
	if (outer >= CONDITIONAL)
		return outer;
	if (inner >= CONDITIONAL)
		return inner;
	return Max(outer, inner);
}

/*
 * add_edge adds an edge that is not there yet.
 */
static List *
add_edge(List *edges, const char *source, const char *column, Kind kind)
{
	Edge	   *edge;
	ListCell   *cell;

	if (source == NULL || column == NULL)
		return edges;
	foreach(cell, edges)
	{
		edge = lfirst(cell);
		if (edge->kind == kind && strcmp(edge->column, column) == 0 && strcmp(edge->source, source) == 0)
			return edges;
	}
	edge = palloc(sizeof(Edge));
	edge->source = pstrdup(source);
	edge->column = pstrdup(column);
	edge->kind = kind;
	return lappend(edges, edge);
}

/*
 * add_edges adds edges that an outer step of this kind reaches.
 */
static List *
add_edges(List *edges, List *inner, Kind kind)
{
	ListCell   *cell;

	foreach(cell, inner)
	{
		Edge	   *edge = lfirst(cell);

		edges = add_edge(edges, edge->source, edge->column, combine(kind, edge->kind));
	}
	return edges;
}

/*
 * trace_expression returns the edges of an expression of a level.
 */
static List *
trace_expression(Node *expression, Level *level, Kind kind)
{
	Trace		trace = {level, kind, NIL};

	trace_walker(expression, &trace);
	return trace.edges;
}

/*
 * relation_edges returns the edges to one column (0: all) of a relation;
 * through it when it is a view that etl does not manage.
 */
static List *
relation_edges(Oid relid, AttrNumber attnum)
{
	char	   *name = etl_name_of_relation(relid);
	List	   *edges = NIL;

	if (attnum == 0)
	{
		Relation	rel = table_open(relid, AccessShareLock);
		int			natts = RelationGetNumberOfAttributes(rel);

		table_close(rel, NoLock);
		for (AttrNumber i = 1; i <= natts; i++)
			if (get_attname(relid, i, true) != NULL)
				edges = add_edges(edges, relation_edges(relid, i), TRANSFORMATION);
		return edges;
	}
	if (get_rel_relkind(relid) == RELKIND_VIEW && attnum > 0 && etl_node_owner(name) == NULL)
	{
		Relation	view = table_open(relid, AccessShareLock);
		Level		level = {copyObject(get_view_query(view)), NULL};

		(void) etl_ungroup((Node *) level.query, &(bool){true});
		table_close(view, NoLock);
		return column_edges(&level, attnum);
	}
	return add_edge(NIL, name, get_attname(relid, attnum, true), IDENTITY);
}

/*
 * recursive_edges returns the edges of a column of a recursive CTE.  Its
 * columns feed each other: the edges of all are found again, with those
 * known so far where the CTE reads itself, until no new one appears.
 */
static List *
recursive_edges(Level *inner, AttrNumber attnum)
{
	int			ncolumns = list_length(inner->query->targetList);
	bool		grown = true;

	if (attnum > ncolumns)
		return NIL;				/* of a SEARCH or CYCLE clause */
	inner->known = palloc0(sizeof(List *) * ncolumns);
	while (grown)
	{
		grown = false;
		for (int i = 0; i < ncolumns; i++)
		{
			List	   *edges = add_edges(list_copy(inner->known[i]), column_edges(inner, i + 1), IDENTITY);

			grown = grown || list_length(edges) > list_length(inner->known[i]);
			inner->known[i] = edges;
		}
	}
	return inner->known[attnum - 1];
}

/*
 * cte_edges returns the edges of a column of a CTE.
 */
static List *
cte_edges(RangeTblEntry *rte, Level *level, AttrNumber attnum)
{
	ListCell   *cell;
	Level		inner = {0};
	Level	   *term = NULL;
	List	   *all = NIL;

	if (attnum <= 0)
	{
		for (int i = 1; i <= list_length(rte->coltypes); i++)
			all = add_edges(all, cte_edges(rte, level, i), TRANSFORMATION);
		return all;
	}
	for (Index i = 0; i < rte->ctelevelsup && level; i++)
	{
		term = level;
		level = level->outer;
	}
	if (level == NULL)
		return NIL;
	if (rte->self_reference)
	{
		Query	   *query = term ? term->query : NULL;

		if (term == NULL || term->known == NULL || attnum > list_length(query->targetList))
			return NIL;
		return term->known[attnum - 1];
	}
	foreach(cell, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		if (strcmp(cte->ctename, rte->ctename) != 0 || !IsA(cte->ctequery, Query))
			continue;
		inner.query = (Query *) cte->ctequery;
		inner.outer = level;
		return cte->cterecursive ? recursive_edges(&inner, attnum) : column_edges(&inner, attnum);
	}
	return NIL;
}

/*
 * body_edges returns the edges of one column (0: all) of what an SQL function
 * yields, through its body; false when it is opaque, or calls itself.
 */
static bool
body_edges(FuncExpr *call, Level *level, AttrNumber attnum, List **edges)
{
	Level		inner = {0};

	for (Level *outer = level; outer != NULL; outer = outer->outer ? outer->outer : outer->call_level)
		if (outer->call != NULL && outer->call->funcid == call->funcid)
			return false;
	inner.query = etl_sql_function_query(call);
	if (inner.query == NULL)
		return false;
	inner.call = call;
	inner.call_level = level;
	(void) etl_ungroup((Node *) inner.query, &(bool){true});
	*edges = NIL;
	for (int i = 1; i <= list_length(inner.query->targetList); i++)
		if (attnum == i || attnum == 0)
			*edges = add_edges(*edges, column_edges(&inner, i), attnum ? IDENTITY : TRANSFORMATION);
	return true;
}

/*
 * param_edges returns the edges of a parameter in the body of a function:
 * those of the argument.
 */
static List *
param_edges(Param *param, Level *level)
{
	ListCell   *cell;

	while (level->call == NULL && level->outer != NULL)
		level = level->outer;
	if (level->call == NULL || param->paramkind != PARAM_EXTERN)
		return NIL;
	foreach(cell, level->call->args)
	{
		Node	   *arg = lfirst(cell);
		int			place = IsA(arg, NamedArgExpr) ? ((NamedArgExpr *) arg)->argnumber : foreach_current_index(cell);

		if (place == param->paramid - 1)
			return trace_expression(arg, level->call_level, IDENTITY);
	}
	return NIL;					/* its default */
}

/*
 * function_edges returns the edges of a column of a function in FROM: what
 * its arguments say, and the relation whose row type it was given.
 */
static List *
function_edges(RangeTblEntry *rte, Level *level, AttrNumber attnum)
{
	List	   *edges = NIL;
	ListCell   *cell;
	ListCell   *arg;

	foreach(cell, rte->functions)
	{
		FuncExpr   *call = (FuncExpr *) lfirst_node(RangeTblFunction, cell)->funcexpr;
		List	   *body;
		bool		keeps_columns;

		if (!IsA(call, FuncExpr))
		{
			edges = add_edges(edges, trace_expression((Node *) call, level, TRANSFORMATION), TRANSFORMATION);
			continue;
		}
		if (list_length(rte->functions) == 1 && body_edges(call, level, Max(attnum, 0), &body))
		{
			edges = add_edges(edges, body, IDENTITY);
			continue;
		}
		keeps_columns = call->funcid >= FirstNormalObjectId &&
						strcmp(get_func_name(call->funcid), "dedupe") == 0 &&
						strcmp(get_namespace_name(get_func_namespace(call->funcid)), "etl") == 0;
		foreach(arg, call->args)
		{
			Node	   *node = lfirst(arg);
			Oid			relid = IsA(node, Const) ? get_typ_typrelid(((Const *) node)->consttype) : InvalidOid;

			if (OidIsValid(relid) && attnum > 0 && get_attname(relid, attnum, true) != NULL &&
				get_rel_relkind(relid) != RELKIND_COMPOSITE_TYPE)
				edges = add_edges(edges, relation_edges(relid, attnum), keeps_columns ? IDENTITY : OPAQUE);
			else
				edges = add_edges(edges, trace_expression(node, level, TRANSFORMATION), TRANSFORMATION);
		}
		foreach(arg, etl_names_of_function(call->funcid))
			edges = add_edge(edges, lfirst(arg), "*", OPAQUE);
	}
	return edges;
}

/*
 * var_edges returns the edges of a column reference.
 */
static List *
var_edges(Var *var, Level *level)
{
	RangeTblEntry *rte;
	List	   *edges = NIL;
	ListCell   *cell;
	Level		inner = {0};

	check_stack_depth();
	for (Index i = 0; i < var->varlevelsup && level; i++)
		level = level->outer;
	if (level == NULL || var->varno <= 0 || var->varno > list_length(level->query->rtable))
		return NIL;
	rte = rt_fetch(var->varno, level->query->rtable);
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			return relation_edges(rte->relid, var->varattno);
		case RTE_SUBQUERY:
			inner.query = rte->subquery;
			inner.outer = level;
			if (var->varattno > 0)
				return column_edges(&inner, var->varattno);
			for (int i = 1; i <= list_length(rte->subquery->targetList); i++)
				edges = add_edges(edges, column_edges(&inner, i), TRANSFORMATION);
			return edges;
		case RTE_JOIN:
			if (var->varattno > 0)
				return trace_expression(list_nth(rte->joinaliasvars, var->varattno - 1), level, IDENTITY);
			return trace_expression((Node *) rte->joinaliasvars, level, TRANSFORMATION);
		case RTE_CTE:
			return cte_edges(rte, level, var->varattno);
		case RTE_FUNCTION:
			return function_edges(rte, level, var->varattno);
		case RTE_VALUES:
			foreach(cell, rte->values_lists)
				if (var->varattno > 0)
					edges = add_edges(edges,
									  trace_expression(list_nth(lfirst(cell), var->varattno - 1),
													   level, TRANSFORMATION),
									  TRANSFORMATION);
			return edges;
		case RTE_TABLEFUNC:
			return trace_expression((Node *) rte->tablefunc, level, TRANSFORMATION);
		default:
			return NIL;
	}
}

/*
 * collect adds what an expression reaches, with its own kind.
 */
static void
collect(Trace *trace, Node *expression, Kind kind)
{
	trace->edges = add_edges(trace->edges,
							 trace_expression(expression, trace->level, combine(kind, IDENTITY)),
							 trace->kind >= CONDITIONAL ? trace->kind : IDENTITY);
}

/*
 * trace_case tells the tested columns of a CASE from its results.
 */
static void
trace_case(Trace *trace, CaseExpr *expression)
{
	ListCell   *cell;

	collect(trace, (Node *) expression->arg, CONDITIONAL);
	foreach(cell, expression->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, cell);

		collect(trace, (Node *) when->expr, CONDITIONAL);
		collect(trace, (Node *) when->result, Max(trace->kind, TRANSFORMATION));
	}
	collect(trace, (Node *) expression->defresult, Max(trace->kind, TRANSFORMATION));
}

/*
 * sort_expression returns the expression that a sort or group clause means.
 */
static Node *
sort_expression(SortGroupClause *clause, List *targets)
{
	return get_sortgroupclause_expr(clause, targets);
}

/*
 * trace_window follows a window function: arguments, partition, order.
 */
static void
trace_window(Trace *trace, WindowFunc *function)
{
	ListCell   *cell;
	ListCell   *clause;

	collect(trace, (Node *) function->args, function->winagg ? AGGREGATION : TRANSFORMATION);
	collect(trace, (Node *) function->aggfilter, CONDITIONAL);
	foreach(cell, trace->level->query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, cell);

		if (window->winref != function->winref)
			continue;
		foreach(clause, list_concat_copy(window->partitionClause, window->orderClause))
			collect(trace, sort_expression(lfirst(clause), trace->level->query->targetList), WINDOW);
	}
}

/*
 * trace_sublink follows a subquery in an expression.
 */
static void
trace_sublink(Trace *trace, SubLink *link)
{
	Level		inner = {(Query *) link->subselect, trace->level};
	Kind		kind = link->subLinkType == EXPR_SUBLINK || link->subLinkType == ARRAY_SUBLINK ?
					Max(trace->kind, TRANSFORMATION) :
					CONDITIONAL;
	int			resno = 0;
	ListCell   *cell;

	collect(trace, link->testexpr, kind);
	foreach(cell, inner.query->targetList)
	{
		resno++;
		if (!lfirst_node(TargetEntry, cell)->resjunk)
			trace->edges = add_edges(trace->edges, column_edges(&inner, resno),
									 trace->kind >= CONDITIONAL ? trace->kind : kind);
	}
}

/*
 * trace_walker collects the edges below one node of an expression.
 */
static bool
trace_walker(Node *node, Trace *trace)
{
	Trace		inner = *trace;
	List	   *body;
	ListCell   *cell;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			trace->edges = add_edges(trace->edges, var_edges((Var *) node, trace->level), trace->kind);
			return false;
		case T_CaseExpr:
			trace_case(trace, (CaseExpr *) node);
			return false;
		case T_Aggref:
			collect(trace, (Node *) ((Aggref *) node)->aggdirectargs, AGGREGATION);
			foreach(cell, ((Aggref *) node)->args)
				collect(trace, (Node *) lfirst_node(TargetEntry, cell)->expr,
						lfirst_node(TargetEntry, cell)->resjunk ? SORT : AGGREGATION);
			collect(trace, (Node *) ((Aggref *) node)->aggfilter, CONDITIONAL);
			return false;
		case T_WindowFunc:
			trace_window(trace, (WindowFunc *) node);
			return false;
		case T_SubLink:
			trace_sublink(trace, (SubLink *) node);
			return false;
		case T_Query:
			return false;
		case T_RelabelType:
		case T_CollateExpr:
		case T_List:
		case T_TargetEntry:
			return expression_tree_walker(node, trace_walker, trace);
		case T_Param:
			trace->edges = add_edges(trace->edges, param_edges((Param *) node, trace->level), trace->kind);
			return false;
		case T_FuncExpr:
			if (body_edges((FuncExpr *) node, trace->level, 0, &body))
			{
				trace->edges = add_edges(trace->edges, body, Max(trace->kind, TRANSFORMATION));
				return false;
			}
			foreach(cell, etl_names_of_function(((FuncExpr *) node)->funcid))
				trace->edges = add_edge(trace->edges, lfirst(cell), "*", combine(trace->kind, OPAQUE));
			break;
		default:
			break;
	}
	/* any other operation transforms the values below it */
	inner.edges = trace->edges;
	inner.kind = trace->kind == IDENTITY ? TRANSFORMATION : trace->kind;
	expression_tree_walker(node, trace_walker, &inner);
	trace->edges = inner.edges;
	return false;
}

/*
 * qual_edges returns the edges of the conditions of a FROM clause: those
 * between relations are joins, the others filters.
 */
static List *
qual_edges(Node *node, Level *level, List *edges)
{
	ListCell   *cell;

	if (node == NULL || IsA(node, RangeTblRef))
		return edges;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		edges = add_edges(edges, trace_expression(join->quals, level, JOIN), JOIN);
		return qual_edges(join->rarg, level, qual_edges(join->larg, level, edges));
	}
	foreach(cell, castNode(FromExpr, node)->fromlist)
		edges = qual_edges(lfirst(cell), level, edges);
	foreach(cell, make_ands_implicit((Expr *) castNode(FromExpr, node)->quals))
	{
		Relids		relids = pull_varnos(NULL, lfirst(cell));
		Kind		kind = bms_membership(relids) == BMS_MULTIPLE ? JOIN : FILTER;

		edges = add_edges(edges, trace_expression(lfirst(cell), level, kind), kind);
	}
	return edges;
}

/*
 * row_edges returns the edges of what decides about the rows of a level.
 */
static List *
row_edges(Level *level)
{
	Query	   *query = level->query;
	List	   *edges = qual_edges((Node *) query->jointree, level, NIL);
	ListCell   *cell;

	edges = add_edges(edges, trace_expression(query->havingQual, level, FILTER), FILTER);
	foreach(cell, query->groupClause)
		edges = add_edges(
			edges, trace_expression(sort_expression(lfirst(cell), query->targetList), level, GROUP),
			GROUP);
	foreach(cell, query->distinctClause)
		edges = add_edges(
			edges, trace_expression(sort_expression(lfirst(cell), query->targetList), level, GROUP),
			GROUP);
	foreach(cell, query->sortClause)
		edges = add_edges(
			edges, trace_expression(sort_expression(lfirst(cell), query->targetList), level, SORT),
			SORT);
	return edges;
}

/*
 * branch_edges returns the edges of a column through the branches of a set
 * operation; what EXCEPT takes away only filters.
 */
static List *
branch_edges(Node *node, Level *level, int resno, Kind kind)
{
	if (IsA(node, RangeTblRef))
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, level->query->rtable);
		Level		inner = {rte->subquery, level};

		return add_edges(NIL, column_edges(&inner, resno), kind);
	}
	else
	{
		SetOperationStmt *operation = castNode(SetOperationStmt, node);
		List	   *edges = branch_edges(operation->larg, level, resno, kind);

		return add_edges(edges,
						 branch_edges(operation->rarg, level, resno,
									  operation->op == SETOP_EXCEPT ? FILTER : kind),
						 IDENTITY);
	}
}

/*
 * column_edges returns all edges of one output column of a level.
 */
static List *
column_edges(Level *level, int resno)
{
	TargetEntry *entry = get_tle_by_resno(level->query->targetList, resno);
	List	   *edges;

	check_stack_depth();
	if (level->query->setOperations != NULL)
		edges = branch_edges(level->query->setOperations, level, resno, IDENTITY);
	else
		edges = entry ? trace_expression((Node *) entry->expr, level, IDENTITY) : NIL;
	return level->query->setOperations ? edges : add_edges(edges, row_edges(level), IDENTITY);
}

/*
 * etl_query_lineage returns the edges of every column of a model.
 */
List *
etl_query_lineage(Query *query, const EtlModel *model)
{
	Level		level = {copyObject(query), NULL};
	List	   *result = NIL;
	ListCell   *cell;
	ListCell   *item;

	(void) etl_ungroup((Node *) level.query, &(bool){true});
	foreach(cell, level.query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		List	   *edges;

		if (entry->resjunk)
			continue;
		edges = column_edges(&level, entry->resno);
		foreach(item, etl_json_get_list(model->options, "depends_on"))
			edges = add_edge(edges, etl_name_canonical(lfirst(item)), "*", OPAQUE);
		foreach(item, edges)
		{
			Edge	   *edge = lfirst(item);
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
