/*-------------------------------------------------------------------------
 *
 * dbt_test.c
 *    Data tests and freshness of a dbt manifest: checks.
 *
 * The four tests that dbt brings are kinds of checks of ours.  Any other one
 * is a query that yields what is wrong: a view of it, and a check that it is
 * empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog/environment.h"
#include "catalog/version.h"
#include "common/json.h"
#include "common/names.h"
#include "run/dbt.h"

/* dbt's own tests, and the kinds of checks that they are. */
static const char *const kinds[][2] = {{"not_null", "not_null"},
									   {"unique", "unique"},
									   {"accepted_values", "accepted_values"},
									   {"relationships", "relationship"},
									   {NULL, NULL}};

/*
 * tolerated reads the failures that a condition such as ">10" lets pass;
 * -1: none, -2: it is another condition.
 */
static int64
tolerated(const char *condition)
{
	char		operator[3] = "";
	long long	number;

	if (condition == NULL || sscanf(condition, " %2[!=<>] %lld", operator, & number) != 2)
		return condition == NULL ? -1 : -2;
	if ((strcmp(operator, "!=") == 0 || strcmp(operator, ">") == 0) && number == 0)
		return -1;
	if (strcmp(operator, ">") == 0 && number > 0)
		return number;
	if (strcmp(operator, ">=") == 0 && number > 0)
		return number == 1 ? -1 : number - 1;
	return -2;
}

/*
 * add_severity adds what a failure does; false when dbt's condition cannot
 * be said here.
 */
static bool
add_severity(EtlDbtItem *item, EtlJsonBuilder *definition, int64 *max_failed)
{
	char	   *severity = etl_json_get_text(item->config, "severity");
	bool		warns = severity != NULL && pg_strcasecmp(severity, "warn") == 0;

	*max_failed = tolerated(etl_json_get_text(item->config, warns ? "warn_if" : "error_if"));
	etl_json_add_text(definition, "on_fail", warns ? "warn" : "fail");
	return *max_failed != -2;
}

/*
 * other_parent returns the relation that a relationship looks into; NULL:
 * there is none.
 */
static char *
other_parent(const EtlDbtItem *item, const char *attached)
{
	char	   *found = unconstify(char *, attached);
	Jsonb	   *node;
	ListCell   *cell;

	foreach(cell, etl_dbt_parents(item->node))
		if (strcmp(lfirst(cell), attached) != 0)
			found = lfirst(cell);
	node = etl_dbt_find(item->dbt, found);
	if (node == NULL || etl_dbt_is(etl_json_get(node, "config"), "materialized", "ephemeral"))
		return NULL;
	return etl_environment_resolve(etl_dbt_relation(node));
}

/*
 * tested returns the entry that a test is about.
 */
static char *
tested(const EtlDbtItem *item)
{
	char	   *attached = etl_json_get_text(item->node, "attached_node");
	List	   *parents = etl_dbt_parents(item->node);

	return attached ? attached : list_length(parents) == 1 ? linitial(parents) :
															 NULL;
}

/*
 * as_kind defines a test that is a kind of ours; false when it is none.
 */
static bool
as_kind(EtlDbtItem *item)
{
	Jsonb	   *metadata = etl_json_get(item->node, "test_metadata");
	Jsonb	   *kwargs = metadata ? etl_json_get(metadata, "kwargs") : NULL;
	EtlJsonBuilder *definition = etl_json_object_begin();
	EtlJsonBuilder *options = etl_json_object_begin();
	char	   *attached = tested(item);
	Jsonb	   *node = attached ? etl_dbt_find(item->dbt, attached) : NULL;
	char	   *column = kwargs ? etl_dbt_column(etl_json_get_text(kwargs, "column_name")) : NULL;
	char	   *target = node ? etl_dbt_relation(node) : NULL;
	int64		max_failed;
	int			i = 0;

	if (column == NULL || target == NULL || etl_json_get_text(metadata, "namespace") != NULL ||
		etl_node_owner(etl_environment_resolve(target)) == NULL)
		return false;
	while (kinds[i][0] != NULL && !etl_dbt_is(metadata, "name", kinds[i][0]))
		i++;
	if (kinds[i][0] == NULL || !add_severity(item, definition, &max_failed))
		return false;
	if (strcmp(kinds[i][1], "accepted_values") == 0)
		etl_json_add(options, "values", etl_json_get(kwargs, "values"));
	else if (strcmp(kinds[i][1], "relationship") == 0)
	{
		char	   *to = other_parent(item, attached);
		char	   *field = etl_dbt_column(etl_json_get_text(kwargs, "field"));

		if (to == NULL || field == NULL)
			return false;
		etl_json_add_text(options, "to", to);
		etl_json_add(options, "columns", etl_json_parse(etl_dbt_list(list_make1(field))));
	}
	if (etl_json_get_text(item->config, "where") != NULL)
		etl_json_add_text(options, "where", etl_json_get_text(item->config, "where"));
	if (max_failed > 0)
		etl_json_add_int64(options, "max_failed", max_failed);
	item->target = target;
	etl_json_add_text(definition, "target", target);
	etl_json_add_text(definition, "kind", kinds[i][1]);
	etl_json_add_text(definition, "name", item->part);
	etl_json_add(definition, "columns", etl_json_parse(etl_dbt_list(list_make1(column))));
	etl_json_add(definition, "options", etl_json_object_end(options));
	etl_dbt_define(item, etl_definition_sql("check", etl_json_object_end(definition)), NULL);
	return true;
}

