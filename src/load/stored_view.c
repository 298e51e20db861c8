/*-------------------------------------------------------------------------
 *
 * stored_view.c
 *    What a materialized view holds that is made again with what it stands on:
 *    its rows, indexes and statistics.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"

#include "common/driver.h"
#include "common/run_as.h"
#include "load/dependents.h"
#include "load/landing.h"

struct EtlStoredView
{
	List	   *statements;		/* char *: make its indexes and statistics */
};

EtlStoredView *
etl_stored_view_remember(Oid view)
{
	EtlStoredView *stored = palloc0(sizeof(EtlStoredView));

	stored->statements = etl_dependents_lookup(
		"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = $1"
		" UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = $1",
		view);
	return stored;
}

/*
 * run_statement runs a statement; an argument of etl_subxact.
 */
static void
run_statement(void *arg)
{
	etl_relation_sql(arg);
}

void
etl_stored_view_fill(const EtlModel *model, const EtlStoredView *stored)
{
	EtlRunAs	as;
	ListCell   *cell;

	CommandCounterIncrement();
	etl_run_as_begin(&as, model->owner, model->settings);
	etl_relation_sql(psprintf("REFRESH MATERIALIZED VIEW %s", model->target));
	etl_run_as_end(&as);

	/* what is written in them was read under no settings at all */
	etl_run_as_begin(&as, model->owner, NULL);
	foreach(cell, stored->statements)
	{
		ErrorData  *error = etl_subxact(run_statement, lfirst(cell));

		if (error != NULL)
			ereport(WARNING,
					(errmsg("%s was made again without what does not fit its columns any more",
							model->target),
					 errdetail("%s: %s.", error->message, (char *) lfirst(cell)),
					 errhint("Make it again for the columns that there are now.")));
	}
	etl_relation_sql(psprintf("ANALYZE %s", model->target));
	etl_run_as_end(&as);
}
