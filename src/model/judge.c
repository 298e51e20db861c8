/*-------------------------------------------------------------------------
 *
 * judge.c
 *    What is wrong with the options of a model, seen at its definition.
 *
 * These options are judged by themselves: nothing that the model reads has
 * to be there.  What PostgreSQL says about a value becomes an error that
 * names the option.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/parse.h"
#include "common/retry.h"
#include "model/internal.h"

/*
 * judge_limits judges retry, fallback and the limits of time.
 */
static void
judge_limits(const EtlModel *model)
{
	static const char *const limits[] = {"statement_timeout", "timeout"};
	EtlRetryPolicy retry;

	etl_retry_read(model->options, &retry);
	etl_fallback_check(model);
	for (int i = 0; i < lengthof(limits); i++)
	{
		char	   *text = etl_json_get_text(model->options, limits[i]);

		if (text != NULL && etl_option_duration_ms(limits[i], text) <= 0)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"%s\" must be positive, not \"%s\"", limits[i], text),
					 errhint("Leave it out for no limit.")));
	}
}

/*
 * judge_stored raises ET001 for options that a view cannot have, and for what
 * no table can keep.
 */
static void
judge_stored(const EtlModel *model)
{
	static const char *const stored_only[] = {"indexes", "unique", "with",
											  "on_schema_change", "keep_versions", NULL};
	int64		keep = etl_json_get_int64(model->options, "keep_versions", 0);

	if (keep < 0 || keep > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"keep_versions\": " INT64_FORMAT, keep),
				 errdetail("It must be between 0 and %d.", PG_INT16_MAX),
				 errhint("SELECT * FROM etl.options('model') describes it.")));
	if (strcmp(model->materialized, "view") != 0)
		return;
	for (int i = 0; stored_only[i]; i++)
		if (etl_json_has(model->options, stored_only[i]))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"%s\" is for stored models, not for views", stored_only[i]),
					 errhint("Define the model as table or incremental, or leave the option out.")));
}

/*
 * judge_hook raises an error for a hook that is not SQL, or that would end the
 * transaction that it is part of.
 */
static void
judge_hook(const char *which, char *hook)
{
	List	   *statements = etl_parse(hook);
	ListCell   *cell;

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("option \"%s\" holds an empty statement", which),
				 errhint("Leave it out.")));
	foreach(cell, statements)
		if (IsA(lfirst_node(RawStmt, cell)->stmt, TransactionStmt))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"%s\" begins or ends a transaction", which),
					 errdetail("Hooks are part of the transaction that publishes the model."),
					 errhint("Leave \"%s\" out.", hook)));
}

/* ---- what PostgreSQL judges: arguments of etl_option_judge ---- */

static void
judge_pre_hooks(void *model)
{
	ListCell   *cell;

	foreach(cell, etl_json_get_list(((EtlModel *) model)->options, "pre_hook"))
		judge_hook("pre_hook", lfirst(cell));
}

static void
judge_post_hooks(void *model)
{
	ListCell   *cell;

	foreach(cell, etl_json_get_list(((EtlModel *) model)->options, "post_hook"))
		judge_hook("post_hook", lfirst(cell));
}

static void
judge_run_if(void *model)
{
	char	   *condition = etl_json_get_text(((EtlModel *) model)->options, "run_if");
	List	   *statements = condition ? etl_parse(etl_condition_query(condition)) : NIL;

	if (condition != NULL && (list_length(statements) != 1 ||
							  !IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt)))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("run_if must be a condition, or a query of one column"),
				 errhint("Write for example {\"run_if\": \"EXISTS (SELECT FROM raw.orders)\"}.")));
}

/*
 * judge_storage raises an error for storage parameters that no table has.
 */
static void
judge_storage(void *model)
{
	Jsonb	   *with = etl_json_get(((EtlModel *) model)->options, "with");
	List	   *parameters = NIL;
	ListCell   *cell;

	foreach(cell, with ? etl_json_keys(with) : NIL)
	{
		char	   *value = etl_json_get_text(with, lfirst(cell));

		if (value == NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("storage parameter \"%s\" has no value", (char *) lfirst(cell))));
		parameters = lappend(parameters, makeDefElem(lfirst(cell), (Node *) makeString(value), -1));
	}
	(void) heap_reloptions(RELKIND_RELATION,
						   transformRelOptions((Datum) 0, parameters, NULL, NULL, true, false),
						   true);
}

/*
 * etl_model_judge_options: see internal.h.
 */
void
etl_model_judge_options(EtlModel *model)
{
	judge_limits(model);
	judge_stored(model);
	etl_option_judge("pre_hook", "model", judge_pre_hooks, model);
	etl_option_judge("post_hook", "model", judge_post_hooks, model);
	etl_option_judge("run_if", "model", judge_run_if, model);
	etl_option_judge("with", "model", judge_storage, model);
}
