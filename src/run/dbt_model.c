/*-------------------------------------------------------------------------
 *
 * dbt_model.c
 *    Models and snapshots of a dbt manifest: their definitions here.
 *
 * The query is the compiled one, which must be that of a full refresh: what
 * is incremental about it, the engine finds out itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "catalog/environment.h"
#include "catalog/version.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "model/model.h"
#include "run/dbt.h"
#include "run/run.h"

/* What config says that is read here, or that means nothing here. */
static const char *const known_keys[] = {
	"access", "alias", "batch_size", "begin", "check_cols", "column_types", "concurrent_batches", "contract",
	"database", "docs", "enabled", "event_time", "freshness", "grants", "group", "hard_deletes",
	"incremental_strategy", "indexes", "invalidate_hard_deletes", "lookback", "materialized",
	"on_configuration_change", "on_schema_change", "packages", "persist_docs", "post-hook", "pre-hook",
	"quoting", "schema", "strategy", "tags", "target_database", "target_schema", "unique_key", "updated_at",
	NULL};

/* Words of dbt and of here. */
static const char *const words[][2] = {
	{"merge", "merge"},			  {"append", "append"}, {"delete+insert", "delete_insert"},
	{"ignore", "ignore"},		  {"fail", "fail"},		{"append_new_columns", "append"},
	{"sync_all_columns", "sync"}, {NULL, NULL}};

/*
 * word_for returns our word for one of dbt's; NULL: there is none.
 */
static const char *
word_for(const char *word)
{
	for (int i = 0; word != NULL && words[i][0] != NULL; i++)
		if (strcmp(words[i][0], word) == 0)
			return words[i][1];
	return NULL;
}

/*
 * is_given tells whether a value of config says anything.
 */
static bool
is_given(const char *value)
{
	return value != NULL && strcmp(value, "{}") != 0 && strcmp(value, "[]") != 0 && strcmp(value, "") != 0;
}

/*
 * leave_unknown lists what config says that nothing here understands.
 */
static void
leave_unknown(EtlDbtItem *item)
{
	ListCell   *cell;

	foreach(cell, etl_json_keys(item->config))
	{
		char	   *value = etl_json_get_text(item->config, lfirst(cell));
		int			i = 0;

		while (known_keys[i] != NULL && strcmp(known_keys[i], lfirst(cell)) != 0)
			i++;
		/* an object of nulls says nothing: the names of a snapshot's columns */
		if (known_keys[i] == NULL && is_given(value) && (*value != '{' || strstr(value, ": null") == NULL))
			etl_dbt_leave(item, lfirst(cell));
	}
	if (is_given(etl_json_get_text(item->node, "constraints")))
		etl_dbt_leave(item, "constraints of the whole model");
}

/*
 * tags_of lists the tags of a node; in those that no selector could name,
 * spaces and commas become underscores.
 */
static List *
tags_of(EtlDbtItem *item)
{
	List	   *tags = NIL;
	ListCell   *cell;

	foreach(cell, etl_json_get_list(item->node, "tags"))
	{
		char	   *tag = pstrdup(lfirst(cell));

		for (char *c = tag; (c = strpbrk(c, " \t\n\r,")) != NULL;)
			*c = '_';
		if (strcmp(tag, lfirst(cell)) != 0)
			etl_dbt_leave(item, psprintf("tag \"%s\", which is \"%s\" here", (char *) lfirst(cell), tag));
		if (!etl_name_among(tags, tag))
			tags = lappend(tags, tag);
	}
	return tags;
}

/*
 * key_of reads unique_key; NIL when there is none, or it is an expression.
 */
static List *
key_of(EtlDbtItem *item)
{
	List	   *key = NIL;
	ListCell   *cell;

	foreach(cell, etl_json_get_list(item->config, "unique_key"))
	{
		char	   *column = etl_dbt_column(lfirst(cell));

		if (column == NULL)
		{
			etl_dbt_leave(item, psprintf("unique_key \"%s\", an expression: yield it as a column",
										 (char *) lfirst(cell)));
			return NIL;
		}
		key = lappend(key, column);
	}
	return key;
}

/*
 * add_hooks adds the hooks that are plain SQL.
 */
