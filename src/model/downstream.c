/*-------------------------------------------------------------------------
 *
 * downstream.c
 *    Views and functions that etl does not manage and that read its columns.
 *
 * They are no nodes and nothing is stored of them: they are looked for when
 * somebody asks, from relation to relation, as is what such a view reads
 * when it is asked for itself.  A view or an SQL function of
 * one SELECT is traced column by column; of another function that names a
 * relation it is only said that it does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/lineage.h"
#include "common/driver.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "model/internal.h"

/* A column whose readers are looked for. */
typedef struct Reached
{
	char	   *name;			/* of a relation */
	char	   *column;			/* NULL: any */
	int			depth;
} Reached;

/* One reader at work: an argument of etl_subxact. */
typedef struct Reader
{
	Oid			view;
	Oid			function;
	List	   *edges;			/* EtlColumnEdge * */
} Reader;

/*
 * name_columns gives what a function yields the names that its callers see.
 */
static void
name_columns(Query *query, FuncExpr *call)
{
	TupleDesc	desc;
	TypeFuncClass class = get_expr_result_type((Node *) call, NULL, &desc);
	bool		row = class == TYPEFUNC_COMPOSITE;
	char	   *only = row ? NULL : get_func_result_name(call->funcid);
	ListCell   *cell;

	/* those of record are named by each caller, and a whole row is one expression */
	if (class == TYPEFUNC_RECORD || (row && ExecCleanTargetListLength(query->targetList) != desc->natts))
		return;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->resjunk)
			continue;
		if (!row)
			entry->resname = only ? only : get_func_name(call->funcid);
		else
			entry->resname = pstrdup(NameStr(TupleDescAttr(desc, entry->resno - 1)->attname));
	}
}

/*
 * trace finds the edges of a view or of a function.
 */
