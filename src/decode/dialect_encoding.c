/*-------------------------------------------------------------------------
 *
 * dialect_encoding.c
 *    The encoding of a sample, as far as its bytes tell.
 *
 * A byte order mark names UTF-16 and UTF-8, and many bytes of UTF-8 cannot be
 * anything else.  The one-byte encodings cannot be told from each other by
 * rule: where the letters beyond ASCII are few and stand among ASCII letters
 * it is WIN1252, of which LATIN1 is a part, with some doubt; else it is some
 * other alphabet or no text, and which is asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "decode/decoder.h"
#include "decode/dialect.h"

/*
 * utf16_name names the UTF-16 that bytes are in, NULL: none.
 */
static const char *
utf16_name(const char *bytes, size_t length, bool *marked)
{
	size_t		zeros[2] = {0, 0};
	size_t		n = Min(length, 4096) & ~(size_t) 1;

	*marked = false;
	if (length >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0))
	{
		*marked = true;
		return "UTF16";
	}
	for (size_t i = 0; i < n; i++)
		zeros[i % 2] += bytes[i] == '\0';
	if (n < 8)
		return NULL;
	/* most characters of a file with delimiters are ASCII: every other byte is zero */
	if (zeros[1] > n / 4 && zeros[0] == 0)
		return "UTF16LE";
	return zeros[0] > n / 4 && zeros[1] == 0 ? "UTF16BE" : NULL;
}

/*
 * narrow makes one byte of each unit of UTF-16; what is not ASCII becomes a
 * byte that looks like a letter.
 */
static char *
narrow(const char *bytes, size_t length, bool big, size_t *narrowed)
{
	char	   *text = palloc(length / 2 + ETL_PADDING);
	size_t		n = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
	{
		unsigned char high = bytes[big ? i : i + 1];
		unsigned char low = bytes[big ? i + 1 : i];

		text[n++] = high == 0 && low < 0x80 ? (char) low : (char) 0xe9;
	}
	memset(text + n, 0, ETL_PADDING);
	*narrowed = n;
	return text;
}

/*
 * is_utf8 tells whether a sample is valid UTF-8, but for a character that its
 * end cuts.  '*beyond' counts the bytes that are not ASCII.
 */
static bool
is_utf8(const char *bytes, size_t length, bool whole, size_t *beyond)
{
	size_t		valid = pg_encoding_verifymbstr(PG_UTF8, bytes, (int) length);

	*beyond = 0;
	for (size_t i = 0; i < length; i++)
		*beyond += (bytes[i] & 0x80) != 0;
	return valid == length || (!whole && length - valid < 4 && (bytes[valid] & 0xc0) == 0xc0);
}

static inline bool
is_letter(char c)
{
	return (unsigned char) c >= 0xc0 || isalpha((unsigned char) c);
}

/*
 * judge_one_byte sets the encoding of a sample that is no UTF-8.
 */
static void
judge_one_byte(EtlDialect *dialect, const char *bytes, size_t length)
{
	EtlDialectAspect *aspect = &dialect->aspects[ETL_DIALECT_ENCODING];
	size_t		ascii = 0;
	size_t		high = 0;
	size_t		lonely = 0;		/* letters beyond ASCII that stand beside no other letter */
	bool		undefined = false;
	bool		controls = false;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = bytes[i];

		ascii += isalpha(c) && c < 0x80;
		high += c >= 0xc0;
		lonely += c >= 0xc0 && !(i > 0 && is_letter(bytes[i - 1])) &&
				  !(i + 1 < length && is_letter(bytes[i + 1]));
		undefined = undefined || c == 0x81 || c == 0x8d || c == 0x8f || c == 0x90 || c == 0x9d;
		controls = controls || c == '\0';
	}
	if (undefined || controls || high > ascii / 3 || lonely > high / 2)
	{
		/* as UTF-8 the bytes become rejects: better than the wrong letters */
		aspect->confidence = 0.3;
		aspect->doubt = "its bytes are no UTF-8, and no text of a Western alphabet either";
	}
	else
	{
		dialect->encoding = "WIN1252";
		aspect->confidence = 0.75;
		aspect->doubt = "its bytes are no UTF-8; other alphabets use the same bytes";
	}
}

/*
 * etl_dialect_text finds the encoding of a sample and returns it as text in
 * which the marks of CSV are what they seem.
 */
char *
etl_dialect_text(EtlDialect *dialect, const char *bytes, size_t length, bool whole, size_t *text_length)
{
	EtlDialectAspect *aspect = &dialect->aspects[ETL_DIALECT_ENCODING];
	bool		marked;
	const char *utf16 = utf16_name(bytes, length, &marked);
	size_t		skip = 0;
	size_t		beyond;
	char	   *text;

	if (aspect->given)
		utf16 = etl_encoding_is_utf16(dialect->encoding) ? dialect->encoding : NULL;
	if (utf16 != NULL)
	{
		bool		big = length >= 2 && (memcmp(bytes, "\xfe\xff", 2) == 0 ||
								   (memcmp(bytes, "\xff\xfe", 2) != 0 && strcmp(utf16, "UTF16BE") == 0));

		if (!aspect->given)
		{
			dialect->encoding = utf16;
			aspect->confidence = marked ? 1.0 : 0.9;
			aspect->doubt = marked ? NULL : "it has no byte order mark";
		}
		skip = length >= 2 &&
					   (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0) ?
				   2 :
				   0;
		return narrow(bytes + skip, length - skip, big, text_length);
	}
	if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
		skip = 3;
	if (!aspect->given)
	{
		dialect->encoding = "UTF8";
		aspect->confidence = 1.0;
		if (!is_utf8(bytes, length, whole, &beyond))
			judge_one_byte(dialect, bytes, length);
		else if (beyond > 0 && beyond < 4 && skip == 0)
		{
			aspect->confidence = 0.9;
			aspect->doubt = "few of its characters are not ASCII";
		}
	}
	*text_length = length - skip;
	text = palloc(*text_length + ETL_PADDING);
	memcpy(text, bytes + skip, *text_length);
	memset(text + *text_length, 0, ETL_PADDING);
	return text;
}
