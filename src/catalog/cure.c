/*-------------------------------------------------------------------------
 *
 * cure.c
 *    Finding the statements that end a failure.
 *
 * The message of an error may be in any language, so what it is about is
 * found in the catalogs; the message only says which of several it is, by
 * the names in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/cure.h"
#include "catalog/sql.h"
#include "common/guc.h"

/*
 * answer runs a query and returns the column "text" of its first row.
 */
static char *
answer(const char *sql, EtlParams *params)
{
	EtlRows    *rows = etl_sql_query(sql, params);

	return rows->n > 0 ? etl_row_text(rows, 0, "text") : NULL;
}

/*
 * about starts the parameters of a query: $1 the node, $2 its owner.
 */
static void
about(EtlParams *params, const EtlCase *failed)
{
	memset(params, 0, sizeof(EtlParams));
	etl_param_text(params, failed->name->canonical);
	etl_param_text(params, failed->owner);
}

static bool
owner_exists(const EtlCase *failed)
{
	return failed->owner != NULL && OidIsValid(get_role_oid(failed->owner, true));
}

/*
 * etl_cure_schema makes the schema that a node's relation is to be in.
 */
char *
etl_cure_schema(const EtlCase *failed)
{
	if (!owner_exists(failed) || OidIsValid(get_namespace_oid(failed->name->schema, true)))
		return NULL;
	return psprintf("CREATE SCHEMA %s AUTHORIZATION %s;", quote_identifier(failed->name->schema),
					quote_identifier(failed->owner));
}

/*
 * etl_cure_grants finds which privileges the owner of a node lacks: on its
 * schema, the relations that it names, functions that the message names, and
 * its own relation.
 */
char *
etl_cure_grants(const EtlCase *failed)
{
	EtlParams	params;

	if (!owner_exists(failed))
		return NULL;
	about(&params, failed);
	etl_param_text(&params, failed->failure->message);
	etl_param_text(&params, failed->model ? failed->model->query : NULL);
	etl_param_text(&params, failed->name->schema);
	return answer(
		"WITH input AS ("
		" SELECT c.oid, c.relname, n.oid AS schema, n.nspname FROM etl.dependency d"
		" JOIN pg_class c ON c.oid = to_regclass(d.depends_on)"
		" JOIN pg_namespace n ON n.oid = c.relnamespace"
		" WHERE d.node = $1 AND (strpos($4, c.relname) > 0 OR strpos($3, c.relname) > 0)),"
		" lacking AS ("
		" SELECT 1 AS step, format('GRANT USAGE, CREATE ON SCHEMA %I TO %I;', nspname, $2) AS statement"
		" FROM pg_namespace WHERE nspname = $5 AND strpos($3, nspname) > 0"
		" AND NOT (has_schema_privilege($2::name, oid, 'USAGE')"
		" AND has_schema_privilege($2::name, oid, 'CREATE'))"
		" UNION SELECT 2, format('GRANT USAGE ON SCHEMA %I TO %I;', nspname, $2) FROM input"
		" WHERE NOT has_schema_privilege($2::name, schema, 'USAGE')"
		" UNION SELECT 3, format('GRANT SELECT ON %I.%I TO %I;', nspname, relname, $2) FROM input"
		" WHERE NOT has_table_privilege($2::name, oid, 'SELECT')"
		" UNION SELECT 4, format('GRANT EXECUTE ON %s %s TO %I;',"
		" CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, oid::regprocedure, $2) FROM pg_proc"
		" WHERE strpos($3 || ' ', ' ' || proname || ' ') > 0"
		" AND NOT has_function_privilege($2::name, oid, 'EXECUTE')"
		" UNION SELECT 5, format('ALTER TABLE %I.%I OWNER TO %I;', nspname, relname, $2)"
		" FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
		" WHERE c.oid = to_regclass($1) AND NOT pg_has_role($2::name, relowner, 'USAGE')"
		" AND strpos($3, relname) > 0)"
		" SELECT string_agg(statement, E'\\n' ORDER BY step, statement) AS text FROM lacking",
		&params);
}

/*
 * etl_cure_server_files lets the owner of a stream read files of the server.
 */
