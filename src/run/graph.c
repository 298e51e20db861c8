/*-------------------------------------------------------------------------
 *
 * graph.c
 *    The nodes and their order.
 *
 * The graph is read whole at the beginning of a run or plan: two lists of
 * definitions and one of edges, whatever the number of nodes.  An edge to a
 * relation that is no node stays a name.  Order is by longest path from a
 * root, then by name, so that it is the same every time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "catalog/environment.h"
#include "catalog/graph.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/names.h"
#include "model/model.h"
#include "run/run.h"

typedef struct NameEntry
{
	char		name[2 * (2 * NAMEDATALEN + 3)];
	EtlNode    *node;
} NameEntry;

/*
 * compare_names orders nodes by canonical name.
 */
static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(EtlNode *const *) a)->name->canonical, (*(EtlNode *const *) b)->name->canonical);
}

/*
 * compare_levels orders nodes parents first, then by name.
 */
static int
compare_levels(const void *a, const void *b)
{
	int			level_a = (*(EtlNode *const *) a)->level;
	int			level_b = (*(EtlNode *const *) b)->level;

	return level_a != level_b ? level_a - level_b : compare_names(a, b);
}

/*
 * make_node begins a node of a definition.
 */
static EtlNode *
make_node(const char *target, const char *kind, char *owner, int version, List *tags)
{
	EtlNode    *node = palloc0(sizeof(EtlNode));

	node->name = etl_name_parse(target);
	node->kind = kind;
	node->owner = owner;
	node->version = version;
	node->tags = tags;
	return node;
}

/*
 * etl_graph_find returns the node of a canonical name, or NULL.
 */
EtlNode *
etl_graph_find(EtlGraph *graph, const char *canonical)
{
	NameEntry  *entry = hash_search(graph->by_name, canonical, HASH_FIND, NULL);

	return entry ? entry->node : NULL;
}

/*
 * etl_graph_names lists the names of all nodes.
 */
List *
etl_graph_names(EtlGraph *graph)
{
	List	   *names = NIL;

	for (int i = 0; i < graph->n; i++)
		names = lappend(names, graph->nodes[i]->name->canonical);
	return names;
}

/*
 * add_edge makes 'node' depend on the relation 'other'.
 */
static void
add_edge(EtlGraph *graph, EtlNode *node, char *other)
{
	EtlNode    *parent = etl_graph_find(graph, other);

	node->depends_on = lappend(node->depends_on, other);
	if (parent == NULL || parent == node)
		return;
	node->parents = lappend(node->parents, parent);
	parent->children = lappend(parent->children, node);
}

/*
 * link_nodes makes 'child' come after 'parent', unless a path leads from it
 * to the parent: what a query reads goes before what a constraint wants.
 */
static void
link_nodes(EtlGraph *graph, EtlNode *child, EtlNode *parent)
{
	if (child == parent || list_member_ptr(child->parents, parent) ||
		bms_is_member(parent->index, etl_graph_walk(graph, child, false, -1)))
		return;
	child->parents = lappend(child->parents, parent);
	parent->children = lappend(parent->children, child);
}

/*
 * raise_cycle reports the circle that ends where 'path' meets 'again'.
 */
static void
raise_cycle(List *path, EtlNode *again)
{
	StringInfoData text;
	bool		inside = false;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, path)
	{
		EtlNode    *node = lfirst(cell);

		inside = inside || node == again;
		if (inside)
			appendStringInfo(&text, "%s -> ", node->name->canonical);
	}
	ereport(ERROR,
			(errcode(ETL_ERR_CYCLE),
			 errmsg("models depend on each other in a circle: %s%s", text.data,
					again->name->canonical),
			 errhint("Take one of these references out of its model.")));
}

/*
 * find_level computes the level of a node and of what is above it.  A level
 * of -2 means that the node is on the path that is being walked.
 */
static int
find_level(EtlNode *node, List *path)
{
	int			level = 0;
	ListCell   *cell;

	check_stack_depth();
	if (node->level == -2)
		raise_cycle(path, node);
	if (node->level >= 0)
		return node->level;

	node->level = -2;
	path = lappend(list_copy(path), node);
	foreach(cell, node->parents)
		level = Max(level, 1 + find_level(lfirst(cell), path));
	list_free(path);
	return node->level = level;
}

