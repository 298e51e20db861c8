/*-------------------------------------------------------------------------
 *
 * increment.c
 *    Values that grow: numbers, dates, timestamps, or text.
 *
 * Values keep the notation of the server.  Two numbers compare as numbers,
 * two ISO 8601 dates or timestamps as moments (UTC where they name no zone),
 * all else byte by byte.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "common/options.h"
#include "connector/http/increment.h"

/*
 * is_number tells whether a text is a decimal number.
 */
static bool
is_number(const char *text)
{
	const char *p = text + (*text == '-' ? 1 : 0);
	size_t		digits = strspn(p, "0123456789");

	if (digits == 0)
		return false;
	p += digits;
	if (*p == '.')
	{
		digits = strspn(p + 1, "0123456789");
		if (digits == 0)
			return false;
		p += 1 + digits;
	}
	return *p == '\0' && strlen(text) < 100;
}

static Numeric
to_number(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/*
 * has_zone tells whether an ISO timestamp ends with Z or an offset.
 */
static bool
has_zone(const char *text)
{
	const char *time = strpbrk(text, "T ");

	return time != NULL && strpbrk(time, "Zz+-") != NULL;
}

/*
 * read_moment calls the type's input function, which is pure; false when it
 * raises.
 */
static bool
read_moment(const char *text, TimestampTz *moment)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		*moment = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
														  ObjectIdGetDatum(InvalidOid),
														  Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

/*
 * to_moment reads an ISO 8601 date or timestamp; false when it is none.
 */
static bool
to_moment(const char *text, TimestampTz *moment)
{
	static const char shape[] = "dddd-dd-dd";

	if (strlen(text) < 10 || strlen(text) > 40)
		return false;
	for (int i = 0; i < 10; i++)
		if (shape[i] == 'd' ? !isdigit((unsigned char) text[i]) : text[i] != shape[i])
			return false;
	if (text[10] != '\0' && text[10] != 'T' && text[10] != ' ')
		return false;

	/* zone-less is UTC, never the session's zone */
	return read_moment(has_zone(text) ? text : psprintf("%s UTC", text), moment) &&
		   !TIMESTAMP_NOT_FINITE(*moment);
}

char *
http_increment_greater(char *a, const char *b)
{
	TimestampTz left;
	TimestampTz right;
	bool		greater;

	if (a == NULL)
		return pstrdup(b);
	if (is_number(a) && is_number(b))
		greater = DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(to_number(b)),
												   NumericGetDatum(to_number(a))));
	else if (to_moment(a, &left) && to_moment(b, &right))
		greater = right > left;
	else
		greater = strcmp(b, a) > 0;
	return greater ? pstrdup(b) : a;
}

/*
 * show_moment writes a moment in the notation of 'like'.
 */
static char *
show_moment(TimestampTz moment, const char *like)
{
	struct pg_tm tm;
	fsec_t		fsec;
	const char *fraction = "";

	if (timestamp2tm(moment, NULL, &tm, &fsec, NULL, NULL) != 0)
		return pstrdup(like);
	if (like[10] == '\0')
		return psprintf("%04d-%02d-%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
	if (fsec != 0)
		fraction = psprintf(".%06d", (int) fsec);
	return psprintf("%04d-%02d-%02d%c%02d:%02d:%02d%s%s", tm.tm_year, tm.tm_mon, tm.tm_mday,
					like[10], tm.tm_hour, tm.tm_min, tm.tm_sec, fraction, has_zone(like) ? "Z" : "");
}

char *
http_increment_look_back(char *value, const char *lookback)
{
	TimestampTz moment;
	Numeric		less;

	if (lookback == NULL)
		return value;
	if (is_number(value))
	{
		/* of seconds, or milliseconds, since 1970 when the lookback is an interval */
		if (is_number(lookback))
			less = to_number(lookback);
		else if (strtod(value, NULL) < 1e11)
			less = int64_to_numeric(etl_option_duration_ms("lookback", lookback) / 1000);
		else
			less = int64_to_numeric(etl_option_duration_ms("lookback", lookback));
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   DirectFunctionCall2(numeric_sub,
																	   NumericGetDatum(to_number(value)),
																	   NumericGetDatum(less))));
	}
	if (is_number(lookback) || !to_moment(value, &moment))
		return value;
	moment -= etl_option_duration_ms("lookback", lookback) * 1000;
	return show_moment(moment, value);
}
