/*-------------------------------------------------------------------------
 *
 * format.c
 *    The formats there are: their names, options and decoders.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode/decoder.h"
#include "decode/format.h"

/* ---- options that formats share ---- */

#define OPTION_ENCODING \
	{ \
		"encoding", "text", "UTF8", \
			"encoding of the file: any that PostgreSQL knows, or UTF16, UTF16LE, UTF16BE; a byte order " \
			"mark of UTF-16 is recognised" \
	}

#define OPTION_INVALID_BYTES \
	{ \
		"invalid_bytes", "quarantine|replace|strip", "quarantine", \
			"what becomes of bytes that are no text: their record is rejected, or each is replaced by " \
			"U+FFFD, or taken out" \
	}

#define OPTIONS_TIME \
	{"timezone", "text", "UTC", "zone of timestamps without one"}, \
	{ \
		"date_order", "YMD|DMY|MDY", "YMD", "how dates that are not ISO 8601 are read" \
	}

#define OPTIONS_NUMBERS \
	{"decimal", "text", ".", "decimal mark of numbers"}, \
	{ \
		"thousands", "text", NULL, "mark between groups of three digits" \
	}

#define OPTION_COMPRESSION \
	{ \
		"compression", "auto|none|gzip|zstd|lz4|bzip2|xz", "auto", \
			"how the input is packed; auto looks at its first bytes" \
	}

static const EtlOptionDef csv_options[] = {
	{"dialect", "stated|auto", "stated",
	 "auto finds what the other options do not state (encoding, delimiter, quote, header, decimal) in "
	 "the first file with a record, and keeps it; what is not certain stops the run, which asks for "
	 "the option"},
	{"delimiter", "text", ",", "one byte between fields"},
	{"quote", "text", "\"", "one byte around fields; empty: no quoting"},
	{"escape", "text", NULL, "one byte before a quote inside a quoted field; default: the quote"},
	{"header", "any", "true",
	 "true: the first record names the columns; false: they are column1, column2, …; match: it must "
	 "name the columns of the table, all and in order; or a list of names, where the file has none "
	 "(with skip_lines, instead of its own)"},
	{"null", "text[]", NULL, "unquoted texts that mean NULL, beside the empty one"},
	{"empty", "null|text", "null", "what an unquoted empty field is: NULL, or an empty text"},
	{"force_null", "text[]", NULL,
	 "fields whose quoted texts may mean NULL, too; *: all fields"},
	{"force_not_null", "text[]", NULL,
	 "fields that are never NULL: an empty one is an empty text; *: all fields"},
	OPTION_ENCODING,
	OPTION_INVALID_BYTES,
	{"skip_lines", "integer", "0", "lines to pass over before the header"},
	{"comment", "text", NULL, "lines that begin with this are passed over"},
	{"trim", "boolean", "false", "removes blanks around fields and around their quotes"},
	OPTIONS_TIME,
	OPTIONS_NUMBERS,
	OPTION_COMPRESSION,
	{NULL}};

static const EtlOptionDef json_options[] = {
	{"records", "text", NULL,
	 "path of the records in the document, data.items; default: the document"},
	{"encoding", "text", "UTF8",
	 "encoding of the document: any that PostgreSQL knows, or UTF16, UTF16LE, UTF16BE; a byte "
	 "order mark of UTF-16 is recognised"},
	OPTION_INVALID_BYTES,
	OPTIONS_TIME,
	OPTION_COMPRESSION,
	{NULL}};

static const EtlOptionDef text_options[] = {
	{"delimiter", "text", "\t", "one byte between fields"},
	{"header", "any", "false",
	 "true: the first line names the columns; false: they are column1, column2, …; match: it must name "
	 "the columns of the table, all and in order; or a list of names"},
	{"null", "text[]", "\\N", "texts that mean NULL, before anything is unescaped"},
	{"skip_lines", "integer", "0", "lines to pass over at the beginning"},
	{"comment", "text", NULL, "lines that begin with this are passed over"},
	OPTION_ENCODING,
	OPTION_INVALID_BYTES,
	OPTIONS_TIME,
	OPTIONS_NUMBERS,
	OPTION_COMPRESSION,
	{NULL}};

static const EtlOptionDef fixed_options[] = {
	{"widths", "any", NULL, "list of numbers: the widths of the fields, from the line's beginning"},
	{"positions", "text[]", NULL, "instead of widths: first and last place of each field, from 1: 6-25"},
	{"unit", "characters|bytes", "characters", "what widths and positions count"},
	{"header", "any", "false",
	 "list of the fields' names; true: the first line holds them, cut like the others; false: they are "
	 "column1, column2, …; match: as true, and they must be the columns of the table, in order"},
	{"ragged", "boolean", "false", "true: lines may end early; fields that are missing are NULL"},
	{"null", "text[]", NULL, "texts that mean NULL, beside blanks"},
	{"trim", "boolean", "true", "takes the padding from both ends of a field"},
	{"skip_lines", "integer", "0", "lines to pass over at the beginning"},
	{"comment", "text", NULL, "lines that begin with this are passed over"},
	OPTION_ENCODING,
	OPTION_INVALID_BYTES,
	OPTIONS_TIME,
	OPTIONS_NUMBERS,
	OPTION_COMPRESSION,
	{NULL}};

static const EtlOptionDef xml_options[] = {
	{"records", "text", NULL,
	 "names of the elements from the root down to a record: orders/order; * is any; default: the "
	 "children of the root"},
	{"encoding", "text", NULL,
	 "encoding of the document, whatever it says itself: any that PostgreSQL knows, or UTF16, UTF16LE, "
	 "UTF16BE; default: as it says"},
	OPTIONS_TIME,
	OPTIONS_NUMBERS,
	OPTION_COMPRESSION,
	{NULL}};

static const EtlFormat formats[] = {
	{"csv", csv_options, etl_csv_check, etl_csv_open, false, true, true},
	{"json", json_options, NULL, etl_json_open, true, true, false},
	{"ndjson", json_options, NULL, etl_json_open, true, true, false},
	{"text", text_options, etl_text_check, etl_text_open, false, false, true},
	{"fixed", fixed_options, etl_fixed_check, etl_fixed_open, false, false, true},
	{"xml", xml_options, etl_xml_check, etl_xml_open, false, true, false},
};

const EtlFormat *
etl_format_find(const char *name)
{
	for (int i = 0; i < lengthof(formats); i++)
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
	return NULL;
}

const EtlFormat *
etl_format_next(const EtlFormat *format)
{
	if (format == NULL)
		return formats;
	return format + 1 < formats + lengthof(formats) ? format + 1 : NULL;
}
