/*-------------------------------------------------------------------------
 *
 * watched.c
 *    SQL functions watch and unwatch: changes of tables that etl does not feed.
 *
 * A watched table has the triggers that record.c puts on inputs of
 * incremental models.  They are all the state there is: they go with the
 * table, and a dump carries them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

PG_FUNCTION_INFO_V1(etl_sql_watch);
PG_FUNCTION_INFO_V1(etl_sql_unwatch);

/*
 * find_table finds the table that the first argument names and judges that
 * the caller may watch it.
 */
static Oid
find_table(FunctionCallInfo fcinfo, char **name)
{
	Oid			relid;

	*name = etl_name_canonical(etl_arg_required(fcinfo, 0, "relation"));
	relid = etl_name_relation(*name);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"%s\" does not exist", *name)));
	if (etl_node_owner(*name) != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("%s is fed by etl", *name),
				 errdetail("What changes in streams and models is followed without being watched.")));
	etl_check_owns_relation(GetUserNameFromId(GetUserId(), false), relid);
	return relid;
}

/*
 * etl_sql_watch is etl.watch(relation).
 */
Datum
etl_sql_watch(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			relid = find_table(fcinfo, &name);

	LockRelationOid(relid, ShareRowExclusiveLock);
	if (etl_record_is_on(relid) || etl_environment_skips("capture of the changes of", name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	if (!etl_record_make(name, relid))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("%s cannot be watched", name),
						errdetail("Only a table, or one whose partitions are all tables, tells "
								  "all its changes to triggers: nothing that inherits, or is "
								  "inherited from."),
						errhint("Let a stream of a relation source read it, or let its models be "
								"rebuilt by every run.")));
	PG_RETURN_TEXT_P(cstring_to_text("created"));
}

/*
 * etl_sql_unwatch is etl.unwatch(relation).
 */
Datum
etl_sql_unwatch(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			relid = find_table(fcinfo, &name);
	ListCell   *cell;

	etl_environment_must_be_off("nothing stops being watched");
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (!etl_record_is_wanted(relid))
		PG_RETURN_BOOL(false);
	foreach(cell, find_all_inheritors(relid, ShareRowExclusiveLock, NULL))
		etl_change_triggers_drop(etl_name_of_relation(lfirst_oid(cell)));
	PG_RETURN_BOOL(true);
}
