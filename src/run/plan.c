/*-------------------------------------------------------------------------
 *
 * plan.c
 *    What the next run would do with each node, and why.
 *
 * From state alone: no source is asked.  A stream is therefore always
 * "load", and a model below it is what it is as long as nothing arrives.
 * What is certain is carried down: a model below one that will be built is
 * built too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "catalog/ahead.h"
#include "catalog/child.h"
#include "model/model.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_plan);

/*
 * builds tells whether an action writes a relation that others read.
 */
static bool
builds(const char *action)
{
	return action != NULL && (strcmp(action, "create") == 0 || strcmp(action, "full") == 0 ||
							  strcmp(action, "incremental") == 0);
}

/*
 * follow_inputs turns "unchanged" into what the node will do because an
 * input of it is built before.  A view has nothing to do then, but those who
 * read it have.
 */
static void
follow_inputs(EtlNode *node)
{
	ListCell   *cell;

	foreach(cell, node->parents)
	{
		EtlNode    *parent = lfirst(cell);

		if (parent->model == NULL || !(parent->shows_built || (parent->selected && builds(parent->action))))
			continue;
		if (strcmp(node->model->materialized, "view") == 0)
		{
			node->shows_built = true;
			return;
		}
		node->action = strcmp(node->model->materialized, "incremental") == 0 ? "incremental" : "full";
		node->reason = psprintf("its input %s is built before", parent->name->canonical);
		return;
	}
}

/*
 * plan_node sets action and reason of one node.
 */
static void
plan_node(EtlNode *node, bool full_refresh, bool run)
{
	EtlModelPlan *plan;

	if (node->stream != NULL)
	{
		node->action = "load";
		node->reason = etl_stream_parent(node->stream) ?
						   psprintf("its rows come with %s", etl_stream_parent(node->stream)) :
						   psprintf("asks source \"%s\" for what is new", node->stream->source);
		return;
	}

	plan = etl_model_plan(node->model, full_refresh);
	if (plan->stop != NULL && run)
		etl_rethrow(plan->stop);
	node->action = plan->action;
	node->reason = plan->reason;
	node->planned_unchanged = strcmp(node->action, "unchanged") == 0;
	if (node->planned_unchanged)
		follow_inputs(node);
}

/*
 * etl_plan_nodes: see run.h.
 */
void
etl_plan_nodes(EtlGraph *graph, bool full_refresh, bool run)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "etl plan", ALLOCSET_DEFAULT_SIZES);

	etl_ahead_begin();
	PG_TRY();
	{
		for (int i = 0; i < graph->n; i++)
		{
			EtlNode    *node = graph->order[i];

			if (!node->selected || node->done)
				continue;
			/* the query trees of ten thousand models are not kept */
			MemoryContextSwitchTo(scratch);
			plan_node(node, full_refresh, run);
			MemoryContextSwitchTo(context);
			node->reason = node->reason ? pstrdup(node->reason) : NULL;
			MemoryContextReset(scratch);
		}
	}
	PG_FINALLY();
	{
		etl_ahead_end();
	}
	PG_END_TRY();
	MemoryContextDelete(scratch);
}

/*
 * compare_steps orders nodes by step, then by name.
 */
static int
compare_steps(const void *a, const void *b)
{
	const EtlNode *node_a = *(EtlNode *const *) a;
	const EtlNode *node_b = *(EtlNode *const *) b;

	if (node_a->step != node_b->step)
		return node_a->step - node_b->step;
	return strcmp(node_a->name->canonical, node_b->name->canonical);
}

/*
 * text_array makes a text[] of a list of strings.
 */
static Datum
text_array(List *names)
{
	Datum	   *items = palloc(sizeof(Datum) * Max(list_length(names), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, names)
		items[n++] = CStringGetTextDatum((char *) lfirst(cell));
	return PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * etl_sql_plan is etl.plan(selector, exclude, full_refresh).
 */
Datum
etl_sql_plan(PG_FUNCTION_ARGS)
{
	char	   *selector = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *exclude = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		full_refresh = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EtlGraph   *graph;
	EtlNode   **nodes;

	InitMaterializedSRF(fcinfo, 0);
	graph = etl_graph_load();
	etl_select(graph, selector, exclude);
	etl_plan_nodes(graph, full_refresh, false);

	nodes = palloc(sizeof(EtlNode *) * (graph->n + 1));
	memcpy(nodes, graph->order, sizeof(EtlNode *) * graph->n);
	if (graph->n > 0)
		qsort(nodes, graph->n, sizeof(EtlNode *), compare_steps);
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = nodes[i];
		Datum		values[6];
		bool		nulls[6] = {0};

		if (!node->selected)
			continue;
		values[0] = Int32GetDatum(node->step);
		values[1] = CStringGetTextDatum(node->name->canonical);
		values[2] = CStringGetTextDatum(node->kind);
		values[3] = CStringGetTextDatum(node->action);
		nulls[4] = node->reason == NULL;
		values[4] = node->reason ? CStringGetTextDatum(node->reason) : (Datum) 0;
		values[5] = text_array(node->depends_on);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