static void
add_hooks(EtlDbtItem *item, EtlJsonBuilder *options, const char *key, const char *option)
{
	List	   *statements = NIL;
	ListCell   *cell;

	foreach(cell, etl_json_get_list(item->config, key))
	{
		char	   *sql = etl_json_get_text(etl_json_parse(lfirst(cell)), "sql");

		if (sql == NULL)
			continue;
		if (strstr(sql, "{{") != NULL || strstr(sql, "{%") != NULL)
			etl_dbt_leave(item, psprintf("a %s, which a manifest holds as a template", key));
		else
			statements = lappend(statements, sql);
	}
	if (statements != NIL)
		etl_json_add(options, option, etl_json_parse(etl_dbt_list(statements)));
}

/*
 * add_indexes adds the indexes.
 */
static void
add_indexes(EtlDbtItem *item, EtlJsonBuilder *options)
{
	StringInfoData lists[2];
	ListCell   *cell;

	initStringInfo(&lists[0]);
	initStringInfo(&lists[1]);
	foreach(cell, etl_json_get_list(item->config, "indexes"))
	{
		Jsonb	   *index = etl_json_parse(lfirst(cell));
		StringInfo	list = &lists[etl_json_get_bool(index, "unique", false) ? 1 : 0];

		if (etl_json_get_text(index, "type") != NULL && !etl_dbt_is(index, "type", "btree"))
		{
			etl_dbt_leave(item, psprintf("an index of type %s", etl_json_get_text(index, "type")));
			continue;
		}
		appendStringInfo(list, "%s%s", list->len ? ", " : "",
						 etl_dbt_list(etl_json_get_list(index, "columns")));
	}
	if (lists[0].len)
		etl_json_add(options, "indexes", etl_json_parse(psprintf("[%s]", lists[0].data)));
	if (lists[1].len)
		etl_json_add(options, "unique", etl_json_parse(psprintf("[%s]", lists[1].data)));
}

/*
 * add_grants adds the privileges: by role here, by privilege there.
 */
static void
add_grants(EtlDbtItem *item, EtlJsonBuilder *options)
{
	Jsonb	   *grants = etl_json_get(item->config, "grants");
	List	   *privileges = grants ? etl_json_keys(grants) : NIL;
	EtlJsonBuilder *roles = etl_json_object_begin();
	List	   *seen = NIL;
	bool		given = false;
	ListCell   *cell;
	ListCell   *role;

	foreach(cell, privileges)
		foreach(role, etl_json_get_list(grants, lfirst(cell)))
		{
			List	   *of_role = NIL;
			ListCell   *other;

			if (etl_name_among(seen, lfirst(role)))
				continue;
			seen = lappend(seen, lfirst(role));
			if (pg_strcasecmp(lfirst(role), "public") != 0 && !OidIsValid(get_role_oid(lfirst(role), true)))
			{
				etl_dbt_leave(item, psprintf("grants to role \"%s\", which does not exist",
											 (char *) lfirst(role)));
				continue;
			}
			given = true;
			foreach(other, privileges)
				if (etl_name_among(etl_json_get_list(grants, lfirst(other)), lfirst(role)))
					of_role = lappend(of_role, asc_toupper(lfirst(other), strlen(lfirst(other))));
			etl_json_add(roles, lfirst(role), etl_json_parse(etl_dbt_list(of_role)));
		}
	if (given)
		etl_json_add(options, "grants", etl_json_object_end(roles));
}

/*
 * add_constraint adds one constraint of a column, which dbt makes only under
 * an enforced contract.
 */
static void
add_constraint(EtlDbtItem *item, const char *column, const Jsonb *constraint, List **not_null, List **others)
{
	const char *name = quote_identifier(column);
	char	   *expression = etl_json_get_text(constraint, "expression");

	if (etl_dbt_is(constraint, "type", "not_null"))
		*not_null = lappend(*not_null, unconstify(char *, column));
	else if (etl_dbt_is(constraint, "type", "unique"))
		*others = lappend(*others, psprintf("UNIQUE (%s)", name));
	else if (etl_dbt_is(constraint, "type", "primary_key"))
		*others = lappend(*others, psprintf("PRIMARY KEY (%s)", name));
	else if (etl_dbt_is(constraint, "type", "check") && expression != NULL)
		*others = lappend(*others, psprintf("CHECK (%s)", expression));
	else
		etl_dbt_leave(item, psprintf("constraint %s of column %s",
									 etl_json_get_text(constraint, "type"), column));
}

/*
 * add_contract adds what an enforced contract promises.
 */
