/*-------------------------------------------------------------------------
 *
 * intervals.c
 *    Which intervals of a model are due, and why.
 *
 * Between the first event and now every slice is done, or due: because it
 * was never built, because its last build failed, because rows changed that
 * it is made of, or because somebody asked for it.  Which slices a change
 * touches is found as for keys (affected.c): the event times of all rows of
 * the result that can differ.  So a slice that is done equals the query,
 * however late a row comes.  Where that cannot be told, the model is built
 * in full, and with it the ledger.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "model/internal.h"
#include "model/slice.h"

#define MAX_SLICES	 100000
/* how many ranges of slices a reason names */
#define NAMED_RANGES 3

/* Slices that rows of a query lie in. */
typedef struct Touched
{
	DestReceiver pub;
	const EtlSlicing *slicing;
	HTAB	   *slices;			/* by since */
	TimestampTz since;			/* of the row before */
	TimestampTz until;
	TimestampTz first;			/* of all; DT_NOEND: none */
	bool		unplaced;		/* a row lies in none */
} Touched;

/*
 * touch notes the slice of one event time.
 */
static bool
touch(TupleTableSlot *slot, DestReceiver *self)
{
	Touched    *touched = (Touched *) self;
	bool		isnull;
	Datum		value = slot_getattr(slot, 1, &isnull);
	TimestampTz at;

	if (isnull || !etl_slice_value(touched->slicing, value, &at))
	{
		touched->unplaced = true;
		return true;
	}
	if (at >= touched->since && at < touched->until)
		return true;
	touched->since = etl_slice_floor(touched->slicing, at);
	touched->until = etl_slice_next(touched->slicing, touched->since);
	touched->first = Min(touched->first, touched->since);
	(void) hash_search(touched->slices, &touched->since, HASH_ENTER, NULL);
	return true;
}

static void
touch_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
touch_nothing(DestReceiver *self)
{
}

/*
 * touched_begin makes a receiver of event times.
 */
static Touched *
touched_begin(const EtlSlicing *slicing)
{
	Touched    *touched = palloc0(sizeof(Touched));
	HASHCTL		control = {0};

	touched->pub.receiveSlot = touch;
	touched->pub.rStartup = touch_startup;
	touched->pub.rShutdown = touched->pub.rDestroy = touch_nothing;
	touched->pub.mydest = DestNone;
	touched->slicing = slicing;
	touched->first = DT_NOEND;
	control.keysize = control.entrysize = sizeof(TimestampTz);
	control.hcxt = CurrentMemoryContext;
	touched->slices = hash_create("etl touched slices", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return touched;
}

/*
 * find_touched finds the slices that the changes of a delta touch.
 */
static Touched *
find_touched(const EtlModel *model, const EtlSlicing *slicing, EtlDelta *delta)
{
	QueryEnvironment *environment = create_queryEnv();
	Touched    *touched = touched_begin(slicing);
	List	   *changes = etl_delta_changes(delta, environment, true);
	ListCell   *cell;

	foreach(cell, etl_delta_finders(delta, environment))
		etl_execute_query(lfirst(cell), model->query, environment, &touched->pub);
	foreach(cell, changes)
		tuplestore_end(lfirst(cell));
	return touched;
}

TimestampTz
etl_intervals_first(const char *source, const EtlSlicing *slicing, Query *query)
{
	Touched    *touched = touched_begin(slicing);
	Query	   *least = etl_query_around(copyObject(query),
									psprintf("pg_catalog.min(c.%s)", quote_identifier(slicing->column)),
									psprintf("pg_catalog.isfinite(c.%s)", quote_identifier(slicing->column)),
									create_queryEnv());

	etl_execute_query(least, source, NULL, &touched->pub);
	return touched->first;
}

/* ---- what is due ---- */

/*
 * asked_for tells whether a run asked for a slice.
 */
static bool
asked_for(const EtlSlicing *slicing, const EtlIntervalRequest *request, const EtlSlice *slice)
{
	return slice->until > etl_slice_time(slicing, request->since) &&
		   slice->since < etl_slice_time(slicing, request->until);
}

/*
 * is_built tells whether a slice is one that this build takes on.
 */
static bool
is_built(const EtlSlicing *slicing, const EtlIntervalRequest *request, const EtlSlice *slice)
{
	if (request == NULL)
		return true;
	if (!asked_for(slicing, request, slice))
		return false;
	return strcmp(request->reprocess, "failed") != 0 ||
		   (slice->status && strcmp(slice->status, "failed") == 0);
}

/*
 * why_due tells why a slice is to be built again; NULL when it is done.
 */
static char *
why_due(const EtlDue *due, const EtlModel *model, const EtlSlice *slice, const Touched *touched)
{
	const EtlIntervalRequest *request = model->request;
	bool		found = false;

	if (slice->status == NULL)
		return pstrdup("not built yet");
	if (strcmp(slice->status, "due") == 0)
		return pstrdup(slice->reason ? slice->reason : "due");
	if (strcmp(slice->status, "failed") == 0)
		return pstrdup("failed before");
	if (touched != NULL)
		(void) hash_search(touched->slices, &slice->since, HASH_FIND, &found);
	if (found)
		return pstrdup("rows changed");
	if (request != NULL && strcmp(request->reprocess, "all") == 0 &&
		asked_for(due->slicing, request, slice) &&
		(slice->run_id == 0 ||
		 (slice->run_id != request->run_id && slice->run_id != request->retry_of)))
		return pstrdup("asked for");
	return NULL;
}

/*
 * put decides about one slice.
 */
static void
put(EtlDue *due, const EtlModel *model, EtlSlice *slice, const Touched *touched)
{
	char	   *why = why_due(due, model, slice, touched);
	bool		known = slice->status != NULL && strcmp(slice->status, "done") != 0;

	if (why == NULL)
		return;
	slice->reason = why;
	slice->name = etl_slice_text(due->slicing, slice->since, slice->until);
	if (is_built(due->slicing, model->request, slice))
		due->slices = lappend(due->slices, slice);
	/* what is only asked for again stays done until it is */
	if (!known && strcmp(why, "asked for") != 0)
		due->made_due = lappend(due->made_due, slice);
	if (list_length(due->made_due) > MAX_SLICES)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("model %s would have more than %d intervals", model->target, MAX_SLICES),
				 errdetail("The first begins at %s.",
						   ((EtlSlice *) linitial(due->made_due))->name),
				 errhint("Give option begin, or a greater batch_size.")));
}

