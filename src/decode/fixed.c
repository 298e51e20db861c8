/*-------------------------------------------------------------------------
 *
 * fixed.c
 *    Lines whose fields have a fixed width to records.
 *
 * The option "widths" cuts a line from its beginning, "positions" anywhere;
 * both count characters, or bytes where that is said.  Blanks around a field
 * are its padding, and a field of nothing else is NULL.  A line that ends
 * before its last field is a reject, and one that has more than blanks behind
 * its widths.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/lines.h"

typedef struct Extent
{
	int			begin;			/* characters or bytes before it */
	int			end;
} Extent;

typedef struct FixedDecoder
{
	EtlDecoder	base;
	EtlLines	lines;
	Extent	   *extents;
	int			nextents;
	bool		to_the_end;		/* nothing may stand behind the fields */
	bool		in_bytes;
	bool		trim;
	char	   *work;			/* the fields of a line */
	size_t		room;
	bool		ragged;			/* lines may end early: what is missing is NULL */
} FixedDecoder;

static EtlRecordState fixed_next(EtlDecoder *decoder, EtlRecord *record);

/*
 * read_number reads a positive number that ends at 'stop'; raises ET001.
 */
static int
read_number(const char *option, const char *text, char stop, const char **end)
{
	char	   *rest;
	long		value = strtol(text, &rest, 10);

	if (rest == text || value < 1 || value > 1000000 || *rest != stop)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"%s\": \"%s\"", option, text),
				 errhint("Write \"widths\": [5, 20, 8], or \"positions\": [\"1-5\", \"6-25\", \"30-37\"].")));
	*end = rest;
	return (int) value;
}

/*
 * read_extents reads "widths" or "positions".
 */
static void
read_extents(FixedDecoder *fixed, const Jsonb *options)
{
	List	   *widths = etl_json_get_list(options, "widths");
	List	   *positions = etl_json_get_list(options, "positions");
	int			at = 0;
	ListCell   *cell;

	if ((widths == NIL) == (positions == NIL))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a stream of format fixed needs either \"widths\" or \"positions\""),
				 errhint("Write \"widths\": [5, 20, 8], or \"positions\": [\"1-5\", \"6-25\", \"30-37\"].")));
	fixed->to_the_end = widths != NIL;
	fixed->nextents = list_length(widths ? widths : positions);
	fixed->extents = palloc(sizeof(Extent) * fixed->nextents);
	foreach(cell, widths ? widths : positions)
	{
		Extent	   *extent = &fixed->extents[foreach_current_index(cell)];
		const char *text = lfirst(cell) ? lfirst(cell) : "";
		const char *end;

		if (widths != NIL)
		{
			extent->begin = at;
			extent->end = at += read_number("widths", text, '\0', &end);
			continue;
		}
		extent->begin = read_number("positions", text, '-', &end) - 1;
		extent->end = read_number("positions", end + 1, '\0', &end);
		if (extent->end <= extent->begin)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"positions\" has a field that ends before it begins: \"%s\"", text)));
	}
}

/*
 * configure reads the options of a stream into a decoder.
 */
static void
configure(FixedDecoder *fixed, const Jsonb *options)
{
	const char *unit = etl_json_get_text(options, "unit");
	static const unsigned char no_marks[1] = {0};

	etl_lines_configure(&fixed->lines, options);
	if (!etl_json_has(options, "header"))
		fixed->lines.has_header = false;
	read_extents(fixed, options);
	if (fixed->lines.names != NIL && list_length(fixed->lines.names) != fixed->nextents)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"header\" names %d fields, and there are %d",
							   list_length(fixed->lines.names), fixed->nextents)));
	fixed->in_bytes = unit != NULL && strcmp(unit, "bytes") == 0;
	fixed->trim = etl_json_get_bool(options, "trim", true);
	fixed->ragged = etl_json_get_bool(options, "ragged", false);
	etl_encoding_open(&fixed->base, options, no_marks);
}

void
etl_fixed_check(const Jsonb *options)
{
	FixedDecoder fixed = {0};

	configure(&fixed, options);
}

EtlDecoder *
etl_fixed_open(EtlRead *input, const EtlDecodeOptions *options)
{
	FixedDecoder *fixed = palloc0(sizeof(FixedDecoder));

	etl_decoder_begin(&fixed->base, input, options);
	fixed->base.next = fixed_next;
	configure(fixed, options->options);
	return &fixed->base;
}

/*
 * place returns where character number 'n' of a line begins, its end when it
 * has fewer; '*characters' and '*at' remember the last place asked for.
 */
static int
place(const FixedDecoder *fixed, const char *line, int length, int n, int *characters, int *at)
{
	if (fixed->in_bytes)
		return Min(n, length);
	if (n < *characters)
		*characters = *at = 0;
	while (*characters < n && *at < length)
	{
		*at += Min(pg_encoding_mblen(fixed->base.encoding, line + *at), length - *at);
		(*characters)++;
	}
	return *at;
}