static void
add_contract(EtlDbtItem *item, EtlJsonBuilder *options, bool stored)
{
	Jsonb	   *contract = etl_json_get(item->config, "contract");
	Jsonb	   *columns = etl_json_get(item->node, "columns");
	EtlJsonBuilder *types = etl_json_object_begin();
	EtlJsonBuilder *promise = etl_json_object_begin();
	List	   *not_null = NIL;
	List	   *others = NIL;
	ListCell   *cell;
	ListCell   *constraint;

	if (contract == NULL || !etl_json_get_bool(contract, "enforced", false) || columns == NULL)
		return;
	foreach(cell, etl_json_keys(columns))
	{
		Jsonb	   *column = etl_json_get(columns, lfirst(cell));

		etl_json_add_text(types, lfirst(cell), etl_json_get_text(column, "data_type"));
		foreach(constraint, stored ? etl_json_get_list(column, "constraints") : NIL)
			add_constraint(item, lfirst(cell), etl_json_parse(lfirst(constraint)), &not_null, &others);
	}
	etl_json_add(promise, "columns", etl_json_object_end(types));
	if (not_null != NIL)
		etl_json_add(promise, "not_null", etl_json_parse(etl_dbt_list(not_null)));
	etl_json_add(options, "contract", etl_json_object_end(promise));
	if (others != NIL)
		etl_json_add(options, "constraints", etl_json_parse(etl_dbt_list(others)));
}

/*
 * add_comments adds the descriptions of columns.
 */
static void
add_comments(EtlDbtItem *item, EtlJsonBuilder *options)
{
	Jsonb	   *columns = etl_json_get(item->node, "columns");
	EtlJsonBuilder *comments = etl_json_object_begin();
	bool		any = false;
	ListCell   *cell;

	foreach(cell, columns ? etl_json_keys(columns) : NIL)
	{
		char	   *text = etl_json_get_text(etl_json_get(columns, lfirst(cell)), "description");

		if (!is_given(text))
			continue;
		etl_json_add_text(comments, lfirst(cell), text);
		any = true;
	}
	if (any)
		etl_json_add(options, "comments", etl_json_object_end(comments));
}

/* ---- by materialization ---- */

/*
 * add_incremental adds how the rows of an incremental model come in.
 */
static void
add_incremental(EtlDbtItem *item, EtlJsonBuilder *definition, EtlJsonBuilder *options)
{
	char	   *strategy = etl_json_get_text(item->config, "incremental_strategy");
	char	   *change = etl_json_get_text(item->config, "on_schema_change");
	char	   *size = etl_json_get_text(item->config, "batch_size");
	List	   *key = strategy != NULL && strcmp(strategy, "append") == 0 ? NIL : key_of(item);

	if (word_for(change) != NULL)
		etl_json_add_text(options, "on_schema_change", word_for(change));
	if (key != NIL)
		etl_json_add(definition, "key", etl_json_parse(etl_dbt_list(key)));
	if (strategy != NULL && strcmp(strategy, "microbatch") == 0 && size != NULL)
	{
		etl_json_add_text(definition, "event_time", etl_json_get_text(item->config, "event_time"));
		etl_json_add_text(definition, "batch_size", psprintf("1 %s", size));
		etl_json_add_text(definition, "lookback",
						  psprintf("%d %s", (int) etl_json_get_int64(item->config, "lookback", 1), size));
		if (etl_json_get_text(item->config, "begin") != NULL)
			etl_json_add_text(options, "begin", etl_json_get_text(item->config, "begin"));
		return;
	}
	/* the engine finds the way of a key by itself */
	if (strategy != NULL && word_for(strategy) == NULL)
		etl_dbt_leave(item, psprintf("incremental_strategy %s", strategy));
	else if (strategy != NULL && (key != NIL || strcmp(strategy, "append") == 0))
		etl_json_add_text(definition, "strategy", word_for(strategy));
}

/*
 * add_snapshot adds how a snapshot tells versions apart.
 */
static void
add_snapshot(EtlDbtItem *item, EtlJsonBuilder *definition, EtlJsonBuilder *options)
{
	bool		by_time = etl_dbt_is(item->config, "strategy", "timestamp");
	char	   *deletes = etl_json_get_text(item->config, "hard_deletes");

	etl_json_add(definition, "key", etl_json_parse(etl_dbt_list(key_of(item))));
	etl_json_add_text(definition, "strategy", by_time ? "timestamp" : "check");
	if (by_time)
		etl_json_add_text(definition, "event_time",
						  etl_dbt_column(etl_json_get_text(item->config, "updated_at")));
	else if (!etl_dbt_is(item->config, "check_cols", "all"))
		etl_json_add(options, "check_columns",
					 etl_json_parse(etl_dbt_list(etl_json_get_list(item->config, "check_cols"))));
	if (deletes == NULL && etl_json_get_bool(item->config, "invalidate_hard_deletes", false))
		deletes = "invalidate";
	if (deletes != NULL)
		etl_json_add_text(options, "hard_deletes", deletes);
	etl_dbt_leave(item, "dbt_scd_id and dbt_updated_at; dbt_valid_from and dbt_valid_to are "
						"valid_from and valid_to");
}

