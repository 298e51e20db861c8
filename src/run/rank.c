/*-------------------------------------------------------------------------
 *
 * rank.c
 *    How long the way is from a node to the end of the run.
 *
 * With several at work, the node with the longest way goes first: otherwise
 * a long branch may begin when the short ones are done.  How long a node
 * takes is the average of its last successes; of a node without any, the
 * average of those that have some.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "catalog/tasks.h"
#include "run/run.h"

/* what a node costs that has nothing to do, or of which nothing is known at all */
#define SECONDS_OF_NOTHING 0.001
#define SECONDS_UNKNOWN	   1.0

/*
 * compare_ranks orders nodes by the longest way first.
 */
static int
compare_ranks(const void *a, const void *b)
{
	const EtlNode *node_a = *(EtlNode *const *) a;
	const EtlNode *node_b = *(EtlNode *const *) b;

	if (node_a->rank != node_b->rank)
		return node_a->rank > node_b->rank ? -1 : 1;
	return node_a->level != node_b->level ? node_a->level - node_b->level :
											strcmp(node_a->name->canonical, node_b->name->canonical);
}

/*
 * etl_rank_sort makes the order in which nodes are looked at.
 */
void
etl_rank_sort(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;

	if (state->sequence == NULL)
		state->sequence = MemoryContextAlloc(state->driver.context,
											 sizeof(EtlNode *) * Max(graph->n, 1));
	memcpy(state->sequence, graph->nodes, sizeof(EtlNode *) * graph->n);
	if (graph->n > 0)
		qsort(state->sequence, graph->n, sizeof(EtlNode *), compare_ranks);
}

/*
 * etl_rank_nodes: see run.h.
 */
void
etl_rank_nodes(EtlRunState *state)
{
	EtlGraph   *graph = state->graph;
	double		sum = 0;
	int			known = 0;
	ListCell   *cell;

	foreach(cell, etl_tasks_seconds())
	{
		EtlNodeSeconds *entry = lfirst(cell);
		EtlNode    *node = etl_graph_find(graph, entry->node);

		if (node == NULL)
			continue;
		node->seconds = Max(entry->seconds, SECONDS_OF_NOTHING);
		sum += node->seconds;
		known++;
	}

	/* children come after their parents in the order */
	for (int i = graph->n - 1; i >= 0; i--)
	{
		EtlNode    *node = graph->order[i];
		double		own = node->seconds > 0 ? node->seconds : known > 0 ? sum / known :
																	 SECONDS_UNKNOWN;
		double		below = 0;

		if (!node->selected || node->done)
			own = 0;
		else if (node->planned_unchanged)
			own = SECONDS_OF_NOTHING;
		foreach(cell, node->children)
			below = Max(below, ((EtlNode *) lfirst(cell))->rank);
		node->rank = own + below;
	}
	etl_rank_sort(state);
}
