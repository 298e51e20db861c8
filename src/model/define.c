/*-------------------------------------------------------------------------
 *
 * define.c
 *    SQL functions that define and drop models.
 *
 * A definition is judged as far as it can be at once: its text is one
 * SELECT, its options exist, no circle arises; and when every input exists
 * it is analyzed, so that a wrong column is an error here and not tonight.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "catalog/environment.h"
#include "catalog/unit_test.h"
#include "common/arguments.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/node_lock.h"
#include "common/options.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/internal.h"

PG_FUNCTION_INFO_V1(etl_sql_define_model);
PG_FUNCTION_INFO_V1(etl_sql_drop_model);

const EtlOptionDef etl_model_options[] = {
	{"adopt", "boolean", "false", "Take over a relation that etl did not create."},
	{"begin", "text", NULL,
	 "With batch_size: when its first interval begins, a timestamp read in the zone of the "
	 "definition; rows "
	 "before it are left out. Default: the first event."},
	{"contract", "object", NULL,
	 "What readers rely on: columns, an object of the names and types that the query yields, all "
	 "of "
	 "them; not_null, a list of columns; unique, the columns that identify a row. Compared at "
	 "definition; what is promised of rows becomes checks."},
	{"depends_on", "text[]", NULL,
	 "Relations that functions of the query read without etl seeing it."},
	{"force_full", "boolean", "false",
	 "Build in full of what is there, although rows that the model was built of are gone from its "
	 "inputs."},
	{"check_columns", "text[]", NULL,
	 "Snapshots, strategy check: the columns whose change makes a new version; all when not "
	 "given."},
	{"deprecated_on", "text", NULL,
	 "Date from which on the model should not be read any more: defining a model that reads it "
	 "warns, and from that date on every build of one."},
	{"backfill", "boolean", "true",
	 "Incremental models: whether a column that is added gets values in all rows, by a rebuild. false: in "
	 "those that are computed from then on; the others hold NULL until a full refresh."},
	{"comments", "object", NULL,
	 "Comments of columns, such as {\"day\": \"the day of the order\"}."},
	{"constraints", "text[]", NULL,
	 "Constraints of the table, written as in CREATE TABLE: \"PRIMARY KEY (id)\", \"CHECK (amount "
	 ">= 0)\"; "
	 "a table that a FOREIGN KEY names must be there, which depends_on sees to."},
	{"fallback", "any", NULL,
	 "What to build on when an input did not succeed: last_good, its rows of before, or another "
	 "relation with the columns that the query reads: {\"raw.rates\": \"raw.rates_2025\"}. The run "
	 "and the dataset are then flagged incomplete."},
	{"grants", "object", NULL,
	 "Privileges that others have on the relation, these and no more: {\"analyst\": "
	 "[\"SELECT\"]}. The roles must be there."},
	{"hard_deletes", "ignore|invalidate|new_record", "ignore",
	 "Snapshots: what becomes of a key that the query does not yield any more: ignore keeps its "
	 "version current, invalidate ends it, new_record ends it and adds a row with is_deleted."},
	{"indexes", "any", NULL,
	 "List of indexes: each a list of column names, or a text of columns and expressions."},
	{"keep_versions", "integer", "0",
	 "How many former publications keep their rows, for etl.rollback: those that full builds "
	 "replaced, each in a table beside the target."},
	{"not_null", "text[]", NULL, "Columns of the table that are NOT NULL."},
	{"on_schema_change", "sync|append|ignore|fail", "sync",
	 "When the query's columns change: sync adds and drops, append only adds, ignore does neither, "
	 "fail stops the run."},
	{"partition_by", "object", NULL,
	 "How the table is partitioned: {\"range\": \"day\", \"interval\": \"1 month\"}, {\"list\": "
	 "\"country\"} or "
	 "{\"hash\": \"id\", \"partitions\": 8}; partitions are made as rows need them, with a default "
	 "one."},
	{"pool", "text", NULL,
	 "Pool of etl.define_pool: at most as many of its nodes as it has slots are at work at once; "
	 "one when it is not defined."},
	{"post_hook", "text[]", NULL,
	 "Statements run as the owner after the publication, in its transaction."},
	{"pre_hook", "text[]", NULL,
	 "Statements run as the owner before the build, in its transaction."},
	{"publish", "each|together", "each",
	 "Appear in one transaction with the other models that say together."},
	{"replaced_by", "text", NULL, "With deprecated_on: what to read instead."},
	{"retry", "object", "{\"attempts\": 3, \"base\": \"1 s\", \"cap\": \"1 min\"}",
	 "How often it is tried in all when its error may heal, and the bounds of the random waits: "
	 "base doubles up to cap."},
	{"run_if", "text", NULL,
	 "Condition, or query of one boolean, evaluated as the owner; the model is skipped when it "
	 "does not hold."},
	{"settings", "object", NULL,
	 "Settings that it is built with, of those that any user can change: {\"work_mem\": "
	 "\"256MB\"}."},
	{"statement_timeout", "duration", NULL,
	 "How long each statement of a build may take; then the attempt fails with 57014."},
	{"timeout", "duration", NULL, "How long one attempt may take; then it fails with 57014."},
	{"trigger_rule", "all_success|none_failed|all_done|one_failed", "all_success",
	 "What must have become of its inputs for it to be tried."},
	{"unique", "any", NULL, "List of unique indexes, written as in indexes."},
	{"with", "object", NULL, "Storage parameters of the table, such as {\"fillfactor\": \"90\"}."},
	{NULL}};

/*
 * check_materialization raises ET001 for a combination that makes no sense.
 */
