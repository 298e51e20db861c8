/*-------------------------------------------------------------------------
 *
 * event_time.c
 *    How far the events of a load reach: the greatest event time it landed.
 *
 * Kept while rows pass, so that etl.freshness needs no scan.  Only dates and
 * timestamps tell a moment; infinite ones tell nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "load/landing.h"

void
etl_event_time_begin(EtlLanding *landing)
{
	Oid			relid = RelationGetRelid(landing->rel);
	const char *column = landing->stream->event_time;

	landing->event_attnum = column ? get_attnum(relid, column) : InvalidAttrNumber;
	landing->event_type = landing->event_attnum > 0 ? get_atttype(relid, landing->event_attnum) : InvalidOid;
	if (landing->event_type != DATEOID && landing->event_type != TIMESTAMPOID &&
		landing->event_type != TIMESTAMPTZOID)
		landing->event_attnum = InvalidAttrNumber;
	landing->last_event = DT_NOBEGIN;
}

/*
 * note_datum widens the reach of the load by one value.  Values without a
 * zone are compared as they are.
 */
static void
note_datum(EtlLanding *landing, Datum value)
{
	int			overflow = 0;
	Timestamp	event = landing->event_type == DATEOID ?
						  date2timestamp_opt_overflow(DatumGetDateADT(value), &overflow) :
						  DatumGetTimestamp(value);

	if (overflow == 0 && !TIMESTAMP_NOT_FINITE(event) && event > landing->last_event)
		landing->last_event = event;
}

void
etl_event_time_note(EtlLanding *landing, TupleTableSlot *slot)
{
	if (landing->event_attnum > 0 && !slot->tts_isnull[landing->event_attnum - 1])
		note_datum(landing, slot->tts_values[landing->event_attnum - 1]);
}

void
etl_event_time_note_tuple(EtlLanding *landing, HeapTuple tuple)
{
	bool		isnull;
	Datum		value;

	if (landing->event_attnum <= 0)
		return;
	value = heap_getattr(tuple, landing->event_attnum, RelationGetDescr(landing->rel), &isnull);
	if (!isnull)
		note_datum(landing, value);
}

void
etl_event_time_recount(EtlLanding *landing)
{
	const char *column;
	bool		isnull;
	Datum		value;

	if (landing->event_attnum <= 0)
		return;
	landing->last_event = DT_NOBEGIN;

	/* the rows of a replay carry the numbers of other loads: rather nothing than too much */
	if (landing->replay != NULL)
		return;
	column = quote_identifier(landing->stream->event_time);
	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.max(%s) FROM %s WHERE %s OPERATOR(pg_catalog.=) " INT64_FORMAT
							 " AND pg_catalog.isfinite(%s)",
							 column, landing->stream->target,
							 ETL_LOAD_ID_COLUMN, landing->load->load_id, column),
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the event times of \"%s\"", landing->stream->target);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		note_datum(landing, value);
	SPI_finish();
}

TimestampTz
etl_event_time_end(const EtlLanding *landing)
{
	Timestamp	event = landing->last_event;

	if (event == DT_NOBEGIN || landing->event_type == TIMESTAMPTZOID)
		return event;
	return DatumGetTimestampTz(
		DirectFunctionCall2(timestamp_zone, CStringGetTextDatum(landing->options->coerce.timezone),
							TimestampGetDatum(event)));
}
