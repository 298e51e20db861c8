/*-------------------------------------------------------------------------
 *
 * json.c
 *    JSON records: one a line, or the elements of documents.
 *
 * Where records begin and end; json_record.c reads them.  In ndjson a
 * malformed line is a reject and the next line is read.  In a document, an
 * element of the array is a reject when it is certain where it ends; else the
 * document hands out the elements before the fault and then raises ET007.  An
 * element that is JSON but no object, or text that PostgreSQL cannot store, is
 * a reject.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "decode/json_decoder.h"

static EtlRecordState ndjson_next(EtlDecoder *decoder, EtlRecord *record);
static EtlRecordState json_next(EtlDecoder *decoder, EtlRecord *record);

/*
 * etl_json_open makes a JSON decoder in the current context.
 */
EtlDecoder *
etl_json_open(EtlRead *input, const EtlDecodeOptions *options)
{
	JsonDecoder *json = palloc0(sizeof(JsonDecoder));
	const char *records = options->records_path;

	if (records == NULL)
		records = etl_json_get_text(options->options, "records");
	etl_decoder_begin(&json->base, input, options);
	json->base.next = strcmp(options->format, "ndjson") == 0 ? ndjson_next : json_next;
	json->path = etl_json_path_parse(records);
	json->nslots = 64;
	json->slots = palloc0(json->nslots * sizeof(int));
	json->encoding = etl_json_get_text(options->options, "encoding");
	etl_encoding_open(&json->base, options->options, NULL);
	return &json->base;
}

/*
 * skip_mark passes over a byte order mark at the very beginning.
 */
static void
skip_mark(JsonDecoder *json)
{
	EtlInput   *input = &json->base.input;

	json->begun = true;
	etl_encoding_begin(&json->base, json->encoding);
	if (input->end >= 3 && memcmp(input->data, "\xef\xbb\xbf", 3) == 0)
		input->start = 3;
}

/*
 * ndjson_next hands out the record of the next line that is not empty.
 */
static EtlRecordState
ndjson_next(EtlDecoder *decoder, EtlRecord *record)
{
	JsonDecoder *json = (JsonDecoder *) decoder;
	EtlInput   *input = &decoder->input;
	size_t		searched = 0;

	if (!json->begun)
		skip_mark(json);
	for (;;)
	{
		char	   *begin = input->data + input->start;
		size_t		available = input->end - input->start;
		char	   *stop = memchr(begin + searched, '\n', available - searched);
		size_t		length = stop ? (size_t) (stop - begin) : available;
		JsonFault	fault;

		if (length > decoder->max_record)
			return etl_decoder_skip_line(decoder, record, false);
		if (stop == NULL && etl_input_more(input))
		{
			searched = available;
			continue;
		}
		if (length == 0 && stop == NULL)
			return ETL_RECORD_END;
		searched = 0;
		/* the window may have moved */
		begin = input->data + input->start;
		input->start += length + (stop ? 1 : 0);
		record->position = decoder->position++;
		if (length > 0 && begin[length - 1] == '\r')
			length--;
		if (length > 0 && etl_json_skip_space(begin) < begin + length)
			return etl_json_decode_record(json, record, begin, length, &fault);
	}
}

/*
 * what_to_do is the hint for a document that is broken around the records.
 */
static const char *
what_to_do(JsonDecoder *json, const char *problem)
{
	EtlInput   *input = &json->base.input;

	if (input->start < input->end && input->data[input->start] == '<')
		return "It is XML or HTML here, such as a page that tells of an error, and no JSON: look at it.";
	if (strcmp(problem, "it ends early") == 0)
		return "It was probably cut off while it was written or sent: get it again.";
	if (strncmp(problem, "there ", strlen("there ")) == 0)
		return "Set the option \"records\" to the path of the records in it, or look at it: it may "
			   "tell of an error.";
	return "Correct it at its origin; of the format \"ndjson\", a record a line, only the bad "
		   "lines are left out.";
}

/*
 * broken raises what is wrong with the document around the records.
 */
