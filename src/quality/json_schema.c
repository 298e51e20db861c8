/*-------------------------------------------------------------------------
 *
 * json_schema.c
 *    Validates documents against a JSON Schema, and checks schemas.
 *
 * Vocabulary: types, numbers, strings, arrays, objects, combinations, and
 * references within the document.  Formats are asserted.  Keywords that only
 * annotate are passed over; those that would need more than this knows make
 * the schema invalid, so that nothing is taken for checked that is not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "common/errors.h"
#include "common/iso_time.h"
#include "common/json.h"
#include "quality/json_schema.h"

PG_FUNCTION_INFO_V1(etl_sql_validate_json);

#define MAX_REFS 100			/* that follow each other without a step into the document */

/* A validation at work. */
typedef struct Validation
{
	const Jsonb *root;
	bool		quiet;			/* only whether, not what */
	int			refs;
	int			max;
	List	   *faults;
} Validation;

static bool validate(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path);

/* ---- values ---- */

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

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
		   !JsonContainerIsScalar(value->val.binary.data);
}

JsonbValue *
etl_json_schema_member(const JsonbValue *object, const char *key)
{
	return is_object(object) ?
			   getKeyJsonValueFromContainer(object->val.binary.data, key, strlen(key), NULL) :
			   NULL;
}

bool
etl_json_schema_equal(JsonbValue *a, JsonbValue *b)
{
	return compareJsonbContainers(&JsonbValueToJsonb(a)->root, &JsonbValueToJsonb(b)->root) == 0;
}

static char *
string_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

List *
etl_json_schema_strings(const JsonbValue *value)
{
	List	   *strings = NIL;

	if (value != NULL && value->type == jbvString)
		return list_make1(string_of(value));
	for (uint32 i = 0; value != NULL && is_array(value) && i < JsonContainerSize(value->val.binary.data); i++)
		strings = lappend(strings, string_of(getIthJsonbValueFromContainer(value->val.binary.data, i)));
	return strings;
}

static int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static bool
is_integer(const JsonbValue *value)
{
	return value->type == jbvNumeric &&
		   compare_numbers(DatumGetNumeric(DirectFunctionCall2(
							   numeric_trunc, NumericGetDatum(value->val.numeric), Int32GetDatum(0))),
						   value->val.numeric) == 0;
}

static const char *
type_of(const JsonbValue *value)
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
			return is_object(value) ? "object" : "array";
	}
}

static bool
has_type(const JsonbValue *value, const char *type)
{
	return strcmp(type, type_of(value)) == 0 || (strcmp(type, "integer") == 0 && is_integer(value));
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

/* ---- one keyword each; true: fulfilled ---- */

/*
 * fault notes what is wrong and returns false.
 */
static bool
fault(Validation *v, const char *path, const char *keyword, char *message)
{
	EtlSchemaFault *found;

	if (v->quiet || list_length(v->faults) >= v->max)
		return false;
	found = palloc(sizeof(EtlSchemaFault));
	found->path = pstrdup(path);
	found->keyword = keyword;
	found->message = message;
	v->faults = lappend(v->faults, found);
	return false;
}

/*
 * matches tells whether a regular expression occurs in a string.
 */
static bool
matches(const char *pattern, const char *string, int length)
{
	return RE_compile_and_execute(cstring_to_text(pattern), unconstify(char *, string), length,
								  REG_ADVANCED, DEFAULT_COLLATION_OID, 0, NULL);
}

/*
 * is_format tells whether a string has a format; one that is not known is
 * had by all.
 */
static bool
is_format(const char *format, const char *string, int length)
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
			return matches(patterns[i].pattern, string, length);
	return true;
}

/*
 * validate_type checks type, enum and const.
 */
static bool
validate_type(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	JsonbValue *type = etl_json_schema_member(schema, "type");
	JsonbValue *list = etl_json_schema_member(schema, "enum");
	JsonbValue *constant = etl_json_schema_member(schema, "const");
	bool		good = type == NULL;
	bool		listed = list == NULL;
	ListCell   *cell;

	foreach(cell, etl_json_schema_strings(type))
		good = good || has_type(value, lfirst(cell));
	if (!good)
		return fault(v, path, "type",
					 psprintf("is of type %s, not %s", type_of(value),
							  type->type == jbvString ? string_of(type) :
														etl_json_text(JsonbValueToJsonb(type))));
	for (uint32 i = 0; !listed && i < JsonContainerSize(list->val.binary.data); i++)
		listed = etl_json_schema_equal(getIthJsonbValueFromContainer(list->val.binary.data, i), value);
	if (!listed)
		good = fault(v, path, "enum", pstrdup("is none of the values that are listed"));
	if (constant != NULL && !etl_json_schema_equal(constant, value))
		good = fault(v, path, "const",
					 psprintf("is not %s", etl_json_text(JsonbValueToJsonb(constant))));
	return good;
}

