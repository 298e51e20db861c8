/*-------------------------------------------------------------------------
 *
 * lineage_expression.c
 *    What an expression is made of.
 *
 * A walk over one expression of a query: it collects the columns that it
 * refers to, each with what happens to the value on the way, and those that
 * only decide, in a CASE, a FILTER, a window, a subquery.  What a column in
 * turn is made of, lineage.c knows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"

#include "common/compat.h"
#include "model/lineage.h"

/* The walk over one expression. */
typedef struct Trace
{
	EtlLineageLevel *level;
	EtlEdgeKind kind;
	List	   *edges;			/* EtlEdge * */
} Trace;

static bool trace_walker(Node *node, Trace *trace);

/*
 * combine tells what happened when an outer step follows an inner one.
 */
static EtlEdgeKind
combine(EtlEdgeKind outer, EtlEdgeKind inner)
{
	if (outer >= EDGE_CONDITIONAL)
		return outer;
	if (inner >= EDGE_CONDITIONAL)
		return inner;
	return Max(outer, inner);
}

/*
 * etl_lineage_add adds an edge that is not there yet.
 */
List *
etl_lineage_add(List *edges, const char *source, const char *column, EtlEdgeKind kind)
{
	EtlEdge    *edge;
	ListCell   *cell;

	if (source == NULL || column == NULL)
		return edges;
	foreach(cell, edges)
	{
		edge = lfirst(cell);
		if (edge->kind == kind && strcmp(edge->column, column) == 0 && strcmp(edge->source, source) == 0)
			return edges;
	}
	edge = palloc(sizeof(EtlEdge));
	edge->source = pstrdup(source);
	edge->column = pstrdup(column);
	edge->kind = kind;
	return lappend(edges, edge);
}

/*
 * etl_lineage_add_all adds edges that an outer step of this kind reaches.
 */
List *
etl_lineage_add_all(List *edges, List *inner, EtlEdgeKind kind)
{
	ListCell   *cell;

	foreach(cell, inner)
	{
		EtlEdge    *edge = lfirst(cell);

		edges = etl_lineage_add(edges, edge->source, edge->column, combine(kind, edge->kind));
	}
	return edges;
}

/*
 * etl_lineage_trace returns the edges of an expression of a level.
 */
List *
etl_lineage_trace(Node *expression, EtlLineageLevel *level, EtlEdgeKind kind)
{
	Trace		trace = {level, kind, NIL};

	trace_walker(expression, &trace);
	return trace.edges;
}

/*
 * etl_lineage_body returns the body of an SQL function, called at a level;
 * NULL when it is opaque, or calls itself.
 */
EtlLineageLevel *
etl_lineage_body(FuncExpr *call, EtlLineageLevel *level)
{
	EtlLineageLevel *body;
	ListCell   *cell;

	for (EtlLineageLevel *outer = level; outer != NULL;
		 outer = outer->outer ? outer->outer : outer->call_level)
		if (outer->call != NULL && outer->call->funcid == call->funcid)
			return NULL;
	foreach(cell, level->below)
	{
		body = lfirst(cell);
		if (body->call == call)
			return body->query ? body : NULL;
	}
	body = palloc0(sizeof(EtlLineageLevel));
	body->query = etl_sql_function_query(call);
	body->root = level->root;
	body->call = call;
	body->call_level = level;
	if (body->query != NULL)
		(void) etl_ungroup((Node *) body->query, &(bool){true});
	level->below = lappend(level->below, body);
	return body->query ? body : NULL;
}

List *
etl_lineage_of_body(EtlLineageLevel *body, AttrNumber attnum)
{
	List	   *edges = NIL;

	for (int i = 1; i <= list_length(body->query->targetList); i++)
		if (attnum == i || attnum == 0)
			edges = etl_lineage_add_all(edges, etl_lineage_of_column(body, i),
										attnum ? EDGE_IDENTITY : EDGE_TRANSFORMATION);
	return edges;
}

/*
 * param_edges returns the edges of a parameter in the body of a function:
 * those of the argument.
 */
static List *
param_edges(Param *param, EtlLineageLevel *level)
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
			return etl_lineage_trace(arg, level->call_level, EDGE_IDENTITY);
	}
	return NIL;					/* its default */
}

/*
 * collect adds what an expression reaches, with its own kind.
 */
static void
collect(Trace *trace, Node *expression, EtlEdgeKind kind)
{
	trace->edges = etl_lineage_add_all(
		trace->edges, etl_lineage_trace(expression, trace->level, combine(kind, EDGE_IDENTITY)),
		trace->kind >= EDGE_CONDITIONAL ? trace->kind : EDGE_IDENTITY);
}

