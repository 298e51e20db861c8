/*-------------------------------------------------------------------------
 *
 * rollback.c
 *    SQL function rollback: a node as it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "catalog/kept.h"
#include "catalog/version.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/node_lock.h"
#include "common/run_as.h"
#include "model/model.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_rollback);

/*
 * commit_nothing is the driver's commit in a function.
 */
static void
commit_nothing(EtlDriver *driver)
{
	CommandCounterIncrement();
}

/*
 * etl_function_driver is the driver of builds in an SQL function: nothing is
 * committed in between, and tables are swapped only where the statement's
 * end is the transaction's.
 */
EtlDriver
etl_function_driver(const char *node)
{
	EtlDriver	driver = {.atomic = IsTransactionBlock() || IsSubTransaction(),
						.commit = commit_nothing,
						.node = node};

	return driver;
}

/*
 * rollback_stream puts the definition of a stream back; landed rows stay.
 */
static char *
rollback_stream(const EtlStream *stream, int to)
{
	EtlVersion *version = to > 0 ? etl_version_find("stream", stream->target, to) :
								   etl_version_before("stream", stream->target, stream->version);

	etl_check_owner(stream->owner, "stream", stream->target);
	if (version == NULL || version->definition == NULL || version->version == stream->version)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 to > 0 ? errmsg("stream %s has no version %d to go back to", stream->target, to) :
						  errmsg("stream %s has no version before %d", stream->target, stream->version),
				 errhint("etl.definition_versions lists them.")));
	if (strstr(etl_json_text(version->definition), "\"***\"") != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET),
				 errmsg("version %d of %s held a secret in clear text, which the history does not keep",
						version->version, stream->target),
				 errhint("Define the stream again, with {\"secret\": name} in its place.")));
	(void) etl_definition_restore("stream", stream->target, version->definition,
								  psprintf("rolled back to %d", version->version));
	return psprintf("the definition of version %d; rows that were landed stay", version->version);
}

/*
 * etl_sql_rollback: see the comment of etl.rollback.
 */
Datum
etl_sql_rollback(PG_FUNCTION_ARGS)
{
	char	   *target = etl_environment_resolve(etl_name_canonical(etl_arg_required(fcinfo, 0, "target")));
	int			to = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	EtlDriver	driver = etl_function_driver(target);
	EtlBuildResult result = {0};
	EtlStream  *stream;
	char	   *told;

	if (!PG_ARGISNULL(1) && to <= 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("a version is a positive number, not %d", to)));
	etl_node_must_exist(target);
	etl_lock_node(target, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	stream = etl_stream_find(target);
	told = stream ? rollback_stream(stream, to) : etl_model_rollback(&driver, target, to, &result);
	if (result.check_results != NIL)
		etl_check_results_store(result.check_results);
	etl_log_store("info", 0, target, psprintf("rolled back to %s", told), NULL);
	PopActiveSnapshot();
	PG_RETURN_TEXT_P(cstring_to_text(told));
}
