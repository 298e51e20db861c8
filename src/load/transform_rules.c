/*-------------------------------------------------------------------------
 *
 * transform_rules.c
 *    Reading the option "transform": what becomes of which field.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "load/transform_rules.h"

/*
 * bad_rule raises ET001 for what the option says of a field.
 */
pg_noreturn static void
bad_rule(const char *field, const char *detail)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for option \"transform\" of field \"%s\"", field),
			 errdetail("%s", detail),
			 errhint("Use \"drop\", {\"hash\": {\"secret\": \"name\"}}, {\"cast\": \"type\"} or "
					 "{\"derive\": \"expression\"}, which may have a cast, too.")));
}

const EtlOptionDef etl_transform_options[] = {
	{"hash", "any", NULL, "HMAC-SHA-256 in hex under a key: {\"secret\": name}"},
	{"cast", "text", NULL, "type of the column; also beside derive"},
	{"derive", "text", NULL, "SQL expression over the other fields, as text"},
	{NULL}};

/*
 * read_rule reads what the option says of one field.
 */
static EtlTransformRule *
read_rule(const Jsonb *transform, const char *field)
{
	Jsonb	   *value = etl_json_get(transform, field);
	EtlTransformRule *rule = palloc0(sizeof(EtlTransformRule));

	rule->name = pstrdup(field);
	if (value != NULL && etl_json_kind(value) == 's' && strcmp(etl_json_bare_text(value), "drop") == 0)
	{
		rule->action = ETL_TRANSFORM_DROP;
		return rule;
	}
	if (value == NULL || etl_json_kind(value) != 'o' || etl_json_keys(value) == NIL)
		bad_rule(field, "It says nothing that can be done.");
	etl_options_check(value, "stream:transform", etl_transform_options, NULL);
	rule->cast = etl_json_get_text(value, "cast");
	rule->expression = etl_json_get_text(value, "derive");
	if (etl_json_has(value, "hash"))
	{
		Jsonb	   *hash = etl_json_get(value, "hash");

		if (rule->expression != NULL || rule->cast != NULL)
			bad_rule(field, "A hash is text, and made of the value as it comes.");
		rule->action = ETL_TRANSFORM_HASH;
		rule->secret = hash && etl_json_kind(hash) == 'o' ? etl_json_get_text(hash, "secret") : NULL;
		if (rule->secret == NULL)
			bad_rule(field, "A hash needs a key: without one, short values can be guessed.");
	}
	else if (rule->expression != NULL)
		rule->action = ETL_TRANSFORM_DERIVE;
	if (rule->cast != NULL)
	{
		parseTypeString(rule->cast, &rule->type, &rule->typmod, false);
		if (get_typtype(rule->type) == TYPTYPE_PSEUDO)
			bad_rule(field, psprintf("%s is a pseudo-type.", format_type_be(rule->type)));
	}
	return rule;
}

/* ---- expressions ---- */

/*
 * field_param is the parser's hook: an unqualified name is a field, as text.
 */
static Node *
field_param(ParseState *pstate, ColumnRef *ref)
{
	List	  **names = pstate->p_ref_hook_state;
	Param	   *param;
	ListCell   *cell;
	int			number = 0;

	if (list_length(ref->fields) != 1 || !IsA(linitial(ref->fields), String))
		return NULL;
	foreach(cell, *names)
	{
		number++;
		if (strcmp(lfirst(cell), strVal(linitial(ref->fields))) == 0)
			break;
	}
	if (cell == NULL)
	{
		*names = lappend(*names, pstrdup(strVal(linitial(ref->fields))));
		number = list_length(*names);
	}
	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = TEXTOID;
	param->paramtypmod = -1;
	param->paramcollid = DEFAULT_COLLATION_OID;
	param->location = ref->location;
	return (Node *) param;
}

/*
 * etl_transform_analyze makes the tree of a derivation; 'names' are the fields
 * that it reads.
 */