/*
 * reads_itself tells whether a query was compiled as that of an increment.
 */
static bool
reads_itself(const char *query, const char *target)
{
	EtlModel	model = {.query = unconstify(char *, query), .options = etl_json_parse("{}")};

	model.owner = GetUserNameFromId(GetUserId(), false);
	return etl_name_among(etl_model_names(&model), target);
}

/*
 * define defines the model, taking over the relation that dbt has built.
 */
static void
define(EtlDbtItem *item, const char *kind, const char *query)
{
	EtlJsonBuilder *definition = etl_json_object_begin();
	EtlJsonBuilder *options = etl_json_object_begin();
	bool		stored = strcmp(kind, "view") != 0;
	bool		there = !etl_environment_on() && OidIsValid(etl_name_relation(item->target)) &&
				 etl_node_owner(item->target) == NULL;

	etl_json_add_text(definition, "target", item->target);
	etl_json_add_text(definition, "query", query);
	etl_json_add_text(definition, "materialized", kind);
	if (strcmp(kind, "incremental") == 0)
		add_incremental(item, definition, options);
	else if (strcmp(kind, "snapshot") == 0)
		add_snapshot(item, definition, options);
	add_hooks(item, options, "pre-hook", "pre_hook");
	add_hooks(item, options, "post-hook", "post_hook");
	if (stored && strcmp(kind, "snapshot") != 0)
		add_indexes(item, options);
	add_grants(item, options);
	add_contract(item, options, stored && strcmp(kind, "materialized_view") != 0);
	add_comments(item, options);
	leave_unknown(item);
	if (there)
		etl_json_add(options, "adopt", etl_json_parse("true"));
	etl_json_add(definition, "options", etl_json_object_end(options));
	etl_json_add(definition, "tags", etl_json_parse(etl_dbt_list(tags_of(item))));
	if (is_given(etl_json_get_text(item->node, "description")))
		etl_json_add_text(definition, "description", etl_json_get_text(item->node, "description"));
	etl_dbt_define(item, etl_definition_sql("model", etl_json_object_end(definition)),
				   there ? "it takes over the relation that is there" : NULL);
}

void
etl_dbt_model(EtlDbtItem *item)
{
	char	   *kind = etl_json_get_text(item->config, "materialized");
	char	   *sql = etl_json_get_text(item->node, "compiled_code");
	char	   *query;

	if (kind != NULL && strcmp(kind, "ephemeral") == 0)
	{
		etl_dbt_put(item, "inlined", "the models that read it contain it; a view would do the same");
		return;
	}
	if (etl_dbt_is(item->node, "language", "python") || sql == NULL)
	{
		etl_dbt_put(item, "skipped",
					sql == NULL ? "it is not compiled: dbt compile --full-refresh does that" :
								  "a model in Python");
		return;
	}
	if (kind == NULL || (strcmp(kind, "view") != 0 && strcmp(kind, "table") != 0 &&
						 strcmp(kind, "incremental") != 0 && strcmp(kind, "snapshot") != 0 &&
						 strcmp(kind, "materialized_view") != 0))
	{
		etl_dbt_put(item, "skipped", psprintf("materialization %s has no counterpart", kind ? kind : "none"));
		return;
	}
	query = etl_dbt_query(sql);
	if (reads_itself(query, item->target))
	{
		etl_dbt_put(item, "skipped",
					"its SQL is that of an increment: compile with dbt compile --full-refresh");
		return;
	}
	if (strcmp(kind, "snapshot") == 0 && OidIsValid(etl_name_relation(item->target)) &&
		etl_node_owner(item->target) == NULL && !etl_environment_on())
	{
		etl_dbt_put(item, "skipped",
					"the snapshot of dbt that is there has other columns: rename it, import again, "
					"and insert its "
					"history");
		return;
	}
	etl_dbt_schema(item->target);
	define(item, kind, query);
}
