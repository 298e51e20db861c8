/*-------------------------------------------------------------------------
 *
 * dependents.c
 *    Views that stand on a relation whose columns change: away and back.
 *
 * PostgreSQL refuses to change or drop a column that a view reads.  Views
 * that are models, materialized ones too, are dropped, the highest first, and
 * made again in the same transaction, as their owners, with everything they
 * had; a view that etl does not manage is left alone, and stops the change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/change.h"
#include "catalog/environment.h"
#include "common/brief_lock.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "load/dependents.h"
#include "load/landing.h"

struct EtlViewDress
{
	char		relkind;		/* what it was */
	bool		granted;		/* privileges were ever granted or revoked */
	List	   *garments;		/* EtlGarment * */
	List	   *lining;			/* EtlGarment *: for one of the same kind only */
};

/* A managed view that was dropped and must come back. */
typedef struct DroppedView
{
	EtlModel   *model;
	char	   *text;			/* its query as it stood */
	bool		redefined;		/* the definition has changed since the view was made */
	EtlViewDress *dress;
	EtlStoredView *stored;		/* NULL: it holds no rows */
} DroppedView;

List *
etl_garments(const char *sql, Oid relid)
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
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *name = desc->natts > 1 ? SPI_getvalue(row, desc, 2) : NULL;
		MemoryContext old = MemoryContextSwitchTo(context);
		EtlGarment *garment = palloc0(sizeof(EtlGarment));

		garment->statement = pstrdup(SPI_getvalue(row, desc, 1));
		garment->column = name ? pstrdup(name) : NULL;
		result = lappend(result, garment);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	AtEOXact_GUC(false, level);
	return result;
}

List *
etl_dependents_lookup(const char *sql, Oid relid)
{
	List	   *texts = NIL;
	ListCell   *cell;

	foreach(cell, etl_garments(sql, relid))
		texts = lappend(texts, ((EtlGarment *) lfirst(cell))->statement);
	return texts;
}

/*
 * view_text returns the query of a view, qualified.
 */
static char *
view_text(Oid view)
{
	return ((EtlGarment *) linitial(etl_garments("SELECT pg_get_viewdef($1)", view)))->statement;
}

/* ---- what a view has beside its query ---- */

#define GRANTEE	  "CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
#define VIEW_NAME "format('%I.%I', n.nspname, c.relname)"
/* stands for the kind that the relation has then */
#define ANY_KIND  "RELATION"
#define OF_VIEW	  "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"

static const char *const dress_sql =
	"SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, " VIEW_NAME ", " GRANTEE ","
	" CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), NULL"
	" FROM " OF_VIEW ", aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a"
	" WHERE c.oid = $1"
	" UNION ALL"
	" SELECT format('GRANT %s (%I) ON %s TO %s%s', a.privilege_type, t.attname, " VIEW_NAME ", " GRANTEE ","
	" CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), t.attname"
	" FROM " OF_VIEW " JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE c.oid = $1"
	" UNION ALL"
	" SELECT CASE WHEN d.objsubid = 0 THEN format('COMMENT ON %s %s IS %L', '" ANY_KIND "', " VIEW_NAME ","
	" d.description)"
	" ELSE format('COMMENT ON COLUMN %s.%I IS %L', " VIEW_NAME ", t.attname, d.description) END, t.attname"
	" FROM " OF_VIEW " JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass"
	" LEFT JOIN pg_attribute t ON t.attrelid = d.objoid AND t.attnum = d.objsubid AND d.objsubid > 0"
	" WHERE c.oid = $1";

/* what only another relation of the same kind can be given */
static const char *const lining_sql =
	"SELECT format('ALTER TABLE %s SET (%I = %L)', " VIEW_NAME ", o.option_name, o.option_value), NULL"
	" FROM " OF_VIEW ", pg_options_to_table(c.reloptions) o WHERE c.oid = $1"
	" UNION ALL"
	" SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', " VIEW_NAME ", t.attname,"
	" pg_get_expr(d.adbin, d.adrelid)), t.attname"
	" FROM " OF_VIEW " JOIN pg_attrdef d ON d.adrelid = c.oid"
	" JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum = d.adnum WHERE c.oid = $1";

