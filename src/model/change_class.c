/*-------------------------------------------------------------------------
 *
 * change_class.c
 *    What a change of a definition means: nothing, additive, or breaking.
 *
 * Both queries are analyzed and deparsed, so that layout and comments do not
 * count.  A change that only adds columns is additive.  Where what is read
 * and which rows come of it stay the same, only the columns whose
 * expressions differ change; otherwise all of them may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "catalog/kept.h"
#include "catalog/lineage.h"
#include "catalog/version.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

PG_FUNCTION_INFO_V1(etl_sql_impact);

/* options that say nothing about the relation or its rows */
static const char *const of_running[] = {"pool", "retry", "timeout", "statement_timeout", "trigger_rule",
										 "run_if", "fallback", "publish", "keep_versions", "contract",
										 "deprecated_on", "replaced_by", "backfill", NULL};

/*
 * forget_aliases calls every relation by its name: by which alias a query
 * calls it means nothing.
 */
static bool
forget_aliases(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && (rte->alias == NULL || rte->alias->colnames == NIL))
		{
			rte->alias = NULL;
			rte->eref->aliasname = get_rel_name(rte->relid);
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, forget_aliases, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, forget_aliases, context);
}

/*
 * analyze returns the analyzed query of a model, without its aliases.
 */
static Query *
analyze(const EtlModel *model)
{
	EtlRunAs	as;
	Query	   *query;

	etl_run_as_begin(&as, model->owner, model->settings);
	query = etl_query_analyze(model->query, NULL);
	etl_run_as_end(&as);
	(void) forget_aliases((Node *) query, NULL);
	return query;
}

/*
 * find_entry returns the output column of a name; NULL when there is none.
 */
static TargetEntry *
find_entry(Query *query, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (!entry->resjunk && strcmp(entry->resname, name) == 0)
			return entry;
	}
	return NULL;
}

/*
 * only deparses a query with one of its columns (NULL: none), and what it
 * groups and sorts by.  Set operations stay whole.
 */
static char *
only(Query *query, const char *name)
{
	Query	   *copy = copyObject(query);
	List	   *kept = NIL;
	ListCell   *cell;

	if (copy->setOperations != NULL)
		return etl_query_deparse(copy);
	foreach(cell, copy->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		bool		wanted = !entry->resjunk && name && strcmp(entry->resname, name) == 0;

		if (!wanted && entry->ressortgroupref == 0)
			continue;
		entry->resjunk = !wanted;
		entry->resno = list_length(kept) + 1;
		kept = lappend(kept, entry);
	}
	copy->targetList = kept;
	return etl_query_deparse(copy);
}

/*
 * add adds a change of a column (NULL: of which rows there are).
 */
static List *
add(List *changes, const char *column, const char *what)
{
	EtlColumnChange *change = palloc0(sizeof(EtlColumnChange));

	change->column = column ? pstrdup(column) : NULL;
	change->what = what;
	return lappend(changes, change);
}

/*
 * compare_queries lists the changes from one query to another.
 */
static List *
compare_queries(Query *old, Query *new)
{
	List	   *changes = NIL;
	bool		same_rows = strcmp(only(old, NULL), only(new, NULL)) == 0 && old->setOperations == NULL &&
					 new->setOperations == NULL;
	ListCell   *cell;

	if (strcmp(etl_query_deparse(old), etl_query_deparse(new)) == 0)
		return NIL;
	if (!same_rows)
		changes = add(changes, NULL, "rows");
	foreach(cell, old->targetList)
	{
		TargetEntry *was = lfirst_node(TargetEntry, cell);
		TargetEntry *is = was->resjunk ? NULL : find_entry(new, was->resname);

		if (was->resjunk)
			continue;
		if (is == NULL)
			changes = add(changes, was->resname, "removed");
		else if (exprType((Node *) was->expr) != exprType((Node *) is->expr) ||
				 exprTypmod((Node *) was->expr) != exprTypmod((Node *) is->expr))
			changes = add(changes, was->resname, "retyped");
		else if (same_rows && strcmp(only(old, was->resname), only(new, was->resname)) != 0)
			changes = add(changes, was->resname, "redefined");
	}
	foreach(cell, new->targetList)
	{
		TargetEntry *is = lfirst_node(TargetEntry, cell);

		if (!is->resjunk && find_entry(old, is->resname) == NULL)
			changes = add(changes, is->resname, "added");
	}
	/* the columns only changed places */
	return changes == NIL ? add(changes, NULL, "order") : changes;
}

/*
 * same_shape tells whether two definitions agree but for their queries and
 * what does not touch the relation.
 */
static bool
same_shape(const EtlModel *a, const EtlModel *b)
{
	Jsonb	   *options[2] = {a->options, b->options};
	EtlModel	one = *a;
	EtlModel	two = *b;

	for (int i = 0; i < 2; i++)
		for (int o = 0; of_running[o]; o++)
			options[i] = etl_json_without(options[i], of_running[o]);
	one.options = options[0];
	two.options = options[1];
	one.query = two.query = "";
	one.tags = two.tags = NIL;
	one.description = two.description = NULL;
	/* names mean what the analyzed queries say */
	one.settings = etl_json_without(a->settings, "search_path");
	two.settings = etl_json_without(b->settings, "search_path");
	return etl_model_same(&one, &two);
}

