/*-------------------------------------------------------------------------
 *
 * groups.c
 *    Which models publish together.
 *
 * Because the run or their definition says so, or because a foreign key links
 * them: then readers never see a child without its parent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/graph.h"
#include "common/json.h"
#include "run/run.h"

/*
 * join puts two nodes, and whoever is grouped with them, into one group.
 */
static void
join(EtlGraph *graph, EtlNode *a, EtlNode *b)
{
	int			from = b->group;

	if (a->group == 0)
		a->group = a->index + 1;
	if (from == 0)
		b->group = a->group;
	else
		for (int i = 0; i < graph->n; i++)
			if (graph->nodes[i]->group == from)
				graph->nodes[i]->group = a->group;
}

/*
 * close_groups adds the models that lie between members of a group: they
 * need one member and are needed by another.
 */
static void
close_groups(EtlGraph *graph)
{
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *member = graph->nodes[i];
		Bitmapset  *below;
		int			k = -1;

		if (member->group == 0)
			continue;
		below = etl_graph_walk(graph, member, false, -1);
		while ((k = bms_next_member(below, k)) >= 0)
		{
			EtlNode    *node = graph->nodes[k];
			Bitmapset  *further;
			int			m = -1;

			if (!node->selected || node->group == member->group)
				continue;
			further = etl_graph_walk(graph, node, false, -1);
			while ((m = bms_next_member(further, m)) >= 0)
				if (graph->nodes[m]->group == member->group)
				{
					join(graph, member, node);
					break;
				}
		}
	}
}

/*
 * etl_groups_make finds the models that publish together: because the run or
 * their definition says so, or because a foreign key links them.
 */
void
etl_groups_make(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;
	bool		all = strcmp(state->run.publish, "together") == 0;
	EtlNode    *first = NULL;
	ListCell   *cell;

	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];
		char	   *publish = node->model ? etl_json_get_text(node->model->options, "publish") : NULL;

		if (!node->selected || node->model == NULL)
			continue;
		if (!all && (publish == NULL || strcmp(publish, "together") != 0))
			continue;
		if (first != NULL)
			join(graph, first, node);
		else
			first = node;
	}

	foreach(cell, etl_foreign_keys_all())
	{
		EtlNamePair *pair = lfirst(cell);
		EtlNode    *child = etl_graph_find(graph, pair->node);
		EtlNode    *parent = etl_graph_find(graph, pair->other);

		if (!child || !parent || !child->selected || !parent->selected)
			continue;
		join(graph, parent, child);
		etl_graph_add_reference(graph, child, parent);
	}
	close_groups(graph);
}

/*
 * etl_groups_link orders the members of groups that a leader has made by
 * their foreign keys, as etl_groups_make does.
 */
void
etl_groups_link(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;
	ListCell   *cell;

	foreach(cell, etl_foreign_keys_all())
	{
		EtlNamePair *pair = lfirst(cell);
		EtlNode    *child = etl_graph_find(graph, pair->node);
		EtlNode    *parent = etl_graph_find(graph, pair->other);

		if (child && parent && child->group != 0 && child->group == parent->group)
			etl_graph_add_reference(graph, child, parent);
	}
}

/*
 * etl_group_members lists the open nodes that a node is worked on with, parents first.
 */
List *
etl_group_members(EtlGraph *graph, EtlNode *node)
{
	List	   *nodes = NIL;

	if (node->group == 0)
		return list_make1(node);
	for (int i = 0; i < graph->n; i++)
		if (graph->order[i]->group == node->group && !graph->order[i]->done)
			nodes = lappend(nodes, graph->order[i]);
	return nodes;
}