char *
etl_cure_server_files(const EtlCase *failed)
{
	Oid			role = failed->owner ? get_role_oid(failed->owner, true) : InvalidOid;

	if (!OidIsValid(role) || has_privs_of_role(role, get_role_oid("pg_read_server_files", false)))
		return NULL;
	return psprintf("GRANT pg_read_server_files TO %s;", quote_identifier(failed->owner));
}

/*
 * etl_cure_owner makes the role again that a definition belongs to, with
 * what it needs for the node.
 */
char *
etl_cure_owner(const EtlCase *failed)
{
	EtlParams	params;

	if (failed->owner == NULL || owner_exists(failed))
		return NULL;
	about(&params, failed);
	etl_param_text(&params, failed->name->schema);
	etl_param_bool(&params,
				   failed->source != NULL && strcmp(failed->source->connector, "file") == 0);
	return answer(
		"WITH input AS ("
		" SELECT c.relname, n.nspname FROM etl.dependency d"
		" JOIN pg_class c ON c.oid = to_regclass(d.depends_on)"
		" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.node = $1),"
		" needed AS ("
		" SELECT 1 AS step, format('CREATE ROLE %I NOLOGIN;', $2) AS statement"
		" UNION SELECT 2, format('GRANT USAGE, CREATE ON SCHEMA %I TO %I;', nspname, $2)"
		" FROM pg_namespace WHERE nspname = $3"
		" UNION SELECT 3, format('GRANT USAGE ON SCHEMA %I TO %I;', nspname, $2) FROM input"
		" UNION SELECT 4, format('GRANT SELECT ON %I.%I TO %I;', nspname, relname, $2) FROM input"
		" UNION SELECT 5, format('GRANT pg_read_server_files TO %I;', $2) WHERE $4"
		" UNION SELECT 6, format('ALTER TABLE %I.%I OWNER TO %I;', nspname, relname, $2)"
		" FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass($1))"
		" SELECT string_agg(statement, E'\\n' ORDER BY step, statement) AS text FROM needed",
		&params);
}

/*
 * etl_cure_inputs brings back the relations that a model reads and that are
 * gone, where etl has them defined; else it names them.
 */
char *
etl_cure_inputs(const EtlCase *failed)
{
	EtlParams	params;

	about(&params, failed);
	return answer(
		"WITH gone AS (SELECT d.depends_on AS name, s.target IS NOT NULL AS stream,"
		" s.target IS NOT NULL OR m.target IS NOT NULL AS defined,"
		" EXISTS (SELECT FROM etl.load l WHERE l.target = d.depends_on) AS loaded"
		" FROM etl.dependency d LEFT JOIN etl.stream s ON s.target = d.depends_on"
		" LEFT JOIN etl.model m ON m.target = d.depends_on"
		" WHERE d.node = $1 AND to_regclass(d.depends_on) IS NULL)"
		" SELECT CASE WHEN count(*) = 0 THEN NULL WHEN bool_and(defined) THEN"
		" coalesce(string_agg(format('SELECT etl.reload(%L);', name), E'\\n' ORDER BY name)"
		" FILTER (WHERE stream AND loaded) || E'\\n', '') || format('CALL etl.run(%L);', '+' || $1)"
		" ELSE format('Make %s (again), or define %s without it.',"
		" string_agg(name, ', ' ORDER BY name) FILTER (WHERE NOT defined), $1) END AS text FROM gone",
		&params);
}

/* Columns that a node read when it was last analyzed, and that its inputs have no more. */
#define LOST_COLUMNS \
	"lost AS (SELECT DISTINCT e.source, e.source_column, s.target IS NOT NULL AS stream" \
	" FROM etl.column_edge e LEFT JOIN etl.stream s ON s.target = e.source" \
	" WHERE e.target = $1 AND e.source_column <> '*' AND to_regclass(e.source) IS NOT NULL" \
	" AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(e.source)" \
	" AND a.attname = e.source_column AND NOT a.attisdropped))"

/* The type that a column l had, as the models tell that took it over as it was. */
#define FORMER_TYPE \
	"(SELECT format_type(a.atttypid, a.atttypmod) FROM etl.column_edge i" \
	" JOIN pg_attribute a ON a.attrelid = to_regclass(i.target) AND a.attname = i.column_name" \
	" WHERE i.source = l.source AND i.source_column = l.source_column" \
	" AND i.transformation = 'identity' AND NOT a.attisdropped ORDER BY i.target LIMIT 1)"

