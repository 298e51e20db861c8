/*-------------------------------------------------------------------------
 *
 * transcode.c
 *    Bytes of a whole input to UTF-8, before any decoder looks at them.
 *
 * For encodings in which bytes do not tell structure from text: UTF-16
 * always, which a byte order mark names by itself, and every other encoding
 * under JSON.  What is no text stays a byte that is no UTF-8 either, so that
 * the decoder finds it in its record and rejects that one: a lone surrogate
 * becomes the three bytes that UTF-8 forbids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#include "common/errors.h"
#include "decode/decoder.h"

#define CHUNK	(32 * 1024)
#define LONGEST 8				/* bytes of one character, in any encoding */

typedef enum Order
{
	SNIFF,						/* by the mark; little-endian without one */
	LITTLE,
	BIG
} Order;

typedef struct Transcoder
{
	EtlRead		output;
	EtlRead    *input;
	char	   *seen;			/* bytes that were read before */
	size_t		seen_start;
	size_t		seen_end;
	bool		utf16;
	Order		order;
	int			encoding;		/* not UTF-16 */
	Oid			conversion;
	bool		eof;
	char		in[CHUNK];
	size_t		start;
	size_t		end;
	char		out[CHUNK * MAX_CONVERSION_GROWTH + 1];	/* not handed out yet */
	size_t		out_start;
	size_t		out_end;
} Transcoder;

/*
 * utf16_order tells whether a name is one of UTF-16, and in which order of
 * bytes.
 */
static bool
utf16_order(const char *name, Order *order)
{
	static const struct
	{
		const char *name;
		Order		order;
	} names[] = {{"utf16", SNIFF},	   {"utf-16", SNIFF}, {"utf16le", LITTLE},
				 {"utf-16le", LITTLE}, {"utf16be", BIG},  {"utf-16be", BIG}};

	for (int i = 0; name != NULL && i < lengthof(names); i++)
		if (pg_strcasecmp(name, names[i].name) == 0)
		{
			*order = names[i].order;
			return true;
		}
	return false;
}

bool
etl_encoding_is_utf16(const char *name)
{
	Order		order;

	return utf16_order(name, &order);
}

/*
 * read_input reads the bytes that were seen before, then the input.
 */
static size_t
read_input(Transcoder *t, char *buffer, size_t size)
{
	size_t		n = Min(size, t->seen_end - t->seen_start);

	if (n == 0)
		return t->input->read(t->input->arg, buffer, size);
	memcpy(buffer, t->seen + t->seen_start, n);
	t->seen_start += n;
	return n;
}

/*
 * fill reads more input behind what is left of it.
 */
static void
fill(Transcoder *t)
{
	memmove(t->in, t->in + t->start, t->end - t->start);
	t->end -= t->start;
	t->start = 0;
	while (!t->eof && t->end < CHUNK)
	{
		size_t		got = read_input(t, t->in + t->end, CHUNK - t->end);

		if (got == 0)
			t->eof = true;
		t->end += got;
	}
}

/*
 * unit reads one unit of UTF-16.
 */
static inline unsigned
unit(const Transcoder *t, size_t at)
{
	unsigned char a = t->in[at];
	unsigned char b = t->in[at + 1];

	return t->order == BIG ? a << 8 | b : b << 8 | a;
}

/*
 * convert_utf16 converts what is in the window; a pair of surrogates that
 * the window cuts waits for the rest.
 */
static void
convert_utf16(Transcoder *t)
{
	size_t		at = t->start;
	unsigned char *out = (unsigned char *) t->out;

	while (at + 2 <= t->end)
	{
		unsigned	code = unit(t, at);
		unsigned	low;

		if (code >= 0xd800 && code <= 0xdbff)
		{
			if (at + 4 > t->end && !t->eof)
				break;
			low = at + 4 <= t->end ? unit(t, at + 2) : 0;
			if (low >= 0xdc00 && low <= 0xdfff)
			{
				code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
				at += 2;
			}
		}
		at += 2;
		unicode_to_utf8(code, out);
		out += pg_utf_mblen(out);
	}
	/* half a unit at the end is no text */
	if (t->eof && at + 1 == t->end)
	{
		*out++ = 0xff;
		at++;
	}
	t->start = at;
	t->out_end = out - (unsigned char *) t->out;
}

