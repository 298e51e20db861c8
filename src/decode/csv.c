/*-------------------------------------------------------------------------
 *
 * csv.c
 *    CSV (RFC 4180 and its dialects) to records.
 *
 * A record's position is the physical line it starts on.  What cannot be a
 * record is a reject, and decoding goes on:
 *	 - too few or too many fields, bad text: the record;
 *	 - text behind a closing quote, or a quote that does not close within
 *	   the record limit: the line the record starts on, no more, so that a
 *	   stray quote never swallows the good lines behind it;
 *	 - after three quotes in a row that did not close, quotes are sought
 *	   only to the end of their line until one closes: decoding stays linear.
 * Empty lines are no records, unless the file has a single column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/csv_scan.h"
#include "decode/lines.h"

#define UNCLOSED_IN_A_ROW 3

typedef struct CsvDecoder
{
	EtlDecoder	base;
	CsvDialect	dialect;
	CsvScan		scan;
	bool		has_header;
	bool		delimiter_given;
	List	   *names;			/* of char *: the fields, where the option names them; NIL: not */
	bool		begun;
	int64		skip_lines;
	char	   *comment;
	int			comment_length;
	List	   *nulls;			/* of char * */
	bool		empty_is_text;	/* unquoted empty is '', not NULL */
	List	   *force_null;		/* char *: fields whose quoted NULL text is NULL, too */
	List	   *force_not_null; /* char *: fields that are never NULL */
	uint8	   *force;			/* of each field; NULL: none */
	int			unclosed;		/* in a row */
	char	   *encoding;		/* as the option names it; NULL: not given */
} CsvDecoder;

static EtlRecordState csv_next(EtlDecoder *decoder, EtlRecord *record);

/*
 * one_byte reads an option that is a single byte, or 'none' when empty.
 */
static unsigned char
one_byte(const Jsonb *options, const char *key, unsigned char byte, bool *none)
{
	char	   *text = etl_json_get_text(options, key);

	if (text == NULL)
		return byte;
	if (none)
		*none = text[0] == '\0';
	if (none && *none)
		return byte;
	if (strlen(text) != 1 || text[0] == '\n' || text[0] == '\r')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"%s\" must be one byte, not \"%s\"", key, text),
				 errhint("A tab is written \"\\t\" in JSON.")));
	return text[0];
}

/*
 * read_dialect reads the options into a dialect that makes sense.
 */
static void
read_dialect(CsvDecoder *csv, const Jsonb *options)
{
	CsvDialect *dialect = &csv->dialect;
	bool		no_quote = false;
	bool		no_escape = false;

	dialect->delimiter = one_byte(options, "delimiter", ',', NULL);
	dialect->quote = one_byte(options, "quote", '"', &no_quote);
	dialect->escape = one_byte(options, "escape", dialect->quote, &no_escape);
	dialect->quoting = !no_quote;
	dialect->trim = etl_json_get_bool(options, "trim", false);
	if (no_quote)
		dialect->quote = dialect->escape = dialect->delimiter;
	else if (dialect->quote == dialect->delimiter || dialect->escape == dialect->delimiter)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options \"delimiter\" and \"quote\" or \"escape\" are the same"),
				 errhint("Choose different bytes, or set \"quote\" to \"\" for no quoting.")));
}

/*
 * configure reads the options of a stream into a decoder.
 */
static void
configure(CsvDecoder *csv, const Jsonb *jsonb)
{
	unsigned char marks[4] = {0};
	const char *empty = etl_json_get_text(jsonb, "empty");

	read_dialect(csv, jsonb);
	marks[0] = csv->dialect.delimiter;
	marks[1] = csv->dialect.quote;
	marks[2] = csv->dialect.escape;
	csv->encoding = etl_json_get_text(jsonb, "encoding");
	csv->has_header = etl_lines_header(jsonb, &csv->names);
	csv->delimiter_given = etl_json_get_text(jsonb, "delimiter") != NULL;
	csv->skip_lines = etl_json_get_int64(jsonb, "skip_lines", 0);
	if (csv->skip_lines < 0)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"skip_lines\" must not be negative")));
	csv->comment = etl_json_get_text(jsonb, "comment");
	csv->comment_length = csv->comment ? strlen(csv->comment) : 0;
	csv->nulls = etl_json_get_list(jsonb, "null");
	csv->empty_is_text = empty && strcmp(empty, "text") == 0;
	csv->force_null = etl_json_get_list(jsonb, "force_null");
	csv->force_not_null = etl_json_get_list(jsonb, "force_not_null");
	etl_encoding_open(&csv->base, jsonb, marks);
}

/*
 * etl_csv_check raises ET001 for options that no CSV file can be read with.
 */
