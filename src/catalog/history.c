/*-------------------------------------------------------------------------
 *
 * history.c
 *    What happened: loads, rejects, cursors, files, tasks, results.
 *
 * Rows are written in the transaction of the facts they tell; whoever sees
 * the rows of a load sees its row in etl.load, and nobody else does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "catalog/ahead.h"
#include "catalog/history.h"
#include "catalog/history_room.h"
#include "catalog/sql.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/wake.h"

/* ---- loads ---- */

int64
etl_load_next_id(void)
{
	return etl_sql_int8("SELECT nextval('etl.load_id_seq')", NULL);
}

/*
 * check_accounting raises ET017 unless every record that was read is
 * accounted for.
 */
static void
check_accounting(const EtlLoad *load)
{
	int64		counted = load->rows_loaded + load->rows_updated + load->rows_unchanged +
					load->rows_deduplicated + load->rows_discarded + load->rows_rejected;

	if (load->rows_read != counted)
		ereport(ERROR,
				(errcode(ETL_ERR_ACCOUNTING),
				 errmsg("accounting of the load of \"%s\" does not close", load->target),
				 errdetail(INT64_FORMAT " records were read, " INT64_FORMAT " are accounted for.",
						   load->rows_read, counted),
				 errhint("This is a bug in etl; nothing of this load was kept.")));
}

void
etl_load_store(const EtlLoad *load)
{
	EtlParams	params = {0};

	check_accounting(load);
	etl_param_int8(&params, load->load_id);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load->run_id), load->run_id == 0);
	etl_param_text(&params, load->target);
	etl_param_text(&params, load->origin);
	etl_param_int8(&params, load->rows_read);
	etl_param_int8(&params, load->rows_loaded);
	etl_param_int8(&params, load->rows_updated);
	etl_param_int8(&params, load->rows_unchanged);
	etl_param_int8(&params, load->rows_deduplicated);
	etl_param_int8(&params, load->rows_discarded);
	etl_param_int8(&params, load->rows_rejected);
	etl_param_int8(&params, load->rows_deleted);
	etl_param_int8(&params, load->bytes_read);
	etl_param_jsonb(&params, load->cursor);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load->relfilenode), load->relfilenode == 0);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load->first_block), load->relfilenode == 0);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load->last_block), load->relfilenode == 0);
	etl_param_timestamp(&params, load->started_at);
	etl_param_timestamp(&params, load->last_event_time);
	etl_param_int8(&params, load->rows_late);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load->parent_load_id), load->parent_load_id == 0);
	etl_sql_exec("INSERT INTO etl.load (load_id, run_id, target, origin, status, rows_read, rows_loaded,"
				 " rows_updated, rows_unchanged, rows_deduplicated, rows_discarded, rows_rejected,"
				 " rows_deleted, bytes_read, cursor, relfilenode, first_block, last_block, started_at,"
				 " last_event_time, rows_late, parent_load_id)"
				 " VALUES ($1, $2, $3, $4, 'succeeded', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
				 " $15, $16, $17, $18, $19, $20, $21)", &params);
}

void
etl_load_next_ids(int64 *ids, int n)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int4(&params, n);
	rows = etl_sql_query("SELECT nextval('etl.load_id_seq') AS id FROM generate_series(1, $1)", &params);
	for (int i = 0; i < n; i++)
		ids[i] = etl_row_int8(rows, i, "id");
}

/*
 * param_of_loads adds an array of one bigint of every load.
 */
static void
param_of_loads(EtlParams *params, const EtlLoad *loads, int n, size_t offset)
{
	int64	   *values = palloc(sizeof(int64) * n);

	for (int i = 0; i < n; i++)
		values[i] = *(const int64 *) ((const char *) &loads[i] + offset);
	etl_param_int8s(params, values, n);
}

