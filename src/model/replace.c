/*-------------------------------------------------------------------------
 *
 * replace.c
 *    Another relation in the place of a model's: a table where a view was, or
 *    one that is partitioned in another way.
 *
 * What cannot become what the definition asks for is made again.  The new
 * relation is made, filled, indexed and checked beside the old one, under a
 * name that nobody knows; only then is the old one locked, without a queue,
 * and dropped, and the new one gets its name, and what others were granted on
 * it and said of it.  Until then readers read the old one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "parser/parse_utilcmd.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/parse.h"
#include "load/belongings.h"
#include "load/dependents.h"
#include "model/internal.h"
#include "model/staged.h"

/*
 * loses_key_of_partitions tells whether a partitioned table has a column of
 * another type than the query that is of its partition key or of the model's
 * key: one cannot be dropped, and the other's unique index is made over rows
 * that are still there.
 */
static bool
loses_key_of_partitions(EtlStaged *staged, TupleDesc desc)
{
	Oid			relid = staged->due->relid;
	List	   *lost;
	ListCell   *cell;
	ListCell   *name;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return false;
	lost = etl_table_lost_columns(staged->model, relid, desc);
	foreach(cell, lost)
		foreach(name, staged->model->key)
			if (get_attnum(relid, lfirst(name)) == lfirst_int(cell))
				return true;
	return etl_partition_key_is_among(relid, lost);
}

bool
etl_replace_is_due(EtlStaged *staged, TupleDesc desc)
{
	Oid			relid = staged->due->relid;
	char		relkind = get_rel_relkind(relid);

	return !etl_kind_has(staged->model, relkind) || !etl_partition_fits(staged->model, relid) ||
		   loses_key_of_partitions(staged, desc) ||
		   (relkind == RELKIND_MATVIEW && !etl_matview_fits(relid, desc));
}

/*
 * name_beside returns a free name beside a relation.
 */
static char *
name_beside(Oid relid)
{
	Oid			schema = get_rel_namespace(relid);
	char	   *name = psprintf("etl_next_%u", relid);

	for (int i = 1; OidIsValid(get_relname_relid(name, schema)); i++)
		name = psprintf("etl_next_%u_%d", relid, i);
	return quote_qualified_identifier(get_namespace_name(schema), name);
}

void
etl_replace_begin(EtlStaged *staged, TupleDesc desc)
{
	EtlDue	   *due = staged->due;
	char		relkind = get_rel_relkind(due->relid);

	if (!due->state->created && relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW)
		ereport(
			ERROR,
			(errcode(ETL_ERR_NOT_MANAGED),
			 errmsg("table %s cannot be adopted: it is partitioned in another way",
					staged->model->target),
			 errdetail("Making the model would drop it with its contents."),
			 errhint("Drop or rename it, or define the model with the table's own partitioning.")));
	/* told now, and not when everything is built */
	etl_dependents_must_be_managed(due->relid, NIL);
	etl_relation_must_be_bare(due->relid);
	staged->replaced = due->relid;
	due->relid = etl_table_create(staged->model, name_beside(staged->replaced), desc);
	staged->created = true;
}

/* ---- indexes of others ---- */

/* An index that somebody made of what is replaced. */
typedef struct OthersIndex
{
	char	   *name;
	char	   *sql;			/* as pg_get_indexdef has it */
	Oid			relid;			/* of what gets one like it */
	Oid			made;			/* that one, under another name; InvalidOid: it cannot have it */
} OthersIndex;

/*
 * others_indexes lists those that the definition does not ask for.
 */
