/*-------------------------------------------------------------------------
 *
 * target_values.c
 *    Numbers and timestamps: random texts, held against a slower reading.
 *
 * The oracles know nothing of how etl reads: decimals are compared as
 * strings of digits, doubles with strtod, days with timegm, weeks with
 * strftime.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>
#include <time.h>

#include "catalog/pg_type.h"

#include "common/iso_time.h"
#include "decode/json_scan.h"
#include "load/coercer.h"

#include "promises.h"
#include "standin.h"
#include "targets.h"

#define MAX_TEXT 200

/* A decimal: digits without zeros in front or behind, times ten to the power. */
typedef struct Decimal
{
	bool		negative;
	char		digits[MAX_TEXT + 1];
	int			n;
	long		power;
} Decimal;

/*
 * read_decimal reads [-+]digits[.digits][e[-+]digits] that fills the text.
 */
static bool
read_decimal(const char *text, Decimal *decimal)
{
	const char *p = text;
	bool		any = false;

	memset(decimal, 0, sizeof(*decimal));
	decimal->negative = *p == '-';
	if (*p == '-' || *p == '+')
		p++;
	for (bool point = false; isdigit((unsigned char) *p) || (*p == '.' && !point); p++)
	{
		if (*p == '.')
		{
			point = true;
			continue;
		}
		any = true;
		decimal->digits[decimal->n++] = *p;
		decimal->power -= point;
	}
	if (any && (*p == 'e' || *p == 'E'))
	{
		char	   *end;
		long		exponent = strtol(p + 1, &end, 10);

		if (end == p + 1 || isspace((unsigned char) p[1]))
			return false;
		decimal->power += Max(Min(exponent, 100000000), -100000000);
		p = end;
	}
	while (decimal->n > 0 && decimal->digits[decimal->n - 1] == '0')
		decimal->n--, decimal->power++;
	while (decimal->n > 0 && decimal->digits[0] == '0')
		memmove(decimal->digits, decimal->digits + 1, --decimal->n);
	decimal->digits[decimal->n] = '\0';
	if (decimal->n == 0)
		decimal->power = 0, decimal->negative = false;
	return any && *p == '\0';
}

static bool
same_decimal(const Decimal *a, const Decimal *b)
{
	return a->negative == b->negative && a->power == b->power && strcmp(a->digits, b->digits) == 0;
}

static void
broken(const char *promise, const char *text)
{
	fprintf(stderr, "\"%s\": %s\n", text, promise);
	abort();
}

/*
 * read_numeric reads a numeric of PostgreSQL's short form.
 */
static int
read_numeric(Datum datum, Decimal *decimal)
{
	const char *bytes = VARDATA(DatumGetPointer(datum));
	int			n = (VARSIZE(DatumGetPointer(datum)) - VARHDRSZ) / 2 - 1;
	uint16		header;
	int			weight;
	char		text[MAX_TEXT];
	char	   *out = text;

	memcpy(&header, bytes, 2);
	if ((header & 0xc000) != 0x8000 || n < 0 || n > 20)
		broken("the numeric is not of the short form", "");
	weight = (header & 0x40) ? -64 + (header & 0x3f) : header & 0x3f;
	if (header & 0x2000)
		*out++ = '-';
	*out++ = '0';
	for (int i = 0; i < n; i++)
	{
		int16		digit;

		memcpy(&digit, bytes + 2 + 2 * i, 2);
		if (digit < 0 || digit > 9999 || (digit == 0 && (i == 0 || i == n - 1)))
			broken("the numeric has a digit that it cannot have", "");
		out += sprintf(out, "%04d", digit);
	}
	sprintf(out, "e%d", 4 * (weight - n + 1));
	if (!read_decimal(text, decimal))
		broken("the numeric is none", text);
	return (header & 0x1f80) >> 7;
}

/*
 * whole_number gives the value of a decimal that fits 64 bits.
 */
static bool
whole_number(const Decimal *decimal, int64 *value)
{
	__int128	sum = 0;

	if (decimal->power < 0 || decimal->n + decimal->power > 19)
		return false;
	for (int i = 0; i < decimal->n + decimal->power; i++)
		sum = sum * 10 + (i < decimal->n ? decimal->digits[i] - '0' : 0);
	if (decimal->negative)
		sum = -sum;
	*value = (int64) sum;
	return *value == sum;
}

