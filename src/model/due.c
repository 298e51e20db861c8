/*-------------------------------------------------------------------------
 *
 * due.c
 *    What the next build of a model would do, and why.
 *
 * The decision rests on stored state alone: the definition's version, the
 * loads of each stream that the model has not consumed, the publications of
 * the models it reads, the parameters it asks for.  The same decision is
 * shown by etl.plan and taken by a build, under the build's snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "common/texts.h"
#include "model/internal.h"
#include "model/traits.h"

#define READS_CLOCK "its query reads the clock"

/*
 * decide sets the decision.
 */
static void
decide(EtlDue *due, const char *action, char *reason)
{
	due->plan.action = action;
	due->plan.reason = reason;
}

/*
 * params_fingerprint renders the values of the parameters that the query
 * asks for; NULL when it asks for none.
 */
static char *
params_fingerprint(const EtlQueryTraits *traits)
{
	Jsonb	   *params;
	EtlJsonBuilder *builder;
	ListCell   *cell;

	if (traits->all_params)
		return pstrdup(etl_params);
	if (traits->params == NIL)
		return NULL;
	params = etl_json_parse(etl_params && *etl_params ? etl_params : "{}");
	builder = etl_json_object_begin();
	foreach(cell, traits->params)
		etl_json_add_text(builder, lfirst(cell), etl_json_get_text(params, lfirst(cell)));
	return etl_json_text(etl_json_object_end(builder));
}

/*
 * follow_columns finds the columns of a snapshot that its last build did not
 * know, and lets the fingerprint tell its columns.
 */
static void
follow_columns(EtlDue *due)
{
	TupleDesc	desc = etl_query_desc(due->query);
	EtlJsonBuilder *columns = etl_json_object_begin();
	EtlJsonBuilder *both = etl_json_object_begin();
	Jsonb	   *old = NULL;

	if (due->state->built_fingerprint != NULL)
		old = etl_json_get(etl_json_parse(due->state->built_fingerprint), "columns");
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(desc, i)->attname);

		etl_json_add_text(columns, name, "");
		if (old != NULL && !etl_json_has(old, name))
			due->added = lappend(due->added, pstrdup(name));
	}
	etl_json_add(both, "columns", etl_json_object_end(columns));
	etl_json_add_text(both, "params", due->fingerprint);
	due->fingerprint = etl_json_text(etl_json_object_end(both));
}

/*
 * stand_in lets the fingerprint tell what is read instead of an input; raises
 * ET001 when the query would have other columns so.
 */
static void
stand_in(EtlDue *due, const EtlModel *model)
{
	due->fingerprint = etl_fallback_fingerprint(model, due->fingerprint);
	if (OidIsValid(due->relid) && !etl_table_fits(model, due->relid, etl_query_desc(due->query)))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s has other columns or types when %s", model->target, model->instead),
				 errhint("Cast in the query, or name a relation in option \"fallback\" whose columns are "
						 "as those of the input.")));
}

/*
 * loads_text tells how many loads and rows arrived.
 */
static char *
loads_text(const EtlInput *input)
{
	int64		rows = 0;
	int			n = list_length(input->consumption->pending);
	ListCell   *cell;

	foreach(cell, input->consumption->pending)
	{
		const EtlLoad *load = lfirst(cell);

		rows += load->rows_loaded + load->rows_updated + load->rows_deleted;
	}
	return psprintf("%d new load%s of %s (" INT64_FORMAT " row%s)", n, n == 1 ? "" : "s",
					input->name, rows, rows == 1 ? "" : "s");
}

/*
 * rows_text tells how many rows were recorded as changed, or why that is not
 * known.
 */
static char *
rows_text(const EtlInput *input)
{
	int64		rows = 0;
	ListCell   *cell;

	foreach(cell, input->consumption->sets)
	{
		EtlChangeSet *set = lfirst(cell);

		if (set->unknown != NULL)
			return set->unknown;
		rows += set->rows;
	}
	return psprintf("rows of %s changed (" INT64_FORMAT " before and after)", input->name, rows);
}

/*
 * change_of tells how an input changed since the last publication; NULL
 * when it did not.
 */
static char *
change_of(const EtlDue *due, const EtlInput *input)
{
	bool		recorded = input->consumption != NULL && input->consumption->recorded &&
					input->consumption->sets != NIL;

	switch (input->kind)
	{
		case 's':
			if (input->consumption->lost != NIL)
				return psprintf("loads of %s were replaced or taken back", input->name);
			if (input->consumption->pending != NIL)
				return loads_text(input);
			break;
		case 'r':
			return NULL;		/* told for all of them at once */
		case 'w':
			if (!input->consumption->recorded)
				return input->lapsed ? etl_record_lapse(input->name) :
									   psprintf("%s has been watched since it was built", input->name);
			break;
		default:
			if (etl_json_get_int64(due->state->inputs, input->name, 0) != input->publication)
				return psprintf("%s was published anew", input->name);
			break;
	}
	if (input->lapsed)
		return etl_record_lapse(input->name);
	return recorded ? rows_text(input) : NULL;
}

