/*-------------------------------------------------------------------------
 *
 * environment.c
 *    SQL functions promote and drop_environment.
 *
 * A promotion defines in production what the environment defined, by the
 * ordinary functions and with the caller's rights, and publishes the rows.
 * Rows are those that the environment built when production's definitions
 * would yield the same ones now; else the model is built again, in the same
 * transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "catalog/version.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/node_lock.h"
#include "common/run_as.h"
#include "model/model.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_promote);
PG_FUNCTION_INFO_V1(etl_sql_drop_environment);

/* A node of the environment on its way into production. */
typedef struct Promotion
{
	EtlEnvironmentNode *node;
	EtlModel   *model;			/* of the environment; NULL for a stream */
	int			level;
	bool		by_copy;		/* its rows are what production would build now */
	bool		fetched;		/* something that the environment fetches itself is above it */
} Promotion;

/*
 * environment_arg reads the name of an environment that the caller may use;
 * default the session's.
 */
static char *
environment_arg(FunctionCallInfo fcinfo, int n)
{
	char	   *name = PG_ARGISNULL(n) ? etl_environment : etl_arg_text(fcinfo, n);
	char	   *owner = etl_environment_owner(name);

	if (owner == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED), errmsg("there is no environment \"%s\"", name),
				 errhint("SET etl.environment and define something: that makes one.")));
	etl_check_owner(owner, "environment", name);
	return name;
}

/*
 * call_define defines something in production as the caller, under the
 * settings that it was defined under in the environment.
 */
static void
call_define(const EtlEnvironmentNode *node)
{
	Jsonb	   *settings = etl_json_get(node->definition, "settings");
	int			level = NewGUCNestLevel();
	ListCell   *cell;

	foreach(cell, settings ? etl_json_keys(settings) : NIL)
		(void) set_config_option(lfirst(cell), etl_json_get_text(settings, lfirst(cell)), PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	SPI_execute(etl_definition_sql(node->kind, node->definition), false, 0);
	SPI_finish();
	AtEOXact_GUC(false, level);
	CommandCounterIncrement();
}

/*
 * check_base raises ET001 when production has changed since the environment
 * was made of it.
 */
static void
check_base(const char *environment, const EtlEnvironmentNode *node)
{
	int			version = etl_definition_version(node->kind, node->target, node->part);

	if (version == node->base_version)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("%s %s has been changed in production since environment %s was made of it",
					node->kind, node->target, environment),
			 errdetail("It was version %d, and is version %d.", node->base_version, version),
			 errhint("Drop the environment, and make it again of the present definitions.")));
}

/*
 * is_current tells whether what the environment has of a model is what its
 * definition yields now.
 */
static bool
is_current(const EtlModel *model)
{
	EtlModelPlan *plan = etl_model_plan(model, false);

	return strcmp(plan->action, "unchanged") == 0;
}

/*
 * judge decides how the rows of a model come into production.  Rows of a
 * role that could not write them there itself are not taken over.
 */
static void
judge(Promotion *promotion, EtlGraph *graph, List *promotions)
{
	EtlNode    *node = etl_graph_find(graph, promotion->node->node);
	EtlModel   *production = etl_model_find(promotion->node->target);
	Oid			owner = get_role_oid(production ? production->owner : GetUserNameFromId(GetUserId(), false), true);
	ListCell   *cell;
	ListCell   *parent;

	promotion->by_copy = promotion->model != NULL && promotion->model->batch_size == NULL &&
						 etl_node_state_get(promotion->node->node)->sample == NULL &&
						 is_current(promotion->model) && OidIsValid(owner) &&
						 has_privs_of_role(get_role_oid(promotion->model->owner, false), owner) &&
						 (strcmp(promotion->model->materialized, "table") == 0 ||
						  strcmp(promotion->model->materialized, "incremental") == 0);
	foreach(parent, node->parents)
		foreach(cell, promotions)
		{
			Promotion  *above = lfirst(cell);

			if (strcmp(above->node->node, ((EtlNode *) lfirst(parent))->name->canonical) != 0)
				continue;
			promotion->fetched |= above->fetched;
			promotion->by_copy &=
				above->by_copy || (above->model && strcmp(above->model->materialized, "view") == 0);
		}
	if (promotion->model == NULL)
		promotion->fetched = true;
}

