/*-------------------------------------------------------------------------
 *
 * widen.c
 *    A column that takes a wider type because of what arrived.
 *
 * bigint becomes numeric, date becomes timestamptz, where nothing but
 * managed relations and plain indexes depends on the column: view models
 * are dropped and made again around the ALTER.  All of it happens in a
 * subtransaction of the load: when it cannot be done the column stays as it
 * is, and the reason goes into the rejects of the values that do not fit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/names.h"
#include "load/dependents.h"
#include "load/landing.h"

/*
 * append_action renders what ALTER TABLE does to one column.
 */
static void
append_action(StringInfo out, const EtlLoadOptions *options, const char *column, Oid type)
{
	const char *name = quote_identifier(column);

	appendStringInfo(out, "ALTER COLUMN %s TYPE %s", name, format_type_be(type));
	/* a date becomes the midnight of the zone that the stream reads its timestamps in */
	if (type == TIMESTAMPTZOID)
		appendStringInfo(out, " USING pg_catalog.timezone(%s, %s::pg_catalog.timestamp)",
						 quote_literal_cstr(options->coerce.timezone), name);
}

char *
etl_widen_sql(const EtlStream *stream, const EtlLoadOptions *options, const char *column, Oid type)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s ", stream->target);
	append_action(&sql, options, column, type);
	return sql.data;
}

/*
 * index_computes tells whether a column stands in an expression or in the
 * condition of an index; as a plain column of it, it may change its type.
 */
static bool
index_computes(Oid indexid, AttrNumber attnum)
{
	Relation	index = index_open(indexid, AccessShareLock);
	Bitmapset  *columns = NULL;

	pull_varattnos((Node *) RelationGetIndexExpressions(index), 1, &columns);
	pull_varattnos((Node *) RelationGetIndexPredicate(index), 1, &columns);
	index_close(index, AccessShareLock);
	return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, columns);
}

/*
 * stands_in_the_way tells whether an object that depends on the column keeps
 * it from changing its type; views are judged elsewhere.
 */
static bool
stands_in_the_way(const ObjectAddress *object, Oid relid, AttrNumber attnum)
{
	switch (object->classId)
	{
		case TriggerRelationId:
		case PolicyRelationId:
			return true;
		case RelationRelationId:
			return get_rel_relkind(object->objectId) == RELKIND_INDEX &&
				   index_computes(object->objectId, attnum);
		default:
			return false;
	}
}

char *
etl_widen_hindrance(Oid relid, AttrNumber attnum)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	char	   *hindrance = NULL;
	Oid			below;
	Oid			view = etl_dependents_foreign(relid, list_make1_int(attnum), &below);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(attnum));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 3, keys);
	while (hindrance == NULL && (tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress object = {form->classid, form->objid, form->objsubid};

		if (stands_in_the_way(&object, relid, attnum))
			hindrance = psprintf("%s depends on the column", getObjectDescription(&object, false));
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);

	if (OidIsValid(view))
		hindrance = psprintf("%s %s, which etl does not manage, depends on the column",
							 get_rel_relkind(view) == RELKIND_MATVIEW ? "materialized view" : "view",
							 etl_name_of_relation(view));
	return hindrance;
}

/* ---- the change itself ---- */

typedef struct WidenWork
{
	EtlLanding *landing;
	Oid			relid;
	List	   *widenings;		/* EtlWidening *, at least one */
	const char *view;			/* being made again */
} WidenWork;

/*
 * alter changes the types: all with one statement, since the table may be
 * rewritten by it.
 */
static void
alter(const WidenWork *work)
{
	const EtlLanding *landing = work->landing;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s ", landing->stream->target);
	foreach(cell, work->widenings)
	{
		EtlWidening *widening = lfirst(cell);

		if (foreach_current_index(cell) > 0)
			appendStringInfoString(&sql, ", ");
		append_action(&sql, landing->options, widening->column, widening->type);
	}
	etl_relation_sql(sql.data);
}

/*
 * tell_widened records the changes, and why the models are built anew.
 */
static void
tell_widened(const WidenWork *work, List *old_types)
{
	const EtlWidening *first = linitial(work->widenings);
	const char *target = work->landing->stream->target;
	int64		load_id = work->landing->load->load_id;
	int			others = list_length(work->widenings) - 1;
	ListCell   *cell;

	foreach(cell, work->widenings)
		etl_schema_change_store(target, load_id, "type_widened", ((EtlWidening *) lfirst(cell))->column,
								list_nth(old_types, foreach_current_index(cell)),
								format_type_be(((EtlWidening *) lfirst(cell))->type));
	etl_stream_rewritten(target, psprintf("column %s of %s became %s%s with load " INT64_FORMAT,
										  quote_identifier(first->column), target,
										  format_type_be(first->type),
										  others > 0 ? psprintf(" (and %d more became wider)", others) : "",
										  load_id));
}

/*
 * widen changes the types, around the views that read the columns; 'arg' is
 * a WidenWork.
 */
static void
widen(void *arg)
{
	WidenWork  *work = arg;
	List	   *attnums = NIL;
	List	   *old_types = NIL;
	List	   *views;
	ListCell   *cell;

	foreach(cell, work->widenings)
	{
		AttrNumber	attnum = get_attnum(work->relid, ((EtlWidening *) lfirst(cell))->column);

		attnums = lappend_int(attnums, attnum);
		old_types = lappend(old_types, format_type_be(get_atttype(work->relid, attnum)));
	}
	views = etl_dependents_drop(work->relid, attnums);
	alter(work);
	etl_dependents_restore(views, &work->view);
	tell_widened(work, old_types);
}

/*
 * is_of_the_moment tells whether an error says nothing about the change:
 * trying again may succeed.
 */
static bool
is_of_the_moment(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/*
 * try_widen changes the types of some columns; false, and nothing done, where
 * that cannot be.  Of a single column the reason is kept.
 */
static bool
try_widen(EtlLanding *landing, Oid relid, List *widenings)
{
	WidenWork	work = {landing, relid, widenings, NULL};
	ErrorData  *error = etl_subxact(widen, &work);
	EtlWidening *first = linitial(widenings);

	if (error == NULL)
		return true;
	if (is_of_the_moment(error))
		etl_rethrow(error);
	if (list_length(widenings) == 1)
		first->refused = MemoryContextStrdup(
			landing->restart_context,
			work.view != NULL ?
				psprintf("view %s does not go with the type: %s", work.view, error->message) :
			error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) :
									error->message);
	return false;
}

/*
 * etl_widen: see landing.h.  What cannot be done at once is tried by halves.
 */
void
etl_widen(EtlLanding *landing, Oid relid, List *widenings)
{
	List	   *due = NIL;
	ListCell   *cell;
	int			half;

	foreach(cell, widenings)
	{
		EtlWidening *widening = lfirst(cell);

		if (widening->refused == NULL &&
			get_atttype(relid, get_attnum(relid, widening->column)) != widening->type)
			due = lappend(due, widening);
	}
	if (due == NIL || try_widen(landing, relid, due) || list_length(due) == 1)
		return;
	half = list_length(due) / 2;
	etl_widen(landing, relid, list_copy_head(due, half));
	etl_widen(landing, relid, list_copy_tail(due, half));
}
