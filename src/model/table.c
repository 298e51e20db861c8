/*-------------------------------------------------------------------------
 *
 * table.c
 *    The relation of a stored model: its columns, indexes, hooks.
 *
 * A table holds exactly the query's columns.  It is created once and keeps
 * its OID; columns that come or go are altered in place, without a rewrite,
 * so that readers with an older snapshot keep their rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/internal.h"

/*
 * etl_quoted_relation returns the qualified, quoted name of a relation.
 */
char *
etl_quoted_relation(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/*
 * etl_query_desc returns the columns that a query yields.
 */
TupleDesc
etl_query_desc(Query *query)
{
	return ExecCleanTypeFromTL(query->targetList);
}

/*
 * etl_column_type returns the type of a column as CREATE TABLE takes it.
 */
char *
etl_column_type(Form_pg_attribute column)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, format_type_extended(column->atttypid, column->atttypmod,
													   FORMAT_TYPE_TYPEMOD_GIVEN |
														   FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(column->attcollation) && column->attcollation != get_typcollation(column->atttypid))
		appendStringInfo(&text, " COLLATE %s", generate_collation_name(column->attcollation));
	return text.data;
}

/*
 * etl_storage_parameters renders option "with".
 */
char *
etl_storage_parameters(const EtlModel *model)
{
	Jsonb	   *with = etl_json_get(model->options, "with");
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	if (with == NULL)
		return text.data;
	foreach(cell, etl_json_keys(with))
		appendStringInfo(&text, "%s%s = %s", text.len ? ", " : " WITH (",
						 quote_identifier(lfirst(cell)),
						 quote_literal_cstr(etl_json_get_text(with, lfirst(cell))));
	if (text.len > 0)
		appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * etl_table_create creates the relation of a stored model, of that name;
 * inside etl_run_as.  What is said of it comes at the end of the build.
 */
Oid
etl_table_create(const EtlModel *model, const char *name, TupleDesc desc)
{
	StringInfoData sql;

	if (etl_model_is_matview(model))
	{
		etl_matview_create(model, name, etl_storage_parameters(model));
		return etl_name_relation(name);
	}
	if (etl_model_is_snapshot(model))
		desc = etl_snapshot_desc(desc, etl_snapshot_marks(model));
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", name);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(&sql, "%s%s %s", i ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)),
						 etl_column_type(TupleDescAttr(desc, i)));
	appendStringInfo(&sql, ")%s",
					 etl_model_is_partitioned(model) ? etl_partition_clause(model) :
													   etl_storage_parameters(model));
	etl_execute_utility(sql.data);
	CommandCounterIncrement();
	if (etl_model_is_partitioned(model))
		etl_partition_begin(model, etl_name_relation(name), etl_storage_parameters(model));
	return etl_name_relation(name);
}

/*
 * etl_table_comment keeps the model's description as the relation's comment.
 */
void
etl_table_comment(const EtlModel *model, const char *kind)
{
	if (model->description != NULL)
		etl_execute_utility(psprintf("COMMENT ON %s %s IS %s", kind, model->target,
									 quote_literal_cstr(model->description)));
}

/*
 * check_adoptable raises ET013 for a relation that the model could only
 * take the place of, with its contents lost.
 */
static void
check_adoptable(const EtlModel *model, Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	bool		stored = strcmp(model->materialized, "view") != 0;

	if (relkind == RELKIND_VIEW ||
		(etl_model_is_matview(model) ?
			 relkind == RELKIND_MATVIEW :
			 stored && (relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE)))
		return;
	ereport(ERROR, (errcode(ETL_ERR_NOT_MANAGED),
					errmsg("relation %s cannot be adopted: it is not a %s", model->target,
						   etl_model_is_matview(model) ? "materialized view" : stored ? "table" :
																						"view"),
					errdetail("Making the model would drop it with its contents."),
					errhint("Drop or rename it, or give the model another name.")));
}

/*
 * is_ours tells whether etl made the relation that has a model's
 * name: somebody may have dropped what it made, and made another.
 */
static bool
is_ours(const EtlModel *model, Oid relid, const EtlNodeState *state)
{
	const EtlModel *served = model;

	if (!state->created)
		return false;
	if (state->built_version != model->version)
		served = etl_model_served(model);
	return state->built_version == 0 || served == NULL || etl_kind_has(served, get_rel_relkind(relid));
}

/*
 * etl_table_must_be_managed raises ET013 for a relation that etl neither
 * created nor may adopt, 42501 for one of another owner.
 */
