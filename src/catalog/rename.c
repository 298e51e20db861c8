/*-------------------------------------------------------------------------
 *
 * rename.c
 *    Another name for a node, in all that is stored of it.
 *
 * Columns of etl's tables that hold the name of a node are found by their
 * names (target, node, model, stream, depends_on), so that a table that is
 * added later is not forgotten; those that are called otherwise are listed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/child.h"
#include "catalog/rename.h"
#include "catalog/schedule.h"
#include "catalog/sql.h"
#include "catalog/version.h"

/* further columns with names of nodes, and when they hold one */
static const char *const others[][3] = {
	{"column_edge", "source", "true"},
	{"alert", "object", "t.object_kind = 'node'"},
	{"schedule_event", "argument", "t.kind IN ('file', 'published')"},
	{"project_item", "name", "t.kind IN ('stream', 'model', 'check', 'unit_test')"},
};

/*
 * rename_column changes one column of one table.
 */
static void
rename_column(const char *table, const char *column, const char *condition, EtlParams *params)
{
	etl_sql_exec(psprintf("UPDATE etl.%s AS t SET %s = $2 WHERE t.%s = $1 AND %s", table, column, column,
						  condition),
				 params);
}

/*
 * rename_history gives the versions of the old name to the new one, after
 * those that the new name may have had before.
 */
static void
rename_history(EtlParams *params)
{
	static const char *const follow[][3] = {{"stream", "target", "version"},
											{"model", "target", "version"},
											{"node_state", "target", "built_version"},
											{"kept", "target", "version"}};
	int64		before = etl_sql_int8("SELECT coalesce(max(version), 0)::bigint FROM etl.definition_version"
								" WHERE name = $2 AND kind IN ('stream', 'model', 'check', 'unit_test')"
								" AND $1 <> $2", params);
	EtlParams	more = *params;

	etl_param_int4(&more, (int) before);
	etl_sql_exec("UPDATE etl.definition_version SET name = $2, version = version + $3,"
				 " definition = CASE WHEN definition IS NOT NULL THEN"
				 " definition || jsonb_build_object('target', $2) END"
				 " WHERE name = $1 AND kind IN ('stream', 'model', 'check', 'unit_test')", &more);
	if (before == 0)
		return;
	/* the names themselves have changed already */
	for (int i = 0; i < lengthof(follow); i++)
		etl_sql_exec(psprintf("UPDATE etl.%s SET %s = %s + $3 WHERE %s = $2 AND $1 <> $2", follow[i][0],
							  follow[i][2], follow[i][2], follow[i][1]),
					 &more);
	etl_sql_exec("UPDATE etl.quality_check SET version = version + $3 WHERE target = $2 AND $1 <> $2", &more);
	etl_sql_exec("UPDATE etl.unit_test SET version = version + $3 WHERE target = $2 AND $1 <> $2", &more);
}

void
etl_node_rename(const char *old, const char *new)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, old);
	etl_param_text(&params, new);
	rows = etl_sql_query(
		"SELECT c.relname::text, a.attname::text FROM pg_class AS c JOIN pg_attribute AS a ON"
		" a.attrelid = c.oid WHERE c.relnamespace = 'etl'::regnamespace"
		" AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.atttypid = 'text'::regtype"
		" AND a.attname IN ('target', 'node', 'model', 'stream', 'depends_on')"
		" ORDER BY 1, 2", NULL);
	for (int i = 0; i < rows->n; i++)
		rename_column(etl_row_text(rows, i, "relname"), etl_row_text(rows, i, "attname"), "true", &params);
	etl_sql_exec("UPDATE etl.stream SET options = options || jsonb_build_object('" ETL_CHILD_OF "', $2::text)"
				 " WHERE options ->> '" ETL_CHILD_OF "' = $1", &params);
	for (int i = 0; i < lengthof(others); i++)
		rename_column(others[i][0], others[i][1], others[i][2], &params);
	etl_sql_exec("UPDATE etl.node_state SET inputs = (inputs - $1) || jsonb_build_object($2, inputs -> $1)"
				 " WHERE inputs ? $1", &params);
	/* what is kept of former publications names the node and its inputs, too */
	etl_sql_exec("UPDATE etl.kept SET state = CASE WHEN state -> 'inputs' ? $1 THEN jsonb_set(state,"
				 " '{inputs}', (state -> 'inputs') - $1 || jsonb_build_object($2, state -> 'inputs' -> $1))"
				 " ELSE state END, consumed = (SELECT coalesce(jsonb_agg(e || jsonb_build_object("
				 " 'model', CASE WHEN e ->> 'model' = $1 THEN $2 ELSE e ->> 'model' END,"
				 " 'stream', CASE WHEN e ->> 'stream' = $1 THEN $2 ELSE e ->> 'stream' END)), '[]')"
				 " FROM jsonb_array_elements(consumed) AS e)", &params);
	rename_history(&params);
	params.n = 0;
	etl_param_text(&params, etl_stream_schedule_name(old));
	etl_param_text(&params, etl_stream_schedule_name(new));
	rename_column("schedule_event", "schedule", "true", &params);
}

