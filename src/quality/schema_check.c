/*-------------------------------------------------------------------------
 *
 * schema_check.c
 *    Is a JSON Schema one, and understood in whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "quality/json_schema.h"
#include "quality/schema_value.h"

/* What the value of a keyword must be. */
typedef enum Shape
{
	ANYTHING,
	SCHEMA,
	SCHEMA_LIST,
	SCHEMA_MAP,
	NUMBER,
	POSITIVE,
	COUNT,
	BOOLEAN,
	TYPE,
	TEXT,
	PATTERN,
	TEXT_LIST,
	TEXT_LIST_MAP,
	LIST,
	REF
} Shape;

static const struct
{
	const char *keyword;
	Shape		shape;
} keywords[] = {
	{"type", TYPE},
	{"enum", LIST},
	{"const", ANYTHING},
	{"properties", SCHEMA_MAP},
	{"required", TEXT_LIST},
	{"additionalProperties", SCHEMA},
	{"patternProperties", SCHEMA_MAP},
	{"propertyNames", SCHEMA},
	{"minProperties", COUNT},
	{"maxProperties", COUNT},
	{"dependentRequired", TEXT_LIST_MAP},
	{"items", SCHEMA},
	{"prefixItems", SCHEMA_LIST},
	{"contains", SCHEMA},
	{"minItems", COUNT},
	{"maxItems", COUNT},
	{"uniqueItems", BOOLEAN},
	{"minimum", NUMBER},
	{"maximum", NUMBER},
	{"exclusiveMinimum", NUMBER},
	{"exclusiveMaximum", NUMBER},
	{"multipleOf", POSITIVE},
	{"minLength", COUNT},
	{"maxLength", COUNT},
	{"pattern", PATTERN},
	{"format", TEXT},
	{"allOf", SCHEMA_LIST},
	{"anyOf", SCHEMA_LIST},
	{"oneOf", SCHEMA_LIST},
	{"not", SCHEMA},
	{"if", SCHEMA},
	{"then", SCHEMA},
	{"else", SCHEMA},
	{"$ref", REF},
	{"$defs", SCHEMA_MAP},
	{"definitions", SCHEMA_MAP},
	/* these only annotate */
	{"$schema", TEXT},
	{"$id", TEXT},
	{"$comment", TEXT},
	{"title", TEXT},
	{"description", TEXT},
	{"default", ANYTHING},
	{"examples", ANYTHING},
	{"deprecated", BOOLEAN},
	{"readOnly", BOOLEAN},
	{"writeOnly", BOOLEAN},
	{"contentEncoding", TEXT},
	{"contentMediaType", TEXT},
};

static const char *const types[] = {"null", "boolean", "object", "array", "number", "string", "integer"};

static void check_schema(const Jsonb *root, JsonbValue *schema, const char *path);

/*
 * invalid raises ET001 for a schema that is none.
 */
pg_noreturn static void
invalid(const char *path, const char *problem)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid JSON Schema: \"%s\" %s", path, problem),
			 errhint("See the reference of etl.validate_json for the keywords that are understood.")));
}

/*
 * is_type tells whether a value is the name of a type.
 */
static bool
is_type(const JsonbValue *value)
{
	for (int i = 0; value->type == jbvString && i < lengthof(types); i++)
		if (value->val.string.len == strlen(types[i]) &&
			memcmp(value->val.string.val, types[i], value->val.string.len) == 0)
			return true;
	return false;
}

/*
 * check_scalar checks the value of a keyword that holds no schema.
 */