/*
 * changes_text joins the changes of all inputs; NULL when there are none.
 */
static char *
changes_text(const EtlDue *due)
{
	StringInfoData text;
	bool		unseen = false;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, due->inputs)
	{
		char	   *change = change_of(due, lfirst(cell));

		if (change != NULL)
			appendStringInfo(&text, "%s%s", text.len ? ", " : "", change);
	}
	foreach(cell, due->inputs)
	{
		EtlInput   *input = lfirst(cell);

		if (input->kind != 'r')
			continue;
		appendStringInfo(&text, "%s%s%s", text.len ? (unseen ? ", " : "; ") : "",
						 unseen ? "" : "rebuilt, since etl does not see changes of ", input->name);
		unseen = true;
	}
	return text.len ? text.data : NULL;
}

/*
 * input_names joins the names of the inputs, for "nothing new in …".
 */
static char *
input_names(List *inputs)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, inputs)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", ((EtlInput *) lfirst(cell))->name);
	return text.len ? text.data : "it, since it reads nothing";
}

/*
 * view_fits tells whether the view has the columns its query yields now.
 * The columns are looked up one by one: a thousand views need not be opened,
 * with their rules, and stay locked, to see that nothing is to be done.
 */
static bool
view_fits(Oid relid, TupleDesc desc)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		same = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		same = form->relkind == RELKIND_VIEW && form->relnatts == desc->natts;
		ReleaseSysCache(tuple);
	}
	for (int i = 0; same && i < desc->natts; i++)
	{
		Form_pg_attribute want = TupleDescAttr(desc, i);
		Form_pg_attribute have;

		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(i + 1));
		have = HeapTupleIsValid(tuple) ? (Form_pg_attribute) GETSTRUCT(tuple) : NULL;
		same = have != NULL && have->atttypid == want->atttypid &&
			   strcmp(NameStr(have->attname), NameStr(want->attname)) == 0;
		if (have != NULL)
			ReleaseSysCache(tuple);
	}
	return same;
}

/*
 * decide_view decides for a view: it is made again when it is missing,
 * defined anew or its columns changed, and looked at again, for its checks,
 * when what it shows changed.
 */
static void
decide_view(EtlDue *due, const EtlModel *model, const EtlQueryTraits *traits)
{
	char	   *changes;

	if (!OidIsValid(due->relid))
		decide(due, "view", "the view does not exist yet");
	else if (due->state->built_version == 0)
		decide(due, "view", "first build");
	else if (due->state->built_version != model->version)
		decide(due, "view", "the definition changed");
	else if (!view_fits(due->relid, etl_query_desc(due->query)))
	{
		due->columns_changed = true;
		decide(due, "view", "the columns of its inputs changed");
	}
	else if (due->below != NULL || traits->uses_words)
	{
		due->reread = true;
		decide(due, "view", due->below ? due->below : READS_CLOCK);
	}
	/* without checks it is all the same what its inputs did: they are not looked up */
	else if (etl_checks_of(model->target) != NIL)
	{
		due->inputs = etl_model_inputs(model);
		if ((changes = changes_text(due)) != NULL)
			decide(due, "view", psprintf("to be checked: %s", changes));
	}
	if (due->plan.action == NULL)
		decide(due, "unchanged", "the view shows its inputs as they are");
	else if (due->inputs == NIL)
		due->inputs = etl_model_inputs(model);
}

/*
 * decide_stored decides for a stored model.
 */
