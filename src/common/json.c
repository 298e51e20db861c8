/*-------------------------------------------------------------------------
 *
 * json.c
 *    Reading and building small jsonb documents: options, cursors, reasons.
 *
 * Everything is palloc'd in the current context.  For bulk JSON there is
 * decode/json.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "common/json.h"

struct EtlJsonBuilder
{
	JsonbParseState *state;
};

/*
 * lookup finds 'key' in an object; NULL when absent or null.
 */
static JsonbValue *
lookup(const Jsonb *object, const char *key)
{
	JsonbValue	name;
	JsonbValue *value;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	name.type = jbvString;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = strlen(key);
	value = findJsonbValueFromContainer(unconstify(JsonbContainer *, &object->root), JB_FOBJECT, &name);
	return value == NULL || value->type == jbvNull ? NULL : value;
}

/*
 * value_text renders one value: strings bare, the rest as JSON.
 */
static char *
value_text(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvNull:
			return pstrdup("null");
		default:
			return etl_json_text(JsonbValueToJsonb(value));
	}
}

char *
etl_json_get_text(const Jsonb *object, const char *key)
{
	JsonbValue *value = lookup(object, key);

	return value ? value_text(value) : NULL;
}

Jsonb *
etl_json_get(const Jsonb *object, const char *key)
{
	JsonbValue *value = lookup(object, key);

	return value ? JsonbValueToJsonb(value) : NULL;
}

bool
etl_json_get_bool(const Jsonb *object, const char *key, bool default_value)
{
	JsonbValue *value = lookup(object, key);

	return value && value->type == jbvBool ? value->val.boolean : default_value;
}

int64
etl_json_get_int64(const Jsonb *object, const char *key, int64 default_value)
{
	JsonbValue *value = lookup(object, key);

	if (value == NULL || value->type != jbvNumeric)
		return default_value;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

List *
etl_json_get_list(const Jsonb *object, const char *key)
{
	JsonbValue *value = lookup(object, key);
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	List	   *result = NIL;

	if (value == NULL)
		return NIL;
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return list_make1(value_text(value));

	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			result = lappend(result, value_text(&item));
	return result;
}

List *
etl_json_elements(const Jsonb *array)
{
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	List	   *result = NIL;

	if (array == NULL || !JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		return NIL;
	it = JsonbIteratorInit(unconstify(JsonbContainer *, &array->root));
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			result = lappend(result, JsonbValueToJsonb(&item));
	return result;
}

List *
etl_json_keys(const Jsonb *object)
{
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	List	   *result = NIL;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NIL;
	it = JsonbIteratorInit(unconstify(JsonbContainer *, &object->root));
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
		if (token == WJB_KEY)
			result = lappend(result, pnstrdup(item.val.string.val, item.val.string.len));
	return result;
}

bool
etl_json_has(const Jsonb *object, const char *key)
{
	return lookup(object, key) != NULL;
}

char
etl_json_kind(const Jsonb *value)
{
	JsonbValue	scalar;

	if (JB_ROOT_IS_OBJECT(value))
		return 'o';
	if (!JB_ROOT_IS_SCALAR(value))
		return 'a';
	(void) JsonbExtractScalar(unconstify(JsonbContainer *, &value->root), &scalar);
	switch (scalar.type)
	{
		case jbvString:
			return 's';
		case jbvNumeric:
			return 'n';
		case jbvBool:
			return 'b';
		default:
			return '0';
	}
}

Jsonb *
etl_json_parse(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

char *
etl_json_text(const Jsonb *value)
{
	return JsonbToCString(NULL, unconstify(JsonbContainer *, &value->root), VARSIZE(value));
}

char *
etl_json_bare_text(const Jsonb *value)
{
	JsonbValue	scalar;

	if (!JB_ROOT_IS_SCALAR(value))
		return etl_json_text(value);
	(void) JsonbExtractScalar(unconstify(JsonbContainer *, &value->root), &scalar);
	return value_text(&scalar);
}

EtlJsonBuilder *
etl_json_object_begin(void)
{
	EtlJsonBuilder *builder = palloc0(sizeof(EtlJsonBuilder));

	(void) pushJsonbValue(&builder->state, WJB_BEGIN_OBJECT, NULL);
	return builder;
}

/*
 * add_pair appends a key and a value to the object being built.
 */
static void
add_pair(EtlJsonBuilder *builder, const char *key, JsonbValue *value)
{
	JsonbValue	name;

	name.type = jbvString;
	name.val.string.val = pstrdup(key);
	name.val.string.len = strlen(key);
	(void) pushJsonbValue(&builder->state, WJB_KEY, &name);
	(void) pushJsonbValue(&builder->state, WJB_VALUE, value);
}

void
etl_json_add_text(EtlJsonBuilder *builder, const char *key, const char *value)
{
	JsonbValue	item = {.type = jbvNull};

	if (value != NULL)
	{
		item.type = jbvString;
		item.val.string.val = pstrdup(value);
		item.val.string.len = strlen(value);
	}
	add_pair(builder, key, &item);
}

void
etl_json_add_int64(EtlJsonBuilder *builder, const char *key, int64 value)
{
	JsonbValue	item = {.type = jbvNumeric};

	item.val.numeric = int64_to_numeric(value);
	add_pair(builder, key, &item);
}

void
etl_json_add(EtlJsonBuilder *builder, const char *key, const Jsonb *value)
{
	JsonbValue	item = {.type = jbvNull};

	if (value != NULL && JB_ROOT_IS_SCALAR(value))
		(void) JsonbExtractScalar(unconstify(JsonbContainer *, &value->root), &item);
	else if (value != NULL)
	{
		item.type = jbvBinary;
		item.val.binary.data = unconstify(JsonbContainer *, &value->root);
		item.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	add_pair(builder, key, &item);
}

Jsonb *
etl_json_object_end(EtlJsonBuilder *builder)
{
	JsonbValue *object = pushJsonbValue(&builder->state, WJB_END_OBJECT, NULL);

	return JsonbValueToJsonb(object);
}

Jsonb *
etl_json_without(const Jsonb *object, const char *key)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(object),
											  CStringGetTextDatum(key)));
}

char
etl_json_kind_of(const Jsonb *object, const char *key)
{
	Jsonb	   *value = etl_json_get(object, key);

	return value ? etl_json_kind(value) : '\0';
}

char *
etl_json_quote(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	escape_json(&out, text);
	return out.data;
}