List *
etl_unit_tests_follow(const char *old, const char *new)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *result = NIL;

	etl_param_text(&params, old);
	etl_param_text(&params, new);
	rows = etl_sql_query(
		"UPDATE etl.unit_test SET given = CASE jsonb_typeof(given) WHEN 'object' THEN"
		" (given - $1) || jsonb_build_object($2, given -> $1)"
		" ELSE (SELECT jsonb_agg((s - $1) || CASE WHEN s ? $1 THEN jsonb_build_object($2, s -> $1)"
		" ELSE '{}' END ORDER BY n) FROM jsonb_array_elements(given) WITH ORDINALITY AS e (s, n)) END"
		" WHERE CASE jsonb_typeof(given) WHEN 'object' THEN given ? $1"
		" ELSE EXISTS (SELECT FROM jsonb_array_elements(given) AS s WHERE s ? $1) END"
		" RETURNING target, name", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlMention *mention = palloc0(sizeof(EtlMention));

		mention->kind = "unit_test";
		mention->name = etl_row_text(rows, i, "target");
		mention->part = etl_row_text(rows, i, "name");
		result = lappend(result, mention);
	}
	return result;
}

void
etl_model_requery(EtlModel *model, const char *query, Jsonb *options, const char *change)
{
	EtlParams	params = {0};

	etl_param_text(&params, model->target);
	etl_param_text(&params, query);
	etl_param_jsonb(&params, options);
	etl_sql_exec("UPDATE etl.node_state AS s SET built_version = m.version + 1 FROM etl.model AS m"
				 " WHERE m.target = $1 AND s.target = $1 AND s.built_version = m.version"
				 " AND $2 IS NOT NULL AND $3 IS NOT NULL", &params);
	etl_sql_exec("UPDATE etl.model SET query = $2, options = $3, version = version + 1,"
				 " defined_at = clock_timestamp() WHERE target = $1", &params);
	model->query = pstrdup(query);
	model->options = options;
	etl_version_change = change;
	PG_TRY();
	{
		(void) etl_defined("model", model->target, NULL, "updated");
	}
	PG_FINALLY();
	{
		etl_version_change = NULL;
	}
	PG_END_TRY();
}

List *
etl_mentions(void)
{
	EtlRows    *rows = etl_sql_query(
		"SELECT 'schedule' AS kind, name, NULL AS part, selector AS text"
		" FROM etl.schedule UNION ALL SELECT 'sla', name, NULL, selector FROM etl.sla"
		" UNION ALL SELECT 'alert', name, NULL, selector FROM etl.alert_rule"
		" UNION ALL SELECT 'event', name, NULL, on_event::text FROM etl.schedule"
		" WHERE on_event IS NOT NULL"
		" UNION ALL SELECT 'check', target, name, options::text FROM etl.quality_check"
		" WHERE kind = 'relationship' ORDER BY 1, 2, 3", NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlMention *mention = palloc0(sizeof(EtlMention));

		mention->kind = etl_row_text(rows, i, "kind");
		mention->name = etl_row_text(rows, i, "name");
		mention->part = etl_row_text(rows, i, "part");
		mention->text = etl_row_text(rows, i, "text");
		result = lappend(result, mention);
	}
	return result;
}

void
etl_mention_set(const EtlMention *mention, const char *text)
{
	EtlParams	params = {0};
	bool		check = strcmp(mention->kind, "check") == 0;
	bool		event = strcmp(mention->kind, "event") == 0;
	const char *table = check ? "quality_check" : event							  ? "schedule" :
											  strcmp(mention->kind, "alert") == 0 ? "alert_rule" :
																					mention->kind;

	etl_param_text(&params, mention->name);
	etl_param_text(&params, text);
	etl_param_text(&params, mention->part);
	etl_sql_exec(psprintf("UPDATE etl.%s SET %s, version = version + 1, defined_at = clock_timestamp()"
						  " WHERE %s", table,
						  check ? "options = $2::jsonb" :
						  event ? "on_event = $2::jsonb" :
								  "selector = $2",
						  check ? "target = $1 AND name = $3" : "name = $1 AND $3 IS NULL"),
				 &params);
	(void) etl_defined(event ? "schedule" : mention->kind, mention->name, mention->part, "updated");
}

List *
etl_functions_naming(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p JOIN pg_language AS l"
						 " ON l.oid = p.prolang WHERE l.lanname IN ('sql', 'plpgsql')"
						 " AND p.pronamespace <> 'pg_catalog'::regnamespace AND p.prosqlbody IS NULL"
						 " AND strpos(p.prosrc, $1) > 0 ORDER BY 1", &params);
	return etl_column_texts(rows, "name");
}
