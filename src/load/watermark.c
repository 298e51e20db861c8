/*-------------------------------------------------------------------------
 *
 * watermark.c
 *    How late events may be: the contract's watermark and what becomes of
 *    those that are later.
 *
 * An event is late when it lies more than the watermark before the greatest
 * event time that the stream's former loads have landed.  So what is late
 * does not hang on the order of records within a load.  Without former loads
 * nothing is late, and neither is what is replayed: somebody looked at it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "load/landing.h"

void
etl_watermark_read(EtlLoadOptions *options, const EtlStream *stream)
{
	const char *watermark = etl_json_get_text(stream->contract, "watermark");
	const char *late = etl_json_get_text(stream->contract, "late");

	options->watermark_ms = watermark ? etl_option_duration_ms("watermark", watermark) : -1;
	if (late != NULL && strcmp(late, "quarantine") == 0)
		options->late = ETL_LATE_QUARANTINE;
	else if (late != NULL && strcmp(late, "drop") == 0)
		options->late = ETL_LATE_DROP;
	if (late != NULL && watermark == NULL)
		ereport(
			ERROR,
			(errcode(ETL_ERR_DEFINITION), errmsg("contract key \"late\" needs a watermark"),
			 errhint("Say how late events may be: {\"watermark\": \"2 days\", \"late\": \"%s\"}.",
					 late)));
	if (options->late != ETL_LATE_ACCEPT && stream->event_time == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("stream \"%s\" needs an event time to know what is late", stream->target),
				 errhint("Pass event_time => the column that says when a record happened.")));
}

void
etl_watermark_begin(EtlLanding *landing)
{
	TimestampTz last;

	landing->watermark = DT_NOBEGIN;
	if (landing->options->watermark_ms < 0 || landing->event_attnum <= 0 || landing->replay != NULL)
		return;
	last = etl_loads_last_event(landing->stream->target);
	if (TIMESTAMP_NOT_FINITE(last))
		return;
	if (landing->event_type != TIMESTAMPTZOID)
		last = DatumGetTimestamp(
			DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum(landing->options->coerce.timezone),
								TimestampTzGetDatum(last)));
	landing->watermark = last - landing->options->watermark_ms * INT64CONST(1000);
}

/*
 * event_of returns the event time of a row; DT_NOEND: it tells none.
 */
static Timestamp
event_of(const EtlLanding *landing, TupleTableSlot *slot)
{
	int			i = landing->event_attnum - 1;
	int			overflow = 0;
	Timestamp	event;

	if (slot->tts_isnull[i])
		return DT_NOEND;
	event = landing->event_type == DATEOID ?
				date2timestamp_opt_overflow(DatumGetDateADT(slot->tts_values[i]), &overflow) :
				DatumGetTimestamp(slot->tts_values[i]);
	return overflow != 0 || TIMESTAMP_NOT_FINITE(event) ? DT_NOEND : event;
}

bool
etl_watermark_pass(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons)
{
	Timestamp	event = event_of(landing, slot);

	if (event >= landing->watermark)
		return true;
	landing->load->rows_late++;
	if (landing->options->late == ETL_LATE_QUARANTINE)
		etl_reasons_add(reasons, "watermark", landing->stream->event_time, NULL,
						psprintf("event is more than %s older than the latest of former loads",
								 etl_json_get_text(landing->stream->contract, "watermark")));
	return landing->options->late == ETL_LATE_ACCEPT;
}

void
etl_watermark_end(const EtlLanding *landing)
{
	static const char *const became[] = {"accepted", "rejected", "dropped"};
	const EtlLoad *load = landing->load;

	if (load->rows_late > 0)
		etl_log_store("warning", load->run_id, load->target,
					  psprintf(INT64_FORMAT " of " INT64_FORMAT
											" records of %s were %s: later than the watermark",
							   load->rows_late, load->rows_read, load->origin,
							   became[landing->options->late]),
					  NULL);
}
