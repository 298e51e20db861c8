/*-------------------------------------------------------------------------
 *
 * json_scan.c
 *    JSON at the level of bytes: strings, numbers, nested values, extents.
 *
 * Nothing here recurses: nesting costs one byte a level and is bounded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"

#include "decode/json_scan.h"

/*
 * plain_bytes returns the first byte that a string does not take as it is:
 * quote, backslash or control.
 */
static inline char *
plain_bytes(char *p)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i backslash = _mm_set1_epi8('\\');
	const __m128i control = _mm_set1_epi8(0x1f);

	for (;; p += 16)
	{
		__m128i		chunk = _mm_loadu_si128((const __m128i *) p);
		__m128i		found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(chunk, quote),
												  _mm_cmpeq_epi8(chunk, backslash)),
									 _mm_cmpeq_epi8(_mm_min_epu8(chunk, control), chunk));
		uint32		mask = _mm_movemask_epi8(found);

		if (mask)
			return p + pg_rightmost_one_pos32(mask);
	}
#else
	while (*p != '"' && *p != '\\' && (unsigned char) *p >= 0x20)
		p++;
	return p;
#endif
}

static inline char *
fail(JsonFault *fault, const char *code, const char *problem, const char *at)
{
	fault->code = code;
	fault->problem = problem;
	fault->at = at;
	return NULL;
}

/*
 * hex4 reads four hexadecimal digits; -1 when they are not.
 */
static int
hex4(const char *p)
{
	int			value = 0;
	int			i;

	for (i = 0; i < 4; i++)
	{
		char		c = p[i];

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (c - 'A' + 10);
		else
			return -1;
	}
	return value;
}

/*
 * read_escape reads what follows a backslash at 'p'; writes at most four
 * bytes to '*out', which never overtakes 'p'.
 */
static char *
read_escape(char *p, char **out, JsonFault *fault)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *known = p[1] ? strchr(from, p[1]) : NULL;
	int			code;
	int			low;

	if (known)
	{
		*(*out)++ = to[known - from];
		return p + 2;
	}
	if (p[1] != 'u' || (code = hex4(p + 2)) < 0)
		return fail(fault, "malformed", "invalid escape in a string", p);
	if (code == 0)
		return fail(fault, "encoding", "\\u0000 cannot be stored as text", p);
	p += 6;
	if (code >= 0xdc00 && code <= 0xdfff)
		return fail(fault, "encoding", "Unicode low surrogate without a high one", p - 6);
	if (code >= 0xd800 && code <= 0xdbff)
	{
		if (p[0] != '\\' || p[1] != 'u' || (low = hex4(p + 2)) < 0xdc00 || low > 0xdfff)
			return fail(fault, "encoding", "Unicode high surrogate without a low one", p - 6);
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		p += 6;
	}
	unicode_to_utf8(code, (unsigned char *) *out);
	*out += pg_utf_mblen((unsigned char *) *out);
	return p;
}

char *
etl_json_scan_string(char *p, bool in_place, int *length, JsonFault *fault)
{
	char	   *begin = p;
	char	   *out;
	char		ignored[8];

	p = plain_bytes(p);
	out = p;
	while (*p != '"')
	{
		char	   *stop;

		if (*p != '\\')
			return fail(fault, "malformed",
						*p ? "control character in a string" : "string without its closing quote",
						p);
		if (!in_place)
			out = ignored;
		p = read_escape(p, &out, fault);
		if (p == NULL)
			return NULL;
		stop = plain_bytes(p);
		if (in_place)
		{
			memmove(out, p, stop - p);
			out += stop - p;
		}
		p = stop;
	}
	if (in_place)
	{
		*length = out - begin;
		*out = '\0';
	}
	return p + 1;
}

char *
etl_json_scan_number(char *p, JsonFault *fault)
{
	char	   *begin = p;

	if (*p == '-')
		p++;
	if (*p == '0')
		p++;
	else if (*p >= '1' && *p <= '9')
		while (*p >= '0' && *p <= '9')
			p++;
	else
		return fail(fault, "malformed", "invalid value", begin);
	if (*p == '.')
	{
		if (p[1] < '0' || p[1] > '9')
			return fail(fault, "malformed", "invalid number", begin);
		for (p++; *p >= '0' && *p <= '9';)
			p++;
	}
	if (*p == 'e' || *p == 'E')
	{
		p++;
		if (*p == '+' || *p == '-')
			p++;
		if (*p < '0' || *p > '9')
			return fail(fault, "malformed", "invalid number", begin);
		while (*p >= '0' && *p <= '9')
			p++;
	}
	return p;
}

int
etl_json_scan_word(const char *p)
{
	if (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0)
		return 4;
	return memcmp(p, "false", 5) == 0 ? 5 : 0;
}

/*
 * scan_scalar reads a string, number or word without changing it.
 */
static char *
scan_scalar(char *p, JsonFault *fault)
{
	int			word;

	if (*p == '"')
		return etl_json_scan_string(p + 1, false, NULL, fault);
	word = etl_json_scan_word(p);
	return word ? p + word : etl_json_scan_number(p, fault);
}

/*
 * scan_key reads "key": and the space behind it.
 */
static char *
scan_key(char *p, JsonFault *fault)
{
	if (*p != '"')
		return fail(fault, "malformed", "expected a key", p);
	p = etl_json_scan_string(p + 1, false, NULL, fault);
	if (p == NULL)
		return NULL;
	p = etl_json_skip_space(p);
	if (*p != ':')
		return fail(fault, "malformed", "expected a colon behind a key", p);
	return etl_json_skip_space(p + 1);
}