static bool
is_plain_integer(const char *text)
{
	const char *p = text + (*text == '-' || *text == '+');
	const char *digits = p;

	while (isdigit((unsigned char) *p))
		p++;
	return p > digits && *p == '\0';
}

/*
 * check_integer holds etl_coerce_integer to the value of the text.
 */
static void
check_integer(const char *text, bool json)
{
	static const Oid types[] = {INT2OID, INT4OID, INT8OID};
	Decimal		decimal;
	int64		value = 0;
	bool		is_whole = read_decimal(text, &decimal) && (json || is_plain_integer(text)) &&
					whole_number(&decimal, &value);

	for (int i = 0; i < lengthof(types); i++)
	{
		EtlCoercer	coercer = {.type = types[i]};
		bool		fits = is_whole && (i == 2 || (i == 1 ? value == (int32) value : value == (int16) value));
		Datum		datum;
		const char *reason = etl_coerce_integer(&coercer, text, strlen(text), json, &datum);
		int64		got;

		if (fits != (reason == NULL))
			broken(fits ? "an integer is refused" : "what is no integer is taken", text);
		if (reason != NULL)
			continue;
		got = i == 2 ? DatumGetInt64(datum) : i == 1 ? DatumGetInt32(datum) :
													   DatumGetInt16(datum);
		if (got != value)
			broken("an integer has another value", text);
	}
}

/*
 * check_decimal holds the short ways to numeric and double to the text.
 */
static void
check_decimal(const char *text)
{
	EtlCoercer	any = {.type = NUMERICOID, .plain_typmod = true};
	EtlCoercer	rounded = {.type = NUMERICOID, .plain_typmod = true, .precision = 12, .scale = 3};
	const char *reason = NULL;
	Decimal		decimal;
	Decimal		got;
	Datum		datum;
	double		number;
	bool		is_decimal = read_decimal(text, &decimal);

	if (etl_coerce_numeric_fast(&any, text, strlen(text), &datum, &reason))
	{
		const char *point = strchr(text, '.');
		int			scale = read_numeric(datum, &got);

		if (!is_decimal || reason != NULL || !same_decimal(&decimal, &got))
			broken("a numeric has another value", text);
		if (scale != (point ? (int) strlen(point + 1) : 0))
			broken("a numeric has another number of digits behind its point", text);
	}
	if (etl_coerce_numeric_fast(&rounded, text, strlen(text), &datum, &reason))
	{
		/* doubles have 15 digits, more than this type */
		double		exact = strtod(text, NULL);

		if (reason != NULL)
		{
			if (fabs(exact) < 999999999.9994)
				broken("a numeric that fits is refused", text);
		}
		else if (read_numeric(datum, &got) != 3 ||
				 fabs(strtod(psprintf("%s%se%ld", got.negative ? "-" : "", got.n ? got.digits : "0",
									  got.power),
							 NULL) -
					  exact) > 0.0005000001 * Max(1, fabs(exact) * 1e-6))
			broken("a numeric is rounded to another value", text);
	}
	if (etl_coerce_float8_fast(text, strlen(text), &number))
	{
		char	   *end;
		double		exact = strtod(text, &end);

		if (!is_decimal || *end != '\0' || memcmp(&number, &exact, sizeof(double)) != 0)
			broken("a double has another value", text);
	}
	if (is_decimal && etl_coerce_is_no_number(text))
		broken("a number is said to be none", text);
}

/*
 * check_json holds the scanner of JSON numbers to its grammar.
 */
static void
check_json(char *text)
{
	JsonFault	fault;
	char	   *stop = etl_json_scan_number(text, &fault);
	Decimal		decimal;
	const char *digits = text + (*text == '-');

	if (stop != NULL && *stop == '\0')
	{
		if (!read_decimal(text, &decimal) || !isdigit((unsigned char) *digits) ||
			(*digits == '0' && isdigit((unsigned char) digits[1])))
			broken("what is no number in JSON is taken", text);
		check_integer(text, true);
	}
	else if (stop == NULL && is_plain_integer(text) && *text != '+' && *digits != '0')
		broken("a number in JSON is refused", text);
}

/*
 * fuzz_number: the first byte chooses the marks, the rest is the text.
 */