static void
check_materialization(const EtlModel *model)
{
	const char *kind = model->materialized;
	bool		stored = !etl_model_is_view(model);

	if (etl_model_is_snapshot(model))
		return;
	if (model->strategy != NULL && strcmp(kind, "incremental") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a strategy is for incremental models only"),
				 errhint("Leave it out, or define the model as incremental.")));
	if (model->strategy != NULL && strcmp(model->strategy, "append") != 0 &&
		strcmp(model->strategy, "merge") != 0 && strcmp(model->strategy, "delete_insert") != 0 &&
		!etl_partition_replaces(model))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("there is no strategy \"%s\"", model->strategy),
				 errhint("Use append, merge, delete_insert or partition_replace, or leave it to etl.")));
	if (model->strategy != NULL && model->batch_size != NULL &&
		(strcmp(model->strategy, "append") == 0 || etl_partition_replaces(model)))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("strategy \"%s\" does not go with batch_size", model->strategy),
				 errdetail("An interval that is built again replaces what the table holds of it."),
				 errhint("Use delete_insert, or merge with a key, or leave it to etl.")));
	if (model->strategy != NULL && model->key == NIL &&
		(strcmp(model->strategy, "merge") == 0 ||
		 (strcmp(model->strategy, "delete_insert") == 0 && model->batch_size == NULL)))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("strategy \"%s\" needs a key", model->strategy),
				 errhint("Give the columns that identify a row, such as key => '{id}'.")));
	etl_slicing_check(model);
	if (!stored && model->key != NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a view has no key"),
				 errhint("Leave the key out, or define a unique check on its columns.")));
}

/*
 * output_columns lists the names of what a query yields.
 */
static List *
output_columns(Query *query)
{
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, query->targetList)
		if (!lfirst_node(TargetEntry, cell)->resjunk)
			columns = lappend(columns, lfirst_node(TargetEntry, cell)->resname);
	return columns;
}

/*
 * check_key raises ET001 unless every key column is a column of the query.
 */
static void
check_key(const EtlModel *model, List *columns)
{
	ListCell   *cell;

	foreach(cell, model->key)
	{
		const char *nearest;

		if (etl_name_among(columns, lfirst(cell)))
			continue;
		nearest = etl_nearest(lfirst(cell), columns);
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("key column \"%s\" is not a column of the query", (char *) lfirst(cell)),
				 nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
	}
}

/*
 * check_key_types raises ET001 for a stored model whose key has a column of
 * a type without an order, which no index can hold.
 */
static void
check_key_types(const EtlModel *model, Query *query)
{
	ListCell   *cell;

	/* a snapshot says it with what it needs besides */
	if (strcmp(model->materialized, "view") == 0 || etl_model_is_snapshot(model))
		return;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		Oid			type = exprType((Node *) entry->expr);

		if (!entry->resjunk && etl_name_among(model->key, entry->resname) &&
			!OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("key column \"%s\" is of type %s, whose values cannot be told apart by an index",
							entry->resname, format_type_be(type)),
					 errhint("Cast it to a type with an order, such as jsonb or text.")));
	}
}

/*
 * check_output raises ET001 for columns that no table and no view can have.
 */
static void
check_output(const EtlModel *model, Query *query, List *columns)
{
	const char *twice = etl_name_twice(columns);
	ListCell   *cell;

	if (twice != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the query of model %s has two columns \"%s\"", model->target, twice),
				 errhint("Give one of them another name with AS, or leave it out.")));
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->resjunk)
			continue;
		if (etl_name_is_system_column(entry->resname) && strcmp(model->materialized, "view") != 0)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("column \"%s\" has the name of a system column", entry->resname),
					 errhint("Give it another name with AS.")));
		if (exprType((Node *) entry->expr) == RECORDOID)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("column \"%s\" has the pseudo-type record", entry->resname),
					 errhint("Cast it to a type with a name, or take its fields apart.")));
	}
}