/*
 * walk goes through all slices from 'begin' to 'end', and those that are in
 * the ledger before.
 */
static void
walk(EtlDue *due, const EtlModel *model, List *ledger, TimestampTz begin, TimestampTz end,
	 const Touched *touched)
{
	const EtlSlicing *slicing = due->slicing;
	const EtlIntervalRequest *request = model->request;
	TimestampTz since = begin;
	ListCell   *entry = list_head(ledger);

	if (ledger != NIL)
	{
		since = Min(since, ((EtlSlice *) linitial(ledger))->since);
		/* a clock may go back */
		end = Max(end, ((EtlSlice *) llast(ledger))->until);
	}
	if (request != NULL && !TIMESTAMP_NOT_FINITE(request->since))
		since = Min(since, etl_slice_floor(slicing, etl_slice_time(slicing, request->since)));
	for (; since < end; since = etl_slice_next(slicing, since))
	{
		EtlSlice   *slice;

		CHECK_FOR_INTERRUPTS();
		while (entry != NULL && ((EtlSlice *) lfirst(entry))->since < since)
			entry = lnext(ledger, entry);
		if (entry != NULL && ((EtlSlice *) lfirst(entry))->since == since)
		{
			put(due, model, lfirst(entry), touched);
			continue;
		}
		slice = palloc0(sizeof(EtlSlice));
		slice->since = since;
		slice->until = etl_slice_next(slicing, since);
		if (since >= begin || (request != NULL && asked_for(slicing, request, slice)))
			put(due, model, slice, touched);
	}
}

/*
 * compare_slices orders slices by time.
 */
static int
compare_slices(const ListCell *a, const ListCell *b)
{
	TimestampTz since_a = ((EtlSlice *) lfirst(a))->since;
	TimestampTz since_b = ((EtlSlice *) lfirst(b))->since;

	return since_a < since_b ? -1 : since_a > since_b;
}

/*
 * look_back makes the slices of the lookback due that are done.
 */
static void
look_back(EtlDue *due, const EtlModel *model, List *ledger)
{
	TimestampTz from = etl_slice_before(etl_slice_now(due->slicing), model->lookback);
	ListCell   *cell;

	foreach(cell, ledger)
	{
		EtlSlice   *slice = lfirst(cell);

		if (slice->until <= from || strcmp(slice->status, "done") != 0 ||
			list_member_ptr(due->made_due, slice))
			continue;
		slice->reason = pstrdup("lookback");
		slice->name = etl_slice_text(due->slicing, slice->since, slice->until);
		due->slices = lappend(due->slices, slice);
	}
	list_sort(due->slices, compare_slices);
}

/* ---- saying it ---- */

/*
 * say tells, for people, how many slices there are, which, and why.
 */
static char *
say(const EtlSlicing *slicing, List *slices)
{
	StringInfoData text;
	List	   *reasons = NIL;
	ListCell   *cell;
	ListCell   *other;

	initStringInfo(&text);
	foreach(cell, slices)
	{
		char	   *reason = ((EtlSlice *) lfirst(cell))->reason;
		TimestampTz since = DT_NOBEGIN;
		TimestampTz until = DT_NOBEGIN;
		StringInfoData ranges;
		int			n = 0;
		int			nranges = 0;
		bool		told = false;

		foreach(other, reasons)
			told |= strcmp(lfirst(other), reason) == 0;
		if (told)
			continue;
		reasons = lappend(reasons, reason);
		initStringInfo(&ranges);
		foreach(other, slices)
		{
			EtlSlice   *slice = lfirst(other);

			if (strcmp(slice->reason, reason) != 0)
				continue;
			n++;
			if (n > 1 && slice->since == until)
			{
				until = slice->until;
				continue;
			}
			if (n > 1 && nranges++ < NAMED_RANGES)
				appendStringInfo(&ranges, "%s, ", etl_slice_text(slicing, since, until));
			since = slice->since;
			until = slice->until;
		}
		if (nranges++ < NAMED_RANGES)
			appendStringInfoString(&ranges, etl_slice_text(slicing, since, until));
		else
			appendStringInfoString(&ranges, "…");
		appendStringInfo(&text, "%s%d interval%s (%s): %s", text.len ? "; " : "", n, n == 1 ? "" : "s",
						 reason, ranges.data);
	}
	return text.data;
}

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
 * first_slice returns the slice in which the model begins: that of option
 * begin, or DT_NOEND when it has none.
 */
