/*-------------------------------------------------------------------------
 *
 * flatten.c
 *    Objects inside JSON records as fields of their own, a__b, and lists as
 *    the items of child tables.
 *
 * The option "nested" says which: a word for all of them, or an object of
 * paths and words, of which the longest that leads to a value counts for
 * it.  A value that is neither object nor list stays in the field that it has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "decode/json_decoder.h"
#include "decode/json_scan.h"

/* The record itself, or an object inside it. */
typedef struct Place
{
	char	   *path;			/* a.b; empty: the record */
	char	   *prefix;			/* a__b__ */
	JsonDecoder *json;			/* cuts the object up; NULL: the record is cut up already */
	int			nfields;		/* of which the following are known */
	int		   *fields;			/* the number of the outer field, by that of the inner */
	bool	   *flat;			/* objects of the field are cut up */
	char	  **tables;			/* lists of the field are items, of this path; NULL: they are values */
	struct Place **places;		/* where they go; NULL: none was seen */
} Place;

typedef struct Flattener
{
	MemoryContext context;
	const Jsonb *nested;
	List	   *whole;			/* char *: names of values that are not cut up */
	bool		digest;			/* a field tells whether the items are the same */
	int			room;			/* for lists of a record */
	EtlNestedList *lists;
	Place		record;
} Flattener;

static const char *const words[] = {"flatten", "jsonb", "table"};

/*
 * check_word raises ET001 for a word that says nothing about nested values.
 */
static void
check_word(const char *word)
{
	for (int i = 0; i < lengthof(words); i++)
		if (word != NULL && strcmp(word, words[i]) == 0)
			return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for option \"nested\": \"%s\"", word ? word : "null"),
			 errhint("Use flatten, table or jsonb, or an object of paths and these words: {\"customer\": "
					 "\"flatten\", \"items\": \"table\", \"*\": \"jsonb\"}.")));
}

void
etl_nested_check(const Jsonb *nested)
{
	ListCell   *cell;

	if (etl_json_kind(nested) != 'o')
	{
		check_word(etl_json_kind(nested) == 's' ? etl_json_bare_text(nested) : NULL);
		return;
	}
	foreach(cell, etl_json_keys(nested))
		check_word(etl_json_get_text(nested, lfirst(cell)));
}

const char *
etl_nested_word(const Jsonb *nested, const char *path)
{
	char	   *part = pstrdup(path);
	const char *word;

	if (etl_json_kind(nested) == 's')
		return etl_json_bare_text(nested);
	while ((word = etl_json_get_text(nested, part)) == NULL)
	{
		char	   *dot = strrchr(part, '.');

		if (dot == NULL)
			break;
		*dot = '\0';
	}
	if (word == NULL)
		word = etl_json_get_text(nested, "*");
	return word ? word : "jsonb";
}

bool
etl_nested_has_tables(const Jsonb *nested)
{
	ListCell   *cell;

	if (etl_json_kind(nested) == 's')
		return strcmp(etl_json_bare_text(nested), "table") == 0;
	foreach(cell, etl_json_keys(nested))
		if (strcmp(etl_json_get_text(nested, lfirst(cell)), "table") == 0)
			return true;
	return false;
}

/*
 * make_place prepares for the objects of a field.
 */
static Place *
make_place(Flattener *flattener, const Place *parent, const char *field)
{
	MemoryContext old = MemoryContextSwitchTo(flattener->context);
	Place	   *place = palloc0(sizeof(Place));
	EtlDecodeOptions options = {.format = "ndjson", .options = etl_json_parse("{}"), .origin = ""};

	place->path = *parent->path ? psprintf("%s.%s", parent->path, field) : pstrdup(field);
	place->prefix = psprintf("%s%s__", parent->prefix, field);
	place->json = (JsonDecoder *) etl_json_open(NULL, &options);
	MemoryContextSwitchTo(old);
	return place;
}

/*
 * stays_whole tells whether a value is wanted as it is: by its path, or by the
 * name of the field that it is then.
 */
static bool
stays_whole(const Flattener *flattener, const char *path, const char *field)
{
	char	   *identifier = flattener->whole != NIL ? etl_snake_case(field) : NULL;
	ListCell   *cell;

	foreach(cell, flattener->whole)
		if (strcmp(lfirst(cell), path) == 0 || strcmp(lfirst(cell), field) == 0 ||
			strcmp(lfirst(cell), identifier) == 0)
			return true;
	return false;
}

/*
 * know_fields follows the fields that the objects of a place have.
 */