/*
 * validate_number checks the keywords of numbers.
 */
static bool
validate_number(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	static const struct
	{
		const char *keyword;
		int			least;		/* compare_numbers(value, limit) must lie within */
		int			most;
		const char *message;
	} limits[] = {{"minimum", 0, 1, "is less than %s"},
				  {"exclusiveMinimum", 1, 1, "is not greater than %s"},
				  {"maximum", -1, 0, "is greater than %s"},
				  {"exclusiveMaximum", -1, -1, "is not less than %s"}};
	JsonbValue *multiple = etl_json_schema_member(schema, "multipleOf");
	bool		good = true;

	for (int i = 0; i < lengthof(limits); i++)
	{
		JsonbValue *limit = etl_json_schema_member(schema, limits[i].keyword);
		int			order = limit ? compare_numbers(value->val.numeric, limit->val.numeric) : 0;

		if (limit == NULL)
			continue;
		order = order < 0 ? -1 : order > 0;
		if (order < limits[i].least || order > limits[i].most)
			good = fault(v, path, limits[i].keyword,
						 psprintf(limits[i].message, etl_json_text(JsonbValueToJsonb(limit))));
	}
	if (multiple != NULL)
	{
		Datum		rest = DirectFunctionCall2(numeric_mod, NumericGetDatum(value->val.numeric),
										 NumericGetDatum(multiple->val.numeric));

		if (compare_numbers(DatumGetNumeric(rest), int64_to_numeric(0)) != 0)
			good = fault(v, path, "multipleOf",
						 psprintf("is not a multiple of %s", etl_json_text(JsonbValueToJsonb(multiple))));
	}
	return good;
}

/*
 * within checks a size against two keywords.
 */
static bool
within(Validation *v, JsonbValue *schema, int64 size, const char *least, const char *most,
	   const char *what, const char *path)
{
	JsonbValue *limit = etl_json_schema_member(schema, least);
	bool		good = true;
	Numeric		number = int64_to_numeric(size);

	if (limit != NULL && compare_numbers(number, limit->val.numeric) < 0)
		good = fault(v, path, least,
					 psprintf("has " INT64_FORMAT " %s, at least %s are wanted", size, what,
							  etl_json_text(JsonbValueToJsonb(limit))));
	limit = etl_json_schema_member(schema, most);
	if (limit != NULL && compare_numbers(number, limit->val.numeric) > 0)
		good = fault(v, path, most,
					 psprintf("has " INT64_FORMAT " %s, at most %s may be", size, what,
							  etl_json_text(JsonbValueToJsonb(limit))));
	return good;
}

/*
 * validate_string checks the keywords of strings.
 */
static bool
validate_string(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	const char *string = value->val.string.val;
	int			length = value->val.string.len;
	JsonbValue *pattern = etl_json_schema_member(schema, "pattern");
	JsonbValue *format = etl_json_schema_member(schema, "format");
	bool		good = within(v, schema, pg_mbstrlen_with_len(string, length), "minLength", "maxLength",
					   "characters", path);

	if (pattern != NULL && !matches(string_of(pattern), string, length))
		good = fault(v, path, "pattern", psprintf("does not match %s", string_of(pattern)));
	if (format != NULL && format->type == jbvString && !is_format(string_of(format), string, length))
		good = fault(v, path, "format", psprintf("is no %s", string_of(format)));
	return good;
}

/*
 * compare_documents orders a list of Jsonb *.
 */
static int
compare_documents(const ListCell *a, const ListCell *b)
{
	return compareJsonbContainers(&((Jsonb *) lfirst(a))->root, &((Jsonb *) lfirst(b))->root);
}

/*
 * are_unique tells whether no element of an array comes twice.
 */
static bool
are_unique(JsonbContainer *array)
{
	List	   *elements = NIL;

	for (uint32 i = 0; i < JsonContainerSize(array); i++)
		elements = lappend(elements, JsonbValueToJsonb(getIthJsonbValueFromContainer(array, i)));
	list_sort(elements, compare_documents);
	for (int i = 1; i < list_length(elements); i++)
		if (compare_documents(list_nth_cell(elements, i - 1), list_nth_cell(elements, i)) == 0)
			return false;
	return true;
}