void
etl_csv_check(const Jsonb *options)
{
	CsvDecoder	csv = {0};

	configure(&csv, options);
}

/*
 * etl_decoder_keeps_utf8: see decode.h.
 */
bool
etl_decoder_keeps_utf8(const char *format, const Jsonb *options)
{
	static const unsigned char marks[2] = {'\\', 0};
	CsvDecoder	csv = {0};

	if (strcmp(format, "text") == 0 || strcmp(format, "fixed") == 0)
		return etl_encoding_transcodes(etl_json_get_text(options, "encoding"), false, marks);
	if (strcmp(format, "csv") != 0)
		return true;
	configure(&csv, options);
	return csv.base.transcodes;
}

/*
 * etl_csv_open makes a CSV decoder in the current context.
 */
EtlDecoder *
etl_csv_open(EtlRead *input, const EtlDecodeOptions *options)
{
	CsvDecoder *csv = palloc0(sizeof(CsvDecoder));

	etl_decoder_begin(&csv->base, input, options);
	csv->base.next = csv_next;
	configure(csv, options->options);
	csv->scan.maxcells = 64;
	csv->scan.cells = palloc(csv->scan.maxcells * sizeof(CsvCell));
	return &csv->base;
}

/*
 * first_line_length gives the length of the line at the window's start;
 * false when it is above the limit.
 */
static bool
first_line_length(EtlDecoder *decoder, size_t *length)
{
	EtlInput   *input = &decoder->input;

	for (;;)
	{
		const char *begin = input->data + input->start;
		size_t		available = input->end - input->start;
		const char *lf = memchr(begin, '\n', available);
		const char *cr = memchr(begin, '\r', lf ? (size_t) (lf - begin) : available);
		const char *stop = cr ? cr : lf;

		*length = stop ? (size_t) (stop - begin) : available;
		if (*length > decoder->max_record)
			return false;
		if (stop || !etl_input_more(input))
			return true;
	}
}

/*
 * consume_line_end passes over LF, CR or CRLF.
 */
static void
consume_line_end(EtlInput *input)
{
	bool		cr;

	if (input->start == input->end && !etl_input_more(input))
		return;
	cr = input->data[input->start] == '\r';
	if (cr)
		input->start++;
	if ((!cr || input->start < input->end || etl_input_more(input)) &&
		input->data[input->start] == '\n')
		input->start++;
}

/*
 * reject_line makes a reject of the line the record starts on.
 */
static EtlRecordState
reject_line(CsvDecoder *csv, EtlRecord *record, const char *problem)
{
	EtlDecoder *decoder = &csv->base;
	EtlInput   *input = &decoder->input;
	size_t		length;

	if (!first_line_length(decoder, &length))
		return etl_decoder_skip_line(decoder, record, true);
	record->position = decoder->position++;
	record->raw = etl_decoder_copy(decoder, input->data + input->start, length);
	record->raw_length = length;
	record->raw_size = length;
	input->start += length;
	consume_line_end(input);
	return etl_decoder_bad(decoder, record, "malformed", "%s", problem);
}

/*
 * skip_one_line passes over a line of any length.
 */
static void
skip_one_line(EtlDecoder *decoder)
{
	EtlInput   *input = &decoder->input;

	while (input->start < input->end || etl_input_more(input))
	{
		char		c = input->data[input->start];

		if (c == '\n' || c == '\r')
			break;
		input->start++;
	}
	consume_line_end(input);
	decoder->position++;
}

/*
 * scan_record finds the record at the window's start, reading on as needed.
 * False when it became a reject (state in '*state').
 */
static bool
scan_record(CsvDecoder *csv, EtlRecord *record, EtlRecordState *state)
{
	EtlDecoder *decoder = &csv->base;
	EtlInput   *input = &decoder->input;
	bool		within_line = csv->unclosed >= UNCLOSED_IN_A_ROW;

	for (;;)
	{
		size_t		available = input->end - input->start;
		CsvScanResult result = etl_csv_scan(&csv->dialect, input->data + input->start, available,
											input->eof, within_line, &csv->scan);

		switch (result)
		{
			case CSV_RECORD:
				if (csv->scan.length <= decoder->max_record)
					return true;
				result = CSV_UNCLOSED;
				break;
			case CSV_MORE:
				if (available <= decoder->max_record)
				{
					etl_input_more(input);
					continue;
				}
				result = CSV_UNCLOSED;
				break;
			default:
				break;
		}
		if (result == CSV_TEXT_AFTER_QUOTE)
			*state = reject_line(csv, record, "text after a closing quote");
		else
		{
			/* a long line without quotes ends here too: reject_line tells them apart */
			*state = reject_line(csv, record, "quote without its closing quote");
			if (strcmp(record->problem_code, "too_large") != 0)
				csv->unclosed++;
		}
		return false;
	}
}

