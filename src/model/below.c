/*-------------------------------------------------------------------------
 *
 * below.c
 *    Whether what is below a model's query is what it was built with.
 *
 * The fingerprint of a publication tells, beside the values of parameters, a
 * hash of each view that etl does not manage and of each function that the
 * query reached.  A fingerprint of a model that reached none holds none; one
 * that was stored before they were told is of that kind, too, so that such a
 * model is built once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/json.h"
#include "model/internal.h"
#include "model/traits.h"

#define BELOW  "below"
#define PARAMS "params"

char *
etl_below_fingerprint(const EtlQueryTraits *traits, char *params)
{
	/* the values of all parameters are the user's text: it is not taken for one of ours */
	if (traits->below == NULL && !traits->all_params)
		return params;
	return psprintf("{\"" BELOW "\": %s, \"" PARAMS "\": %s}", traits->below ? traits->below : "null",
					params ? etl_json_quote(params) : "null");
}

/*
 * below_of finds what a stored fingerprint tells of views and functions; NULL:
 * nothing.
 */
static Jsonb *
below_of(const EtlModel *model, const char *fingerprint)
{
	/* around it is what was read instead of an input, and the columns of a snapshot */
	int			wraps = etl_fallback_was_built(fingerprint) + etl_model_is_snapshot(model);

	for (int i = 0; i < wraps && fingerprint != NULL; i++)
		fingerprint = etl_json_get_text(etl_json_parse(fingerprint), PARAMS);
	if (fingerprint == NULL || *fingerprint == '\0')
		return NULL;
	return etl_json_kind_of(etl_json_parse(fingerprint), BELOW) == 'o' ?
			   etl_json_get(etl_json_parse(fingerprint), BELOW) :
			   NULL;
}

/*
 * first_difference returns the first name of 'these' that is not in 'those'
 * (absent), or is there with another hash; NULL when there is none.
 */
static char *
first_difference(const Jsonb *these, const Jsonb *those, bool absent)
{
	ListCell   *cell;

	foreach(cell, these ? etl_json_keys(these) : NIL)
	{
		char	   *other = those ? etl_json_get_text(those, lfirst(cell)) : NULL;

		if (absent ? other == NULL :
					 other != NULL && strcmp(other, etl_json_get_text(these, lfirst(cell))) != 0)
			return lfirst(cell);
	}
	return NULL;
}

char *
etl_below_change(const EtlModel *model, const EtlQueryTraits *traits, const EtlNodeState *state)
{
	Jsonb	   *built;
	Jsonb	   *now;
	char	   *name;

	if (state->built_version == 0)
		return NULL;
	built = below_of(model, state->built_fingerprint);
	now = traits->below ? etl_json_parse(traits->below) : NULL;
	if ((name = first_difference(now, built, false)) != NULL)
		return psprintf("the %s was replaced", name);
	if ((name = first_difference(now, built, true)) != NULL)
		return psprintf("it was built without the %s", name);
	if ((name = first_difference(built, now, true)) != NULL)
		return psprintf("it was built with the %s, which it does not reach any more", name);
	return NULL;
}
