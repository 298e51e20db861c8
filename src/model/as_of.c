/*-------------------------------------------------------------------------
 *
 * as_of.c
 *    SQL function as_of: the rows of a snapshot that were valid at a moment.
 *
 * By row type it returns rows of the snapshot, by name JSON.  Either reads
 * with the caller's rights and with the snapshot of the calling query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "common/arguments.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/rowset.h"
#include "model/internal.h"

PG_FUNCTION_INFO_V1(etl_sql_as_of);
PG_FUNCTION_INFO_V1(etl_sql_as_of_name);

/*
 * must_have_versions raises ET001 for a relation that holds no versions.
 */
static void
must_have_versions(Oid relid)
{
	AttrNumber	from = get_attnum(relid, "valid_from");
	AttrNumber	to = get_attnum(relid, "valid_to");

	if (from <= 0 || to <= 0 || get_atttype(relid, from) != TIMESTAMPTZOID ||
		get_atttype(relid, to) != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s holds no versions", etl_quoted_relation(relid)),
				 errdetail("It has no columns valid_from and valid_to of type timestamptz."),
				 errhint("as_of reads models that are materialized as snapshot.")));
}

/*
 * valid_rows renders the query of the rows valid at a moment.  The row of a
 * deleted key says that there is none.
 */
static char *
valid_rows(FunctionCallInfo fcinfo, Oid relid, const char *columns)
{
	char	   *at;
	AttrNumber	mark = get_attnum(relid, "is_deleted");
	EtlModel   *model = etl_model_find(etl_name_canonical(etl_quoted_relation(relid)));
	bool		marked = mark > 0 && model != NULL && etl_model_is_snapshot(model) && etl_snapshot_marks(model);

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the moment must not be null"),
				 errhint("Leave it out for the rows that are valid now.")));
	at = psprintf("'%s'::pg_catalog.timestamptz", timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(1)));
	return psprintf("SELECT %s FROM %s t WHERE t.valid_from OPERATOR(pg_catalog.<=) %s"
					" AND (t.valid_to IS NULL OR t.valid_to OPERATOR(pg_catalog.>) %s)%s",
					columns, etl_quoted_relation(relid), at, at,
					marked ? " AND t.is_deleted IS NOT TRUE" : "");
}

/*
 * etl_sql_as_of returns rows of a snapshot; see the comment of etl.as_of.
 */
Datum
etl_sql_as_of(PG_FUNCTION_ARGS)
{
	Oid			relid = etl_rowset_relation(fcinfo, "as_of");
	Relation	rel;
	TupleDesc	desc;

	rel = relation_open(relid, AccessShareLock);
	desc = CreateTupleDescCopy(RelationGetDescr(rel));
	must_have_versions(relid);
	etl_rowset_begin(fcinfo, desc, "as_of");
	etl_rowset_run(fcinfo, valid_rows(fcinfo, relid, etl_rowset_columns(desc)));
	relation_close(rel, AccessShareLock);
	PG_RETURN_NULL();
}

/*
 * etl_sql_as_of_name returns rows of a snapshot as JSON; see the comment of
 * etl.as_of.
 */
Datum
etl_sql_as_of_name(PG_FUNCTION_ARGS)
{
	char	   *target = etl_name_canonical(etl_arg_required(fcinfo, 0, "target"));
	Oid			relid = etl_name_relation(target);
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation %s does not exist", target),
				 errhint("A snapshot is there once a run has built it.")));
	must_have_versions(relid);
	TupleDescInitEntry(desc, 1, "as_of", JSONBOID, -1, 0);
	etl_rowset_begin(fcinfo, desc, "as_of");
	etl_rowset_run(fcinfo, valid_rows(fcinfo, relid, "pg_catalog.to_jsonb(t.*)"));
	PG_RETURN_NULL();
}
