/*-------------------------------------------------------------------------
 *
 * json_record.c
 *    One JSON object to the values of a record.
 *
 * A record is copied once and cut up in place: strings are unescaped where
 * they lie, every value gets its NUL there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "decode/json_decoder.h"

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
 * etl_json_decode_record makes values or a reject of the bytes of one record.
 */
EtlRecordState
etl_json_decode_record(JsonDecoder *json, EtlRecord *record, const char *bytes, size_t size, JsonFault *fault)
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
	if (!ascii && decoder->invalid_bytes != ETL_INVALID_QUARANTINE &&
		etl_encoding_fault(PG_UTF8, bytes, size))
	{
		etl_encoding_begin_repair(decoder);
		bytes = etl_encoding_repair(decoder, PG_UTF8, InvalidOid, bytes, size, &size);
	}
	else if (!ascii && etl_encoding_fault(PG_UTF8, bytes, size))
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
