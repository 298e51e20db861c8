/*-------------------------------------------------------------------------
 *
 * environment.c
 *    Models in an environment: their texts, and those that read them.
 *
 * A model that is defined in an environment as it is in production is not
 * part of it.  One that differs is, and so is every production model that
 * reads it, at any height: completion copies these, with their checks, and
 * gives all models of the environment the names of what they read in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "catalog/environment.h"
#include "catalog/graph.h"
#include "catalog/kept.h"
#include "catalog/runs.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "common/texts.h"
#include "model/internal.h"

/*
 * new_name answers what a relation is called in the environment; NULL when
 * it is not in it.
 */
static char *
new_name(const char *name, void *arg)
{
	char	   *node = etl_environment_resolve(name);

	return strcmp(node, name) == 0 ? NULL : node;
}

/*
 * same_interval compares two intervals that may be missing.
 */
static bool
same_interval(const Interval *a, const Interval *b)
{
	return a == NULL || b == NULL ? a == b : memcmp(a, b, sizeof(Interval)) == 0;
}

bool
etl_model_same(const EtlModel *a, const EtlModel *b)
{
	return strcmp(a->query, b->query) == 0 && strcmp(a->materialized, b->materialized) == 0 &&
		   etl_same_texts(a->key, b->key) && etl_same_text(a->strategy, b->strategy) &&
		   etl_same_text(a->event_time, b->event_time) && same_interval(a->batch_size, b->batch_size) &&
		   same_interval(a->lookback, b->lookback) &&
		   strcmp(etl_json_text(a->options), etl_json_text(b->options)) == 0 &&
		   etl_same_texts(a->tags, b->tags) && etl_same_text(a->description, b->description) &&
		   strcmp(etl_json_text(a->settings), etl_json_text(b->settings)) == 0;
}

/*
 * place gives a model the names of the environment.  Its hooks stay out:
 * they name relations of production.
 */
static void
place(EtlModel *model)
{
	char	   *query = etl_query_rename(model, new_name, NULL);

	model->options = etl_options_rename(model, new_name, NULL);
	model->options = etl_json_without(etl_json_without(model->options, "pre_hook"), "post_hook");
	model->options = etl_json_without(etl_json_without(model->options, "keep_versions"), "adopt");
	model->query = query;
	model->target = etl_environment_name_of(model->target);
}

EtlModel *
etl_environment_enter(EtlModel *model)
{
	EtlModel   *given = palloc(sizeof(EtlModel));
	EtlModel   *production = etl_model_find(model->target);
	char	   *node = etl_environment_name_of(model->target);

	*given = *model;
	if (etl_node_owner(node) == NULL && production != NULL && etl_model_same(production, model))
		return NULL;
	etl_environment_begin(node);
	model->owner = GetUserNameFromId(GetUserId(), false);
	place(model);
	return given;
}

/*
 * note stores that a model is part of the environment, as it was given.
 */
static void
note(const EtlModel *given, const EtlModel *model, bool direct)
{
	EtlEnvironmentNode node = {
		.kind = "model", .target = given->target, .node = model->target, .direct = direct};
	EtlJsonBuilder *builder = etl_json_object_begin();
	Jsonb	   *stored = etl_definition_json("model", model->target, NULL);
	ListCell   *cell;

	foreach(cell, etl_json_keys(stored))
	{
		const char *key = lfirst(cell);

		if (strcmp(key, "target") == 0)
			etl_json_add_text(builder, key, given->target);
		else if (strcmp(key, "query") == 0)
			etl_json_add_text(builder, key, given->query);
		else if (strcmp(key, "options") == 0)
			etl_json_add(builder, key, given->options);
		else
			etl_json_add(builder, key, etl_json_get(stored, key));
	}
	node.definition = etl_json_object_end(builder);
	node.base_version = etl_definition_version("model", given->target, NULL);
	etl_environment_node_store(&node);
}

void
etl_environment_entered(const EtlModel *given, const EtlModel *model)
{
	EtlModel   *production = etl_model_find(given->target);

	note(given, model, production == NULL || !etl_model_same(production, given));
}