/*
 * check_permanent raises ET001 for a query that reads what is gone with the
 * session.
 */
static void
check_permanent(const EtlModel *model, Query *query)
{
	ListCell   *cell;

	foreach(cell, etl_query_dependencies(query))
	{
		Oid			relid = etl_name_relation(lfirst(cell));

		if (OidIsValid(relid) && get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
			ereport(
				ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("model %s reads the temporary relation \"%s\"", model->target,
						get_rel_name(relid)),
				 errdetail("Only this session sees it, and it is gone with the session."),
				 errhint(
					 "Make it a table or a model, or write the schema of the one that is meant.")));
	}
}

typedef struct JudgeWork
{
	const EtlModel *model;
	List	   *pending;		/* inputs that stand in the query with the columns to come */
} JudgeWork;

/*
 * judge analyzes a query and what is said of its columns; an argument of
 * etl_subxact.
 */
static void
judge(void *arg)
{
	JudgeWork  *work = arg;
	const EtlModel *model = work->model;
	EtlRunAs	as;
	Query	   *query;
	List	   *columns;

	etl_run_as_begin(&as, model->owner, model->settings);
	query = work->pending == NIL ? etl_query_analyze(model->query, NULL) :
								   etl_pending_analyze(model->query, work->pending);
	check_permanent(model, query);
	columns = output_columns(query);
	check_output(model, query, columns);
	check_key(model, columns);
	check_key_types(model, query);
	etl_kind_check_columns(model, query, columns);
	etl_promise_check(model, query);
	etl_partition_check_columns(model, query);
	etl_given_check_columns(model, columns);
	etl_model_indexes_check(model,
							etl_model_is_snapshot(model) ?
								list_concat_copy(columns, etl_snapshot_columns(etl_snapshot_marks(model))) :
								columns);
	etl_option_terms_check(model, query, columns);
	if (etl_model_has_slices(model) && work->pending == NIL)
		(void) etl_slicing_of(model, query);
	etl_run_as_end(&as);
}

/*
 * judge_query analyzes the query when all it reads exists, and has the columns
 * that are read; returns whether it does.  Columns that an input will have by
 * its own definition are waited for; others are an error.
 */
static bool
judge_query(const EtlModel *model)
{
	JudgeWork	work = {model, NIL};
	ErrorData  *error;
	ErrorData  *still;

	if (etl_model_missing(model) != NULL)
		return false;
	error = etl_subxact(judge, &work);
	if (error == NULL)
		return true;
	work.pending = etl_pending_inputs(model);
	if (work.pending == NIL)
		etl_rethrow(error);
	if (etl_pending_untold(work.pending))
		return false;
	still = etl_subxact(judge, &work);
	if (still != NULL)
		etl_rethrow(still);
	return false;
}

/*
 * etl_sql_define_model stores a model's definition; see the comment of
 * etl.define_model.
 */
