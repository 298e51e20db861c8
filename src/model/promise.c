/*-------------------------------------------------------------------------
 *
 * promise.c
 *    Options contract and deprecated_on: what a model promises its readers.
 *
 * Names and types are compared with the analyzed query, so that no row is
 * read.  What is promised of the rows becomes checks, which every build
 * passes before it is published.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "common/clock.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/parse.h"
#include "model/internal.h"

#define CHECK_PREFIX "contract_"

const EtlOptionDef etl_promise_options[] = {
	{"columns", "object", NULL, "Names and types that the query yields, all of them."},
	{"not_null", "text[]", NULL, "Columns that are never null."},
	{"unique", "text[]", NULL, "Columns that together identify a row."},
	{NULL}};

/*
 * refuse raises ET001 for a query that does not keep its contract.
 */
static void
refuse(const EtlModel *model, char *detail)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("the query of %s does not keep its contract", model->target),
			 errdetail("%s", detail),
			 errhint("Change the query, or the option contract when its readers agree.")));
}

/*
 * type_text renders a type with its modifier.
 */
static char *
type_text(Oid type, int32 typmod)
{
	return format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN);
}

/*
 * check_column compares one promised column with what the query yields.
 */
static void
check_column(const EtlModel *model, TupleDesc desc, const char *name, const char *wanted)
{
	Oid			type;
	int32		typmod;

	parseTypeString(wanted, &type, &typmod, false);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (strcmp(NameStr(column->attname), name) != 0)
			continue;
		/* a type without a modifier is kept with any */
		if (column->atttypid != type || (typmod != -1 && typmod != column->atttypmod))
			refuse(model, psprintf("Column \"%s\" is %s, and the contract says %s.", name,
								   type_text(column->atttypid, column->atttypmod), type_text(type, typmod)));
		return;
	}
	refuse(model, psprintf("Column \"%s\" is missing.", name));
}

void
etl_promise_check(const EtlModel *model, Query *query)
{
	Jsonb	   *contract = etl_json_get(model->options, "contract");
	Jsonb	   *columns = contract ? etl_json_get(contract, "columns") : NULL;
	TupleDesc	desc;
	List	   *names;
	ListCell   *cell;

	if (contract == NULL)
		return;
	etl_options_check(contract, "model:contract", etl_promise_options, NULL);
	desc = etl_query_desc(query);
	names = columns ? etl_json_keys(columns) : NIL;
	foreach(cell, names)
		check_column(model, desc, lfirst(cell), etl_json_get_text(columns, lfirst(cell)));
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (names != NIL && !etl_name_among(names, name))
			refuse(model, psprintf("Column \"%s\" is not in it.", name));
	}
	names = NIL;
	for (int i = 0; i < desc->natts; i++)
		names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	foreach(cell, list_concat(etl_json_get_list(contract, "not_null"), etl_json_get_list(contract, "unique")))
		if (!etl_name_among(names, lfirst(cell)))
			refuse(model, psprintf("Column \"%s\" is missing.", (char *) lfirst(cell)));
}

/*
 * store_check puts one promise of the contract on the model.
 */
static List *
store_check(List *stored, const EtlModel *model, const char *kind, List *columns, char *name)
{
	EtlCheck	check = {.target = model->target,
					  .name = name,
					  .kind = pstrdup(kind),
					  .columns = columns,
					  .options = etl_json_parse("{}"),
					  .on_fail = "fail",
					  .dimension = strcmp(kind, "unique") == 0 ? "uniqueness" : "completeness",
					  .description = "promised by the contract",
					  .settings = model->settings,
					  .owner = model->owner};

	(void) etl_check_store(&check);
	return lappend(stored, name);
}

void
etl_promise_store(const EtlModel *model)
{
	Jsonb	   *contract = etl_json_get(model->options, "contract");
	List	   *stored = NIL;
	List	   *unique = contract ? etl_json_get_list(contract, "unique") : NIL;
	ListCell   *cell;

	foreach(cell, contract ? etl_json_get_list(contract, "not_null") : NIL)
		stored = store_check(stored, model, "not_null", list_make1(lfirst(cell)),
							 psprintf(CHECK_PREFIX "not_null_%s", (char *) lfirst(cell)));
	if (unique != NIL)
		stored = store_check(stored, model, "unique", unique, pstrdup(CHECK_PREFIX "unique"));
	foreach(cell, etl_checks_of(model->target))
	{
		EtlCheck   *check = lfirst(cell);

		if (strncmp(check->name, CHECK_PREFIX, strlen(CHECK_PREFIX)) == 0 && check->description &&
			strcmp(check->description, "promised by the contract") == 0 &&
			!etl_name_among(stored, check->name))
			(void) etl_definition_delete("quality_check", model->target, check->name);
	}
}

/* ---- deprecation ---- */

/*
 * deprecation_date returns the date from which on a model should not be used.
 */
static bool
deprecation_date(const EtlModel *model, DateADT *date)
{
	char	   *text = etl_json_get_text(model->options, "deprecated_on");

	if (text == NULL)
		return false;
	*date = DatumGetDateADT(DirectFunctionCall1(date_in, CStringGetDatum(text)));
	return true;
}

/*
 * judge_deprecation raises an error for what is no date; an argument of
 * etl_option_judge.
 */
static void
judge_deprecation(void *model)
{
	DateADT		date;

	(void) deprecation_date(model, &date);
}

/*
 * judge_types raises an error for a type that does not exist; an argument of
 * etl_option_judge.
 */
static void
judge_types(void *columns)
{
	ListCell   *cell;

	foreach(cell, columns ? etl_json_keys(columns) : NIL)
	{
		char	   *wanted = etl_json_get_text(columns, lfirst(cell));
		Oid			type;
		int32		typmod;

		if (wanted == NULL)
			ereport(ERROR, (errmsg("column \"%s\" has no type", (char *) lfirst(cell))));
		parseTypeString(wanted, &type, &typmod, false);
	}
}

void
etl_promise_check_options(const EtlModel *model)
{
	Jsonb	   *contract = etl_json_get(model->options, "contract");

	if (contract != NULL)
	{
		etl_options_check(contract, "model:contract", etl_promise_options, NULL);
		etl_option_judge("contract", "model", judge_types, etl_json_get(contract, "columns"));
	}
	etl_option_judge("deprecated_on", "model", judge_deprecation, unconstify(EtlModel *, model));
	if (!etl_json_has(model->options, "deprecated_on") && etl_json_has(model->options, "replaced_by"))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"replaced_by\" is for models with deprecated_on"),
				 errhint("Say from which date on the model is not to be used.")));
}

List *
etl_deprecated_inputs(List *names, bool only_past)
{
	List	   *result = NIL;
	DateADT		today = DatumGetDateADT(DirectFunctionCall1(timestamptz_date, TimestampTzGetDatum(etl_now())));
	ListCell   *cell;

	foreach(cell, names)
	{
		EtlModel   *model = etl_model_find(lfirst(cell));
		DateADT		date;
		char	   *use;

		if (model == NULL || !deprecation_date(model, &date) || (only_past && date > today))
			continue;
		use = etl_json_get_text(model->options, "replaced_by");
		result = lappend(result, psprintf("%s is deprecated %s %s%s%s", model->target,
										  date > today ? "from" : "since",
										  etl_json_get_text(model->options, "deprecated_on"),
										  use ? ": use " : "", use ? use : ""));
	}
	return result;
}
