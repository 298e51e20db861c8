/*-------------------------------------------------------------------------
 *
 * draw.c
 *    SQL function draw: what feeds what, as Mermaid or DOT.
 *
 * Nodes are numbered and their names are labels only, so that no name, with
 * whatever it is quoted, can be taken for syntax.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "common/errors.h"
#include "common/names.h"
#include "quality/quality.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_draw);

/* How a kind of thing looks in each format. */
typedef struct Shape
{
	const char *open;
	const char *close;
	const char *dot;
} Shape;

static const Shape stream_shape = {"[(", ")]", "cylinder"};
static const Shape view_shape = {"([", "])", "ellipse"};
static const Shape stored_shape = {"[", "]", "box"};
static const Shape foreign_shape = {"[/", "/]", "parallelogram"};

typedef struct Drawing
{
	bool		dot;
	List	   *names;			/* char *: what is drawn, numbered from 1 */
	StringInfoData text;
} Drawing;

/*
 * append_label quotes a name as a label: characters that a format gives a
 * meaning are written as their numbers, or with a backslash.
 */
static void
append_label(const Drawing *drawing, StringInfo text, const char *name)
{
	appendStringInfoChar(text, '"');
	for (; *name; name++)
	{
		if (drawing->dot && (*name == '"' || *name == '\\'))
			appendStringInfo(text, "\\%c", *name);
		else if (drawing->dot && *name == '&')
			appendStringInfoString(text, "&amp;");
		else if (drawing->dot && *name == '\n')
			appendStringInfoString(text, "\\n");
		else if (!drawing->dot && (strchr("\"#<>&`\\%;{}|:$", *name) || (unsigned char) *name < ' '))
			appendStringInfo(text, "#%d;", *name);
		else
			appendStringInfoChar(text, *name);
	}
	appendStringInfoChar(text, '"');
}

/*
 * number_of returns the number of a name; 0 when it is not drawn.
 */
static int
number_of(const Drawing *drawing, const char *name)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, drawing->names)
	{
		n++;
		if (strcmp(lfirst(cell), name) == 0)
			return n;
	}
	return 0;
}

/*
 * draw_node adds one thing, unless it is there or the caller may not see it.
 */
static void
draw_node(Drawing *drawing, char *name, const Shape *shape)
{
	StringInfo	text = &drawing->text;
	int			n;

	if (number_of(drawing, name) > 0 || !etl_target_visible(name, etl_name_relation(name)))
		return;
	drawing->names = lappend(drawing->names, name);
	n = list_length(drawing->names);
	if (drawing->dot)
		appendStringInfo(text, "    n%d [shape=%s, label=", n, shape->dot);
	else
		appendStringInfo(text, "    n%d%s", n, shape->open);
	append_label(drawing, text, name);
	appendStringInfo(text, "%s\n", drawing->dot ? "];" : shape->close);
}

/*
 * draw_edges adds what feeds a node.
 */
static void
draw_edges(Drawing *drawing, const EtlNode *node)
{
	int			to = number_of(drawing, node->name->canonical);
	ListCell   *cell;

	foreach(cell, to ? node->depends_on : NIL)
	{
		int			from = number_of(drawing, lfirst(cell));

		if (from > 0)
			appendStringInfo(&drawing->text,
							 drawing->dot ? "    n%d -> n%d;\n" : "    n%d --> n%d\n", from, to);
	}
}

/*
 * etl_sql_draw: see the comment of etl.draw.
 */
Datum
etl_sql_draw(PG_FUNCTION_ARGS)
{
	char	   *format = PG_ARGISNULL(1) ? "mermaid" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	Drawing		drawing = {.dot = strcmp(format, "dot") == 0};
	EtlGraph   *graph;
	ListCell   *cell;

	if (!drawing.dot && strcmp(format, "mermaid") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("invalid value for argument \"format\": \"%s\"", format),
				 errhint("Use mermaid or dot.")));
	graph = etl_graph_load();
	etl_select(graph, PG_ARGISNULL(0) ? "*" : text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL);
	initStringInfo(&drawing.text);
	appendStringInfoString(&drawing.text,
						   drawing.dot ? "digraph etl {\n    rankdir=LR;\n" : "flowchart LR\n");
	for (int i = 0; i < graph->n; i++)
		if (graph->order[i]->selected)
			draw_node(&drawing, graph->order[i]->name->canonical,
					  graph->order[i]->stream									? &stream_shape :
					  strcmp(graph->order[i]->model->materialized, "view") == 0 ? &view_shape :
																				  &stored_shape);
	for (int i = 0; i < graph->n; i++)
		foreach(cell, graph->order[i]->selected ? graph->order[i]->depends_on : NIL)
			if (etl_graph_find(graph, lfirst(cell)) == NULL)
				draw_node(&drawing, lfirst(cell), &foreign_shape);
	for (int i = 0; i < graph->n; i++)
		if (graph->order[i]->selected)
			draw_edges(&drawing, graph->order[i]);
	if (drawing.dot)
		appendStringInfoString(&drawing.text, "}\n");
	PG_RETURN_TEXT_P(cstring_to_text(drawing.text.data));
}
