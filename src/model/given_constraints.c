/*-------------------------------------------------------------------------
 *
 * given_constraints.c
 *    The constraints that the definition of a model declares.
 *
 * Those over rows alone are made where nobody reads yet: beside, when the
 * table is swapped.  What the definition does not declare any more goes again;
 * constraints that others made stay.  A foreign key looks at another table, and keeps writers of
 * both away while it does; it comes last, and without a lock that readers
 * would notice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_constraint.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/version.h"
#include "common/brief_lock.h"
#include "common/json.h"
#include "common/parse.h"
#include "load/belongings.h"
#include "model/internal.h"

Constraint *
etl_constraint_parse(const char *text)
{
	List	   *statements = etl_parse(psprintf("ALTER TABLE t ADD %s\n", text));
	AlterTableStmt *alter;
	AlterTableCmd *command;

	if (list_length(statements) != 1)
		return NULL;
	alter = (AlterTableStmt *) linitial_node(RawStmt, statements)->stmt;
	if (!IsA(alter, AlterTableStmt) || list_length(alter->cmds) != 1)
		return NULL;
	command = linitial_node(AlterTableCmd, alter->cmds);
	return command->subtype == AT_AddConstraint ? castNode(Constraint, command->def) : NULL;
}

/*
 * is_of_rows tells whether a constraint can be made on rows that nobody reads
 * yet, and then on the empty table that gets them: those over other tables
 * look at what is there.
 */
static bool
is_of_rows(const char *text)
{
	Constraint *constraint = etl_constraint_parse(text);

	return constraint != NULL && constraint->indexname == NULL && constraint->contype != CONSTR_FOREIGN;
}

/*
 * is_reference tells whether a constraint is a foreign key.
 */
static bool
is_reference(const char *text)
{
	Constraint *constraint = etl_constraint_parse(text);

	return constraint != NULL && constraint->contype == CONSTR_FOREIGN;
}

/*
 * is_not_null tells whether a column of a table, which is not among 'lost',
 * takes no NULL.
 */
static bool
is_not_null(Oid relid, const char *name, List *lost)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, name);
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull &&
			 !list_member_int(lost, ((Form_pg_attribute) GETSTRUCT(tuple))->attnum);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * actions_for returns what ALTER TABLE must do to 'to' for the constraints
 * that are declared and that 'from' does not have, or loses with its columns
 * 'lost', without foreign keys; with 'of_rows' only for those.  Where it is the
 * same table, what was declared before is dropped.
 */
static char *
actions_for(const EtlModel *model, Oid from, List *lost, Oid to, bool of_rows)
{
	List	   *have = NIL;
	List	   *wanted = NIL;
	StringInfoData sql;
	ListCell   *cell;

	foreach(cell, etl_constraints_of(from, lost))
		if (etl_constraint_is_ours(lfirst(cell), 'c'))
			have = lappend(have, lfirst(cell));
	initStringInfo(&sql);
	foreach(cell, etl_json_get_list(model->options, "constraints"))
	{
		char	   *name = etl_constraint_name(from, 'c', lfirst(cell));

		wanted = lappend(wanted, name);
		if (!etl_name_among(have, name) && !is_reference(lfirst(cell)) &&
			(!of_rows || is_of_rows(lfirst(cell))))
			appendStringInfo(&sql, "%s ADD CONSTRAINT %s %s", sql.len ? "," : "",
							 quote_identifier(etl_constraint_name(to, 'c', lfirst(cell))),
							 (char *) lfirst(cell));
	}
	foreach(cell, from == to ? have : NIL)
		if (!etl_name_among(wanted, lfirst(cell)))
			appendStringInfo(&sql, "%s DROP CONSTRAINT %s", sql.len ? "," : "",
							 quote_identifier(lfirst(cell)));
	foreach(cell, etl_json_get_list(model->options, "not_null"))
		if (!is_not_null(from, lfirst(cell), lost))
			appendStringInfo(&sql, "%s ALTER COLUMN %s SET NOT NULL", sql.len ? "," : "",
							 quote_identifier(lfirst(cell)));
	return sql.len > 0 ? sql.data : NULL;
}

/*
 * referenced lists what the foreign keys of a table reference that the
 * definition no longer declares: PostgreSQL locks it to drop them.
 */
static List *
referenced(const EtlModel *model, Oid relid)
{
	List	   *relids = NIL;
	ListCell   *cell;

	foreach(cell, etl_constraints_of(relid, NIL))
	{
		HeapTuple	tuple;
		Oid			other;

		if (!etl_given_drops(model, relid, lfirst(cell)))
			continue;
		tuple = SearchSysCache1(CONSTROID,
								ObjectIdGetDatum(get_relation_constraint_oid(relid, lfirst(cell), false)));
		other = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
		ReleaseSysCache(tuple);
		if (OidIsValid(other))
			relids = lappend_oid(relids, other);
	}
	return relids;
}

/*
 * give_constraints makes what is declared and not there, and drops what was
 * declared before.
 */
