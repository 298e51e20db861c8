/*-------------------------------------------------------------------------
 *
 * schema_cover.c
 *    Do two JSON Schemas go together: are documents that are right by one
 *    right by the other?
 *
 * Compared keyword by keyword, on the safe side: what cannot be told counts
 * as a difference.  A member that a schema does not name is taken for one
 * that its documents do not have; else nothing could ever be added.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "common/errors.h"
#include "common/json.h"
#include "quality/json_schema.h"
#include "quality/schema_value.h"

PG_FUNCTION_INFO_V1(etl_sql_compare_json_schemas);

#define MAX_DEPTH 64

typedef struct Comparison
{
	const Jsonb *new_root;
	const Jsonb *old_root;
	List	   *breaks;			/* char * */
	int			depth;
} Comparison;

static void compare(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path);

static void
differ(Comparison *c, const char *path, const char *keyword, const char *how)
{
	c->breaks = lappend(c->breaks, psprintf("%s: %s %s", path, keyword, how));
}

/*
 * has_type tells whether a list of types has one.
 */
static bool
has_type(const JsonbValue *types, const char *type)
{
	ListCell   *cell;

	foreach(cell, etl_json_schema_strings(types))
		if (strcmp(lfirst(cell), type) == 0 ||
			(strcmp(type, "integer") == 0 && strcmp(lfirst(cell), "number") == 0))
			return true;
	return false;
}

/*
 * compare_types finds types that the new schema does not take any more.
 */
static void
compare_types(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path)
{
	static const char *const all[] = {"null", "boolean", "object", "array", "string", "integer", "number"};
	JsonbValue *new_types = etl_json_schema_member(new, "type");
	JsonbValue *old_types = etl_json_schema_member(old, "type");

	for (int i = 0; new_types != NULL && i < lengthof(all); i++)
		if ((old_types == NULL || has_type(old_types, all[i])) && !has_type(new_types, all[i]))
			differ(c, path, "type", psprintf("takes no %s any more", all[i]));
}

/*
 * compare_values finds values that enum and const do not list any more.
 */
static void
compare_values(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path)
{
	static const char *const lists[] = {"enum", "const"};

	for (int i = 0; i < lengthof(lists); i++)
	{
		JsonbValue *now = etl_json_schema_member(new, lists[i]);
		JsonbValue *before = etl_json_schema_member(old, lists[i]);

		if (now == NULL || (before != NULL && etl_json_schema_equal(now, before)))
			continue;
		if (before == NULL || i == 1)
		{
			differ(c, path, lists[i], "allows less");
			continue;
		}
		for (uint32 b = 0; b < JsonContainerSize(before->val.binary.data); b++)
		{
			JsonbValue *value = getIthJsonbValueFromContainer(before->val.binary.data, b);
			bool		there = false;

			for (uint32 n = 0; !there && n < JsonContainerSize(now->val.binary.data); n++)
				there = etl_json_schema_equal(getIthJsonbValueFromContainer(now->val.binary.data, n), value);
			if (!there)
				differ(c, path, lists[i],
					   psprintf("lacks %s", etl_json_text(JsonbValueToJsonb(value))));
		}
	}
}

/*
 * compare_limits finds limits that became narrower.
 */
static void
compare_limits(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path)
{
	static const struct
	{
		const char *keyword;
		int			sign;		/* 1: a greater number allows more */
	} limits[] = {{"minimum", -1},		   {"exclusiveMinimum", -1}, {"maximum", 1},
				  {"exclusiveMaximum", 1}, {"minLength", -1},		 {"maxLength", 1},
				  {"minItems", -1},		   {"maxItems", 1},			 {"minProperties", -1},
				  {"maxProperties", 1}};

	for (int i = 0; i < lengthof(limits); i++)
	{
		JsonbValue *now = etl_json_schema_member(new, limits[i].keyword);
		JsonbValue *before = etl_json_schema_member(old, limits[i].keyword);

		if (now == NULL)
			continue;
		if (before == NULL ||
			limits[i].sign * DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(now->val.numeric),
															   NumericGetDatum(before->val.numeric))) <
				0)
			differ(c, path, limits[i].keyword, "allows less");
	}
}

/*
 * compare_same finds keywords that the new schema has otherwise.
 */
static void
compare_same(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path)
{
	static const char *const same[] = {"pattern", "format", "multipleOf", "uniqueItems", "patternProperties",
									   "propertyNames", "dependentRequired", "prefixItems", "contains",
									   "allOf", "anyOf", "oneOf", "not", "if", "then", "else"};

	for (int i = 0; i < lengthof(same); i++)
	{
		JsonbValue *now = etl_json_schema_member(new, same[i]);
		JsonbValue *before = etl_json_schema_member(old, same[i]);

		if (now != NULL && (before == NULL || !etl_json_schema_equal(now, before)))
			differ(c, path, same[i], before ? "is another" : "is new");
	}
}

