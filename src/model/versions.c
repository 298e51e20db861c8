/*-------------------------------------------------------------------------
 *
 * versions.c
 *    The table of a snapshot: its columns, and what keeps its history true.
 *
 * Beside the columns of the query a snapshot has valid_from, valid_to (NULL:
 * still valid; the moment itself is not included), is_current and, with
 * hard_deletes new_record, is_deleted.  Constraints, not the engine alone,
 * see to it that a key has one current version and that no two of its
 * versions overlap.  Columns come, and become wider; what history was
 * written in never goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/brief_lock.h"
#include "common/errors.h"
#include "common/json.h"
#include "model/internal.h"

/* The columns that the engine adds. */
static const struct
{
	const char *name;
	Oid			type;
	const char *definition;
} version_columns[] = {{"valid_from", TIMESTAMPTZOID, "timestamptz"},
					   {"valid_to", TIMESTAMPTZOID, "timestamptz"},
					   {"is_current", BOOLOID, "boolean"},
					   {"is_deleted", BOOLOID, "boolean NOT NULL DEFAULT false"}};

bool
etl_snapshot_marks(const EtlModel *model)
{
	char	   *deletes = etl_json_get_text(model->options, "hard_deletes");

	return deletes != NULL && strcmp(deletes, "new_record") == 0;
}

/*
 * etl_snapshot_desc returns the columns of the table: those of the query
 * and those of a version.
 */
TupleDesc
etl_snapshot_desc(TupleDesc query, bool marked)
{
	int			more = marked ? 4 : 3;
	TupleDesc	desc = CreateTemplateTupleDesc(query->natts + more);

	for (int i = 0; i < query->natts; i++)
		TupleDescCopyEntry(desc, i + 1, query, i + 1);
	for (int i = 0; i < more; i++)
		TupleDescInitEntry(desc, query->natts + 1 + i, version_columns[i].name, version_columns[i].type,
						   -1, 0);
	return desc;
}

/*
 * etl_snapshot_columns lists the names of the columns of a version.
 */
List *
etl_snapshot_columns(bool marked)
{
	List	   *columns = NIL;

	for (int i = 0; i < (marked ? 4 : 3); i++)
		columns = lappend(columns, pstrdup(version_columns[i].name));
	return columns;
}

const char *
etl_snapshot_reserved(List *columns, bool marked)
{
	ListCell   *cell;

	foreach(cell, columns)
		for (int i = 0; i < (marked ? 4 : 3); i++)
			if (strcmp(lfirst(cell), version_columns[i].name) == 0)
				return version_columns[i].name;
	return NULL;
}

/* ---- columns ---- */

/* What has to become of one column of the table. */
typedef enum ColumnChange
{
	COLUMN_STAYS,
	COLUMN_COMES,
	COLUMN_WIDENS,
	COLUMN_CANNOT
} ColumnChange;

/*
 * policy_is tells whether option on_schema_change has a value.
 */
static bool
policy_is(const EtlModel *model, const char *policy)
{
	char	   *is = etl_json_get_text(model->options, "on_schema_change");

	return is != NULL && strcmp(is, policy) == 0;
}

/*
 * change_of tells what has to become of a column for the query's values.
 */
static ColumnChange
change_of(const EtlModel *model, Oid relid, Form_pg_attribute wanted)
{
	AttrNumber	number = get_attnum(relid, NameStr(wanted->attname));
	Oid			type;
	int32		typmod;
	Oid			collation;

	if (number <= 0)
		return policy_is(model, "ignore") ? COLUMN_STAYS : COLUMN_COMES;
	get_atttypetypmodcoll(relid, number, &type, &typmod, &collation);
	if (type == wanted->atttypid && (typmod == wanted->atttypmod || typmod == -1) &&
		collation == wanted->attcollation)
		return COLUMN_STAYS;
	if (type == wanted->atttypid && wanted->atttypmod == -1)
		return COLUMN_WIDENS;
	if (type != wanted->atttypid && can_coerce_type(1, &type, &wanted->atttypid, COERCION_IMPLICIT))
		return COLUMN_WIDENS;
	return COLUMN_CANNOT;
}

bool
etl_snapshot_fits(const EtlModel *model, Oid relid, TupleDesc query)
{
	TupleDesc	desc = etl_snapshot_desc(query, etl_snapshot_marks(model));

	for (int i = 0; i < desc->natts; i++)
		if (change_of(model, relid, TupleDescAttr(desc, i)) != COLUMN_STAYS)
			return false;
	return true;
}

/*
 * etl_snapshot_widened lists the numbers of the columns whose type will
 * change: views on them have to step aside.
 */
List *
etl_snapshot_widened(const EtlModel *model, Oid relid, TupleDesc query)
{
	List	   *numbers = NIL;

	for (int i = 0; i < query->natts; i++)
		if (change_of(model, relid, TupleDescAttr(query, i)) == COLUMN_WIDENS)
			numbers = lappend_int(numbers, get_attnum(relid, NameStr(TupleDescAttr(query, i)->attname)));
	return numbers;
}

/*
 * refuse_change raises ET010 for a column that history cannot be kept in.
 */
