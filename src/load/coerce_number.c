/*-------------------------------------------------------------------------
 *
 * coerce_number.c
 *    Numbers from text: integers, short decimals, and marks of a locale.
 *
 * A short decimal becomes a numeric without PostgreSQL's digit loop: the
 * value fits 18 digits, so it is one int64 cut into base-10000 digits in
 * the on-disk form, which pg_upgrade keeps stable.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "load/coercer.h"

#define FAST_DIGITS 18

static const int64 powers[] = {
	INT64CONST(1), INT64CONST(10), INT64CONST(100), INT64CONST(1000), INT64CONST(10000),
	INT64CONST(100000), INT64CONST(1000000), INT64CONST(10000000), INT64CONST(100000000),
	INT64CONST(1000000000), INT64CONST(10000000000), INT64CONST(100000000000),
	INT64CONST(1000000000000), INT64CONST(10000000000000), INT64CONST(100000000000000),
	INT64CONST(1000000000000000), INT64CONST(10000000000000000),
	INT64CONST(100000000000000000), INT64CONST(1000000000000000000)};

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * etl_coerce_plain_number rewrites a number with the options' marks as
 * PostgreSQL reads it.  Thousands marks stand before groups of three digits
 * and nowhere else.  Returns the reason when it is no such number.
 */
const char *
etl_coerce_plain_number(const EtlCoerceOptions *options, const char **text, int *length)
{
	const char *p = *text;
	const char *end = p + *length;
	char	   *out;
	char	   *q;
	int			group = 0;		/* digits since the last thousands mark */
	bool		grouped = false;
	bool		fraction = false;

	if (options->decimal == '.' && options->thousands == '\0')
		return NULL;
	q = out = palloc(*length + 1);
	for (; p < end; p++)
	{
		if (*p == options->decimal && !fraction)
		{
			if (grouped && group != 3)
				goto wrong;
			fraction = true;
			grouped = false;
			*q++ = '.';
		}
		else if (options->thousands && *p == options->thousands)
		{
			if (fraction || group == 0 || group > 3 || (grouped && group != 3))
				goto wrong;
			grouped = true;
			group = 0;
		}
		else if (*p == '.' || *p == ',')
			goto wrong;
		else
		{
			if (is_digit(*p))
				group++;
			else if (grouped && group != 3)
				goto wrong;
			else
			{
				grouped = false;
				group = 0;
			}
			*q++ = *p;
		}
	}
	if (grouped && group != 3)
		goto wrong;
	*q = '\0';
	*text = out;
	*length = q - out;
	return NULL;

wrong:
	return psprintf("invalid number \"%s\" for decimal mark \"%c\"%s",
					etl_coerce_shown(*text, *length), options->decimal,
					options->thousands ? psprintf(" and thousands mark \"%c\"", options->thousands) : "");
}

static const char *
integer_name(Oid type)
{
	return type == INT2OID ? "smallint" : type == INT4OID ? "integer" :
															"bigint";
}

static const char *
out_of_range(Oid type, const char *text, int length)
{
	return psprintf("value \"%s\" is out of range for type %s",
					etl_coerce_shown(text, length), integer_name(type));
}

/*
 * integral_json reads a JSON number that is not written as an integer, 1e5
 * or 5.0, when its value is one that fits 64 bits.
 */
