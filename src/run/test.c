/*-------------------------------------------------------------------------
 *
 * test.c
 *    SQL function test: the unit tests of the models that a selector picks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "common/parse.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_test);

/*
 * may_test tells whether the caller may have the tests of a model run:
 * operators, and members of its owner.
 */
static bool
may_test(const EtlModel *model)
{
	Oid			operators = get_role_oid("etl_operator", true);
	Oid			owner = get_role_oid(model->owner, true);

	return superuser() || (OidIsValid(operators) && has_privs_of_role(GetUserId(), operators)) ||
		   (OidIsValid(owner) && has_privs_of_role(GetUserId(), owner));
}

/*
 * tests_of lists the tests of a node: its own, and for one of an environment
 * those of production that have other names.
 */
static List *
tests_of(const EtlNode *node)
{
	List	   *tests = etl_unit_tests_of(node->name->canonical);
	List	   *names = list_make1("");
	ListCell   *cell;

	foreach(cell, tests)
		names = lappend(names, ((EtlUnitTest *) lfirst(cell))->name);
	foreach(cell, node->stands_for ? etl_unit_tests_of(node->stands_for->canonical) : NIL)
		if (!etl_name_among(names, ((EtlUnitTest *) lfirst(cell))->name))
			tests = lappend(tests, lfirst(cell));
	return tests;
}

/*
 * test_node runs the tests of one model and adds their results.
 */
static void
test_node(const EtlNode *node, ReturnSetInfo *result)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "etl unit test", ALLOCSET_DEFAULT_SIZES);
	ListCell   *cell;

	foreach(cell, tests_of(node))
	{
		EtlUnitTest *test = lfirst(cell);
		MemoryContext old = MemoryContextSwitchTo(context);
		EtlUnitResult outcome;
		Datum		values[4];
		bool		nulls[4] = {false};

		etl_unit_test_run(test, node->name->canonical, &outcome);
		values[0] = CStringGetTextDatum(node->name->canonical);
		values[1] = CStringGetTextDatum(test->name);
		values[2] = CStringGetTextDatum(outcome.status);
		values[3] = PointerGetDatum(outcome.diff);
		nulls[3] = outcome.diff == NULL;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(context);
}

/*
 * etl_sql_test: see the comment of etl.test.
 */
Datum
etl_sql_test(PG_FUNCTION_ARGS)
{
	EtlGraph   *graph = etl_graph_load();

	etl_select(graph, PG_ARGISNULL(0) ? "*" : text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];

		if (node->selected && node->model != NULL && may_test(node->model))
			test_node(node, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	return (Datum) 0;
}