static void
give_constraints(const EtlModel *model, Oid relid, bool of_rows)
{
	char	   *actions = actions_for(model, relid, NIL, relid, of_rows);

	if (actions == NULL)
		return;
	etl_lock_all_briefly(lappend_oid(referenced(model, relid), relid));
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(relid), actions));
	CommandCounterIncrement();
}

/*
 * new_references returns what ALTER TABLE must do for the foreign keys that
 * are declared and not there; NULL for nothing.
 */
static char *
new_references(const EtlModel *model, Oid relid)
{
	List	   *have = etl_constraints_of(relid, NIL);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, etl_json_get_list(model->options, "constraints"))
	{
		char	   *name = etl_constraint_name(relid, 'c', lfirst(cell));

		if (is_reference(lfirst(cell)) && !etl_name_among(have, name))
			appendStringInfo(&sql, "%s ADD CONSTRAINT %s %s", sql.len ? "," : "", quote_identifier(name),
							 (char *) lfirst(cell));
	}
	return sql.len > 0 ? sql.data : NULL;
}

bool
etl_given_adds_reference(const EtlModel *model, Oid relid)
{
	return !etl_model_is_view(model) && !etl_model_is_matview(model) &&
		   new_references(model, relid) != NULL;
}

/*
 * give_references makes the foreign keys that are declared and not there:
 * PostgreSQL keeps writers away meanwhile, and lets readers pass.
 */
static void
give_references(const EtlModel *model, Oid relid)
{
	char	   *actions = new_references(model, relid);

	if (actions == NULL)
		return;
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(relid), actions));
	CommandCounterIncrement();
}

bool
etl_given_constraints_beside(const EtlModel *model, Oid relid, List *lost, Oid heap)
{
	char	   *actions;

	if (etl_model_is_view(model) || etl_model_is_matview(model))
		return false;
	actions = actions_for(model, relid, lost, heap, true);
	if (actions == NULL)
		return false;
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(heap), actions));
	CommandCounterIncrement();
	return true;
}

void
etl_given_constraints_of_rows(const EtlModel *model, Oid relid)
{
	if (!etl_model_is_view(model) && !etl_model_is_matview(model))
		give_constraints(model, relid, true);
}

bool
etl_given_drops(const EtlModel *model, Oid relid, const char *constraint)
{
	ListCell   *cell;

	if (!etl_constraint_is_ours(constraint, 'c'))
		return false;
	foreach(cell, etl_json_get_list(model->options, "constraints"))
		if (strcmp(etl_constraint_name(relid, 'c', lfirst(cell)), constraint) == 0)
			return false;
	return true;
}

/*
 * released_columns lists the columns that the definition of before let be NOT
 * NULL and this one does not; those of a primary key stay so.
 */
static List *
released_columns(const EtlModel *model, Oid relid, int old_version)
{
	EtlVersion *old = old_version > 0 ? etl_version_find("model", model->target, old_version) : NULL;
	Jsonb	   *options = old && old->definition ? etl_json_get(old->definition, "options") : NULL;
	List	   *wanted = etl_json_get_list(model->options, "not_null");
	List	   *released = NIL;
	Relation	rel;
	Bitmapset  *key;
	ListCell   *cell;

	if (options == NULL || !etl_json_has(options, "not_null"))
		return NIL;
	rel = table_open(relid, AccessShareLock);
	key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	table_close(rel, NoLock);
	foreach(cell, etl_json_get_list(options, "not_null"))
	{
		AttrNumber	number = get_attnum(relid, lfirst(cell));

		if (number > 0 && !etl_name_among(wanted, lfirst(cell)) &&
			!bms_is_member(number - FirstLowInvalidHeapAttributeNumber, key))
			released = lappend(released, lfirst(cell));
	}
	return released;
}

List *
etl_given_released(const EtlModel *model, Oid relid)
{
	return released_columns(model, relid, etl_node_state_get(model->target)->built_version);
}

List *
etl_given_belongings(const EtlModel *model, Oid relid, List *columns)
{
	if (columns == NIL)
		return NIL;
	return etl_belongings_of(relid, columns,
							 list_concat(etl_json_get_list(model->options, "not_null"),
										 etl_given_released(model, relid)));
}

/*
 * take_not_null takes NOT NULL from the columns that are not to have it any
 * more.
 */
static void
take_not_null(const EtlModel *model, Oid relid, int old_version)
{
	ListCell   *cell;

	foreach(cell, released_columns(model, relid, old_version))
	{
		etl_lock_briefly(relid);
		etl_execute_utility(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
									 etl_quoted_relation(relid), quote_identifier(lfirst(cell))));
		CommandCounterIncrement();
	}
}

/* ---- entry point ---- */

/*
 * etl_given_constraints gives a table its constraints, once its rows are
 * there; inside etl_run_as.
 */
void
etl_given_constraints(const EtlModel *model, Oid relid, int old_version)
{
	if (etl_model_is_view(model) || etl_model_is_matview(model))
		return;
	give_constraints(model, relid, false);
	give_references(model, relid);
	take_not_null(model, relid, old_version);
}
