/*-------------------------------------------------------------------------
 *
 * consumption.c
 *    What a stored model has consumed of its inputs, exactly.
 *
 * A stream's consumed part is a set of load ids, not a watermark: a load
 * that took its number early and commits late is simply not in the set.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "catalog/consumption.h"
#include "catalog/sql.h"

/*
 * param_set adds a set of ids that a model has consumed, taken apart here:
 * tested as a column, it was decompressed anew for each load of the history.
 */
static void
param_set(EtlParams *params, EtlRows *consumed, const char *column)
{
	bool		isnull = true;
	Datum		set = consumed->n > 0 ? etl_row_datum(consumed, 0, column, &isnull) : (Datum) 0;

	etl_param_datum(params, INT8MULTIRANGEOID,
					isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM(set)), isnull);
}

/*
 * consumed_of reads what a model has consumed of an input: one row, or none.
 */
static EtlRows *
consumed_of(const char *model, const char *stream)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_text(&params, stream);
	return etl_sql_query_seen("SELECT loads, changes FROM etl.consumed WHERE model = $1 AND stream = $2",
							  &params);
}

/*
 * read_sets reads the recorded changes of an input that were not consumed.
 */
static void
read_sets(const char *stream, EtlRows *consumed, EtlConsumption *consumption)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, stream);
	param_set(&params, consumed, "changes");
	rows = etl_sql_query_seen("SELECT set_id, unknown, columns, rows, load_id FROM etl.change_set"
							  " WHERE target = $1 AND NOT coalesce($2 @> set_id, false)"
							  " ORDER BY set_id", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlChangeSet *set = palloc0(sizeof(EtlChangeSet));

		set->set_id = etl_row_int8(rows, i, "set_id");
		set->unknown = etl_row_text(rows, i, "unknown");
		set->columns = etl_row_texts(rows, i, "columns");
		set->rows = etl_row_int8(rows, i, "rows");
		set->load_id = etl_row_int8(rows, i, "load_id");
		consumption->sets = lappend(consumption->sets, set);
	}
}

EtlConsumption *
etl_consumption_read(const char *model, const char *stream)
{
	EtlConsumption *consumption = palloc0(sizeof(EtlConsumption));
	EtlRows    *consumed = consumed_of(model, stream);
	EtlParams	params = {0};
	EtlRows    *rows;
	bool		isnull = true;

	etl_param_text(&params, stream);
	param_set(&params, consumed, "loads");
	rows = etl_sql_query_seen(
		"SELECT load_id, relfilenode, first_block, last_block, rows_loaded, rows_updated, "
		"rows_deleted,"
		" status IN ('succeeded', 'expired') AS alive FROM etl.load WHERE target = $1"
		" AND (status IN ('succeeded', 'expired')) <> coalesce($2 @> load_id, false)"
		" ORDER BY load_id", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlLoad    *load = palloc0(sizeof(EtlLoad));

		load->load_id = etl_row_int8(rows, i, "load_id");
		load->relfilenode = etl_row_int8(rows, i, "relfilenode");
		load->first_block = etl_row_int8(rows, i, "first_block");
		load->last_block = etl_row_int8(rows, i, "last_block");
		load->rows_loaded = etl_row_int8(rows, i, "rows_loaded");
		load->rows_updated = etl_row_int8(rows, i, "rows_updated");
		load->rows_deleted = etl_row_int8(rows, i, "rows_deleted");
		if (etl_row_bool(rows, i, "alive"))
			consumption->pending = lappend(consumption->pending, load);
		else
			consumption->lost = lappend(consumption->lost, load);
	}
	if (consumed->n > 0)
		(void) etl_row_datum(consumed, 0, "changes", &isnull);
	consumption->recorded = !isnull;
	read_sets(stream, consumed, consumption);
	return consumption;
}

/*
 * param_ids adds the ids of a list of loads as one bigint[].
 */
