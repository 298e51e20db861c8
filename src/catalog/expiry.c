/*-------------------------------------------------------------------------
 *
 * expiry.c
 *    Which loads of a stream retention may take, and which it took.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "catalog/expiry.h"
#include "catalog/history.h"
#include "catalog/sql.h"

List *
etl_loads_expiring(const char *target, TimestampTz before, int64 keep, const char *period)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *expiring = NIL;
	EtlExpiry  *last = NULL;

	etl_param_text(&params, target);
	etl_param_datum(&params, TIMESTAMPTZOID, TimestampTzGetDatum(before), false);
	etl_param_int8(&params, keep);
	etl_param_text(&params, period);
	rows = etl_sql_query(
		"SELECT * FROM (SELECT *, bool_and(old) OVER (PARTITION BY coalesce(period, load_id::text)) AS due"
		" FROM (SELECT load_id, origin, started_at, rows_loaded,"
		" to_char(date_trunc($4, started_at AT TIME ZONE 'UTC'), 'YYYY-MM-DD') AS period,"
		" started_at < $2 OR ($3 >= 0 AND row_number() OVER (ORDER BY load_id DESC) > $3) AS old"
		" FROM etl.load WHERE target = $1 AND status = 'succeeded' AND origin <> 'replay'"
		" AND rows_loaded > 0) AS l) AS l WHERE old ORDER BY load_id", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlLoad    *load = palloc0(sizeof(EtlLoad));
		char	   *start = etl_row_text(rows, i, "period");

		load->load_id = etl_row_int8(rows, i, "load_id");
		load->origin = etl_row_text(rows, i, "origin");
		load->started_at = etl_row_timestamp(rows, i, "started_at");
		load->rows_loaded = etl_row_int8(rows, i, "rows_loaded");
		if (last == NULL || start == NULL || strcmp(last->period_start, start) != 0)
		{
			last = palloc0(sizeof(EtlExpiry));
			last->period_start = start;
			last->partial = !etl_row_bool(rows, i, "due");
			expiring = lappend(expiring, last);
		}
		last->loads = lappend(last->loads, load);
	}
	return expiring;
}

bool
etl_loads_consumed(const char *target, List *loads, List *models)
{
	EtlParams	params = {0};
	Datum	   *ids = palloc(sizeof(Datum) * Max(list_length(loads), 1));
	ListCell   *cell;

	foreach(cell, loads)
		ids[foreach_current_index(cell)] = Int64GetDatum(((EtlLoad *) lfirst(cell))->load_id);
	etl_param_text(&params, target);
	etl_param_datum(&params, INT8ARRAYOID,
					PointerGetDatum(construct_array(ids, list_length(loads), INT8OID, 8, FLOAT8PASSBYVAL,
													TYPALIGN_DOUBLE)),
					false);
	etl_param_texts(&params, models);
	return etl_sql_int8("SELECT count(*) FROM unnest($3) AS m, unnest($2) AS id WHERE NOT EXISTS"
						" (SELECT FROM etl.consumed AS c WHERE c.model = m AND c.stream = $1"
						" AND c.loads @> id)", &params) == 0;
}

TimestampTz
etl_stream_horizon(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT max(started_at) AS horizon FROM etl.load WHERE target = $1"
						 " AND status = 'expired'", &params);
	return etl_row_timestamp(rows, 0, "horizon");
}

List *
etl_streams_retained(void)
{
	EtlRows    *rows = etl_sql_query("SELECT target FROM etl.stream WHERE options ? 'retention' ORDER BY target",
								  NULL);

	return etl_column_texts(rows, "target");
}

void
etl_period_of(const char *period, TimestampTz at, char **from, char **to)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, period);
	etl_param_datum(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at), false);
	rows = etl_sql_query("SELECT to_char(start, 'YYYY-MM-DD') AS start,"
						 " to_char(start + ('1 ' || $1)::interval, 'YYYY-MM-DD') AS next"
						 " FROM date_trunc($1, $2 AT TIME ZONE 'UTC') AS start", &params);
	*from = etl_row_text(rows, 0, "start");
	*to = etl_row_text(rows, 0, "next");
}

void
etl_immutable_trigger_make(const char *relation)
{
	etl_sql_exec(psprintf("CREATE TRIGGER etl_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON %s"
						  " FOR EACH STATEMENT EXECUTE FUNCTION etl._immutable()", relation),
				 NULL);
}
