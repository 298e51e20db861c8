/*-------------------------------------------------------------------------
 *
 * unit_define.c
 *    SQL functions define_unit_test and drop_unit_test.
 *
 * What is given and expected is brought into one form: an object of the rows
 * of each input, or a list of such objects, and an object of what is
 * expected of what.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/unit_test.h"

PG_FUNCTION_INFO_V1(etl_sql_define_unit_test);
PG_FUNCTION_INFO_V1(etl_sql_drop_unit_test);

const EtlOptionDef etl_unit_test_options[] = {
	{"key", "text[]", NULL,
	 "The columns that tell which expected row and which actual row are the same one; default the "
	 "model's key, else the first columns that tell rows apart."},
	{"now", "any", NULL,
	 "The moment that now(), current_date and the like show, a timestamp; a list has one for each "
	 "of the given states. Default: the time of day."},
	{"params", "object", "{}", "What etl.param() returns, as in etl.run."},
	{NULL}};

/* ---- what is given ---- */

/*
 * must_be_rows raises ET001 unless a value is a list of objects.
 */
static void
must_be_rows(const Jsonb *rows, const char *of)
{
	bool		good = rows != NULL && etl_json_kind(rows) == 'a';
	ListCell   *cell;

	foreach(cell, good ? etl_json_elements(rows) : NIL)
		good = good && etl_json_kind(lfirst(cell)) == 'o';
	if (!good)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("the rows of %s are not a list of objects", of),
						errhint("Write them as [{\"column\": value, …}, …]; [] for none.")));
}

/*
 * canonical_state gives the relations of one state their canonical names.
 */
static Jsonb *
canonical_state(const Jsonb *state)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	List	   *names = NIL;
	ListCell   *cell;

	if (etl_json_kind(state) != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("what is given is no object of rows by relation"),
				 errhint("Write it as {\"raw.orders\": [{\"id\": 1}]}, or a list of such objects.")));
	foreach(cell, etl_json_keys(state))
	{
		char	   *name = etl_name_canonical(lfirst(cell));
		Jsonb	   *rows = etl_json_get(state, lfirst(cell));

		must_be_rows(rows, name);
		if (etl_name_among(names, name))
			ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("the rows of %s are given twice", name)));
		names = lappend(names, name);
		etl_json_add(builder, name, rows);
	}
	return etl_json_object_end(builder);
}

/*
 * state_of_inputs makes one object of a list of {"input", "rows"}.
 */
static Jsonb *
state_of_inputs(List *inputs)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, inputs)
	{
		char	   *name = etl_json_kind(lfirst(cell)) == 'o' ? etl_json_get_text(lfirst(cell), "input") : NULL;

		if (name == NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION), errmsg("what is given has an element without \"input\""),
					 errhint("Write each as {\"input\": \"raw.orders\", \"rows\": [{\"id\": 1}]}.")));
		etl_json_add(builder, name, etl_json_get(lfirst(cell), "rows"));
	}
	return etl_json_object_end(builder);
}

/*
 * list_of renders documents as a JSON list.
 */
static Jsonb *
list_of(List *items)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, items)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "[", etl_json_text(lfirst(cell)));
	appendStringInfoString(&text, text.len ? "]" : "[]");
	return etl_json_parse(text.data);
}

/*
 * canonical_given brings what is given into one form.
 */
static Jsonb *
canonical_given(const Jsonb *given)
{
	List	   *states = etl_json_elements(given);
	List	   *result = NIL;
	ListCell   *cell;

	if (etl_json_kind(given) != 'a')
		return canonical_state(given);
	if (states == NIL)
		return etl_json_parse("{}");
	if (etl_json_kind(linitial(states)) == 'o' && etl_json_has(linitial(states), "input"))
		return canonical_state(state_of_inputs(states));
	foreach(cell, states)
		result = lappend(result, canonical_state(lfirst(cell)));
	return list_length(result) == 1 ? linitial(result) : list_of(result);
}

