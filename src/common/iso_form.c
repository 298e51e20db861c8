/*-------------------------------------------------------------------------
 *
 * iso_form.c
 *    Every form of ISO 8601 in which a date or a point in time is written.
 *
 * Calendar, week and ordinal dates, extended and basic; hours, minutes or
 * seconds with a fraction of the last, behind a point or a comma; 24:00 as
 * the end of a day.  A text of such a form means this and nothing else:
 * PostgreSQL would take 12:30.5 for twelve minutes, and 1990101 for the year
 * 199.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/iso_time.h"

#define MAX_FORM 80

/*
 * count_digits counts the digits from 'p' on.
 */
static int
count_digits(const char *p, const char *end)
{
	const char *q = p;

	while (q < end && *q >= '0' && *q <= '9')
		q++;
	return q - p;
}

/*
 * number reads 'n' digits that are there.
 */
static int
number(const char *p, int n)
{
	int			value = 0;

	for (; n > 0; n--, p++)
		value = value * 10 + (*p - '0');
	return value;
}

static bool
is_leap_year(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/*
 * set_ordinal makes a calendar date of the day of a year; days before the
 * first and behind the last belong to the neighbouring years, as those of
 * weeks may.
 */
static void
set_ordinal(EtlIsoTime *result, int year, int day)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			month = 0;

	if (day < 1)
		day += 365 + is_leap_year(--year);
	else if (day > 365 + is_leap_year(year))
		day -= 365 + is_leap_year(year++);
	for (;; month++)
	{
		int			length = days[month] + (month == 1 && is_leap_year(year));

		if (day <= length)
			break;
		day -= length;
	}
	result->year = year;
	result->month = month + 1;
	result->day = day;
}

/*
 * set_week makes a calendar date of a week and its day, Monday being 1; false
 * when the year has no such week.
 */
static bool
set_week(EtlIsoTime *result, int year, int week, int day)
{
	EtlIsoTime	first = {.year = year, .month = 1, .day = 1};
	int			weekday;		/* of January 1st, Monday being 0 */
	int			weeks;

	/* 2000-01-01 was a Saturday */
	weekday = ((etl_iso_time_date(&first) + 5) % 7 + 7) % 7;
	weeks = weekday == 3 || (weekday == 2 && is_leap_year(year)) ? 53 : 52;
	if (week < 1 || week > weeks || day < 1 || day > 7)
		return false;
	/* week 1 is the one with the first Thursday */
	set_ordinal(result, year, (week - 1) * 7 + day - weekday + (weekday > 3 ? 7 : 0));
	return true;
}

/*
 * read_date reads the date at the beginning; NULL when there is none in any
 * of these forms.  '*exists' tells whether the calendar has it.
 */
static const char *
read_date(const char *p, const char *end, EtlIsoTime *result, bool *exists)
{
	int			n = count_digits(p, end);
	int			year = n >= 4 ? number(p, 4) : 0;
	bool		extended = n == 4 && end - p > 4 && p[4] == '-';
	int			day = 0;

	if (year == 0)
		return NULL;
	*exists = true;
	if (n == 8)
	{
		result->year = year;
		result->month = number(p + 4, 2);
		result->day = number(p + 6, 2);
		*exists = etl_iso_time_is_date(year, result->month, result->day);
		return p + 8;
	}
	if (n == 7)
		day = number(p + 4, 3), p += 7;
	else if (n != 4)
		return NULL;
	else
	{
		p += 4 + extended;
		n = count_digits(p, end);
		if (p < end && (*p == 'W' || *p == 'w'))
		{
			n = count_digits(p + 1, end);
			if (n == 3 && !extended)
				*exists = set_week(result, year, number(p + 1, 2), number(p + 3, 1));
			else if (n == 2 && extended && p + 3 < end && p[3] == '-' && count_digits(p + 4, end) == 1)
				*exists = set_week(result, year, number(p + 1, 2), number(p + 4, 1));
			else
				return NULL;
			return p + (extended ? 5 : 4);
		}
		if (!extended)
			return NULL;
		if (n == 2 && p + 2 < end && p[2] == '-' && count_digits(p + 3, end) == 2)
		{
			result->year = year;
			result->month = number(p, 2);
			result->day = number(p + 3, 2);
			*exists = etl_iso_time_is_date(year, result->month, result->day);
			return p + 5;
		}
		if (n != 3)
			return NULL;
		day = number(p, 3);
		p += 3;
	}
	*exists = day >= 1 && day <= 365 + is_leap_year(year);
	if (*exists)
		set_ordinal(result, year, day);
	return p;
}

