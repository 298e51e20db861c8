/*-------------------------------------------------------------------------
 *
 * score.c
 *    SQL function quality_score: the newest results as a number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "catalog/environment.h"
#include "catalog/quality.h"
#include "common/errors.h"
#include "quality/check.h"

PG_FUNCTION_INFO_V1(etl_sql_quality_score);

/*
 * user_columns lists the columns of a relation that are not etl's own.
 */
static List *
user_columns(Oid relid)
{
	TupleDesc	desc;
	List	   *names = NIL;

	if (!OidIsValid(relid))
		return NIL;
	desc = etl_visible_columns(relid);
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (strncmp(name, "_etl_", 5) != 0)
			names = lappend(names, name);
	}
	return names;
}

/*
 * put_numeric fills one numeric column from its text; null for NULL.
 */
static void
put_numeric(const char *text, Datum *value, bool *isnull)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
									 Int32GetDatum(-1));
}

/*
 * etl_sql_quality_score returns a row per dimension, then 'overall'.
 */
Datum
etl_sql_quality_score(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *target;
	Oid			relid;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	target = etl_environment_resolve(etl_name_canonical(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	relid = etl_name_relation(target);
	if (!OidIsValid(relid) && etl_checks_of(target) == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("%s does not exist and has no checks", target),
				 errhint("Define one with etl.define_check().")));
	if (!etl_target_visible(target, relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the score of %s", target),
				 errhint("It is visible to whoever may SELECT the relation.")));

	foreach(cell, etl_quality_scores(target, user_columns(relid)))
	{
		EtlScore   *score = lfirst(cell);
		Datum		values[5] = {0};
		bool		nulls[5] = {0};

		values[0] = CStringGetTextDatum(score->dimension);
		put_numeric(score->score, &values[1], &nulls[1]);
		values[2] = Int32GetDatum(score->checks);
		values[3] = Int32GetDatum(score->failed);
		put_numeric(score->coverage, &values[4], &nulls[4]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}