/*
 * copy_checks puts the checks of a production node on its copy.
 */
static void
copy_checks(const char *target, const char *node)
{
	ListCell   *cell;

	foreach(cell, etl_checks_of(target))
	{
		EtlCheck   *check = lfirst(cell);
		EtlEnvironmentNode row = {.kind = "check",
								  .target = unconstify(char *, target),
								  .part = check->name,
								  .node = unconstify(char *, node)};

		row.definition = etl_definition_json("check", target, check->name);
		row.base_version = check->version;
		check->target = unconstify(char *, node);
		check->owner = GetUserNameFromId(GetUserId(), false);
		(void) etl_check_store(check);
		etl_environment_node_store(&row);
	}
}

/*
 * store defines a model of the environment under its new texts.
 */
static void
store(EtlModel *model)
{
	List	   *names;

	if (strcmp(etl_model_store(model), "unchanged") == 0)
		return;
	names = etl_model_names(model);
	etl_names_check_cycle(model->target, names);
	etl_dependencies_store(model->target, names);
	etl_lineage_store(model->target, NIL);
}

/*
 * may_copy tells whether the caller may know the text of a model.
 */
static bool
may_copy(const EtlModel *model)
{
	Oid			relid = etl_name_relation(model->target);
	Oid			owner = get_role_oid(model->owner, true);

	if ((OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)) || superuser() ||
		(OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK))
		return true;
	ereport(WARNING,
			(errmsg("model %s, which reads what changed, is not part of environment %s",
					model->target, etl_environment),
			 errdetail("You may neither read its relation nor change its definition.")));
	return false;
}

/*
 * copy_reader makes a production model part of the environment.
 */
static void
copy_reader(EtlModel *model)
{
	EtlModel	given = *model;

	etl_environment_begin(etl_environment_name_of(model->target));
	model->owner = GetUserNameFromId(GetUserId(), false);
	place(model);
	store(model);
	note(&given, model, false);
	copy_checks(given.target, model->target);
}

/*
 * copy_readers copies the production models that read what is in the
 * environment and are not; false when there is none.
 */
static bool
copy_readers(List *seen)
{
	bool		copied = false;
	ListCell   *cell;

	foreach(cell, etl_dependencies_all())
	{
		EtlNamePair *pair = lfirst(cell);
		char	   *node = etl_environment_has_prefix(pair->node) ? NULL : etl_environment_name_of(pair->node);
		EtlModel   *model;

		if (node == NULL || etl_node_owner(node) != NULL || new_name(pair->other, NULL) == NULL ||
			etl_name_among(seen, pair->node) || etl_is_environment_node(pair->node))
			continue;
		model = etl_model_find(pair->node);
		if (model == NULL || !may_copy(model))
		{
			seen = lappend(seen, pair->node);
			continue;
		}
		copy_reader(model);
		CommandCounterIncrement();
		copied = true;
	}
	return copied;
}

/*
 * rename_inputs gives the models of the environment the names of what they
 * read in it now.
 */
static void
rename_inputs(void)
{
	ListCell   *cell;

	foreach(cell, etl_environment_nodes(etl_environment))
	{
		EtlEnvironmentNode *node = lfirst(cell);
		EtlModel   *model = strcmp(node->kind, "model") == 0 ? etl_model_find(node->node) : NULL;
		EtlModel	given;
		char	   *query;

		if (model == NULL)
			continue;
		given = *model;
		given.query = etl_json_get_text(node->definition, "query");
		query = etl_query_rename(&given, new_name, NULL);
		if (strcmp(query, model->query) == 0)
			continue;
		model->query = query;
		store(model);
	}
}

void
etl_environment_complete(void)
{
	char	   *owner = etl_environment_owner(etl_environment);
	List	   *seen = list_make1("");

	if (owner == NULL || !has_privs_of_role(GetUserId(), get_role_oid(owner, false)))
		return;
	while (copy_readers(seen))
		;
	rename_inputs();
	CommandCounterIncrement();
}
