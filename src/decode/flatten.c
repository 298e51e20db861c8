/*-------------------------------------------------------------------------
 *
 * flatten.c
 *    Objects inside JSON records as fields of their own, a__b.
 *
 * The option "nested" says which: a word for all of them, or an object of
 * paths and words, of which the longest that leads to an object counts for
 * it.  A value that is no object stays in the field that it has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/json_decoder.h"

/* The record itself, or an object inside it. */
typedef struct Place
{
	char	   *path;			/* a.b; empty: the record */
	char	   *prefix;			/* a__b__ */
	JsonDecoder *json;			/* cuts the object up; NULL: the record is cut up already */
	int			nfields;		/* of which the following are known */
	int		   *fields;			/* the number of the outer field, by that of the inner */
	bool	   *flat;			/* objects of the field are cut up */
	struct Place **places;		/* where they go; NULL: none was seen */
} Place;

typedef struct Flattener
{
	MemoryContext context;
	const Jsonb *nested;
	Place		record;
} Flattener;

static const char *const words[] = {"flatten", "jsonb"};

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
			 errhint("Use flatten or jsonb, or an object of paths and these words: {\"customer\": "
					 "\"flatten\", \"customer.tags\": \"jsonb\"}.")));
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

/*
 * flattens tells whether the object at a path becomes fields.
 */
static bool
flattens(const Flattener *flattener, const char *path)
{
	char	   *part = pstrdup(path);

	if (etl_json_kind(flattener->nested) == 's')
		return strcmp(etl_json_bare_text(flattener->nested), "flatten") == 0;
	for (;;)
	{
		const char *word = etl_json_get_text(flattener->nested, part);
		char	   *dot;

		if (word != NULL)
			return strcmp(word, "flatten") == 0;
		dot = strrchr(part, '.');
		if (dot == NULL)
			return false;
		*dot = '\0';
	}
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
		place->places = palloc(sizeof(Place *) * n);
	}
	else
	{
		place->fields = repalloc(place->fields, sizeof(int) * n);
		place->flat = repalloc(place->flat, sizeof(bool) * n);
		place->places = repalloc(place->places, sizeof(Place *) * n);
	}
	for (; place->nfields < n; place->nfields++)
	{
		const char *name = names[place->nfields];
		char	   *path = *place->path ? psprintf("%s.%s", place->path, name) : pstrdup(name);

		/* the outer field is made with its first value: objects may never leave one */
		place->fields[place->nfields] = -1;
		place->flat[place->nfields] = flattens(flattener, path);
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

	if (state == ETL_RECORD_BAD)
		return state;
	MemoryContextReset(outer->repaired);
	MemoryContextSwitchTo(outer->repaired);
	return flatten_values(flattener, outer, &flattener->record, outer->inner->fields, record->values,
						  record->nvalues, record) ?
			   ETL_RECORD_OK :
			   ETL_RECORD_BAD;
}

EtlDecoder *
etl_decoder_flatten(EtlDecoder *inner, const Jsonb *nested)
{
	MemoryContext old = MemoryContextSwitchTo(inner->context);
	Flattener  *flattener = palloc0(sizeof(Flattener));
	EtlDecoder *outer;

	flattener->context = inner->context;
	flattener->nested = nested;
	flattener->record.path = flattener->record.prefix = "";
	outer = etl_decoder_reshape(inner, flatten, flattener);
	/* names and messages of the record at hand */
	outer->repaired = AllocSetContextCreate(inner->context, "etl flattened record", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return outer;
}