/*
 * compare_promotions orders them from the roots on.
 */
static int
compare_promotions(const ListCell *a, const ListCell *b)
{
	return ((Promotion *) lfirst(a))->level - ((Promotion *) lfirst(b))->level;
}

/*
 * plan_promotion collects the streams and models of an environment, those
 * that are read first.
 */
static List *
plan_promotion(const char *environment, List *nodes)
{
	EtlGraph   *graph = etl_graph_load();
	List	   *promotions = NIL;
	ListCell   *cell;

	foreach(cell, nodes)
	{
		EtlEnvironmentNode *node = lfirst(cell);
		Promotion  *promotion = palloc0(sizeof(Promotion));
		EtlNode    *of_graph = etl_graph_find(graph, node->node);

		check_base(environment, node);
		if (strcmp(node->kind, "check") == 0 || of_graph == NULL)
			continue;
		promotion->node = node;
		promotion->model = etl_model_find(node->node);
		promotion->level = of_graph->level;
		promotions = lappend(promotions, promotion);
	}
	list_sort(promotions, compare_promotions);
	foreach(cell, promotions)
		judge(lfirst(cell), graph, promotions);
	return promotions;
}

/*
 * let_read lets the owner of a production model read the rows of the
 * environment's.
 */
static void
let_read(const EtlModel *from, const EtlModel *to)
{
	EtlRunAs	as;

	if (strcmp(from->owner, to->owner) == 0)
		return;
	etl_run_as_begin(&as, from->owner, NULL);
	SPI_connect();
	SPI_execute(psprintf("GRANT USAGE ON SCHEMA %s TO %s",
						 quote_identifier(etl_name_parse(from->target)->schema),
						 quote_identifier(to->owner)),
				false, 0);
	SPI_execute(psprintf("GRANT SELECT ON %s TO %s", from->target, quote_identifier(to->owner)), false, 0);
	SPI_finish();
	etl_run_as_end(&as);
	CommandCounterIncrement();
}

/*
 * publish brings the rows of one model into production; says how.
 */
static const char *
publish(const char *environment, EtlDriver *driver, Promotion *promotion)
{
	EtlModel   *model = etl_model_get(promotion->node->target);
	EtlBuildResult result = {0};
	const char *told;

	driver->node = model->target;
	if (promotion->fetched)
		return "defined; the next run fetches what it reads, and builds it";
	if (!model->resolved && !etl_model_resolve(model, NULL))
		return "defined; an input of it does not exist yet";
	if (promotion->by_copy)
	{
		etl_cover_check_copy(model);
		let_read(promotion->model, model);
		etl_model_publish_copy(driver, model, promotion->model->target,
							   etl_node_state_get(promotion->node->node)->built_fingerprint, &result);
		etl_environment_adopt(environment, promotion->node->node, model->target);
		told = "published, with the rows of the environment";
	}
	else
	{
		etl_model_build(driver, model, false, &result);
		told = strcmp(result.plan.action, "unchanged") == 0 ? "unchanged" : "built anew and published";
	}
	if (result.check_results != NIL)
		etl_check_results_store(result.check_results);
	CommandCounterIncrement();
	return told;
}

/*
 * put adds a row of the result.
 */
