/*-------------------------------------------------------------------------
 *
 * json.c
 *    JSON records: one a line, or the elements of documents.
 *
 * A record is copied once and cut up in place: strings are unescaped where
 * they lie, every value gets its NUL there.  In ndjson a malformed line is a
 * reject and the next line is read.  A JSON document that is malformed hands
 * out the elements before the fault and then raises ET007; an element that
 * is JSON but no object, or text that PostgreSQL cannot store, is a reject.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/json_path.h"
#include "decode/json_scan.h"

typedef enum JsonPlace
{
	BETWEEN,					/* before a document */
	FIRST_ELEMENT,				/* behind the '[' of the records */
	NEXT_ELEMENT,				/* behind an element of them */
	TAIL						/* behind the records, inside the objects around them */
} JsonPlace;

typedef struct JsonDecoder
{
	EtlDecoder	base;
	bool		begun;
	JsonPlace	place;
	EtlJsonPath path;			/* of the records */
	int			depth;			/* objects entered on the way to them */
	int			expected;		/* the field that followed last time */
	int		   *slots;			/* hash table: field number + 1 */
	uint32		nslots;			/* a power of two */
} JsonDecoder;

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
	etl_encoding_open(&json->base, "UTF8");
	return &json->base;
}

/*
 * rehash enters all fields into a table of 'nslots'.
 */
static void
rehash(JsonDecoder *json, uint32 nslots)
{
	int			i;

	if (nslots != json->nslots)
	{
		pfree(json->slots);
		json->slots = palloc(nslots * sizeof(int));
		json->nslots = nslots;
	}
	memset(json->slots, 0, nslots * sizeof(int));
	for (i = 0; i < json->base.nfields; i++)
	{
		uint32		slot = hash_bytes((const unsigned char *) json->base.fields[i],
								 json->base.field_lengths[i]);

		for (slot &= nslots - 1; json->slots[slot]; slot = (slot + 1) & (nslots - 1))
			;
		json->slots[slot] = i + 1;
	}
}

/*
 * field_number finds a key among the fields, or makes it one; -1 when there
 * are too many.  Keys mostly come in the order of the record before.
 */
static int
field_number(JsonDecoder *json, const char *key, int length)
{
	EtlDecoder *decoder = &json->base;
	int			guess = json->expected;
	uint32		slot;

	if (guess < decoder->nfields && decoder->field_lengths[guess] == length &&
		memcmp(decoder->fields[guess], key, length) == 0)
		return guess;
	slot = hash_bytes((const unsigned char *) key, length) & (json->nslots - 1);
	while (json->slots[slot])
	{
		int			field = json->slots[slot] - 1;

		if (decoder->field_lengths[field] == length &&
			memcmp(decoder->fields[field], key, length) == 0)
			return field;
		slot = (slot + 1) & (json->nslots - 1);
	}
	if (decoder->nfields >= ETL_MAX_FIELDS)
		return -1;
	etl_decoder_add_field(decoder, key, length);
	json->slots[slot] = decoder->nfields;
	if (decoder->nfields * 2 > json->nslots)
		rehash(json, json->nslots * 2);
	return decoder->nfields - 1;
}

/*
 * read_value cuts the value at 'p' out; its terminating NUL is written by the
 * caller, which still has to look at the byte there.
 */
static char *
read_value(char *p, EtlValue *value, JsonFault *fault)
{
	char	   *stop;

	value->text = p;
	value->from_json = true;
	switch (*p)
	{
		case '"':
			value->kind = ETL_VALUE_TEXT;
			value->text = p + 1;
			return etl_json_scan_string(p + 1, true, &value->length, fault);
		case '{':
		case '[':
			value->kind = ETL_VALUE_JSON;
			stop = etl_json_scan_value(p, fault);
			break;
		case 't':
		case 'f':
		case 'n':
			value->kind = *p == 'n' ? ETL_VALUE_NULL : ETL_VALUE_BOOL;
			stop = p + etl_json_scan_word(p);
			if (stop == p)
			{
				fault->code = "malformed";
				fault->problem = "invalid value";
				fault->at = p;
				return NULL;
			}
			break;
		default:
			value->kind = ETL_VALUE_NUMBER;
			stop = etl_json_scan_number(p, fault);
	}
	if (stop)
		value->length = stop - p;
	return stop;
}

static bool
refuse(JsonFault *fault, const char *code, const char *problem, const char *at)
{
	fault->code = code;
	fault->problem = problem;
	fault->at = at;
	return false;
}

/*
 * read_record cuts an object into the decoder's values; false with the fault
 * when it is none.
 */