Datum
etl_sql_define_model(PG_FUNCTION_ARGS)
{
	EtlModel   *model = palloc0(sizeof(EtlModel));
	EtlModel   *given = NULL;	/* in an environment: as it was given */
	EtlModel   *old;
	List	   *names;
	const char *outcome;
	bool		resolvable;
	ListCell   *cell;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("target, query and materialized must not be null")));
	model->target = etl_name_of_target(etl_arg_text(fcinfo, 0));
	model->query = etl_arg_text(fcinfo, 1);
	model->materialized = etl_arg_text(fcinfo, 2);
	model->key = etl_arg_columns(fcinfo, 3, "key");
	model->strategy = etl_arg_text(fcinfo, 4);
	model->event_time = etl_arg_nonempty(fcinfo, 5, "event_time");
	model->batch_size = PG_ARGISNULL(6) ? NULL : PG_GETARG_INTERVAL_P(6);
	model->lookback = PG_ARGISNULL(7) ? NULL : PG_GETARG_INTERVAL_P(7);
	model->options = PG_ARGISNULL(8) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(8);
	model->tags = etl_arg_tags(fcinfo, 9);
	model->description = etl_arg_text(fcinfo, 10);
	model->settings = etl_given_settings(model, etl_settings_capture());
	if (etl_environment_on() && (given = etl_environment_enter(model)) == NULL)
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));

	old = etl_model_find(model->target);
	if (old != NULL)
		etl_check_owner(old->owner, "model", model->target);
	if (etl_stream_find(model->target) != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s is a stream already", model->target),
				 errhint("A relation has one definition: give the model another target.")));
	model->owner = old ? old->owner : GetUserNameFromId(GetUserId(), false);
	if (old == NULL && OidIsValid(etl_name_relation(model->target)))
		etl_check_owns_relation(model->owner, etl_name_relation(model->target));

	etl_kind_check(model, old);
	check_materialization(model);
	etl_options_check(model->options, "model", etl_model_options, NULL);
	etl_model_judge_options(model);
	etl_unfilled_check(model);
	etl_promise_check_options(model);
	etl_given_check(model);
	etl_partition_check(model);
	etl_model_indexes_check(model, NIL);
	(void) etl_query_parse(model->query);
	names = etl_model_names(model);
	etl_names_check_cycle(model->target, names);
	resolvable = judge_query(model);
	foreach(cell, etl_deprecated_inputs(names, false))
		ereport(WARNING, (errmsg("model %s reads what will go: %s", model->target, (char *) lfirst(cell))));

	outcome = etl_model_store(model);
	if (strcmp(outcome, "unchanged") != 0)
	{
		etl_dependencies_store(model->target, names);
		etl_lineage_store(model->target, NIL);
		if (resolvable)
			(void) etl_model_resolve(model, NULL);
	}
	else if (resolvable && !old->resolved)
		(void) etl_model_resolve(model, NULL);
	if (strcmp(outcome, "updated") == 0 && resolvable)
		etl_model_follow_none(old, model);
	etl_promise_store(model);
	if (given != NULL)
		etl_environment_entered(given, model);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/*
 * etl_model_readers lists the models that read a node.
 */
List *
etl_model_readers(const char *target)
{
	List	   *readers = NIL;
	ListCell   *cell;
	ListCell   *name;

	foreach(cell, etl_model_all())
	{
		EtlModel   *model = lfirst(cell);

		foreach(name, etl_dependencies_of(model->target))
			if (strcmp(lfirst(name), target) == 0)
				readers = lappend(readers, model->target);
	}
	return readers;
}

/*
 * drop_model forgets one model, and those that read it when 'cascade', once
 * nobody works on it; false when there is none.
 */
static bool
drop_model(const char *target, bool cascade, bool drop_relation)
{
	EtlModel   *model = etl_model_find(target);
	List	   *readers;
	EtlNodeState *state;
	Oid			relid;
	bool		dropped;
	ListCell   *cell;

	if (model == NULL)
		return false;
	etl_check_owner(model->owner, "model", target);
	/* a run that is at work on it ends first, and what it has made is there then */
	etl_lock_node(target, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	readers = etl_model_readers(target);
	state = etl_node_state_get(target);
	if (readers != NIL && !cascade)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop model %s because other models read it", target),
				 errdetail("Model %s reads it.", (char *) linitial(readers)),
				 errhint("Drop them first, or say cascade => true.")));
	foreach(cell, readers)
		(void) drop_model(lfirst(cell), cascade, drop_relation);

	relid = etl_name_relation(target);
	if (drop_relation && state->created && OidIsValid(relid))
	{
		EtlRunAs	as;

		etl_run_as_begin(&as, model->owner, NULL);
		etl_execute_utility(psprintf("DROP %s %s", etl_kind_word(get_rel_relkind(relid)), target));
		etl_run_as_end(&as);
	}
	if (drop_relation)
		etl_keep_prune(model, 0);
	foreach(cell, etl_checks_of(target))
		(void) etl_definition_delete("quality_check", target, ((EtlCheck *) lfirst(cell))->name);
	foreach(cell, etl_unit_tests_of(target))
		(void) etl_definition_delete("unit_test", target, ((EtlUnitTest *) lfirst(cell))->name);
	etl_node_forget(target);
	dropped = etl_definition_delete("model", target, NULL);
	PopActiveSnapshot();
	return dropped;
}

/*
 * etl_sql_drop_model drops a model's definition; see the comment of
 * etl.drop_model.
 */
Datum
etl_sql_drop_model(PG_FUNCTION_ARGS)
{
	char	   *target =
		etl_environment_resolve(etl_name_canonical(etl_arg_required(fcinfo, 0, "name")));

	/* before its checks and unit tests are */
	if (etl_environment_on() && !etl_environment_has_prefix(target) && etl_model_find(target) != NULL)
		etl_environment_must_be_off(psprintf("model \"%s\" of production cannot be dropped", target));
	PG_RETURN_BOOL(drop_model(target, !PG_ARGISNULL(1) && PG_GETARG_BOOL(1),
							  !PG_ARGISNULL(2) && PG_GETARG_BOOL(2)));
}