/*
 * cut makes values of a line.  Returns the number of fields that begin within
 * it.
 */
static int
cut(FixedDecoder *fixed, const char *line, int length)
{
	EtlDecoder *decoder = &fixed->base;
	size_t		need = ETL_PADDING;
	int			characters = 0;
	int			at = 0;
	int			present = 0;
	char	   *out;

	/* fields may overlap, so each gets a copy */
	for (int i = 0; i < fixed->nextents; i++)
		need += Min(length, (fixed->extents[i].end - fixed->extents[i].begin) * MAX_MULTIBYTE_CHAR_LEN) + 1;
	if (fixed->room < need)
	{
		if (fixed->work)
			pfree(fixed->work);
		fixed->room = need * 2;
		fixed->work = MemoryContextAllocHuge(decoder->context, fixed->room);
	}
	out = fixed->work;
	for (int i = 0; i < fixed->nextents; i++)
	{
		EtlValue   *value = &decoder->values[i];
		int			begin = place(fixed, line, length, fixed->extents[i].begin, &characters, &at);
		int			end = place(fixed, line, length, fixed->extents[i].end, &characters, &at);

		present += begin < length;
		if (fixed->trim)
		{
			while (begin < end && (line[begin] == ' ' || line[begin] == '\t'))
				begin++;
			while (end > begin && (line[end - 1] == ' ' || line[end - 1] == '\t'))
				end--;
		}
		end = Min(end, begin + (fixed->extents[i].end - fixed->extents[i].begin) * MAX_MULTIBYTE_CHAR_LEN);
		memset(value, 0, sizeof(EtlValue));
		memcpy(out, line + begin, end - begin);
		out[end - begin] = '\0';
		value->text = out;
		value->length = end - begin;
		value->kind = value->length == 0 || etl_lines_is_null(fixed->lines.nulls, out, value->length) ?
						  ETL_VALUE_NULL :
						  ETL_VALUE_TEXT;
		out += value->length + 1;
	}
	return present;
}

/*
 * has_more tells whether something else than blanks stands behind the fields.
 */
static bool
has_more(const FixedDecoder *fixed, const char *line, int length)
{
	int			last = 0;
	int			characters = 0;
	int			at = 0;

	for (int i = 0; i < fixed->nextents; i++)
		last = Max(last, fixed->extents[i].end);
	for (int i = place(fixed, line, length, last, &characters, &at); i < length; i++)
		if (line[i] != ' ' && line[i] != '\t')
			return true;
	return false;
}

/*
 * name_fields makes the fields: from the option, or the header.  False at the
 * end of the input.
 */
static bool
name_fields(FixedDecoder *fixed, EtlRecord *record)
{
	EtlDecoder *decoder = &fixed->base;
	EtlRecordState state;

	etl_lines_begin(decoder, &fixed->lines);
	for (int i = 0; i < fixed->nextents; i++)
	{
		const char *name = fixed->lines.names ? list_nth(fixed->lines.names, i) : psprintf("column%d", i + 1);

		etl_decoder_add_field(decoder, name, strlen(name));
	}
	if (!fixed->lines.has_header)
		return true;
	if (!etl_lines_next(decoder, &fixed->lines, record, false, &state))
		return false;
	cut(fixed, record->raw, record->raw_length);
	if (etl_values_check(decoder, record->raw, record->raw_length, decoder->nfields) >= 0)
		etl_header_not_text(decoder, record->raw, record->raw_length);
	for (int i = 0; i < fixed->nextents; i++)
		if (decoder->values[i].kind == ETL_VALUE_TEXT)
		{
			decoder->fields[i] = pstrdup(decoder->values[i].text);
			decoder->field_lengths[i] = decoder->values[i].length;
		}
	etl_header_check_names(decoder);
	return true;
}

/*
 * fixed_next hands out the next record; empty lines are none.
 */
static EtlRecordState
fixed_next(EtlDecoder *decoder, EtlRecord *record)
{
	FixedDecoder *fixed = (FixedDecoder *) decoder;
	EtlRecordState state;
	int			present;
	int			bad;

	if (!fixed->lines.begun && !name_fields(fixed, record))
		return ETL_RECORD_END;
	do
	{
		if (!etl_lines_next(decoder, &fixed->lines, record, false, &state))
			return state;
	} while (record->raw_length == 0);
	present = cut(fixed, record->raw, record->raw_length);
	bad = etl_values_check(decoder, record->raw, record->raw_length, decoder->nfields);
	if (bad >= 0)
		return etl_values_bad(decoder, record, bad);
	if (present < decoder->nfields && !fixed->ragged)
		return etl_decoder_bad(decoder, record, "too_few_fields", "line ends before field %d of %d",
							   present + 1, decoder->nfields);
	if (fixed->to_the_end && has_more(fixed, record->raw, record->raw_length))
		return etl_decoder_bad(decoder, record, "too_many_fields", "line goes on behind its last field");
	return ETL_RECORD_OK;
}