static void
know_fields(Flattener *flattener, EtlDecoder *outer, Place *place, const char **names, int n)
{
	MemoryContext old = MemoryContextSwitchTo(flattener->context);

	if (place->fields == NULL)
	{
		place->fields = palloc(sizeof(int) * n);
		place->flat = palloc(sizeof(bool) * n);
		place->tables = palloc(sizeof(char *) * n);
		place->places = palloc(sizeof(Place *) * n);
	}
	else
	{
		place->fields = repalloc(place->fields, sizeof(int) * n);
		place->flat = repalloc(place->flat, sizeof(bool) * n);
		place->tables = repalloc(place->tables, sizeof(char *) * n);
		place->places = repalloc(place->places, sizeof(Place *) * n);
	}
	for (; place->nfields < n; place->nfields++)
	{
		const char *name = names[place->nfields];
		char	   *path = *place->path ? psprintf("%s.%s", place->path, name) : pstrdup(name);
		bool		whole = stays_whole(flattener, path, psprintf("%s%s", place->prefix, name));
		const char *word = whole ? "jsonb" : etl_nested_word(flattener->nested, path);

		/* the outer field is made with its first value: objects may never leave one */
		place->fields[place->nfields] = -1;
		place->flat[place->nfields] = strcmp(word, "jsonb") != 0;
		place->tables[place->nfields] = strcmp(word, "table") == 0 ? path : NULL;
		place->places[place->nfields] = NULL;
	}
	MemoryContextSwitchTo(old);
}

/*
 * put_value gives a field of the outer record its value; false: the record
 * is refused.
 */
static bool
put_value(EtlDecoder *outer, Place *place, int number, const char *name, const EtlValue *value,
		  EtlRecord *record)
{
	EtlValue   *target;

	if (place->fields[number] < 0)
		place->fields[number] = etl_decoder_field(outer, psprintf("%s%s", place->prefix, name));
	if (place->fields[number] < 0)
	{
		(void) etl_decoder_refuse(outer, record, "too_many_fields", NULL,
								  "record has more fields than are known");
		return false;
	}
	target = etl_decoder_value(outer, place->fields[number]);
	if (target->kind != ETL_VALUE_NULL)
	{
		char	   *field = psprintf("%s%s", place->prefix, name);

		(void) etl_decoder_refuse(outer, record, "malformed", field,
								  "a nested value and another one have the same field");
		return false;
	}
	*target = *value;
	return true;
}

/*
 * add_list adds a list to those of the record whose elements are items.
 */
static void
add_list(Flattener *flattener, EtlRecord *record, const char *path, const EtlValue *value)
{
	if (record->nlists == flattener->room)
	{
		MemoryContext old = MemoryContextSwitchTo(flattener->context);

		flattener->room = Max(flattener->room * 2, 16);
		flattener->lists = flattener->lists ?
							   repalloc(flattener->lists, sizeof(EtlNestedList) * flattener->room) :
							   palloc(sizeof(EtlNestedList) * flattener->room);
		MemoryContextSwitchTo(old);
	}
	flattener->lists[record->nlists].path = path;
	flattener->lists[record->nlists].text = value->text;
	flattener->lists[record->nlists].length = value->length;
	record->lists = flattener->lists;
	record->nlists++;
}

bool
etl_nested_next(const EtlNestedList *list, char **at, StringInfo item)
{
	JsonFault	fault;
	char	   *p = etl_json_skip_space(*at == NULL || **at == ',' ? (*at ? *at : list->text) + 1 : *at);
	char	   *stop;

	if (*p == ']')
		return false;
	stop = etl_json_scan_value(p, &fault);
	/* the record was read before: it is JSON */
	if (stop == NULL)
		elog(ERROR, "invalid list at \"%s\"", list->path);

	resetStringInfo(item);
	if (*p != '{')
		appendStringInfoString(item, "{\"value\":");
	appendBinaryStringInfo(item, p, *p == '{' ? stop - p - 1 : stop - p);
	if (*p != '{' || *etl_json_skip_space(p + 1) != '}')
		appendStringInfoChar(item, ',');
	/* it is to stand on one line; in strings there are no such bytes */
	for (int i = 0; i < item->len; i++)
		if (item->data[i] == '\n' || item->data[i] == '\r')
			item->data[i] = ' ';
	*at = etl_json_skip_space(stop);
	return true;
}

/*
 * etl_decoder_digest gives the record a value that is another one when its items are;
 * false: the record is refused.
 */