Node *
etl_transform_analyze(const EtlTransformRule *rule, List **names)
{
	ParseState *pstate = make_parsestate(NULL);
	List	   *list = raw_parser(rule->expression, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, castNode(RawStmt, linitial(list))->stmt);
	Node	   *expr;

	if (select->op != SETOP_NONE || select->fromClause || select->whereClause || select->groupClause ||
		select->sortClause || select->distinctClause || select->limitCount || select->limitOffset ||
		select->havingClause || select->withClause || list_length(select->targetList) != 1 ||
		linitial_node(ResTarget, select->targetList)->name != NULL)
		bad_rule(rule->name, "It is not one expression.");
	*names = NIL;
	pstate->p_pre_columnref_hook = field_param;
	pstate->p_ref_hook_state = names;
	expr = transformExpr(pstate, linitial_node(ResTarget, select->targetList)->val, EXPR_KIND_OTHER);
	if (pstate->p_hasSubLinks || pstate->p_hasAggs || pstate->p_hasWindowFuncs || pstate->p_hasTargetSRFs)
		bad_rule(rule->name, "It may read the fields of its own record and nothing else.");
	if (exprType(expr) == UNKNOWNOID)
		expr = coerce_type(pstate, expr, UNKNOWNOID, TEXTOID, -1, COERCION_IMPLICIT,
						   COERCE_IMPLICIT_CAST, -1);
	if (get_typtype(exprType(expr)) == TYPTYPE_PSEUDO)
		bad_rule(rule->name, psprintf("Its result is of type %s.", format_type_be(exprType(expr))));
	assign_expr_collations(pstate, expr);
	return expr;
}

EtlTransform *
etl_transform_read(const Jsonb *options)
{
	Jsonb	   *value = etl_json_get(options, "transform");

	return value == NULL ? NULL : etl_transform_of(value);
}

EtlTransform *
etl_transform_of(const Jsonb *value)
{
	EtlTransform *transform;
	ListCell   *cell;

	if (etl_json_kind(value) != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"transform\""),
				 errhint("Give an object of fields: {\"email\": {\"hash\": {\"secret\": \"pepper\"}}, "
						 "\"ssn\": \"drop\"}.")));
	transform = palloc0(sizeof(EtlTransform));
	transform->option = value;
	foreach(cell, etl_json_keys(value))
	{
		EtlTransformRule *rule = read_rule(value, lfirst(cell));
		List	   *names;

		if (rule->action == ETL_TRANSFORM_DERIVE)
		{
			Node	   *expr = etl_transform_analyze(rule, &names);

			if (!OidIsValid(rule->type))
			{
				rule->type = exprType(expr);
				rule->typmod = exprTypmod(expr);
			}
		}
		transform->redacts = transform->redacts || rule->action == ETL_TRANSFORM_DROP ||
							 rule->action == ETL_TRANSFORM_HASH;
		transform->rules = lappend(transform->rules, rule);
	}
	return transform;
}

bool
etl_transform_redacts(const EtlTransform *transform)
{
	return transform != NULL && transform->redacts;
}

/*
 * joined writes a path with another separator than the dot, its parts as they
 * are or in snake_case.
 */
static char *
joined(const char *path, const char *separator, bool snake)
{
	StringInfoData out;
	char	   *parts = pstrdup(path);
	char	   *rest = NULL;

	initStringInfo(&out);
	for (char *part = strtok_r(parts, ".", &rest); part != NULL; part = strtok_r(NULL, ".", &rest))
		appendStringInfo(&out, "%s%s", out.len ? separator : "", snake ? etl_snake_case(part) : part);
	return out.data;
}

/*
 * etl_transform_rule returns what is said of a field; NULL: nothing.
 */