/*
 * unescape removes the escapes of a quoted field, in place.
 */
static int
unescape(const CsvDialect *dialect, char *text, int length)
{
	char	   *in = text;
	char	   *end = text + length;
	char	   *out = text;

	while (in < end)
	{
		if ((unsigned char) *in == dialect->escape && in + 1 < end &&
			((unsigned char) in[1] == dialect->quote || (unsigned char) in[1] == dialect->escape))
			in++;
		*out++ = *in++;
	}
	return out - text;
}

#define FORCE_NULL	   1
#define FORCE_NOT_NULL 2

/*
 * is_named tells whether a list of fields, or *, has a field.
 */
static bool
is_named(List *names, const char *field)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), field) == 0 || strcmp(lfirst(cell), "*") == 0)
			return true;
	return false;
}

/*
 * find_forced notes which fields force_null and force_not_null name.
 */
static void
find_forced(CsvDecoder *csv)
{
	EtlDecoder *decoder = &csv->base;

	if (csv->force_null == NIL && csv->force_not_null == NIL)
		return;
	csv->force = palloc0(decoder->nfields + 1);
	for (int i = 0; i < decoder->nfields; i++)
		csv->force[i] = (is_named(csv->force_null, decoder->fields[i]) ? FORCE_NULL : 0) |
						(is_named(csv->force_not_null, decoder->fields[i]) ? FORCE_NOT_NULL : 0);
}

/*
 * force_kind makes a value NULL, or not, where its field is named to be.
 */
static void
force_kind(const CsvDecoder *csv, int field, EtlValue *value, const char *text, int length)
{
	if (csv->force[field] & FORCE_NOT_NULL)
		value->kind = ETL_VALUE_TEXT;
	else if ((csv->force[field] & FORCE_NULL) &&
			 ((length == 0 && !csv->empty_is_text) || etl_lines_is_null(csv->nulls, text, length)))
		value->kind = ETL_VALUE_NULL;
}

/*
 * make_values cuts the record into the decoder's values.
 */
static void
make_values(CsvDecoder *csv, char *work, int n)
{
	EtlValue   *values = csv->base.values;
	int			i;

	for (i = 0; i < n; i++)
	{
		CsvCell    *cell = &csv->scan.cells[i];
		EtlValue   *value = &values[i];
		char	   *text = work + cell->begin;
		int			length = cell->end - cell->begin;

		value->kind = ETL_VALUE_TEXT;
		if (cell->flags & CSV_ESCAPED)
			length = unescape(&csv->dialect, text, length);
		if (!(cell->flags & CSV_QUOTED))
		{
			if (csv->dialect.trim)
			{
				while (length > 0 && (*text == ' ' || *text == '\t'))
					text++, length--;
				while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
					length--;
			}
			if ((length == 0 && !csv->empty_is_text) ||
				(csv->nulls != NIL && etl_lines_is_null(csv->nulls, text, length)))
				value->kind = ETL_VALUE_NULL;
		}
		if (unlikely(csv->force != NULL))
			force_kind(csv, i, value, text, length);
		text[length] = '\0';
		value->roomy = true;
		value->text = text;
		value->length = length;
	}
}

/*
 * read_header makes the fields of the first record; it refuses a name that
 * comes twice, since columns go by name.
 */
static void
read_header(CsvDecoder *csv, const char *raw)
{
	EtlDecoder *decoder = &csv->base;
	char	   *work = etl_decoder_copy(decoder, raw, csv->scan.length);
	int			n = csv->scan.ncells;
	int			i;

	while (decoder->nfields < n)
		etl_decoder_add_field(decoder, "", 0);
	make_values(csv, work, n);
	if (csv->has_header && etl_values_check(decoder, raw, csv->scan.length, n) >= 0)
		etl_header_not_text(decoder, raw, csv->scan.length);
	for (i = 0; i < n; i++)
	{
		const char *name = decoder->values[i].text;

		if (!csv->has_header || name[0] == '\0')
			name = psprintf("column%d", i + 1);
		decoder->fields[i] = pstrdup(name);
		decoder->field_lengths[i] = strlen(name);
	}
	etl_header_check_names(decoder);
	if (csv->has_header && n == 1 && !csv->delimiter_given && !(csv->scan.cells[0].flags & CSV_QUOTED))
		etl_header_check_single(decoder);
}

/*
 * skip_comments passes over comment lines.  False when nothing follows.
 */
