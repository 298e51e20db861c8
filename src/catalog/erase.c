/*-------------------------------------------------------------------------
 *
 * erase.c
 *    Taking copies of rows out of what etl keeps beside the relations.
 *
 * etl.reject has an index on open rejects only, so all of them are read by
 * ranges of pages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/itemptr.h"

#include "catalog/erase.h"

int64
etl_rejects_pages(void)
{
	EtlParams	params = {0};

	return etl_sql_int8("SELECT pg_catalog.pg_relation_size('etl.reject')"
						" / pg_catalog.current_setting('block_size')::bigint", &params);
}

/*
 * param_page adds the place of the first row of a page.
 */
static void
param_page(EtlParams *params, int64 page)
{
	ItemPointer tid = palloc(sizeof(ItemPointerData));

	ItemPointerSet(tid, (BlockNumber) page, 0);
	etl_param_datum(params, TIDOID, PointerGetDatum(tid), false);
}

EtlRows *
etl_rejects_in_pages(const char *target, int64 first, int64 end)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	param_page(&params, first);
	param_page(&params, end);
	return etl_sql_query("SELECT ctid, reject_id, load_id, origin, raw, record_size, of_row FROM etl.reject"
						 " WHERE target = $1 AND ctid >= $2 AND ctid < $3 AND octet_length(raw) > 0"
						 " ORDER BY reject_id", &params);
}

void
etl_reject_erase(int64 reject_id, Datum ctid)
{
	EtlParams	params = {0};

	etl_param_int8(&params, reject_id);
	etl_param_datum(&params, TIDOID, ctid, false);
	etl_sql_exec("UPDATE etl.reject SET raw = '', reasons = '[{\"check\": \"erased\", \"column\": null,"
				 " \"value\": null, \"message\": \"the record was erased on request\"}]',"
				 " status = CASE status WHEN 'open' THEN 'discarded' ELSE status END,"
				 " closed_at = coalesce(closed_at, clock_timestamp())"
				 " WHERE reject_id = $1 AND ctid = $2", &params);
}

int64
etl_changes_count(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	return etl_sql_int8("SELECT count(*) FROM etl.change AS c JOIN etl.change_set AS s USING (set_id)"
						" WHERE s.target = $1", &params);
}

void
etl_changes_erase(const char *target, const char *why)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, why);
	etl_sql_exec("WITH sets AS (UPDATE etl.change_set SET unknown = $2, rows = 0 WHERE target = $1"
				 " RETURNING set_id) DELETE FROM etl.change AS c USING sets AS s"
				 " WHERE c.set_id = s.set_id", &params);
}

List *
etl_models_below(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	return etl_column_texts(
		etl_sql_query("WITH RECURSIVE below AS (SELECT node FROM etl.dependency WHERE depends_on = $1"
					  " UNION SELECT d.node FROM etl.dependency AS d JOIN below AS b"
					  " ON d.depends_on = b.node) SELECT node FROM below JOIN etl.model AS m"
					  " ON m.target = node ORDER BY node", &params),
		"node");
}

List *
etl_columns_showing(const char *model, const char *node, const char *column)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_text(&params, node);
	etl_param_text(&params, column);
	return etl_column_texts(
		etl_sql_query("WITH RECURSIVE e AS (SELECT $2 AS target, $3 AS column_name UNION"
					  " SELECT c.target, c.column_name FROM etl.column_edge AS c JOIN e"
					  " ON c.source = e.target AND c.source_column = e.column_name"
					  " WHERE c.transformation = 'identity')"
					  " SELECT column_name FROM e WHERE target = $1 AND $1 <> $2 ORDER BY 1",
					  &params),
		"column_name");
}

#define NAMED_KEYS \
	"SELECT k.ctid FROM etl.frozen_key AS k WHERE k.model = $1 AND (SELECT" \
	" coalesce(bool_and(same), false) FROM (SELECT bool_or(v = t OR" \
	" v ~ '^-?[0-9]+\\.[0-9]*0$' AND rtrim(rtrim(v, '0'), '.') = t) AS same" \
	" FROM unnest($2, $3) AS w (c, t) JOIN unnest(k.columns) WITH ORDINALITY AS o" \
	" (c, n) USING (c), LATERAL (SELECT k.key ->> (n - 1)::int) AS x (v)" \
	" GROUP BY n) AS s)"

int64
etl_frozen_erase(const char *model, List *columns, List *values, bool dry_run)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_texts(&params, columns);
	etl_param_texts(&params, values);
	if (dry_run)
		return etl_sql_int8("SELECT count(*) FROM (" NAMED_KEYS ") AS k", &params);
	return etl_sql_exec("DELETE FROM etl.frozen_key WHERE ctid IN (" NAMED_KEYS ")", &params);
}
