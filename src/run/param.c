/*-------------------------------------------------------------------------
 *
 * param.c
 *    etl.param(): the run's parameters, for use in models.
 *
 * They travel in the setting etl.params, so that parallel workers and
 * nested functions see them; a run sets it for each of its transactions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"

PG_FUNCTION_INFO_V1(etl_sql_param);

/*
 * etl_sql_param is etl.param(name, default_value).
 */
Datum
etl_sql_param(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *value = NULL;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the name of a parameter must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (etl_params != NULL && etl_params[0] != '\0')
	{
		Jsonb	   *params = etl_json_parse(etl_params);

		if (etl_json_kind(params) != 'o')
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("setting etl.params is not a JSON object"),
					 errhint("Write SET etl.params = '{\"name\": \"value\"}', or RESET etl.params.")));
		value = etl_json_get_text(params, name);
	}
	if (value != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(value));
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}
