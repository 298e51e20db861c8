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

/*
 * read_rule reads what the option says of one field.
 */
static EtlTransformRule *
read_rule(const Jsonb *transform, const char *field)
{
	static const EtlOptionDef keys[] = {{"hash", "any", NULL, ""},
										{"cast", "text", NULL, ""},
										{"derive", "text", NULL, ""},
										{NULL}};
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
	etl_options_check(value, "transform", keys, NULL);
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
	EtlTransform *transform;
	ListCell   *cell;

	if (value == NULL)
		return NULL;
	if (etl_json_kind(value) != 'o')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"transform\""),
				 errhint("Give an object of fields: {\"email\": {\"hash\": {\"secret\": \"pepper\"}}, "
						 "\"ssn\": \"drop\"}.")));
	transform = palloc0(sizeof(EtlTransform));
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

char *
etl_transform_type(const EtlTransform *transform, const char *field)
{
	const EtlTransformRule *rule = transform ? etl_transform_rule(transform, field) : NULL;

	if (rule == NULL || !OidIsValid(rule->type))
		return NULL;
	return format_type_extended(rule->type, rule->typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}
