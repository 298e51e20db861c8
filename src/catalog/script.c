/*-------------------------------------------------------------------------
 *
 * script.c
 *    Definitions as the SQL that defines them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "catalog/version.h"
#include "common/arguments.h"
#include "common/json.h"

PG_FUNCTION_INFO_V1(etl_sql_definition);

/*
 * etl_script_literal quotes a text: one of several lines, or with quotes in
 * it, in dollars, so that a query is read as it was written.
 */
char *
etl_script_literal(const char *text)
{
	char	   *quoted;

	if (strpbrk(text, "\n'") != NULL && text[strlen(text) - 1] != '$')
	{
		if (strstr(text, "$$") == NULL)
			return psprintf("$$%s$$", text);
		for (int i = 1; i < 100; i++)
		{
			char	   *tag = psprintf("$etl%d$", i);

			if (strstr(text, tag) == NULL)
				return psprintf("%s%s%s", tag, text, tag);
		}
	}
	/* with standard_conforming_strings off a plain literal would read backslashes */
	quoted = quote_literal_cstr(text);
	return quoted[0] == ' ' ? quoted + 1 : quoted;
}

/*
 * array_literal renders a JSON array of texts as a text[].
 */
static char *
array_literal(const Jsonb *definition, const char *key)
{
	StringInfoData text;
	List	   *items = etl_json_get_list(definition, key);
	ListCell   *cell;

	if (items == NIL)
		return "'{}'";
	initStringInfo(&text);
	foreach(cell, items)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "ARRAY[", etl_script_literal(lfirst(cell)));
	appendStringInfoChar(&text, ']');
	return text.data;
}

/*
 * argument_literal renders one argument; NULL when it need not be said.
 */
static char *
argument_literal(const Jsonb *definition, const EtlDefinitionArg *arg)
{
	const char *column = arg->column ? arg->column : arg->name;
	Jsonb	   *value = etl_json_get(definition, column);
	char		kind = etl_json_kind_of(definition, column);

	if (value == NULL || (arg->without && strcmp(etl_json_text(value), arg->without) == 0))
		return NULL;
	if (arg->type == 'a')
		return array_literal(definition, column);
	if (arg->type == 'j')
		return etl_script_literal(etl_json_text(value));
	return kind == 's' ? etl_script_literal(etl_json_get_text(definition, column)) :
						 etl_json_get_text(definition, column);
}

char *
etl_definition_sql(const char *kind_name, const Jsonb *definition)
{
	const EtlDefinitionKind *kind = etl_definition_kind(kind_name);
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT etl.define_%s(", kind->name);
	for (const EtlDefinitionArg *arg = kind->args; arg->name; arg++)
	{
		char	   *literal = argument_literal(definition, arg);

		if (literal != NULL)
			appendStringInfo(&sql, "%s%s => %s", n++ ? ",\n\t" : "", arg->name, literal);
	}
	appendStringInfoString(&sql, ");");
	return sql.data;
}

/*
 * etl_sql_definition renders a stored version; see the comment of
 * etl._definition.
 */
Datum
etl_sql_definition(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(etl_definition_sql(text_to_cstring(PG_GETARG_TEXT_PP(0)),
														PG_GETARG_JSONB_P(1))));
}