/*
 * names_text tells whether a list of strings has one.
 */
static bool
names_text(const JsonbValue *list, const char *text)
{
	ListCell   *cell;

	foreach(cell, etl_json_schema_strings(list))
		if (strcmp(lfirst(cell), text) == 0)
			return true;
	return false;
}

/*
 * compare_objects finds members that the new schema wants or does not take.
 */
static void
compare_objects(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path)
{
	JsonbValue *required = etl_json_schema_member(new, "required");
	JsonbValue *new_members = etl_json_schema_member(new, "properties");
	JsonbValue *old_members = etl_json_schema_member(old, "properties");
	JsonbValue *others = etl_json_schema_member(new, "additionalProperties");
	ListCell   *cell;

	foreach(cell, etl_json_schema_strings(required))
		if (!names_text(etl_json_schema_member(old, "required"), lfirst(cell)))
			differ(c, psprintf("%s.%s", path, (char *) lfirst(cell)), "required", "is new");
	foreach(cell, old_members ? etl_json_keys(JsonbValueToJsonb(old_members)) : NIL)
	{
		char	   *inner = psprintf("%s.%s", path, (char *) lfirst(cell));
		JsonbValue *now = new_members ? etl_json_schema_member(new_members, lfirst(cell)) : NULL;

		if (now == NULL)
			now = others;
		if (now != NULL && now->type == jbvBool && !now->val.boolean)
			differ(c, inner, "additionalProperties", "does not take it");
		else if (now != NULL)
			compare(c, now, etl_json_schema_member(old_members, lfirst(cell)), inner);
	}
}

/*
 * follow replaces a schema that is only a reference by what it means.
 */
static JsonbValue *
follow(const Jsonb *root, JsonbValue *schema)
{
	for (int i = 0; i < MAX_DEPTH; i++)
	{
		JsonbValue *ref = etl_json_schema_member(schema, "$ref");

		if (ref == NULL)
			break;
		schema = etl_json_schema_resolve(root, pnstrdup(ref->val.string.val, ref->val.string.len));
	}
	return schema;
}

/*
 * compare finds what is right by the old schema and wrong by the new one.
 */
static void
compare(Comparison *c, JsonbValue *new, JsonbValue *old, const char *path)
{
	JsonbValue *new_items;
	JsonbValue *old_items;
	JsonbValue	anything = {.type = jbvBool, .val.boolean = true};

	check_stack_depth();
	if (c->depth > MAX_DEPTH)
		return;					/* a schema of itself: seen before */
	new = follow(c->new_root, new);
	old = follow(c->old_root, old);
	if ((new->type == jbvBool &&new->val.boolean) || (old->type == jbvBool && !old->val.boolean))
		return;
	if (new->type == jbvBool)
	{
		differ(c, path, "false", "allows nothing");
		return;
	}
	c->depth++;
	compare_types(c, new, old, path);
	compare_values(c, new, old, path);
	compare_limits(c, new, old, path);
	compare_same(c, new, old, path);
	compare_objects(c, new, old, path);
	new_items = etl_json_schema_member(new, "items");
	old_items = etl_json_schema_member(old, "items");
	if (new_items != NULL)
		compare(c, new_items, old_items ? old_items : &anything, psprintf("%s[]", path));
	c->depth--;
}

List *
etl_json_schema_breaks(const Jsonb *new_schema, const Jsonb *old_schema)
{
	Comparison	c = {.new_root = new_schema, .old_root = old_schema};

	compare(&c, etl_json_schema_value(new_schema), etl_json_schema_value(old_schema), "$");
	return c.breaks;
}

const char *
etl_json_schema_verdict(bool backward, bool forward)
{
	return backward && forward ? "full" : backward ? "backward" :
									  forward	   ? "forward" :
													 "none";
}

/* ---- SQL ---- */

/*
 * texts makes a text[] of a list of char *.
 */
static Datum
texts(List *list)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(list), 1));
	ListCell   *cell;

	foreach(cell, list)
		elements[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(construct_array(elements, list_length(list), TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
etl_sql_compare_json_schemas(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[3];
	bool		nulls[3] = {false};
	List	   *backward;
	List	   *forward;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	etl_json_schema_check(PG_GETARG_JSONB_P(0));
	etl_json_schema_check(PG_GETARG_JSONB_P(1));
	backward = etl_json_schema_breaks(PG_GETARG_JSONB_P(1), PG_GETARG_JSONB_P(0));
	forward = etl_json_schema_breaks(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1));
	values[0] = CStringGetTextDatum(etl_json_schema_verdict(backward == NIL, forward == NIL));
	values[1] = texts(backward);
	values[2] = texts(forward);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
