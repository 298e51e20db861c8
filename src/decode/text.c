/*-------------------------------------------------------------------------
 *
 * text.c
 *    The text format of COPY to records.
 *
 * A line is a record, fields stand between delimiters, and a backslash escapes
 * what follows: a delimiter, a line end, or as in COPY \b \f \n \r \t \v,
 * \101 and \x41.  A field that is \N, or another text of the option "null",
 * before anything is unescaped, is NULL.  A line of \. ends the input.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/lines.h"

typedef struct TextDecoder
{
	EtlDecoder	base;
	EtlLines	lines;
	char		delimiter;
} TextDecoder;

static EtlRecordState text_next(EtlDecoder *decoder, EtlRecord *record);

/*
 * configure reads the options of a stream into a decoder.
 */
static void
configure(TextDecoder *text, const Jsonb *options)
{
	const char *delimiter = etl_json_get_text(options, "delimiter");
	unsigned char marks[3] = {0};

	etl_lines_configure(&text->lines, options);
	if (!etl_json_has(options, "header"))
		text->lines.has_header = false;
	if (text->lines.nulls == NIL && !etl_json_has(options, "null"))
		text->lines.nulls = list_make1(pstrdup("\\N"));
	text->delimiter = delimiter ? delimiter[0] : '\t';
	/* as COPY: what may stand behind a backslash, or is one, cannot divide */
	if (delimiter != NULL &&
		(strlen(delimiter) != 1 ||
		 strchr("\\.abcdefghijklmnopqrstuvwxyz0123456789\r\n", delimiter[0]) != NULL))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"delimiter\" of format text cannot be \"%s\"", delimiter),
						errhint("Use one byte that is neither a backslash, a dot, a digit, a "
								"lower-case letter nor a line end.")));
	marks[0] = text->delimiter;
	marks[1] = '\\';
	etl_encoding_open(&text->base, options, marks);
}

void
etl_text_check(const Jsonb *options)
{
	TextDecoder text = {0};

	configure(&text, options);
}

EtlDecoder *
etl_text_open(EtlRead *input, const EtlDecodeOptions *options)
{
	TextDecoder *text = palloc0(sizeof(TextDecoder));

	etl_decoder_begin(&text->base, input, options);
	text->base.next = text_next;
	configure(text, options->options);
	return &text->base;
}

/*
 * octal_or_hex reads the digits of \101 or \x41 behind the backslash; the
 * number of bytes read, 0: it is none.
 */
static int
octal_or_hex(const char *p, const char *end, char *byte)
{
	int			value = 0;
	int			n = 0;

	if (*p == 'x')
	{
		for (n = 1; n < 3 && p + n < end && isxdigit((unsigned char) p[n]); n++)
			value = value * 16 + (isdigit((unsigned char) p[n]) ? p[n] - '0' : (p[n] | 0x20) - 'a' + 10);
		*byte = (char) value;
		return n > 1 ? n : 0;
	}
	for (; n < 3 && p + n < end && p[n] >= '0' && p[n] <= '7'; n++)
		value = value * 8 + (p[n] - '0');
	*byte = (char) value;
	return n;
}

/*
 * unescape takes the escapes out of a field, in place; its new length.
 */
static int
unescape(char *text, int length)
{
	static const char named[] = "b\bf\fn\nr\rt\tv\v";
	const char *in = text;
	const char *end = text + length;
	char	   *out = text;

	while (in < end)
	{
		char		byte;
		int			n;
		bool		done = false;

		if (*in != '\\' || in + 1 == end)
		{
			*out++ = *in++;
			continue;
		}
		in++;
		n = octal_or_hex(in, end, &byte);
		if (n > 0)
		{
			*out++ = byte;
			in += n;
			continue;
		}
		for (int i = 0; named[i] != '\0' && !done; i += 2)
			if (*in == named[i])
			{
				*out++ = named[i + 1];
				done = true;
			}
		if (!done)
			*out++ = *in;
		in++;
	}
	return out - text;
}

/*
 * cut makes values of a line; how many fields it has, of which those that the
 * decoder knows, or with 'grow' all, become values.
 */
