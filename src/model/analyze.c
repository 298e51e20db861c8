/*-------------------------------------------------------------------------
 *
 * analyze.c
 *    What an analyzed query reads: dependencies and inputs.
 *
 * PostgreSQL's own analyzer resolved every name; nothing here guesses.
 * Views that etl manages are nodes and end the search; other views are
 * looked through to the relations behind them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/internal.h"

typedef struct DependencyContext
{
	List	   *names;
	List	   *functions;		/* oids seen */
} DependencyContext;

/*
 * etl_query_analyze parses and analyzes one statement under the settings
 * in force; relations it reads stay locked to the end of the transaction.
 */
Query *
etl_query_analyze(const char *query, QueryEnvironment *environment)
{
	RawStmt    *statement = linitial_node(RawStmt, etl_parse(query));
	EtlQueryText text;
	Query	   *result;

	etl_query_text_begin(&text, query);
	result = parse_analyze_fixedparams(statement, query, NULL, 0, environment);
	etl_query_text_end(&text);
	return result;
}

/*
 * etl_query_analyze_qualified does it for a text whose names mean what they do
 * when nothing but pg_catalog is searched, as in an expression of a tree that
 * was rendered so: whatever is before pg_catalog in the search path of the
 * definition may have functions of the same names.
 */
Query *
etl_query_analyze_qualified(const char *query, QueryEnvironment *environment)
{
	int			level = NewGUCNestLevel();
	Query	   *result;

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	result = etl_query_analyze(query, environment);
	AtEOXact_GUC(false, level);
	return result;
}

/*
 * add_relation records a relation, and what is behind it when it is a view
 * that etl does not manage.
 */
static void
add_relation(DependencyContext *context, Oid relid)
{
	char	   *name = etl_name_of_relation(relid);
	ListCell   *cell;

	if (name == NULL)
		return;
	context->names = etl_names_add(context->names, name);
	if (get_rel_relkind(relid) == RELKIND_VIEW && etl_node_owner(name) == NULL)
		foreach(cell, etl_relation_behind(relid))
			context->names = etl_names_add(context->names, lfirst(cell));
}

/*
 * add_row_type records the relation whose row type a constant has, as in
 * NULL::raw.t.
 */
static void
add_row_type(DependencyContext *context, Oid type)
{
	Oid			relid = get_typ_typrelid(type);

	if (OidIsValid(relid) && get_rel_relkind(relid) != RELKIND_COMPOSITE_TYPE)
		add_relation(context, relid);
}

/*
 * add_function follows the body of an SQL function.
 */
static void
add_function(DependencyContext *context, Oid function)
{
	ListCell   *cell;

	if (function < FirstNormalObjectId || list_member_oid(context->functions, function))
		return;
	context->functions = lappend_oid(context->functions, function);
	foreach(cell, etl_names_of_function(function))
		context->names = etl_names_add(context->names, lfirst(cell));
}

/*
 * check_function is the callback that sees every function of a node.
 */
static bool
check_function(Oid function, void *context)
{
	add_function(context, function);
	return false;
}

/*
 * dependency_walker collects the relations below one node of a Query.
 */
static bool
dependency_walker(Node *node, DependencyContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, dependency_walker, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->inFromCl)
			add_relation(context, rte->relid);
		return false;
	}
	if (IsA(node, Const))
		add_row_type(context, ((Const *) node)->consttype);
	if (IsA(node, RowExpr))
		add_row_type(context, ((RowExpr *) node)->row_typeid);
	(void) check_functions_in_node(node, check_function, context);
	return expression_tree_walker(node, dependency_walker, context);
}

/*
 * etl_query_dependencies returns the names of what an analyzed query reads.
 */
List *
etl_query_dependencies(Query *query)
{
	DependencyContext context = {0};

	dependency_walker((Node *) query, &context);
	return context.names;
}

/*
 * etl_relation_behind returns the names that an unmanaged view reads.
 */
List *
etl_relation_behind(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	List	   *names = etl_query_dependencies(copyObject(get_view_query(rel)));

	table_close(rel, NoLock);
	return names;
}

/*
 * etl_model_missing returns the name of an input that does not exist, or
 * NULL.
 */
char *
etl_model_missing(const EtlModel *model)
{
	ListCell   *cell;

	foreach(cell, etl_model_names(model))
		if (!OidIsValid(etl_name_relation(lfirst(cell))))
			return lfirst(cell);
	return NULL;
}

bool
etl_model_resolve(EtlModel *model, char **missing)
{
	char	   *absent = etl_model_missing(model);
	EtlRunAs	as;
	Query	   *query;
	List	   *names;
	List	   *edges;

	if (missing != NULL)
		*missing = absent;
	if (absent != NULL)
		return false;

	etl_run_as_begin(&as, model->owner, model->settings);
	query = etl_query_analyze(model->query, NULL);
	etl_promise_check(model, query);
	names = etl_query_dependencies(query);
	edges = etl_query_lineage(query, model);
	names = etl_names_add_declared(names, model);
	etl_run_as_end(&as);

	etl_names_check_cycle(model->target, names);
	etl_dependencies_store(model->target, names);
	etl_lineage_store(model->target, edges);
	etl_model_set_resolved(model->target, true);
	model->resolved = true;
	return true;
}

