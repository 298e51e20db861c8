/*-------------------------------------------------------------------------
 *
 * slice.c
 *    Time cut into slices: where each begins, and how it is written.
 *
 * Slices of months and days begin at local midnight, whatever the clocks do
 * that day; those of a shorter time are all equally long, counted from a
 * local midnight.  Slices of seven days begin on Mondays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "common/clock.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "model/slice.h"

/* what is longer begins or ends where there are no timestamps */
#define MAX_BATCH_YEARS 1000

/* a Monday, from which days are counted */
#define ORIGIN_YEAR 2001

bool
etl_model_has_slices(const EtlModel *model)
{
	return model->batch_size != NULL && model->event_time != NULL &&
		   strcmp(model->materialized, "incremental") == 0;
}

/*
 * is_plain tells whether an interval is one of months, days, or time alone.
 */
static bool
is_plain(const Interval *span)
{
	int			parts = (span->month != 0) + (span->day != 0) + (span->time != 0);

	return parts == 1 && span->month >= 0 && span->day >= 0 && span->time >= 0;
}

/*
 * judge_begin raises an error for what is no timestamp; an argument of
 * etl_option_judge.
 */
static void
judge_begin(void *begin)
{
	(void) DirectFunctionCall3(timestamptz_in, CStringGetDatum(begin), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

void
etl_slicing_check(const EtlModel *model)
{
	char	   *begin = etl_json_get_text(model->options, "begin");

	if ((model->batch_size != NULL || model->lookback != NULL || begin != NULL) &&
		strcmp(model->materialized, "incremental") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("batch_size, lookback and option begin are for incremental models only"),
				 errhint("Leave them out, or define the model as incremental.")));
	if (model->batch_size == NULL && (model->lookback != NULL || begin != NULL))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("lookback and option begin need a batch_size"),
				 errdetail("Without it an incremental model follows what changed in its inputs, "
						   "however late."),
				 errhint("Give batch_size, such as '1 day', or leave them out.")));
	if (model->batch_size == NULL)
		return;
	if (model->event_time == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("batch_size needs an event_time"),
				 errhint("Name the column of the query that tells when, such as event_time => 'at'.")));
	if (!is_plain(model->batch_size))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("batch_size must be positive, and months, days or time alone"),
				 errhint("For example '1 month', '7 days' or '6 hours'.")));
	if (model->batch_size->month > MAX_BATCH_YEARS * 12 || model->batch_size->day > MAX_BATCH_YEARS * 366 ||
		model->batch_size->time > MAX_BATCH_YEARS * 366 * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("batch_size must be at most %d years", MAX_BATCH_YEARS),
				 errhint("Leave it out: then the model follows what changed in its inputs.")));
	if (model->lookback != NULL &&
		(model->lookback->month < 0 || model->lookback->day < 0 || model->lookback->time < 0))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("lookback must not be negative"),
				 errhint("For example lookback => '3 days'.")));
	if (begin != NULL)
		etl_option_judge("begin", "model", judge_begin, begin);
}

EtlSlicing *
etl_slicing_of(const EtlModel *model, Query *query)
{
	EtlSlicing *slicing = palloc0(sizeof(EtlSlicing));
	char	   *zone = etl_json_get_text(model->settings, "TimeZone");
	ListCell   *cell;

	slicing->column = model->event_time;
	slicing->batch = model->batch_size;
	slicing->zone = zone ? pg_tzset(zone) : NULL;
	if (slicing->zone == NULL)
		slicing->zone = pg_tzset("UTC");
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (!entry->resjunk && strcmp(entry->resname, model->event_time) == 0)
		{
			slicing->resno = entry->resno;
			slicing->type = exprType((Node *) entry->expr);
		}
	}
	if (slicing->resno == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("event_time column \"%s\" is not a column of the query", model->event_time),
				 errhint("Let the query yield it: intervals are cut by it.")));
	slicing->base = getBaseType(slicing->type);
	slicing->wall = slicing->base != TIMESTAMPTZOID;
	if (slicing->base != DATEOID && slicing->base != TIMESTAMPOID && slicing->base != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("event_time column \"%s\" is of type %s, which batch_size cannot cut",
						model->event_time, format_type_be(slicing->type)),
				 errhint("Make it a timestamptz, timestamp or date.")));
	if (slicing->base == DATEOID && slicing->batch->time != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("event_time column \"%s\" is a date, so batch_size must be days or months",
						model->event_time)));
	return slicing;
}

/* ---- arithmetic ---- */

/*
 * floor_div divides, rounding down.
 */
static int64
floor_div(int64 a, int64 b)
{
	return a / b - (a % b < 0);
}

/*
 * midnight returns when a day begins.
 */
