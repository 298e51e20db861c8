/*-------------------------------------------------------------------------
 *
 * arguments.c
 *    Reading the arguments of SQL functions that take NULL as "not given".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "common/arguments.h"
#include "common/errors.h"
#include "common/parse.h"

char *
etl_arg_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

List *
etl_arg_texts(FunctionCallInfo fcinfo, int n, const char *name)
{
	Datum	   *items;
	bool	   *nulls;
	int			count;
	List	   *result = NIL;

	if (PG_ARGISNULL(n))
		return NIL;
	if (ARR_NDIM(PG_GETARG_ARRAYTYPE_P(n)) > 1)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("argument \"%s\" must be a list, not a list of lists", name)));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("argument \"%s\" must not contain null", name)));
		result = lappend(result, TextDatumGetCString(items[i]));
		if (((char *) llast(result))[0] == '\0')
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("argument \"%s\" must not contain an empty text", name)));
	}
	return result;
}

List *
etl_arg_columns(FunctionCallInfo fcinfo, int n, const char *name)
{
	List	   *result = etl_arg_texts(fcinfo, n, name);

	if (etl_name_twice(result) != NULL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("argument \"%s\" names column \"%s\" twice", name, etl_name_twice(result)),
						errhint("Name each column once.")));
	return result;
}

List *
etl_arg_tags(FunctionCallInfo fcinfo, int n)
{
	List	   *result = etl_arg_texts(fcinfo, n, "tags");
	ListCell   *cell;

	foreach(cell, result)
		if (strpbrk(lfirst(cell), " \t\n\r,") != NULL)
			ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
							errmsg("invalid tag \"%s\"", (char *) lfirst(cell)),
							errdetail("In a selector a space or a comma would end it."),
							errhint("Write it without, for example with \"_\".")));
	return result;
}

char *
etl_arg_nonempty(FunctionCallInfo fcinfo, int n, const char *name)
{
	char	   *text = etl_arg_text(fcinfo, n);

	if (text != NULL && text[0] == '\0')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("argument \"%s\" must not be empty", name)));
	return text;
}

char *
etl_arg_required(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("argument \"%s\" must not be null", name)));
	return etl_arg_text(fcinfo, n);
}
