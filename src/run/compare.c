/*-------------------------------------------------------------------------
 *
 * compare.c
 *    SQL function compare: the rows of an environment beside production's.
 *
 * Both relations are read once, with the rights of the caller, and grouped:
 * by the key where the model has one, else by the whole row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/parse.h"
#include "model/model.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_compare);

/* A column of one or both relations. */
typedef struct Column
{
	char	   *name;
	char	   *type;			/* in production; NULL: it is not there */
	char	   *here;			/* in the environment */
} Column;

/*
 * find_column returns a column of a list; NULL when it has none of that name.
 */
static Column *
find_column(List *columns, const char *name)
{
	ListCell   *cell;

	foreach(cell, columns)
		if (strcmp(((Column *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

/*
 * add_columns adds the columns of a relation.
 */
static List *
add_columns(List *columns, Oid relid, bool here)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Column	   *column = find_column(columns, NameStr(att->attname));
		char	   *type = format_type_with_typemod(att->atttypid, att->atttypmod);

		if (att->attisdropped)
			continue;
		if (column == NULL)
		{
			column = palloc0(sizeof(Column));
			column->name = pstrdup(NameStr(att->attname));
			columns = lappend(columns, column);
		}
		if (here)
			column->here = type;
		else
			column->type = type;
	}
	relation_close(rel, NoLock);
	return columns;
}

/*
 * put adds a row of the result.
 */
static void
put(ReturnSetInfo *result, const char *target, const char *column, const int64 *counts, const char *detail)
{
	Datum		values[6] = {CStringGetTextDatum(target), column ? CStringGetTextDatum(column) : (Datum) 0};
	bool		nulls[6] = {false, column == NULL};

	for (int i = 0; i < 3; i++)
	{
		nulls[2 + i] = counts == NULL || counts[i] < 0;
		values[2 + i] = nulls[2 + i] ? (Datum) 0 : Int64GetDatum(counts[i]);
	}
	nulls[5] = detail == NULL;
	values[5] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * both_sides renders what both relations hold of some columns, as text, with
 * the key's under k1, k2 …, the others under c1, c2 ….
 */
static char *
both_sides(const EtlEnvironmentNode *node, List *columns, List *key, bool production)
{
	StringInfoData sql;
	int			k = 0;
	int			c = 0;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s AS side", production ? "false" : "true");
	foreach(cell, columns)
	{
		Column	   *column = lfirst(cell);

		if (etl_name_among(key, column->name))
			appendStringInfo(&sql, ", t.%s::text AS k%d", quote_identifier(column->name), ++k);
		else
			appendStringInfo(&sql, ", t.%s::text AS c%d", quote_identifier(column->name), ++c);
	}
	appendStringInfo(&sql, " FROM %s AS t", production ? node->target : node->node);
	return sql.data;
}

/*
 * numbered renders "prefix1, prefix2, …".
 */
static char *
numbered(const char *prefix, int n)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 1; i <= n; i++)
		appendStringInfo(&text, "%s%s%d", i > 1 ? ", " : "", prefix, i);
	return text.data;
}

/*
 * query_by_key compares by the key: a row of counts (added, removed,
 * changed, changed in each other column).
 */
static char *
query_by_key(const char *sides, int k, int c)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT count(*) FILTER (WHERE n1 = 0), count(*) FILTER (WHERE n2 = 0),"
								 " count(*) FILTER (WHERE n1 > 0 AND n2 > 0 AND (false");
	for (int i = 1; i <= c; i++)
		appendStringInfo(&sql, " OR d%d", i);
	appendStringInfoString(&sql, "))");
	for (int i = 1; i <= c; i++)
		appendStringInfo(&sql, ", count(*) FILTER (WHERE n1 > 0 AND n2 > 0 AND d%d)", i);
	appendStringInfoString(&sql, " FROM (SELECT count(*) FILTER (WHERE NOT side) AS n1,"
								 " count(*) FILTER (WHERE side) AS n2");
	for (int i = 1; i <= c; i++)
		appendStringInfo(&sql, ", min(c%d) FILTER (WHERE NOT side) IS DISTINCT FROM"
							   " min(c%d) FILTER (WHERE side) AS d%d", i, i, i);
	appendStringInfo(&sql, " FROM (%s) AS s GROUP BY %s) AS g", sides, numbered("k", k));
	return sql.data;
}

/*
 * query_by_row compares whole rows, or the values of one column, as sets in
 * which the same thing may be several times.
 */
static char *
query_by_row(const char *sides, const char *columns)
{
	return psprintf("SELECT coalesce(sum(greatest(n2 - n1, 0)), 0)::bigint,"
					" coalesce(sum(greatest(n1 - n2, 0)), 0)::bigint FROM"
					" (SELECT count(*) FILTER (WHERE NOT side) AS n1, count(*) FILTER (WHERE side) AS n2"
					" FROM (%s) AS s GROUP BY %s) AS g", sides, columns);
}