static void
decide_stored(EtlDue *due, const EtlModel *model, const EtlQueryTraits *traits, bool full_refresh)
{
	bool		snapshot = etl_model_is_snapshot(model);
	char	   *changes;

	due->unfilled = etl_unfilled_columns(model, due);
	due->columns_changed = due->unfilled != NULL;
	if (!OidIsValid(due->relid))
		decide(due, "create", due->state->built_version ? "the table is gone" : "first build");
	else if (due->state->built_version == 0)
		decide(due, "full", due->state->created ? "first build" : "first build of an adopted table");
	else if (!etl_kind_has(model, get_rel_relkind(due->relid)) || !etl_partition_fits(model, due->relid))
		decide(due, "full",
			   get_rel_relkind(due->relid) == RELKIND_VIEW ?
				   "it was a view until now" :
				   "it was made in another way until now");
	else if (model->instead != NULL)
		decide(due, "full", model->instead);
	else if (full_refresh && model->request == NULL)
		decide(due, "full",
			   snapshot ?
				   "full refresh asked for: compared in full, since history is never rebuilt" :
				   "full refresh asked for");
	else if (due->state->built_version != model->version && due->unfilled == NULL)
		decide(due, "full", "the definition changed");
	else if (!etl_same_text(due->sample, due->state->sample))
		decide(due, "full",
			   due->sample ? "of other parts of its inputs than the last build" :
							 "the last build was of a part of its inputs");
	else if (due->state->rebuild != NULL)
	{
		due->columns_changed = !etl_table_fits(model, due->relid, etl_query_desc(due->query));
		decide(due, "full", due->state->rebuild);
	}
	else if (due->unfilled == NULL && !etl_table_fits(model, due->relid, etl_query_desc(due->query)))
	{
		due->columns_changed = true;
		decide(due, "full", "the columns of its query changed");
	}
	else if (!etl_same_text(due->fingerprint, due->state->built_fingerprint))
		decide(due, "full",
			   etl_fallback_was_built(due->state->built_fingerprint) ?
				   "the last build read another relation instead of an input" :
			   due->below ? due->below :
			   snapshot	  ? "its columns, or a parameter that it reads, changed" :
							"a parameter that it reads changed");
	else if (traits->uses_clock && model->request == NULL)
		decide(due, "full", READS_CLOCK);
	else if (due->slicing != NULL && due->sample == NULL)
	{
		etl_intervals_decide(due, model, changes_text(due));
		if (due->plan.reason == NULL)
			due->plan.reason = psprintf("nothing new in %s, and every interval is done",
										input_names(due->inputs));
	}
	else if ((changes = changes_text(due)) == NULL)
		decide(due, "unchanged", psprintf("nothing new in %s", input_names(due->inputs)));
	else if (!etl_model_follows(model) || due->sample != NULL)
		decide(due, "full", changes);
	else
	{
		due->delta = etl_delta_plan(model, due->query, due->inputs);
		if (due->delta->hindrance == NULL)
			decide(due, "incremental", changes);
		else
			decide(due, "full",
				   psprintf("%s; %s, since %s", changes, snapshot ? "compared in full" : "rebuilt",
							due->delta->hindrance));
	}
	if (due->unfilled != NULL && strcmp(due->plan.action, "full") != 0)
		decide(due, "incremental", psprintf("%s; %s", due->unfilled, due->plan.reason));
}

/*
 * lock_streams waits for loads that are changing a column of an input.
 */
static void
lock_streams(List *inputs)
{
	ListCell   *cell;

	foreach(cell, inputs)
	{
		EtlInput   *input = lfirst(cell);
		Oid			relid = input->kind == 's' ? etl_name_relation(input->name) : InvalidOid;

		if (OidIsValid(relid))
			LockRelationOid(relid, AccessShareLock);
	}
}

/*
 * etl_due_lock waits for loads that are changing a column of an input: a
 * table that was rewritten looks empty to an older snapshot, so the snapshot
 * of a build is taken afterwards.  Views, which the analysis locks, come
 * first, as they do where a column is widened.  True: a view or function below
 * the query is not what the model was built with, and may read others.
 */
bool
etl_due_lock(const EtlModel *model)
{
	List	   *inputs;
	EtlQueryTraits traits;
	EtlRunAs	as;

	if (strcmp(model->materialized, "view") == 0 || etl_model_missing(model) != NULL)
		return false;
	inputs = etl_model_inputs(model);
	etl_run_as_begin(&as, model->owner, model->settings);
	etl_query_traits(etl_query_analyze(model->query, NULL), model, &traits);
	lock_streams(inputs);
	etl_run_as_end(&as);
	return etl_below_change(model, &traits, etl_node_state_get(model->target)) != NULL;
}

/*
 * etl_due decides what a build does; needs an active snapshot.
 */