void
fuzz_number(const uint8 *bytes, size_t size)
{
	static const EtlCoerceOptions marks[] = {{.decimal = '.'},
											 {.decimal = ','},
											 {.decimal = ',', .thousands = '.'},
											 {.decimal = '.', .thousands = ','},
											 {.decimal = '.', .thousands = ' '}};
	const EtlCoerceOptions *options;
	char	   *text;
	const char *plain;
	int			length;

	if (size < 2 || size > MAX_TEXT || memchr(bytes, '\0', size))
		return;
	options = &marks[bytes[0] % lengthof(marks)];
	text = memset(palloc(size + 64), 0, size + 64);
	memcpy(text, bytes + 1, size - 1);
	plain = text;
	length = size - 1;
	if (etl_coerce_plain_number(options, &plain, &length) == NULL)
	{
		if (length != strlen(plain))
			broken("the rewritten number has another length", text);
		if (!isspace((unsigned char) plain[0]) &&
			(length == 0 || !isspace((unsigned char) plain[length - 1])))
			check_integer(plain, false);
		check_decimal(plain);
	}
	check_json(text);
	standin_reset();
}

/*
 * check_days holds a day to the calendar of the C library.
 */
static void
check_days(const EtlIsoTime *iso, const char *text)
{
	struct tm	tm = {.tm_year = iso->year - 1900, .tm_mon = iso->month - 1, .tm_mday = iso->day};
	time_t		moment = timegm(&tm);
	char		week[16];
	char		shown[40];
	char		compact[40];
	char	   *out = compact;

	if (tm.tm_mday != iso->day || tm.tm_mon != iso->month - 1)
		broken("the calendar has no such day", text);
	if (moment / 86400 - 10957 != etl_iso_time_date(iso))
		broken("the day has another number", text);

	/* a week date is the day that strftime gives the same name */
	if (strlen(text) < 8 || (text[4] != 'W' && text[4] != 'w' && text[5] != 'W' && text[5] != 'w'))
		return;
	strftime(week, sizeof(week), "W%V%u", &tm);
	strftime(shown, sizeof(shown), "%G", &tm);
	snprintf(shown, sizeof(shown), "%04d%s", atoi(shown), week);
	for (const char *p = text; *p && *p != 'T' && *p != 't' && *p != ' '; p++)
		if (*p != '-' && out < compact + sizeof(compact) - 1)
			*out++ = toupper((unsigned char) *p);
	*out = '\0';
	if (strcmp(shown, compact) != 0)
		broken(psprintf("the day of the week is called %s", shown), text);
}

/*
 * fuzz_timestamp: a text as a date, timestamp, time of day.
 */
void
fuzz_timestamp(const uint8 *bytes, size_t size)
{
	static const Oid types[] = {DATEOID, TIMESTAMPOID, TIMESTAMPTZOID, TIMEOID, TIMETZOID};
	char		text[MAX_TEXT + 1] = "";
	EtlIsoTime	common;
	EtlIsoTime	form;
	EtlIsoFault fault;

	if (size > MAX_TEXT || memchr(bytes, '\0', size))
		return;
	memcpy(text, bytes, size);
	if (etl_iso_form_read(text, size, &form, &fault) && fault == ETL_ISO_NO_FAULT)
	{
		if (form.time < 0 || form.time > USECS_PER_DAY || abs(form.zone) >= 16 * 3600)
			broken("the time is beyond the day", text);
		check_days(&form, text);
	}
	if (etl_iso_time_parse(text, size, &common))
	{
		if (!etl_iso_form_read(text, size, &form, &fault) || fault != ETL_ISO_NO_FAULT)
			broken("the common form is not one of all", text);
		if (form.year != common.year || form.month != common.month || form.day != common.day ||
			form.has_time != common.has_time || form.has_zone != common.has_zone ||
			form.zone != common.zone || (!common.rounded && form.time != common.time))
			broken("the common form means something else", text);
	}
	for (int i = 0; i < lengthof(types) * 3; i++)
	{
		EtlCoercer	coercer = {.type = types[i % lengthof(types)], .typmod = i / lengthof(types) * 3 - 1};
		const char *rewritten = text;
		const char *reason = NULL;
		Datum		fast;
		Datum		slow;

		if (i % lengthof(types) < 3 && etl_coerce_datetime_fast(&coercer, text, size, &fast))
		{
			if (!etl_coerce_datetime_form(&coercer, &rewritten, size, &slow, &reason) || reason != NULL ||
				fast != slow)
				broken("the fast way leads elsewhere", text);
		}
		else if (etl_coerce_datetime_form(&coercer, &rewritten, size, &slow, &reason) && reason == NULL &&
				 i % lengthof(types) >= 3)
			broken("a time of day became something else", text);
	}
	standin_reset();
}