bool
etl_decoder_digest(EtlDecoder *outer, EtlRecord *record)
{
	uint64		hash[2] = {0, 0};
	uint32		parts[4];
	int			field = etl_decoder_field(outer, ETL_ITEMS_FIELD);
	bool		some = false;
	EtlValue   *value;

	for (int i = 0; i < record->nlists; i++)
		some = some || *etl_json_skip_space(record->lists[i].text + 1) != ']';
	if (!some)
		return true;
	if (field < 0 || etl_decoder_value(outer, field)->kind != ETL_VALUE_NULL)
	{
		(void) etl_decoder_refuse(outer, record, "malformed", ETL_ITEMS_FIELD,
								  "the field has a name that etl needs");
		return false;
	}
	for (int i = 0; i < record->nlists; i++)
		for (int half = 0; half < 2; half++)
		{
			const EtlNestedList *list = &record->lists[i];
			const unsigned char *path = (const unsigned char *) list->path;
			const unsigned char *text = (const unsigned char *) list->text;

			hash[half] = hash_combine64(hash[half], hash_bytes_extended(path, strlen(list->path), half));
			hash[half] = hash_combine64(hash[half], hash_bytes_extended(text, list->length, half));
		}
	for (int i = 0; i < 4; i++)
		parts[i] = (uint32) (hash[i / 2] >> (i % 2 * 32));
	value = etl_decoder_value(outer, field);
	value->kind = ETL_VALUE_TEXT;
	value->text = psprintf("%08x-%04x-%04x-%04x-%04x%08x", parts[0], parts[1] >> 16, parts[1] & 0xffff,
						   parts[2] >> 16, parts[2] & 0xffff, parts[3]);
	value->length = strlen(value->text);
	value->from_json = true;
	value->roomy = false;
	return true;
}

static bool flatten_object(Flattener *flattener, EtlDecoder *outer, Place *place,
						   const EtlValue *object, EtlRecord *record);

/*
 * flatten_values puts the values of one object, or of the record.
 */
static bool
flatten_values(Flattener *flattener, EtlDecoder *outer, Place *place, const char **names,
			   const EtlValue *values, int n, EtlRecord *record)
{
	if (n > place->nfields)
		know_fields(flattener, outer, place, names, n);
	for (int i = 0; i < n; i++)
	{
		const EtlValue *value = &values[i];

		if (value->kind == ETL_VALUE_NULL)
		{
			/* a field of nulls is a field, unless its objects would make others of it */
			if (!place->flat[i] && place->fields[i] < 0)
				place->fields[i] = etl_decoder_field(outer, psprintf("%s%s", place->prefix, names[i]));
			continue;
		}
		if (value->kind == ETL_VALUE_JSON && value->text[0] == '{' && place->flat[i])
		{
			if (place->places[i] == NULL)
				place->places[i] = make_place(flattener, place, names[i]);
			if (!flatten_object(flattener, outer, place->places[i], value, record))
				return false;
		}
		else if (value->kind == ETL_VALUE_JSON && value->text[0] == '[' && place->tables[i])
			add_list(flattener, record, place->tables[i], value);
		else if (!put_value(outer, place, i, names[i], value, record))
			return false;
	}
	return true;
}

/*
 * flatten_object cuts an object up and puts its values.
 */
static bool
flatten_object(Flattener *flattener, EtlDecoder *outer, Place *place, const EtlValue *object,
			   EtlRecord *record)
{
	EtlRecord	inner = {0};
	JsonFault	fault;
	char	   *text = object->text;
	int			length = object->length;

	check_stack_depth();
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		text = pg_server_to_any(object->text, object->length, PG_UTF8);
		if (text != object->text)
			length = strlen(text);
	}
	if (etl_json_decode_record(place->json, &inner, text, length, &fault) != ETL_RECORD_OK)
	{
		(void) etl_decoder_refuse(outer, record, inner.problem_code, place->path, inner.problem);
		return false;
	}
	return flatten_values(flattener, outer, place, place->json->base.fields, place->json->base.values,
						  place->json->base.nfields, record);
}

/*
 * flatten is the EtlReshape of this file.
 */
static EtlRecordState
flatten(void *arg, EtlDecoder *outer, EtlRecord *record, EtlRecordState state)
{
	Flattener  *flattener = arg;
	bool		flat;

	record->nlists = 0;
	if (state == ETL_RECORD_BAD)
		return state;
	MemoryContextReset(outer->repaired);
	MemoryContextSwitchTo(outer->repaired);
	flat = flatten_values(flattener, outer, &flattener->record, outer->inner->fields, record->values,
						  record->nvalues, record);
	if (flat && flattener->digest)
		flat = etl_decoder_digest(outer, record);
	return flat ? ETL_RECORD_OK : ETL_RECORD_BAD;
}

EtlDecoder *
etl_decoder_flatten(EtlDecoder *inner, const Jsonb *nested, bool digest, List *whole)
{
	MemoryContext old = MemoryContextSwitchTo(inner->context);
	Flattener  *flattener = palloc0(sizeof(Flattener));
	EtlDecoder *outer;

	flattener->context = inner->context;
	flattener->nested = nested;
	flattener->digest = digest;
	flattener->whole = whole;
	flattener->record.path = flattener->record.prefix = "";
	outer = etl_decoder_reshape(inner, flatten, flattener);
	/* names and messages of the record at hand */
	outer->repaired = AllocSetContextCreate(inner->context, "etl flattened record", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return outer;
}