static void
refuse_change(const EtlModel *model, Form_pg_attribute wanted, const char *why)
{
	ereport(ERROR,
			(errcode(ETL_ERR_SCHEMA_FROZEN),
			 errmsg("the columns of %s differ from its query's, and %s", model->target, why),
			 errdetail("Column \"%s\" is new or has another type.", NameStr(wanted->attname)),
			 errhint("Alter the table, or let the query yield the value under another name.")));
}

/*
 * is_bare tells whether the table has no columns of versions yet: it held
 * another kind of model, whose rows are no history.
 */
static bool
is_bare(Oid relid)
{
	return get_attnum(relid, "valid_from") <= 0;
}

/*
 * etl_snapshot_reshape adds columns and widens types.  Inside etl_run_as.
 */
void
etl_snapshot_reshape(const EtlModel *model, Oid relid, TupleDesc query, bool ours)
{
	TupleDesc	desc = etl_snapshot_desc(query, etl_snapshot_marks(model));
	char	   *table = etl_quoted_relation(relid);
	StringInfoData sql;

	if (is_bare(relid) && !ours)
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_MANAGED),
				 errmsg("table %s cannot be adopted: it has no column \"valid_from\"", model->target),
				 errdetail("The table of a snapshot has valid_from, valid_to and is_current."),
				 errhint("Add them, or give the model another name.")));
	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute wanted = TupleDescAttr(desc, i);
		ColumnChange change = change_of(model, relid, wanted);
		const char *name = quote_identifier(NameStr(wanted->attname));

		if (change == COLUMN_STAYS)
			continue;
		if (change == COLUMN_CANNOT)
			refuse_change(model, wanted, "history in the old type does not fit the new one");
		if (i < query->natts && policy_is(model, "fail"))
			refuse_change(model, wanted, "on_schema_change is fail");
		appendStringInfoString(&sql, sql.len ? ", " : " ");
		if (change == COLUMN_WIDENS)
			appendStringInfo(&sql, "ALTER COLUMN %s TYPE %s", name, etl_column_type(wanted));
		else
			appendStringInfo(&sql, "ADD COLUMN %s %s", name,
							 i < query->natts ? etl_column_type(wanted) :
												version_columns[i - query->natts].definition);
	}
	etl_lock_briefly(relid);
	if (is_bare(relid))
		etl_execute_utility(psprintf("DELETE FROM %s", table));
	etl_execute_utility(psprintf("ALTER TABLE %s%s", table, sql.data));
	CommandCounterIncrement();
}

/* ---- constraints ---- */

/*
 * half_hash renders half of a hash of 106 bits of a key, NULLs included, as a
 * number without a fraction: two of them are the same or differ by one at
 * least, which is far more than points may differ by and be called the same.
 */
static char *
half_hash(const char *row, int seed)
{
	return psprintf("(pg_catalog.hash_record_extended(%s, %d) OPERATOR(pg_catalog.>>) 11)"
					"::pg_catalog.float8", row, seed);
}

/*
 * no_overlap renders the constraint that forbids overlapping versions of a
 * key.  A key is a point, of which GiST knows whether it is the same, so that
 * nothing but built-in types and functions does it: no btree_gist, and
 * nothing that would tie the table to this extension.
 */
static char *
no_overlap(const char *key)
{
	char	   *row = psprintf("ROW(%s)", key);

	return psprintf("EXCLUDE USING gist (pg_catalog.point(%s, %s) WITH OPERATOR(pg_catalog.~=), "
					"pg_catalog.tstzrange(valid_from, valid_to) WITH OPERATOR(pg_catalog.&&))",
					half_hash(row, 0), half_hash(row, 1));
}

/*
 * etl_snapshot_constraints makes the constraints of a snapshot that are
 * missing, and drops those of a former key.
 */
void
etl_snapshot_constraints(const EtlModel *model, Oid relid)
{
	char	   *definitions[] = {"CHECK (valid_to OPERATOR(pg_catalog.>) valid_from)",
						   "CHECK (is_current OPERATOR(pg_catalog.=) (valid_to IS NULL))",
						   "CHECK (valid_from IS NOT NULL AND is_current IS NOT NULL"
						   " AND pg_catalog.isfinite(valid_from))",
						   no_overlap(etl_diff_key_columns(model))};
	bool		found[lengthof(definitions)] = {false};
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, etl_constraints_of(relid, NIL))
	{
		bool		wanted = false;

		for (int i = 0; i < lengthof(definitions); i++)
			if (strcmp(etl_constraint_name(relid, 'v', definitions[i]), lfirst(cell)) == 0)
				wanted = found[i] = true;
		if (!wanted && etl_constraint_is_ours(lfirst(cell), 'v'))
			appendStringInfo(&sql, "%s DROP CONSTRAINT %s", sql.len ? "," : "",
							 quote_identifier(lfirst(cell)));
	}
	for (int i = 0; i < lengthof(definitions); i++)
		if (!found[i])
			appendStringInfo(&sql, "%s ADD CONSTRAINT %s %s", sql.len ? "," : "",
							 quote_identifier(etl_constraint_name(relid, 'v', definitions[i])),
							 definitions[i]);
	if (sql.len == 0)
		return;
	etl_lock_briefly(relid);
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(relid), sql.data));
	CommandCounterIncrement();
}
