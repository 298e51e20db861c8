/*-------------------------------------------------------------------------
 *
 * check.c
 *    etl.check: the checks of what a selector picks, evaluated now.
 *
 * A relation that is no node may have checks too, so names and patterns are
 * looked for among everything that is checked; a selector that speaks of the
 * graph (+ @ , tag: source: …) picks among its nodes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "quality/quality.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_check);

/*
 * speaks_of_graph tells whether a selector has an operator of the graph
 * outside quoted names.
 */
static bool
speaks_of_graph(const char *selector)
{
	bool		quoted = false;

	for (; *selector; selector++)
	{
		if (*selector == '"')
			quoted = !quoted;
		else if (!quoted && strchr("+@:,", *selector) != NULL)
			return true;
	}
	return false;
}

/*
 * selected_targets lists the checked relations among the nodes that a
 * selector picks.
 */
static List *
selected_targets(const char *selector)
{
	EtlGraph   *graph = etl_graph_load();
	List	   *targets = NIL;
	ListCell   *cell;

	etl_select(graph, selector, NULL);
	foreach(cell, etl_check_targets("*"))
	{
		EtlNode    *node = etl_graph_find(graph, lfirst(cell));

		if (node != NULL && node->selected)
			targets = lappend(targets, lfirst(cell));
	}
	return targets;
}

/*
 * etl_sql_check is etl.check(selector).
 */
Datum
etl_sql_check(PG_FUNCTION_ARGS)
{
	char	   *selector = PG_ARGISNULL(0) ? "*" : text_to_cstring(PG_GETARG_TEXT_PP(0));

	InitMaterializedSRF(fcinfo, 0);
	etl_check_and_store(speaks_of_graph(selector) ? selected_targets(selector) :
													etl_check_targets(selector),
						(ReturnSetInfo *) fcinfo->resultinfo);
	PG_RETURN_NULL();
}
