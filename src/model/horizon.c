/*-------------------------------------------------------------------------
 *
 * horizon.c
 *    May loads of a stream go, or does a model still need them?
 *
 * A view shows what is there.  A model that adds what new rows give never
 * looks at old loads again, once it has consumed them.  Every other one
 * would have to compute from a remainder: then the loads stay, unless the
 * model says with force_full that the remainder is what it wants.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "catalog/consumption.h"
#include "catalog/expiry.h"
#include "common/json.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/internal.h"

/*
 * only_adds tells whether a model follows new rows and never computes
 * anything anew.
 */
static bool
only_adds(const EtlModel *model)
{
	return strcmp(model->materialized, "incremental") == 0 && model->batch_size == NULL &&
		   (model->key == NIL || (model->strategy != NULL && strcmp(model->strategy, "append") == 0));
}

/*
 * collect finds the models that read a relation, through views too, and
 * those among them that must have consumed what goes.  Returns what keeps
 * everything; NULL: nothing does.
 */
static char *
collect(const char *relation, List **seen, List **followers)
{
	ListCell   *cell;

	foreach(cell, etl_model_readers(relation))
	{
		EtlModel   *model = etl_model_find(lfirst(cell));
		char	   *why = NULL;

		if (model == NULL || etl_name_among(*seen, model->target))
			continue;
		*seen = lappend(*seen, model->target);
		if (etl_model_is_view(model))
			why = collect(model->target, seen, followers);
		else if (only_adds(model))
			*followers = lappend(*followers, model->target);
		else if (!etl_json_get_bool(model->options, "force_full", false))
			why = psprintf("%s would have to be computed from the remainder", model->target);
		if (why != NULL)
			return why;
	}
	return NULL;
}

char *
etl_model_needs(const char *stream, List *loads)
{
	List	   *seen = NIL;
	List	   *followers = NIL;
	char	   *why = collect(stream, &seen, &followers);
	ListCell   *cell;

	if (why != NULL)
		return why;
	foreach(cell, followers)
		if (!etl_loads_consumed(stream, loads, list_make1(lfirst(cell))))
			return psprintf("%s has not consumed it yet", (char *) lfirst(cell));
	return NULL;
}