static bool
read_record(JsonDecoder *json, char *p, size_t size, JsonFault *fault)
{
	EtlDecoder *decoder = &json->base;
	char	   *end = p + size;
	bool		last;
	int			i;

	for (i = 0; i < decoder->nfields; i++)
		decoder->values[i].kind = ETL_VALUE_NULL;
	json->expected = 0;

	p = etl_json_skip_space(p);
	if (*p != '{')
	{
		char	   *stop = etl_json_scan_value(p, fault);

		if (stop == NULL)
			return false;
		if (etl_json_skip_space(stop) != end)
			return refuse(fault, "malformed", "text behind a value", stop);
		return refuse(fault, "not_an_object", "record is not a JSON object", p);
	}
	p = etl_json_skip_space(p + 1);
	last = *p == '}';
	if (last)
		p++;
	while (!last)
	{
		char	   *key = p + 1;
		char	   *stop;
		int			length;
		int			field;
		EtlValue	value;

		if (*p != '"')
			return refuse(fault, "malformed", "expected a key", p);
		if ((p = etl_json_scan_string(key, true, &length, fault)) == NULL)
			return false;
		p = etl_json_skip_space(p);
		if (*p != ':')
			return refuse(fault, "malformed", "expected a colon behind a key", p);
		p = etl_json_skip_space(p + 1);
		if ((stop = read_value(p, &value, fault)) == NULL)
			return false;
		p = etl_json_skip_space(stop);
		last = *p == '}';
		if (!last && *p != ',')
			return refuse(fault, "malformed", "expected a comma or a closing bracket", p);
		p = last ? p + 1 : etl_json_skip_space(p + 1);
		/* the NUL may take the place of the comma or bracket just read */
		if (value.kind != ETL_VALUE_TEXT)
			*stop = '\0';
		field = field_number(json, key, length);
		if (field < 0)
			return refuse(fault, "too_many_fields", "key beyond the 8192 that are known", key);
		decoder->values[field] = value;
		json->expected = field + 1;
	}
	if (etl_json_skip_space(p) != end)
		return refuse(fault, "malformed", "text behind the record", p);
	return true;
}

/*
 * forget_fields takes back the fields that a bad record brought.
 */
static void
forget_fields(JsonDecoder *json, int nfields)
{
	if (json->base.nfields == nfields)
		return;
	json->base.nfields = nfields;
	rehash(json, json->nslots);
}

/*
 * decode_record makes values or a reject of the bytes of one record.
 */
static EtlRecordState
decode_record(JsonDecoder *json, EtlRecord *record, const char *bytes, size_t size, JsonFault *fault)
{
	EtlDecoder *decoder = &json->base;
	int			nfields = decoder->nfields;
	bool		ascii;
	int			bad;

	fault->code = NULL;
	record->raw = bytes;
	record->raw_length = size;
	record->raw_size = size;
	ascii = etl_encoding_is_ascii(bytes, size);
	if (!ascii && etl_encoding_fault(PG_UTF8, bytes, size))
		return etl_decoder_bad(decoder, record, "encoding",
							   memchr(bytes, '\0', size) ? "text holds a NUL byte" :
														   "text is not valid UTF-8");
	if (!read_record(json, etl_decoder_copy(decoder, bytes, size), size, fault))
	{
		forget_fields(json, nfields);
		return etl_decoder_bad(decoder, record, fault->code, "%s at byte %d", fault->problem,
							   (int) (fault->at - decoder->work) + 1);
	}
	if (decoder->conversion != InvalidOid &&
		!etl_encoding_convert(decoder, decoder->nfields, &bad))
	{
		record->problem_field = decoder->fields[bad];
		return etl_decoder_bad(decoder, record, "encoding", "text does not exist in encoding %s",
							   GetDatabaseEncodingName());
	}
	return ETL_RECORD_OK;
}

/*
 * skip_mark passes over a byte order mark at the very beginning.
 */
static void
skip_mark(JsonDecoder *json)
{
	EtlInput   *input = &json->base.input;

	json->begun = true;
	etl_input_more(input);
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
			return decode_record(json, record, begin, length, &fault);
	}
}

/*
 * broken raises what is wrong with the document around the records.
 */
static void
pg_attribute_noreturn()
	broken(JsonDecoder *json, const char *problem)
{
	EtlDecoder *decoder = &json->base;

	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("JSON document \"%s\" is malformed: %s", decoder->origin, problem),
			 errdetail("The fault is near byte " INT64_FORMAT ", behind " INT64_FORMAT " records.",
					   etl_decoder_bytes(decoder) + 1, decoder->position - 1)));
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
 * leave_document passes over what follows the records in their document.
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

			input->start++;
			read_key(json, NULL);
			pass_value(json, NULL, &extent);
		}
		else
			broken(json, c ? "expected a comma or a closing bracket" : "it ends early");
	}
	json->place = BETWEEN;
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
	state = decode_record(json, record, input->data + input->start, searched, &fault);
	if (fault.code && strcmp(fault.code, "malformed") == 0)
		broken(json, record->problem);
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