/*
 * sort_graph puts parents before children.
 */
static void
sort_graph(EtlGraph *graph)
{
	for (int i = 0; i < graph->n; i++)
		graph->nodes[i]->level = -1;
	for (int i = 0; i < graph->n; i++)
	{
		(void) find_level(graph->nodes[i], NIL);
		graph->order[i] = graph->nodes[i];
	}
	if (graph->n > 0)
		qsort(graph->order, graph->n, sizeof(EtlNode *), compare_levels);
}

/*
 * is_here tells whether a node belongs to where the session is at work: to
 * its environment, or to none.  *stands_for is the node of production that
 * one of the environment stands for.
 */
static bool
is_here(List *aside, const char *target, EtlName **stands_for)
{
	bool		on = etl_environment_on();
	ListCell   *cell;

	*stands_for = NULL;
	foreach(cell, aside)
	{
		EtlEnvironmentNode *node = lfirst(cell);

		if (strcmp(node->node, target) != 0)
			continue;
		*stands_for = etl_name_parse(node->target);
		return on && strcmp(node->part, etl_environment) == 0;
	}
	return !on;
}

/*
 * load_nodes reads the definitions.
 */
static void
load_nodes(EtlGraph *graph)
{
	List	   *streams;
	List	   *models;
	List	   *aside;
	ListCell   *cell;

	if (etl_environment_on())
		etl_environment_complete();
	streams = etl_stream_all();
	models = etl_model_all();
	aside = etl_environment_nodes_all();
	graph->nodes = palloc(sizeof(EtlNode *) * (list_length(streams) + list_length(models) + 1));
	graph->order = palloc(sizeof(EtlNode *) * (list_length(streams) + list_length(models) + 1));
	foreach(cell, streams)
	{
		EtlStream  *stream = lfirst(cell);
		EtlName    *stands_for;
		EtlNode    *node;

		if (!is_here(aside, stream->target, &stands_for))
			continue;
		node = make_node(stream->target, "stream", stream->owner, stream->version, stream->tags);
		node->stands_for = stands_for;
		node->stream = stream;
		graph->nodes[graph->n++] = node;
	}
	foreach(cell, models)
	{
		EtlModel   *model = lfirst(cell);
		EtlName    *stands_for;
		EtlNode    *node;

		if (!is_here(aside, model->target, &stands_for))
			continue;
		node = make_node(model->target, "model", model->owner, model->version, model->tags);
		node->stands_for = stands_for;
		node->model = model;
		graph->nodes[graph->n++] = node;
	}
	if (graph->n > 0)
		qsort(graph->nodes, graph->n, sizeof(EtlNode *), compare_names);
}

typedef struct Naming
{
	const EtlModel *model;
	List	   *names;
} Naming;

/*
 * find_names finds what a model reads; an argument of etl_subxact.
 */
static void
find_names(void *arg)
{
	Naming	   *naming = arg;

	naming->names = etl_model_names(naming->model);
}

/*
 * compare_texts compares two texts of a list.
 */
