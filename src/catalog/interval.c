/*-------------------------------------------------------------------------
 *
 * interval.c
 *    The interval ledger: which slices of its event time a model has built.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "catalog/interval.h"
#include "catalog/sql.h"

List *
etl_intervals_read(const char *model)
{
	EtlParams	params = {0};
	List	   *slices = NIL;
	EtlRows    *rows;

	etl_param_text(&params, model);
	rows = etl_sql_query_seen("SELECT since, until, status, reason, run_id, error FROM etl.model_interval"
							  " WHERE model = $1 ORDER BY since", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlSlice   *slice = palloc0(sizeof(EtlSlice));

		slice->since = etl_row_timestamp(rows, i, "since");
		slice->until = etl_row_timestamp(rows, i, "until");
		slice->status = etl_row_text(rows, i, "status");
		slice->reason = etl_row_text(rows, i, "reason");
		slice->run_id = etl_row_int8(rows, i, "run_id");
		slice->error = etl_row_text(rows, i, "error");
		slices = lappend(slices, slice);
	}
	return slices;
}

/*
 * param_slices adds the bounds of slices and their reasons as three arrays.
 */
static void
param_slices(EtlParams *params, List *slices)
{
	int			n = list_length(slices);
	Datum	   *since = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *until = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *reasons = palloc(sizeof(Datum) * Max(n, 1));
	int			i = 0;
	ListCell   *cell;

	foreach(cell, slices)
	{
		EtlSlice   *slice = lfirst(cell);

		since[i] = TimestampTzGetDatum(slice->since);
		until[i] = TimestampTzGetDatum(slice->until);
		reasons[i++] = CStringGetTextDatum(slice->reason ? slice->reason : "");
	}
	etl_param_datum(params, TIMESTAMPTZARRAYOID,
					PointerGetDatum(construct_array(since, n, TIMESTAMPTZOID, sizeof(TimestampTz),
													FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
					false);
	etl_param_datum(params, TIMESTAMPTZARRAYOID,
					PointerGetDatum(construct_array(until, n, TIMESTAMPTZOID, sizeof(TimestampTz),
													FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
					false);
	etl_param_datum(params, TEXTARRAYOID,
					PointerGetDatum(construct_array(reasons, n, TEXTOID, -1, false, TYPALIGN_INT)), false);
}

void
etl_intervals_add(const char *model, List *slices)
{
	EtlParams	params = {0};

	if (slices == NIL)
		return;
	etl_param_text(&params, model);
	param_slices(&params, slices);
	etl_sql_exec("INSERT INTO etl.model_interval AS i (model, since, until, status, reason)"
				 " SELECT $1, s.since, s.until, 'due', s.reason"
				 " FROM unnest($2, $3, $4) AS s (since, until, reason)"
				 " ON CONFLICT (model, since) DO UPDATE SET status = 'due', reason = excluded.reason"
				 " WHERE i.status = 'done'", &params);
}

bool
etl_interval_is_open(const char *model, const EtlSlice *slice, int64 run_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_timestamp(&params, slice->since);
	etl_param_int8(&params, run_id);
	etl_param_bool(&params, slice->status != NULL && strcmp(slice->status, "done") == 0);
	return etl_sql_int8("SELECT count(*) FROM etl.model_interval WHERE model = $1 AND since = $2"
						" AND status = 'done' AND (NOT $4 OR run_id IS NOT DISTINCT FROM $3)",
						&params) == 0;
}

void
etl_interval_done(const char *model, const EtlSlice *slice, int64 run_id, int64 rows)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_timestamp(&params, slice->since);
	etl_param_timestamp(&params, slice->until);
	etl_param_int8(&params, run_id);
	etl_param_int8(&params, rows);
	etl_sql_exec("INSERT INTO etl.model_interval AS i (model, since, until, status, run_id, rows, done_at)"
				 " VALUES ($1, $2, $3, 'done', $4, $5, clock_timestamp())"
				 " ON CONFLICT (model, since) DO UPDATE SET status = 'done', reason = NULL,"
				 " run_id = excluded.run_id, rows = excluded.rows, attempts = 0, error = NULL,"
				 " sqlstate = NULL, done_at = excluded.done_at", &params);
}

void
etl_interval_failed(const char *model, const EtlSlice *slice, int64 run_id, const char *error,
					const char *sqlstate)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_timestamp(&params, slice->since);
	etl_param_int8(&params, run_id);
	etl_param_text(&params, error);
	etl_param_text(&params, sqlstate);
	etl_sql_exec("UPDATE etl.model_interval SET status = 'failed', run_id = $3, error = $4, sqlstate = $5,"
				 " attempts = attempts + 1 WHERE model = $1 AND since = $2", &params);
}

void
etl_intervals_replace(const char *model, List *slices, int64 run_id)
{
	EtlParams	params = {0};

	etl_intervals_forget(model);
	if (slices == NIL)
		return;
	etl_param_text(&params, model);
	param_slices(&params, slices);
	etl_param_int8(&params, run_id);
	etl_sql_exec("INSERT INTO etl.model_interval (model, since, until, status, run_id, done_at)"
				 " SELECT $1, s.since, s.until, 'done', $5, clock_timestamp()"
				 " FROM unnest($2, $3, $4) AS s (since, until, reason)", &params);
}

int64
etl_intervals_reset(const char *model, TimestampTz since, TimestampTz until, const char *reason)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_timestamp(&params, since);
	etl_param_timestamp(&params, until);
	etl_param_text(&params, reason);
	return (int64) etl_sql_exec("UPDATE etl.model_interval SET status = 'due', reason = $4, run_id = NULL"
								" WHERE model = $1 AND ($2 IS NULL OR until > $2)"
								" AND ($3 IS NULL OR since < $3)", &params);
}

void
etl_intervals_forget(const char *model)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_sql_exec("DELETE FROM etl.model_interval WHERE model = $1", &params);
}

void
etl_rejects_supersede_slice(const char *model, const char *column, const EtlSlice *slice, bool wall)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_text(&params, column);
	etl_param_timestamp(&params, slice->since);
	etl_param_timestamp(&params, slice->until);
	etl_param_bool(&params, wall);
	etl_sql_exec("UPDATE etl.reject SET status = 'superseded', closed_at = clock_timestamp()"
				 " WHERE target = $1 AND status = 'open' AND load_id IS NULL AND length(raw) = record_size"
				 " AND CASE WHEN $5 THEN (etl._record(raw)::jsonb ->> $2)::timestamp AT TIME ZONE 'UTC'"
				 " ELSE (etl._record(raw)::jsonb ->> $2)::timestamptz END BETWEEN $3 AND"
				 " $4 - interval '1 us'", &params);
}
