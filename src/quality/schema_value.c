/*-------------------------------------------------------------------------
 *
 * schema_value.c
 *    What JSON Schema asks of values: their types, equality, formats.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "common/iso_time.h"
#include "quality/schema_value.h"

JsonbValue *
etl_json_schema_value(const Jsonb *document)
{
	JsonbValue *value = palloc0(sizeof(JsonbValue));
	JsonbContainer *root = unconstify(JsonbContainer *, &document->root);

	if (JB_ROOT_IS_SCALAR(document))
		(void) JsonbExtractScalar(root, value);
	else
	{
		value->type = jbvBinary;
		value->val.binary.data = root;
		value->val.binary.len = VARSIZE_ANY_EXHDR(document);
	}
	return value;
}

bool
etl_schema_is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

bool
etl_schema_is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
		   !JsonContainerIsScalar(value->val.binary.data);
}

JsonbValue *
etl_json_schema_member(const JsonbValue *object, const char *key)
{
	return etl_schema_is_object(object) ?
			   getKeyJsonValueFromContainer(object->val.binary.data, key, strlen(key), NULL) :
			   NULL;
}

bool
etl_json_schema_equal(JsonbValue *a, JsonbValue *b)
{
	return compareJsonbContainers(&JsonbValueToJsonb(a)->root, &JsonbValueToJsonb(b)->root) == 0;
}

char *
etl_schema_string(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

List *
etl_json_schema_strings(const JsonbValue *value)
{
	List	   *strings = NIL;

	if (value != NULL && value->type == jbvString)
		return list_make1(etl_schema_string(value));
	for (uint32 i = 0; value != NULL && etl_schema_is_array(value) &&
					   i < JsonContainerSize(value->val.binary.data);
		 i++)
		strings = lappend(
			strings, etl_schema_string(getIthJsonbValueFromContainer(value->val.binary.data, i)));
	return strings;
}

int
etl_schema_compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static bool
is_integer(const JsonbValue *value)
{
	return value->type == jbvNumeric &&
		   etl_schema_compare_numbers(
			   DatumGetNumeric(DirectFunctionCall2(
				   numeric_trunc, NumericGetDatum(value->val.numeric), Int32GetDatum(0))),
			   value->val.numeric) == 0;
}

const char *
etl_schema_type(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvBool:
			return "boolean";
		case jbvNumeric:
			return "number";
		case jbvString:
			return "string";
		default:
			return etl_schema_is_object(value) ? "object" : "array";
	}
}

bool
etl_schema_has_type(const JsonbValue *value, const char *type)
{
	return strcmp(type, etl_schema_type(value)) == 0 || (strcmp(type, "integer") == 0 && is_integer(value));
}

JsonbValue *
etl_json_schema_resolve(const Jsonb *root, const char *ref)
{
	JsonbValue *at = etl_json_schema_value(root);
	char	   *rest = NULL;

	if (ref[0] != '#' || (ref[1] != '/' && ref[1] != '\0'))
		return NULL;
	for (char *part = strtok_r(pstrdup(ref + 1), "/", &rest); part && at; part = strtok_r(NULL, "/", &rest))
	{
		char	   *out = part;

		for (char *in = part; *in; out++)
		{
			*out = *in++;
			if (*out == '~' && (*in == '0' || *in == '1'))
				*out = *in++ == '0' ? '~' : '/';
		}
		*out = '\0';
		at = etl_json_schema_member(at, part);
	}
	return at;
}

/*
 * matches tells whether a regular expression occurs in a string.
 */
bool
etl_schema_matches(const char *pattern, const char *string, int length)
{
	return RE_compile_and_execute(cstring_to_text(pattern), unconstify(char *, string), length,
								  REG_ADVANCED, DEFAULT_COLLATION_OID, 0, NULL);
}

/*
 * is_format tells whether a string has a format; one that is not known is
 * had by all.
 */
bool
etl_schema_is_format(const char *format, const char *string, int length)
{
	static const struct
	{
		const char *format;
		const char *pattern;
	} patterns[] = {{"uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
					{"email", "^[^@[:space:]]+@[^@[:space:].]+(\\.[^@[:space:].]+)*$"},
					{"ipv4", "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\\.(?!$)|$)){4}$"},
					{"uri", "^[a-zA-Z][a-zA-Z0-9+.-]*:[^[:space:]]*$"},
					{"hostname", "^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\\.[a-zA-Z0-9]([a-"
								 "zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"},
					{"time", "^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]+)?([zZ]|[+-]("
							 "[01][0-9]|2[0-3]):[0-5][0-9])$"}};
	EtlIsoTime	iso;

	if (strcmp(format, "date") == 0)
		return etl_iso_time_parse(string, length, &iso) && !iso.has_time;
	if (strcmp(format, "date-time") == 0)
		return etl_iso_time_parse(string, length, &iso) && iso.has_time;
	for (int i = 0; i < lengthof(patterns); i++)
		if (strcmp(format, patterns[i].format) == 0)
			return etl_schema_matches(patterns[i].pattern, string, length);
	return true;
}
