/*-------------------------------------------------------------------------
 *
 * define.c
 *    SQL functions define_check and drop_check.
 *
 * A check runs with the rights of its node's owner, so only members of that
 * role may put one on the node.  On a relation that is no node (yet) anyone
 * who may define can; its rights are looked at again when it runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "common/texts.h"
#include "quality/check.h"

PG_FUNCTION_INFO_V1(etl_sql_define_check);
PG_FUNCTION_INFO_V1(etl_sql_drop_check);

/*
 * required raises ET001 when an argument without default is null.
 */
static char *
required(const char *value, const char *argument)
{
	if (value == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("argument \"%s\" must not be null", argument)));
	return unconstify(char *, value);
}

/*
 * word_must_be raises ET001 unless 'value' is one of 'words', naming the nearest.
 */
static void
word_must_be(const char *what, const char *value, List *words)
{
	const char *nearest;
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, words)
	{
		if (strcmp(lfirst(cell), value) == 0)
			return;
		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", (char *) lfirst(cell));
	}
	nearest = etl_nearest(value, words);
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("unknown %s \"%s\"", what, value),
			 errdetail("There are %s.", list.data),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
}

/*
 * default_name makes <kind>_<columns joined by _>.
 */
static char *
default_name(const EtlCheckKind *kind, List *columns)
{
	StringInfoData name;
	ListCell   *cell;

	if (kind->id == ETL_KIND_EXPRESSION && columns == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("an expression check without columns needs a name"),
				 errhint("Give \"name\", or the columns it is about.")));
	initStringInfo(&name);
	appendStringInfoString(&name, kind->name);
	foreach(cell, columns)
		appendStringInfo(&name, "_%s", (char *) lfirst(cell));
	return name.data;
}

/*
 * check_quarantine raises ET001 where a check cannot move rows.
 */
static void
check_quarantine(const EtlCheckKind *kind, const EtlCheck *check)
{
	EtlModel   *model;

	if (strcmp(check->on_fail, "quarantine") != 0)
		return;
	if (!kind->of_rows && kind->id != ETL_KIND_UNIQUE)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a check of kind %s cannot quarantine", kind->name),
				 errdetail("It judges the relation as a whole, so there is no row to move."),
				 errhint("Use on_fail 'warn' or 'fail'.")));
	model = etl_model_find(check->target);
	if (model != NULL && strcmp(model->materialized, "view") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a check on view %s cannot quarantine", check->target),
				 errdetail("A view stores no rows that could be moved."),
				 errhint("Use on_fail 'warn' or 'fail', or define the model as a table.")));
}

/*
 * check_readable raises 42501 for a relation that the current role, with
 * whose rights its check will run, may not read.
 */
static void
check_readable(const char *target)
{
	Oid			relid = etl_name_relation(target);

	if (!OidIsValid(relid) || pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK)
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to check %s", target),
					errdetail("Its checks run with the rights of the role that defines them, which "
							  "may not read it."),
					errhint("GRANT SELECT ON %s to that role.", target)));
}

/*
 * is_as_in_production tells whether a check is defined just so already.
 */
static bool
is_as_in_production(const EtlCheck *check)
{
	EtlCheck   *old = etl_check_find(check->target, check->name);

	return old != NULL && strcmp(old->kind, check->kind) == 0 &&
		   etl_same_texts(old->columns, check->columns) &&
		   strcmp(etl_json_text(old->options), etl_json_text(check->options)) == 0 &&
		   strcmp(old->on_fail, check->on_fail) == 0 && strcmp(old->dimension, check->dimension) == 0;
}

/*
 * enter_environment puts a check on the node of the session's environment;
 * false when it is as in production.
 */
static bool
enter_environment(EtlCheck *check, EtlCheck *given)
{
	char	   *node = etl_environment_resolve(check->target);

	if (strcmp(node, check->target) == 0)
	{
		if (is_as_in_production(check))
			return false;
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s is not part of environment %s, so a check of it cannot change there",
						check->target, etl_environment),
				 errhint("Change its definition in the environment first, or RESET etl.environment.")));
	}
	*given = *check;
	check->target = node;
	if (strcmp(check->kind, "relationship") == 0)
	{
		EtlJsonBuilder *builder = etl_json_object_begin();
		ListCell   *cell;

		foreach(cell, etl_json_keys(check->options))
			if (strcmp(lfirst(cell), "to") == 0)
				etl_json_add_text(builder, "to",
								  etl_environment_resolve(
									  etl_name_canonical(etl_json_get_text(check->options, "to"))));
			else
				etl_json_add(builder, lfirst(cell), etl_json_get(check->options, lfirst(cell)));
		check->options = etl_json_object_end(builder);
	}
	return true;
}

