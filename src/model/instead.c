/*-------------------------------------------------------------------------
 *
 * instead.c
 *    The option fallback: what a model is built on when an input failed.
 *
 * "last_good" takes the rows that the input held before; an object names for
 * an input the relation that is read in its place.  Then the model is built
 * in full of its query with the other name in it, and again of its own query
 * as soon as the input is well: what it was built of is in its fingerprint.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"

#define OPTION "fallback"

/* how the fingerprint of what was read instead begins */
#define MARK "{\"instead\":"

void
etl_fallback_check(const EtlModel *model)
{
	char		kind = etl_json_kind_of(model->options, OPTION);
	Jsonb	   *inputs;
	ListCell   *cell;

	if (kind == '\0' || kind == '0')
		return;
	if (kind == 's' && strcmp(etl_json_get_text(model->options, OPTION), "last_good") == 0)
		return;
	if (kind != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("invalid value for option \"fallback\""),
				 errhint("Write \"last_good\", or what to read instead of an input: {\"raw.rates\": "
						 "\"raw.rates_of_last_week\"}.")));
	if (etl_model_is_view(model) || etl_model_is_snapshot(model) || etl_model_has_slices(model))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s cannot read another relation instead of an input", model->target),
				 errdetail("A view shows its inputs as they are, and the history of a snapshot or of "
						   "intervals is not built again."),
				 errhint("Use \"last_good\".")));
	inputs = etl_json_get(model->options, OPTION);
	foreach(cell, etl_json_keys(inputs))
	{
		if (etl_json_kind_of(inputs, lfirst(cell)) != 's')
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"fallback\" must name a relation for \"%s\"", (char *) lfirst(cell))));
		(void) etl_name_canonical(lfirst(cell));
		(void) etl_name_canonical(etl_json_get_text(inputs, lfirst(cell)));
	}
}

EtlFallback
etl_fallback_of(const EtlModel *model, const char *input, char **instead)
{
	Jsonb	   *inputs;
	ListCell   *cell;

	if (etl_json_kind_of(model->options, OPTION) == 's')
		return ETL_FALLBACK_LAST_GOOD;
	if (etl_json_kind_of(model->options, OPTION) != 'o')
		return ETL_FALLBACK_NONE;
	inputs = etl_json_get(model->options, OPTION);
	foreach(cell, etl_json_keys(inputs))
		if (strcmp(etl_name_canonical(lfirst(cell)), input) == 0)
		{
			*instead = etl_name_canonical(etl_json_get_text(inputs, lfirst(cell)));
			return ETL_FALLBACK_INPUT;
		}
	return ETL_FALLBACK_NONE;
}

/*
 * other_name is an EtlNewName: 'arg' lists names in pairs.
 */
static char *
other_name(const char *name, void *arg)
{
	ListCell   *cell = list_head(arg);

	for (; cell != NULL; cell = lnext((List *) arg, lnext((List *) arg, cell)))
		if (strcmp(lfirst(cell), name) == 0)
			return lfirst(lnext((List *) arg, cell));
	return NULL;
}

void
etl_fallback_apply(EtlModel *model, List *pairs)
{
	StringInfoData text;
	ListCell   *cell;

	if (pairs == NIL)
		return;
	initStringInfo(&text);
	for (cell = list_head(pairs); cell != NULL; cell = lnext(pairs, lnext(pairs, cell)))
		appendStringInfo(&text, "%s%s is read instead of %s", text.len ? ", " : "",
						 (char *) lfirst(lnext(pairs, cell)), (char *) lfirst(cell));
	model->query = etl_query_rename(model, other_name, pairs);
	model->instead = text.data;
}

char *
etl_fallback_fingerprint(const EtlModel *model, const char *params)
{
	return psprintf("%s %s, \"params\": %s}", MARK, etl_json_quote(model->instead),
					params ? etl_json_quote(params) : "null");
}

bool
etl_fallback_was_built(const char *fingerprint)
{
	return fingerprint != NULL && strncmp(fingerprint, MARK, strlen(MARK)) == 0;
}
