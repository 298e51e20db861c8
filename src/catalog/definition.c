/*-------------------------------------------------------------------------
 *
 * definition.c
 *    What is defined: reading and writing sources, streams, models, checks.
 *
 * A store compares the new definition with the stored one as JSON, so that
 * 'unchanged' means that nothing a user can see would change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "catalog/ahead.h"
#include "catalog/definition.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/errors.h"
#include "common/options.h"
#include "common/run_as.h"

/*
 * store runs an upsert whose statement returns 'created', 'updated' or
 * 'unchanged', after checking the owner of what is there.
 */
static const char *
store(const char *kind, const char *name, const char *part, const char *owner, const char *sql,
	  EtlParams *params)
{
	EtlRows    *rows;

	if (owner != NULL)
		etl_check_owner(owner, kind, part ? part : name);
	rows = etl_sql_query(sql, params);
	return etl_defined(kind, name, part,
					   rows->n == 0						? "unchanged" :
					   etl_row_bool(rows, 0, "created") ? "created" :
														  "updated");
}

/*
 * raise_undefined reports a missing definition, with the nearest of 'names'.
 */
static void
raise_undefined(const char *kind, const char *name, const char *names_sql)
{
	EtlRows    *rows = etl_sql_query(names_sql, NULL);
	List	   *names = NIL;
	const char *nearest;

	for (int i = 0; i < rows->n; i++)
		names = lappend(names, etl_row_text(rows, i, "name"));
	nearest = etl_nearest(name, names);
	ereport(ERROR,
			(errcode(ETL_ERR_UNDEFINED), errmsg("%s \"%s\" is not defined", kind, name),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) :
					   errhint("Define it with etl.define_%s().",
							   strcmp(kind, "node") == 0 ? "stream() or etl.define_model" : kind)));
}

/* ---- sources ---- */

const char *
etl_source_store(const EtlSource *source)
{
	EtlSource  *old = etl_source_find(source->name);
	EtlParams	params = {0};

	etl_param_text(&params, source->name);
	etl_param_text(&params, source->connector);
	etl_param_jsonb(&params, source->options);
	etl_param_text(&params, source->description);
	etl_param_text(&params, old ? old->owner : source->owner);
	return store("source", source->name, NULL, old ? old->owner : NULL,
				 "INSERT INTO etl.source AS s (name, connector, options, description, owner)"
				 " VALUES ($1, $2, $3, $4, $5)"
				 " ON CONFLICT (name) DO UPDATE SET connector = excluded.connector,"
				 " options = excluded.options, description = excluded.description,"
				 " version = s.version + 1, defined_at = clock_timestamp()"
				 " WHERE (s.connector, s.options, s.description)"
				 " IS DISTINCT FROM (excluded.connector, excluded.options, excluded.description)"
				 " RETURNING xmax = 0 AS created", &params);
}

EtlSource *
etl_source_find(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	EtlSource  *source;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.source WHERE name = $1", &params);
	if (rows->n == 0)
		return NULL;
	source = palloc0(sizeof(EtlSource));
	source->name = etl_row_text(rows, 0, "name");
	source->connector = etl_row_text(rows, 0, "connector");
	source->options = etl_row_jsonb(rows, 0, "options");
	source->description = etl_row_text(rows, 0, "description");
	source->owner = etl_row_text(rows, 0, "owner");
	source->version = etl_row_int4(rows, 0, "version");
	return source;
}

EtlSource *
etl_source_get(const char *name)
{
	EtlSource  *source = etl_source_find(name);

	if (source == NULL)
		raise_undefined("source", name, "SELECT name FROM etl.source");
	return source;
}

/* ---- streams ---- */

/*
 * forget_event_times clears what loads landed of another event time.
 */
static void
forget_event_times(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_sql_exec("UPDATE etl.load SET last_event_time = NULL"
				 " WHERE target = $1 AND last_event_time IS NOT NULL", &params);
}