/*
 * etl_cure_columns brings back columns that are gone: those of streams by
 * reading the source again, others with the type they had.
 */
char *
etl_cure_columns(const EtlCase *failed)
{
	EtlParams	params;

	about(&params, failed);
	return answer(
		"WITH " LOST_COLUMNS ", typed AS (SELECT l.*, " FORMER_TYPE " AS type FROM lost l),"
		" step AS (SELECT DISTINCT 1 AS n, format('SELECT etl.reload(%L);', source) AS statement"
		" FROM typed WHERE stream"
		" UNION SELECT 2, format('ALTER TABLE %s ADD COLUMN %I %s /* or rename what took its place;"
		" its values are gone */;', source, source_column, type) FROM typed WHERE NOT stream"
		" UNION SELECT 3, format('CALL etl.run(%L);', '+' || $1) FROM typed WHERE stream)"
		" SELECT CASE WHEN count(*) = 0 THEN NULL WHEN bool_and(stream OR type IS NOT NULL) THEN"
		" (SELECT string_agg(statement, E'\\n' ORDER BY n, statement) FROM step)"
		" ELSE format('Put %s back, or define %s without it.',"
		" string_agg(source || '.' || quote_ident(source_column), ', '"
		" ORDER BY source, source_column), $1) END AS text FROM typed", &params);
}

/*
 * etl_cure_types gives columns their former type back; where nothing tells
 * it, it names the columns and what they are now.
 */
char *
etl_cure_types(const EtlCase *failed)
{
	EtlParams	params;

	about(&params, failed);
	return answer(
		"WITH lost AS (SELECT DISTINCT e.source, e.source_column, format_type(a.atttypid, a.atttypmod)"
		" AS now FROM etl.column_edge e JOIN pg_attribute a ON a.attrelid = to_regclass(e.source)"
		" AND a.attname = e.source_column AND NOT a.attisdropped WHERE e.target = $1),"
		" typed AS (SELECT l.*, " FORMER_TYPE " AS type FROM lost l),"
		" changed AS (SELECT * FROM typed WHERE type <> now)"
		" SELECT coalesce((SELECT string_agg(format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s"
		" USING %2$I::%3$s;', source, source_column, type), E'\\n' ORDER BY source, source_column)"
		" FROM changed),"
		" format('Give the columns their former types again (they are now: %s), or cast them in the"
		" query of %s.', string_agg(source || '.' || quote_ident(source_column) || ' ' || now, ', '"
		" ORDER BY source, source_column), $1)) AS text FROM typed HAVING count(*) > 0", &params);
}

/*
 * etl_cure_unique puts the rows aside that would be there twice.  The
 * columns stand in the detail, "Key (k)=(1) …", in every language.
 */
char *
etl_cure_unique(const EtlCase *failed)
{
	const char *detail = failed->failure->detail;
	const char *open = detail ? strchr(detail, '(') : NULL;
	const char *close = open ? strstr(open, ")=(") : NULL;
	char	   *columns = close ? pnstrdup(open + 1, close - open - 1) : NULL;

	if (failed->model == NULL || columns == NULL ||
		strcmp(failed->model->materialized, "view") == 0 ||
		strspn(columns, "abcdefghijklmnopqrstuvwxyz0123456789_, ") != strlen(columns))
		return NULL;
	return psprintf("SELECT etl.define_check(%s, 'unique', '{%s}', on_fail => 'quarantine')"
					" /* or let the query yield one row a key */;",
					quote_literal_cstr(failed->name->canonical), columns);
}

/*
 * etl_cure_lock ends the sessions that hold the relation; when they have
 * gone, the run can simply be made again.
 */
char *
etl_cure_lock(const EtlCase *failed)
{
	EtlParams	params;
	char	   *holders;

	about(&params, failed);
	holders = answer(
		"SELECT string_agg(format('SELECT pg_terminate_backend(%s) /* %s has locked %s since %s"
		" and is %s */;', pid, replace(quote_ident(usename), '*/', ''), replace($1, '*/', ''),"
		" date_trunc('second', xact_start), state),"
		" E'\\n' ORDER BY pid) AS text FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
		" AND pid IN (SELECT l.pid FROM pg_locks l WHERE l.granted AND l.locktype = 'relation'"
		" AND l.relation = to_regclass($1) AND l.database ="
		" (SELECT oid FROM pg_database WHERE datname = current_database()))", &params);
	return holders ? holders : etl_cure_again(failed);
}

