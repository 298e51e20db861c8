/*-------------------------------------------------------------------------
 *
 * coerce_datetime.c
 *    Dates and timestamps from text in ISO 8601.
 *
 * The common form takes the fast path.  The others mean what the standard
 * says, where PostgreSQL does not know them or would read them otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

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
 * set_datetime makes a date, timestamp or timestamptz of what was read.
 */
static Datum
set_datetime(const EtlCoercer *coercer, const EtlIsoTime *iso)
{
	Timestamp	local;

	if (coercer->type == DATEOID)
		return DateADTGetDatum(etl_iso_time_date(iso));
	local = etl_iso_time_local(iso);
	if (coercer->type == TIMESTAMPTZOID)
		local -= (iso->has_zone ? iso->zone : zone_of(coercer, iso)) * USECS_PER_SEC;
	return TimestampGetDatum(round_to(local, coercer->typmod));
}

/*
 * etl_coerce_datetime_fast makes a date, timestamp or timestamptz; false
 * when the input function must look at the text.
 */
bool
etl_coerce_datetime_fast(const EtlCoercer *coercer, const char *text, int length, Datum *datum)
{
	EtlIsoTime	iso;

	if (!etl_iso_time_parse(text, length, &iso) || iso.rounded)
		return false;
	*datum = set_datetime(coercer, &iso);
	return true;
}

/*
 * has_second_60 finds hh:mm:60 anywhere in a text.
 */
static bool
has_second_60(const char *text)
{
	for (const char *p = text; (p = strstr(p, ":60")) != NULL; p++)
		if (!isdigit((unsigned char) p[3]) && p - text >= 4 && isdigit((unsigned char) p[-1]) &&
			isdigit((unsigned char) p[-2]) && p[-3] == ':')
			return true;
	return false;
}

/*
 * etl_coerce_datetime_form makes a date, time or timestamp of any form of ISO
 * 8601; false when the text has none of them.  '*reason' tells why one of
 * them, or what PostgreSQL reads besides, is refused.  '*text' may become
 * another one for the input function.
 */
bool
etl_coerce_datetime_form(const EtlCoercer *coercer, const char **text, int length, Datum *datum,
						 const char **reason)
{
	bool		of_day = coercer->type == TIMEOID || coercer->type == TIMETZOID;
	EtlIsoTime	iso;
	EtlIsoFault fault = ETL_ISO_NO_FAULT;
	bool		read = of_day ? etl_iso_form_read_time(*text, length, &iso, &fault) :
						 etl_iso_form_read(*text, length, &iso, &fault);

	if (fault == ETL_ISO_LEAP_SECOND || (!read && has_second_60(*text)))
		*reason = psprintf("\"%s\" is a leap second, which no timestamp stands for",
						   etl_coerce_shown(*text, length));
	else if (fault != ETL_ISO_NO_FAULT)
		*reason = psprintf("date/time field value out of range: \"%s\"",
						   etl_coerce_shown(*text, length));
	else if (!read)
		return false;
	else if (of_day)
	{
		char		zone[16] = "";

		if (iso.has_zone)
			snprintf(zone, sizeof(zone), "%c%02d:%02d", iso.zone < 0 ? '-' : '+',
					 abs(iso.zone) / 3600, abs(iso.zone) / 60 % 60);
		*text = psprintf("%02d:%02d:%02d.%06d%s", (int) (iso.time / USECS_PER_HOUR),
						 (int) (iso.time / USECS_PER_MINUTE % 60),
						 (int) (iso.time / USECS_PER_SEC % 60), (int) (iso.time % USECS_PER_SEC), zone);
		return false;
	}
	else
		*datum = set_datetime(coercer, &iso);
	return true;
}