char *
etl_json_scan_value(char *p, JsonFault *fault)
{
	char		closing[ETL_JSON_MAX_DEPTH];
	int			depth = 0;

	for (;;)
	{
		/* at a value */
		if (*p == '{' || *p == '[')
		{
			if (depth == ETL_JSON_MAX_DEPTH)
				return fail(fault, "too_deep", "value is nested deeper than 1000 levels", p);
			closing[depth++] = *p == '{' ? '}' : ']';
			p = etl_json_skip_space(p + 1);
			if (*p != closing[depth - 1])
			{
				if (closing[depth - 1] == '}' && (p = scan_key(p, fault)) == NULL)
					return NULL;
				continue;
			}
		}
		else
		{
			p = scan_scalar(p, fault);
			if (p == NULL || depth == 0)
				return p;
			p = etl_json_skip_space(p);
		}

		/* behind a value */
		while (*p == closing[depth - 1])
		{
			p++;
			if (--depth == 0)
				return p;
			p = etl_json_skip_space(p);
		}
		if (*p != ',')
			return fail(fault, "malformed", "expected a comma or a closing bracket", p);
		p = etl_json_skip_space(p + 1);
		if (closing[depth - 1] == '}' && (p = scan_key(p, fault)) == NULL)
			return NULL;
	}
}

/*
 * next_structure returns the first quote or bracket, or 'end'.
 */
static inline const char *
next_structure(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i low_bit = _mm_set1_epi8(0x20);
	const __m128i open = _mm_set1_epi8('{');
	const __m128i close = _mm_set1_epi8('}');

	while (end - p >= 16)
	{
		__m128i		chunk = _mm_loadu_si128((const __m128i *) p);
		/* '[' | 0x20 = '{', ']' | 0x20 = '}' */
		__m128i		folded = _mm_or_si128(chunk, low_bit);
		uint32		mask = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(chunk, quote),
													 _mm_or_si128(_mm_cmpeq_epi8(folded, open),
																  _mm_cmpeq_epi8(folded, close))));

		if (mask)
			return p + pg_rightmost_one_pos32(mask);
		p += 16;
	}
#endif
	while (p < end && *p != '"' && (*p | 0x20) != '{' && (*p | 0x20) != '}')
		p++;
	return p;
}

/*
 * next_in_string returns the first quote or backslash, or 'end'.
 */
static inline const char *
next_in_string(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i backslash = _mm_set1_epi8('\\');

	while (end - p >= 16)
	{
		__m128i		chunk = _mm_loadu_si128((const __m128i *) p);
		uint32		mask = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(chunk, quote),
													 _mm_cmpeq_epi8(chunk, backslash)));

		if (mask)
			return p + pg_rightmost_one_pos32(mask);
		p += 16;
	}
#endif
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

bool
etl_json_extent(JsonExtent *extent, const char *bytes, size_t length, size_t *used)
{
	const char *p = bytes;
	const char *end = bytes + length;

	if (!extent->begun && p < end)
	{
		extent->begun = true;
		extent->scalar = *p != '{' && *p != '[' && *p != '"';
	}
	while (p < end)
	{
		if (extent->scalar)
		{
			if (strchr(" \t\r\n,]}{[\":", *p) && *p)
			{
				/* at least one byte, so that whoever asks gets on */
				if (p == bytes)
					p++;
				*used = p - bytes;
				return true;
			}
			p++;
		}
		else if (extent->in_string)
		{
			if (extent->escaped)
			{
				extent->escaped = false;
				p++;
				continue;
			}
			p = next_in_string(p, end);
			if (p == end)
				break;
			if (*p++ == '\\')
				extent->escaped = true;
			else
				extent->in_string = false;
		}
		else
		{
			p = next_structure(p, end);
			if (p == end)
				break;
			if (*p == '"')
				extent->in_string = true;
			else if ((*p | 0x20) == '{')
				extent->depth++;
			else
				extent->depth--;
			p++;
		}
		if (!extent->in_string && !extent->scalar && extent->depth <= 0)
		{
			*used = p - bytes;
			return true;
		}
	}
	*used = length;
	return false;
}

/*
 * etl_json_is_closed: see json_scan.h.  'text' is followed by ETL_PADDING
 * zero bytes.
 */
bool
etl_json_is_closed(char *text, size_t size)
{
	char		closing[ETL_JSON_MAX_DEPTH];
	int			depth = 0;
	char		before = '[';	/* the last byte that is not space */
	JsonFault	fault;
	char	   *p = text;

	while (p < text + size)
	{
		char		c = *p;

		if (c == '\0')
			return false;
		if (c == '"')
		{
			char	   *stop = etl_json_scan_string(p + 1, false, NULL, &fault);
			char		behind;

			if (stop == NULL || strchr("[{,:", before) == NULL)
				return false;
			behind = *etl_json_skip_space(stop);
			if (stop < text + size && strchr(",:]}", behind) == NULL)
				return false;
			p = stop;
			before = '"';
			continue;
		}
		if (c == '{' || c == '[')
		{
			if (depth == ETL_JSON_MAX_DEPTH || strchr("[{,:", before) == NULL)
				return false;
			closing[depth++] = c == '{' ? '}' : ']';
		}
		else if (c == '}' || c == ']')
		{
			if (depth == 0 || closing[--depth] != c)
				return false;
		}
		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			before = c;
		p++;
	}
	return depth == 0;
}
