/*-------------------------------------------------------------------------
 *
 * xml.c
 *    Elements of XML documents to records.
 *
 * The part etl_xml reads the document; here its fields become values.  A
 * field that an element has several times is a JSON array of its texts.  A
 * document that is not well-formed is an error: where its records end is not
 * known.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/part.h"
#include "decode/lines.h"

typedef struct XmlDecoder
{
	EtlDecoder	base;
	EtlRead		read;			/* the window, for the part */
	const EtlXmlPart *part;
	void	   *state;
	char	   *path;
	char	   *encoding;		/* as the option names it; NULL: as the document says */
	MemoryContext arrays;		/* of the record at hand */
} XmlDecoder;

static EtlRecordState xml_next(EtlDecoder *decoder, EtlRecord *record);

/*
 * read_window hands out the decoder's input.
 */
static size_t
read_window(void *arg, char *buffer, size_t size)
{
	EtlInput   *input = &((XmlDecoder *) arg)->base.input;
	size_t		n;

	if (input->start == input->end && !etl_input_more(input))
		return 0;
	n = Min(size, input->end - input->start);
	memcpy(buffer, input->data + input->start, n);
	input->start += n;
	return n;
}

/*
 * etl_xml_check raises ET001 for options that no document can be read with.
 */
void
etl_xml_check(const Jsonb *options)
{
	XmlDecoder	xml = {0};
	const char *path = etl_json_get_text(options, "records");

	etl_encoding_open(&xml.base, options, NULL);
	if (path != NULL && (path[0] == '\0' || strstr(path, "//") != NULL || strpbrk(path, "[]@()|") != NULL))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("invalid value for option \"records\": \"%s\"", path),
						errhint("Write the names of the elements from the root down to the "
								"records: \"orders/order\"; * is any.")));
}

EtlDecoder *
etl_xml_open(EtlRead *input, const EtlDecodeOptions *options)
{
	XmlDecoder *xml = palloc0(sizeof(XmlDecoder));
	const char *path = options->records_path;

	etl_decoder_begin(&xml->base, input, options);
	xml->base.next = xml_next;
	xml->path = path ? pstrdup(path) : etl_json_get_text(options->options, "records");
	xml->encoding = etl_json_get_text(options->options, "encoding");
	xml->read.read = read_window;
	xml->read.arg = xml;
	etl_encoding_open(&xml->base, options->options, NULL);
	xml->arrays = AllocSetContextCreate(CurrentMemoryContext, "etl xml arrays", ALLOCSET_SMALL_SIZES);
	return &xml->base;
}

/*
 * field_number returns the number of a field, adding it when it is new; -1
 * when there are too many.
 */
static int
field_number(EtlDecoder *decoder, const char *name)
{
	int			length = strlen(name);

	for (int i = 0; i < decoder->nfields; i++)
		if (decoder->field_lengths[i] == length && memcmp(decoder->fields[i], name, length) == 0)
			return i;
	return decoder->nfields < ETL_MAX_FIELDS ? etl_decoder_add_field(decoder, name, length) : -1;
}

/*
 * append_string appends a text as JSON.
 */
static void
append_string(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '"');
	for (const char *p = text; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(out, '\\');
		if ((unsigned char) *p < ' ')
			appendStringInfo(out, "\\u%04x", (unsigned char) *p);
		else
			appendStringInfoChar(out, *p);
	}
	appendStringInfoChar(out, '"');
}

/*
 * add_again makes the array of a field that comes several times.
 */
static void
add_again(XmlDecoder *xml, EtlValue *value, const char *text, int times)
{
	MemoryContext old = MemoryContextSwitchTo(xml->arrays);
	StringInfoData array;

	initStringInfo(&array);
	if (times == 1)
	{
		appendStringInfoChar(&array, '[');
		append_string(&array, value->text);
	}
	else
		appendBinaryStringInfo(&array, value->text, value->length - 1);
	appendStringInfoString(&array, ", ");
	append_string(&array, text);
	appendStringInfoChar(&array, ']');
	value->text = array.data;
	value->length = array.len;
	MemoryContextSwitchTo(old);
}

/*
 * make_values turns the fields of a record into values; false when there are
 * too many names.
 */
static bool
make_values(XmlDecoder *xml, const EtlXmlRecord *found)
{
	EtlDecoder *decoder = &xml->base;
	int		   *times;

	MemoryContextReset(xml->arrays);
	for (int i = 0; i < found->nfields; i++)
		if (field_number(decoder, found->fields[i].name) < 0)
			return false;
	times = MemoryContextAllocZero(xml->arrays, sizeof(int) * Max(decoder->nfields, 1));
	memset(decoder->values, 0, sizeof(EtlValue) * decoder->nfields);
	for (int i = 0; i < decoder->nfields; i++)
		decoder->values[i].text = "";
	for (int i = 0; i < found->nfields; i++)
	{
		int			number = field_number(decoder, found->fields[i].name);
		EtlValue   *value = &decoder->values[number];

		if (found->fields[i].text == NULL)
			continue;
		if (times[number]++ > 0)
			add_again(xml, value, found->fields[i].text, times[number] - 1);
		else
		{
			value->kind = ETL_VALUE_TEXT;
			value->text = unconstify(char *, found->fields[i].text);
			value->length = found->fields[i].length;
		}
	}
	return true;
}

/*
 * begin loads the part and lets it open the document.
 */
static void
begin(XmlDecoder *xml)
{
	EtlDecoder *decoder = &xml->base;

	xml->part = etl_part_find("xml", psprintf("\"%s\" is XML", decoder->origin));
	/* what was said of the encoding counts, whatever the document says */
	if (xml->encoding != NULL)
		etl_encoding_begin(decoder, xml->encoding);
	xml->state = xml->part->open(&xml->read, xml->path, xml->encoding ? "UTF-8" : NULL, decoder->max_record,
								 decoder->origin);
}

/*
 * xml_next hands out the next record.
 */
static EtlRecordState
xml_next(EtlDecoder *decoder, EtlRecord *record)
{
	XmlDecoder *xml = (XmlDecoder *) decoder;
	EtlXmlRecord found;
	int			bad;

	if (xml->part == NULL)
	{
		/* an empty input has no record */
		if (!etl_input_more(&decoder->input))
			return ETL_RECORD_END;
		begin(xml);
	}
	if (!xml->part->next(xml->state, &found))
		return ETL_RECORD_END;
	record->position = decoder->position++;
	record->raw = found.raw;
	record->raw_length = record->raw_size = found.raw_length;
	if (found.raw_length > decoder->max_record)
	{
		etl_oversize_begin(&decoder->oversize);
		etl_oversize_add(&decoder->oversize, found.raw, found.raw_length);
		etl_oversize_end(&decoder->oversize, record);
		return etl_decoder_bad(decoder, record, "too_large",
							   "record of " INT64_FORMAT " bytes is larger than etl.max_record_size",
							   record->raw_size);
	}
	if (!make_values(xml, &found))
		return etl_decoder_bad(decoder, record, "too_many_fields",
							   "document has more than %d names of fields", ETL_MAX_FIELDS);
	bad = etl_values_check(decoder, record->raw, record->raw_length, decoder->nfields);
	return bad >= 0 ? etl_values_bad(decoder, record, bad) : ETL_RECORD_OK;
}