const char *
etl_stream_store(const EtlStream *stream)
{
	EtlStream  *old = etl_stream_find(stream->target);
	EtlParams	params = {0};

	if (old != NULL && strcmp(old->event_time ? old->event_time : "",
							  stream->event_time ? stream->event_time : "") != 0)
		forget_event_times(stream->target);
	etl_param_text(&params, stream->target);
	etl_param_text(&params, stream->source);
	etl_param_jsonb(&params, stream->options);
	etl_param_text(&params, stream->format);
	etl_param_text(&params, stream->columns);
	etl_param_texts(&params, stream->key);
	etl_param_text(&params, stream->mode);
	etl_param_text(&params, stream->event_time);
	etl_param_text(&params, stream->schema_policy);
	etl_param_jsonb(&params, stream->contract);
	etl_param_texts(&params, stream->tags);
	etl_param_text(&params, stream->description);
	etl_param_jsonb(&params, stream->settings);
	etl_param_text(&params, old ? old->owner : stream->owner);
	return store("stream", stream->target, NULL, old ? old->owner : NULL,
				 "INSERT INTO etl.stream AS s (target, source, options, format, columns, key, mode,"
				 " event_time, schema_policy, contract, tags, description, settings, owner)"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
				 " ON CONFLICT (target) DO UPDATE SET source = excluded.source,"
				 " options = excluded.options, format = excluded.format, columns = excluded.columns,"
				 " key = excluded.key, mode = excluded.mode, event_time = excluded.event_time,"
				 " schema_policy = excluded.schema_policy, contract = excluded.contract,"
				 " tags = excluded.tags, description = excluded.description,"
				 " settings = excluded.settings, version = s.version + 1, defined_at = clock_timestamp()"
				 " WHERE (s.source, s.options, s.format, s.columns, s.key, s.mode, s.event_time,"
				 " s.schema_policy, s.contract, s.tags, s.description, s.settings)"
				 " IS DISTINCT FROM (excluded.source, excluded.options, excluded.format,"
				 " excluded.columns, excluded.key, excluded.mode, excluded.event_time,"
				 " excluded.schema_policy, excluded.contract, excluded.tags, excluded.description,"
				 " excluded.settings)"
				 " RETURNING xmax = 0 AS created", &params);
}

/*
 * read_stream makes the struct of one row.
 */
static EtlStream *
read_stream(EtlRows *rows, int i)
{
	EtlStream  *stream = palloc0(sizeof(EtlStream));

	stream->target = etl_row_text(rows, i, "target");
	stream->source = etl_row_text(rows, i, "source");
	stream->options = etl_row_jsonb(rows, i, "options");
	stream->format = etl_row_text(rows, i, "format");
	stream->columns = etl_row_text(rows, i, "columns");
	stream->key = etl_row_texts(rows, i, "key");
	stream->mode = etl_row_text(rows, i, "mode");
	stream->event_time = etl_row_text(rows, i, "event_time");
	stream->schema_policy = etl_row_text(rows, i, "schema_policy");
	stream->contract = etl_row_jsonb(rows, i, "contract");
	stream->tags = etl_row_texts(rows, i, "tags");
	stream->description = etl_row_text(rows, i, "description");
	stream->settings = etl_row_jsonb(rows, i, "settings");
	stream->owner = etl_row_text(rows, i, "owner");
	stream->version = etl_row_int4(rows, i, "version");
	return stream;
}

EtlStream *
etl_stream_find(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT * FROM etl.stream WHERE target = $1", &params);
	return rows->n == 0 ? NULL : read_stream(rows, 0);
}

EtlStream *
etl_stream_get(const char *target)
{
	EtlStream  *stream = etl_stream_find(target);

	if (stream == NULL)
		raise_undefined("stream", target, "SELECT target AS name FROM etl.stream");
	return stream;
}

List *
etl_stream_all(void)
{
	EtlRows    *rows = etl_sql_query("SELECT * FROM etl.stream ORDER BY target COLLATE \"C\"", NULL);
	List	   *streams = NIL;

	for (int i = 0; i < rows->n; i++)
		streams = lappend(streams, read_stream(rows, i));
	return streams;
}

/* ---- models ---- */

const char *
etl_model_store(const EtlModel *model)
{
	EtlModel   *old = etl_model_find(model->target);
	EtlParams	params = {0};

	etl_param_text(&params, model->target);
	etl_param_text(&params, model->query);
	etl_param_text(&params, model->materialized);
	etl_param_texts(&params, model->key);
	etl_param_text(&params, model->strategy);
	etl_param_text(&params, model->event_time);
	etl_param_datum(&params, INTERVALOID, PointerGetDatum(model->batch_size), model->batch_size == NULL);
	etl_param_datum(&params, INTERVALOID, PointerGetDatum(model->lookback), model->lookback == NULL);
	etl_param_jsonb(&params, model->options);
	etl_param_texts(&params, model->tags);
	etl_param_text(&params, model->description);
	etl_param_jsonb(&params, model->settings);
	etl_param_text(&params, old ? old->owner : model->owner);
	return store("model", model->target, NULL, old ? old->owner : NULL,
				 "INSERT INTO etl.model AS m (target, query, materialized, key, strategy, event_time,"
				 " batch_size, lookback, options, tags, description, settings, owner)"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
				 " ON CONFLICT (target) DO UPDATE SET query = excluded.query,"
				 " materialized = excluded.materialized, key = excluded.key,"
				 " strategy = excluded.strategy, event_time = excluded.event_time,"
				 " batch_size = excluded.batch_size, lookback = excluded.lookback,"
				 " options = excluded.options, tags = excluded.tags,"
				 " description = excluded.description, settings = excluded.settings,"
				 " resolved = false, version = m.version + 1, defined_at = clock_timestamp()"
				 " WHERE (m.query, m.materialized, m.key, m.strategy, m.event_time, m.batch_size,"
				 " m.lookback, m.options, m.tags, m.description, m.settings)"
				 " IS DISTINCT FROM (excluded.query, excluded.materialized, excluded.key,"
				 " excluded.strategy, excluded.event_time, excluded.batch_size, excluded.lookback,"
				 " excluded.options, excluded.tags, excluded.description, excluded.settings)"
				 " RETURNING xmax = 0 AS created", &params);
}