static TimestampTz
first_slice(const EtlModel *model, const EtlSlicing *slicing)
{
	char	   *begin = etl_json_get_text(model->options, "begin");
	TimestampTz at;

	if (begin == NULL)
		return DT_NOEND;
	at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(begin),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("option \"begin\" must be finite")));
	return etl_slice_floor(slicing, etl_slice_time(slicing, at));
}

void
etl_intervals_bounds(const EtlModel *model, EtlDue *due)
{
	due->begin = first_slice(model, due->slicing);
	due->end = etl_slice_next(due->slicing, etl_slice_floor(due->slicing, etl_slice_now(due->slicing)));
}

bool
etl_intervals_decide_first(EtlDue *due, const EtlModel *model)
{
	TimestampTz begin;

	etl_intervals_bounds(model, due);
	if (etl_slice_delta(model, due)->places == NIL)
		return false;
	begin = due->begin != DT_NOEND ? due->begin : etl_intervals_first(model->query, due->slicing, due->query);
	walk(due, model, NIL, begin, due->end, NULL);
	due->sliced = due->consume = due->check_unplaced = due->anew = true;
	if (due->made_due != NIL)
		due->plan.reason = psprintf("%s; %s", due->plan.reason, say(due->slicing, due->slices));
	return true;
}

/*
 * keyed_by_time returns a model as if its event time were its key.
 */
static EtlModel *
keyed_by_time(const EtlModel *model)
{
	EtlModel   *keyed = palloc(sizeof(EtlModel));

	*keyed = *model;
	keyed->key = list_make1(model->event_time);
	keyed->strategy = NULL;
	return keyed;
}

/*
 * seen_inputs lists the inputs whose changes etl sees; *changed tells whether
 * one of them did.
 */
static List *
seen_inputs(const EtlDue *due, bool *changed)
{
	List	   *seen = NIL;
	ListCell   *cell;

	*changed = false;
	foreach(cell, due->inputs)
	{
		EtlInput   *input = lfirst(cell);

		if (input->kind == 'r')
			continue;
		seen = lappend(seen, input);
		*changed |= etl_input_has_changed(input, due->state->inputs);
	}
	return seen;
}

void
etl_intervals_decide(EtlDue *due, const EtlModel *model, char *changes)
{
	List	   *ledger = etl_intervals_read(model->target);
	Touched    *touched = NULL;
	bool		changed;
	List	   *seen = seen_inputs(due, &changed);
	bool		told = changed && list_length(seen) == list_length(due->inputs);
	TimestampTz begin;

	etl_intervals_bounds(model, due);
	if (list_length(seen) < list_length(due->inputs) && model->lookback == NULL && model->request == NULL)
	{
		decide(due, "full", changes);
		return;
	}
	due->consume = true;
	if (changed)
	{
		due->delta = etl_delta_plan(keyed_by_time(model), due->query, seen);
		due->consume = due->delta->hindrance == NULL;
		if (due->consume)
			touched = find_touched(model, due->slicing, due->delta);
		else if (model->request == NULL)
		{
			decide(due, "full", psprintf("%s; rebuilt, since %s", changes, due->delta->hindrance));
			return;
		}
	}
	begin = due->begin;
	if (begin == DT_NOEND && ledger != NIL)
		begin = ((EtlSlice *) linitial(ledger))->since;
	if (due->begin == DT_NOEND && touched != NULL)
		begin = Min(begin, touched->first);
	walk(due, model, ledger, begin, due->end, touched);
	due->check_unplaced = touched != NULL && touched->unplaced;
	if (model->lookback != NULL && model->request == NULL && (due->slices != NIL || changes != NULL))
		look_back(due, model, ledger);

	due->sliced = true;
	if (due->slices == NIL && !changed && due->made_due == NIL)
		decide(due, "unchanged", NULL);
	else if (model->request == NULL && list_length(due->slices) > 1 &&
			 etl_slice_delta(model, due)->places == NIL)
	{
		due->sliced = false;
		decide(due, "full",
			   psprintf("%s; rebuilt, since its query cannot be cut by its event time",
						changes ? changes : say(due->slicing, due->slices)));
	}
	else if (due->slices == NIL)
		decide(due, "incremental",
			   changes ? psprintf("%s; no interval is touched", changes) :
						 pstrdup("no interval is asked for"));
	else
		decide(due, "incremental",
			   psprintf("%s%s%s", say(due->slicing, due->slices), told ? "; " : "",
						told ? changes : ""));
}
