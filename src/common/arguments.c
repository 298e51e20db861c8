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
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("argument \"%s\" must not contain null", name)));
		result = lappend(result, TextDatumGetCString(items[i]));
	}
	return result;
}