/*
 * read_model makes the struct of one row.
 */
static EtlModel *
read_model(EtlRows *rows, int i)
{
	EtlModel   *model = palloc0(sizeof(EtlModel));
	bool		isnull;
	Datum		value;

	model->target = etl_row_text(rows, i, "target");
	model->query = etl_row_text(rows, i, "query");
	model->materialized = etl_row_text(rows, i, "materialized");
	model->key = etl_row_texts(rows, i, "key");
	model->strategy = etl_row_text(rows, i, "strategy");
	model->event_time = etl_row_text(rows, i, "event_time");
	value = etl_row_datum(rows, i, "batch_size", &isnull);
	model->batch_size = isnull ? NULL : DatumGetIntervalP(value);
	value = etl_row_datum(rows, i, "lookback", &isnull);
	model->lookback = isnull ? NULL : DatumGetIntervalP(value);
	model->options = etl_row_jsonb(rows, i, "options");
	model->tags = etl_row_texts(rows, i, "tags");
	model->description = etl_row_text(rows, i, "description");
	model->settings = etl_row_jsonb(rows, i, "settings");
	model->resolved = etl_row_bool(rows, i, "resolved");
	model->owner = etl_row_text(rows, i, "owner");
	model->version = etl_row_int4(rows, i, "version");
	return model;
}

EtlModel *
etl_model_find(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT * FROM etl.model WHERE target = $1", &params);
	return rows->n == 0 ? NULL : read_model(rows, 0);
}

EtlModel *
etl_model_get(const char *target)
{
	EtlModel   *model = etl_model_find(target);

	if (model == NULL)
		raise_undefined("model", target, "SELECT target AS name FROM etl.model");
	return model;
}

List *
etl_model_all(void)
{
	EtlRows    *rows = etl_sql_query("SELECT * FROM etl.model ORDER BY target COLLATE \"C\"", NULL);
	List	   *models = NIL;

	for (int i = 0; i < rows->n; i++)
		models = lappend(models, read_model(rows, i));
	return models;
}

void
etl_model_set_resolved(const char *target, bool resolved)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_bool(&params, resolved);
	etl_sql_exec("UPDATE etl.model SET resolved = $2 WHERE target = $1 AND resolved <> $2", &params);
}

/* ---- checks ---- */

const char *
etl_check_store(const EtlCheck *check)
{
	EtlCheck   *old = etl_check_find(check->target, check->name);
	EtlParams	params = {0};

	etl_param_text(&params, check->target);
	etl_param_text(&params, check->name);
	etl_param_text(&params, check->kind);
	etl_param_texts(&params, check->columns);
	etl_param_jsonb(&params, check->options);
	etl_param_text(&params, check->on_fail);
	etl_param_text(&params, check->dimension);
	etl_param_text(&params, check->description);
	etl_param_jsonb(&params, check->settings);
	etl_param_text(&params, old ? old->owner : check->owner);
	return store("check", check->target, check->name, old ? old->owner : NULL,
				 "INSERT INTO etl.quality_check AS c (target, name, kind, columns, options, on_fail,"
				 " dimension, description, settings, owner)"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
				 " ON CONFLICT (target, name) DO UPDATE SET kind = excluded.kind,"
				 " columns = excluded.columns, options = excluded.options,"
				 " on_fail = excluded.on_fail, dimension = excluded.dimension,"
				 " description = excluded.description, settings = excluded.settings,"
				 " version = c.version + 1, defined_at = clock_timestamp()"
				 " WHERE (c.kind, c.columns, c.options, c.on_fail, c.dimension, c.description, c.settings)"
				 " IS DISTINCT FROM (excluded.kind, excluded.columns, excluded.options,"
				 " excluded.on_fail, excluded.dimension, excluded.description, excluded.settings)"
				 " RETURNING xmax = 0 AS created", &params);
}