static List *
others_indexes(Oid relid)
{
	List	   *found = NIL;
	Relation	rel;
	ListCell   *cell;

	if (get_rel_relkind(relid) == RELKIND_VIEW)
		return NIL;
	rel = table_open(relid, AccessShareLock);
	foreach(cell, RelationGetIndexList(rel))
	{
		Oid			oid = lfirst_oid(cell);
		char	   *name = get_rel_name(oid);
		OthersIndex *index;

		if (etl_index_is_ours(name) || etl_constraint_is_ours(name, 'c') || etl_constraint_is_ours(name, 'v'))
			continue;
		index = palloc0(sizeof(OthersIndex));
		index->name = name;
		index->sql = TextDatumGetCString(DirectFunctionCall1(pg_get_indexdef, ObjectIdGetDatum(oid)));
		found = lappend(found, index);
	}
	table_close(rel, NoLock);
	return found;
}

/*
 * make_index makes one like it, under a name that PostgreSQL chooses; an
 * argument of etl_subxact.
 */
static void
make_index(void *arg)
{
	OthersIndex *index = arg;
	IndexStmt  *statement = castNode(IndexStmt, linitial_node(RawStmt, etl_parse(index->sql))->stmt);

	statement->idxname = NULL;
	statement->relation = makeRangeVar(get_namespace_name(get_rel_namespace(index->relid)),
									   get_rel_name(index->relid), -1);
	index->made = etl_index_build(index->relid,
								  transformIndexStmt(index->relid, statement, index->sql));
}

/*
 * make_others_indexes makes those of them that the new relation can have.
 */
static void
make_others_indexes(EtlStaged *staged, List *indexes)
{
	ListCell   *cell;

	foreach(cell, indexes)
	{
		OthersIndex *index = lfirst(cell);
		ErrorData  *error;

		index->relid = staged->due->relid;
		error = etl_subxact(make_index, index);
		if (error == NULL)
			continue;
		index->made = InvalidOid;
		ereport(WARNING,
				(errmsg("%s is made again without index \"%s\"", staged->model->target, index->name),
				 errdetail("%s.  It was: %s", error->message, index->sql)));
	}
}

void
etl_replace_index(EtlStaged *staged)
{
	staged->others_indexes = others_indexes(staged->replaced);
	make_others_indexes(staged, staged->others_indexes);
}

/*
 * indexes_to_come makes what others made of the old relation since, and
 * returns all that get the names of its indexes.
 */
static List *
indexes_to_come(EtlStaged *staged)
{
	List	   *come = NIL;
	List	   *late = NIL;
	ListCell   *now;
	ListCell   *before;

	foreach(now, others_indexes(staged->replaced))
	{
		OthersIndex *index = lfirst(now);

		foreach(before, staged->others_indexes)
			if (strcmp(((OthersIndex *) lfirst(before))->name, index->name) == 0 &&
				strcmp(((OthersIndex *) lfirst(before))->sql, index->sql) == 0)
				break;
		if (before == NULL)
			late = lappend(late, index);
		else
			come = lappend(come, lfirst(before));
	}
	make_others_indexes(staged, late);
	return list_concat(come, late);
}

/* ---- under the lock ---- */

void
etl_replace_publish(EtlStaged *staged)
{
	Oid			old = staged->replaced;
	char	   *name = get_rel_name(old);
	List	   *indexes;
	EtlViewDress *dress;
	ListCell   *cell;

	etl_swap_flush();
	staged->dependents = etl_dependents_drop(old, NIL);
	/* others may have worked at it during the build */
	etl_relation_must_be_bare(old);
	etl_relation_warn_of_loss(old, false);
	indexes = indexes_to_come(staged);
	dress = etl_view_undress(old, staged->model->owner);
	etl_execute_utility(
		psprintf("DROP %s %s", etl_kind_word(get_rel_relkind(old)), etl_quoted_relation(old)));
	CommandCounterIncrement();
	etl_model_rename_relation(staged->due->relid, NULL, name);
	foreach(cell, indexes)
	{
		OthersIndex *index = lfirst(cell);

		if (OidIsValid(index->made))
			etl_execute_utility(psprintf("ALTER INDEX %s RENAME TO %s", etl_quoted_relation(index->made),
										 quote_identifier(index->name)));
	}
	CommandCounterIncrement();
	etl_view_dress(staged->due->relid, dress);
}
