/*-------------------------------------------------------------------------
 *
 * graph.c
 *    What a run must know of all nodes at once: what depends on what, what
 *    was published of which definition, what is flagged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/graph.h"
#include "catalog/sql.h"

/*
 * etl_node_flag: see runs.h.
 */
void
etl_node_flag(const char *target, const char *reason)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, reason);
	etl_sql_exec("UPDATE etl.node_state AS s SET incomplete = n.reason FROM (SELECT coalesce($2,"
				 " (SELECT 'it reads ' || p.target || ', which is incomplete' FROM etl.dependency AS d"
				 "  JOIN etl.node_state AS p ON p.target = d.depends_on"
				 "  WHERE d.node = $1 AND p.incomplete IS NOT NULL ORDER BY 1 LIMIT 1)) AS reason) AS n"
				 " WHERE s.target = $1 AND s.incomplete IS DISTINCT FROM n.reason", &params);
}

/*
 * etl_checked_all lists the relations that have checks.
 */
List *
etl_checked_all(void)
{
	EtlRows    *rows = etl_sql_query("SELECT DISTINCT target FROM etl.quality_check", NULL);

	return etl_column_texts(rows, "target");
}

/*
 * etl_nodes_flagged: see runs.h.
 */
bool
etl_nodes_flagged(void)
{
	return etl_sql_int8("SELECT 1::bigint FROM etl.node_state WHERE incomplete IS NOT NULL LIMIT 1",
						NULL) != 0;
}

/*
 * etl_reject_reasons counts why a run put records of a node aside.
 */
List *
etl_reject_reasons(int64 run_id, const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, run_id);
	etl_param_text(&params, target);
	rows = etl_sql_query(
		"SELECT pg_catalog.format('%s x %s%s: %s', pg_catalog.count(*), e.reason ->> 'check',"
		" ' of ' || (e.reason ->> 'column'),"
		" pg_catalog.left(pg_catalog.min(e.reason ->> 'message'), 200)) AS reason"
		" FROM etl.reject r, pg_catalog.jsonb_array_elements(r.reasons) AS e (reason)"
		" WHERE r.run_id = $1 AND r.target = $2"
		" GROUP BY e.reason ->> 'column', e.reason ->> 'check'"
		" ORDER BY pg_catalog.count(*) DESC, 1 LIMIT 5", &params);
	return etl_column_texts(rows, "reason");
}

/*
 * read_pairs runs a query whose columns are "node" and "other".
 */
static List *
read_pairs(const char *sql)
{
	EtlRows    *rows = etl_sql_query(sql, NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlNamePair *pair = palloc(sizeof(EtlNamePair));

		pair->node = etl_row_text(rows, i, "node");
		pair->other = etl_row_text(rows, i, "other");
		result = lappend(result, pair);
	}
	return result;
}

/*
 * etl_dependencies_all reads every edge of the graph, in a stable order.
 */
List *
etl_dependencies_all(void)
{
	return read_pairs("SELECT node, depends_on AS other FROM etl.dependency"
					  " ORDER BY node COLLATE \"C\", depends_on COLLATE \"C\"");
}

/*
 * etl_foreign_keys_all finds the pairs of models whose tables a foreign key
 * links: 'node' references 'other'.
 */
List *
etl_foreign_keys_all(void)
{
	return read_pairs("SELECT DISTINCT c.target AS node, p.target AS other"
					  " FROM pg_catalog.pg_constraint f"
					  " JOIN etl.model c ON pg_catalog.to_regclass(c.target) = f.conrelid"
					  " JOIN etl.model p ON pg_catalog.to_regclass(p.target) = f.confrelid"
					  " WHERE f.contype = 'f' AND f.conrelid <> f.confrelid");
}

/*
 * etl_built_versions reads which version of its definition each node was
 * last published with.
 */
List *
etl_built_versions(void)
{
	EtlRows    *rows = etl_sql_query("SELECT target, built_version FROM etl.node_state"
								  " WHERE built_version IS NOT NULL", NULL);
	List	   *result = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlBuiltVersion *built = palloc(sizeof(EtlBuiltVersion));

		built->target = etl_row_text(rows, i, "target");
		built->version = etl_row_int4(rows, i, "built_version");
		result = lappend(result, built);
	}
	return result;
}
