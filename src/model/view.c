/*-------------------------------------------------------------------------
 *
 * view.c
 *    View models, and views that stand on a relation whose columns change.
 *
 * A view is replaced in place while its columns are kept or added at the
 * end.  Otherwise it and the managed views above it are dropped and made
 * again in the same transaction, with their grants and comments; a
 * dependent that etl does not manage stops the work before it begins.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

/* A managed view that was dropped and must come back. */
typedef struct DroppedView
{
	EtlModel   *model;
	List	   *statements;		/* char *: grants and comments */
} DroppedView;

/*
 * texts returns the first column of a query over the system catalogues that
 * takes one OID.
 */
static List *
texts(const char *sql, Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(relid)};
	List	   *result = NIL;
	int			level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (value != NULL)
			result = lappend(result, pstrdup(value));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	AtEOXact_GUC(false, level);
	return result;
}

/*
 * decorations returns the statements that restore a view's grants and
 * comments.
 */
static List *
decorations(Oid relid)
{
	char	   *name = quote_literal_cstr(etl_quoted_relation(relid));

	return texts(
		psprintf(
			"SELECT format('GRANT %%s ON %%s TO %%s%%s', a.privilege_type, %s,"
			" CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) "
			"END,"
			" CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
			" FROM pg_class c, aclexplode(c.relacl) a"
			" WHERE c.oid = $1 AND a.grantee <> c.relowner"
			" UNION ALL"
			" SELECT CASE WHEN d.objsubid = 0 THEN format('COMMENT ON VIEW %%s IS %%L', %s, "
			"d.description)"
			" ELSE format('COMMENT ON COLUMN %%s.%%I IS %%L', %s, a.attname, d.description) END"
			" FROM pg_description d LEFT JOIN pg_attribute a"
			" ON a.attrelid = d.objoid AND a.attnum = d.objsubid"
			" WHERE d.objoid = $1 AND d.classoid = 'pg_class'::regclass", name, name, name),
		relid);
}

/*
 * views_above returns the OIDs, as text, of the views and materialized
 * views that stand directly on a relation.
 */
static List *
views_above(Oid relid)
{
	return texts("SELECT DISTINCT r.ev_class::text FROM pg_depend d"
				 " JOIN pg_rewrite r ON r.oid = d.objid"
				 " WHERE d.classid = 'pg_rewrite'::regclass"
				 " AND d.refclassid = 'pg_class'::regclass"
				 " AND d.refobjid = $1 AND r.ev_class <> $1 ORDER BY 1", relid);
}

/*
 * collect_dependents lists the managed views above a relation, the highest
 * first; raises ET013 for one that etl does not manage.
 */
static List *
collect_dependents(Oid relid, List *found)
{
	ListCell   *cell;

	foreach(cell, views_above(relid))
	{
		Oid			view = atooid(lfirst(cell));
		char	   *name = etl_name_of_relation(view);
		EtlModel   *model = name ? etl_model_find(name) : NULL;

		if (model == NULL || strcmp(model->materialized, "view") != 0)
			ereport(ERROR,
					(errcode(ETL_ERR_NOT_MANAGED),
					 errmsg("%s depends on columns of %s that change, and etl does not manage it",
							etl_quoted_relation(view), etl_quoted_relation(relid)),
					 errdetail("Its definition is: %s",
							   (char *) linitial(texts("SELECT pg_get_viewdef($1)", view))),
					 errhint("Drop it and make it again after the run, or define it as a model.")));
		if (list_member_oid(found, view))
			continue;
		found = collect_dependents(view, found);
		found = lappend_oid(found, view);
	}
	return found;
}

/*
 * etl_dependents_drop drops the managed views above a relation and returns
 * what etl_dependents_restore needs; raises ET013, before any change, when
 * one is not managed.
 */
List *
etl_dependents_drop(Oid relid)
{
	List	   *dropped = NIL;
	ListCell   *cell;

	foreach(cell, collect_dependents(relid, NIL))
	{
		DroppedView *view = palloc(sizeof(DroppedView));
		EtlRunAs	as;

		view->model = etl_model_get(etl_name_of_relation(lfirst_oid(cell)));
		view->statements = decorations(lfirst_oid(cell));
		etl_run_as_begin(&as, view->model->owner, view->model->settings);
		etl_execute_utility(psprintf("DROP VIEW %s", etl_quoted_relation(lfirst_oid(cell))));
		etl_run_as_end(&as);
		CommandCounterIncrement();
		dropped = lcons(view, dropped);
	}
	return dropped;
}

/*
 * create_view makes the view of a model, anew or in place.
 */
static void
create_view(const EtlModel *model, const char *name, bool replace)
{
	etl_execute_utility(psprintf("CREATE %sVIEW %s AS %s", replace ? "OR REPLACE " : "", name,
								 etl_query_text(model->query)));
	CommandCounterIncrement();
}

/*
 * etl_dependents_restore makes the dropped views again.
 */
