/*-------------------------------------------------------------------------
 *
 * matview.c
 *    Materialized views: PostgreSQL's own, filled and published by etl.
 *
 * The rows are built beside, checked and indexed there, and swapped into
 * place as those of tables are: readers are not held up, with or without a
 * unique index, and see nothing that failed a check.  While its columns stay
 * a new definition replaces the query of the view in place; otherwise the
 * view is made again with what it had.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/matview.h"
#include "commands/view.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "common/run_as.h"
#include "load/dependents.h"
#include "model/internal.h"

/*
 * etl_matview_create makes the empty view of a model; inside etl_run_as.
 */
void
etl_matview_create(const EtlModel *model, const char *parameters)
{
	etl_execute_utility(psprintf("CREATE MATERIALIZED VIEW %s%s AS %s\n WITH NO DATA",
								 model->target, parameters, etl_query_text(model->query)));
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

/* ---- a view that is made again ---- */

struct EtlMatviewDress
{
	EtlViewDress *dress;		/* owner, grants, comments */
	List	   *indexes;		/* char *: those that others made */
};

/*
 * index_definition returns what makes an index again, and its comment.
 */
static char *
index_definition(Oid index)
{
	return TextDatumGetCString(DirectFunctionCall1(pg_get_indexdef, ObjectIdGetDatum(index)));
}

/*
 * etl_matview_undress keeps what a view has beside its query, before it is
 * dropped.
 */
EtlMatviewDress *
etl_matview_undress(const EtlModel *model, Oid relid)
{
	EtlMatviewDress *dress = palloc0(sizeof(EtlMatviewDress));
	Relation	rel = table_open(relid, AccessShareLock);
	ListCell   *cell;

	dress->dress = etl_view_undress(relid, model->owner);
	foreach(cell, RelationGetIndexList(rel))
		if (!etl_index_is_ours(get_rel_name(lfirst_oid(cell))) &&
			!etl_constraint_is_ours(get_rel_name(lfirst_oid(cell)), 'c'))
			dress->indexes = lappend(dress->indexes, index_definition(lfirst_oid(cell)));
	table_close(rel, NoLock);
	return dress;
}

/*
 * make_index makes an index again; an argument of etl_subxact.
 */
static void
make_index(void *sql)
{
	etl_execute_utility(sql);
}

/*
 * etl_matview_dress gives it to the new view; an index whose column is gone
 * goes with it.
 */
void
etl_matview_dress(Oid relid, const EtlMatviewDress *dress)
{
	ListCell   *cell;

	foreach(cell, dress->indexes)
		(void) etl_subxact(make_index, lfirst(cell));
	etl_view_dress(relid, dress->dress);
}