#define COMMENT_ON_ANY "COMMENT ON " ANY_KIND

/* what is granted on a new view by default privileges, and to its owner */
static const char *const bare_sql =
	"SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', " VIEW_NAME ", " GRANTEE ")"
	" FROM " OF_VIEW ", aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a"
	" WHERE c.oid = $1";

/*
 * was_granted tells whether privileges on a view are other than those that
 * every owner has.
 */
static bool
was_granted(Oid view)
{
	return etl_garments("SELECT '' FROM pg_class WHERE oid = $1 AND relacl IS NOT NULL", view) != NIL;
}

EtlViewDress *
etl_view_undress(Oid view, const char *owner)
{
	EtlViewDress *dress = palloc0(sizeof(EtlViewDress));
	EtlGarment *garment = linitial(etl_garments("SELECT pg_get_userbyid(relowner)::text, quote_ident(relname)"
												" FROM pg_class WHERE oid = $1", view));

	dress->granted = was_granted(view);
	dress->relkind = get_rel_relkind(view);
	dress->garments = etl_garments(dress_sql, view);
	if (dress->relkind == RELKIND_VIEW || dress->relkind == RELKIND_MATVIEW)
		dress->lining = etl_garments(lining_sql, view);

	/* at last, since what comes before asks for the rights of its former owner */
	if (strcmp(garment->statement, owner) != 0)
	{
		garment->statement = psprintf("ALTER TABLE %s OWNER TO %s", etl_name_of_relation(view),
									  quote_identifier(garment->statement));
		garment->column = NULL;
		dress->garments = lappend(dress->garments, garment);
	}
	return dress;
}

/*
 * kind_word returns what COMMENT ON calls a kind of relation.
 */
static const char *
kind_word(char relkind)
{
	return relkind == RELKIND_MATVIEW ? "MATERIALIZED VIEW" : relkind == RELKIND_VIEW ? "VIEW" :
																						"TABLE";
}

void
etl_view_dress(Oid view, const EtlViewDress *dress)
{
	bool		grant = dress->granted || was_granted(view);
	char		relkind = get_rel_relkind(view);
	List	   *garments = relkind == dress->relkind ? list_concat_copy(dress->lining, dress->garments) :
												 dress->garments;
	ListCell   *cell;

	if (grant)
		foreach(cell, etl_garments(bare_sql, view))
			etl_relation_sql(((EtlGarment *) lfirst(cell))->statement);
	foreach(cell, garments)
	{
		EtlGarment *garment = lfirst(cell);

		if (strncmp(garment->statement, COMMENT_ON_ANY, strlen(COMMENT_ON_ANY)) == 0)
			etl_relation_sql(psprintf("COMMENT ON %s%s", kind_word(relkind),
									  garment->statement + strlen(COMMENT_ON_ANY)));
		else if (garment->column == NULL && !grant && strncmp(garment->statement, "GRANT", 5) == 0)
			continue;
		else if (garment->column == NULL || get_attnum(view, garment->column) != InvalidAttrNumber)
			etl_relation_sql(garment->statement);
	}
	CommandCounterIncrement();
}

void
etl_columns_dress(Oid relid, const EtlViewDress *dress, List *columns)
{
	ListCell   *cell;

	foreach(cell, dress->garments)
	{
		EtlGarment *garment = lfirst(cell);

		if (garment->column != NULL && etl_name_among(columns, garment->column) &&
			get_attnum(relid, garment->column) != InvalidAttrNumber)
			etl_relation_sql(garment->statement);
	}
	CommandCounterIncrement();
}

/* ---- what depends on a relation ---- */

