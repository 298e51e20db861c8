/*-------------------------------------------------------------------------
 *
 * quality.c
 *    What is checked, and the score that follows from the results.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/quality.h"
#include "catalog/sql.h"

List *
etl_quality_targets(void)
{
	EtlRows    *rows = etl_sql_query("SELECT DISTINCT target COLLATE \"C\" AS target"
								  " FROM etl.quality_check ORDER BY 1", NULL);

	return etl_column_texts(rows, "target");
}

/*
 * Of each check that is still defined the newest result counts that judged
 * anything: a status of error, or at least one row.  Only then come p, the
 * dimensions and their mean.
 */
static const char score_sql[] =
	"WITH latest AS ("
	" SELECT DISTINCT ON (r.check_name) r.*"
	" FROM etl.check_result AS r JOIN etl.quality_check AS q ON q.target = r.target AND q.name = "
	"r.check_name"
	" WHERE r.target = $1 AND (r.status = 'error' OR (r.status <> 'skipped' AND r.evaluated > 0))"
	" ORDER BY r.check_name, r.checked_at DESC),"
	" judged AS ("
	" SELECT dimension, weight, status IN ('fail', 'error') AS bad,"
	" CASE WHEN status = 'error' THEN 0"
	"  WHEN kind IN ('unique', 'row_count', 'freshness') THEN CASE WHEN failed = 0 THEN 1 ELSE 0 "
	"END"
	"  ELSE 1 - failed::numeric / evaluated END AS p"
	" FROM latest),"
	" dimensions AS ("
	" SELECT d.dimension, d.n, 100 * sum(j.weight * j.p) / nullif(sum(j.weight), 0) AS score,"
	" count(j.p)::int AS checks, (count(*) FILTER (WHERE j.bad))::int AS failed"
	" FROM unnest(ARRAY['completeness', 'uniqueness', 'validity', 'accuracy', 'consistency', "
	"'timeliness'])"
	"  WITH ORDINALITY AS d (dimension, n) LEFT JOIN judged AS j ON j.dimension = d.dimension"
	" GROUP BY d.dimension, d.n),"
	" scores AS ("
	" SELECT * FROM dimensions"
	" UNION ALL"
	" SELECT 'overall', 7, CASE WHEN sum(failed) > 0 THEN least(avg(score), 79) ELSE avg(score) "
	"END,"
	" sum(checks)::int, sum(failed)::int FROM dimensions)"
	" SELECT s.dimension, round(s.score, 2)::text AS score, s.checks, s.failed,"
	" round((SELECT count(DISTINCT c) FROM etl.quality_check AS q, unnest(q.columns) AS c"
	"  WHERE q.target = $1 AND c = ANY ($2) AND (s.dimension = 'overall' OR q.dimension = "
	"s.dimension))::numeric"
	"  / nullif(cardinality($2), 0), 4)::text AS coverage"
	" FROM scores AS s ORDER BY s.n";

List *
etl_quality_scores(const char *target, List *columns)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *scores = NIL;

	etl_param_text(&params, target);
	etl_param_texts(&params, columns);
	rows = etl_sql_query(score_sql, &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlScore   *score = palloc0(sizeof(EtlScore));

		score->dimension = etl_row_text(rows, i, "dimension");
		score->score = etl_row_text(rows, i, "score");
		score->checks = etl_row_int4(rows, i, "checks");
		score->failed = etl_row_int4(rows, i, "failed");
		score->coverage = etl_row_text(rows, i, "coverage");
		scores = lappend(scores, score);
	}
	return scores;
}