static void
param_ids(EtlParams *params, List *loads)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(list_length(loads), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, loads)
		ids[n++] = Int64GetDatum(((EtlLoad *) lfirst(cell))->load_id);
	etl_param_datum(params, INT8ARRAYOID,
					PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
					false);
}

/*
 * store_sets consumes the recorded changes; of those consumed before, what
 * is still kept is remembered.  Without a record there is nothing to say.
 */
static void
store_sets(const char *model, const char *stream, const EtlConsumption *consumption)
{
	EtlParams	params = {0};
	Datum	   *ids = palloc(sizeof(Datum) * Max(list_length(consumption->sets), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, consumption->sets)
		ids[n++] = Int64GetDatum(((EtlChangeSet *) lfirst(cell))->set_id);
	etl_param_text(&params, model);
	etl_param_text(&params, stream);
	etl_param_datum(&params, INT8ARRAYOID,
					PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
					false);
	etl_param_bool(&params, consumption->recorded);
	etl_sql_exec("UPDATE etl.consumed AS c SET changes = CASE WHEN $4 THEN"
				 " (SELECT coalesce(range_agg(int8range(s.set_id, s.set_id, '[]')), '{}')"
				 " FROM etl.change_set AS s WHERE s.target = $2"
				 " AND (s.set_id = ANY ($3) OR c.changes @> s.set_id)) END"
				 " WHERE c.model = $1 AND c.stream = $2"
				 " AND (c.changes IS NOT NULL OR $4)", &params);
	if (consumption->sets != NIL)
		etl_changes_prune(stream);
}

void
etl_consumption_store(const char *model, const char *stream, const EtlConsumption *consumption)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_text(&params, stream);
	param_ids(&params, consumption->pending);
	param_ids(&params, consumption->lost);
	etl_sql_exec("INSERT INTO etl.consumed AS c (model, stream, loads)"
				 " SELECT $1, $2, coalesce(range_agg(int8range(id, id, '[]')), '{}') FROM unnest($3) id"
				 " ON CONFLICT (model, stream) DO UPDATE SET loads = c.loads + excluded.loads"
				 " - (SELECT coalesce(range_agg(int8range(id, id, '[]')), '{}') FROM unnest($4) id)",
				 &params);
	store_sets(model, stream, consumption);
}

void
etl_consumption_end(const char *model, List *names)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_texts(&params, names);
	etl_sql_exec("UPDATE etl.consumed SET changes = NULL WHERE model = $1 AND changes IS NOT NULL"
				 " AND NOT stream = ANY ($2)", &params);
}

List *
etl_consumed_loads(const char *model, const char *stream)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *loads = NIL;

	etl_param_text(&params, stream);
	param_set(&params, consumed_of(model, stream), "loads");
	rows = etl_sql_query_seen(
		"SELECT load_id, origin, rows_loaded FROM etl.load WHERE target = $1"
		" AND status IN ('succeeded', 'expired') AND origin <> 'replay' AND $2 @> load_id"
		" ORDER BY load_id", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlLoad    *load = palloc0(sizeof(EtlLoad));

		load->load_id = etl_row_int8(rows, i, "load_id");
		load->origin = etl_row_text(rows, i, "origin");
		load->rows_loaded = etl_row_int8(rows, i, "rows_loaded");
		loads = lappend(loads, load);
	}
	return loads;
}

int64
etl_stream_rows_held(const char *stream)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, stream);
	rows = etl_sql_query_seen("SELECT rows_held FROM etl.node_state WHERE target = $1", &params);
	return rows->n == 0 ? 0 : etl_row_int8(rows, 0, "rows_held");
}

int64
etl_consumed_missing(const char *model, const char *stream)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, model);
	etl_param_text(&params, stream);
	rows = etl_sql_query_seen("SELECT missing FROM etl.consumed WHERE model = $1 AND stream = $2", &params);
	return rows->n == 0 ? 0 : etl_row_int8(rows, 0, "missing");
}