/*
 * read_zone reads Z, ±HH, ±HHMM or ±HH:MM up to the end; false for others.
 */
static bool
read_zone(const char *p, const char *end, EtlIsoTime *result, bool *exists)
{
	int			n;
	int			hours;
	int			minutes = 0;

	result->has_zone = true;
	if (end - p == 1 && (*p == 'Z' || *p == 'z'))
		return true;
	n = count_digits(p + 1, end);
	if ((*p != '+' && *p != '-') || (n != 2 && n != 4))
		return false;
	hours = number(p + 1, 2);
	if (n == 4 && end - p == 5)
		minutes = number(p + 3, 2);
	else if (n == 2 && end - p == 6 && p[3] == ':' && count_digits(p + 4, end) == 2)
		minutes = number(p + 4, 2);
	else if (n != 2 || end - p != 3)
		return false;
	*exists = *exists && hours <= 15 && minutes <= 59;
	result->zone = (hours * 60 + minutes) * (*p == '-' ? -60 : 60);
	return true;
}

/*
 * read_time reads a time of day and a zone up to the end; false when there is
 * something else.  Without 'designator', the T, a colon must tell that it is
 * a time.
 */
static bool
read_time(const char *p, const char *end, bool designator, EtlIsoTime *result, EtlIsoFault *fault)
{
	static const double units[] = {3600e6, 60e6, 1e6};
	int			fields[3] = {0, 0, 0};
	int			n = count_digits(p, end);
	int			last = 0;
	double		fraction = 0;
	bool		exists = true;

	if (n == 2)
	{
		fields[0] = number(p, 2);
		for (p += 2; last < 2 && p < end && *p == ':' && count_digits(p + 1, end) == 2; p += 3)
			fields[++last] = number(p + 1, 2);
	}
	else if (n == 4 || n == 6)
	{
		for (last = -1; n > 0; n -= 2, p += 2)
			fields[++last] = number(p, 2);
		if (!designator)
			return false;
	}
	else
		return false;
	if (last == 0 && !designator)
		return false;
	if (p < end && (*p == '.' || *p == ','))
	{
		char		digits[MAX_FORM] = "0.";

		n = count_digits(p + 1, end);
		if (n == 0 || n > MAX_FORM - 3)
			return false;
		memcpy(digits + 2, p + 1, n);
		fraction = rint(strtod(digits, NULL) * units[last]);
		p += 1 + n;
	}
	result->has_time = true;
	result->time = ((fields[0] * 60 + fields[1]) * 60 + fields[2]) * USECS_PER_SEC + (int64) fraction;
	if (p < end && !read_zone(p, end, result, &exists))
		return false;
	if (fields[1] > 59 || fields[2] > 60 || result->time > USECS_PER_DAY + USECS_PER_SEC ||
		(fields[2] < 60 && (fields[0] > 24 || (fields[0] == 24 && result->time > USECS_PER_DAY))))
		exists = false;
	*fault = !exists ? ETL_ISO_NO_SUCH_TIME : fields[2] == 60 ? ETL_ISO_LEAP_SECOND :
																ETL_ISO_NO_FAULT;
	return true;
}

bool
etl_iso_form_read(const char *text, int length, EtlIsoTime *result, EtlIsoFault *fault)
{
	const char *end = text + length;
	const char *p;
	bool		exists;

	memset(result, 0, sizeof(*result));
	*fault = ETL_ISO_NO_FAULT;
	if (length < 7 || length > MAX_FORM)
		return false;
	p = read_date(text, end, result, &exists);
	if (p == NULL)
		return false;
	if (p < end)
	{
		bool		designator = *p == 'T' || *p == 't';

		if ((!designator && *p != ' ') || !read_time(p + 1, end, designator, result, fault))
			return false;
	}
	if (!exists)
		*fault = ETL_ISO_NO_SUCH_TIME;
	return true;
}

bool
etl_iso_form_read_time(const char *text, int length, EtlIsoTime *result, EtlIsoFault *fault)
{
	bool		designator = length > 0 && (*text == 'T' || *text == 't');

	memset(result, 0, sizeof(*result));
	*fault = ETL_ISO_NO_FAULT;
	return length <= MAX_FORM &&
		   read_time(text + designator, text + length, designator, result, fault);
}