static TimestampTz
midnight(const EtlSlicing *slicing, int day)
{
	struct pg_tm tm = {0};
	Timestamp	at;
	int			offset;

	if (slicing->wall)
		return (int64) (day - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
	j2date(day, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	offset = DetermineTimeZoneOffset(&tm, slicing->zone);
	if (tm2timestamp(&tm, 0, &offset, &at) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	return at;
}

/*
 * day_of returns the day of an instant.
 */
static int
day_of(const EtlSlicing *slicing, TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (slicing->wall)
		return (int) floor_div(at, USECS_PER_DAY) + POSTGRES_EPOCH_JDATE;
	if (timestamp2tm(at, &offset, &tm, &fsec, NULL, slicing->zone) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
}

/*
 * begin_of returns when slice number 'n' of months or days begins.
 */
static TimestampTz
begin_of(const EtlSlicing *slicing, int64 n)
{
	if (slicing->batch->month != 0)
	{
		int64		months = n * slicing->batch->month;
		int			year = (int) floor_div(months, 12);

		return midnight(slicing, date2j(year, (int) (months - (int64) year * 12) + 1, 1));
	}
	return midnight(slicing, date2j(ORIGIN_YEAR, 1, 1) + (int) (n * slicing->batch->day));
}

/*
 * number_of returns the number of the slice of months or days that a day
 * lies in.
 */
static int64
number_of(const EtlSlicing *slicing, int day)
{
	int			year;
	int			month;
	int			mday;

	if (slicing->batch->month == 0)
		return floor_div(day - date2j(ORIGIN_YEAR, 1, 1), slicing->batch->day);
	j2date(day, &year, &month, &mday);
	return floor_div((int64) year * 12 + month - 1, slicing->batch->month);
}

TimestampTz
etl_slice_floor(const EtlSlicing *slicing, TimestampTz at)
{
	int64		n;

	if (slicing->batch->time != 0)
	{
		TimestampTz origin = midnight(slicing, date2j(ORIGIN_YEAR, 1, 1));

		return origin + floor_div(at - origin, slicing->batch->time) * slicing->batch->time;
	}
	n = number_of(slicing, day_of(slicing, at));
	/* where clocks go back over midnight a day's last hour comes after it */
	return begin_of(slicing, n) > at ? begin_of(slicing, n - 1) : begin_of(slicing, n);
}

TimestampTz
etl_slice_next(const EtlSlicing *slicing, TimestampTz since)
{
	if (slicing->batch->time != 0)
		return since + slicing->batch->time;
	return begin_of(slicing, number_of(slicing, day_of(slicing, since)) + 1);
}

TimestampTz
etl_slice_time(const EtlSlicing *slicing, TimestampTz instant)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (!slicing->wall || TIMESTAMP_NOT_FINITE(instant))
		return instant;
	if (timestamp2tm(instant, &offset, &tm, &fsec, NULL, slicing->zone) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	return instant - (int64) offset * USECS_PER_SEC;
}

TimestampTz
etl_slice_now(const EtlSlicing *slicing)
{
	return etl_slice_time(slicing, etl_now());
}

TimestampTz
etl_slice_before(TimestampTz at, const Interval *span)
{
	/* as of a clock in UTC: an hour more or less lies in the slice anyway, or in the next */
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_mi_interval, TimestampGetDatum(at),
												 IntervalPGetDatum(span)));
}

bool
etl_slice_value(const EtlSlicing *slicing, Datum value, TimestampTz *at)
{
	if (slicing->base == DATEOID)
	{
		DateADT		date = DatumGetDateADT(value);

		*at = (int64) date * USECS_PER_DAY;
		return !DATE_NOT_FINITE(date) && IS_VALID_TIMESTAMP(*at);
	}
	*at = DatumGetTimestampTz(value);
	return !TIMESTAMP_NOT_FINITE(*at);
}

/* ---- text ---- */

/*
 * write_time renders an instant by a zone's clock, NULL: that of UTC.
 */
static char *
write_time(TimestampTz at, pg_tz *zone, bool with_zone, bool *midnight)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset = 0;
	char		text[MAXDATELEN + 1];

	if (timestamp2tm(at, zone ? &offset : NULL, &tm, &fsec, NULL, zone) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	*midnight = tm.tm_hour == 0 && tm.tm_min == 0 && tm.tm_sec == 0 && fsec == 0;
	tm.tm_isdst = 0;
	EncodeDateTime(&tm, fsec, with_zone, offset, NULL, USE_ISO_DATES, text);
	return pstrdup(text);
}

char *
etl_slice_literal(Oid type, TimestampTz at)
{
	Oid			base = getBaseType(type);
	bool		midnight;

	return psprintf("'%s'::pg_catalog.%s", write_time(at, NULL, base == TIMESTAMPTZOID, &midnight),
					base == DATEOID ? "date" : base == TIMESTAMPOID ? "timestamp" :
																	  "timestamptz");
}

char *
etl_slice_text(const EtlSlicing *slicing, TimestampTz since, TimestampTz until)
{
	pg_tz	   *zone = slicing->wall ? NULL : slicing->zone;
	bool		whole[2];
	char	   *from = write_time(since, zone, !slicing->wall, &whole[0]);
	char	   *to = write_time(until, zone, !slicing->wall, &whole[1]);

	if (whole[0] && whole[1])
	{
		/* of years with more than four digits, too */
		*strchr(from, ' ') = '\0';
		*strchr(to, ' ') = '\0';
	}
	return psprintf("[%s, %s)", from, to);
}