/*
 * ask runs a query of one row of counts.
 */
static void
ask(const char *sql, int64 *counts, int n)
{
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not compare: %s", sql);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		counts[i] = DatumGetInt64(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull));
	}
}

/*
 * compare_rows compares the rows by the columns that both have.
 */
static void
compare_rows(ReturnSetInfo *result, const EtlEnvironmentNode *node, List *columns, List *key)
{
	List	   *common = NIL;
	List	   *others = NIL;
	int			k = 0;
	int64		counts[3 + MaxTupleAttributeNumber];
	char	   *sides;
	const char *detail = NULL;
	ListCell   *cell;

	foreach(cell, columns)
	{
		Column	   *column = lfirst(cell);

		if (column->type == NULL || column->here == NULL)
			continue;
		common = lappend(common, column);
		if (etl_name_among(key, column->name))
			k++;
		else
			others = lappend(others, column);
	}
	if (common == NIL)
		return;
	/* a key of which a column is gone identifies nothing */
	if (k < list_length(key))
	{
		key = NIL;
		others = common;
	}
	sides = psprintf("%s UNION ALL %s", both_sides(node, common, key, true),
					 both_sides(node, common, key, false));
	if (key == NIL)
		detail = "without a key: a changed row is one removed and one added";
	SPI_connect();
	if (key != NIL)
		ask(query_by_key(sides, k, list_length(others)), counts, 3 + list_length(others));
	else
	{
		ask(query_by_row(sides, numbered("c", list_length(others))), counts, 2);
		counts[2] = 0;
	}
	if (etl_node_state_get(node->node)->sample != NULL)
		detail = psprintf("%s%sthe environment was built of a part of its inputs: %s", detail ? detail : "",
						  detail ? "; " : "", etl_node_state_get(node->node)->sample);
	put(result, node->target, NULL, counts, detail);
	foreach(cell, others)
	{
		int			i = foreach_current_index(cell);
		int64		of_column[3] = {-1, -1, counts[3 + i]};

		if (key == NIL)
		{
			ask(query_by_row(sides, psprintf("c%d", i + 1)), of_column, 2);
			of_column[2] = -1;
		}
		if (key != NIL ? of_column[2] > 0 : of_column[0] + of_column[1] > 0)
			put(result, node->target, ((Column *) lfirst(cell))->name, of_column, NULL);
	}
	SPI_finish();
}

/*
 * compare_node compares one node of an environment with production's.
 */
static void
compare_node(ReturnSetInfo *result, const EtlEnvironmentNode *node)
{
	Oid			there = etl_name_relation(node->target);
	Oid			here = etl_name_relation(node->node);
	EtlModel   *model = etl_model_find(node->node);
	EtlStream  *stream = etl_stream_find(node->node);
	List	   *columns = NIL;
	ListCell   *cell;

	if (!OidIsValid(there) || !OidIsValid(here))
	{
		put(result, node->target, NULL, NULL,
			OidIsValid(here)  ? "only in the environment" :
			OidIsValid(there) ? "not built in the environment" :
								"built nowhere");
		return;
	}
	columns = add_columns(NIL, there, false);
	columns = add_columns(columns, here, true);
	compare_rows(result, node, columns, model ? model->key : stream ? stream->key :
																	  NIL);
	foreach(cell, columns)
	{
		Column	   *column = lfirst(cell);

		if (column->type == NULL || column->here == NULL)
			put(result, node->target, column->name, NULL,
				column->type ? "only in production" : "only in the environment");
		else if (strcmp(column->type, column->here) != 0)
			put(result, node->target, column->name, NULL,
				psprintf("%s in production, %s in the environment", column->type, column->here));
	}
}

/*
 * etl_sql_compare: see the comment of etl.compare.
 */
Datum
etl_sql_compare(PG_FUNCTION_ARGS)
{
	char	   *environment = PG_ARGISNULL(0) ? etl_environment : etl_arg_text(fcinfo, 0);
	int			level = NewGUCNestLevel();
	ListCell   *cell;

	if (etl_environment_owner(environment) == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED), errmsg("there is no environment \"%s\"", environment),
				 errhint("SET etl.environment and define something: that makes one.")));
	InitMaterializedSRF(fcinfo, 0);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, etl_environment_nodes(environment))
		if (strcmp(((EtlEnvironmentNode *) lfirst(cell))->kind, "check") != 0)
			compare_node((ReturnSetInfo *) fcinfo->resultinfo, lfirst(cell));
	PopActiveSnapshot();
	AtEOXact_GUC(false, level);
	return (Datum) 0;
}