/*
 * trace_case tells the tested columns of a CASE from its results.
 */
static void
trace_case(Trace *trace, CaseExpr *expression)
{
	ListCell   *cell;

	collect(trace, (Node *) expression->arg, EDGE_CONDITIONAL);
	foreach(cell, expression->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, cell);

		collect(trace, (Node *) when->expr, EDGE_CONDITIONAL);
		collect(trace, (Node *) when->result, Max(trace->kind, EDGE_TRANSFORMATION));
	}
	collect(trace, (Node *) expression->defresult, Max(trace->kind, EDGE_TRANSFORMATION));
}

/*
 * trace_window follows a window function: arguments, partition, order.
 */
static void
trace_window(Trace *trace, WindowFunc *function)
{
	ListCell   *cell;
	ListCell   *clause;

	collect(trace, (Node *) function->args, function->winagg ? EDGE_AGGREGATION : EDGE_TRANSFORMATION);
	collect(trace, (Node *) function->aggfilter, EDGE_CONDITIONAL);
	foreach(cell, trace->level->query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, cell);

		if (window->winref != function->winref)
			continue;
		foreach(clause, list_concat_copy(window->partitionClause, window->orderClause))
			collect(trace,
					get_sortgroupclause_expr(lfirst(clause), trace->level->query->targetList),
					EDGE_WINDOW);
	}
}

/*
 * trace_sublink follows a subquery in an expression.
 */
static void
trace_sublink(Trace *trace, SubLink *link)
{
	EtlLineageLevel *inner = etl_lineage_level(trace->level, castNode(Query, link->subselect));
	EtlEdgeKind kind = link->subLinkType == EXPR_SUBLINK || link->subLinkType == ARRAY_SUBLINK ?
						   Max(trace->kind, EDGE_TRANSFORMATION) :
						   EDGE_CONDITIONAL;
	int			resno = 0;
	ListCell   *cell;

	collect(trace, link->testexpr, kind);
	if (inner->query->targetList == NIL)
		trace->edges = etl_lineage_add_all(trace->edges, etl_lineage_of_rows(inner),
										   trace->kind >= EDGE_CONDITIONAL ? trace->kind : kind);
	foreach(cell, inner->query->targetList)
	{
		resno++;
		if (!lfirst_node(TargetEntry, cell)->resjunk)
			trace->edges = etl_lineage_add_all(trace->edges, etl_lineage_of_column(inner, resno),
											   trace->kind >= EDGE_CONDITIONAL ? trace->kind : kind);
	}
}

/*
 * trace_walker collects the edges below one node of an expression.
 */
static bool
trace_walker(Node *node, Trace *trace)
{
	Trace		inner = *trace;
	EtlLineageLevel *body;
	ListCell   *cell;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			trace->edges = etl_lineage_add_all(
				trace->edges, etl_lineage_of_var((Var *) node, trace->level), trace->kind);
			return false;
		case T_CaseExpr:
			trace_case(trace, (CaseExpr *) node);
			return false;
		case T_Aggref:
			collect(trace, (Node *) ((Aggref *) node)->aggdirectargs, EDGE_AGGREGATION);
			foreach(cell, ((Aggref *) node)->args)
				collect(trace, (Node *) lfirst_node(TargetEntry, cell)->expr,
						lfirst_node(TargetEntry, cell)->resjunk ? EDGE_SORT : EDGE_AGGREGATION);
			collect(trace, (Node *) ((Aggref *) node)->aggfilter, EDGE_CONDITIONAL);
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
			trace->edges = etl_lineage_add_all(
				trace->edges, param_edges((Param *) node, trace->level), trace->kind);
			return false;
		case T_FuncExpr:
			body = etl_lineage_body((FuncExpr *) node, trace->level);
			if (body != NULL)
			{
				trace->edges = etl_lineage_add_all(trace->edges, etl_lineage_of_body(body, 0),
												   Max(trace->kind, EDGE_TRANSFORMATION));
				return false;
			}
			foreach(cell, etl_names_of_function(((FuncExpr *) node)->funcid))
				trace->edges = etl_lineage_add(trace->edges, lfirst(cell), "*",
											   combine(trace->kind, EDGE_OPAQUE));
			break;
		default:
			break;
	}
	/* any other operation transforms the values below it */
	inner.edges = trace->edges;
	inner.kind = trace->kind == EDGE_IDENTITY ? EDGE_TRANSFORMATION : trace->kind;
	expression_tree_walker(node, trace_walker, &inner);
	trace->edges = inner.edges;
	return false;
}