EtlModelChange *
etl_model_change(const EtlModel *old, const EtlModel *new)
{
	EtlModelChange *change = palloc0(sizeof(EtlModelChange));
	ListCell   *cell;

	change->columns = compare_queries(analyze(old), analyze(new));
	if (!same_shape(old, new))
		change->columns = add(change->columns, NULL, "options");
	change->class = change->columns == NIL ? "none" : "additive";
	foreach(cell, change->columns)
		if (strcmp(((EtlColumnChange *) lfirst(cell))->what, "added") != 0)
			change->class = "breaking";
	return change;
}

void
etl_model_follow_none(const EtlModel *old, const EtlModel *new)
{
	EtlNodeState *state = etl_node_state_get(new->target);
	EtlModel   *stored = etl_model_get(new->target);
	Oid			relid = etl_name_relation(new->target);
	EtlRunAs	as;

	if (!old->resolved || state->built_version != old->version || !OidIsValid(relid) ||
		etl_model_missing(old) != NULL || strcmp(etl_model_change(old, new)->class, "none") != 0)
		return;
	etl_node_served_as(new->target, stored->version);
	etl_run_as_begin(&as, new->owner, NULL);
	etl_table_comment(new, get_rel_relkind(relid) == RELKIND_VIEW	 ? "VIEW" :
						   get_rel_relkind(relid) == RELKIND_MATVIEW ? "MATERIALIZED VIEW" :
																	   "TABLE");
	etl_run_as_end(&as);
}

EtlModel *
etl_model_served(const EtlModel *model)
{
	EtlVersion *version = etl_version_find("model", model->target,
										   etl_node_state_get(model->target)->built_version);
	EtlModel   *copy;

	if (version == NULL || version->definition == NULL)
		return NULL;
	copy = palloc(sizeof(EtlModel));
	*copy = *model;
	copy->query = etl_json_get_text(version->definition, "query");
	copy->options = etl_json_get(version->definition, "options");
	copy->settings = etl_json_get(version->definition, "settings");
	copy->materialized = etl_json_get_text(version->definition, "materialized");
	copy->key = etl_json_get_list(version->definition, "key");
	return copy;
}

/* ---- etl.impact ---- */

/*
 * effect_on says what a change does to a column that is made of the changed one.
 */
static const char *
effect_on(const EtlColumnChange *change)
{
	if (strcmp(change->what, "removed") == 0)
		return "breaks";
	return strcmp(change->what, "retyped") == 0 ? "may break, or change its type" : "its values may change";
}

/*
 * put adds a row of the result.
 */
static void
put(ReturnSetInfo *result, const char *class, const char *column, const char *what,
	const EtlLineageStep *step, const char *effect)
{
	const char *texts[7] = {class, column, what, NULL, step ? step->target : NULL,
							step ? step->edge.column_name : NULL, effect};
	Datum		values[7];
	bool		nulls[7];

	for (int i = 0; i < 7; i++)
	{
		nulls[i] = texts[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	nulls[3] = step == NULL;
	values[3] = step ? Int32GetDatum(step->depth) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * put_change adds a change and every column downstream of it, each once.
 */
static void
put_change(ReturnSetInfo *result, const char *target, const EtlModelChange *all,
		   const EtlColumnChange *change)
{
	List	   *seen = NIL;
	ListCell   *cell;

	put(result, all->class, change->column, change->what, NULL, NULL);
	if (strcmp(change->what, "added") == 0 || strcmp(change->what, "order") == 0 ||
		strcmp(change->what, "options") == 0)
		return;
	foreach(cell, etl_lineage_walk(target, change->column, "downstream", 0))
	{
		EtlLineageStep *step = lfirst(cell);
		String	   *key = makeString(psprintf("%s %s", step->target, step->edge.column_name));

		if (list_member(seen, key) || etl_is_environment_node(step->target))
			continue;
		seen = lappend(seen, key);
		put(result, all->class, change->column, change->what, step, effect_on(change));
	}
}

/*
 * etl_sql_impact: see the comment of etl.impact.
 */
Datum
etl_sql_impact(PG_FUNCTION_ARGS)
{
	char	   *target = etl_environment_resolve(etl_name_canonical(etl_arg_required(fcinfo, 0, "target")));
	EtlModel   *model = etl_model_get(target);
	EtlModel	changed = *model;
	EtlModel   *before = model;
	EtlModelChange *change;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	etl_check_owner(model->owner, "model", target);
	if (PG_ARGISNULL(1))
		before = etl_model_served(model);
	else
	{
		changed.query = etl_arg_text(fcinfo, 1);
		changed.settings = etl_settings_capture();
	}
	if (before == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNRESOLVED), errmsg("model %s was never built", target),
				 errhint("Give the query that is to be compared with its definition.")));
	(void) etl_query_parse(changed.query);
	PushActiveSnapshot(GetTransactionSnapshot());
	change = etl_model_change(before, &changed);
	if (change->columns == NIL)
		put((ReturnSetInfo *) fcinfo->resultinfo, change->class, NULL, "none", NULL, NULL);
	foreach(cell, change->columns)
		put_change((ReturnSetInfo *) fcinfo->resultinfo, target, change, lfirst(cell));
	PopActiveSnapshot();
	return (Datum) 0;
}
