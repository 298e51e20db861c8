/*-------------------------------------------------------------------------
 *
 * held.c
 *    Records that wait for coercions which may raise.
 *
 * Types whose input function may raise wait in a batch of held records that
 * is coerced in one subtransaction (which writes nothing and so costs no
 * xid), and by halves only when it failed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "load/land.h"

typedef struct HeldRange
{
	EtlLanding *landing;
	int			first;
	int			last;
	int			column;			/* only this column, -1: all */
} HeldRange;

/*
 * coerce_range coerces the hard columns of held records.  'arg' is a
 * HeldRange.
 */
static void
coerce_range(void *arg)
{
	HeldRange  *range = arg;
	EtlLanding *landing = range->landing;
	MemoryContext old = MemoryContextSwitchTo(landing->state->held_context);

	for (int h = range->first; h < range->last; h++)
	{
		EtlHeld    *held = &landing->state->held[h];

		for (int f = 0; f < held->record.nvalues && !held->bad; f++)
		{
			int			c = landing->map[f];

			if (c < 0 || landing->columns[c].soft || held->record.values[f].kind == ETL_VALUE_NULL ||
				(range->column >= 0 && c != range->column))
				continue;
			held->reasons[c] = etl_coerce(landing->columns[c].coercer, &held->record.values[f],
										  &held->values[c], &held->nulls[c]);
		}
	}
	MemoryContextSwitchTo(old);
}

/*
 * blame_columns coerces the hard columns of one record one by one and keeps
 * the message of each that raises as its reason.
 */
static void
blame_columns(EtlLanding *landing, int h)
{
	for (int c = 0; c < landing->ncolumns; c++)
	{
		HeldRange	range = {landing, h, h + 1, c};
		ErrorData  *error;

		if (landing->columns[c].soft)
			continue;
		error = etl_subxact(coerce_range, &range);
		if (error == NULL)
			continue;
		/* not the value's fault */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR)
			etl_rethrow(error);
		landing->state->held[h].reasons[c] = error->message;
	}
}

/*
 * coerce_held coerces a range, halving it where values raise.
 */
static void
coerce_held(EtlLanding *landing, int first, int last)
{
	HeldRange	range = {landing, first, last, -1};

	CHECK_FOR_INTERRUPTS();
	if (etl_subxact(coerce_range, &range) == NULL)
		return;
	if (last - first == 1)
	{
		blame_columns(landing, first);
		return;
	}
	coerce_held(landing, first, (first + last) / 2);
	coerce_held(landing, (first + last) / 2, last);
}

/*
 * etl_held_land lands the held records and writes them, since their values live
 * in the context that is reset here.
 */
void
etl_held_land(EtlLanding *landing)
{
	struct EtlLandingState *state = landing->state;
	MemoryContext old;

	if (state->nheld == 0)
		return;
	old = MemoryContextSwitchTo(state->held_context);
	coerce_held(landing, 0, state->nheld);
	MemoryContextSwitchTo(landing->batch);
	for (int h = 0; h < state->nheld; h++)
		etl_land_record(landing, &state->held[h].record, state->held[h].bad, &state->held[h]);
	MemoryContextSwitchTo(old);
	etl_load_writer_flush(landing->writer);
	state->nheld = 0;
	MemoryContextReset(state->held_context);
}

/*
 * etl_held_add copies a record until its batch is coerced.
 */
void
etl_held_add(EtlLanding *landing, const EtlRecord *record, bool bad)
{
	struct EtlLandingState *state = landing->state;
	MemoryContext old = MemoryContextSwitchTo(state->held_context);
	EtlHeld    *held;

	if (record->nvalues > landing->nmapped && !bad)
		etl_drift_map(landing, record->nvalues);
	if (state->nheld == 0)
		state->held = palloc(sizeof(EtlHeld) * ETL_BATCH_ROWS);
	held = &state->held[state->nheld++];
	held->record = *record;
	held->bad = bad;
	held->record.raw = memcpy(palloc(record->raw_length + 1), record->raw, record->raw_length);
	if (bad)
	{
		held->record.problem = pstrdup(record->problem);
		held->record.raw_sha256 = record->raw_sha256 ? pstrdup(record->raw_sha256) : NULL;
		held->record.problem_code = pstrdup(record->problem_code);
		held->record.problem_field = record->problem_field ? pstrdup(record->problem_field) : NULL;
	}
	else
	{
		held->record.values = palloc(sizeof(EtlValue) * Max(record->nvalues, 1));
		for (int f = 0; f < record->nvalues; f++)
		{
			EtlValue   *value = &held->record.values[f];

			*value = record->values[f];
			value->roomy = false;
			if (value->kind != ETL_VALUE_NULL)
			{
				value->text = palloc(value->length + 1);
				memcpy(value->text, record->values[f].text, value->length);
				value->text[value->length] = '\0';
			}
		}
		held->values = palloc0(sizeof(Datum) * landing->ncolumns);
		held->nulls = palloc0(sizeof(bool) * landing->ncolumns);
		held->reasons = palloc0(sizeof(char *) * landing->ncolumns);
	}
	MemoryContextSwitchTo(old);
}
