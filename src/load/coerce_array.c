/*-------------------------------------------------------------------------
 *
 * coerce_array.c
 *    A JSON array as the array literal that PostgreSQL reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "load/coercer.h"

/*
 * append_quoted writes one element so that no byte of it means anything.
 */
static void
append_quoted(StringInfo out, const char *text, int length)
{
	int			i;

	appendStringInfoChar(out, '"');
	for (i = 0; i < length; i++)
	{
		if (text[i] == '"' || text[i] == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, text[i]);
	}
	appendStringInfoChar(out, '"');
}

/*
 * append_array writes an array; nested arrays are further dimensions, nested
 * objects are JSON text.
 */
static void
append_array(StringInfo out, JsonbContainer *array)
{
	JsonbIterator *iterator = JsonbIteratorInit(array);
	JsonbIteratorToken token;
	JsonbValue	value;
	const char *separator = "";
	char	   *text;

	check_stack_depth();
	appendStringInfoChar(out, '{');
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		appendStringInfoString(out, separator);
		separator = ",";
		switch (value.type)
		{
			case jbvNull:
				appendStringInfoString(out, "NULL");
				break;
			case jbvBool:
				appendStringInfoString(out, value.val.boolean ? "true" : "false");
				break;
			case jbvNumeric:
				appendStringInfoString(out, DatumGetCString(DirectFunctionCall1(
												numeric_out, NumericGetDatum(value.val.numeric))));
				break;
			case jbvString:
				append_quoted(out, value.val.string.val, value.val.string.len);
				break;
			default:
				if (JsonContainerIsArray(value.val.binary.data))
				{
					append_array(out, value.val.binary.data);
					break;
				}
				text = JsonbToCString(NULL, value.val.binary.data, value.val.binary.len);
				append_quoted(out, text, strlen(text));
		}
	}
	appendStringInfoChar(out, '}');
}

/*
 * etl_coerce_array_literal returns the literal of a JSON array's text; raises
 * what jsonb raises.
 */
char *
etl_coerce_array_literal(const char *json)
{
	Jsonb	   *array = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	StringInfoData out;

	initStringInfo(&out);
	append_array(&out, &array->root);
	return out.data;
}
