/*-------------------------------------------------------------------------
 *
 * unit_test.c
 *    Running a unit test of a model.
 *
 * Everything happens in one subtransaction that is always rolled back, as
 * the model's owner, in the settings of the model and by the clock of the
 * test, while a guard sees to it that nothing real is read.  A query is run
 * over the last given rows.  For the table that a model leaves, a copy of it
 * is built as often as rows are given, by the same code as in production.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/environment.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/unit_test.h"

typedef struct TestWork
{
	const EtlUnitTest *test;
	const char *target;
	EtlModel   *model;
	List	   *steps;			/* Jsonb *: rows by name */
	EtlUnitDiff diff;
} TestWork;

/* ---- the clock ---- */

/*
 * set_now makes now() show a moment, in everything that this process runs.
 */
static void
set_now(TimestampTz transaction, TimestampTz statement)
{
	int			number = ParallelWorkerNumber;

	/* PostgreSQL lets only a parallel worker take over the moments of another process */
	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(transaction, statement);
	ParallelWorkerNumber = number;
}

/*
 * freeze sets the clock of one step; it goes on when the test does not say.
 */
static void
freeze(const TestWork *work, int step)
{
	List	   *moments = etl_json_get_list(work->test->options, "now");
	char	   *moment = moments == NIL ? NULL : list_nth(moments, Min(step, list_length(moments) - 1));
	TimestampTz now;

	if (moment == NULL)
		return;
	now = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(moment),
												  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	set_now(now, now);
	(void) set_config_option("etl.test_now", timestamptz_to_str(now), PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* ---- the query ---- */

/*
 * key_of returns the columns that identify a row, as the test or the model
 * says.
 */
static List *
key_of(const TestWork *work, bool table)
{
	List	   *key = etl_json_get_list(work->test->options, "key");

	if (key != NIL)
		return key;
	key = list_copy(work->model->key);
	return table && etl_model_is_snapshot(work->model) ? lappend(key, "valid_from") : key;
}

/*
 * last_rows returns what each relation holds after the last step.
 */
static Jsonb *
last_rows(const TestWork *work)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	List	   *names = NIL;
	ListCell   *key;

	/* backwards: what a later step says counts */
	for (int i = list_length(work->steps) - 1; i >= 0; i--)
		foreach(key, etl_json_keys(list_nth(work->steps, i)))
		{
			if (etl_name_among(names, lfirst(key)))
				continue;
			names = lappend(names, lfirst(key));
			etl_json_add(builder, lfirst(key), etl_json_get(list_nth(work->steps, i), lfirst(key)));
		}
	return etl_json_object_end(builder);
}

/*
 * run_query compares what the query yields over the given rows.
 */
static void
run_query(TestWork *work, const Jsonb *expected)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	Query	   *query;
	EtlRunAs	as;

	freeze(work, list_length(work->steps) - 1);
	etl_run_as_begin(&as, work->model->owner, work->model->settings);
	query = etl_unit_give(etl_query_analyze(work->model->query, NULL), last_rows(work));
	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
	(void) etl_execute_query(query, work->model->query, NULL, receiver);
	if (expected != NULL)
		etl_unit_compare(&work->diff, "query", expected, etl_query_desc(query), rows, key_of(work, false));
	etl_run_as_end(&as);
	tuplestore_end(rows);
}

/* ---- the table ---- */

/*
 * commit_nothing is what the driver of a test does at the end of a node.
 */
static void
commit_nothing(EtlDriver *driver)
{
}

/*
 * build builds the copy once, and all its slices.
 */
static void
build(EtlModel *copy)
{
	EtlDriver	driver = {.atomic = true, .commit = commit_nothing, .node = copy->target};
	EtlBuildResult result;
	EtlBuildResult slice;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	/* what a table that is built in full reads notes no changes */
	etl_model_build(&driver, copy, !etl_model_follows(copy), &result);
	CommandCounterIncrement();
	foreach(cell, result.opened ? result.slices : NIL)
	{
		etl_slice_build(&driver, copy, lfirst(cell), &slice);
		CommandCounterIncrement();
	}
	PopActiveSnapshot();
}

/*
 * put_history writes the versions that a snapshot is given to begin with.
 */
static void
put_history(TestWork *work, EtlModel *copy, const Jsonb *rows)
{
	Query	   *query;
	EtlRunAs	as;

	build(copy);
	etl_run_as_begin(&as, work->model->owner, work->model->settings);
	query = etl_query_analyze(psprintf("SELECT * FROM %s", copy->target), NULL);
	etl_execute_utility(psprintf("INSERT INTO %s %s", copy->target,
								 etl_unit_rows_sql(rows, etl_query_desc(query), NIL, work->model->target)));
	etl_run_as_end(&as);
	CommandCounterIncrement();
}

/*
 * run_table compares what the table holds after a build for each step.
 */
