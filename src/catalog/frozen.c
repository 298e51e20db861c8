/*-------------------------------------------------------------------------
 *
 * frozen.c
 *    The keys of models whose history retention removed in part.
 *
 * A key is a JSON array of texts, found by its digest, since values have no
 * limit of size and an index has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/frozen.h"
#include "catalog/sql.h"

/*
 * etl_frozen_add freezes keys; those that are frozen already stay so.
 */
void
etl_frozen_add(const char *model, List *columns, List *keys)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_param_texts(&params, columns);
	etl_param_texts(&params, keys);
	etl_sql_exec("INSERT INTO etl.frozen_key (model, columns, digest, key)"
				 " SELECT $1, $2, md5(k::jsonb::text)::uuid, k::jsonb FROM unnest($3) AS k"
				 " ON CONFLICT DO NOTHING", &params);
}

/*
 * etl_frozen_columns steps from one set of columns to the next in the index.
 */
List *
etl_frozen_columns(const char *model)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *all = NIL;

	etl_param_text(&params, model);
	rows = etl_sql_query_seen("WITH RECURSIVE c AS ((SELECT columns FROM etl.frozen_key WHERE model = $1"
							  " ORDER BY columns LIMIT 1) UNION ALL SELECT (SELECT k.columns"
							  " FROM etl.frozen_key AS k WHERE k.model = $1 AND k.columns > c.columns"
							  " ORDER BY k.columns LIMIT 1) FROM c WHERE c.columns IS NOT NULL)"
							  " SELECT columns FROM c WHERE columns IS NOT NULL", &params);
	for (int i = 0; i < rows->n; i++)
		all = lappend(all, etl_row_texts(rows, i, "columns"));
	return all;
}

List *
etl_frozen_keys(const char *model, List *columns, List *candidates, bool nulls)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *keys = NIL;

	etl_param_text(&params, model);
	etl_param_texts(&params, columns);
	etl_param_texts(&params, candidates);
	etl_param_bool(&params, nulls);
	if (candidates != NIL)
		rows = etl_sql_query_seen("SELECT key::text FROM etl.frozen_key WHERE model = $1 AND columns = $2"
								  " AND (digest IN (SELECT md5(k::jsonb::text)::uuid FROM unnest($3) AS k)"
								  " OR ($4 AND key @> '[null]'))", &params);
	else
		rows = etl_sql_query_seen("SELECT key::text FROM etl.frozen_key WHERE model = $1 AND columns = $2"
								  " AND $3 = '{}' AND $4 IS NOT NULL", &params);
	for (int i = 0; i < rows->n; i++)
		keys = lappend(keys, etl_row_text(rows, i, "key"));
	return keys;
}

void
etl_frozen_forget(const char *model)
{
	EtlParams	params = {0};

	etl_param_text(&params, model);
	etl_sql_exec("DELETE FROM etl.frozen_key WHERE model = $1", &params);
}
