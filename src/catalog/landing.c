/*-------------------------------------------------------------------------
 *
 * landing.c
 *    What landing alone asks of the history: locks, headers, rejects again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/landing.h"

void
etl_stream_lock(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_sql_exec("SELECT FROM etl.stream WHERE target = $1 FOR NO KEY UPDATE", &params);
}

void
etl_load_set_fields(int64 load_id, List *fields)
{
	EtlParams	params = {0};

	etl_param_int8(&params, load_id);
	etl_param_texts(&params, fields);
	etl_sql_exec("UPDATE etl.load SET fields = $2 WHERE load_id = $1", &params);
}

List *
etl_load_fields(int64 load_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, load_id);
	rows = etl_sql_query("SELECT fields FROM etl.load WHERE load_id = $1", &params);
	return rows->n == 0 ? NIL : etl_row_texts(rows, 0, "fields");
}

int64
etl_rejects_close(const char *target, int64 load_id, const char *status)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, load_id);
	etl_param_text(&params, status);
	return (int64) etl_sql_exec("UPDATE etl.reject SET status = $3, closed_at = clock_timestamp()"
								" WHERE target = $1 AND status = 'open' AND ($2 = 0 OR load_id = $2)",
								&params);
}

bool
etl_reject_close(const char *target, int64 reject_id, const char *status)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, reject_id);
	etl_param_text(&params, status);
	return etl_sql_exec("UPDATE etl.reject SET status = $3, closed_at = clock_timestamp()"
						" WHERE target = $1 AND reject_id = $2 AND status = 'open'", &params) > 0;
}

void
etl_reject_set_reasons(const char *target, int64 reject_id, const Jsonb *reasons)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, reject_id);
	etl_param_jsonb(&params, reasons);
	etl_sql_exec("UPDATE etl.reject SET reasons = $3"
				 " WHERE target = $1 AND reject_id = $2 AND status = 'open'", &params);
}

EtlRows *
etl_rejects_open(const char *target, int64 after, int limit)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, after);
	etl_param_int4(&params, limit);
	return etl_sql_query("SELECT reject_id, target, load_id, run_id, origin, \"position\","
						 " etl._record(raw) AS record, raw, record_size, reasons, status,"
						 " rejected_at, closed_at, of_row FROM etl.reject"
						 " WHERE target = $1 AND status = 'open' AND reject_id > $2"
						 " ORDER BY reject_id LIMIT $3", &params);
}

void
etl_stream_rewritten(const char *target, const char *reason)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, reason);
	etl_sql_exec("UPDATE etl.node_state SET rebuild = $2"
				 " WHERE target IN (SELECT model FROM etl.consumed WHERE stream = $1)", &params);
}

void
etl_stream_hold(const char *target, int64 rows)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, rows);
	etl_sql_exec("UPDATE etl.node_state SET rows_held = rows_held + $2 WHERE target = $1", &params);
}

int64
etl_stream_forget(const char *target, const char *origin)
{
	EtlParams	params = {0};

	if (origin == NULL)
	{
		EtlParams	target_only = {0};

		etl_param_text(&target_only, target);
		etl_sql_exec("DELETE FROM etl.stream_dialect WHERE target = $1", &target_only);
	}
	/* the rows stay until the file is loaded again and replaces them: size -1 equals no file */
	etl_param_text(&params, target);
	etl_param_text(&params, origin);
	return (int64) etl_sql_exec("UPDATE etl.file SET size = -1, hash = '', unloaded = false"
								" WHERE target = $1 AND uri <> '' AND ($2 IS NULL OR uri = $2)",
								&params);
}

EtlIngestion *
etl_ingestion_find(const char *target, const char *key)
{
	EtlParams	params = {0};
	EtlIngestion *ingestion;
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_text(&params, key);
	rows = etl_sql_query("SELECT hash, load_id FROM etl.ingestion"
						 " WHERE target = $1 AND idempotency_key = $2", &params);
	if (rows->n == 0)
		return NULL;
	ingestion = palloc(sizeof(EtlIngestion));
	ingestion->hash = etl_row_text(rows, 0, "hash");
	ingestion->load_id = etl_row_int8(rows, 0, "load_id");
	return ingestion;
}

void
etl_ingestion_store(const char *target, const char *key, const char *hash, int64 load_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, key);
	etl_param_text(&params, hash);
	etl_param_int8(&params, load_id);
	etl_sql_exec("INSERT INTO etl.ingestion (target, idempotency_key, hash, load_id)"
				 " VALUES ($1, $2, $3, $4)", &params);
}

Jsonb *
etl_dialect_find(const char *target, const Jsonb *left_open)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_jsonb(&params, left_open);
	rows = etl_sql_query("SELECT options FROM etl.stream_dialect WHERE target = $1 AND left_open = $2",
						 &params);
	return rows->n == 0 ? NULL : etl_row_jsonb(rows, 0, "options");
}

void
etl_dialect_store(const char *target, const Jsonb *left_open, const Jsonb *options)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_jsonb(&params, left_open);
	etl_param_jsonb(&params, options);
	etl_sql_exec("INSERT INTO etl.stream_dialect (target, left_open, options) VALUES ($1, $2, $3)"
				 " ON CONFLICT (target) DO UPDATE SET left_open = excluded.left_open,"
				 " options = excluded.options, found_at = clock_timestamp()", &params);
}

List *
etl_stream_models(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT d.node FROM etl.dependency d JOIN etl.model m ON m.target = d.node"
						 " WHERE d.depends_on = $1 ORDER BY d.node", &params);
	return etl_column_texts(rows, "node");
}

void
etl_stream_state_delete(const char *target)
{
	static const char *const statements[] = {
		"DELETE FROM etl.cursor WHERE target = $1",
		"DELETE FROM etl.file WHERE target = $1",
		"DELETE FROM etl.ingestion WHERE target = $1",
		"DELETE FROM etl.stream_dialect WHERE target = $1",
		"DELETE FROM etl.node_state WHERE target = $1",
		"UPDATE etl.load SET status = 'superseded' WHERE target = $1 AND status = 'succeeded'",
		"UPDATE etl.reject SET status = 'superseded', closed_at = clock_timestamp()"
		" WHERE target = $1 AND status = 'open'"};

	for (int i = 0; i < lengthof(statements); i++)
	{
		EtlParams	params = {0};

		etl_param_text(&params, target);
		etl_sql_exec(statements[i], &params);
	}
}

/* A ledger entry that no file can have remembers that a reload was asked for. */

void
etl_stream_replace_next(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_sql_exec("INSERT INTO etl.file (target, uri, size, mtime, hash, load_id)"
				 " SELECT $1, '', -1, '-infinity', '', coalesce(max(load_id), 0)"
				 " FROM etl.load WHERE target = $1"
				 " ON CONFLICT (target, uri) DO UPDATE SET load_id = excluded.load_id", &params);
}

int64
etl_stream_take_replace(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	return etl_sql_int8("DELETE FROM etl.file WHERE target = $1 AND uri = '' RETURNING load_id", &params);
}

void
etl_loads_supersede(const char *target, int64 load_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, load_id);
	etl_sql_exec("UPDATE etl.load SET status = 'superseded'"
				 " WHERE target = $1 AND load_id <= $2 AND status = 'succeeded'", &params);
	etl_rejects_close_until(target, load_id);
}

void
etl_rejects_close_until(const char *target, int64 load_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int8(&params, load_id);
	etl_sql_exec("UPDATE etl.reject SET status = 'superseded', closed_at = clock_timestamp()"
				 " WHERE target = $1 AND load_id <= $2 AND status = 'open'", &params);
}