static bool
skip_comments(CsvDecoder *csv)
{
	EtlInput   *input = &csv->base.input;

	for (;;)
	{
		if (input->end - input->start < csv->comment_length + 4)
			etl_input_more(input);
		if (input->start == input->end)
			return false;
		if (csv->comment_length == 0 ||
			input->end - input->start < csv->comment_length ||
			memcmp(input->data + input->start, csv->comment, csv->comment_length) != 0)
			return true;
		skip_one_line(&csv->base);
	}
}

/*
 * make_room gives the scanner one cell more than there are fields, so that
 * the count of a longer record shows.
 */
static bool
make_room(CsvDecoder *csv)
{
	find_forced(csv);
	csv->scan.maxcells = Max(csv->scan.maxcells, csv->base.nfields + 1);
	csv->scan.cells = repalloc(csv->scan.cells, csv->scan.maxcells * sizeof(CsvCell));
	return true;
}

/*
 * begin passes over byte order mark, skipped lines and comments, and reads
 * the header.  False when the file has no line.
 */
static bool
begin(CsvDecoder *csv)
{
	EtlDecoder *decoder = &csv->base;
	EtlInput   *input = &decoder->input;
	EtlRecord	record;
	EtlRecordState state;

	etl_encoding_begin(decoder, csv->encoding);
	csv->begun = true;
	if (input->end >= 3 && memcmp(input->data, "\xef\xbb\xbf", 3) == 0)
		input->start = 3;
	while (csv->skip_lines-- > 0 && (input->start < input->end || etl_input_more(input)))
		skip_one_line(decoder);
	if (csv->names != NIL)
	{
		ListCell   *cell;

		foreach(cell, csv->names)
			etl_decoder_add_field(decoder, lfirst(cell), strlen(lfirst(cell)));
		return make_room(csv);
	}
	do
	{
		if (!skip_comments(csv))
			return false;
		csv->scan.grow = true;
		if (!scan_record(csv, &record, &state))
			etl_header_malformed(decoder, csv->has_header ? "header" : "first record", &record);
		csv->scan.grow = false;
		if (csv->scan.length > 0)
			break;
		input->start += csv->scan.next;	/* an empty line above the header */
		decoder->position++;
	} while (true);

	read_header(csv, input->data + input->start);
	if (csv->has_header)
	{
		input->start += csv->scan.next;
		decoder->position += 1 + csv->scan.newlines;
	}
	return make_room(csv);
}

/*
 * finish_record turns the scanned record into values or a reject.
 */
static EtlRecordState
finish_record(CsvDecoder *csv, EtlRecord *record)
{
	EtlDecoder *decoder = &csv->base;
	EtlInput   *input = &decoder->input;
	CsvScan    *scan = &csv->scan;
	int			n = Min(scan->ncells, decoder->nfields);
	int			bad;

	record->position = decoder->position;
	record->raw = input->data + input->start;
	record->raw_length = scan->length;
	record->raw_size = scan->length;
	input->start += scan->next;
	decoder->position += 1 + scan->newlines;

	make_values(csv, etl_decoder_copy(decoder, record->raw, scan->length), n);
	bad = etl_values_check(decoder, record->raw, scan->length, n);
	if (bad >= 0)
		return etl_values_bad(decoder, record, bad);
	if (scan->ncells != decoder->nfields)
		return etl_decoder_bad(decoder, record,
							   scan->ncells < decoder->nfields ? "too_few_fields" : "too_many_fields",
							   "record has %d field%s, expected %d", scan->ncells,
							   scan->ncells == 1 ? "" : "s", decoder->nfields);
	return ETL_RECORD_OK;
}

/*
 * csv_next hands out the next record.
 */
static EtlRecordState
csv_next(EtlDecoder *decoder, EtlRecord *record)
{
	CsvDecoder *csv = (CsvDecoder *) decoder;
	EtlInput   *input = &decoder->input;
	EtlRecordState state;

	if (!csv->begun && !begin(csv))
		return ETL_RECORD_END;
	for (;;)
	{
		/* room for a comment mark; the usual record costs one comparison here */
		if ((csv->comment_length > 0 || input->start == input->end) && !skip_comments(csv))
			return ETL_RECORD_END;
		if (!scan_record(csv, record, &state))
			return state;
		if (csv->unclosed > 0)
		{
			int			i;
			int			n = Min(csv->scan.ncells, csv->scan.maxcells);

			/* once in doubt, only a quote that closes ends it */
			if (csv->unclosed < UNCLOSED_IN_A_ROW)
				csv->unclosed = 0;
			for (i = 0; i < n; i++)
				if (csv->scan.cells[i].flags & CSV_QUOTED)
					csv->unclosed = 0;
		}
		if (csv->scan.length > 0 || decoder->nfields == 1)
			return finish_record(csv, record);
		input->start += csv->scan.next;
		decoder->position++;
	}
}
