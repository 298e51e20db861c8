/*-------------------------------------------------------------------------
 *
 * environment.c
 *    Environments: nodes that stand beside production under other names.
 *
 * A session is in an environment when it, or the client that began it, says
 * another word for etl.environment than the configuration of the server, the
 * database or the role does, which names production.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "catalog/environment.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/names.h"
#include "common/run_as.h"

bool		etl_environment_suspended = false;

bool
etl_environment_on(void)
{
	return !etl_environment_suspended && etl_environment_of_session && etl_environment != NULL &&
		   *etl_environment != '\0';
}

/*
 * check_name raises ET001 for what cannot begin the name of a schema.
 */
static void
check_name(const char *name)
{
	size_t		length = strlen(name);

	if (length <= 30 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length &&
		!isdigit((unsigned char) name[0]) && strstr(name, "__") == NULL && name[length - 1] != '_' &&
		strncmp(name, "pg_", 3) != 0)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("\"%s\" cannot be the name of an environment", name),
			 errdetail("Its schemas are called %s__mart and so on.", name),
			 errhint("Use at most 30 small letters, digits and single underscores.")));
}

char *
etl_environment_name_of(const char *target)
{
	EtlName    *name = etl_name_parse(target);
	char	   *schema = psprintf("%s__%s", etl_environment, name->schema);

	check_name(etl_environment);
	if (etl_environment_has_prefix(target))
		return name->canonical;
	if (strlen(schema) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("schema name \"%s\" is too long", schema),
				 errhint("Choose a shorter name for the environment.")));
	return quote_qualified_identifier(schema, name->relation);
}

bool
etl_environment_has_prefix(const char *name)
{
	char	   *prefix = psprintf("%s__", etl_environment);

	return strncmp(etl_name_parse(name)->schema, prefix, strlen(prefix)) == 0;
}

char *
etl_environment_resolve(const char *target)
{
	char	   *node = etl_environment_on() ? etl_environment_name_of(target) : NULL;

	return node != NULL && etl_node_owner(node) != NULL ? node : unconstify(char *, target);
}

char *
etl_environment_target(const char *target)
{
	char	   *node = etl_environment_resolve(target);

	if (etl_environment_on() && !etl_environment_has_prefix(node) && etl_node_owner(node) != NULL)
		etl_environment_must_be_off(psprintf("%s of production is not changed", node));
	return node;
}

char *
etl_environment_owner(const char *environment)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, environment);
	rows = etl_sql_query("SELECT owner FROM etl.environment WHERE name = $1", &params);
	return rows->n == 0 ? NULL : etl_row_text(rows, 0, "owner");
}

void
etl_environment_begin(const char *node)
{
	EtlParams	params = {0};
	char	   *owner = etl_environment_owner(etl_environment);
	EtlName    *name = etl_name_parse(node);
	EtlRunAs	as;

	if (owner == NULL)
	{
		owner = GetUserNameFromId(GetUserId(), false);
		etl_param_text(&params, etl_environment);
		etl_param_text(&params, owner);
		etl_sql_exec("INSERT INTO etl.environment (name, owner) VALUES ($1, $2)", &params);
	}
	etl_check_owner(owner, "environment", etl_environment);
	if (OidIsValid(get_namespace_oid(name->schema, true)))
		return;
	etl_run_as_begin(&as, owner, NULL);
	SPI_connect();
	SPI_execute(psprintf("CREATE SCHEMA %s", quote_identifier(name->schema)), false, 0);
	SPI_finish();
	etl_run_as_end(&as);
	CommandCounterIncrement();
}

bool
etl_environment_skips(const char *kind, const char *name)
{
	if (!etl_environment_on())
		return false;
	ereport(NOTICE,
			(errmsg("%s \"%s\" is not part of environment %s: it stays as it is", kind, name,
					etl_environment)));
	return true;
}

void
etl_environment_must_be_off(const char *what)
{
	if (etl_environment_on())
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s in environment %s", what, etl_environment),
				 errhint("RESET etl.environment to work on production.")));
}

List *
etl_environment_nodes(const char *environment)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *result = NIL;

	etl_param_text(&params, environment);
	rows = etl_sql_query("SELECT * FROM etl.environment_node WHERE environment = $1"
						 " ORDER BY kind, target COLLATE \"C\", part COLLATE \"C\"", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlEnvironmentNode *node = palloc0(sizeof(EtlEnvironmentNode));

		node->kind = etl_row_text(rows, i, "kind");
		node->target = etl_row_text(rows, i, "target");
		node->part = etl_row_text(rows, i, "part");
		node->node = etl_row_text(rows, i, "node");
		node->direct = etl_row_bool(rows, i, "direct");
		node->base_version = etl_row_int4(rows, i, "base_version");
		node->definition = etl_row_jsonb(rows, i, "definition");
		result = lappend(result, node);
	}
	return result;
}

