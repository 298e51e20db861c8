/*-------------------------------------------------------------------------
 *
 * reshape.c
 *    A table that is published by DML gets other columns.
 *
 * Where nothing can be swapped the table itself is altered, in the transaction
 * that changes its rows: from then on its readers wait.  So it is altered as
 * late as can be, when the new rows have been computed, and, where numbers of
 * rows do not change thereby, compared with those that are there.  What is
 * told of a mistake is told before any work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "catalog/change.h"
#include "common/brief_lock.h"
#include "common/names.h"
#include "load/belongings.h"
#include "load/dependents.h"
#include "model/internal.h"
#include "model/staged.h"

void
etl_reshape_plan(EtlStaged *staged, TupleDesc desc)
{
	EtlDue	   *due = staged->due;
	List	   *lost;

	due->reshaping = staged;
	if (etl_table_fits(staged->model, due->relid, desc))
		return;
	lost = etl_table_lost_columns(staged->model, due->relid, desc);
	if (lost != NIL)
	{
		etl_dependents_must_be_managed(due->relid, lost);
		etl_columns_must_be_free(due->relid, lost);
	}
	if (!etl_model_is_snapshot(staged->model))
		(void) etl_table_reshape_actions(staged->model, due->relid, desc, false);
}

List *
etl_reshape_coming(EtlStaged *staged, TupleDesc desc)
{
	List	   *coming;
	ListCell   *cell;

	if (staged->due->reshaping == NULL)
		return NIL;
	coming = etl_table_coming_columns(staged->model, staged->due->relid, desc);
	/* the rows of the table get other places when it is rewritten, as PostgreSQL does for these */
	foreach(cell, coming)
		for (int i = 0; i < desc->natts; i++)
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), lfirst(cell)) == 0 &&
				DomainHasConstraints(TupleDescAttr(desc, i)->atttypid))
			{
				etl_reshape(staged->due);
				return NIL;
			}
	return coming;
}

/*
 * give_columns gives a table the query's columns.  A column that gets another
 * type is made again, with what it was granted and what is said of it.
 */
static void
give_columns(EtlStaged *staged, TupleDesc desc)
{
	const EtlModel *model = staged->model;
	Oid			relid = staged->due->relid;
	List	   *lost = etl_table_lost_columns(model, relid, desc);
	List	   *names = NIL;
	List	   *belongings;
	EtlViewDress *dress;
	ListCell   *cell;

	if (lost != NIL)
		staged->dependents = etl_dependents_drop(relid, lost);
	if (etl_model_is_snapshot(model))
	{
		belongings = etl_given_belongings(model, relid, lost);
		etl_snapshot_reshape(model, relid, desc, staged->due->state->created);
		etl_belongings_warn_of_loss(relid, belongings);
		return;
	}
	etl_lock_briefly(relid);
	belongings = etl_given_belongings(model, relid, lost);
	dress = etl_view_undress(relid, model->owner);
	foreach(cell, lost)
		names = lappend(names, get_attname(relid, lfirst_int(cell), false));
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(relid),
								 etl_table_reshape_actions(model, relid, desc, false)));
	CommandCounterIncrement();
	etl_columns_dress(relid, dress, names);
	etl_belongings_warn_of_loss(relid, belongings);
	/* the rows that were there have lost the values by which readers would find what they touched */
	foreach(cell, names)
		if (etl_record_is_on(relid) && get_attnum(relid, lfirst(cell)) > 0)
		{
			(void) etl_change_set_add(model->target,
									  psprintf("column %s of %s got another type",
											   quote_identifier(lfirst(cell)), model->target),
									  NIL, 0);
			break;
		}
}

void
etl_reshape(EtlDue *due)
{
	EtlStaged  *staged = due->reshaping;
	TupleDesc	desc;

	if (staged == NULL)
		return;
	due->reshaping = NULL;
	desc = etl_query_desc(due->query);
	if (!etl_table_fits(staged->model, due->relid, desc))
		give_columns(staged, desc);
	/* rows of this definition need not be unique as those of the former one were */
	if (due->state->built_version != staged->model->version)
		etl_table_indexes_drop_unwanted(staged->model, due->relid);
}
