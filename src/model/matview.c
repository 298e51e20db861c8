/*-------------------------------------------------------------------------
 *
 * matview.c
 *    Materialized views: PostgreSQL's own, filled and published by etl.
 *
 * The rows are built beside, checked and indexed there, and swapped into
 * place as those of tables are: readers are not held up, with or without a
 * unique index, and see nothing that failed a check.  While its columns stay
 * a new definition replaces the query of the view in place; otherwise the
 * view is made again with what it had (replace.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/matview.h"
#include "commands/view.h"
#include "utils/rel.h"

#include "model/internal.h"

/*
 * etl_matview_create makes the empty view of a model; inside etl_run_as.
 */
void
etl_matview_create(const EtlModel *model, const char *name, const char *parameters)
{
	etl_execute_utility(psprintf("CREATE MATERIALIZED VIEW %s%s AS %s\n WITH NO DATA",
								 name, parameters, etl_query_text(model->query)));
	CommandCounterIncrement();
}

/*
 * etl_matview_fits tells whether the view has exactly the query's columns.
 */
bool
etl_matview_fits(Oid relid, TupleDesc desc)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	have = RelationGetDescr(rel);
	bool		fits = have->natts == desc->natts;

	for (int i = 0; fits && i < have->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(have, i);
		Form_pg_attribute b = TupleDescAttr(desc, i);

		fits = strcmp(NameStr(a->attname), NameStr(b->attname)) == 0 && a->atttypid == b->atttypid &&
			   a->atttypmod == b->atttypmod && a->attcollation == b->attcollation;
	}
	table_close(rel, NoLock);
	return fits;
}

/*
 * etl_matview_populate tells readers that there are rows.
 */
void
etl_matview_populate(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);

	if (!RelationIsPopulated(rel))
		SetMatViewPopulatedState(rel, true);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * etl_matview_define makes the view that of the model's present query; its
 * columns stay.  The caller holds the exclusive lock.
 */
void
etl_matview_define(const EtlModel *model, Oid relid)
{
	StoreViewQuery(relid, etl_query_analyze(etl_query_text(model->query), NULL), true);
	CommandCounterIncrement();
}