void
etl_table_must_be_managed(const EtlModel *model, Oid relid, const EtlNodeState *state)
{
	const char *kind;

	if (!OidIsValid(relid))
		return;
	etl_check_owns_relation(model->owner, relid);
	kind = etl_kind_word(get_rel_relkind(relid));
	if (is_ours(model, relid, state))
		return;
	if (etl_json_get_bool(model->options, "adopt", false))
	{
		check_adoptable(model, relid);
		return;
	}
	ereport(ERROR, (errcode(ETL_ERR_NOT_MANAGED),
					errmsg("relation %s exists and was not created by etl", model->target),
					state->created ?
						errdetail("It is a %s, and etl had made something else of that name.",
								  asc_tolower(kind, strlen(kind))) :
						errdetail("Building the model would replace its contents."),
					errhint("Define the model with option \"adopt\": true to take the relation "
							"over, or give it another name.")));
}

/* ---- columns ---- */

/*
 * find_column returns the live column of that name, or NULL.
 */
static Form_pg_attribute
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped && strcmp(NameStr(column->attname), name) == 0)
			return column;
	}
	return NULL;
}

/*
 * same_type tells whether a column can take the query's values as they are.
 */
static bool
same_type(Form_pg_attribute column, Form_pg_attribute wanted)
{
	return column->atttypid == wanted->atttypid &&
		   (column->atttypmod == wanted->atttypmod || column->atttypmod == -1) &&
		   column->attcollation == wanted->attcollation;
}

/*
 * keeps_surplus tells whether option on_schema_change lets the table keep
 * columns that the query no longer has.
 */
static bool
keeps_surplus(const EtlModel *model)
{
	char	   *policy = etl_json_get_text(model->options, "on_schema_change");

	return policy != NULL && (strcmp(policy, "append") == 0 || strcmp(policy, "ignore") == 0);
}

/*
 * ignores_new tells whether option on_schema_change leaves columns out that
 * the table does not have.
 */
static bool
ignores_new(const EtlModel *model)
{
	char	   *policy = etl_json_get_text(model->options, "on_schema_change");

	return policy != NULL && strcmp(policy, "ignore") == 0;
}

/*
 * column_changes lists the columns that the table lacks, and those that it
 * must lose because the query has none of that name and type; without those
 * that option on_schema_change leaves as they are.
 */
static void
column_changes(const EtlModel *model, Oid relid, TupleDesc desc, List **missing, List **surplus)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	have = RelationGetDescr(rel);
	bool		keep = keeps_surplus(model);
	bool		ignore = ignores_new(model);

	*missing = *surplus = NIL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute wanted = TupleDescAttr(desc, i);
		Form_pg_attribute column = find_column(have, NameStr(wanted->attname));

		if (column == NULL ? !ignore : !same_type(column, wanted))
			*missing = lappend(*missing, wanted);
	}
	for (int i = 0; i < have->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(have, i);
		Form_pg_attribute wanted;

		if (column->attisdropped || column->attgenerated)
			continue;
		wanted = find_column(desc, NameStr(column->attname));
		if (wanted == NULL ? !keep : !same_type(column, wanted))
			*surplus = lappend(*surplus, pstrdup(NameStr(column->attname)));
	}
	table_close(rel, NoLock);
}

/*
 * etl_table_fits tells whether the table takes the query's rows without a
 * change of its columns.
 */
bool
etl_table_fits(const EtlModel *model, Oid relid, TupleDesc desc)
{
	List	   *missing;
	List	   *surplus;

	if (etl_model_is_snapshot(model))
		return etl_snapshot_fits(model, relid, desc);
	if (etl_model_is_matview(model))
		return etl_matview_fits(relid, desc);
	column_changes(model, relid, desc, &missing, &surplus);
	return missing == NIL && surplus == NIL;
}

/*
 * etl_table_lost_columns lists the numbers of the columns that would be
 * dropped, of a snapshot those that would get another type.
 */
List *
etl_table_lost_columns(const EtlModel *model, Oid relid, TupleDesc desc)
{
	List	   *missing;
	List	   *surplus;
	List	   *numbers = NIL;
	ListCell   *cell;

	if (etl_model_is_matview(model))
		return NIL;
	if (etl_model_is_snapshot(model))
		return etl_snapshot_widened(model, relid, desc);
	column_changes(model, relid, desc, &missing, &surplus);
	foreach(cell, surplus)
		numbers = lappend_int(numbers, get_attnum(relid, lfirst(cell)));
	return numbers;
}

/*
 * etl_table_has_kept_columns tells whether the table holds columns that the
 * query does not yield any more: a rebuild would lose their values.
 */
bool
etl_table_has_kept_columns(const EtlModel *model, Oid relid, TupleDesc desc)
{
	Relation	rel;
	TupleDesc	have;
	bool		found = false;

	if (!keeps_surplus(model))
		return false;
	rel = table_open(relid, AccessShareLock);
	have = RelationGetDescr(rel);
	for (int i = 0; i < have->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(have, i);

		found |= !column->attisdropped && !column->attgenerated &&
				 find_column(desc, NameStr(column->attname)) == NULL;
	}
	table_close(rel, NoLock);
	return found;
}