/*
 * validate_array checks the keywords of arrays.
 */
static bool
validate_array(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	JsonbContainer *array = value->val.binary.data;
	int			size = JsonContainerSize(array);
	JsonbValue *prefix = etl_json_schema_member(schema, "prefixItems");
	JsonbValue *items = etl_json_schema_member(schema, "items");
	JsonbValue *contains = etl_json_schema_member(schema, "contains");
	JsonbValue *unique = etl_json_schema_member(schema, "uniqueItems");
	int			nprefix = prefix ? (int) JsonContainerSize(prefix->val.binary.data) : 0;
	int			found = 0;
	bool		good = within(v, schema, size, "minItems", "maxItems", "elements", path);

	for (int i = 0; i < size; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);
		JsonbValue *of = i < nprefix ? getIthJsonbValueFromContainer(prefix->val.binary.data, i) : items;
		bool		quiet = v->quiet;

		if (of != NULL && !validate(v, of, element, psprintf("%s[%d]", path, i)))
			good = false;
		if (contains == NULL)
			continue;
		v->quiet = true;
		found += validate(v, contains, element, path);
		v->quiet = quiet;
	}
	if (contains != NULL && found == 0)
		good = fault(v, path, "contains", pstrdup("has no element of the kind that it must contain"));
	if (unique != NULL && unique->type == jbvBool && unique->val.boolean && !are_unique(array))
		good = fault(v, path, "uniqueItems", pstrdup("has an element twice"));
	return good;
}

/*
 * validate_members checks the members of an object against properties,
 * patternProperties, additionalProperties and propertyNames.
 */
static bool
validate_members(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	JsonbValue *properties = etl_json_schema_member(schema, "properties");
	JsonbValue *patterns = etl_json_schema_member(schema, "patternProperties");
	JsonbValue *others = etl_json_schema_member(schema, "additionalProperties");
	JsonbValue *names = etl_json_schema_member(schema, "propertyNames");
	bool		good = true;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, etl_json_keys(JsonbValueToJsonb(value)))
	{
		char	   *key = lfirst(cell);
		JsonbValue *member = etl_json_schema_member(value, key);
		JsonbValue *of = properties ? etl_json_schema_member(properties, key) : NULL;
		char	   *inner = psprintf("%s.%s", path, key);
		bool		known = of != NULL;

		if (of != NULL && !validate(v, of, member, inner))
			good = false;
		foreach(other, patterns ? etl_json_keys(JsonbValueToJsonb(patterns)) : NIL)
			if (matches(lfirst(other), key, strlen(key)))
			{
				known = true;
				if (!validate(v, etl_json_schema_member(patterns, lfirst(other)), member, inner))
					good = false;
			}
		if (!known && others != NULL && others->type == jbvBool && !others->val.boolean)
			good = fault(v, inner, "additionalProperties", pstrdup("is not foreseen"));
		else if (!known && others != NULL && !validate(v, others, member, inner))
			good = false;
		if (names != NULL)
		{
			JsonbValue	name = {.type = jbvString, .val.string = {strlen(key), key}};

			if (!validate(v, names, &name, inner))
				good = false;
		}
	}
	return good;
}

/*
 * lacks notes the first name of a list that an object does not have.
 */
static bool
lacks(Validation *v, JsonbValue *names, JsonbValue *value, const char *keyword, const char *path)
{
	bool		good = true;

	ListCell   *cell;

	foreach(cell, etl_json_schema_strings(names))
		if (etl_json_schema_member(value, lfirst(cell)) == NULL)
			good = fault(v, psprintf("%s.%s", path, (char *) lfirst(cell)), keyword, pstrdup("is missing"));
	return !good;
}

/*
 * validate_object checks the keywords of objects.
 */
static bool
validate_object(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	JsonbValue *required = etl_json_schema_member(schema, "required");
	JsonbValue *dependent = etl_json_schema_member(schema, "dependentRequired");
	bool		good = within(v, schema, JsonContainerSize(value->val.binary.data), "minProperties",
					   "maxProperties", "members", path);
	ListCell   *cell;

	if (required != NULL && lacks(v, required, value, "required", path))
		good = false;
	foreach(cell, dependent ? etl_json_keys(JsonbValueToJsonb(dependent)) : NIL)
		if (etl_json_schema_member(value, lfirst(cell)) != NULL &&
			lacks(v, etl_json_schema_member(dependent, lfirst(cell)), value, "dependentRequired", path))
			good = false;
	return validate_members(v, schema, value, path) && good;
}

/*
 * count_valid counts how many schemas of a list a value is right by.
 */
