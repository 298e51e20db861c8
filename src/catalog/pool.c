/*-------------------------------------------------------------------------
 *
 * pool.c
 *    Named pools, which limit how many tasks work at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/pool.h"
#include "catalog/sql.h"
#include "catalog/version.h"

/*
 * etl_pools_all reads the pools.
 */
List *
etl_pools_all(void)
{
	EtlRows    *rows = etl_sql_query("SELECT name, slots FROM etl.pool", NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlPool    *pool = palloc(sizeof(EtlPool));

		pool->name = etl_row_text(rows, i, "name");
		pool->slots = etl_row_int4(rows, i, "slots");
		result = lappend(result, pool);
	}
	return result;
}

/*
 * etl_pool_store: see runs.h.
 */
const char *
etl_pool_store(const char *name, int slots, const char *description, const char *owner)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	etl_param_int4(&params, slots);
	etl_param_text(&params, description);
	etl_param_text(&params, owner);
	rows = etl_sql_query("INSERT INTO etl.pool AS p (name, slots, description, owner) VALUES ($1, $2, $3, $4)"
						 " ON CONFLICT (name) DO UPDATE SET slots = $2, description = $3,"
						 " version = p.version + 1, defined_at = pg_catalog.clock_timestamp()"
						 " WHERE (p.slots, p.description) IS DISTINCT FROM ($2, $3)"
						 " RETURNING p.xmax::text = '0' AS created", &params);
	return etl_defined("pool", name, NULL,
					   rows->n == 0						? "unchanged" :
					   etl_row_bool(rows, 0, "created") ? "created" :
														  "updated");
}

/*
 * etl_pool_delete forgets a pool; false when there is none.
 */
bool
etl_pool_delete(const char *name)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_undefined("pool", name, NULL);
	return etl_sql_exec("DELETE FROM etl.pool WHERE name = $1", &params) > 0;
}

/*
 * etl_pool_owner returns who has defined a pool.
 */
char *
etl_pool_owner(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT owner FROM etl.pool WHERE name = $1", &params);
	return rows->n == 0 ? NULL : etl_row_text(rows, 0, "owner");
}