List *
etl_environment_nodes_all(void)
{
	EtlRows    *rows = etl_sql_query("SELECT environment, node, target FROM etl.environment_node"
								  " WHERE kind <> 'check'", NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlEnvironmentNode *node = palloc0(sizeof(EtlEnvironmentNode));

		node->node = etl_row_text(rows, i, "node");
		node->target = etl_row_text(rows, i, "target");
		node->part = etl_row_text(rows, i, "environment");
		result = lappend(result, node);
	}
	return result;
}

bool
etl_is_environment_node(const char *node)
{
	EtlParams	params = {0};

	etl_param_text(&params, node);
	return etl_sql_query("SELECT FROM etl.environment_node WHERE node = $1 LIMIT 1", &params)->n > 0;
}

void
etl_environment_node_store(const EtlEnvironmentNode *node)
{
	EtlParams	params = {0};

	etl_param_text(&params, etl_environment);
	etl_param_text(&params, node->kind);
	etl_param_text(&params, node->target);
	etl_param_text(&params, node->part ? node->part : "");
	etl_param_text(&params, node->node);
	etl_param_bool(&params, node->direct);
	etl_param_int4(&params, node->base_version);
	etl_param_jsonb(&params, node->definition);
	etl_sql_exec("INSERT INTO etl.environment_node AS n (environment, kind, target, part, node, direct,"
				 " base_version, definition) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
				 " ON CONFLICT (environment, kind, target, part) DO UPDATE SET direct = excluded.direct,"
				 " definition = excluded.definition,"
				 " base_version = CASE WHEN n.direct THEN n.base_version ELSE excluded.base_version END",
				 &params);
}

void
etl_environment_node_delete(const char *kind, const char *node, const char *part)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_text(&params, node);
	etl_param_text(&params, part ? part : "");
	etl_sql_exec("DELETE FROM etl.environment_node WHERE kind = $1 AND node = $2 AND part = $3", &params);
}

void
etl_environment_rebase(const char *environment)
{
	EtlParams	params = {0};

	etl_param_text(&params, environment);
	etl_sql_exec("UPDATE etl.environment_node AS n SET direct = false, base_version = coalesce("
				 " (SELECT max(v.version) FROM etl.definition_version AS v WHERE v.kind = n.kind"
				 " AND v.name = n.target AND v.part = n.part AND v.definition IS NOT NULL), 0)"
				 " WHERE environment = $1", &params);
}

void
etl_environment_delete(const char *environment)
{
	EtlParams	params = {0};

	etl_param_text(&params, environment);
	etl_sql_exec("DELETE FROM etl.environment_node WHERE environment = $1", &params);
	etl_sql_exec("DELETE FROM etl.environment WHERE name = $1", &params);
}

/*
 * find_definition reads the row of a definition as JSON.
 */
static EtlRows *
find_definition(const char *kind_name, const char *name, const char *part)
{
	const EtlDefinitionKind *kind = etl_definition_kind(kind_name);
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_text(&params, part ? part : "");
	return etl_sql_query(psprintf("SELECT to_jsonb(t) - '%s'::text[] - '{version,owner,defined_at}'::text[]"
								  " AS definition, t.version FROM etl.%s AS t WHERE t.%s = $1 AND %s = $2",
								  kind->hidden, kind->table, kind->key,
								  kind->part ? psprintf("t.%s", kind->part) : "''"),
						 &params);
}

Jsonb *
etl_definition_json(const char *kind, const char *name, const char *part)
{
	EtlRows    *rows = find_definition(kind, name, part);

	return rows->n == 0 ? NULL : etl_row_jsonb(rows, 0, "definition");
}

int
etl_definition_version(const char *kind, const char *name, const char *part)
{
	EtlRows    *rows = find_definition(kind, name, part);

	return rows->n == 0 ? 0 : etl_row_int4(rows, 0, "version");
}

void
etl_environment_adopt(const char *environment, const char *node, const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, environment);
	etl_param_text(&params, node);
	etl_param_text(&params, target);
	etl_sql_exec(
		"UPDATE etl.node_state AS s SET rebuild = NULL, built_fingerprint = e.built_fingerprint,"
		" inputs = (SELECT coalesce(jsonb_object_agg(coalesce(n.target, i.key),"
		" CASE WHEN n.target IS NULL THEN i.value ELSE to_jsonb(p.publication) END), '{}')"
		" FROM jsonb_each(e.inputs) AS i LEFT JOIN etl.environment_node AS n ON n.environment = $1"
		" AND n.kind = 'model' AND n.node = i.key LEFT JOIN etl.node_state AS p ON p.target = "
		"n.target)"
		" FROM etl.node_state AS e WHERE e.target = $2 AND s.target = $3", &params);
	etl_sql_exec("DELETE FROM etl.consumed WHERE model = $3 AND $1 <> $2", &params);
	etl_sql_exec("INSERT INTO etl.consumed (model, stream, loads, missing)"
				 " SELECT $3, coalesce(n.target, c.stream), c.loads, c.missing FROM etl.consumed AS c"
				 " LEFT JOIN etl.environment_node AS n ON n.environment = $1 AND n.kind <> 'check'"
				 " AND n.node = c.stream WHERE c.model = $2", &params);
}