List *
etl_unit_steps(const Jsonb *given)
{
	return etl_json_kind(given) == 'a' ? etl_json_elements(given) : list_make1(unconstify(Jsonb *, given));
}

/*
 * add_input adds a name and what can be reached through it, when it is a
 * view.
 */
static List *
add_input(List *inputs, const char *name)
{
	EtlModel   *model = etl_model_find(name);
	Oid			relid = etl_name_relation(name);
	List	   *behind = NIL;
	ListCell   *cell;

	if (etl_name_among(inputs, name))
		return inputs;
	inputs = lappend(inputs, pstrdup(name));
	if (model != NULL && etl_model_is_view(model))
		behind = etl_model_names(model);
	else if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
		behind = etl_relation_behind(relid);
	foreach(cell, behind)
		inputs = add_input(inputs, lfirst(cell));
	return inputs;
}

List *
etl_unit_inputs(const EtlModel *model)
{
	List	   *inputs = NIL;
	ListCell   *cell;

	foreach(cell, etl_model_names(model))
		inputs = add_input(inputs, lfirst(cell));
	foreach(cell, etl_dependencies_of(model->target))
		inputs = add_input(inputs, lfirst(cell));
	return inputs;
}

/*
 * names_text joins names for a message.
 */
static char *
names_text(List *names)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, names)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", (char *) lfirst(cell));
	return text.data;
}

void
etl_unit_check_given(const EtlModel *model, const List *steps)
{
	List	   *inputs = etl_unit_inputs(model);
	const char *nearest;
	ListCell   *step;
	ListCell   *cell;

	foreach(step, steps)
		foreach(cell, etl_json_keys(lfirst(step)))
		{
			if (etl_name_among(inputs, lfirst(cell)) ||
				(etl_model_is_snapshot(model) && strcmp(lfirst(cell), model->target) == 0))
				continue;
			nearest = etl_nearest(lfirst(cell), inputs);
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("model %s does not read %s, whose rows are given", model->target,
							(char *) lfirst(cell)),
					 nearest	   ? errhint("Did you mean \"%s\"?", nearest) :
					 inputs != NIL ? errhint("It reads %s.", names_text(inputs)) :
									 errhint("It reads nothing.")));
		}
}

/* ---- what is expected ---- */

/*
 * check_parts raises ET001 for what cannot be expected.
 */
static void
check_parts(const Jsonb *expect)
{
	List	   *parts = list_make4("error", "query", "rows", "table");
	const char *nearest;
	ListCell   *cell;

	foreach(cell, etl_json_keys(expect))
	{
		if (etl_name_among(parts, lfirst(cell)))
			continue;
		nearest = etl_nearest(lfirst(cell), parts);
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("what is expected of \"%s\" means nothing", (char *) lfirst(cell)),
						nearest ? errhint("Did you mean \"%s\"?", nearest) :
								  errhint("Expect query (or rows), table or error.")));
	}
	if (etl_json_has(expect, "error") && etl_json_kind_of(expect, "error") != 's')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("the expected error is not a text"),
						errhint("Give its SQLSTATE, or a part of its message.")));
}

/*
 * canonical_expect brings what is expected into one form.
 */
static Jsonb *
canonical_expect(const Jsonb *expect)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	Jsonb	   *query = NULL;

	if (etl_json_kind(expect) == 'a')
		query = unconstify(Jsonb *, expect);
	else if (etl_json_kind(expect) == 'o' && etl_json_keys(expect) != NIL)
	{
		check_parts(expect);
		query = etl_json_get(expect, etl_json_has(expect, "query") ? "query" : "rows");
	}
	else
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("what is expected is no list of rows"),
				 errhint("Write it as [{\"column\": value, …}], or as an object of query, table or error.")));
	if (query != NULL)
	{
		must_be_rows(query, "the query");
		etl_json_add(builder, "query", query);
	}
	if (etl_json_kind(expect) == 'o' && etl_json_has(expect, "table"))
	{
		must_be_rows(etl_json_get(expect, "table"), "the table");
		etl_json_add(builder, "table", etl_json_get(expect, "table"));
	}
	if (etl_json_kind(expect) == 'o' && etl_json_has(expect, "error"))
	{
		if (query != NULL || etl_json_has(expect, "table"))
			ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
							errmsg("rows and an error cannot be expected at once")));
		etl_json_add(builder, "error", etl_json_get(expect, "error"));
	}
	return etl_json_object_end(builder);
}