static bool
integral_json(const char *text, int length, int64 *value)
{
	const char *p = text;
	const char *end = text + length;
	bool		negative = p < end && *p == '-';
	const char *mantissa = p + negative;
	const char *behind;			/* the mantissa */
	const char *point;
	int64		exponent = 0;	/* of ten, for what stands before it */

	for (p = mantissa; p < end && (is_digit(*p) || *p == '.'); p++)
		;
	behind = p;
	if (p < end)
	{
		if (*p != 'e' && *p != 'E')
			return false;
		exponent = strtol(p + 1, NULL, 10);
		exponent = Max(Min(exponent, 1000000), -1000000);
	}

	/* digits that add nothing do not count: trailing zeros raise the exponent */
	point = memchr(mantissa, '.', behind - mantissa);
	for (p = behind; p > mantissa && (p[-1] == '0' || p[-1] == '.'); p--)
		if (p[-1] == '0' && (point == NULL || p <= point))
			exponent++;
	if (point != NULL && point < p)
		exponent -= p - point - 1;

	*value = 0;
	for (const char *q = mantissa; q < p; q++)
		if (*q != '.' && (pg_mul_s64_overflow(*value, 10, value) ||
						  pg_sub_s64_overflow(*value, *q - '0', value)))
			return false;
	if (*value == 0)
		return length > negative;
	if (exponent < 0)
		return false;
	for (; exponent > 0; exponent--)
		if (pg_mul_s64_overflow(*value, 10, value))
			return false;
	return negative || !pg_mul_s64_overflow(*value, -1, value);
}

/*
 * etl_coerce_integer reads a smallint, integer or bigint as PostgreSQL 15
 * does: blanks around, a sign, digits.
 */
const char *
etl_coerce_integer(const EtlCoercer *coercer, const char *text, int length, bool json, Datum *datum)
{
	const char *p = text;
	const char *end = text + length;
	bool		negative;
	int64		value = 0;

	while (p < end && isspace((unsigned char) *p))
		p++;
	while (end > p && isspace((unsigned char) end[-1]))
		end--;
	negative = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (p == end)
		goto invalid;
	if (end - p <= FAST_DIGITS)
	{
		for (; p < end; p++)
		{
			if (!is_digit(*p))
				goto other;
			value = value * 10 + (*p - '0');
		}
		if (negative)
			value = -value;
	}
	else
	{
		const char *q;

		for (q = p; q < end; q++)
			if (!is_digit(*q))
				goto other;
		for (; p < end; p++)
			if (pg_mul_s64_overflow(value, 10, &value) ||
				pg_sub_s64_overflow(value, *p - '0', &value))
				return out_of_range(coercer->type, text, length);
		if (!negative && pg_mul_s64_overflow(value, -1, &value))
			return out_of_range(coercer->type, text, length);
	}
	goto found;

other:
	if (!json || !integral_json(text, length, &value))
		goto invalid;

found:
	if ((coercer->type == INT2OID && value != (int16) value) ||
		(coercer->type == INT4OID && value != (int32) value))
		return out_of_range(coercer->type, text, length);
	*datum = coercer->type == INT2OID ? Int16GetDatum((int16) value) :
			 coercer->type == INT4OID ? Int32GetDatum((int32) value) :
										Int64GetDatum(value);
	return NULL;

invalid:
	return psprintf("invalid input syntax for type %s: \"%s\"",
					integer_name(coercer->type), etl_coerce_shown(text, length));
}

/*
 * read_decimal reads -123.45 with at most FAST_DIGITS digits into an integer
 * and the number of digits behind its point.
 */
static bool
read_decimal(const char *text, int length, bool *negative, int64 *value, int *scale)
{
	const char *p = text;
	const char *end = text + length;
	const char *point = NULL;
	int			digits = 0;

	*negative = p < end && *p == '-';
	p += *negative;
	if (end - p > FAST_DIGITS + 1)
		return false;
	*value = 0;
	for (; p < end; p++)
	{
		if (is_digit(*p))
		{
			if (++digits > FAST_DIGITS)
				return false;
			*value = *value * 10 + (*p - '0');
		}
		else if (*p == '.' && point == NULL)
			point = p;
		else
			return false;
	}
	*scale = point ? end - point - 1 : 0;
	return digits > 0;
}

/*
 * make_numeric builds value / 10^scale in PostgreSQL's short numeric form.
 */
