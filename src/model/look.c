/*-------------------------------------------------------------------------
 *
 * look.c
 *    SQL functions that show what is known of models: lineage, compile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "catalog/environment.h"
#include "catalog/lineage.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

PG_FUNCTION_INFO_V1(etl_sql_lineage);
PG_FUNCTION_INFO_V1(etl_sql_compile);

/*
 * may_see tells whether the current user may know what a relation is made
 * of: whoever may read it, or owns its definition.
 */
static bool
may_see(const char *target)
{
	Oid			relid = superuser() ? InvalidOid : etl_name_relation(target);
	char	   *owner = superuser() ? NULL : etl_node_owner(target);

	return superuser() ||
		   (OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK) ||
		   (owner && has_privs_of_role(GetUserId(), get_role_oid(owner, false)));
}

/*
 * must_have_column raises 42703 when a relation that is there has no such
 * column.
 */
static void
must_have_column(const char *target, const char *column)
{
	Oid			relid = etl_name_relation(target);

	if (column != NULL && OidIsValid(relid) && get_attnum(relid, column) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no column \"%s\"", target, column),
				 errhint("Leave column_name out to see the lineage of all its columns.")));
}

/*
 * etl_sql_lineage walks stored column edges; see the comment of etl.lineage.
 */
Datum
etl_sql_lineage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *column = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *direction = PG_ARGISNULL(2) ? "upstream" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	int			depth = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	char	   *target;
	List	   *steps = NIL;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	if (strcmp(direction, "upstream") != 0 && strcmp(direction, "downstream") != 0 &&
		strcmp(direction, "both") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for argument \"direction\": \"%s\"", direction),
				 errhint("Use upstream, downstream or both.")));
	if (!PG_ARGISNULL(3) && depth < 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("argument \"depth\" must be at least 1")));
	target = etl_environment_resolve(etl_name_canonical(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	etl_lineage_must_know(target);
	must_have_column(target, column);

	if (strcmp(direction, "downstream") != 0)
		steps = list_concat(etl_lineage_walk(target, column, "upstream", depth),
							etl_lineage_of_view(target, column, depth));
	if (strcmp(direction, "upstream") != 0)
		steps = list_concat(steps,
							etl_lineage_foreign(etl_lineage_walk(target, column, "downstream", depth),
												target, column, depth));
	foreach(cell, steps)
	{
		EtlLineageStep *step = lfirst(cell);
		Datum		values[6];
		bool		nulls[6] = {false};

		if (!may_see(step->is_function ? step->edge.source : step->target))
			continue;
		values[0] = Int32GetDatum(step->depth);
		values[1] = CStringGetTextDatum(step->target);
		values[2] = CStringGetTextDatum(step->edge.column_name);
		values[3] = CStringGetTextDatum(step->edge.source);
		values[4] = CStringGetTextDatum(step->edge.source_column);
		values[5] = CStringGetTextDatum(step->edge.transformation);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * etl_sql_compile shows the SQL that the next run would execute.
 */
Datum
etl_sql_compile(PG_FUNCTION_ARGS)
{
	EtlModel   *model;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	model = etl_model_get(etl_environment_resolve(etl_name_canonical(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	etl_check_owner(model->owner, "model", model->target);
	PG_RETURN_TEXT_P(cstring_to_text(etl_model_compile(model)));
}