static int
cut(TextDecoder *text, char *work, size_t length, bool grow)
{
	EtlDecoder *decoder = &text->base;
	char	   *end = work + length;
	char	   *field = work;
	int			n = 0;

	for (char *p = work;; p++)
	{
		if (p < end && *p == '\\' && p + 1 < end)
		{
			p++;
			continue;
		}
		if (p < end && *p != text->delimiter)
			continue;
		if (grow && n == decoder->nfields)
			etl_decoder_add_field(decoder, "", 0);
		if (n < decoder->nfields)
		{
			EtlValue   *value = &decoder->values[n];
			bool		null = etl_lines_is_null(text->lines.nulls, field, p - field);

			memset(value, 0, sizeof(EtlValue));
			value->kind = null ? ETL_VALUE_NULL : ETL_VALUE_TEXT;
			value->text = field;
			value->length = null ? 0 : unescape(field, p - field);
		}
		n++;
		field = p + 1;
		if (p >= end)
			break;
	}
	for (int i = 0; i < Min(n, decoder->nfields); i++)
		decoder->values[i].text[decoder->values[i].length] = '\0';
	return n;
}

/*
 * name_fields makes the fields: from the option, the header, or the first line.
 * False at the end of the input.
 */
static bool
name_fields(TextDecoder *text, EtlRecord *record, bool *used)
{
	EtlDecoder *decoder = &text->base;
	EtlRecordState state;
	ListCell   *cell;
	int			n;

	etl_lines_begin(decoder, &text->lines);
	*used = false;
	foreach(cell, text->lines.names)
		etl_decoder_add_field(decoder, lfirst(cell), strlen(lfirst(cell)));
	if (text->lines.names != NIL)
		return true;
	if (!etl_lines_next(decoder, &text->lines, record, true, &state))
	{
		if (state == ETL_RECORD_END)
			return false;
		etl_header_malformed(decoder, "first line", record);
	}
	if (record->raw_length == 2 && memcmp(record->raw, "\\.", 2) == 0)
		return false;
	n = cut(text, etl_decoder_copy(decoder, record->raw, record->raw_length), record->raw_length, true);
	if (text->lines.has_header && etl_values_check(decoder, record->raw, record->raw_length, n) >= 0)
		etl_header_not_text(decoder, record->raw, record->raw_length);
	for (int i = 0; i < n; i++)
	{
		const char *name = decoder->values[i].text;

		if (!text->lines.has_header || decoder->values[i].kind == ETL_VALUE_NULL || name[0] == '\0')
			name = psprintf("column%d", i + 1);
		decoder->fields[i] = pstrdup(name);
		decoder->field_lengths[i] = strlen(name);
	}
	etl_header_check_names(decoder);
	*used = !text->lines.has_header;
	return true;
}

/*
 * text_next hands out the next record.
 */
static EtlRecordState
text_next(EtlDecoder *decoder, EtlRecord *record)
{
	TextDecoder *text = (TextDecoder *) decoder;
	EtlRecordState state;
	bool		have = false;
	int			n;
	int			bad;

	if (!text->lines.begun && !name_fields(text, record, &have))
		return ETL_RECORD_END;
	if (!have && !etl_lines_next(decoder, &text->lines, record, true, &state))
		return state;
	if (record->raw_length == 2 && memcmp(record->raw, "\\.", 2) == 0)
		return ETL_RECORD_END;
	n = cut(text, etl_decoder_copy(decoder, record->raw, record->raw_length), record->raw_length, false);
	/* what was escaped is text of the encoding, too: it is checked as values */
	for (int i = 0; i < Min(n, decoder->nfields); i++)
		if (decoder->invalid_bytes == ETL_INVALID_QUARANTINE &&
			etl_encoding_fault(decoder->encoding, decoder->values[i].text, decoder->values[i].length) != NULL)
			return etl_values_bad(decoder, record, i);
	bad = etl_values_check(decoder, record->raw, record->raw_length, Min(n, decoder->nfields));
	if (bad >= 0)
		return etl_values_bad(decoder, record, bad);
	if (n != decoder->nfields)
		return etl_decoder_bad(decoder, record, n < decoder->nfields ? "too_few_fields" : "too_many_fields",
							   "record has %d field%s, expected %d", n, n == 1 ? "" : "s", decoder->nfields);
	return ETL_RECORD_OK;
}
