/*-------------------------------------------------------------------------
 *
 * coerce_datetime.c
 *    Dates and timestamps from text in ISO 8601, the fast path.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "common/iso_time.h"
#include "load/coercer.h"

/*
 * zone_of finds the offset of the column's zone at a local time, in seconds
 * east of UTC.
 */
static int
zone_of(const EtlCoercer *coercer, const EtlIsoTime *iso)
{
	struct pg_tm tm;
	int			seconds = iso->time / USECS_PER_SEC;

	if (coercer->utc)
		return 0;
	memset(&tm, 0, sizeof(tm));
	tm.tm_year = iso->year;
	tm.tm_mon = iso->month;
	tm.tm_mday = iso->day;
	tm.tm_hour = seconds / 3600;
	tm.tm_min = seconds / 60 % 60;
	tm.tm_sec = seconds % 60;
	tm.tm_isdst = -1;
	return -DetermineTimeZoneOffset(&tm, coercer->timezone);
}

/*
 * round_to drops digits that timestamp(n) does not keep.
 */
static Timestamp
round_to(Timestamp time, int32 typmod)
{
	static const int64 units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	int64		unit;

	if (typmod < 0 || typmod >= 6)
		return time;
	unit = units[typmod];
	return time >= 0 ? (time + unit / 2) / unit * unit : -((-time + unit / 2) / unit * unit);
}

/*
 * etl_coerce_datetime_fast makes a date, timestamp or timestamptz; false
 * when the input function must look at the text.
 */
bool
etl_coerce_datetime_fast(const EtlCoercer *coercer, const char *text, int length, Datum *datum)
{
	EtlIsoTime	iso;
	Timestamp	local;

	if (!etl_iso_time_parse(text, length, &iso) || iso.rounded)
		return false;
	if (coercer->type == DATEOID)
	{
		*datum = DateADTGetDatum(etl_iso_time_date(&iso));
		return true;
	}
	local = etl_iso_time_local(&iso);
	if (coercer->type == TIMESTAMPTZOID)
		local -= (iso.has_zone ? iso.zone : zone_of(coercer, &iso)) * USECS_PER_SEC;
	*datum = TimestampGetDatum(round_to(local, coercer->typmod));
	return true;
}
