/*-------------------------------------------------------------------------
 *
 * unit_test.c
 *    Unit tests of models, as they are stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"

#include "catalog/sql.h"
#include "catalog/unit_test.h"
#include "catalog/version.h"

const char *
etl_unit_test_store(const EtlUnitTest *test)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, test->target);
	etl_param_text(&params, test->name);
	etl_param_jsonb(&params, test->given);
	etl_param_jsonb(&params, test->expect);
	etl_param_jsonb(&params, test->options);
	etl_param_text(&params, test->description);
	etl_param_text(&params, test->owner);
	rows = etl_sql_query(
		"INSERT INTO etl.unit_test AS t (target, name, given, expect, options, description, owner)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (target, name) DO UPDATE"
		" SET given = excluded.given, expect = excluded.expect, options = excluded.options,"
		" description = excluded.description, version = t.version + 1,"
		" defined_at = clock_timestamp() WHERE (t.given, t.expect, t.options, t.description)"
		" IS DISTINCT FROM (excluded.given, excluded.expect, excluded.options,"
		" excluded.description) RETURNING xmax = 0 AS created", &params);
	return etl_defined("unit_test", test->target, test->name,
					   rows->n == 0						? "unchanged" :
					   etl_row_bool(rows, 0, "created") ? "created" :
														  "updated");
}

/*
 * read_test makes the struct of one row.
 */
static EtlUnitTest *
read_test(EtlRows *rows, int i)
{
	EtlUnitTest *test = palloc0(sizeof(EtlUnitTest));

	test->target = etl_row_text(rows, i, "target");
	test->name = etl_row_text(rows, i, "name");
	test->given = etl_row_jsonb(rows, i, "given");
	test->expect = etl_row_jsonb(rows, i, "expect");
	test->options = etl_row_jsonb(rows, i, "options");
	test->description = etl_row_text(rows, i, "description");
	test->owner = etl_row_text(rows, i, "owner");
	test->version = etl_row_int4(rows, i, "version");
	return test;
}

EtlUnitTest *
etl_unit_test_find(const char *target, const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, target);
	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.unit_test WHERE target = $1 AND name = $2", &params);
	return rows->n == 0 ? NULL : read_test(rows, 0);
}

List *
etl_unit_tests_of(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *tests = NIL;

	etl_param_text(&params, target);
	rows = etl_sql_query(
		"SELECT * FROM etl.unit_test WHERE target = $1 ORDER BY name COLLATE \"C\"", &params);
	for (int i = 0; i < rows->n; i++)
		tests = lappend(tests, read_test(rows, i));
	return tests;
}

void
etl_scratch_schema(const char *name, const char *owner)
{
	etl_sql_exec(psprintf("CREATE SCHEMA %s AUTHORIZATION %s", quote_identifier(name),
						  quote_identifier(owner)),
				 NULL);
	CommandCounterIncrement();
}

void
etl_scratch_make(const char *statement)
{
	etl_sql_exec(statement, NULL);
	CommandCounterIncrement();
}