/*
 * views_above returns the OIDs, as text, of the views and materialized
 * views that stand directly on a relation, or on some columns of it.
 */
static List *
views_above(Oid relid, List *columns)
{
	StringInfoData condition;
	ListCell   *cell;

	initStringInfo(&condition);
	foreach(cell, columns)
		appendStringInfo(&condition, "%s%d", condition.len ? ", " : " AND d.refobjsubid IN (",
						 lfirst_int(cell));
	if (condition.len > 0)
		appendStringInfoChar(&condition, ')');
	return etl_garments(
		psprintf("SELECT DISTINCT r.ev_class::text FROM pg_depend d"
				 " JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class"
				 " WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass"
				 " AND d.refobjid = $1%s"
				 " AND r.ev_class <> $1 AND c.relkind IN ('v', 'm') ORDER BY 1", condition.data),
		relid);
}

/*
 * is_ours tells whether etl can make a view again: it is a model, and
 * carries no triggers or rules.
 */
static bool
is_ours(Oid view)
{
	char	   *name = etl_name_of_relation(view);
	EtlModel   *model = name ? etl_model_find(name) : NULL;
	bool		stored = get_rel_relkind(view) == RELKIND_MATVIEW;

	return model != NULL && strcmp(model->materialized, stored ? "materialized_view" : "view") == 0 &&
		   etl_garments("SELECT '' FROM pg_trigger WHERE tgrelid = $1"
						" UNION ALL SELECT '' FROM pg_rewrite WHERE ev_class = $1 AND rulename <> '_RETURN'",
						view) == NIL;
}

/*
 * collect lists the managed views above a relation, the highest first;
 * stops at one that etl does not manage and tells it.
 */
static List *
collect(Oid relid, List *columns, List *found, Oid *foreign, Oid *below)
{
	ListCell   *cell;

	foreach(cell, views_above(relid, columns))
	{
		Oid			view = atooid(((EtlGarment *) lfirst(cell))->statement);

		if (OidIsValid(*foreign) || list_member_oid(found, view))
			continue;
		if (!is_ours(view))
		{
			*foreign = view;
			*below = relid;
			break;
		}
		found = collect(view, NIL, found, foreign, below);
		found = lappend_oid(found, view);
	}
	return found;
}

Oid
etl_dependents_foreign(Oid relid, List *columns, Oid *below)
{
	Oid			foreign = InvalidOid;

	(void) collect(relid, columns, NIL, &foreign, below);
	return foreign;
}

void
etl_dependents_must_be_managed(Oid relid, List *columns)
{
	Oid			below;
	Oid			foreign = etl_dependents_foreign(relid, columns, &below);

	if (OidIsValid(foreign))
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_MANAGED),
				 errmsg("%s depends on columns of %s that change, and etl does not manage it",
						etl_name_of_relation(foreign), etl_name_of_relation(below)),
				 errdetail("%s is: %s",
						   etl_model_find(etl_name_of_relation(foreign)) ?
							   "It carries triggers or rules that would be lost; its definition" :
							   "Its definition",
						   view_text(foreign)),
				 errhint("Drop it and make it again after the run, or define it as a model.")));
}