EtlTransformRule *
etl_transform_rule(const EtlTransform *transform, const char *field)
{
	char	   *identifier = NULL;
	ListCell   *cell;

	foreach(cell, transform->rules)
		if (strcmp(((EtlTransformRule *) lfirst(cell))->name, field) == 0)
			return lfirst(cell);
	identifier = etl_snake_case(field);
	foreach(cell, transform->rules)
		if (strcmp(((EtlTransformRule *) lfirst(cell))->name, identifier) == 0)
			return lfirst(cell);
	/* a.b is the field a__b */
	foreach(cell, transform->rules)
	{
		EtlTransformRule *rule = lfirst(cell);
		char	   *name = joined(rule->name, "__", false);

		if (rule->action != ETL_TRANSFORM_DERIVE &&
			(strcmp(name, field) == 0 || strcmp(name, identifier) == 0))
			return rule;
	}
	return NULL;
}

/*
 * etl_transform_unmet: see transform.h.
 */
char *
etl_transform_unmet(const EtlTransform *transform)
{
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	if (transform != NULL)
		foreach(cell, transform->rules)
		{
			const EtlTransformRule *rule = lfirst(cell);

			if (!rule->met && (rule->action == ETL_TRANSFORM_DROP || rule->action == ETL_TRANSFORM_HASH))
				appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", rule->name);
		}
	return names.len > 0 ? names.data : NULL;
}

bool
etl_transform_is_of_items(const EtlTransformRule *rule)
{
	return rule->action == ETL_TRANSFORM_DERIVE && strchr(rule->name, '.') != NULL;
}

List *
etl_transform_names(const EtlTransform *transform)
{
	List	   *names = NIL;
	ListCell   *cell;

	if (transform != NULL)
		foreach(cell, transform->rules)
			names = lappend(names, ((EtlTransformRule *) lfirst(cell))->name);
	return names;
}

/*
 * behind returns what a name has behind a prefix; NULL when it has another one.
 */
static const char *
behind(const char *name, const char *prefix)
{
	size_t		length = strlen(prefix);

	return strncmp(name, prefix, length) == 0 && name[length] != '\0' ? name + length : NULL;
}

/*
 * name_within returns the name that a rule has inside the items of a path;
 * NULL: it says nothing of them.
 */
static const char *
name_within(const char *name, const char *path, bool by_path)
{
	const char *within = NULL;

	for (int snake = 0; snake < 2 && within == NULL; snake++)
	{
		within = behind(name, psprintf("%s.", joined(path, ".", snake)));
		if (within == NULL && !by_path)
			within = behind(name, psprintf("%s__", joined(path, "__", snake)));
	}
	return within;
}

/*
 * derives tells whether an option derives a field.
 */
static bool
derives(const Jsonb *rule)
{
	return rule != NULL && etl_json_kind(rule) == 'o' && etl_json_has(rule, "derive");
}

void
etl_transform_bind(EtlTransform *items, const EtlTransform *transform, const char *path)
{
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, transform->rules)
	{
		EtlTransformRule *rule = lfirst(cell);
		const char *within = name_within(rule->name, path, rule->action == ETL_TRANSFORM_DERIVE);

		foreach(other, items->rules)
			if (within != NULL && strcmp(((EtlTransformRule *) lfirst(other))->name, within) == 0)
				((EtlTransformRule *) lfirst(other))->outer = rule;
	}
}

Jsonb *
etl_transform_within(const Jsonb *transform, const char *path)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	bool		some = false;
	ListCell   *cell;

	if (transform == NULL || etl_json_kind(transform) != 'o')
		return NULL;
	foreach(cell, etl_json_keys(transform))
	{
		const char *name = lfirst(cell);
		Jsonb	   *rule = etl_json_get(transform, name);
		const char *within = name_within(name, path, derives(rule));

		if (within == NULL)
			continue;
		etl_json_add(builder, within, rule);
		some = true;
	}
	return some ? etl_json_object_end(builder) : NULL;
}

char *
etl_transform_type(const EtlTransform *transform, const char *field)
{
	const EtlTransformRule *rule = transform ? etl_transform_rule(transform, field) : NULL;

	if (rule == NULL || !OidIsValid(rule->type))
		return NULL;
	return format_type_extended(rule->type, rule->typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}