pg_noreturn static void
broken(JsonDecoder *json, const char *problem)
{
	EtlDecoder *decoder = &json->base;

	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("JSON document \"%s\" is malformed: %s", decoder->origin, problem),
			 errdetail("The fault is near byte " INT64_FORMAT ", behind " INT64_FORMAT " records.",
					   etl_decoder_bytes(decoder) + 1, decoder->position - 1),
			 errhint("%s", what_to_do(json, problem))));
}

/*
 * peek returns the next byte that is not space, or 0 at the end.
 */
static char
peek(JsonDecoder *json)
{
	EtlInput   *input = &json->base.input;

	for (;;)
	{
		while (input->start < input->end)
		{
			char		c = input->data[input->start];

			if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			{
				if (c == '\0')
					broken(json, "it holds a NUL byte");
				return c;
			}
			input->start++;
		}
		if (!etl_input_more(input))
			return '\0';
	}
}

/*
 * pass_value passes over the value at the window's start, of any size.
 */
static void
pass_value(JsonDecoder *json, EtlOversize *oversize, JsonExtent *extent)
{
	EtlInput   *input = &json->base.input;

	for (;;)
	{
		size_t		used;
		bool		done = etl_json_extent(extent, input->data + input->start,
									input->end - input->start, &used);

		if (oversize)
			etl_oversize_add(oversize, input->data + input->start, used);
		input->start += used;
		if (done)
			return;
		if (!etl_input_more(input))
		{
			if (extent->scalar)
				return;
			broken(json, "it ends early");
		}
	}
}

/*
 * read_key reads the key at the window's start and its colon into the
 * decoder's work space; it is matched against 'segment'.
 */
static bool
read_key(JsonDecoder *json, const char *segment)
{
	EtlDecoder *decoder = &json->base;
	EtlInput   *input = &decoder->input;
	JsonExtent	extent = {0};
	JsonFault	fault;
	size_t		used;
	char	   *key;
	int			length;

	if (peek(json) != '"')
		broken(json, "expected a key");
	for (;;)
	{
		memset(&extent, 0, sizeof(extent));
		if (etl_json_extent(&extent, input->data + input->start, input->end - input->start, &used))
			break;
		if (input->end - input->start > decoder->max_record || !etl_input_more(input))
			broken(json, "a key does not end");
	}
	key = etl_decoder_copy(decoder, input->data + input->start, used);
	input->start += used;
	if (etl_json_scan_string(key + 1, true, &length, &fault) == NULL)
		broken(json, fault.problem);
	if (peek(json) != ':')
		broken(json, "expected a colon behind a key");
	input->start++;
	if (peek(json) == '\0')
		broken(json, "it ends early");
	return segment && strcmp(key + 1, segment) == 0;
}

/*
 * enter_document goes down to the records of the next document.  False when
 * there is no document any more.
 */
static bool
enter_document(JsonDecoder *json)
{
	EtlInput   *input = &json->base.input;
	char		c = peek(json);

	if (c == '\0')
		return false;
	json->place = TAIL;
	for (json->depth = 0; json->depth < json->path.n;)
	{
		if (c != '{')
			broken(json, psprintf("there is no object that holds \"%s\"", json->path.text));
		input->start++;
		json->depth++;
		c = peek(json);
		for (;;)
		{
			JsonExtent	extent = {0};

			if (c == '}')
				broken(json, psprintf("there are no records at \"%s\"", json->path.text));
			if (read_key(json, json->path.segments[json->depth - 1]))
				break;
			pass_value(json, NULL, &extent);
			c = peek(json);
			if (c == ',')
			{
				input->start++;
				c = peek(json);
				if (c == '"')
					continue;
			}
			else if (c == '}')
				continue;
			broken(json, c ? "expected a comma or a closing bracket" : "it ends early");
		}
		c = peek(json);
	}
	if (c == '[')
	{
		input->start++;
		json->place = FIRST_ELEMENT;
	}
	else if (json->path.n > 0 && c == 'n')
	{
		JsonExtent	extent = {0};

		pass_value(json, NULL, &extent);
	}
	else
		json->place = NEXT_ELEMENT;
	return true;
}

/*
 * leave_document passes over what follows the records in their document.  A
 * second key on the way to them is refused: whichever was meant, the records
 * of the other would be lost.
 */