void
etl_columns_must_be_free(Oid relid, List *columns)
{
	StringInfoData sql;
	ListCell   *cell;
	List	   *holders;
	EtlGarment *holder;

	initStringInfo(&sql);
	appendStringInfoString(
		&sql, "SELECT pg_describe_object(d.classid, d.objid, d.objsubid),"
			  " coalesce(pg_get_constraintdef(c.oid), pg_get_triggerdef(t.oid),"
			  " pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid),"
			  " (SELECT pg_get_functiondef(oid) FROM pg_proc WHERE d.classid = 'pg_proc'::regclass"
			  " AND oid = d.objid AND prokind <> 'a'))"
			  " FROM pg_depend d"
			  " LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid"
			  " LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid"
			  " LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid"
			  " WHERE (d.deptype = 'n' OR p.oid IS NOT NULL) AND c.conrelid IS DISTINCT FROM $1"
			  " AND d.classid <> 'pg_rewrite'::regclass AND (d.refclassid = 'pg_class'::regclass"
			  " AND d.refobjid = $1");
	foreach(cell, columns)
		appendStringInfo(&sql, "%s%d", foreach_current_index(cell) ? ", " : " AND d.refobjsubid IN (",
						 lfirst_int(cell));
	/* what goes with the relation is in nobody's way; what has its row type is */
	appendStringInfoString(&sql, columns ? "))" :
										   " AND t.tgrelid IS DISTINCT FROM $1"
										   " AND (d.classid, d.objid) <> ('pg_class'::regclass, $1)"
										   " AND d.classid <> 'pg_attrdef'::regclass"
										   " OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN"
										   " (SELECT oid FROM pg_type WHERE typrelid = $1 UNION ALL"
										   " SELECT typarray FROM pg_type WHERE typrelid = $1))");
	appendStringInfoString(&sql, " ORDER BY 1");

	holders = etl_garments(sql.data, relid);
	if (holders == NIL)
		return;
	holder = linitial(holders);
	ereport(ERROR,
			(errcode(ETL_ERR_NOT_MANAGED),
			 columns ? errmsg("%s depends on columns of %s that change, and etl does not manage it",
							  holder->statement, etl_name_of_relation(relid)) :
					   errmsg("%s depends on %s, which is made again, and etl does not manage it",
							  holder->statement, etl_name_of_relation(relid)),
			 holder->column ? errdetail("Its definition is: %s", holder->column) : 0,
			 errhint("Drop it and make it again after the run.")));
}

/* ---- what a relation has that another kind of relation cannot be given ---- */

void
etl_relation_must_be_bare(Oid relid)
{
	List	   *found = etl_garments(
		"SELECT pg_describe_object('pg_trigger'::regclass, oid, 0), pg_get_triggerdef(oid) FROM pg_trigger"
		" WHERE tgrelid = $1 AND NOT tgisinternal AND NOT starts_with(tgname, '" ETL_CHANGE_TRIGGER "')"
		" UNION ALL"
		" SELECT pg_describe_object('pg_rewrite'::regclass, oid, 0), pg_get_ruledef(oid) FROM pg_rewrite"
		" WHERE ev_class = $1 AND rulename <> '_RETURN' ORDER BY 1", relid);

	if (found == NIL)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_NOT_MANAGED),
			 errmsg("%s would be lost: %s is made again, and etl does not manage it",
					((EtlGarment *) linitial(found))->statement, etl_name_of_relation(relid)),
			 errdetail("Its definition is: %s", ((EtlGarment *) linitial(found))->column),
			 errhint("Drop it, and make it again after the run if the new relation can have it.")));
}

/*
 * companions lists what PostgreSQL locks beside a relation that it drops: its
 * partitions, and what its foreign keys reference.
 */
static List *
companions(Oid relid)
{
	List	   *relids = NIL;
	ListCell   *cell;

	foreach(
		cell,
		etl_garments(
			"WITH parts AS (SELECT relid FROM pg_partition_tree($1) UNION SELECT $1)"
			" SELECT relid::oid::text FROM parts WHERE relid <> $1"
			" UNION SELECT confrelid::text FROM pg_constraint"
			" WHERE contype = 'f' AND conrelid IN (SELECT relid FROM parts) AND confrelid <> $1",
			relid))
		relids = lappend_oid(relids, atooid(((EtlGarment *) lfirst(cell))->statement));
	return relids;
}

/* ---- away and back ---- */

/*
 * drop_view drops one managed view and keeps what brings it back.
 */