/*
 * convert_other converts what is in the window by PostgreSQL's conversion; a
 * byte that it does not take is handed out as 0xFF.
 */
static void
convert_other(Transcoder *t)
{
	char	   *out = t->out;
	size_t		at = t->start;

	while (at < t->end)
	{
		size_t		length = strnlen(t->in + at, t->end - at);
		int			done;

		/* a NUL ends a conversion */
		if (length == 0)
		{
			*out++ = '\0';
			at++;
			continue;
		}
		done = pg_do_encoding_conversion_buf(t->conversion, t->encoding, PG_UTF8,
											 (unsigned char *) t->in + at, length,
											 (unsigned char *) out,
											 length * MAX_CONVERSION_GROWTH + 1, true);
		out += strlen(out);
		at += done;
		if (done == (int) length)
			continue;
		if (!t->eof && t->end - at < LONGEST)
			break;				/* the window may cut it */
		*out++ = (char) 0xff;
		at++;
	}
	t->start = at;
	t->out_end = out - t->out;
}

/*
 * read_converted is the EtlRead callback.
 */
static size_t
read_converted(void *arg, char *buffer, size_t size)
{
	Transcoder *t = arg;
	size_t		n;

	while (t->out_start == t->out_end)
	{
		t->out_start = t->out_end = 0;
		fill(t);
		if (t->start == t->end)
			return 0;
		if (t->utf16)
			convert_utf16(t);
		else
			convert_other(t);
	}
	n = Min(size, t->out_end - t->out_start);
	memcpy(buffer, t->out + t->out_start, n);
	t->out_start += n;
	return n;
}

/*
 * etl_encoding_transcodes: see decoder.h.
 */
bool
etl_encoding_transcodes(const char *name, bool json, const unsigned char *marks)
{
	Order		order;
	int			encoding;

	if (name == NULL)
		return false;
	if (utf16_order(name, &order))
		return true;
	encoding = pg_char_to_encoding(name);
	if (encoding < 0 || encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return false;
	if (json)
		return true;

	/* the second byte of a character may look like a mark */
	for (; PG_ENCODING_IS_CLIENT_ONLY(encoding) && *marks; marks++)
		if (*marks >= 0x30)
			return true;
	return false;
}

/*
 * etl_encoding_begin reads the first bytes of the input and, where they are
 * not to be decoded as they are, puts a reader of UTF-8 in the place of the
 * input's.
 */
void
etl_encoding_begin(EtlDecoder *decoder, const char *name)
{
	EtlInput   *input = &decoder->input;
	Order		order = SNIFF;
	bool		utf16 = utf16_order(name, &order);
	const char *begin;
	size_t		length;
	size_t		mark = 0;
	Transcoder *t;

	etl_input_more(input);
	begin = input->data + input->start;
	length = input->end - input->start;
	if (length >= 2 && (utf16 || name == NULL || pg_char_to_encoding(name) == PG_UTF8))
	{
		if (order != BIG && memcmp(begin, "\xff\xfe", 2) == 0)
			utf16 = true, order = LITTLE, mark = 2;
		else if (order != LITTLE && memcmp(begin, "\xfe\xff", 2) == 0)
			utf16 = true, order = BIG, mark = 2;
	}
	if (!utf16 && !decoder->transcodes)
		return;

	t = palloc0(sizeof(Transcoder));
	t->input = input->reader;
	t->output.arg = t;
	t->output.read = read_converted;
	t->utf16 = utf16;
	t->order = order;
	if (!utf16)
	{
		t->encoding = pg_char_to_encoding(name);
		t->conversion = FindDefaultConversionProc(t->encoding, PG_UTF8);
	}
	t->seen_end = length - mark;
	t->seen = memcpy(palloc(Max(length, 1)), begin + mark, length - mark);
	input->reader = &t->output;
	input->start = input->end = 0;
	input->eof = false;
	etl_input_more(input);
}