/*
 * reads_others tells whether a resolved view reads others than when it was
 * resolved.
 */
static bool
reads_others(const EtlModel *view)
{
	List	   *known = etl_dependencies_of(view->target);
	List	   *names;
	EtlRunAs	as;
	ListCell   *cell;

	etl_run_as_begin(&as, view->owner, view->settings);
	names = etl_query_dependencies(etl_query_analyze(view->query, NULL));
	etl_run_as_end(&as);
	foreach(cell, names)
		if (list_length(etl_names_add(list_copy(known), lfirst(cell))) != list_length(known))
			return true;
	return false;
}

/*
 * resolve_views resolves the views that a node reads where they read others.
 * They are not written to without need: models that are built at the same
 * time share them.
 */
static void
resolve_views(const char *node)
{
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, etl_dependencies_of(node))
	{
		EtlModel   *view = etl_model_find(lfirst(cell));

		if (view == NULL || !etl_model_is_view(view))
			continue;
		if (view->resolved && etl_model_missing(view) == NULL && reads_others(view))
			(void) etl_model_resolve(view, NULL);
		resolve_views(view->target);
	}
}

bool
etl_model_resolve_again(EtlModel *model)
{
	if (!etl_model_resolve(model, NULL))
		return false;
	resolve_views(model->target);
	return true;
}

/* ---- inputs ---- */

/*
 * declare marks inputs as read out of sight, and what is behind them when
 * they are views.
 */
static void
declare(List *inputs, List *names)
{
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, names)
	{
		Oid			relid = etl_name_relation(lfirst(cell));
		EtlInput   *input = NULL;

		foreach(other, inputs)
			if (strcmp(((EtlInput *) lfirst(other))->name, lfirst(cell)) == 0)
				input = lfirst(other);
		if (input != NULL && input->declared)
			continue;
		if (input != NULL)
			input->declared = true;
		if (input != NULL && input->kind == 'v')
			declare(inputs, etl_dependencies_of(input->name));
		else if (input == NULL && OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
			declare(inputs, etl_relation_behind(relid));
	}
}

/*
 * declare_inputs marks what option depends_on of a model names.
 */
static void
declare_inputs(List *inputs, const EtlModel *model)
{
	List	   *given = etl_json_get_list(model->options, "depends_on");
	List	   *names = NIL;
	EtlRunAs	as;
	ListCell   *cell;

	if (given == NIL)
		return;
	etl_run_as_begin(&as, model->owner, model->settings);
	foreach(cell, given)
		names = lappend(names, etl_name_canonical(lfirst(cell)));
	declare(inputs, names);
	etl_run_as_end(&as);
}

/*
 * add_inputs adds what 'names' mean as data, looking through views.
 */
static List *
add_inputs(List *inputs, const EtlModel *model, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		char	   *name = lfirst(cell);
		EtlInput   *input;
		EtlModel   *feeding = NULL;
		ListCell   *other;
		bool		known = false;

		foreach(other, inputs)
			known |= strcmp(((EtlInput *) lfirst(other))->name, name) == 0;
		if (known)
			continue;

		input = palloc0(sizeof(EtlInput));
		input->name = name;
		if ((input->stream = etl_stream_find(name)) != NULL)
		{
			input->kind = 's';
			input->consumption = etl_consumption_read(model->target, name);
		}
		else if ((feeding = etl_model_find(name)) != NULL)
		{
			input->kind = strcmp(feeding->materialized, "view") == 0 ? 'v' : 'm';
			input->publication = etl_publication_seen(name);
			if (input->kind == 'm')
				input->consumption = etl_consumption_read(model->target, name);
		}
		else
		{
			Oid			relid = etl_name_relation(name);

			if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
				continue;		/* what is behind it is in the list */
			input->kind = 'r';
			if (strcmp(model->materialized, "view") != 0 && etl_record_is_wanted(relid))
			{
				input->kind = 'w';
				input->consumption = etl_consumption_read(model->target, name);
			}
		}
		/* triggers go with a table that is dropped, and partitions come without */
		if (input->consumption != NULL && input->consumption->recorded)
		{
			bool		follows = input->kind == 'w' || etl_model_follows(model);

			input->lapsed = follows && etl_input_is_recorded(input) &&
							!etl_record_is_on(etl_name_relation(name));
			input->consumption->recorded = follows && !input->lapsed;
		}
		inputs = lappend(inputs, input);
		if (input->kind == 'v')
		{
			inputs = add_inputs(inputs, model, etl_dependencies_of(name));
			declare_inputs(inputs, feeding);
		}
	}
	return inputs;
}

/*
 * etl_model_inputs returns everything whose change makes the model due.
 */
List *
etl_model_inputs(const EtlModel *model)
{
	List	   *inputs = add_inputs(NIL, model, etl_dependencies_of(model->target));

	declare_inputs(inputs, model);
	return inputs;
}