void
etl_dependents_restore(List *dependents)
{
	ListCell   *cell;
	ListCell   *statement;

	foreach(cell, dependents)
	{
		DroppedView *view = lfirst(cell);
		EtlRunAs	as;

		etl_run_as_begin(&as, view->model->owner, view->model->settings);
		create_view(view->model, view->model->target, false);
		foreach(statement, view->statements)
			etl_execute_utility(lfirst(statement));
		etl_run_as_end(&as);
	}
}

/*
 * keeps_columns tells whether CREATE OR REPLACE VIEW can replace the view:
 * its columns stay, new ones are at the end.
 */
static bool
keeps_columns(Oid relid, TupleDesc desc)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	have = RelationGetDescr(rel);
	bool		keeps = have->natts <= desc->natts;

	for (int i = 0; keeps && i < have->natts; i++)
	{
		Form_pg_attribute old = TupleDescAttr(have, i);
		Form_pg_attribute new = TupleDescAttr(desc, i);

		keeps = strcmp(NameStr(old->attname), NameStr(new->attname)) == 0 &&
				old->atttypid == new->atttypid && old->atttypmod == new->atttypmod &&
				old->attcollation == new->attcollation;
	}
	table_close(rel, NoLock);
	return keeps;
}

/*
 * etl_dependents_check raises ET013 when the build would have to drop a
 * dependent that etl does not manage, because the relation's columns change.
 */
void
etl_dependents_check(const EtlModel *model, EtlDue *due)
{
	bool		stored = strcmp(model->materialized, "view") != 0;
	TupleDesc	desc;

	if (!OidIsValid(due->relid) || due->query == NULL || strcmp(due->plan.action, "unchanged") == 0)
		return;
	desc = etl_query_desc(due->query);
	if (stored == (get_rel_relkind(due->relid) == RELKIND_VIEW) ||
		(stored && due->state->created && etl_table_loses_columns(due->relid, desc)) ||
		(!stored && !keeps_columns(due->relid, desc)))
		(void) collect_dependents(due->relid, NIL);
}

/*
 * replace_view puts the view in place, with whatever stood on the old one.
 */
static void
replace_view(const EtlModel *model, EtlDue *due)
{
	List	   *dependents;
	List	   *statements;
	ListCell   *cell;
	EtlRunAs	as;
	bool		is_view = OidIsValid(due->relid) && get_rel_relkind(due->relid) == RELKIND_VIEW;

	if (!OidIsValid(due->relid) || (is_view && keeps_columns(due->relid, etl_query_desc(due->query))))
	{
		etl_run_as_begin(&as, model->owner, model->settings);
		create_view(model, model->target, OidIsValid(due->relid));
		etl_table_comment(model, "VIEW");
		etl_run_as_end(&as);
		return;
	}

	dependents = etl_dependents_drop(due->relid);
	statements = decorations(due->relid);
	etl_run_as_begin(&as, model->owner, model->settings);
	etl_execute_utility(psprintf("DROP %s %s", is_view ? "VIEW" : "TABLE", etl_quoted_relation(due->relid)));
	create_view(model, model->target, false);
	if (is_view)
		foreach(cell, statements)
			etl_execute_utility(lfirst(cell));
	etl_table_comment(model, "VIEW");
	etl_run_as_end(&as);
	etl_dependents_restore(dependents);
}

/*
 * check_view evaluates the checks of a view on its new query, before
 * anybody can read it through the view.
 */
static void
check_view(EtlDriver *driver, const EtlModel *model, EtlDue *due, EtlBuildResult *result)
{
	EtlCheckSet *checks;
	EtlRunAs	as;
	Oid			relid;
	EtlName    *name = etl_name_parse(model->target);
	char	   *probe = quote_qualified_identifier(name->schema, psprintf("etl_check_%u", MyProcPid));

	if (etl_checks_of(model->target) == NIL)
		return;
	etl_run_as_begin(&as, model->owner, model->settings);
	create_view(model, probe, false);
	etl_run_as_end(&as);

	relid = etl_name_relation(probe);
	checks = etl_checks_run(model->target, relid);
	result->check_results = etl_checks_results(checks, driver->run_id);
	etl_checks_verdict(checks);

	etl_run_as_begin(&as, model->owner, model->settings);
	etl_execute_utility(psprintf("DROP VIEW %s", probe));
	etl_run_as_end(&as);
	CommandCounterIncrement();
}

/*
 * etl_view_build checks the view's query and puts the view in place.
 */
void
etl_view_build(EtlDriver *driver, const EtlModel *model, EtlDue *due, EtlBuildResult *result)
{
	EtlRunAs	as;

	etl_run_as_begin(&as, model->owner, model->settings);
	etl_table_hooks(model, "pre_hook");
	etl_run_as_end(&as);

	check_view(driver, model, due, result);
	if (!OidIsValid(due->relid) || due->columns_changed || due->state->built_version != model->version)
		replace_view(model, due);

	etl_run_as_begin(&as, model->owner, model->settings);
	etl_table_hooks(model, "post_hook");
	etl_run_as_end(&as);
}
