/*-------------------------------------------------------------------------
 *
 * unload.c
 *    Taking what one load brought out of its stream again.
 *
 * The file stays known to the ledger, which keeps it out until a reload; the
 * models that consumed the load build anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/snapmgr.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/children.h"

PG_FUNCTION_INFO_V1(etl_sql_unload);

/*
 * check_load raises an error for a load that cannot be taken out.
 */
static EtlStream *
check_load(int64 load_id, const EtlLoadHead *head)
{
	EtlStream  *stream;

	if (head == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("there is no load " INT64_FORMAT, load_id),
				 errhint("SELECT load_id, origin FROM etl.loads lists them.")));
	stream = etl_stream_operated(head->target, NULL);
	etl_stream_refuse_child(stream, "unloaded by itself");
	if (strcmp(head->status, "succeeded") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("load " INT64_FORMAT " of \"%s\" is %s", load_id, stream->target, head->status),
				 errdetail("Its rows are not there any more.")));
	if (strcmp(stream->mode, "merge") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a load of merge stream \"%s\" cannot be unloaded", stream->target),
				 errdetail("Its rows took the place of older ones, which are not kept."),
				 errhint("Correct the source and load it again, or keep the history in an append stream"
						 " and merge it in a model.")));
	if (head->origin != NULL && strcmp(head->origin, "replay") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("load " INT64_FORMAT " of \"%s\" is a replay", load_id, stream->target),
				 errdetail("What it landed belongs to the loads that the records were first read with."),
				 errhint("Unload those.")));
	return stream;
}

/*
 * delete_rows takes the rows of a load out, as the owner of the stream.
 */
static int64
delete_rows(const EtlStream *stream, int64 load_id)
{
	EtlRunAs	as;
	int64		rows = 0;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	etl_children_delete(stream, psprintf(ETL_LOAD_ID_COLUMN " OPERATOR(pg_catalog.=) " INT64_FORMAT, load_id),
						psprintf("load " INT64_FORMAT " was unloaded", load_id));
	if (OidIsValid(etl_name_relation(stream->target)))
		rows = etl_relation_sql(psprintf("DELETE FROM %s WHERE %s OPERATOR(pg_catalog.=) " INT64_FORMAT,
										 stream->target, ETL_LOAD_ID_COLUMN, load_id));
	etl_run_as_end(&as);
	return rows;
}

Datum
etl_sql_unload(PG_FUNCTION_ARGS)
{
	int64		load_id;
	EtlStream  *stream;
	EtlNodeState *state;
	int64		rows;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("load_id must not be null")));
	load_id = PG_GETARG_INT64(0);
	stream = check_load(load_id, etl_load_find(load_id));
	etl_stream_lock(stream->target);
	(void) check_load(load_id, etl_load_find(load_id));

	PushActiveSnapshot(GetTransactionSnapshot());
	rows = delete_rows(stream, load_id);
	(void) etl_rejects_close(stream->target, load_id, "superseded");
	etl_load_set_status(load_id, "unloaded");
	etl_children_set_status(load_id, "unloaded");
	etl_file_unload(stream->target, load_id);
	if (rows > 0)
	{
		state = etl_node_state_get(stream->target);
		state->rows_changed += rows;
		state->publication++;
		etl_node_state_set(stream->target, state);
		etl_stream_hold(stream->target, -rows);
		etl_stream_rewritten(stream->target,
							 psprintf("load " INT64_FORMAT " of %s was unloaded", load_id, stream->target));
	}
	PopActiveSnapshot();
	PG_RETURN_INT64(rows);
}
