/*-------------------------------------------------------------------------
 *
 * rule.c
 *    Whether a node is tried at all: its trigger_rule, its fallback, its run_if.
 *
 *   all_success   everything above it succeeded (the default)
 *   none_failed   nothing above it failed; what a condition skipped does not matter
 *   all_done      whatever became of what is above it
 *   one_failed    something above it failed
 *
 * A node that is tried although an input of it failed is built on what that
 * input held before, or on another relation, and it and the run are flagged
 * incomplete.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "run/run.h"

/*
 * rule_of returns a node's trigger_rule.
 */
static const char *
rule_of(EtlNode *node)
{
	char	   *rule = node->model ? etl_json_get_text(node->model->options, "trigger_rule") : NULL;

	return rule ? rule : "all_success";
}

/*
 * falls_back tells whether a node may be built although an input did not
 * succeed, and notes what is read instead of it.
 */
static bool
falls_back(EtlRunState *state, EtlNode *node, EtlNode *input)
{
	char	   *instead = NULL;
	EtlFallback fallback = ETL_FALLBACK_NONE;
	MemoryContext old = MemoryContextSwitchTo(state->driver.context);

	if (node->model != NULL)
		fallback = etl_fallback_of(node->model,
								   input->stands_for ? input->stands_for->canonical : input->name->canonical,
								   &instead);
	if (fallback == ETL_FALLBACK_INPUT)
		node->instead = lappend(lappend(node->instead, input->name->canonical), instead);
	MemoryContextSwitchTo(old);
	return fallback != ETL_FALLBACK_NONE;
}

/*
 * what_was_used says what a node is built on instead of an input's new rows.
 */
static const char *
what_was_used(EtlNode *node, EtlNode *input)
{
	for (int i = 0; i < list_length(node->instead); i += 2)
		if (strcmp(list_nth(node->instead, i), input->name->canonical) == 0)
			return psprintf("%s was read instead", (char *) list_nth(node->instead, i + 1));
	return "its rows of before were used";
}

/*
 * etl_rule_judge: see run.h.
 */
void
etl_rule_judge(EtlRunState *state, EtlNode *node, List *together, EtlSkip *skip)
{
	const char *rule = rule_of(node);
	EtlNode    *failed = NULL;	/* a parent that did not succeed, and that counts */
	EtlNode    *skipped = NULL; /* a parent that a condition skipped */
	EtlNode    *stale = NULL;	/* a parent whose last good publication is used */
	EtlNode    *cause;
	ListCell   *cell;

	node->instead = NIL;
	foreach(cell, node->parents)
	{
		EtlNode    *parent = lfirst(cell);

		if (parent->blocked_by == NULL || list_member_ptr(together, parent))
			continue;
		if (parent->conditional)
			skipped = skipped ? skipped : parent;
		else if (falls_back(state, node, parent))
			stale = stale ? stale : parent;
		else
			failed = failed ? failed : parent;
	}

	cause = strcmp(rule, "none_failed") == 0 ? failed : failed ? failed :
																 skipped;
	if (strcmp(rule, "one_failed") == 0)
	{
		if (failed == NULL && stale == NULL)
		{
			skip->root = NULL;
			skip->conditional = true;
			skip->reason = "its trigger_rule is one_failed, and nothing above it failed";
		}
		stale = stale ? stale : failed;
	}
	else if (strcmp(rule, "all_done") == 0)
		stale = stale ? stale : failed;
	else if (cause != NULL)
	{
		skip->root = cause->blocked_by;
		skip->conditional = cause == skipped;
		skip->reason = psprintf("it needs %s, which %s", skip->root->name->canonical,
								skip->conditional ? "was skipped" : "did not succeed");
	}
	if (stale != NULL)
		node->incomplete = etl_run_keep(state, psprintf("%s did not succeed, %s", stale->name->canonical,
														what_was_used(node, stale)));
}

/* ---- run_if ---- */

typedef struct ConditionWork
{
	const EtlModel *model;
	const char *sql;
	bool		holds;
} ConditionWork;

/*
 * evaluate_condition runs the condition as the model's owner; an argument of
 * etl_subxact.
 */
static void
evaluate_condition(void *arg)
{
	ConditionWork *work = arg;
	EtlRunAs	as;
	bool		isnull = true;
	Datum		value = (Datum) 0;

	etl_run_as_begin(&as, work->model->owner, work->model->settings);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute(work->sql, true, 2) != SPI_OK_SELECT || SPI_tuptable->tupdesc->natts != 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("run_if must be a condition, or a query of one column"),
				 errhint("Write for example {\"run_if\": \"EXISTS (SELECT FROM raw.orders)\"}.")));
	if (SPI_processed > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull && SPI_gettypeid(SPI_tuptable->tupdesc, 1) != BOOLOID)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("run_if is of type %s, not boolean", SPI_gettype(SPI_tuptable->tupdesc, 1)),
				 errhint("Write a comparison, for example \"(SELECT count(*) FROM raw.orders) > 0\".")));
	work->holds = !isnull && DatumGetBool(value);
	SPI_finish();
	PopActiveSnapshot();
	etl_run_as_end(&as);
}

/*
 * etl_rule_run_if: see run.h.
 */
ErrorData *
etl_rule_run_if(EtlNode *node, bool *holds)
{
	ConditionWork work = {node->model, NULL, true};
	char	   *condition = etl_json_get_text(node->model->options, "run_if");
	ErrorData  *error = NULL;

	if (condition != NULL)
	{
		work.sql = etl_condition_query(condition);
		error = etl_subxact(evaluate_condition, &work);
	}
	*holds = work.holds;
	return error;
}
