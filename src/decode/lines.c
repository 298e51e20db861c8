/*-------------------------------------------------------------------------
 *
 * lines.c
 *    What the formats share whose records are lines.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/lines.h"

/*
 * etl_lines_header: see lines.h.
 */
bool
etl_lines_header(const Jsonb *options, List **names)
{
	ListCell   *cell;
	char		kind = etl_json_kind_of(options, "header");
	const char *word = kind == 's' ? etl_json_get_text(options, "header") : NULL;

	*names = NIL;
	if (kind != '\0' && kind != 'a' && kind != 'b' && !(word != NULL && strcmp(word, "match") == 0))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("option \"header\" is neither a boolean nor a list"),
				 errhint("Write true, false, \"match\", or the names of the fields: [\"id\", \"name\"].")));
	if (kind != 'a')
		return word != NULL || etl_json_get_bool(options, "header", true);
	*names = etl_json_get_list(options, "header");
	if (*names == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("option \"header\" is an empty list"),
				 errhint("Name every field of the file, or say true or false.")));
	foreach(cell, *names)
	{
		const char *name = lfirst(cell);

		if (name == NULL || name[0] == '\0')
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION), errmsg("option \"header\" has an empty name"),
					 errhint("Name every field of the file.")));
		for (int i = 0; i < foreach_current_index(cell); i++)
			if (strcmp(list_nth(*names, i), name) == 0)
				ereport(ERROR,
						(errcode(ETL_ERR_DEFINITION),
						 errmsg("option \"header\" names \"%s\" twice", name)));
	}
	return false;
}

void
etl_lines_configure(EtlLines *lines, const Jsonb *options)
{
	lines->encoding = etl_json_get_text(options, "encoding");
	lines->has_header = etl_lines_header(options, &lines->names);
	lines->skip_lines = etl_json_get_int64(options, "skip_lines", 0);
	if (lines->skip_lines < 0)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"skip_lines\" must not be negative")));
	lines->comment = etl_json_get_text(options, "comment");
	lines->nulls = etl_json_get_list(options, "null");
}

/*
 * etl_lines_is_null tells whether a text is one of those that mean NULL.
 */
bool
etl_lines_is_null(const List *nulls, const char *text, int length)
{
	ListCell   *cell;

	foreach(cell, nulls)
	{
		const char *null = lfirst(cell);

		if (strlen(null) == length && memcmp(null, text, length) == 0)
			return true;
	}
	return false;
}

/*
 * find_end returns the length of the line at the window's start, reading on as
 * needed; false when it is above the limit.
 */
static bool
find_end(EtlDecoder *decoder, bool escapes, size_t *length)
{
	EtlInput   *input = &decoder->input;
	size_t		from = 0;

	for (;;)
	{
		const char *begin = input->data + input->start;
		size_t		available = input->end - input->start;

		while (from < available && from <= decoder->max_record)
		{
			char		c = begin[from];

			if (c == '\\' && escapes)
			{
				/* what it escapes may be a line end; of CRLF both */
				if (from + 2 >= available && !input->eof)
					break;
				from += from + 2 < available && begin[from + 1] == '\r' && begin[from + 2] == '\n' ? 3 : 2;
				continue;
			}
			if (c == '\n' || c == '\r')
				break;
			from++;
		}
		*length = Min(from, available);
		if (from > decoder->max_record)
			return false;
		if (from < available && (begin[from] == '\n' || begin[from] == '\r'))
			return true;
		if (!etl_input_more(input))
		{
			*length = input->end - input->start;
			if (from >= *length)
				return true;
		}
	}
}

/*
 * consume passes over a line and its end: LF, CR or CRLF.
 */
static void
consume(EtlDecoder *decoder, size_t length)
{
	EtlInput   *input = &decoder->input;
	bool		cr;

	input->start += length;
	if (input->start == input->end)
		return;
	cr = input->data[input->start] == '\r';
	input->start++;
	if (cr && input->start < input->end && input->data[input->start] == '\n')
		input->start++;
}

