/*-------------------------------------------------------------------------
 *
 * unfilled.c
 *    Columns that come to an incremental model without values for the rows
 *    that are there.
 *
 * With option backfill off a column that is added does not rebuild the
 * table: rows that are computed from then on carry it, the others hold NULL
 * until a full refresh.  That is right only where nothing but columns was
 * added: which rows there are, and all other columns, must stay the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "model/internal.h"

/* A comparison of the definition that is served with the present one. */
typedef struct Compared
{
	const EtlModel *model;
	bool		additive;
} Compared;

/*
 * compare compares the definitions; an argument of etl_subxact.
 */
static void
compare(void *arg)
{
	Compared   *compared = arg;
	EtlModel   *served = etl_model_served(compared->model);

	compared->additive = served != NULL &&
						 strcmp(etl_model_change(served, compared->model)->class, "additive") == 0;
}

/*
 * only_adds tells whether the present definition adds columns to the one that
 * is served, and nothing else; one that cannot be analyzed any more does not.
 */
static bool
only_adds(const EtlModel *model, const EtlDue *due)
{
	Compared	compared = {model, due->state->built_version == model->version};

	if (!compared.additive)
		(void) etl_subxact(compare, &compared);
	return compared.additive;
}

char *
etl_unfilled_columns(const EtlModel *model, const EtlDue *due)
{
	TupleDesc	desc = etl_query_desc(due->query);
	StringInfoData names;

	if (!OidIsValid(due->relid) || due->state->built_version == 0 ||
		etl_json_get_bool(model->options, "backfill", true) ||
		!etl_kind_has(model, get_rel_relkind(due->relid)) || !etl_partition_fits(model, due->relid) ||
		etl_table_fits(model, due->relid, desc) || etl_table_lost_columns(model, due->relid, desc) != NIL ||
		!only_adds(model, due))
		return NULL;
	initStringInfo(&names);
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (get_attnum(due->relid, name) == InvalidAttrNumber)
			appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", name);
	}
	return psprintf("added without values for the rows that are there: %s", names.data);
}

void
etl_unfilled_check(const EtlModel *model)
{
	char	   *policy = etl_json_get_text(model->options, "on_schema_change");

	if (!etl_json_has(model->options, "backfill"))
		return;
	if (strcmp(model->materialized, "incremental") != 0)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"backfill\" is for incremental models"),
						errdetail("Every build fills a column that is added; a snapshot keeps its "
								  "history as it was."),
						errhint("Leave it out.")));
	if (policy != NULL && strcmp(policy, "sync") != 0 && strcmp(policy, "append") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"backfill\" says how columns are added, and on_schema_change is %s", policy),
				 errhint("Leave one of them out, or let on_schema_change be sync or append.")));
}