void
etl_loads_store(const EtlLoad *loads, int n, List *fields)
{
	EtlParams	params = {0};
	TimestampTz *events = palloc(sizeof(TimestampTz) * n);
	List	   *origins = NIL;

	for (int i = 0; i < n; i++)
	{
		check_accounting(&loads[i]);
		origins = lappend(origins, loads[i].origin);
		events[i] = loads[i].last_event_time;
	}
	etl_param_datum(&params, INT8OID, Int64GetDatum(loads[0].run_id), loads[0].run_id == 0);
	etl_param_text(&params, loads[0].target);
	etl_param_timestamp(&params, loads[0].started_at);
	etl_param_texts(&params, fields);
	param_of_loads(&params, loads, n, offsetof(EtlLoad, load_id));
	etl_param_texts(&params, origins);
	param_of_loads(&params, loads, n, offsetof(EtlLoad, rows_read));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, rows_loaded));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, rows_discarded));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, rows_rejected));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, bytes_read));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, relfilenode));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, first_block));
	param_of_loads(&params, loads, n, offsetof(EtlLoad, last_block));
	etl_param_timestamps(&params, events, n);
	etl_sql_exec(
		"INSERT INTO etl.load (run_id, target, started_at, status, fields, load_id, origin, "
		"rows_read,"
		" rows_loaded, rows_discarded, rows_rejected, bytes_read, relfilenode, first_block, "
		"last_block,"
		" last_event_time) SELECT $1, $2, $3, 'succeeded', nullif($4, '{}'), l, o, r, n, d, j, b,"
		" nullif(x, 0), CASE WHEN x > 0 THEN f END, CASE WHEN x > 0 THEN t END, nullif(e, "
		"'-infinity')"
		" FROM unnest($5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
		" AS u (l, o, r, n, d, j, b, x, f, t, e)", &params);
}

TimestampTz
etl_loads_last_event(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT max(last_event_time) AS last FROM etl.load WHERE target = $1", &params);
	return etl_row_timestamp(rows, 0, "last");
}

EtlLoadHead *
etl_load_find(int64 load_id)
{
	EtlParams	params = {0};
	EtlLoadHead *head;
	EtlRows    *rows;

	etl_param_int8(&params, load_id);
	rows = etl_sql_query("SELECT target, origin, status FROM etl.load WHERE load_id = $1", &params);
	if (rows->n == 0)
		return NULL;
	head = palloc(sizeof(EtlLoadHead));
	head->target = etl_row_text(rows, 0, "target");
	head->origin = etl_row_text(rows, 0, "origin");
	head->status = etl_row_text(rows, 0, "status");
	return head;
}

void
etl_load_set_status(int64 load_id, const char *status)
{
	EtlParams	params = {0};

	etl_param_int8(&params, load_id);
	etl_param_text(&params, status);
	etl_sql_exec("UPDATE etl.load SET status = $2 WHERE load_id = $1", &params);
}

Jsonb *
etl_cursor_get(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT cursor FROM etl.cursor WHERE target = $1", &params);
	return rows->n == 0 ? NULL : etl_row_jsonb(rows, 0, "cursor");
}

void
etl_cursor_set(const char *target, const Jsonb *cursor, int64 load_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	if (cursor == NULL)
	{
		etl_sql_exec("DELETE FROM etl.cursor WHERE target = $1", &params);
		return;
	}
	etl_param_jsonb(&params, cursor);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load_id), load_id == 0);
	etl_sql_exec("INSERT INTO etl.cursor (target, cursor, load_id) VALUES ($1, $2, $3)"
				 " ON CONFLICT (target) DO UPDATE SET cursor = excluded.cursor,"
				 " load_id = coalesce(excluded.load_id, etl.cursor.load_id),"
				 " moved_at = clock_timestamp()", &params);
}

EtlFile *
etl_file_find(const char *target, const char *uri)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	EtlFile    *file;

	etl_param_text(&params, target);
	etl_param_text(&params, uri);
	rows = etl_sql_query("SELECT * FROM etl.file WHERE target = $1 AND uri = $2", &params);
	if (rows->n == 0)
		return NULL;
	file = palloc0(sizeof(EtlFile));
	file->uri = etl_row_text(rows, 0, "uri");
	file->size = etl_row_int8(rows, 0, "size");
	file->mtime = etl_row_timestamp(rows, 0, "mtime");
	file->hash = etl_row_text(rows, 0, "hash");
	file->load_id = etl_row_int8(rows, 0, "load_id");
	file->unloaded = etl_row_bool(rows, 0, "unloaded");
	return file;
}

void
etl_file_unload(const char *target, int64 load_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, load_id);
	etl_sql_exec("UPDATE etl.file SET unloaded = true WHERE target = $1 AND load_id = $2 AND uri <> ''",
				 &params);
}

List *
etl_files_unseen(const char *target, List *seen)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_texts(&params, seen);
	etl_sql_exec("UPDATE etl.file SET vanished_at = NULL"
				 " WHERE target = $1 AND vanished_at IS NOT NULL AND uri IN (SELECT unnest($2))",
				 &params);
	rows = etl_sql_query("SELECT uri FROM etl.file AS f WHERE target = $1 AND uri <> ''"
						 " AND vanished_at IS NULL AND NOT EXISTS (SELECT FROM unnest($2) AS u"
						 " WHERE u = f.uri) ORDER BY uri", &params);
	return etl_column_texts(rows, "uri");
}

