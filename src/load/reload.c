/*-------------------------------------------------------------------------
 *
 * reload.c
 *    etl.reload and etl.reset: what was loaded may be loaded again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "catalog/landing.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "load/children.h"
#include "load/landing.h"

PG_FUNCTION_INFO_V1(etl_sql_reload);
PG_FUNCTION_INFO_V1(etl_sql_reset);

Datum
etl_sql_reload(PG_FUNCTION_ARGS)
{
	EtlStream  *stream = etl_stream_operated(etl_arg_required(fcinfo, 0, "target"), NULL);
	char	   *origin = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));

	etl_stream_refuse_child(stream, "reloaded");
	etl_stream_lock(stream->target);
	if (etl_stream_forget(stream->target, origin) == 0 && origin != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("stream \"%s\" has loaded no file \"%s\"", stream->target, origin),
				 errhint("SELECT DISTINCT origin FROM etl.loads WHERE target = '%s' shows what it loaded;"
						 " a source without files can only be reloaded whole.", stream->target)));
	if (origin == NULL && etl_cursor_get(stream->target) != NULL)
	{
		etl_cursor_set(stream->target, NULL, 0);
		etl_stream_replace_next(stream->target);
	}
	PG_RETURN_VOID();
}

Datum
etl_sql_reset(PG_FUNCTION_ARGS)
{
	EtlStream  *stream = etl_stream_operated(etl_arg_required(fcinfo, 0, "target"), NULL);
	Jsonb	   *cursor = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);

	etl_stream_refuse_child(stream, "reset");
	etl_stream_lock(stream->target);
	if (cursor == NULL)
		(void) etl_stream_forget(stream->target, NULL);
	else if (!JB_ROOT_IS_OBJECT(cursor))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("cursor must be a JSON object"),
				 errhint("SELECT cursor FROM etl.loads WHERE target = '%s' shows former ones.",
						 stream->target)));
	etl_cursor_set(stream->target, cursor, 0);
	PG_RETURN_VOID();
}