/*
 * refuse_reshape raises ET017 when option on_schema_change is against what
 * the query asks of the table.
 */
static void
refuse_reshape(const EtlModel *model, List *missing, List *surplus)
{
	char	   *policy = etl_json_get_text(model->options, "on_schema_change");

	if (policy == NULL || strcmp(policy, "sync") == 0 ||
		(strcmp(policy, "fail") != 0 && surplus == NIL))
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_SCHEMA_FROZEN),
			 errmsg("the columns of %s differ from its query's, and on_schema_change is %s",
					model->target, policy),
			 surplus ? errdetail("Column \"%s\" is gone or has another type.",
								 (char *) linitial(surplus)) :
					   errdetail("Column \"%s\" is new.",
								 NameStr(((Form_pg_attribute) linitial(missing))->attname)),
			 errhint("Define the model with on_schema_change sync, or alter the table.")));
}

/*
 * etl_table_reshape_actions returns what ALTER TABLE must do to give the
 * table the query's columns, as far as option on_schema_change lets it; NULL
 * for nothing.  A full build follows.  In a table without rows a column gets
 * its other type in its place; where there are rows, nothing is rewritten:
 * the column is dropped and added.
 */
char *
etl_table_reshape_actions(const EtlModel *model, Oid relid, TupleDesc desc, bool empty)
{
	List	   *missing;
	List	   *surplus;
	StringInfoData sql;
	ListCell   *cell;

	column_changes(model, relid, desc, &missing, &surplus);
	if (missing == NIL && surplus == NIL)
		return NULL;
	refuse_reshape(model, missing, surplus);
	initStringInfo(&sql);
	foreach(cell, surplus)
		if (!empty || find_column(desc, lfirst(cell)) == NULL)
			appendStringInfo(&sql, "%s DROP COLUMN %s", sql.len ? "," : "",
							 quote_identifier(lfirst(cell)));
	foreach(cell, missing)
	{
		Form_pg_attribute wanted = lfirst(cell);
		const char *name = quote_identifier(NameStr(wanted->attname));

		if (sql.len)
			appendStringInfoChar(&sql, ',');
		if (empty && etl_name_among(surplus, NameStr(wanted->attname)))
			appendStringInfo(&sql,
							 " ALTER COLUMN %s DROP IDENTITY IF EXISTS, ALTER COLUMN %s DROP DEFAULT,"
							 " ALTER COLUMN %s TYPE %s USING NULL",
							 name, name, name, etl_column_type(wanted));
		else
			appendStringInfo(&sql, " ADD COLUMN %s %s", name, etl_column_type(wanted));
	}
	return sql.data;
}

List *
etl_table_coming_columns(const EtlModel *model, Oid relid, TupleDesc desc)
{
	List	   *missing;
	List	   *surplus;
	List	   *names = NIL;
	ListCell   *cell;

	column_changes(model, relid, desc, &missing, &surplus);
	foreach(cell, missing)
		names = lappend(names, NameStr(((Form_pg_attribute) lfirst(cell))->attname));
	return names;
}

/*
 * etl_table_set_parameters gives an existing table the storage parameters
 * of the definition.
 */
void
etl_table_set_parameters(const EtlModel *model, Oid relid)
{
	char	   *parameters = etl_storage_parameters(model);

	if (parameters[0] == '\0' || (get_rel_relkind(relid) != RELKIND_RELATION &&
								  get_rel_relkind(relid) != RELKIND_MATVIEW))
		return;
	etl_execute_utility(psprintf("ALTER %s %s SET %s", etl_kind_word(get_rel_relkind(relid)),
								 etl_quoted_relation(relid), strchr(parameters, '(')));
	CommandCounterIncrement();
}

/*
 * etl_table_analyze gathers statistics inside the transaction.
 */
void
etl_table_analyze(Oid relid)
{
	etl_execute_utility(psprintf("ANALYZE %s", etl_quoted_relation(relid)));
	CommandCounterIncrement();
}

/*
 * etl_table_hooks runs the statements of pre_hook or post_hook as the
 * model's owner.  An error tells which statement it is of.
 */
void
etl_table_hooks(const EtlModel *model, const char *which)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *hooks = etl_json_get_list(model->options, which);
	ListCell *volatile cell = list_head(hooks);

	PG_TRY();
	{
		for (; cell; cell = lnext(hooks, cell))
		{
			etl_execute_utility(lfirst(cell));
			CommandCounterIncrement();
		}
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (etl_error_is_cancel(error) || error->elevel > ERROR)
			PG_RE_THROW();
		FlushErrorState();
		error->detail = psprintf("%s%sThe statement of option %s: %s", error->detail ? error->detail : "",
								 error->detail ? "\n" : "", which, (char *) lfirst(cell));
		etl_rethrow(error);
	}
	PG_END_TRY();
}
