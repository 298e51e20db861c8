/*-------------------------------------------------------------------------
 *
 * unit_stand_in.c
 *    What a tested model reads and what does not exist yet.
 *
 * It is made, empty, as its definition says, so that the query can be
 * analyzed: a stream by its columns, a model by its query, anything else by
 * the rows that are given of it.  It ends with the subtransaction of the
 * test.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "common/driver.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/unit_test.h"

/*
 * type_of_values guesses the type of a column that only given rows tell of.
 */
static const char *
type_of_values(const List *steps, const char *name, const char *column)
{
	const char *type = NULL;
	ListCell   *step;
	ListCell   *cell;

	foreach(step, steps)
		foreach(cell, etl_json_elements(etl_unit_rows_of(lfirst(step), name)))
		{
			char		kind = etl_json_kind_of(lfirst(cell), column);
			const char *one = kind == 'n' ? "bigint" :
							  kind == 'b' ? "boolean" :
							  kind == 's' ? "text" :
											"jsonb";

			if (kind == 'n' && strpbrk(etl_json_get_text(lfirst(cell), column), ".eE") != NULL)
				one = "numeric";
			if (kind == '\0' || kind == '0' || (type && strcmp(type, "numeric") == 0 && kind == 'n'))
				continue;
			if (type != NULL && strcmp(type, one) != 0 && strcmp(one, "numeric") != 0)
				return "text";
			type = one;
		}
	return type ? type : "text";
}

/*
 * guessed_columns renders the columns of the rows that are given of a
 * relation, but those that it has.
 */
static char *
guessed_columns(const List *steps, const char *name, List *has)
{
	StringInfoData sql;
	ListCell   *step;
	ListCell   *cell;
	ListCell   *key;

	initStringInfo(&sql);
	has = list_copy(has);
	foreach(step, steps)
		foreach(cell, etl_json_elements(etl_unit_rows_of(lfirst(step), name)))
			foreach(key, etl_json_keys(lfirst(cell)))
			{
				if (etl_name_among(has, lfirst(key)))
					continue;
				has = lappend(has, lfirst(key));
				appendStringInfo(&sql, "%s%s %s", sql.len ? ", " : "", quote_identifier(lfirst(key)),
								 type_of_values(steps, name, lfirst(key)));
			}
	return sql.data;
}

static void stand_in(const char *name, const char *owner, const List *steps);

typedef struct StandIn
{
	const EtlModel *model;
	const List *steps;
	bool		given;			/* its rows are */
} StandIn;

/*
 * stand_in_by_query makes what is like the relation of a model that was not
 * built yet; an argument of etl_subxact.
 */
static void
stand_in_by_query(void *arg)
{
	StandIn    *stand = arg;
	const EtlModel *model = stand->model;
	StringInfoData sql;
	Query	   *query;
	TupleDesc	desc;
	EtlRunAs	as;
	ListCell   *cell;

	foreach(cell, etl_model_names(model))
		stand_in(lfirst(cell), model->owner, stand->steps);
	etl_run_as_begin(&as, model->owner, model->settings);
	query = etl_query_analyze(model->query, NULL);
	etl_run_as_end(&as);
	if (etl_model_is_view(model) && !stand->given)
	{
		etl_scratch_make(psprintf("CREATE VIEW %s AS %s", model->target, etl_query_deparse(query)));
		return;
	}
	desc = etl_query_desc(query);
	if (etl_model_is_snapshot(model))
		desc = etl_snapshot_desc(desc, etl_snapshot_marks(model));
	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(&sql, "%s%s %s", i ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)),
						 etl_column_type(TupleDescAttr(desc, i)));
	etl_scratch_make(psprintf("CREATE TABLE %s (%s)", model->target, sql.data));
}

/*
 * stand_in_of_model makes what is like the relation of a model.  Where its
 * query cannot be analyzed yet the rows that are given of it say what it is.
 */
static void
stand_in_of_model(const EtlModel *model, const List *steps)
{
	StandIn		stand = {model, steps, false};
	ErrorData  *error;
	ListCell   *cell;

	foreach(cell, steps)
		stand.given |= etl_json_has(lfirst(cell), model->target);
	error = etl_subxact(stand_in_by_query, &stand);
	if (error != NULL && !stand.given)
		etl_rethrow(error);
	if (error != NULL)
		etl_scratch_make(psprintf("CREATE TABLE %s (%s)", model->target,
								  guessed_columns(steps, model->target, NIL)));
}

/*
 * stand_in makes a relation that does not exist: as its definition says, and
 * the given rows.
 */
static void
stand_in(const char *name, const char *owner, const List *steps)
{
	EtlStream  *stream;
	EtlModel   *model;
	char	   *schema = etl_name_parse(name)->schema;
	List	   *has = NIL;
	char	   *guessed;

	check_stack_depth();
	if (OidIsValid(etl_name_relation(name)))
		return;
	if (!OidIsValid(get_namespace_oid(schema, true)))
		etl_scratch_schema(schema, owner);
	if ((model = etl_model_find(name)) != NULL)
	{
		stand_in_of_model(model, steps);
		return;
	}
	stream = etl_stream_find(name);
	if (stream != NULL)
		has = list_make2("_etl_load_id", "_etl_row");
	etl_scratch_make(psprintf("CREATE TABLE %s (%s%s%s)", name,
							  stream ? "_etl_load_id bigint, _etl_row bigint" : "",
							  stream && stream->columns ? ", " : "",
							  stream && stream->columns ? stream->columns : ""));
	if (stream != NULL && stream->columns != NULL)
	{
		Relation	rel = table_open(etl_name_relation(name), AccessShareLock);

		for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
			has = lappend(has, pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname)));
		table_close(rel, NoLock);
	}
	guessed = guessed_columns(steps, name, has);
	if (*guessed == '\0')
		return;
	etl_scratch_make(psprintf("DROP TABLE %s", name));
	etl_scratch_make(psprintf("CREATE TABLE %s (%s%s%s%s)", name,
							  stream ? "_etl_load_id bigint, _etl_row bigint, " : "",
							  stream && stream->columns ? stream->columns : "",
							  stream && stream->columns ? ", " : "", guessed));
}

void
etl_unit_stand_ins(const EtlModel *model, const List *steps)
{
	ListCell   *cell;

	foreach(cell, etl_model_names(model))
		stand_in(lfirst(cell), model->owner, steps);
}