/*
 * etl_lines_begin: see lines.h.
 */
void
etl_lines_begin(EtlDecoder *decoder, EtlLines *lines)
{
	EtlInput   *input = &decoder->input;

	etl_encoding_begin(decoder, lines->encoding);
	lines->begun = true;
	if (input->end >= 3 && memcmp(input->data, "\xef\xbb\xbf", 3) == 0)
		input->start = 3;
	for (int64 i = 0; i < lines->skip_lines && (input->start < input->end || etl_input_more(input)); i++)
	{
		EtlRecord	record;
		EtlRecordState state;
		EtlLines	plain = {0};

		(void) etl_lines_next(decoder, &plain, &record, false, &state);
	}
}

bool
etl_lines_next(EtlDecoder *decoder, const EtlLines *lines, EtlRecord *record, bool escapes,
			   EtlRecordState *state)
{
	EtlInput   *input = &decoder->input;
	size_t		length;

	for (;;)
	{
		/* CRLF is to lie in the window whole */
		if (input->end - input->start < 2)
			(void) etl_input_more(input);
		if (input->start == input->end)
		{
			*state = ETL_RECORD_END;
			return false;
		}
		if (!find_end(decoder, escapes, &length))
		{
			*state = etl_decoder_skip_line(decoder, record, true);
			return false;
		}
		if (input->end - input->start < length + 2)
			(void) etl_input_more(input);
		record->position = decoder->position++;
		record->raw = input->data + input->start;
		record->raw_length = length;
		record->raw_size = length;
		if (escapes)
			for (size_t i = 0; i < length; i++)
				decoder->position += record->raw[i] == '\n' ||
									 (record->raw[i] == '\r' && record->raw[i + 1] != '\n');
		consume(decoder, length);
		if (lines->comment != NULL && *lines->comment && length >= strlen(lines->comment) &&
			memcmp(record->raw, lines->comment, strlen(lines->comment)) == 0)
			continue;
		return true;
	}
}

/*
 * repair_values takes the faults out of the values of a record.
 */
static void
repair_values(EtlDecoder *decoder, int n)
{
	etl_encoding_begin_repair(decoder);
	for (int i = 0; i < n; i++)
	{
		EtlValue   *value = &decoder->values[i];
		size_t		length;

		if (value->kind == ETL_VALUE_NULL || etl_encoding_is_ascii(value->text, value->length))
			continue;
		value->roomy = false;
		value->text = etl_encoding_repair(decoder, decoder->encoding, decoder->conversion,
										  value->text, value->length, &length);
		value->length = length;
	}
}

/*
 * etl_values_check: see lines.h.
 */
int
etl_values_check(EtlDecoder *decoder, const char *raw, size_t length, int n)
{
	int			i;

	if (decoder->invalid_bytes != ETL_INVALID_QUARANTINE && !etl_encoding_is_ascii(raw, length))
	{
		repair_values(decoder, n);
		return -1;
	}
	if (etl_encoding_is_ascii(raw, length) || etl_encoding_fault(decoder->encoding, raw, length) == NULL)
	{
		if (decoder->conversion == InvalidOid || etl_encoding_is_ascii(raw, length) ||
			etl_encoding_convert(decoder, n, &i))
			return -1;
		return i;
	}
	for (i = 0; i < n - 1; i++)
		if (etl_encoding_fault(decoder->encoding, decoder->values[i].text, decoder->values[i].length))
			break;
	return i;
}

EtlRecordState
etl_values_bad(EtlDecoder *decoder, EtlRecord *record, int bad)
{
	record->problem_field = bad < decoder->nfields ? decoder->fields[bad] : NULL;
	if (memchr(record->raw, '\0', record->raw_length))
		return etl_decoder_bad(decoder, record, "encoding", "text holds a NUL byte");
	return etl_decoder_bad(decoder, record, "encoding", "text is not valid in encoding %s",
						   pg_encoding_to_char(decoder->encoding));
}
