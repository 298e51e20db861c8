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

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "common/errors.h"
#include "common/json.h"
#include "quality/json_schema.h"
#include "quality/schema_value.h"

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
		good = good || etl_schema_has_type(value, lfirst(cell));
	if (!good)
		return fault(v, path, "type",
					 psprintf("is of type %s, not %s", etl_schema_type(value),
							  type->type == jbvString ? etl_schema_string(type) :
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
		int			least;		/* etl_schema_compare_numbers(value, limit) must lie within */
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
		int			order = limit ? etl_schema_compare_numbers(value->val.numeric, limit->val.numeric) : 0;

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

		if (etl_schema_compare_numbers(DatumGetNumeric(rest), int64_to_numeric(0)) != 0)
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

	if (limit != NULL && etl_schema_compare_numbers(number, limit->val.numeric) < 0)
		good = fault(v, path, least,
					 psprintf("has " INT64_FORMAT " %s, at least %s are wanted", size, what,
							  etl_json_text(JsonbValueToJsonb(limit))));
	limit = etl_json_schema_member(schema, most);
	if (limit != NULL && etl_schema_compare_numbers(number, limit->val.numeric) > 0)
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

	if (pattern != NULL && !etl_schema_matches(etl_schema_string(pattern), string, length))
		good = fault(v, path, "pattern", psprintf("does not match %s", etl_schema_string(pattern)));
	if (format != NULL && format->type == jbvString &&
		!etl_schema_is_format(etl_schema_string(format), string, length))
		good = fault(v, path, "format", psprintf("is no %s", etl_schema_string(format)));
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
			if (etl_schema_matches(lfirst(other), key, strlen(key)))
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
	good = ref == NULL || validate_ref(v, etl_schema_string(ref), value, path);
	if (!validate_type(v, schema, value, path))
		good = false;
	if (value->type == jbvNumeric)
		good = validate_number(v, schema, value, path) && good;
	else if (value->type == jbvString)
		good = validate_string(v, schema, value, path) && good;
	else if (etl_schema_is_array(value) || etl_schema_is_object(value))
	{
		int			refs = v->refs;

		/* a step into the document: it ends somewhere */
		v->refs = 0;
		good = (etl_schema_is_array(value) ? validate_array(v, schema, value, path) :
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