void
etl_files_vanish(const char *target, List *uris)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_texts(&params, uris);
	etl_sql_exec("UPDATE etl.file SET vanished_at = clock_timestamp()"
				 " WHERE target = $1 AND uri IN (SELECT unnest($2))", &params);
}

void
etl_file_store(const char *target, const EtlFile *file)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, file->uri);
	etl_param_int8(&params, file->size);
	etl_param_timestamp(&params, file->mtime);
	etl_param_text(&params, file->hash);
	etl_param_int8(&params, file->load_id);
	etl_sql_exec("INSERT INTO etl.file VALUES ($1, $2, $3, $4, $5, $6)"
				 " ON CONFLICT (target, uri) DO UPDATE SET size = excluded.size,"
				 " mtime = excluded.mtime, hash = excluded.hash, load_id = excluded.load_id,"
				 " unloaded = false, vanished_at = NULL", &params);
}

int64
etl_files_known(const char *target, List *uris)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_texts(&params, uris);
	return etl_sql_int8(
		"SELECT count(*) FROM etl.file WHERE target = $1 AND uri IN (SELECT unnest($2))", &params);
}

void
etl_files_store(const char *target, const EtlFile *files, int n)
{
	EtlParams	params = {0};
	int64	   *sizes = palloc(sizeof(int64) * n);
	TimestampTz *times = palloc(sizeof(TimestampTz) * n);
	int64	   *loads = palloc(sizeof(int64) * n);
	List	   *uris = NIL;
	List	   *hashes = NIL;

	for (int i = 0; i < n; i++)
	{
		uris = lappend(uris, files[i].uri);
		sizes[i] = files[i].size;
		times[i] = files[i].mtime;
		hashes = lappend(hashes, files[i].hash);
		loads[i] = files[i].load_id;
	}
	etl_param_text(&params, target);
	etl_param_texts(&params, uris);
	etl_param_int8s(&params, sizes, n);
	etl_param_timestamps(&params, times, n);
	etl_param_texts(&params, hashes);
	etl_param_int8s(&params, loads, n);
	etl_sql_exec("INSERT INTO etl.file SELECT $1, u.* FROM unnest($2, $3, $4, $5, $6) AS u", &params);
}

/* ---- nodes ---- */

/*
 * etl_node_state_zero is the state of a node that was never built.
 */
void
etl_node_state_zero(EtlNodeState *state)
{
	memset(state, 0, sizeof(EtlNodeState));
	state->inputs = etl_json_parse("{}");
	state->last_success_at = DT_NOBEGIN;
}

/*
 * etl_node_state_read fills a struct from a row.
 */
void
etl_node_state_read(EtlNodeState *state, struct EtlRows *rows, int i)
{
	state->created = etl_row_bool(rows, i, "created");
	state->built_version = etl_row_int4(rows, i, "built_version");
	state->built_fingerprint = etl_row_text(rows, i, "built_fingerprint");
	state->publication = etl_row_int8(rows, i, "publication");
	state->inputs = etl_row_jsonb(rows, i, "inputs");
	state->rows_changed = etl_row_int8(rows, i, "rows_changed");
	state->last_success_at = etl_row_timestamp(rows, i, "last_success_at");
	state->last_run_id = etl_row_int8(rows, i, "last_run_id");
	state->rebuild = etl_row_text(rows, i, "rebuild");
	state->sample = etl_row_text(rows, i, "sample");
}

EtlNodeState *
etl_node_state_get(const char *target)
{
	EtlParams	params = {0};
	EtlNodeState *state = palloc0(sizeof(EtlNodeState));
	EtlRows    *rows;

	if (etl_ahead_state(target, state))
		return state;
	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT * FROM etl.node_state WHERE target = $1", &params);
	if (rows->n == 0)
		etl_node_state_zero(state);
	else
		etl_node_state_read(state, rows, 0);
	return state;
}