/*
 * note_environment stores that a check is part of the environment.
 */
static void
note_environment(const EtlCheck *given, const EtlCheck *check)
{
	EtlEnvironmentNode node = {.kind = "check",
							   .target = given->target,
							   .part = given->name,
							   .node = check->target,
							   .direct = !is_as_in_production(given)};
	EtlJsonBuilder *builder = etl_json_object_begin();
	Jsonb	   *stored = etl_definition_json("check", check->target, check->name);
	ListCell   *cell;

	foreach(cell, etl_json_keys(stored))
		if (strcmp(lfirst(cell), "target") == 0)
			etl_json_add_text(builder, lfirst(cell), given->target);
		else if (strcmp(lfirst(cell), "options") == 0)
			etl_json_add(builder, lfirst(cell), given->options);
		else
			etl_json_add(builder, lfirst(cell), etl_json_get(stored, lfirst(cell)));
	node.definition = etl_json_object_end(builder);
	node.base_version = etl_definition_version("check", given->target, given->name);
	etl_environment_node_store(&node);
}

/*
 * etl_sql_define_check stores a check: 'created', 'updated' or 'unchanged'.
 */
Datum
etl_sql_define_check(PG_FUNCTION_ARGS)
{
	EtlCheck	check = {0};
	EtlCheck	given = {0};	/* in an environment: as it was given */
	const char *outcome;
	const EtlCheckKind *kind;
	char	   *owner;
	List	   *dimensions;

	check.target = etl_name_canonical(required(etl_arg_text(fcinfo, 0), "target"));
	check.kind = required(etl_arg_text(fcinfo, 1), "kind");
	word_must_be("kind of check", check.kind, etl_kind_names());
	kind = etl_kind_find(check.kind);
	check.columns = etl_arg_columns(fcinfo, 2, "columns");
	check.options = PG_ARGISNULL(3) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(3);
	check.on_fail = required(etl_arg_text(fcinfo, 4), "on_fail");
	word_must_be("on_fail", check.on_fail, list_make3("warn", "quarantine", "fail"));

	check.dimension = etl_arg_text(fcinfo, 5);
	if (check.dimension == NULL)
		check.dimension = unconstify(char *, kind->dimension);
	if (!etl_dimension_known(check.dimension, &dimensions))
		word_must_be("dimension", check.dimension, dimensions);

	etl_kind_validate(kind, &check);
	check.name = etl_arg_text(fcinfo, 6);
	if (check.name == NULL)
		check.name = default_name(kind, check.columns);
	if (check.name[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the name of a check must not be empty")));
	check.description = etl_arg_text(fcinfo, 7);
	if (etl_environment_on() && !enter_environment(&check, &given))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	check_quarantine(kind, &check);

	owner = etl_node_owner(check.target);
	if (owner != NULL)
		etl_check_owner(owner, "node", check.target);
	else
		check_readable(check.target);
	check.owner = GetUserNameFromId(GetUserId(), false);
	check.settings = etl_settings_capture();
	outcome = etl_check_store(&check);
	if (given.target != NULL)
		note_environment(&given, &check);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/*
 * etl_sql_drop_check removes a check, true when it was there; its results stay.
 */
Datum
etl_sql_drop_check(PG_FUNCTION_ARGS)
{
	char	   *target = etl_environment_resolve(etl_name_canonical(etl_arg_required(fcinfo, 0, "target")));
	char	   *name = etl_arg_required(fcinfo, 1, "name");
	EtlCheck   *check = etl_check_find(target, name);
	char	   *owner = etl_node_owner(target);

	if (check == NULL)
		PG_RETURN_BOOL(false);
	/* the node's owner can always free the node of a check */
	etl_check_owner(owner ? owner : check->owner, "check", name);
	PG_RETURN_BOOL(etl_definition_delete("quality_check", target, name));
}