static void
leave_document(JsonDecoder *json)
{
	EtlInput   *input = &json->base.input;

	while (json->depth > 0)
	{
		char		c = peek(json);

		if (c == '}')
		{
			input->start++;
			json->depth--;
		}
		else if (c == ',')
		{
			JsonExtent	extent = {0};
			const char *segment = json->path.segments[json->depth - 1];

			input->start++;
			if (read_key(json, segment))
				broken(json, psprintf("the key \"%s\", which leads to the records, stands twice",
									  segment));
			pass_value(json, NULL, &extent);
		}
		else
			broken(json, c ? "expected a comma or a closing bracket" : "it ends early");
	}
	json->place = BETWEEN;
}

/*
 * leave_malformed rejects an element of an array that is no JSON, when it is
 * certain where it ends: see etl_json_is_closed.  Otherwise good records
 * behind it could have been taken for a part of it, and the whole document is
 * refused.
 */
static EtlRecordState
leave_malformed(JsonDecoder *json, EtlRecord *record, size_t size)
{
	EtlDecoder *decoder = &json->base;
	EtlInput   *input = &decoder->input;
	char	   *copy = etl_decoder_copy(decoder, input->data + input->start, size);
	char		c;

	if (json->place != NEXT_ELEMENT || !etl_json_is_closed(copy, size))
		broken(json, record->problem);
	input->start += size;
	c = peek(json);
	if (c != ',' && c != ']')
	{
		input->start -= Min(input->start, size);
		broken(json, record->problem);
	}
	record->raw = copy;
	decoder->position++;
	return ETL_RECORD_BAD;
}

/*
 * next_element decodes the value at the window's start as a record.
 */
static EtlRecordState
next_element(JsonDecoder *json, EtlRecord *record)
{
	EtlDecoder *decoder = &json->base;
	EtlInput   *input = &decoder->input;
	JsonExtent	extent = {0};
	JsonFault	fault;
	size_t		searched = 0;
	EtlRecordState state;

	for (;;)
	{
		size_t		used;
		bool		done = etl_json_extent(&extent, input->data + input->start + searched,
									input->end - input->start - searched, &used);

		searched += used;
		if (searched > decoder->max_record)
		{
			etl_oversize_begin(&decoder->oversize);
			etl_oversize_add(&decoder->oversize, input->data + input->start, searched);
			input->start += searched;
			if (!done)
				pass_value(json, &decoder->oversize, &extent);
			etl_oversize_end(&decoder->oversize, record);
			record->position = decoder->position++;
			return etl_decoder_bad(decoder, record, "too_large",
								   "record of " INT64_FORMAT " bytes is larger than etl.max_record_size",
								   record->raw_size);
		}
		if (done)
			break;
		if (!etl_input_more(input))
		{
			if (!extent.scalar)
				broken(json, "it ends early");
			break;
		}
	}
	record->position = decoder->position;
	state = etl_json_decode_record(json, record, input->data + input->start, searched, &fault);
	if (fault.code && strcmp(fault.code, "malformed") == 0)
		return leave_malformed(json, record, searched);
	input->start += searched;
	decoder->position++;
	return state;
}

/*
 * json_next hands out the next record of the documents.
 */
static EtlRecordState
json_next(EtlDecoder *decoder, EtlRecord *record)
{
	JsonDecoder *json = (JsonDecoder *) decoder;
	EtlInput   *input = &decoder->input;

	if (!json->begun)
		skip_mark(json);
	for (;;)
	{
		bool		in_array;
		char		c;

		if (json->place == TAIL)
			leave_document(json);
		if (json->place == BETWEEN)
		{
			if (!enter_document(json))
				return ETL_RECORD_END;
			if (json->place == NEXT_ELEMENT)
			{
				/* no array: the value itself is the record */
				json->place = TAIL;
				return next_element(json, record);
			}
			continue;
		}
		in_array = json->place == NEXT_ELEMENT;
		c = peek(json);
		if (c == ']')
		{
			input->start++;
			json->place = TAIL;
			continue;
		}
		if (in_array)
		{
			if (c != ',')
				broken(json, c ? "expected a comma or a closing bracket" : "it ends early");
			input->start++;
			c = peek(json);
		}
		if (c == '\0')
			broken(json, "it ends early");
		json->place = NEXT_ELEMENT;
		return next_element(json, record);
	}
}
