/*-------------------------------------------------------------------------
 *
 * unit_guard.c
 *    While a unit test runs, no relation is read but those it made.
 *
 * The given rows stand in the place of everything that the query shows.
 * What it does not show, the body of a function above all, would read the
 * real thing: whoever begins to is stopped here, before the first row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/names.h"
#include "model/unit_test.h"

static const char *allowed = NULL;	/* schema of the test; NULL: nothing is guarded */
static bool installed = false;
static ExecutorCheckPerms_hook_type next_hook = NULL;

/*
 * refuse_real raises 0A000 for a relation that is not the test's own, nor
 * PostgreSQL's or etl's.
 */
static void
refuse_real(Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (schema == NULL || strcmp(schema, allowed) == 0 || strcmp(schema, "etl") == 0 ||
		strcmp(schema, "pg_catalog") == 0 || strcmp(schema, "pg_toast") == 0 ||
		strcmp(schema, "information_schema") == 0)
		return;
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("the unit test would read %s itself", etl_name_of_relation(relid)),
					errdetail("A function reads it where its rows cannot be replaced."),
					errhint("Let the function take the rows as an argument, write it as one SELECT "
							"in SQL, or read the "
							"relation in the query.")));
}

/*
 * guard looks at what a statement is about to read.
 */
static bool
guard(ETL_CHECK_PERMS_ARGS)
{
	if (allowed != NULL)
		etl_foreach_read_relation(refuse_real);
	return next_hook == NULL || next_hook(ETL_CHECK_PERMS_PASS);
}

void
etl_unit_guard_begin(const char *scratch_schema)
{
	if (!installed)
	{
		next_hook = ExecutorCheckPerms_hook;
		ExecutorCheckPerms_hook = guard;
		installed = true;
	}
	allowed = scratch_schema;
}

void
etl_unit_guard_end(void)
{
	allowed = NULL;
}