static int
compare_texts(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * correct_guesses finds the edges of models that could not be resolved when
 * they were defined: a name without a schema may mean a node that was defined
 * later.  What would close a circle, or cannot be found out, stays a name: the
 * attempt at the model says why.
 */
static void
correct_guesses(EtlGraph *graph, List *nodes)
{
	ListCell   *cell;
	ListCell   *name;

	foreach(cell, nodes)
	{
		EtlNode    *node = lfirst(cell);
		Naming		naming = {.model = node->model};

		if (etl_subxact(find_names, &naming) != NULL)
			continue;
		list_sort(naming.names, compare_texts);
		node->depends_on = naming.names;
		foreach(name, naming.names)
		{
			EtlNode    *parent = etl_graph_find(graph, lfirst(name));

			if (parent != NULL)
				link_nodes(graph, node, parent);
		}
	}
}

/*
 * etl_graph_load reads all nodes and edges, in the current memory context.
 */
EtlGraph *
etl_graph_load(void)
{
	EtlGraph   *graph = palloc0(sizeof(EtlGraph));
	HASHCTL		control = {0};
	List	   *guessed = NIL;
	ListCell   *cell;

	load_nodes(graph);
	control.keysize = sizeof(((NameEntry *) 0)->name);
	control.entrysize = sizeof(NameEntry);
	control.hcxt = CurrentMemoryContext;
	graph->by_name = hash_create("etl nodes", Max(graph->n, 16), &control,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < graph->n; i++)
	{
		NameEntry  *entry = hash_search(graph->by_name, graph->nodes[i]->name->canonical,
									   HASH_ENTER, NULL);

		graph->nodes[i]->index = i;
		entry->node = graph->nodes[i];
	}

	foreach(cell, etl_dependencies_all())
	{
		EtlNamePair *pair = lfirst(cell);
		EtlNode    *node = etl_graph_find(graph, pair->node);

		if (node == NULL)
			continue;
		add_edge(graph, node, pair->other);
		if (node->model != NULL && !node->model->resolved && etl_graph_find(graph, pair->other) == NULL &&
			!OidIsValid(etl_name_relation(pair->other)) && (guessed == NIL || llast(guessed) != node))
			guessed = lappend(guessed, node);
	}
	correct_guesses(graph, guessed);
	foreach(cell, etl_built_versions())
	{
		EtlBuiltVersion *built = lfirst(cell);
		EtlNode    *node = etl_graph_find(graph, built->target);

		if (node != NULL)
			node->built_version = built->version;
	}
	sort_graph(graph);
	return graph;
}

/*
 * same_names tells whether two lists hold the same names.
 */
static bool
same_names(List *a, List *b)
{
	ListCell   *cell;
	ListCell   *other;

	if (list_length(a) != list_length(b))
		return false;
	/* both come in the order of names */
	forboth(cell, a, other, b)
		if (strcmp(lfirst(cell), lfirst(other)) != 0)
			return false;
	return true;
}

/*
 * etl_graph_refresh reads one node's dependencies again, after its query was
 * analyzed, and sorts again when they are others than its names told: of ten
 * thousand new models none may cost a look at all.  Raises ET003 when it
 * closes a circle.
 */
bool
etl_graph_refresh(EtlGraph *graph, EtlNode *node)
{
	List	   *names = etl_dependencies_of(node->name->canonical);
	ListCell   *cell;

	if (same_names(names, node->depends_on))
		return false;
	foreach(cell, node->parents)
	{
		EtlNode    *parent = lfirst(cell);

		parent->children = list_delete_ptr(parent->children, node);
	}
	node->parents = NIL;
	node->depends_on = NIL;
	foreach(cell, names)
		add_edge(graph, node, lfirst(cell));
	foreach(cell, node->references)
		link_nodes(graph, node, lfirst(cell));
	sort_graph(graph);
	return true;
}

/*
 * etl_graph_add_reference makes 'child' come after 'parent', because a
 * foreign key wants the parent's rows first.
 */
void
etl_graph_add_reference(EtlGraph *graph, EtlNode *child, EtlNode *parent)
{
	child->references = lappend(child->references, parent);
	link_nodes(graph, child, parent);
	sort_graph(graph);
}

/*
 * etl_graph_walk collects the ancestors (up) or descendants of a node.
 */
Bitmapset *
etl_graph_walk(EtlGraph *graph, EtlNode *from, bool up, int depth)
{
	Bitmapset  *found = NULL;
	List	   *frontier = list_make1(from);

	while (frontier != NIL && depth-- != 0)
	{
		List	   *next = NIL;
		ListCell   *cell;

		foreach(cell, frontier)
		{
			EtlNode    *node = lfirst(cell);
			ListCell   *neighbour;

			foreach(neighbour, up ? node->parents : node->children)
			{
				EtlNode    *other = lfirst(neighbour);

				if (bms_is_member(other->index, found))
					continue;
				found = bms_add_member(found, other->index);
				next = lappend(next, other);
			}
		}
		frontier = next;
	}
	return found;
}

/*
 * etl_graph_number_steps gives every selected node its step: one more than
 * the greatest step among the selected nodes above it.
 */
void
etl_graph_number_steps(EtlGraph *graph)
{
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->order[i];
		ListCell   *cell;

		node->step = 0;
		foreach(cell, node->parents)
			node->step = Max(node->step, ((EtlNode *) lfirst(cell))->step);
		if (node->selected)
			node->step++;
	}
}
