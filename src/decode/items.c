/*-------------------------------------------------------------------------
 *
 * items.c
 *    The items of lists as records, and records that name their lists.
 *
 * What was flattened and transformed is written as one JSON object of its
 * fields, with the lists of the record, whose items are such objects again,
 * in a field of their own.  Reading it, nothing is cut up a second time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "common/json.h"
#include "decode/json_decoder.h"

/* ---- objects that are fed ---- */

/*
 * fed_next hands out the object that was fed, once.
 */
static EtlRecordState
fed_next(EtlDecoder *decoder, EtlRecord *record)
{
	EtlInput   *input = &decoder->input;
	JsonFault	fault;

	if (input->start == input->end)
		return ETL_RECORD_END;
	input->start = input->end;
	return etl_json_decode_record((JsonDecoder *) decoder, record, input->data, input->end, &fault);
}

EtlDecoder *
etl_decoder_of_items(const char *origin)
{
	EtlDecodeOptions options = {.format = "ndjson", .options = etl_json_parse("{}"), .origin = origin};
	EtlDecoder *decoder = etl_json_open(NULL, &options);

	decoder->next = fed_next;
	return decoder;
}

void
etl_decoder_feed(EtlDecoder *decoder, char *text, int length)
{
	while (decoder->inner != NULL)
		decoder = decoder->inner;
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		char	   *utf8 = pg_server_to_any(text, length, PG_UTF8);

		length = utf8 == text ? length : strlen(utf8);
		text = utf8;
	}
	decoder->input.data = text;
	decoder->input.start = 0;
	decoder->input.end = length;
}

/* ---- records that name their lists ---- */

typedef struct Lists
{
	int			nfields;		/* of the inner decoder's, that are known */
	int			room;
	int		   *fields;			/* outer field, by inner; -1: the lists */
	EtlDecoder *object;			/* of the lists */
	int			nlists;			/* for which there is room */
	EtlNestedList *lists;
} Lists;

/*
 * know_fields gives every new field of the inner decoder one of the outer.
 */
static void
know_fields(Lists *lists, EtlDecoder *outer, int n)
{
	MemoryContext old = MemoryContextSwitchTo(outer->context);

	if (n > lists->room)
	{
		lists->room = Max(2 * lists->room, Max(n, 32));
		lists->fields = lists->fields ? repalloc(lists->fields, sizeof(int) * lists->room) :
										palloc(sizeof(int) * lists->room);
	}
	for (; lists->nfields < n; lists->nfields++)
	{
		const char *name = outer->inner->fields[lists->nfields];

		lists->fields[lists->nfields] =
			strcmp(name, ETL_LISTS_FIELD) == 0 ? -1 : etl_decoder_field(outer, name);
	}
	MemoryContextSwitchTo(old);
}

/*
 * take_lists gives the record the lists of its field; false when it has none
 * that etl wrote.
 */
static bool
take_lists(Lists *lists, EtlDecoder *outer, EtlRecord *record, const EtlValue *value)
{
	EtlRecord	object = {0};

	if (value->kind != ETL_VALUE_JSON || value->text[0] != '{')
		return false;
	etl_decoder_feed(lists->object, value->text, value->length);
	if (etl_decoder_next(lists->object, &object) != ETL_RECORD_OK)
		return false;
	if (object.nvalues > lists->nlists)
	{
		MemoryContext old = MemoryContextSwitchTo(outer->context);

		lists->nlists = Max(2 * lists->nlists, Max(object.nvalues, 16));
		lists->lists = palloc(sizeof(EtlNestedList) * lists->nlists);
		MemoryContextSwitchTo(old);
	}
	record->lists = lists->lists;
	for (int i = 0; i < object.nvalues; i++)
	{
		const EtlValue *list = &object.values[i];

		if (list->kind == ETL_VALUE_NULL)
			continue;
		if (list->kind != ETL_VALUE_JSON || list->text[0] != '[')
			return false;
		lists->lists[record->nlists].path = lists->object->fields[i];
		lists->lists[record->nlists].text = list->text;
		lists->lists[record->nlists++].length = list->length;
	}
	return true;
}

/*
 * name_lists is the EtlReshape of this file.
 */
static EtlRecordState
name_lists(void *arg, EtlDecoder *outer, EtlRecord *record, EtlRecordState state)
{
	Lists	   *lists = arg;

	record->nlists = 0;
	if (state != ETL_RECORD_OK)
		return state;
	if (record->nvalues > lists->nfields)
		know_fields(lists, outer, record->nvalues);
	for (int i = 0; i < record->nvalues; i++)
	{
		if (record->values[i].kind == ETL_VALUE_NULL)
			continue;
		if (lists->fields[i] >= 0)
			*etl_decoder_value(outer, lists->fields[i]) = record->values[i];
		else if (!take_lists(lists, outer, record, &record->values[i]))
			return etl_decoder_refuse(outer, record, "malformed", ETL_LISTS_FIELD,
									  "the field has a name that etl needs");
	}
	return state;
}

EtlDecoder *
etl_decoder_lists(EtlDecoder *inner)
{
	MemoryContext old = MemoryContextSwitchTo(inner->context);
	Lists	   *lists = palloc0(sizeof(Lists));

	lists->object = etl_decoder_of_items(inner->origin);
	MemoryContextSwitchTo(old);
	return etl_decoder_reshape(inner, name_lists, lists);
}
