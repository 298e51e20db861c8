/*-------------------------------------------------------------------------
 *
 * lineage.c
 *    Walking stored column edges.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/lineage.h"
#include "catalog/sql.h"
#include "common/names.h"

/*
 * walk follows the edges in one direction.  An edge from "*" (something of
 * a relation, seen by an opaque function) continues with all its columns.
 */
static List *
walk(List *steps, const char *target, const char *column, bool upstream, int depth)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_text(&params, column);
	etl_param_int4(&params, depth);
	rows = etl_sql_query(
		upstream ?
			"WITH RECURSIVE way AS ("
			" SELECT 1 AS depth, e.* FROM etl.column_edge e"
			" WHERE e.target = $1 AND ($2 IS NULL OR e.column_name = $2)"
			" UNION SELECT w.depth + 1, e.* FROM way w JOIN etl.column_edge e"
			" ON e.target = w.source AND (e.column_name = w.source_column OR w.source_column = '*')"
			" WHERE ($3 = 0 OR w.depth < $3) AND w.depth < 1000)"
			" SELECT min(depth) AS depth, target, column_name, source, source_column, "
			"transformation FROM way"
			" GROUP BY 2, 3, 4, 5, 6"
			" ORDER BY 1, target COLLATE \"C\", column_name COLLATE \"C\", source COLLATE \"C\","
			" source_column COLLATE \"C\", transformation COLLATE \"C\"" :
			"WITH RECURSIVE way AS ("
			" SELECT 1 AS depth, e.* FROM etl.column_edge e"
			" WHERE e.source = $1 AND ($2 IS NULL OR e.source_column IN ($2, '*'))"
			" UNION SELECT w.depth + 1, e.* FROM way w JOIN etl.column_edge e"
			" ON e.source = w.target AND e.source_column IN (w.column_name, '*')"
			" WHERE ($3 = 0 OR w.depth < $3) AND w.depth < 1000)"
			" SELECT min(depth) AS depth, target, column_name, source, source_column, "
			"transformation FROM way"
			" GROUP BY 2, 3, 4, 5, 6"
			" ORDER BY 1, target COLLATE \"C\", column_name COLLATE \"C\", source COLLATE \"C\","
			" source_column COLLATE \"C\", transformation COLLATE \"C\"", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlLineageStep *step = palloc0(sizeof(EtlLineageStep));

		step->depth = etl_row_int4(rows, i, "depth");
		step->target = etl_row_text(rows, i, "target");
		step->edge.column_name = etl_row_text(rows, i, "column_name");
		step->edge.source = etl_row_text(rows, i, "source");
		step->edge.source_column = etl_row_text(rows, i, "source_column");
		step->edge.transformation = etl_row_text(rows, i, "transformation");
		steps = lappend(steps, step);
	}
	return steps;
}

List *
etl_lineage_walk(const char *target, const char *column, const char *direction, int depth)
{
	List	   *steps = NIL;

	if (strcmp(direction, "downstream") != 0)
		steps = walk(steps, target, column, true, depth);
	if (strcmp(direction, "upstream") != 0)
		steps = walk(steps, target, column, false, depth);
	return steps;
}

List *
etl_views_on(Oid relid)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *views = NIL;

	etl_param_int8(&params, relid);
	rows = etl_sql_query(
		"SELECT DISTINCT r.ev_class::bigint AS view FROM pg_depend AS d JOIN pg_rewrite AS r"
		" ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass"
		" JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')"
		" WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid AND r.ev_class <> "
		"$1::oid"
		" AND c.relnamespace <> 'etl'::regnamespace ORDER BY 1", &params);
	for (int i = 0; i < rows->n; i++)
		views = lappend_oid(views, (Oid) etl_row_int8(rows, i, "view"));
	return views;
}

List *
etl_functions_reading(const char *name, Oid relid)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *functions = NIL;

	etl_param_text(&params, name);
	etl_param_int8(&params, relid);
	rows = etl_sql_query(
		"SELECT p.oid::bigint AS oid, p.oid::regprocedure::text AS name, l.lanname = 'sql' AS "
		"is_sql"
		" FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang"
		" WHERE l.lanname IN ('sql', 'plpgsql') AND p.pronamespace NOT IN"
		" ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'etl'::regnamespace)"
		" AND CASE WHEN p.prosqlbody IS NOT NULL THEN true WHEN l.lanname = 'sql' THEN strpos("
		"p.prosrc, (SELECT relname FROM pg_class WHERE oid = $2::oid)) > 0"
		" ELSE strpos(p.prosrc, $1) > 0 END ORDER BY 2", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlFunctionReader *function = palloc0(sizeof(EtlFunctionReader));

		function->oid = (Oid) etl_row_int8(rows, i, "oid");
		function->name = etl_row_text(rows, i, "name");
		function->is_sql = etl_row_bool(rows, i, "is_sql");
		functions = lappend(functions, function);
	}
	return functions;
}

void
etl_lineage_must_know(const char *target)
{
	EtlParams	params = {0};

	if (OidIsValid(etl_name_relation(target)))
		return;
	etl_param_text(&params, target);
	if (etl_sql_query("SELECT FROM etl.column_edge WHERE $1 IN (target, source) LIMIT 1", &params)->n == 0)
		etl_node_must_exist(target);
}