/*
 * as_view defines a view of what a test finds, and a check that it is empty.
 */
static void
as_view(EtlDbtItem *item)
{
	EtlJsonBuilder *view = etl_json_object_begin();
	EtlJsonBuilder *check = etl_json_object_begin();
	EtlJsonBuilder *options = etl_json_object_begin();
	char	   *sql = etl_json_get_text(item->node, "compiled_code");
	char	   *calculation = etl_json_get_text(item->config, "fail_calc");
	int64		max_failed;

	if (sql == NULL || !add_severity(item, check, &max_failed) ||
		(calculation != NULL && strcmp(calculation, "count(*)") != 0))
	{
		etl_dbt_put(item, "skipped",
					sql == NULL ? "it is not compiled" :
								  "its fail_calc, warn_if or error_if is more than a count of rows");
		return;
	}
	etl_dbt_schema(item->target);
	etl_json_add_text(view, "target", item->target);
	etl_json_add_text(view, "query", etl_dbt_query(sql));
	etl_json_add_text(view, "materialized", "view");
	etl_json_add(view, "tags", etl_json_parse("[\"dbt_test\"]"));
	if (etl_dbt_call(item, etl_definition_sql("model", etl_json_object_end(view))) == NULL)
		return;
	etl_json_add_int64(options, "max", Max(max_failed, 0));
	etl_json_add_text(check, "target", item->target);
	etl_json_add_text(check, "kind", "row_count");
	etl_json_add_text(check, "name", item->part);
	etl_json_add(check, "options", etl_json_object_end(options));
	etl_dbt_define(item, etl_definition_sql("check", etl_json_object_end(check)),
				   "a view of what it finds, and a check that it is empty, which runs when the view is due");
}

void
etl_dbt_test(EtlDbtItem *item)
{
	static const char *const unsaid[] = {"limit", "store_failures", "store_failures_as"};

	item->part = etl_json_get_text(item->node, "name");
	for (int i = 0; i < lengthof(unsaid); i++)
		if (etl_json_get_text(item->config, unsaid[i]) != NULL)
			etl_dbt_leave(item, unconstify(char *, unsaid[i]));
	if (!as_kind(item))
		as_view(item);
}

void
etl_dbt_freshness(EtlDbtItem *item)
{
	EtlJsonBuilder *definition = etl_json_object_begin();
	EtlJsonBuilder *options = etl_json_object_begin();
	char	   *column = etl_dbt_column(etl_json_get_text(item->node, "loaded_at_field"));
	Jsonb	   *freshness = etl_json_get(item->node, "freshness");
	Jsonb	   *after = freshness ? etl_json_get(freshness, "warn_after") : NULL;

	if (after == NULL || etl_json_get_text(after, "count") == NULL)
		after = freshness ? etl_json_get(freshness, "error_after") : NULL;
	if (column == NULL || after == NULL || etl_json_get_text(after, "count") == NULL)
		etl_dbt_put(item, "read", NULL);
	else if (etl_node_owner(etl_environment_resolve(item->target)) == NULL)
	{
		etl_dbt_leave(item, "its freshness, as long as no stream feeds it");
		etl_dbt_put(item, "read", NULL);
	}
	else
	{
		item->part = "freshness";
		etl_json_add_text(options, "max_age",
						  psprintf("%s %s", etl_json_get_text(after, "count"),
								   etl_json_get_text(after, "period")));
		etl_json_add_text(definition, "target", item->target);
		etl_json_add_text(definition, "kind", "freshness");
		etl_json_add_text(definition, "on_fail", "warn");
		etl_json_add(definition, "columns", etl_json_parse(etl_dbt_list(list_make1(column))));
		etl_json_add(definition, "options", etl_json_object_end(options));
		etl_dbt_define(item, etl_definition_sql("check", etl_json_object_end(definition)),
					   "read; a stream of etl feeds it");
	}
}