static int
count_valid(Validation *v, JsonbValue *list, JsonbValue *value, const char *path)
{
	bool		quiet = v->quiet;
	int			count = 0;

	v->quiet = true;
	for (uint32 i = 0; i < JsonContainerSize(list->val.binary.data); i++)
		count += validate(v, getIthJsonbValueFromContainer(list->val.binary.data, i), value, path);
	v->quiet = quiet;
	return count;
}

/*
 * is_valid tells whether a value is right by a schema, without noting faults.
 */
static bool
is_valid(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	bool		quiet = v->quiet;
	bool		good;

	v->quiet = true;
	good = validate(v, schema, value, path);
	v->quiet = quiet;
	return good;
}

/*
 * validate_combined checks allOf, anyOf, oneOf, not, if.
 */
static bool
validate_combined(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	JsonbValue *all = etl_json_schema_member(schema, "allOf");
	JsonbValue *any = etl_json_schema_member(schema, "anyOf");
	JsonbValue *one = etl_json_schema_member(schema, "oneOf");
	JsonbValue *not = etl_json_schema_member(schema, "not");
	JsonbValue *condition = etl_json_schema_member(schema, "if");
	bool		good = true;
	int			count;

	for (uint32 i = 0; all != NULL && i < JsonContainerSize(all->val.binary.data); i++)
		if (!validate(v, getIthJsonbValueFromContainer(all->val.binary.data, i), value, path))
			good = false;
	if (any != NULL && count_valid(v, any, value, path) == 0)
		good = fault(v, path, "anyOf", pstrdup("is right by none of the alternatives"));
	if (one != NULL && (count = count_valid(v, one, value, path)) != 1)
		good = fault(v, path, "oneOf", psprintf("is right by %d of the alternatives, not by one", count));
	if (not != NULL && is_valid(v, not, value, path))
		good = fault(v, path, "not", pstrdup("is what it must not be"));
	if (condition != NULL)
	{
		JsonbValue *then =
			etl_json_schema_member(schema, is_valid(v, condition, value, path) ? "then" : "else");

		if (then != NULL && !validate(v, then, value, path))
			good = false;
	}
	return good;
}

/*
 * validate_ref follows a reference.
 */
static bool
validate_ref(Validation *v, const char *ref, JsonbValue *value, const char *path)
{
	JsonbValue *schema = etl_json_schema_resolve(v->root, ref);
	bool		good;

	if (schema == NULL || v->refs >= MAX_REFS)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid JSON Schema: \"$ref\": \"%s\" %s", ref,
						schema ? "leads in a circle" : "leads nowhere")));
	v->refs++;
	good = validate(v, schema, value, path);
	v->refs--;
	return good;
}

/*
 * validate tells whether a value is right by a schema, and notes what is not.
 */
static bool
validate(Validation *v, JsonbValue *schema, JsonbValue *value, const char *path)
{
	JsonbValue *ref;
	bool		good;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (schema->type == jbvBool)
		return schema->val.boolean || fault(v, path, "false", pstrdup("must not be there"));
	ref = etl_json_schema_member(schema, "$ref");
	good = ref == NULL || validate_ref(v, string_of(ref), value, path);
	if (!validate_type(v, schema, value, path))
		good = false;
	if (value->type == jbvNumeric)
		good = validate_number(v, schema, value, path) && good;
	else if (value->type == jbvString)
		good = validate_string(v, schema, value, path) && good;
	else if (is_array(value) || is_object(value))
	{
		int			refs = v->refs;

		/* a step into the document: it ends somewhere */
		v->refs = 0;
		good = (is_array(value) ? validate_array(v, schema, value, path) :
								  validate_object(v, schema, value, path)) &&
			   good;
		v->refs = refs;
	}
	return validate_combined(v, schema, value, path) && good;
}

List *
etl_json_schema_validate(const Jsonb *schema, const Jsonb *document, int max)
{
	Validation	v = {.root = schema, .max = max};

	(void) validate(&v, etl_json_schema_value(schema), etl_json_schema_value(document), "$");
	return v.faults;
}

/* ---- SQL ---- */

Datum
etl_sql_validate_json(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	etl_json_schema_check(PG_GETARG_JSONB_P(0));
	foreach(cell, etl_json_schema_validate(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1), 1000))
	{
		EtlSchemaFault *found = lfirst(cell);
		Datum		values[3] = {CStringGetTextDatum(found->path), CStringGetTextDatum(found->keyword),
						   CStringGetTextDatum(found->message)};
		bool		nulls[3] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