/*
 * etl_cure_dependent takes a view into etl's care that stands in the way:
 * from then on it is dropped and made again with what it reads.
 */
char *
etl_cure_dependent(const EtlCase *failed)
{
	EtlParams	params;
	const char *message = failed->failure->message;
	const char *space = message ? strchr(message, ' ') : NULL;

	if (space == NULL)
		return NULL;
	memset(&params, 0, sizeof(params));
	etl_param_text(&params, pnstrdup(message, space - message));
	return answer(
		"SELECT format('SELECT etl.define_model(%L, %L, ''view'',"
		" options => ''{\"adopt\": true}'');', $1, rtrim(pg_get_viewdef(oid), ';')) AS text"
		" FROM pg_class WHERE relkind = 'v' AND oid = (SELECT min(c.oid) FROM pg_class c"
		" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE format('%I.%I', nspname, relname) = $1)"
		" AND NOT EXISTS (SELECT FROM etl.model WHERE target = $1)", &params);
}

/*
 * etl_cure_frozen adds the column that a frozen stream lacks.
 */
char *
etl_cure_frozen(const EtlCase *failed)
{
	char	   *column = failed->subject ? etl_snake_case(failed->subject) : NULL;
	Oid			relid =
		failed->stream ? etl_name_relation(failed->name->canonical) : InvalidOid;

	if (column == NULL || !OidIsValid(relid) || get_attnum(relid, column) != InvalidAttrNumber)
		return NULL;
	return psprintf("ALTER TABLE %s ADD COLUMN %s text;", failed->name->canonical,
					quote_identifier(column));
}

/*
 * etl_cure_file reads a file again that has changed.
 */
char *
etl_cure_file(const EtlCase *failed)
{
	if (failed->stream == NULL || failed->subject == NULL)
		return NULL;
	return psprintf("SELECT etl.reload(%s, %s);", quote_literal_cstr(failed->name->canonical),
					quote_literal_cstr(failed->subject));
}

/*
 * etl_cure_horizon reads the streams again whose rows a model would lose.
 */
char *
etl_cure_horizon(const EtlCase *failed)
{
	EtlParams	params;

	about(&params, failed);
	etl_param_text(&params, failed->failure->message);
	return answer(
		"SELECT string_agg(format('SELECT etl.reload(%L);', s.target), E'\\n' ORDER BY s.target)"
		" || format(E'\\nCALL etl.run(%L);', '+' || $1) AS text"
		" FROM etl.dependency d JOIN etl.stream s ON s.target = d.depends_on"
		" WHERE d.node = $1 AND strpos($3, s.target) > 0 HAVING count(*) > 0", &params);
}

/*
 * extend_setting adds a word to a list in a setting of the server.
 */
static char *
extend_setting(const char *name, const char *list, const char *word)
{
	const char *preloaded = GetConfigOption("shared_preload_libraries", true, false);

	if (word == NULL)
		return NULL;
	return psprintf("%sALTER SYSTEM SET %s = %s;\nSELECT pg_reload_conf();",
					preloaded && strstr(preloaded, "etl") ? "" : "LOAD 'etl';\n", name,
					quote_literal_cstr(list && list[0] ? psprintf("%s,%s", list, word) : word));
}

char *
etl_cure_directories(const EtlCase *failed)
{
	return extend_setting("etl.allowed_directories", etl_allowed_directories, failed->subject);
}

char *
etl_cure_hosts(const EtlCase *failed)
{
	return extend_setting("etl.allowed_hosts", etl_allowed_hosts, failed->subject);
}

/*
 * etl_cure_space tells where the space is used up.
 */
char *
etl_cure_space(const EtlCase *failed)
{
	EtlParams	params;

	about(&params, failed);
	return answer(
		"SELECT format('Free space in the file system of tablespace %s%s, or move it with ALTER TABLE %s"
		" SET TABLESPACE.', t.spcname, CASE WHEN pg_tablespace_location(t.oid) <> '' THEN ' ('"
		" || pg_tablespace_location(t.oid) || ')' ELSE ' (the data directory)' END, $1) AS text"
		" FROM pg_tablespace t WHERE t.oid = coalesce((SELECT nullif(reltablespace, 0) FROM pg_class"
		" WHERE oid = to_regclass($1)), (SELECT dattablespace FROM pg_database"
		" WHERE datname = current_database()))", &params);
}

