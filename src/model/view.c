/*-------------------------------------------------------------------------
 *
 * view.c
 *    View models: checked, then put in place.
 *
 * A view is replaced in place while its columns are kept or added at the
 * end.  Otherwise it and the managed views above it are dropped and made
 * again in the same transaction, with what they had (load/dependents.c); a
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

#include "common/brief_lock.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/belongings.h"
#include "load/dependents.h"
#include "model/internal.h"

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
	List	   *lost = NIL;

	if (!OidIsValid(due->relid) || due->query == NULL || strcmp(due->plan.action, "unchanged") == 0)
		return;
	desc = etl_query_desc(due->query);
	if (!etl_kind_has(model, get_rel_relkind(due->relid)) ||
		(stored && !etl_partition_fits(model, due->relid)) ||
		(etl_model_is_matview(model) && !etl_matview_fits(due->relid, desc)) ||
		(!stored && !keeps_columns(due->relid, desc)))
	{
		etl_dependents_must_be_managed(due->relid, NIL);
		etl_columns_must_be_free(due->relid, NIL);
		etl_relation_must_be_bare(due->relid);
	}
	else if (stored && due->state->created)
		lost = etl_table_lost_columns(model, due->relid, desc);
	if (lost != NIL)
	{
		etl_dependents_must_be_managed(due->relid, lost);
		etl_columns_must_be_free(due->relid, lost);
	}
}

/*
 * replace_view puts the view in place, with whatever stood on the old one.
 */
static void
replace_view(const EtlModel *model, EtlDue *due)
{
	List	   *dependents;
	EtlViewDress *dress;
	EtlRunAs	as;
	bool		is_view = OidIsValid(due->relid) && get_rel_relkind(due->relid) == RELKIND_VIEW;

	if (!OidIsValid(due->relid) || (is_view && keeps_columns(due->relid, etl_query_desc(due->query))))
	{
		if (OidIsValid(due->relid))
			etl_lock_briefly(due->relid);
		etl_run_as_begin(&as, model->owner, model->settings);
		create_view(model, model->target, OidIsValid(due->relid));
		etl_table_comment(model, "VIEW");
		etl_run_as_end(&as);
		return;
	}

	dependents = etl_dependents_drop(due->relid, NIL);
	etl_relation_must_be_bare(due->relid);
	etl_relation_warn_of_loss(due->relid, true);
	dress = etl_view_undress(due->relid, model->owner);
	etl_run_as_begin(&as, model->owner, model->settings);
	etl_execute_utility(psprintf("DROP %s %s", etl_kind_word(get_rel_relkind(due->relid)),
								 etl_quoted_relation(due->relid)));
	create_view(model, model->target, false);
	etl_view_dress(etl_name_relation(model->target), dress);
	etl_table_comment(model, "VIEW");
	etl_run_as_end(&as);
	etl_dependents_restore(dependents, NULL);
}

/*
 * check_view evaluates the checks of a view on its new query, before
 * anybody can read it through the view.
 */
static void
check_view(EtlDriver *driver, const EtlModel *model, EtlBuildResult *result)
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

	check_view(driver, model, result);
	if (!OidIsValid(due->relid) || due->columns_changed || due->reread ||
		due->state->built_version != model->version)
	{
		replace_view(model, due);
		etl_run_as_begin(&as, model->owner, model->settings);
		etl_given_words(model, etl_name_relation(model->target));
		etl_run_as_end(&as);
	}

	etl_run_as_begin(&as, model->owner, model->settings);
	etl_table_hooks(model, "post_hook");
	etl_run_as_end(&as);
}