EtlDue *
etl_due(const EtlModel *model, bool full_refresh)
{
	EtlDue	   *due = palloc0(sizeof(EtlDue));
	EtlQueryTraits traits;
	EtlRunAs	as;
	char	   *missing = etl_model_missing(model);
	bool		view = strcmp(model->materialized, "view") == 0;

	due->state = etl_node_state_get(model->target);
	due->relid = etl_name_relation(model->target);
	if (missing != NULL)
	{
		decide(due, "unresolved", psprintf("%s does not exist yet", missing));
		return due;
	}
	if (!view)
		due->inputs = etl_model_inputs(model);

	etl_run_as_begin(&as, model->owner, model->settings);
	due->query = etl_query_analyze(model->query, NULL);
	etl_query_traits(due->query, model, &traits);
	due->fingerprint = etl_below_fingerprint(&traits, params_fingerprint(&traits));
	if (etl_model_is_snapshot(model))
		follow_columns(due);
	if (model->instead != NULL)
		stand_in(due, model);
	if (!etl_same_text(due->fingerprint, due->state->built_fingerprint))
		due->below = etl_below_change(model, &traits, due->state);
	if (view)
		decide_view(due, model, &traits);
	else
	{
		if (etl_model_has_slices(model))
			due->slicing = etl_slicing_of(model, due->query);
		due->sample = etl_sample_asked();
		due->sampled = due->sample != NULL;
		if (!due->sampled)
			due->sample = etl_sample_inherited(due->inputs);
		decide_stored(due, model, &traits, full_refresh);
		/* a new table is filled slice by slice, one that is there is replaced at once */
		if (due->slicing != NULL && !due->sliced &&
			(strcmp(due->plan.action, "create") != 0 || due->sample != NULL ||
			 !etl_intervals_decide_first(due, model)))
			etl_intervals_bounds(model, due);
		if (due->sample != NULL && strcmp(due->plan.action, "unchanged") != 0)
			due->plan.reason = psprintf("%s; %s", due->plan.reason, etl_sample_text(due->sample));
	}
	etl_run_as_end(&as);
	return due;
}

EtlDue *
etl_due_of_slice(const EtlModel *model, const EtlSlice *slice)
{
	EtlDue	   *due = palloc0(sizeof(EtlDue));
	EtlQueryTraits traits;
	EtlRunAs	as;
	char	   *below;

	due->state = etl_node_state_get(model->target);
	due->relid = etl_name_relation(model->target);
	if (!OidIsValid(due->relid) || etl_model_missing(model) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("%s or an input of it was dropped while its intervals were built", model->target)));
	etl_run_as_begin(&as, model->owner, model->settings);
	due->query = etl_query_analyze(model->query, NULL);
	due->slicing = etl_slicing_of(model, due->query);
	if (!etl_table_fits(model, due->relid, etl_query_desc(due->query)))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the columns of the query of %s changed while its intervals were built",
						model->target)));
	etl_query_traits(due->query, model, &traits);
	below = etl_below_change(model, &traits, due->state);
	if (below != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("%s, while the intervals of %s were built", below, model->target)));
	etl_run_as_end(&as);
	due->slice = palloc(sizeof(EtlSlice));
	*due->slice = *slice;
	due->sliced = true;
	decide(due, "incremental", etl_slice_text(due->slicing, slice->since, slice->until));
	return due;
}

/* ---- etl_model_plan ---- */

typedef struct PlanWork
{
	const EtlModel *model;
	bool		full_refresh;
	EtlModelPlan *plan;
	bool		free;			/* nothing that etl does not manage hangs on what changes */
} PlanWork;

/*
 * plan_work decides inside a subtransaction.
 */
static void
plan_work(void *arg)
{
	PlanWork   *work = arg;
	EtlDue	   *due;

	PushActiveSnapshot(GetTransactionSnapshot());
	due = etl_due(work->model, work->full_refresh);
	*work->plan = due->plan;
	etl_dependents_check(work->model, due);
	work->free = true;
	if (strcmp(due->plan.action, "unchanged") != 0 && strcmp(due->plan.action, "unresolved") != 0)
		etl_table_must_be_managed(work->model, due->relid, due->state);
	PopActiveSnapshot();
}

EtlModelPlan *
etl_model_plan(const EtlModel *model, bool full_refresh)
{
	EtlModelPlan *plan = palloc0(sizeof(EtlModelPlan));
	PlanWork	work = {model, full_refresh, plan, false};
	ErrorData  *error = etl_subxact(plan_work, &work);
	List	   *pending;

	/* one broken model must not hide the plan of the others */
	if (error != NULL && !model->resolved && (pending = etl_pending_inputs(model)) != NIL)
	{
		plan->action = "unresolved";
		plan->reason = psprintf("%s will have other columns: %s",
								((EtlPending *) linitial(pending))->name, error->message);
	}
	else if (error != NULL)
	{
		plan->action = strcmp(model->materialized, "view") == 0 ? "view" : "full";
		plan->reason = psprintf("will fail: %s", error->message);
		if (error->sqlerrcode == ETL_ERR_NOT_MANAGED && !work.free)
			plan->stop = error;
	}
	return plan;
}