static void
trace(void *arg)
{
	Reader	   *reader = arg;
	EtlModel	model = {.options = etl_json_parse("{}")};
	Query	   *query;

	if (OidIsValid(reader->view))
	{
		Relation	view = relation_open(reader->view, AccessShareLock);

		/* a materialized view has one rule, which get_view_query() is not meant for */
		if (view->rd_rel->relkind == RELKIND_MATVIEW)
			query = copyObject(linitial_node(Query, view->rd_rules->rules[0]->actions));
		else
			query = copyObject(get_view_query(view));
		relation_close(view, NoLock);
	}
	else
	{
		FuncExpr   *call = makeFuncExpr(reader->function, get_func_rettype(reader->function), NIL,
									  InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

		query = etl_sql_function_query(call);
		if (query != NULL)
			name_columns(query, call);
	}
	if (query != NULL)
		reader->edges = etl_query_lineage(query, &model);
}

/*
 * is_told tells whether a step is in the list already.
 */
static bool
is_told(List *steps, const EtlLineageStep *step)
{
	ListCell   *cell;

	foreach(cell, steps)
	{
		EtlLineageStep *other = lfirst(cell);

		if (strcmp(other->target, step->target) == 0 && strcmp(other->edge.source, step->edge.source) == 0 &&
			strcmp(other->edge.column_name, step->edge.column_name) == 0 &&
			strcmp(other->edge.source_column, step->edge.source_column) == 0 &&
			strcmp(other->edge.transformation, step->edge.transformation) == 0)
			return true;
	}
	return false;
}

/*
 * tell_edges adds the edges of a reader that begin at what was reached, and
 * what they reach.
 */
static List *
tell_edges(List *steps, List **reached, const Reached *from, char *name, List *edges, bool is_function)
{
	ListCell   *cell;

	foreach(cell, edges)
	{
		EtlColumnEdge *edge = lfirst(cell);
		EtlLineageStep *step;
		Reached    *next;

		if (strcmp(edge->source, from->name) != 0 ||
			(from->column != NULL && strcmp(edge->source_column, from->column) != 0 &&
			 strcmp(edge->source_column, "*") != 0))
			continue;
		step = palloc0(sizeof(EtlLineageStep));
		step->depth = from->depth + 1;
		step->target = name;
		step->edge = *edge;
		step->is_function = is_function;
		if (is_told(steps, step))
			continue;
		steps = lappend(steps, step);
		if (is_function)
			continue;
		next = palloc(sizeof(Reached));
		next->name = name;
		next->column = edge->column_name;
		next->depth = step->depth;
		*reached = lappend(*reached, next);
	}
	return steps;
}

/*
 * views_on collects the views on a relation that are no nodes, through
 * others of the kind.
 */
static List *
views_on(List *views, Oid relid)
{
	ListCell   *cell;

	foreach(cell, etl_views_on(relid))
	{
		Oid			view = lfirst_oid(cell);
		char	   *name = etl_name_of_relation(view);

		if (list_member_oid(views, view) || name == NULL || etl_node_owner(name) != NULL)
			continue;
		views = views_on(lappend_oid(views, view), view);
	}
	return views;
}

/*
 * opaque_edge is all that is known of a function that cannot be traced.
 */
static List *
opaque_edge(char *source)
{
	EtlColumnEdge *edge = palloc0(sizeof(EtlColumnEdge));

	edge->column_name = "*";
	edge->source = source;
	edge->source_column = "*";
	edge->transformation = "opaque";
	return list_make1(edge);
}

/*
 * readers_of adds the steps from one column to those that read it.
 */
static List *
readers_of(List *steps, List **reached, const Reached *from)
{
	Oid			relid = etl_name_relation(from->name);
	ListCell   *cell;

	foreach(cell, OidIsValid(relid) ? views_on(NIL, relid) : NIL)
	{
		Reader		reader = {.view = lfirst_oid(cell)};

		(void) etl_subxact(trace, &reader);
		steps = tell_edges(steps, reached, from, etl_name_of_relation(reader.view), reader.edges, false);
	}
	foreach(cell, etl_functions_reading(from->name, relid))
	{
		EtlFunctionReader *function = lfirst(cell);
		Reader		reader = {.function = function->oid};

		if (function->is_sql && !etl_name_among(etl_names_of_function(function->oid), from->name))
			continue;
		if (function->is_sql)
			(void) etl_subxact(trace, &reader);
		steps = tell_edges(steps, reached, from, function->name,
						   reader.edges ? reader.edges : opaque_edge(from->name), true);
	}
	return steps;
}

List *
etl_lineage_foreign(List *steps, const char *target, const char *column, int depth)
{
	Reached    *first = palloc(sizeof(Reached));
	List	   *reached;
	ListCell   *cell;

	first->name = unconstify(char *, target);
	first->column = unconstify(char *, column);
	first->depth = 0;
	reached = list_make1(first);
	foreach(cell, steps)
	{
		EtlLineageStep *step = lfirst(cell);
		Reached    *next = palloc(sizeof(Reached));

		next->name = step->target;
		next->column = step->edge.column_name;
		next->depth = step->depth;
		reached = lappend(reached, next);
	}
	/* the list grows on the way */
	for (int i = 0; i < list_length(reached); i++)
		if (depth == 0 || ((Reached *) list_nth(reached, i))->depth < depth)
			steps = readers_of(steps, &reached, list_nth(reached, i));
	return steps;
}

List *
etl_lineage_of_view(const char *target, const char *column, int depth)
{
	Reader		reader = {.view = etl_name_relation(target)};
	char		kind = OidIsValid(reader.view) ? get_rel_relkind(reader.view) : '\0';
	List	   *steps = NIL;
	ListCell   *cell;
	ListCell   *above;

	if ((kind != RELKIND_VIEW && kind != RELKIND_MATVIEW) || etl_node_owner(target) != NULL)
		return NIL;
	(void) etl_subxact(trace, &reader);
	foreach(cell, reader.edges)
	{
		EtlColumnEdge *edge = lfirst(cell);
		EtlLineageStep *step = palloc0(sizeof(EtlLineageStep));

		step->depth = 1;
		step->target = pstrdup(target);
		step->edge = *edge;
		if ((column != NULL && strcmp(edge->column_name, column) != 0) || is_told(steps, step))
			continue;
		steps = lappend(steps, step);
	}
	foreach(cell, depth == 1 ? NIL : list_copy(steps))
	{
		EtlColumnEdge *edge = &((EtlLineageStep *) lfirst(cell))->edge;
		const char *from = strcmp(edge->source_column, "*") == 0 ? NULL : edge->source_column;

		int			left = depth == 0 ? 0 : depth - 1;

		foreach(above, list_concat(etl_lineage_walk(edge->source, from, "upstream", left),
								   etl_lineage_of_view(edge->source, from, left)))
		{
			EtlLineageStep *step = lfirst(above);

			step->depth++;
			if (!is_told(steps, step))
				steps = lappend(steps, step);
		}
	}
	return steps;
}
