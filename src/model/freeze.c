/*-------------------------------------------------------------------------
 *
 * freeze.c
 *    Freezing the keys that retention takes rows from.
 *
 * Before loads of an append stream go, the keys that their rows have in the
 * models that recompute by keys are frozen.  A row that is gone then matters
 * to no key that is not frozen, whatever becomes of the other inputs: only
 * keys that are computed from the row alone are taken (its places, see
 * restrict.c), and a model without such keys keeps the loads.  What a build
 * makes of frozen keys: frozen.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/frozen.h"
#include "common/json.h"
#include "common/run_as.h"
#include "model/internal.h"
#include "model/traits.h"

/* keys that go to the catalog in one statement */
#define BATCH_KEYS 1000

/*
 * plan_loads plans how loads of a stream matter to a model, inside its
 * etl_run_as; NULL and the reason when nothing can be said.
 */
static EtlDelta *
plan_loads(const EtlModel *model, const char *stream, List *inputs, List *loads, const char **why)
{
	Query	   *query = etl_query_analyze(model->query, NULL);
	EtlQueryTraits traits;
	EtlInput   *found = NULL;
	EtlDelta   *delta;
	ListCell   *cell;

	etl_query_traits(query, model, &traits);
	*why = etl_below_change(model, &traits, etl_node_state_get(model->target));
	if (traits.uses_clock)
		*why = "its query reads the clock";
	foreach(cell, inputs)
	{
		EtlInput   *input = lfirst(cell);

		if (input->kind == 'r')
			*why = psprintf("etl does not see changes of %s", input->name);
		if (strcmp(input->name, stream) == 0 && input->kind == 's')
			found = input;
	}
	if (found == NULL)
		*why = "its query does not show where it reads them";
	if (*why != NULL)
		return NULL;
	delta = etl_delta_of_loads(model, query, found, loads);
	*why = delta->append ? "it has no key" : delta->hindrance;
	return *why == NULL ? delta : NULL;
}

/*
 * place_of returns the place of a leaf that tells its keys, or NULL.
 */
static EtlDeltaLeaf *
place_of(const EtlDelta *delta, const EtlDeltaLeaf *leaf)
{
	ListCell   *cell;

	foreach(cell, delta->places)
		if (((EtlDeltaLeaf *) lfirst(cell))->rte == leaf->rte)
			return lfirst(cell);
	return NULL;
}

/*
 * is_current tells whether the model's table is what its definition and all
 * of its inputs but new loads of append streams say.
 */
static bool
is_current(const EtlModel *model, List *inputs)
{
	EtlNodeState *state = etl_node_state_get(model->target);
	ListCell   *cell;

	if (state->built_version != model->version || state->rebuild != NULL)
		return false;
	foreach(cell, inputs)
	{
		EtlInput   *input = lfirst(cell);
		bool		append = input->kind == 's' && !etl_input_is_recorded(input);

		if (input->kind != 'r' &&
			(append ? input->consumption->lost != NIL : etl_input_has_changed(input, state->inputs)))
			return false;
	}
	return true;
}

const char *
etl_frozen_hindrance(const EtlModel *model, const char *stream)
{
	const char *why = NULL;
	List	   *inputs;
	EtlDelta   *delta;
	EtlRunAs	as;
	ListCell   *cell;

	if (etl_model_missing(model) != NULL)
		return "it cannot be built";
	PushActiveSnapshot(GetTransactionSnapshot());
	inputs = etl_model_inputs(model);
	etl_run_as_begin(&as, model->owner, model->settings);
	delta = plan_loads(model, stream, inputs, NIL, &why);
	if (delta != NULL)
		foreach(cell, delta->leaves)
			if (place_of(delta, lfirst(cell)) == NULL)
				why = "which of its keys they matter to depends on more than they";
	etl_run_as_end(&as);
	if (why == NULL && !is_current(model, inputs))
		why = "its last build does not know all changes";
	PopActiveSnapshot();
	return why;
}

/*
 * etl_frozen_key_text renders the first columns of a row as a JSON array of
 * texts.
 */
char *
etl_frozen_key_text(TupleTableSlot *slot, int natts)
{
	StringInfoData text;

	initStringInfo(&text);
	slot_getallattrs(slot);
	for (int i = 0; i < natts; i++)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, i)->atttypid, &output, &varlena);
		appendStringInfo(&text, "%c%s", i ? ',' : '[',
						 slot->tts_isnull[i] ?
							 "null" :
							 etl_json_quote(OidOutputFunctionCall(output, slot->tts_values[i])));
	}
	appendStringInfoChar(&text, ']');
	return text.data;
}

/*
 * store_keys freezes the keys in a tuplestore.
 */
static void
store_keys(const EtlModel *model, List *columns, TupleDesc desc, Tuplestorestate *rows)
{
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "etl frozen keys", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			level = etl_change_text_begin();
	bool		more = true;

	while (more)
	{
		MemoryContext keys_context = AllocSetContextCreate(batch, "etl keys", ALLOCSET_DEFAULT_SIZES);
		List	   *keys = NIL;

		MemoryContextSwitchTo(keys_context);
		while (list_length(keys) < BATCH_KEYS && (more = tuplestore_gettupleslot(rows, true, true, slot)))
			keys = lappend(keys, etl_frozen_key_text(slot, desc->natts));
		if (keys != NIL)
			etl_frozen_add(model->target, columns, keys);
		MemoryContextSwitchTo(batch);
		ExecClearTuple(slot);
		MemoryContextDelete(keys_context);
	}
	AtEOXact_GUC(false, level);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
}

/*
 * freeze_leaf freezes the keys that the rows of loads have at one place.
 */
static void
freeze_leaf(const EtlModel *model, const EtlDelta *delta, EtlDeltaLeaf *leaf)
{
	EtlDeltaLeaf *place = place_of(delta, leaf);
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(place->keynos));
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	List	   *columns = NIL;
	char	   *sql;
	ListCell   *cell;

	foreach(cell, place->keynos)
	{
		EtlDeltaKey *key = list_nth(delta->keys, lfirst_int(cell));

		columns = lappend(columns, key->column);
		TupleDescInitEntry(desc, list_length(columns), key->column, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(desc, list_length(columns), key->collation);
	}
	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
	sql = etl_delta_key_values(place, leaf);
	etl_execute_query(etl_query_analyze_qualified(sql, NULL), sql, create_queryEnv(), receiver);
	store_keys(model, columns, desc, rows);
	tuplestore_end(rows);
}

void
etl_model_freeze(const char *target, const char *stream, List *loads)
{
	EtlModel   *model = etl_model_find(target);
	const char *why = NULL;
	EtlDelta   *delta;
	List	   *inputs;
	EtlRunAs	as;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	inputs = etl_model_inputs(model);
	etl_run_as_begin(&as, model->owner, model->settings);
	delta = plan_loads(model, stream, inputs, loads, &why);
	if (delta == NULL)
		elog(ERROR, "cannot freeze keys of %s: %s", target, why);
	foreach(cell, delta->leaves)
		freeze_leaf(model, delta, lfirst(cell));
	etl_run_as_end(&as);
	PopActiveSnapshot();
}
