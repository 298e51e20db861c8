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
