/*-------------------------------------------------------------------------
 *
 * pattern.c
 *    Simple regular expressions, matched without PostgreSQL's engine.
 *
 * Most patterns of checks are sequences of ASCII characters and classes,
 * each with a number of repetitions: '^[A-Z]{2}-[0-9]+$'.  Such a pattern is
 * a row of positions; which of them the text read so far can end at is a bit
 * set, and a byte of the text moves all of them at once:
 *
 *		  start --A-Z--> 1 --A-Z--> 2 -- - --> 3 --0-9--> 4 (may repeat)
 *
 * Whatever is more than that (alternatives, groups, '.', complements,
 * escapes with letters, characters beyond ASCII) is left to PostgreSQL.  Of
 * 20 checks on a table, the one regular expression took two thirds of the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

#include "quality/check.h"

/* bit 0 is the start */
#define MAX_POSITIONS 63

struct EtlPattern
{
	bool		from_start;
	bool		to_end;
	int			n;				/* positions; the last one is where a match ends */
	uint64		optional;		/* may be left out */
	uint64		repeats;		/* may come again */
	uint64		accepts[256];	/* positions that take a byte */
};

/*
 * read_class reads what stands between brackets; false when it is not simple.
 */
static bool
read_class(const char **at, bool *bytes)
{
	const char *p = *at;
	bool		first = true;

	if (*p == '^' || *p == ']')
		return false;
	for (; *p != ']'; first = false)
	{
		unsigned char low = *p++;
		unsigned char high = low;

		if (low == '\0' || low >= 0x80 || low == '[' || low == '\\')
			return false;
		if (low == '-' && !first && *p != ']')
			return false;
		if (*p == '-' && p[1] != ']')
		{
			high = p[1];
			if (high == '\0' || high >= 0x80 || strchr("[\\-", high) != NULL || low == '-' || high < low)
				return false;
			p += 2;
		}
		for (int c = low; c <= high; c++)
			bytes[c] = true;
	}
	*at = p + 1;
	return true;
}

/*
 * read_atom reads one character or class; false when it is not simple.
 */
static bool
read_atom(const char **at, bool *bytes)
{
	unsigned char c = *(*at)++;

	memset(bytes, 0, 256);
	if (c == '[')
		return read_class(at, bytes);
	if (c == '\\')
	{
		c = *(*at)++;
		if (c >= 0x80 || !ispunct(c))
			return false;
	}
	else if (c >= 0x80 || strchr("^$.*+?(){}|]", c) != NULL)
		return false;
	bytes[c] = true;
	return true;
}

/*
 * read_number reads the number of a bound, at most three digits of it; -1
 * when there is none.
 */
static int
read_number(const char **at)
{
	int			number = -1;

	for (int i = 0; i < 3 && isdigit((unsigned char) **at); i++)
		number = Max(number, 0) * 10 + *(*at)++ - '0';
	return number;
}

/*
 * read_bound reads how often the atom may come, *max is -1 for any number;
 * false when it is not simple.
 */
static bool
read_bound(const char **at, int *min, int *max)
{
	*min = *max = 1;
	if (**at == '\0' || strchr("*+?{", **at) == NULL)
		return true;
	switch (*(*at)++)
	{
		case '*':
			*min = 0;
			*max = -1;
			break;
		case '+':
			*max = -1;
			break;
		case '?':
			*min = 0;
			break;
		default:
			*min = *max = read_number(at);
			if (**at == ',')
			{
				(*at)++;
				*max = read_number(at);
			}
			if (*min < 0 || *(*at)++ != '}' || *max == 0 || (*max > 0 && *max < *min))
				return false;
	}
	return **at == '\0' || strchr("*+?{", **at) == NULL;
}

/*
 * add_positions adds an atom as often as it must or may come; false when
 * there are too many.
 */
static bool
add_positions(EtlPattern *pattern, const bool *bytes, int min, int max)
{
	int			copies = max < 0 ? Max(min, 1) : max;

	if (pattern->n + copies > MAX_POSITIONS)
		return false;
	for (int i = 0; i < copies; i++)
	{
		uint64		bit = UINT64CONST(1) << ++pattern->n;

		if (i >= min)
			pattern->optional |= bit;
		if (max < 0 && i == copies - 1)
			pattern->repeats |= bit;
		for (int c = 0; c < 256; c++)
			if (bytes[c])
				pattern->accepts[c] |= bit;
	}
	return true;
}

/*
 * etl_pattern_compile prepares a regular expression that PostgreSQL accepts;
 * NULL when it is not a simple one.
 */
EtlPattern *
etl_pattern_compile(const char *text)
{
	EtlPattern *pattern = palloc0(sizeof(EtlPattern));
	const char *at = text;

	/* a byte below 0x80 must be a character */
	if (GetDatabaseEncoding() != PG_UTF8 && pg_database_encoding_max_length() > 1)
		return NULL;
	pattern->from_start = *at == '^';
	at += pattern->from_start;
	while (*at != '\0')
	{
		bool		bytes[256];
		int			min;
		int			max;

		if (*at == '$' && at[1] == '\0')
		{
			pattern->to_end = true;
			break;
		}
		if (!read_atom(&at, bytes) || !read_bound(&at, &min, &max) ||
			!add_positions(pattern, bytes, min, max))
			return NULL;
	}
	return pattern;
}

/*
 * skip_optional adds to a set of positions those that are reached by leaving
 * out what follows: the carry of an addition runs through a row of optional
 * positions.
 */
static inline uint64
skip_optional(const EtlPattern *pattern, uint64 set)
{
	uint64		next = (set << 1) & pattern->optional;

	return set | next | (pattern->optional & ~(pattern->optional + next));
}

/*
 * etl_pattern_matches tells whether a text matches.
 */
bool
etl_pattern_matches(const EtlPattern *pattern, const char *text, int length)
{
	uint64		end = UINT64CONST(1) << pattern->n;
	uint64		set = skip_optional(pattern, 1);

	for (int i = 0; i < length; i++)
	{
		if (!pattern->to_end && (set & end) != 0)
			return true;
		set = ((set << 1) | (set & pattern->repeats)) & pattern->accepts[(unsigned char) text[i]];
		if (!pattern->from_start)
			set |= 1;
		else if (set == 0)
			return false;
		set = skip_optional(pattern, set);
	}
	return (set & end) != 0;
}