/*
 * read_check makes the struct of one row.
 */
static EtlCheck *
read_check(EtlRows *rows, int i)
{
	EtlCheck   *check = palloc0(sizeof(EtlCheck));

	check->target = etl_row_text(rows, i, "target");
	check->name = etl_row_text(rows, i, "name");
	check->kind = etl_row_text(rows, i, "kind");
	check->columns = etl_row_texts(rows, i, "columns");
	check->options = etl_row_jsonb(rows, i, "options");
	check->on_fail = etl_row_text(rows, i, "on_fail");
	check->dimension = etl_row_text(rows, i, "dimension");
	check->description = etl_row_text(rows, i, "description");
	check->settings = etl_row_jsonb(rows, i, "settings");
	check->owner = etl_row_text(rows, i, "owner");
	check->version = etl_row_int4(rows, i, "version");
	return check;
}

EtlCheck *
etl_check_find(const char *target, const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.quality_check WHERE target = $1 AND name = $2", &params);
	return rows->n == 0 ? NULL : read_check(rows, 0);
}

List *
etl_checks_of(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *checks = NIL;

	if (etl_ahead_unchecked(target))
		return NIL;
	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT * FROM etl.quality_check WHERE target = $1"
						 " ORDER BY name COLLATE \"C\"", &params);
	for (int i = 0; i < rows->n; i++)
		checks = lappend(checks, read_check(rows, i));
	return checks;
}

/* ---- nodes ---- */

char *
etl_node_owner(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT owner FROM etl.stream WHERE target = $1"
						 " UNION ALL SELECT owner FROM etl.model WHERE target = $1", &params);
	return rows->n == 0 ? NULL : etl_row_text(rows, 0, "owner");
}

void
etl_node_must_exist(const char *target)
{
	if (etl_node_owner(target) == NULL)
		raise_undefined("node", target,
						"SELECT target AS name FROM etl.stream UNION ALL SELECT target FROM etl.model");
}

bool
etl_definition_delete(const char *kind, const char *target, const char *name)
{
	EtlParams	params = {0};
	bool		is_check = strcmp(kind, "quality_check") == 0;
	bool		is_part = is_check || strcmp(kind, "unit_test") == 0;
	bool		is_node = strcmp(kind, "stream") == 0 || strcmp(kind, "model") == 0;

	Assert(is_part || is_node || strcmp(kind, "source") == 0 || strcmp(kind, "secret") == 0);
	etl_param_text(&params, target);
	if (is_part)
		etl_param_text(&params, name);
	etl_undefined(is_check ? "check" : kind, target, is_part ? name : NULL);
	return etl_sql_exec(psprintf("DELETE FROM etl.%s WHERE %s RETURNING 1", kind,
								 is_part ? "target = $1 AND name = $2" :
								 is_node ? "target = $1" :
										   "name = $1"),
						&params) > 0;
}

void
etl_dependencies_store(const char *node, List *names)
{
	EtlParams	params = {0};

	etl_param_text(&params, node);
	etl_param_texts(&params, names);
	etl_sql_exec("DELETE FROM etl.dependency WHERE node = $1 AND depends_on <> ALL ($2)", &params);
	etl_sql_exec("INSERT INTO etl.dependency SELECT $1, unnest($2) ON CONFLICT DO NOTHING", &params);
}

List *
etl_dependencies_of(const char *node)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, node);
	rows = etl_sql_query("SELECT depends_on FROM etl.dependency WHERE node = $1"
						 " ORDER BY depends_on COLLATE \"C\"", &params);
	return etl_column_texts(rows, "depends_on");
}

void
etl_lineage_store(const char *node, List *edges)
{
	EtlParams	params = {0};
	List	   *columns[4] = {NIL, NIL, NIL, NIL};
	ListCell   *cell;

	foreach(cell, edges)
	{
		EtlColumnEdge *edge = lfirst(cell);

		columns[0] = lappend(columns[0], edge->column_name);
		columns[1] = lappend(columns[1], edge->source);
		columns[2] = lappend(columns[2], edge->source_column);
		columns[3] = lappend(columns[3], unconstify(char *, edge->transformation));
	}
	etl_param_text(&params, node);
	for (int i = 0; i < 4; i++)
		etl_param_texts(&params, columns[i]);
	etl_sql_exec(
		"DELETE FROM etl.column_edge WHERE target = $1",
		&(EtlParams){.n = 1, .types = {TEXTOID}, .values = {params.values[0]}, .nulls = {' '}});
	etl_sql_exec("INSERT INTO etl.column_edge SELECT $1, * FROM unnest($2, $3, $4, $5)"
				 " ON CONFLICT DO NOTHING", &params);
}