static void
run_table(TestWork *work, const Jsonb *expected)
{
	EtlUnitScratch *scratch = etl_unit_scratch(work->model, last_rows(work));
	Jsonb	   *history = etl_json_get(linitial(work->steps), work->model->target);
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	Query	   *query;
	EtlRunAs	as;
	int			step = 0;
	ListCell   *cell;

	foreach(cell, work->steps)
	{
		freeze(work, step++);
		if (cell == list_head(work->steps) && history != NULL)
			put_history(work, scratch->copy, history);
		etl_unit_put(scratch, lfirst(cell));
		build(scratch->copy);
	}
	if (expected != NULL)
	{
		etl_run_as_begin(&as, work->model->owner, work->model->settings);
		query = etl_query_analyze(psprintf("SELECT * FROM %s", scratch->copy->target), NULL);
		SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
		(void) etl_execute_query(query, "", NULL, receiver);
		etl_unit_compare(&work->diff, "table", expected, etl_query_desc(query), rows, key_of(work, true));
		etl_run_as_end(&as);
	}
	tuplestore_end(rows);
}

/* ---- one test ---- */

/*
 * resolved_state gives the relations of a state the names that they have in
 * the session's environment.
 */
static Jsonb *
resolved_state(const Jsonb *state)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_keys(state))
		etl_json_add(builder, etl_environment_resolve(lfirst(cell)), etl_json_get(state, lfirst(cell)));
	return etl_json_object_end(builder);
}

/*
 * work_test does all that a test does.
 */
static void
work_test(TestWork *work)
{
	const Jsonb *expect = work->test->expect;
	Jsonb	   *params = etl_json_get(work->test->options, "params");
	bool		stored;
	ListCell   *cell;

	work->model = etl_model_get(work->target);
	stored = !etl_model_is_view(work->model);
	foreach(cell, etl_unit_steps(work->test->given))
		work->steps = lappend(work->steps, resolved_state(lfirst(cell)));
	etl_unit_check_given(work->model, work->steps);
	/* from here on names are what they are */
	etl_environment_suspended = true;
	(void) set_config_option("etl.params", params ? etl_json_text(params) : "{}", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_unit_stand_ins(work->model, work->steps);
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (etl_json_has(expect, "query") || etl_json_has(expect, "error"))
		run_query(work, etl_json_get(expect, "query"));
	if (etl_json_has(expect, "table") && !stored)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("%s is a view, so it has no table", work->model->target),
						errhint("Expect the rows of its query.")));
	if (etl_json_has(expect, "table") || (etl_json_has(expect, "error") && stored))
		run_table(work, etl_json_get(expect, "table"));
	PopActiveSnapshot();
}

/*
 * run_and_undo does the work and takes back whatever it did; returns its
 * error.  Cancel and shutdown are thrown again.
 */
static ErrorData *
run_and_undo(TestWork *work)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TimestampTz transaction = GetCurrentTransactionStartTimestamp();
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	bool		suspended = etl_environment_suspended;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	etl_unit_guard_begin(psprintf("etl_unit_%d", MyProcPid));
	PG_TRY();
	{
		(void) set_config_option("client_min_messages", "error", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		work_test(work);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	etl_unit_guard_end();
	set_now(transaction, statement);
	etl_environment_suspended = suspended;
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL && etl_error_is_cancel(error))
		etl_rethrow(error);
	return error;
}

/*
 * is_expected tells whether an error has the expected SQLSTATE, or a message
 * with the expected text in it.
 */
static bool
is_expected(const ErrorData *error, const char *expected)
{
	return strcmp(unpack_sql_state(error->sqlerrcode), expected) == 0 ||
		   (expected[0] != '\0' && error->message != NULL && strstr(error->message, expected) != NULL);
}

/*
 * error_json tells an error that came or did not come.
 */
static Jsonb *
error_json(const ErrorData *error, const char *expected)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "[{\"in\": \"error\"");
	if (expected != NULL)
		appendStringInfo(&json, ", \"expected\": %s", etl_json_quote(expected));
	if (error != NULL)
	{
		appendStringInfo(&json, ", \"actual\": {\"sqlstate\": \"%s\", \"message\": %s",
						 unpack_sql_state(error->sqlerrcode), etl_json_quote(error->message));
		if (error->detail != NULL)
			appendStringInfo(&json, ", \"detail\": %s", etl_json_quote(error->detail));
		if (error->hint != NULL)
			appendStringInfo(&json, ", \"hint\": %s", etl_json_quote(error->hint));
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, "}]");
	return etl_json_parse(json.data);
}

void
etl_unit_test_run(const EtlUnitTest *test, const char *target, EtlUnitResult *result)
{
	TestWork	work = {.test = test, .target = target};
	char	   *expected = etl_json_get_text(test->expect, "error");
	ErrorData  *error;

	initStringInfo(&work.diff.json);
	error = run_and_undo(&work);
	result->diff = NULL;
	if (error != NULL)
	{
		bool		right = expected != NULL && is_expected(error, expected);

		result->status = right ? "pass" : expected ? "fail" :
													 "error";
		if (!right)
			result->diff = error_json(error, expected);
	}
	else if (expected != NULL)
	{
		result->status = "fail";
		result->diff = error_json(NULL, expected);
	}
	else if (work.diff.rows == 0)
		result->status = "pass";
	else
	{
		StringInfo	json = &work.diff.json;

		result->status = "fail";
		if (work.diff.rows > 100)
			appendStringInfo(json, ", {\"more\": %d}", work.diff.rows - 100);
		result->diff = etl_json_parse(psprintf("[%s]", json->data));
	}
}