static Datum
make_numeric(bool negative, int64 value, int scale)
{
	int16		digits[8];
	int			n = 0;
	int			weight;
	int			behind = (scale + 3) / 4;	/* base-10000 digits behind the point */
	int			pad = behind * 4 - scale;
	int64		whole = value / powers[scale];
	int64		rest = value % powers[scale] * powers[pad];
	char	   *result;
	uint16		header;
	int			i;
	int			to;

	/* from the least digit; turned around when copied */
	for (i = 0; i < behind; i++, rest /= 10000)
		digits[n++] = rest % 10000;
	for (; whole > 0; whole /= 10000)
		digits[n++] = whole % 10000;
	weight = n - behind - 1;
	while (n > 0 && digits[n - 1] == 0)
	{
		n--;
		weight--;
	}
	i = 0;
	while (i < n && digits[i] == 0)
		i++;
	if (n == i)
		weight = 0, negative = false, n = i = 0;

	/* NUMERIC_SHORT, sign, dscale, weight sign, weight */
	header = 0x8000 | (negative ? 0x2000 : 0) | (scale << 7) | (weight < 0 ? 0x40 : 0) | (weight & 0x3f);
	result = palloc(VARHDRSZ + sizeof(uint16) * (1 + n - i));
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16) * (1 + n - i));
	memcpy(result + VARHDRSZ, &header, sizeof(uint16));
	for (to = 0; to < n - i; to++)
		memcpy(result + VARHDRSZ + sizeof(uint16) * (1 + to), &digits[n - 1 - to], sizeof(int16));
	return PointerGetDatum(result);
}

/*
 * etl_coerce_numeric_fast makes the numeric of a short decimal.  False when
 * the input function must look at it; '*reason' when it does not fit.
 */
bool
etl_coerce_numeric_fast(const EtlCoercer *coercer, const char *text, int length,
						Datum	   *datum, const char **reason)
{
	bool		negative;
	int64		value;
	int			scale;

	if (!coercer->plain_typmod || !read_decimal(text, length, &negative, &value, &scale))
		return false;
	if (coercer->precision > 0)
	{
		if (scale > coercer->scale)
		{
			int64		unit = powers[scale - coercer->scale];

			/* half away from zero, as numeric rounds */
			value = value / unit + (value % unit >= unit / 2 ? 1 : 0);
		}
		else if (coercer->scale - scale > FAST_DIGITS ||
				 pg_mul_s64_overflow(value, powers[coercer->scale - scale], &value) ||
				 value >= powers[FAST_DIGITS])
			return false;
		scale = coercer->scale;
		if (coercer->precision <= FAST_DIGITS && value >= powers[coercer->precision])
		{
			*reason = psprintf("numeric field overflow: \"%s\" does not fit numeric(%d,%d)",
							   etl_coerce_shown(text, length), coercer->precision, coercer->scale);
			return true;
		}
	}
	if (scale > FAST_DIGITS - 2)
		return false;			/* no room to align with base-10000 digits */
	*datum = make_numeric(negative, value, scale);
	return true;
}

/*
 * etl_coerce_float8_fast reads a short decimal exactly: up to 15 digits and
 * a power of ten up to 22 are both exact doubles, so one division rounds once.
 */
bool
etl_coerce_float8_fast(const char *text, int length, double *result)
{
	bool		negative;
	int64		value;
	int			scale;

	if (!read_decimal(text, length, &negative, &value, &scale) || value >= powers[15])
		return false;
	*result = (double) value / (double) powers[scale];
	if (negative)
		*result = -*result;
	return true;
}

/*
 * etl_coerce_is_no_number tells, from its first letters, that no input
 * function takes a text for a number: neither digits nor NaN nor infinity.
 * PostgreSQL's error machinery took 4 % of the time of a load with a tenth of
 * such values (perf).
 */
bool
etl_coerce_is_no_number(const char *text)
{
	while (isspace((unsigned char) *text))
		text++;
	if (*text == '+' || *text == '-')
		text++;
	return !is_digit(*text) && *text != '.' && pg_strncasecmp(text, "nan", 3) != 0 &&
		   pg_strncasecmp(text, "inf", 3) != 0;
}