static DroppedView *
drop_view(Oid view)
{
	DroppedView *dropped = palloc0(sizeof(DroppedView));
	EtlModel   *model = etl_model_get(etl_name_of_relation(view));
	EtlRunAs	as;

	dropped->model = model;
	dropped->redefined = etl_node_state_get(model->target)->built_version != model->version;
	etl_run_as_begin(&as, model->owner, NULL);
	dropped->text = view_text(view);
	dropped->dress = etl_view_undress(view, model->owner);
	if (dropped->dress->relkind == RELKIND_MATVIEW)
		dropped->stored = etl_stored_view_remember(view);
	etl_relation_sql(psprintf("DROP %s %s", kind_word(dropped->dress->relkind), model->target));
	etl_run_as_end(&as);
	CommandCounterIncrement();
	return dropped;
}

List *
etl_dependents_drop(Oid relid, List *columns)
{
	List	   *dropped = NIL;
	List	   *views;
	Oid			foreign = InvalidOid;
	Oid			below;
	ListCell   *cell;

	etl_dependents_must_be_managed(relid, columns);
	views = collect(relid, columns, NIL, &foreign, &below);
	etl_lock_all_briefly(
		list_concat(lappend_oid(list_copy(views), relid), columns == NIL ? companions(relid) : NIL));
	foreach(cell, views)
		dropped = lcons(drop_view(lfirst_oid(cell)), dropped);
	return dropped;
}

/*
 * create makes a view of a query; a materialized one without rows.
 */
static void
create(const DroppedView *view, const char *query, const Jsonb *settings)
{
	EtlRunAs	as;

	etl_run_as_begin(&as, view->model->owner, settings);
	etl_relation_sql(psprintf("CREATE %s %s AS %s%s", kind_word(view->dress->relkind), view->model->target,
							  query, view->stored ? "\n WITH NO DATA" : ""));
	etl_run_as_end(&as);
}

/*
 * create_as_it_stood makes a view of the query that it had; 'arg' is a
 * DroppedView.
 */
static void
create_as_it_stood(void *arg)
{
	create(arg, ((DroppedView *) arg)->text, NULL);
}

/*
 * create_as_defined makes a view of its definition; an argument of
 * etl_subxact.
 */
static void
create_as_defined(void *arg)
{
	EtlModel   *model = ((DroppedView *) arg)->model;

	create(arg, model->query, model->settings);
}

/*
 * explain adds to the error of a view that cannot be made again which one it
 * is, and the way through.
 */
static void
explain(ErrorData *error, const DroppedView *view)
{
	if (error->detail == NULL)
		error->detail = psprintf("View %s stands on what is replaced, and is made again with it.",
								 view->model->target);
	if (error->hint == NULL || view->redefined)
		error->hint = pstrdup(
			"Where columns get other names, define the new ones beside the old ones and run, "
			"and take the old ones away when nothing reads them any more.");
}

void
etl_dependents_restore(List *dependents, const char **at)
{
	ErrorData  *error;
	ListCell   *cell;

	foreach(cell, dependents)
	{
		DroppedView *view = lfirst(cell);
		EtlModel   *model = view->model;
		EtlRunAs	as;

		if (at != NULL)
			*at = model->target;
		/* a new definition is for the next run to check and publish, if the old one still does */
		if (!view->redefined || etl_subxact(create_as_it_stood, view) != NULL)
		{
			/* what is tried out in an environment stops nothing in production */
			error = etl_subxact(create_as_defined, view);
			if (error != NULL && !etl_is_environment_node(model->target))
			{
				explain(error, view);
				etl_rethrow(error);
			}
			if (error != NULL)
			{
				ereport(WARNING, (errmsg("view %s of an environment does not fit any more, and is dropped",
										 model->target)));
				continue;
			}
		}
		etl_run_as_begin(&as, model->owner, NULL);
		etl_view_dress(etl_name_relation(model->target), view->dress);
		etl_run_as_end(&as);
		if (view->stored != NULL)
			etl_stored_view_fill(model, view->stored);
	}
}