static void
check_scalar(const Jsonb *root, Shape shape, JsonbValue *value, const char *path)
{
	Jsonb	   *document = JsonbValueToJsonb(value);
	char		kind = etl_json_kind(document);
	const char *text = etl_json_bare_text(document);
	bool		sole = shape == TYPE && is_type(value);

	if (kind != 'n' && (shape == NUMBER || shape == COUNT || shape == POSITIVE))
		invalid(path, "must be a number");
	if ((shape == COUNT && (text[0] == '-' || strchr(text, '.'))) ||
		(shape == POSITIVE && (text[0] == '-' || strspn(text, "0.") == strlen(text))))
		invalid(path, shape == COUNT ? "must be a whole number, zero or more" : "must be above zero");
	if (kind != 'b' && shape == BOOLEAN)
		invalid(path, "must be true or false");
	if (kind != 's' && (shape == TEXT || shape == PATTERN || shape == REF))
		invalid(path, "must be a string");
	if (kind != 'a' && (shape == LIST || shape == TEXT_LIST || (shape == TYPE && !sole)))
		invalid(path, shape == TYPE ? "must be a type or a list of types" : "must be a list");
	if (shape == PATTERN)
		(void) RE_compile_and_cache(cstring_to_text(text), REG_ADVANCED, DEFAULT_COLLATION_OID);
	if (shape == REF && etl_json_schema_resolve(root, text) == NULL)
		invalid(path, "leads nowhere: only references like \"#/$defs/name\" are followed");
	for (uint32 i = 0; kind == 'a' && (shape == TYPE || shape == TEXT_LIST) &&
					   i < JsonContainerSize(&document->root);
		 i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&document->root, i);

		if (element->type != jbvString || (shape == TYPE && !is_type(element)))
			invalid(path, shape == TYPE ? "names a type that does not exist" : "must be a list of strings");
	}
}

/*
 * check_keyword checks the value of one keyword.
 */
static void
check_keyword(const Jsonb *root, Shape shape, JsonbValue *value, const char *path)
{
	Jsonb	   *document = JsonbValueToJsonb(value);
	char		kind = etl_json_kind(document);
	ListCell   *cell;

	switch (shape)
	{
		case ANYTHING:
			break;
		case SCHEMA:
			check_schema(root, value, path);
			break;
		case SCHEMA_LIST:
			if (kind != 'a')
				invalid(path, "must be a list of schemas");
			for (uint32 i = 0; i < JsonContainerSize(&document->root); i++)
				check_schema(root, getIthJsonbValueFromContainer(&document->root, i),
							 psprintf("%s/%u", path, i));
			break;
		case SCHEMA_MAP:
		case TEXT_LIST_MAP:
			if (kind != 'o')
				invalid(path, "must be an object");
			foreach(cell, etl_json_keys(document))
			{
				JsonbValue *member = etl_json_schema_member(value, lfirst(cell));
				char	   *inner = psprintf("%s/%s", path, (char *) lfirst(cell));

				if (shape == SCHEMA_MAP)
					check_schema(root, member, inner);
				else
					check_scalar(root, TEXT_LIST, member, inner);
			}
			break;
		default:
			check_scalar(root, shape, value, path);
	}
}

/*
 * check_schema checks a schema and those inside it.
 */
static void
check_schema(const Jsonb *root, JsonbValue *schema, const char *path)
{
	ListCell   *cell;

	check_stack_depth();
	if (schema->type == jbvBool)
		return;
	if (schema->type != jbvBinary || !JsonContainerIsObject(schema->val.binary.data))
		invalid(path, "must be an object, true or false");
	foreach(cell, etl_json_keys(JsonbValueToJsonb(schema)))
	{
		const char *keyword = lfirst(cell);
		char	   *inner = psprintf("%s/%s", path, keyword);
		int			i;

		for (i = 0; i < lengthof(keywords); i++)
			if (strcmp(keywords[i].keyword, keyword) == 0)
				break;
		if (i < lengthof(keywords))
			check_keyword(root, keywords[i].shape, etl_json_schema_member(schema, keyword), inner);
		else if (strncmp(keyword, "x-", 2) != 0)
			invalid(inner, "is a keyword that is not understood");
		if (strcmp(keyword, "patternProperties") == 0)
		{
			ListCell   *pattern;

			foreach(pattern, etl_json_keys(JsonbValueToJsonb(etl_json_schema_member(schema, keyword))))
				(void) RE_compile_and_cache(cstring_to_text(lfirst(pattern)), REG_ADVANCED,
											DEFAULT_COLLATION_OID);
		}
	}
}

void
etl_json_schema_check(const Jsonb *schema)
{
	check_schema(schema, etl_json_schema_value(schema), "#");
}
