/*-------------------------------------------------------------------------
 *
 * compile.c
 *    The SQL that the next run would execute, for people to read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/snapmgr.h"

#include "common/run_as.h"
#include "model/internal.h"

/*
 * show_as_cte makes references to etl_affected deparse by that name.
 */
static bool
show_as_cte(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, show_as_cte, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_NAMEDTUPLESTORE)
		{
			rte->rtekind = RTE_CTE;
			rte->ctename = rte->enrname;
			rte->ctelevelsup = 0;
		}
		return false;
	}
	return expression_tree_walker(node, show_as_cte, context);
}

/*
 * delta_sql renders the query of an incremental build.
 */
static char *
delta_sql(EtlDelta *delta)
{
	QueryEnvironment *environment = etl_incremental_shape(delta);
	StringInfoData keys;
	Query	   *query;
	ListCell   *cell;

	initStringInfo(&keys);
	if (!delta->append)
		foreach(cell, etl_delta_finders(delta, environment))
		{
			show_as_cte(lfirst(cell), NULL);
			appendStringInfo(&keys, "%s%s", keys.len ? "\nUNION\n" : "", etl_query_deparse(lfirst(cell)));
		}
	query = etl_delta_rewrite(delta, false, environment);
	if (delta->append)
		return etl_query_deparse(query);
	show_as_cte((Node *) query, NULL);
	return psprintf("WITH etl_affected AS (\n%s\n)\nSELECT * FROM (\n%s\n) etl_staged", keys.data,
					etl_query_deparse(query));
}

/*
 * slice_sql renders the query of the first slice that is due.
 */
static char *
slice_sql(const EtlModel *model, EtlDue *due)
{
	EtlDelta   *delta;

	if (due->slices == NIL)
		return psprintf("-- no interval is due\n%s", etl_query_deparse(due->query));
	due->slice = linitial(due->slices);
	delta = etl_slice_delta(model, due);
	return psprintf("-- interval %s, the first of %d that are due\n%s",
					etl_slice_text(due->slicing, due->slice->since, due->slice->until),
					list_length(due->slices),
					etl_query_deparse(etl_delta_rewrite(delta, false, create_queryEnv())));
}

/*
 * sampled_sql renders the query of a build of a part of its inputs: with
 * views and row policies in place, as it is executed.
 */
static char *
sampled_sql(const EtlDue *due)
{
	Query	   *query = copyObject(due->query);

	AcquireRewriteLocks(query, true, false);
	query = linitial_node(Query, QueryRewrite(query));
	etl_sample_apply(query, due->sample);
	return etl_query_deparse(query);
}

char *
etl_model_compile(const EtlModel *model)
{
	EtlDue	   *due;
	EtlRunAs	as;
	char	   *sql;

	PushActiveSnapshot(GetTransactionSnapshot());
	due = etl_due(model, false);
	etl_run_as_begin(&as, model->owner, model->settings);
	if (due->query == NULL)
		sql = psprintf("-- unresolved: %s\n%s", due->plan.reason, etl_query_text(model->query));
	else if (due->sliced && strcmp(due->plan.action, "unchanged") != 0)
		sql = slice_sql(model, due);
	else if (strcmp(due->plan.action, "incremental") == 0 && due->delta == NULL)
		sql = psprintf("-- %s\n%s", due->plan.reason, etl_query_deparse(due->query));
	else if (strcmp(due->plan.action, "incremental") == 0)
		sql = delta_sql(due->delta);
	else if (strcmp(model->materialized, "view") == 0)
		sql = psprintf("CREATE OR REPLACE VIEW %s AS\n%s", model->target, etl_query_deparse(due->query));
	else if (due->sampled)
		sql = sampled_sql(due);
	else
		sql = etl_query_deparse(due->query);
	etl_run_as_end(&as);
	PopActiveSnapshot();
	return sql;
}