/*
 * judge_moments raises an error for what is no timestamp; an argument of
 * etl_option_judge.
 */
static void
judge_moments(void *moments)
{
	ListCell   *cell;

	foreach(cell, (List *) moments)
		(void) DirectFunctionCall3(timestamptz_in, CStringGetDatum(lfirst(cell) ? lfirst(cell) : ""),
								   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/*
 * check_options judges the options.
 */
static void
check_options(const EtlUnitTest *test)
{
	List	   *moments = etl_json_get_list(test->options, "now");
	int			steps = list_length(etl_unit_steps(test->given));

	etl_options_check(test->options, "unit_test", etl_unit_test_options, NULL);
	etl_option_judge("now", "unit_test", judge_moments, moments);
	if (list_length(moments) > 1 && list_length(moments) != steps)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"now\" has %d moments, and %d states are given",
							   list_length(moments), steps),
						errhint("Give one moment for all, or one for each.")));
}

/* ---- the SQL functions ---- */

/*
 * etl_sql_define_unit_test: see the comment of etl.define_unit_test.
 */
Datum
etl_sql_define_unit_test(PG_FUNCTION_ARGS)
{
	EtlUnitTest test = {0};
	EtlUnitTest *old;
	EtlModel   *model;

	test.target = etl_name_of_target(etl_arg_required(fcinfo, 0, "target"));
	test.name = etl_arg_required(fcinfo, 1, "name");
	if (test.name[0] == '\0')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("the name of a unit test must not be empty")));
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("given and expect must not be null")));
	test.given = canonical_given(PG_GETARG_JSONB_P(2));
	test.expect = canonical_expect(PG_GETARG_JSONB_P(3));
	test.options = PG_ARGISNULL(4) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(4);
	test.description = etl_arg_text(fcinfo, 5);
	check_options(&test);

	if (etl_environment_on() && strcmp(etl_environment_resolve(test.target), test.target) == 0)
	{
		(void) etl_environment_skips("unit test", test.name);
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	}
	model = etl_model_find(test.target);
	if (etl_stream_find(test.target) != NULL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("%s is a stream", test.target),
						errdetail("Unit tests are of models: a stream has no query."),
						errhint("Define checks on it with etl.define_check().")));
	test.target = etl_environment_resolve(test.target);
	if (model != NULL)
	{
		etl_check_owner(etl_node_owner(test.target), "model", test.target);
		etl_unit_check_given(model, etl_unit_steps(test.given));
		if (etl_json_has(test.expect, "table") && etl_model_is_view(model))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION), errmsg("%s is a view, so it has no table", test.target),
					 errhint("Expect the rows of its query.")));
	}
	old = etl_unit_test_find(test.target, test.name);
	if (model == NULL && old != NULL)
		etl_check_owner(old->owner, "unit test", test.name);
	test.owner = GetUserNameFromId(GetUserId(), false);
	PG_RETURN_TEXT_P(cstring_to_text(etl_unit_test_store(&test)));
}

/*
 * etl_sql_drop_unit_test: see the comment of etl.drop_unit_test.
 */
Datum
etl_sql_drop_unit_test(PG_FUNCTION_ARGS)
{
	char	   *target = etl_environment_resolve(etl_name_canonical(etl_arg_required(fcinfo, 0, "target")));
	char	   *name = etl_arg_required(fcinfo, 1, "name");
	EtlUnitTest *test = etl_unit_test_find(target, name);
	char	   *owner = etl_node_owner(target);

	if (test == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(owner ? owner : test->owner, "unit test", name);
	PG_RETURN_BOOL(etl_definition_delete("unit_test", target, name));
}