/*
 * etl_cure_secret names the secrets that a source sends.
 */
char *
etl_cure_secret(const EtlCase *failed)
{
	EtlParams	params = {0};

	if (failed->source == NULL)
		return NULL;
	etl_param_text(&params, failed->source->name);
	return answer(
		"SELECT CASE WHEN count(secret) = 0 THEN format('Correct the option \"auth\" of source %s with"
		" etl.define_source().', $1) ELSE format('Store the value that is good now: %s; then source %s"
		" sends it.', string_agg(DISTINCT format('SELECT etl.define_secret(%L, …)', secret #>> '{}'),"
		" ' or '), $1) END AS text"
		" FROM etl.source s LEFT JOIN LATERAL jsonb_path_query(s.options, '$.**.secret', silent => true)"
		" AS secret ON jsonb_typeof(secret) = 'string' WHERE s.name = $1", &params);
}

/*
 * etl_cure_again makes the tasks of a run again that did not succeed.
 */
char *
etl_cure_again(const EtlCase *failed)
{
	if (failed->failure->run_id == 0)
		return NULL;
	return psprintf("CALL etl.run(retry_of => " INT64_FORMAT ");", failed->failure->run_id);
}

/* ---- runs that wait ---- */

/*
 * etl_remedy_queued: etl.status() knows the processes; what it says is asked
 * as SQL, for the layer of workers is above this one.
 */
void
etl_remedy_queued(int64 run_id, EtlRemedy *remedy)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	const char *preloaded = GetConfigOption("shared_preload_libraries", true, false);
	char	   *lane;
	char	   *scheduler;
	int64		before;

	etl_param_int8(&params, run_id);
	rows = etl_sql_query(
		"SELECT CASE WHEN r.held THEN r.lane END AS held, (SELECT state FROM etl.status()"
		" WHERE process = 'scheduler') AS scheduler, (SELECT string_agg(pid || ' ' || detail, ', '"
		" ORDER BY pid) FROM etl.status() WHERE process = 'task' AND state = 'busy') AS busy,"
		" (SELECT min(o.run_id) FROM etl.run o WHERE o.lane = r.lane AND o.run_id < r.run_id"
		" AND o.status IN ('queued', 'running')) AS before"
		" FROM etl.run r WHERE r.run_id = $1", &params);
	lane = etl_row_text(rows, 0, "held");
	scheduler = etl_row_text(rows, 0, "scheduler");
	before = etl_row_int8(rows, 0, "before");
	remedy->is_sql = true;
	if (lane != NULL)
	{
		remedy->cause = psprintf("Somebody paused %s.", lane);
		remedy->remedy = psprintf("SELECT etl.resume(%s);", quote_literal_cstr(lane));
	}
	else if (preloaded == NULL || strstr(preloaded, "etl") == NULL)
	{
		remedy->cause = "No process takes queued runs: shared_preload_libraries does not name etl.";
		remedy->remedy = "CALL etl.tick();";
	}
	else if (scheduler != NULL && strcmp(scheduler, "paused") == 0)
	{
		remedy->cause = "Everything is paused, because this database was copied or restored.";
		remedy->remedy = "SELECT etl.resume();";
	}
	else if (before != 0)
	{
		remedy->cause = psprintf("Run " INT64_FORMAT " goes before it.", before);
		remedy->remedy = psprintf("SELECT etl.wait(" INT64_FORMAT ");", before);
	}
	else if (scheduler != NULL && strcmp(scheduler, "waiting") == 0)
	{
		char	   *busy = etl_row_text(rows, 0, "busy");

		remedy->cause = psprintf("All etl.max_workers = %d workers are busy%s%s.", etl_max_workers,
								 busy ? ": " : "", busy ? busy : "");
		remedy->remedy = psprintf("ALTER SYSTEM SET etl.max_workers = %d;\nSELECT pg_reload_conf();",
								  etl_max_workers + 1);
	}
	else
	{
		remedy->cause = "It has just been queued, or the processes are just starting.";
		remedy->remedy = psprintf("SELECT etl.wait(" INT64_FORMAT ");", run_id);
	}
}