void
etl_node_state_set(const char *target, const EtlNodeState *state)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_bool(&params, state->created);
	etl_param_datum(&params, INT4OID, Int32GetDatum(state->built_version), state->built_version == 0);
	etl_param_text(&params, state->built_fingerprint);
	etl_param_int8(&params, state->publication);
	etl_param_jsonb(&params, state->inputs ? state->inputs : etl_json_parse("{}"));
	etl_param_int8(&params, state->rows_changed);
	etl_param_timestamp(&params, state->last_success_at);
	etl_param_datum(&params, INT8OID, Int64GetDatum(state->last_run_id), state->last_run_id == 0);
	etl_param_text(&params, state->sample);
	rows = etl_sql_query("INSERT INTO etl.node_state (target, created, built_version, built_fingerprint,"
						 " publication, inputs, rows_changed, last_success_at, last_run_id, sample)"
						 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
						 " ON CONFLICT (target) DO UPDATE SET created = excluded.created,"
						 " built_version = excluded.built_version,"
						 " built_fingerprint = excluded.built_fingerprint,"
						 " publication = excluded.publication, inputs = excluded.inputs,"
						 " rows_changed = excluded.rows_changed, last_success_at = excluded.last_success_at,"
						 " last_run_id = excluded.last_run_id, sample = excluded.sample"
						 " RETURNING EXISTS (SELECT FROM etl.schedule_event AS e WHERE e.kind = 'published'"
						 " AND e.argument = target) AS awaited", &params);
	if (etl_row_bool(rows, 0, "awaited"))
		etl_wake_at_commit();
}

void
etl_node_rebuilt(const char *target, const char *reason)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, reason);
	etl_sql_exec("UPDATE etl.node_state SET rebuild = NULL WHERE target = $1 AND rebuild = $2", &params);
}

/* ---- check results ---- */

void
etl_check_results_store(List *results)
{
	ListCell   *cell;
	int64		last = 0;

	if (results != NIL)
		etl_history_keep_room(ETL_HISTORY_CHECK, 0);
	foreach(cell, results)
	{
		const EtlCheckResult *result = lfirst(cell);
		EtlParams	params = {0};

		etl_param_datum(&params, INT8OID, Int64GetDatum(result->run_id), result->run_id == 0);
		etl_param_text(&params, result->target);
		etl_param_text(&params, result->check_name);
		etl_param_text(&params, result->kind);
		etl_param_text(&params, result->dimension);
		etl_param_text(&params, result->on_fail);
		etl_param_text(&params, result->status);
		etl_param_int8(&params, result->evaluated);
		etl_param_int8(&params, result->failed);
		etl_param_text(&params, result->value);
		etl_param_text(&params, result->threshold);
		etl_param_text(&params, result->detail);
		etl_param_float8(&params, result->weight);
		last = etl_sql_int8(
			"INSERT INTO etl.check_result (run_id, target, check_name, kind, dimension, on_fail,"
			" status, evaluated, failed, value, threshold, detail, weight)"
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11, $12, $13)"
			" RETURNING event_id", &params);
	}
	if (last != 0)
		etl_history_keep_room(ETL_HISTORY_CHECK, last);
}

/* ---- journal ---- */

void
etl_schema_change_store(const char *target, int64 load_id, const char *change,
						const char *column, const char *old_type, const char *new_type)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_datum(&params, INT8OID, Int64GetDatum(load_id), load_id == 0);
	etl_param_text(&params, change);
	etl_param_text(&params, column);
	etl_param_text(&params, old_type);
	etl_param_text(&params, new_type);
	etl_sql_exec("INSERT INTO etl.schema_change (target, load_id, change, column_name, old_type, new_type)"
				 " VALUES ($1, $2, $3, $4, $5, $6)", &params);
}

/*
 * log_json writes an event to the server log as one line of JSON.
 */
static void
log_json(const char *level, int64 run_id, const char *node, const char *message, const char *detail)
{
	EtlJsonBuilder *line = etl_json_object_begin();

	etl_json_add_text(line, "logged_at", timestamptz_to_str(GetCurrentTimestamp()));
	etl_json_add_text(line, "level", level);
	if (run_id != 0)
		etl_json_add_int64(line, "run_id", run_id);
	if (node != NULL)
		etl_json_add_text(line, "node", node);
	etl_json_add_text(line, "message", message);
	if (detail != NULL)
		etl_json_add_text(line, "detail", detail);
	ereport(LOG_SERVER_ONLY, (errmsg_internal("%s", etl_json_text(etl_json_object_end(line))),
							  errhidestmt(true), errhidecontext(true)));
}

void
etl_log_store(const char *level, int64 run_id, const char *node, const char *message,
			  const char *detail)
{
	EtlParams	params = {0};

	etl_param_text(&params, level);
	etl_param_datum(&params, INT8OID, Int64GetDatum(run_id), run_id == 0);
	etl_param_text(&params, node);
	etl_param_text(&params, message);
	etl_param_text(&params, detail);
	if (etl_log_json)
		log_json(level, run_id, node, message, detail);
	etl_history_keep_room(ETL_HISTORY_LOG, 0);
	etl_history_keep_room(ETL_HISTORY_LOG,
						  etl_sql_int8("INSERT INTO etl.log (level, run_id, node, message, detail)"
									   " VALUES ($1, $2, $3, $4, $5) RETURNING event_id", &params));
}
