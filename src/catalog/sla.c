/*-------------------------------------------------------------------------
 *
 * sla.c
 *    What is promised of nodes: the definitions, and when to look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/sla.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/run_as.h"

/*
 * time_param adds a time of day that may be missing.
 */
static void
time_param(EtlParams *params, const TimeADT *value)
{
	etl_param_datum(params, TIMEOID, value ? TimeADTGetDatum(*value) : (Datum) 0, value == NULL);
}

const char *
etl_sla_store(const EtlSla *sla, TimestampTz now)
{
	EtlSla	   *old = etl_sla_find(sla->name);
	EtlParams	params = {0};
	EtlRows    *rows;

	if (old != NULL)
		etl_check_owner(old->owner, "sla", sla->name);
	etl_param_text(&params, sla->name);
	etl_param_text(&params, sla->selector);
	etl_param_interval(&params, sla->freshness);
	time_param(&params, sla->finish_by);
	time_param(&params, sla->start_by);
	etl_param_interval(&params, sla->max_duration);
	etl_param_text(&params, sla->timezone);
	etl_param_text(&params, sla->description);
	etl_param_text(&params, sla->owner);
	etl_param_timestamp(&params, now);
	rows = etl_sql_query(
		"INSERT INTO etl.sla AS s (name, selector, freshness, finish_by, start_by, max_duration,"
		" timezone, description, owner, begins_at, judged_until)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)"
		" ON CONFLICT (name) DO UPDATE SET selector = excluded.selector,"
		" freshness = excluded.freshness, finish_by = excluded.finish_by,"
		" start_by = excluded.start_by, max_duration = excluded.max_duration,"
		" timezone = excluded.timezone, description = excluded.description,"
		" version = s.version + 1, defined_at = clock_timestamp(), check_at = NULL,"
		" judged_until = greatest(s.judged_until, excluded.judged_until)"
		" WHERE (s.selector, s.freshness::text, s.finish_by, s.start_by, s.max_duration::text,"
		" s.timezone, s.description) IS DISTINCT FROM (excluded.selector, excluded.freshness::text,"
		" excluded.finish_by, excluded.start_by, excluded.max_duration::text, excluded.timezone,"
		" excluded.description) RETURNING xmax = 0 AS created", &params);
	return etl_defined("sla", sla->name, NULL,
					   rows->n == 0						? "unchanged" :
					   etl_row_bool(rows, 0, "created") ? "created" :
														  "updated");
}

/*
 * row_time reads a time of day that may be missing.
 */
static TimeADT *
row_time(EtlRows *rows, int i, const char *column)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, column, &isnull);
	TimeADT    *time;

	if (isnull)
		return NULL;
	time = palloc(sizeof(TimeADT));
	*time = DatumGetTimeADT(value);
	return time;
}

/*
 * read_slas makes structs of rows.
 */
static List *
read_slas(EtlRows *rows)
{
	List	   *slas = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlSla	   *sla = palloc0(sizeof(EtlSla));

		sla->name = etl_row_text(rows, i, "name");
		sla->selector = etl_row_text(rows, i, "selector");
		sla->freshness = etl_row_interval(rows, i, "freshness");
		sla->finish_by = row_time(rows, i, "finish_by");
		sla->start_by = row_time(rows, i, "start_by");
		sla->max_duration = etl_row_interval(rows, i, "max_duration");
		sla->timezone = etl_row_text(rows, i, "timezone");
		sla->description = etl_row_text(rows, i, "description");
		sla->owner = etl_row_text(rows, i, "owner");
		sla->begins_at = etl_row_timestamp(rows, i, "begins_at");
		sla->judged_until = etl_row_timestamp(rows, i, "judged_until");
		slas = lappend(slas, sla);
	}
	return slas;
}

EtlSla *
etl_sla_find(const char *name)
{
	EtlParams	params = {0};
	List	   *slas;

	etl_param_text(&params, name);
	slas = read_slas(etl_sql_query("SELECT * FROM etl.sla WHERE name = $1", &params));
	return slas == NIL ? NULL : linitial(slas);
}

List *
etl_slas_all(void)
{
	return read_slas(etl_sql_query("SELECT * FROM etl.sla ORDER BY name COLLATE \"C\"", NULL));
}

List *
etl_slas_due(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	return read_slas(etl_sql_query("SELECT * FROM etl.sla WHERE coalesce(check_at <= $1, true)"
								   " ORDER BY name COLLATE \"C\" FOR UPDATE SKIP LOCKED", &params));
}

TimestampTz
etl_slas_next_check(TimestampTz now)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	TimestampTz at;

	etl_param_timestamp(&params, now);
	rows = etl_sql_query("SELECT min(coalesce(check_at, $1)) AS at FROM etl.sla", &params);
	at = etl_row_timestamp(rows, 0, "at");
	return at == DT_NOBEGIN ? DT_NOEND : at;
}

void
etl_sla_set_state(const EtlSla *sla, TimestampTz check_at)
{
	EtlParams	params = {0};

	etl_param_text(&params, sla->name);
	etl_param_timestamp(&params, sla->judged_until);
	etl_param_timestamp(&params, check_at);
	etl_sql_exec("UPDATE etl.sla SET judged_until = $2, check_at = $3 WHERE name = $1", &params);
}

bool
etl_sla_delete(const char *name)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_undefined("sla", name, NULL);
	return etl_sql_query("DELETE FROM etl.sla WHERE name = $1 RETURNING name", &params)->n > 0;
}

void
etl_slas_look_again(List *nodes)
{
	EtlParams	params = {0};

	etl_param_texts(&params, nodes);
	etl_sql_exec("UPDATE etl.sla SET check_at = NULL WHERE name IN (SELECT name FROM etl.sla"
				 " WHERE check_at IS NOT NULL AND name IN (SELECT r.sla FROM etl.sla_result AS r"
				 "  WHERE r.done_at IS NULL AND r.node = ANY ($1)) FOR UPDATE SKIP LOCKED)",
				 &params);
}

TimestampTz
etl_next_time_of_day(TimestampTz after, int64 time, const char *zone)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, after);
	etl_param_datum(&params, TIMEOID, TimeADTGetDatum(time), false);
	etl_param_text(&params, zone);
	return etl_row_timestamp(etl_sql_query("SELECT min(t) AS at FROM (SELECT (($1 AT TIME ZONE "
										   "$3)::date + n + $2) AT TIME ZONE $3 AS t"
										   " FROM generate_series(0, 2) AS n) AS x WHERE t > $1",
										   &params),
							 0, "at");
}