void
etl_consumed_set_missing(const char *model, const char *stream, int64 missing)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_text(&params, stream);
	etl_param_int8(&params, missing);
	etl_sql_exec("UPDATE etl.consumed SET missing = $3 WHERE model = $1 AND stream = $2", &params);
}

int64
etl_publication_seen(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query_seen("SELECT publication FROM etl.node_state WHERE target = $1", &params);
	return rows->n == 0 ? 0 : etl_row_int8(rows, 0, "publication");
}

void
etl_rejects_supersede(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_sql_exec("UPDATE etl.reject SET status = 'superseded', closed_at = clock_timestamp()"
				 " WHERE target = $1 AND status = 'open'", &params);
}

bool
etl_rejects_any_open(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	return etl_sql_int8("SELECT count(*) FROM (SELECT FROM etl.reject"
						" WHERE target = $1 AND status = 'open' LIMIT 1) r", &params) > 0;
}

void
etl_rejects_supersede_keys(const char *target, List *columns, List *keys)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_texts(&params, columns);
	etl_param_texts(&params, keys);
	etl_sql_exec("UPDATE etl.reject SET status = 'superseded', closed_at = clock_timestamp()"
				 " WHERE target = $1 AND status = 'open' AND load_id IS NULL AND length(raw) = record_size"
				 " AND NOT reasons @> '[{\"check\": \"beyond_horizon\"}]'"
				 " AND (SELECT jsonb_object_agg(c, etl._record(raw)::jsonb -> c) FROM unnest($2) AS c)"
				 " IN (SELECT k::jsonb FROM unnest($3) AS k)", &params);
}

List *
etl_rejects_of_checks(const char *target, List *checks, int64 after, int limit)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *lost = NIL;

	etl_param_text(&params, target);
	etl_param_texts(&params, checks);
	etl_param_int8(&params, after);
	etl_param_int4(&params, limit);
	rows = etl_sql_query("SELECT reject_id, c AS \"check\", etl._record(raw) AS record FROM (SELECT r.*,"
						 " sum(record_size) OVER (ORDER BY reject_id) - record_size AS before FROM"
						 " (SELECT reject_id, raw, record_size, reasons -> 0 ->> 'check' AS c FROM etl.reject"
						 " WHERE target = $1 AND status = 'open' AND reject_id > $3 AND load_id IS NULL"
						 " AND length(raw) = record_size AND reasons -> 0 ->> 'check' = ANY ($2)"
						 " ORDER BY reject_id LIMIT $4) r) r WHERE before < 4194304 ORDER BY reject_id",
						 &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlLostRow *row = palloc(sizeof(EtlLostRow));

		row->reject_id = etl_row_int8(rows, i, "reject_id");
		row->check = etl_row_text(rows, i, "check");
		row->record = etl_row_text(rows, i, "record");
		lost = lappend(lost, row);
	}
	return lost;
}

void
etl_rejects_supersede_some(const int64 *reject_ids, int n)
{
	EtlParams	params = {0};

	etl_param_int8s(&params, reject_ids, n);
	etl_sql_exec("UPDATE etl.reject SET status = 'superseded', closed_at = clock_timestamp()"
				 " WHERE reject_id = ANY ($1) AND status = 'open'", &params);
}

void
etl_node_forget(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_sql_exec("DELETE FROM etl.consumed WHERE model = $1", &params);
	etl_sql_exec("DELETE FROM etl.model_interval WHERE model = $1", &params);
	etl_sql_exec("DELETE FROM etl.frozen_key WHERE model = $1", &params);
	etl_sql_exec("DELETE FROM etl.change WHERE set_id IN (SELECT set_id FROM etl.change_set WHERE "
				 "target = $1)", &params);
	etl_sql_exec("DELETE FROM etl.change_set WHERE target = $1", &params);
	etl_sql_exec("DELETE FROM etl.node_state WHERE target = $1", &params);
	etl_sql_exec("DELETE FROM etl.dependency WHERE node = $1", &params);
	etl_sql_exec("DELETE FROM etl.column_edge WHERE target = $1", &params);
}
