/*-------------------------------------------------------------------------
 *
 * horizon.c
 *    May loads of a stream go, or does a model still need them?
 *
 * A view shows what is there.  A model that adds what new rows give never
 * looks at old loads again, once it has consumed them.  One that recomputes
 * by keys must have consumed them too, and the keys of what goes are frozen
 * first (freeze.c).  Every other one would have to compute from a remainder:
 * then the loads stay, unless the model says with force_full that the
 * remainder is what it wants.
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
 * recomputes_keys tells whether a model follows changes by keys, without an
 * interval ledger.
 */
static bool
recomputes_keys(const EtlModel *model)
{
	return strcmp(model->materialized, "incremental") == 0 && model->batch_size == NULL && model->key != NIL;
}

/*
 * collect finds the models that read a relation, through views too: those
 * that must have consumed what goes, and those among them whose keys are
 * frozen.  Returns what keeps everything; NULL: nothing does.
 */
static char *
collect(const char *stream, const char *relation, List **seen, List **followers, List **frozen)
{
	ListCell   *cell;

	foreach(cell, etl_model_readers(relation))
	{
		EtlModel   *model = etl_model_find(lfirst(cell));
		const char *hindrance = NULL;
		char	   *why = NULL;

		if (model == NULL || etl_name_among(*seen, model->target))
			continue;
		*seen = lappend(*seen, model->target);
		if (etl_model_is_view(model))
			why = collect(stream, model->target, seen, followers, frozen);
		else if (only_adds(model))
			*followers = lappend(*followers, model->target);
		else if (etl_json_get_bool(model->options, "force_full", false))
			continue;
		else if (recomputes_keys(model) && (hindrance = etl_frozen_hindrance(model, stream)) == NULL)
		{
			*followers = lappend(*followers, model->target);
			*frozen = lappend(*frozen, model->target);
		}
		else if (hindrance != NULL)
			why = psprintf("%s would have to be computed from the remainder: %s", model->target, hindrance);
		else
			why = psprintf("%s would have to be computed from the remainder", model->target);
		if (why != NULL)
			return why;
	}
	return NULL;
}

char *
etl_model_needs(const char *stream, List *loads, List **frozen)
{
	List	   *seen = NIL;
	List	   *followers = NIL;
	char	   *why;
	ListCell   *cell;

	*frozen = NIL;
	why = collect(stream, stream, &seen, &followers, frozen);
	if (why != NULL)
		return why;
	foreach(cell, followers)
		if (!etl_loads_consumed(stream, loads, list_make1(lfirst(cell))))
			return psprintf("%s has not consumed it yet", (char *) lfirst(cell));
	return NULL;
}
