/*-------------------------------------------------------------------------
 *
 * iso_time.c
 *    The common form of dates and timestamps: ISO 8601, and nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/iso_time.h"

/*
 * digits reads exactly 'n' digits; -1 when they are not.
 */
static inline int
digits(const char *p, int n)
{
	int			value = 0;

	for (; n > 0; n--, p++)
	{
		unsigned	digit = (unsigned char) *p - '0';

		if (digit > 9)
			return -1;
		value = value * 10 + digit;
	}
	return value;
}

static inline int
days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	return days[month - 1];
}

/*
 * read_zone reads Z, ±HH, ±HHMM or ±HH:MM up to 'end'.
 */
static bool
read_zone(const char *p, const char *end, EtlIsoTime *result)
{
	int			hours;
	int			minutes = 0;

	result->has_zone = true;
	if (end - p == 1 && (*p == 'Z' || *p == 'z'))
		return true;
	if ((*p != '+' && *p != '-') || end - p < 3)
		return false;
	hours = digits(p + 1, 2);
	if (end - p == 5)
		minutes = digits(p + 3, 2);
	else if (end - p == 6 && p[3] == ':')
		minutes = digits(p + 4, 2);
	else if (end - p != 3)
		return false;
	if (hours < 0 || hours > 15 || minutes < 0 || minutes > 59)
		return false;
	result->zone = (hours * 60 + minutes) * 60;
	if (*p == '-')
		result->zone = -result->zone;
	return true;
}

/*
 * read_time reads HH:MM[:SS[.f…]] and a zone.
 */
static bool
read_time(const char *p, const char *end, EtlIsoTime *result)
{
	int			hour;
	int			minute;
	int			second = 0;
	int64		fraction = 0;

	if (end - p < 5 || p[2] != ':')
		return false;
	hour = digits(p, 2);
	minute = digits(p + 3, 2);
	p += 5;
	if (end - p >= 3 && *p == ':')
	{
		second = digits(p + 1, 2);
		p += 3;
		if (p < end && (*p == '.' || *p == ','))
		{
			int			n = 0;

			for (p++; p < end && *p >= '0' && *p <= '9'; p++, n++)
				if (n < 6)
					fraction = fraction * 10 + (*p - '0');
			if (n == 0 || n > 9)
				return false;
			result->rounded = n > 6;
			for (; n < 6; n++)
				fraction *= 10;
		}
	}
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	result->has_time = true;
	result->time = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC + fraction;
	return p == end || read_zone(p, end, result);
}

/*
 * etl_iso_time_is_date tells whether the calendar has a day.
 */
bool
etl_iso_time_is_date(int year, int month, int day)
{
	return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days_in_month(year, month);
}

bool
etl_iso_time_parse(const char *text, int length, EtlIsoTime *result)
{
	if (length < 10 || length > 40 || text[4] != '-' || text[7] != '-')
		return false;
	result->year = digits(text, 4);
	result->month = digits(text + 5, 2);
	result->day = digits(text + 8, 2);
	if (!etl_iso_time_is_date(result->year, result->month, result->day))
		return false;
	result->has_time = result->has_zone = result->rounded = false;
	result->time = 0;
	result->zone = 0;
	if (length == 10)
		return true;
	return (text[10] == 'T' || text[10] == ' ' || text[10] == 't') &&
		   read_time(text + 11, text + length, result);
}

int32
etl_iso_time_date(const EtlIsoTime *iso)
{
	/* days from civil, counted from March so that the leap day is last */
	int			y = iso->month <= 2 ? iso->year - 1 : iso->year;
	int			era = y / 400;
	int			of_era = y - era * 400;
	int			of_year = (153 * (iso->month + (iso->month > 2 ? -3 : 9)) + 2) / 5 + iso->day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 730425;
}

Timestamp
etl_iso_time_local(const EtlIsoTime *iso)
{
	return (Timestamp) etl_iso_time_date(iso) * USECS_PER_DAY + iso->time;
}