static void
put(ReturnSetInfo *result, const char *target, const char *kind, const char *action)
{
	Datum		values[3] = {CStringGetTextDatum(target), CStringGetTextDatum(kind),
					   CStringGetTextDatum(action)};
	bool		nulls[3] = {false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * define_all defines in production what was defined in the environment:
 * streams, then models from the roots on, then checks.
 */
static void
define_all(List *promotions, List *nodes)
{
	ListCell   *cell;

	foreach(cell, promotions)
	{
		Promotion  *promotion = lfirst(cell);

		if (promotion->node->direct)
			call_define(promotion->node);
		else
			etl_check_owner(etl_node_owner(promotion->node->target), "model", promotion->node->target);
	}
	foreach(cell, nodes)
	{
		EtlEnvironmentNode *node = lfirst(cell);

		if (node->direct && strcmp(node->kind, "check") == 0)
			call_define(node);
	}
}

/*
 * promote_all does it, the session being at work on production.
 */
static void
promote_all(const char *environment, EtlDriver *driver, List *promotions, List *nodes, ReturnSetInfo *result)
{
	ListCell   *cell;

	foreach(cell, promotions)
		etl_lock_node(((Promotion *) lfirst(cell))->node->target, false);
	define_all(promotions, nodes);
	foreach(cell, promotions)
	{
		Promotion  *promotion = lfirst(cell);

		put(result, promotion->node->target, promotion->node->kind,
			promotion->model == NULL ? "defined; the next run fetches it" :
									   publish(environment, driver, promotion));
	}
}

/*
 * promote takes the session out of its environment for as long.
 */
static void
promote(const char *environment, List *promotions, List *nodes, ReturnSetInfo *result)
{
	EtlDriver	driver = etl_function_driver(NULL);

	/* several swaps would hold their locks until the last one is done */
	driver.atomic |= list_length(promotions) > 1;
	etl_environment_suspended = true;
	PG_TRY();
	{
		promote_all(environment, &driver, promotions, nodes, result);
	}
	PG_FINALLY();
	{
		etl_environment_suspended = false;
	}
	PG_END_TRY();
	etl_environment_rebase(environment);
	etl_log_store("info", 0, NULL, psprintf("environment %s promoted", environment), NULL);
}

/*
 * etl_sql_promote: see the comment of etl.promote.
 */
Datum
etl_sql_promote(PG_FUNCTION_ARGS)
{
	char	   *environment = environment_arg(fcinfo, 0);
	List	   *nodes = etl_environment_nodes(environment);
	List	   *promotions;
	int			level = NewGUCNestLevel();

	InitMaterializedSRF(fcinfo, 0);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("etl.environment", environment, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	promotions = plan_promotion(environment, etl_environment_nodes(environment));
	nodes = etl_environment_nodes(environment);
	AtEOXact_GUC(false, level);

	promote(environment, promotions, nodes, (ReturnSetInfo *) fcinfo->resultinfo);
	PopActiveSnapshot();
	return (Datum) 0;
}

/* ---- drop_environment ---- */

/*
 * drop_schema drops a schema of an environment when nothing is left in it.
 */
static void
drop_schema(const char *owner, const char *schema)
{
	EtlRunAs	as;
	Oid			oid = get_namespace_oid(schema, true);

	if (!OidIsValid(oid))
		return;
	etl_run_as_begin(&as, owner, NULL);
	SPI_connect();
	SPI_execute(psprintf("DROP SCHEMA %s RESTRICT", quote_identifier(schema)), false, 0);
	SPI_finish();
	etl_run_as_end(&as);
}

/*
 * drop_nodes drops the nodes of an environment with their relations.
 */
static void
drop_nodes(List *nodes, const char *kind)
{
	ListCell   *cell;

	foreach(cell, nodes)
	{
		EtlEnvironmentNode *node = lfirst(cell);

		if (strcmp(node->kind, kind) != 0 || etl_node_owner(node->node) == NULL)
			continue;
		SPI_connect();
		SPI_execute(psprintf("SELECT etl.drop_%s(%s, true, true)", kind, quote_literal_cstr(node->node)),
					false, 0);
		SPI_finish();
	}
}

/*
 * drop_all drops nodes and schemas, the session being out of its environment.
 */
static void
drop_all(const char *owner, List *nodes, List *schemas)
{
	ListCell   *cell;

	etl_environment_suspended = true;
	PG_TRY();
	{
		drop_nodes(nodes, "model");
		drop_nodes(nodes, "stream");
		foreach(cell, schemas)
			drop_schema(owner, strVal(lfirst(cell)));
	}
	PG_FINALLY();
	{
		etl_environment_suspended = false;
	}
	PG_END_TRY();
}

/*
 * etl_sql_drop_environment: see the comment of etl.drop_environment.
 */
Datum
etl_sql_drop_environment(PG_FUNCTION_ARGS)
{
	char	   *environment = environment_arg(fcinfo, 0);
	char	   *owner = etl_environment_owner(environment);
	List	   *nodes = etl_environment_nodes(environment);
	List	   *schemas = NIL;
	ListCell   *cell;

	foreach(cell, nodes)
	{
		String	   *schema = makeString(etl_name_parse(((EtlEnvironmentNode *) lfirst(cell))->node)->schema);

		schemas = list_append_unique(schemas, schema);
	}
	drop_all(owner, nodes, schemas);
	etl_environment_delete(environment);
	PG_RETURN_BOOL(true);
}
