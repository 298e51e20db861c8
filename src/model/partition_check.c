/*-------------------------------------------------------------------------
 *
 * partition_check.c
 *    Option partition_by: reading it, and what is wrong with it.
 *
 * It is judged by itself at definition, and by the columns of the query as
 * soon as these are known.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/parse.h"
#include "model/internal.h"

#define HASH_PARTITIONS 8

/*
 * refuse raises ET001 for option partition_by.
 */
static void
refuse(const char *detail)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION), errmsg("invalid value for option \"partition_by\""),
			 errdetail("%s", detail),
			 errhint("Write {\"range\": \"day\", \"interval\": \"1 month\"}, {\"list\": \"country\"} or "
					 "{\"hash\": \"id\", \"partitions\": 8}.")));
}

/*
 * etl_partition_read reads option partition_by; NULL when there is none.
 */
EtlPartitioning *
etl_partition_read(const EtlModel *model)
{
	static const char *const methods[] = {"range", "list", "hash"};
	Jsonb	   *option = etl_json_get(model->options, "partition_by");
	EtlPartitioning *result = palloc0(sizeof(EtlPartitioning));
	ListCell   *cell;

	if (option == NULL)
		return NULL;
	if (etl_json_kind(option) != 'o')
		refuse("It is not an object.");
	for (int i = 0; i < lengthof(methods); i++)
		if (etl_json_has(option, methods[i]))
		{
			if (result->method != NULL)
				refuse("It names two methods.");
			result->method = methods[i];
			result->by = etl_json_get_text(option, methods[i]);
		}
	if (result->by == NULL || etl_json_kind_of(option, result->method) != 's')
		refuse("It names no method with a column or an expression.");
	foreach(cell, etl_json_keys(option))
		if (strcmp(lfirst(cell), result->method) != 0 &&
			strcmp(lfirst(cell), strcmp(result->method, "range") == 0 ? "interval" : "partitions") != 0)
			refuse(psprintf("\"%s\" does not go with \"%s\".", (char *) lfirst(cell), result->method));
	result->interval = etl_json_get_text(option, "interval");
	result->count = (int) etl_json_get_int64(option, "partitions", HASH_PARTITIONS);
	if (result->count < 1 || result->count > 1000)
		refuse("\"partitions\" is not between 1 and 1000.");
	return result;
}

bool
etl_partition_by_number(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID;
}

bool
etl_partition_by_moment(Oid type)
{
	return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;
}

/*
 * read_interval returns whether the length of a range is a number; ET001 when
 * it is nothing that rows can be cut by.
 */
static bool
read_interval(const EtlPartitioning *partitioning)
{
	char	   *end;
	double		number = strtod(partitioning->interval, &end);
	Interval   *interval;

	if (end != partitioning->interval && *end == '\0')
	{
		if (!(number > 0) || isinf(number))
			refuse(psprintf("\"%s\" is no length.", partitioning->interval));
		return true;
	}
	if (etl_option_duration_ms("partition_by", partitioning->interval) <= 0)
		refuse(psprintf("\"%s\" is no length.", partitioning->interval));
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(partitioning->interval),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (interval->month != 0 && (interval->day != 0 || interval->time != 0))
		refuse(psprintf("\"%s\" mixes months with days or time.", partitioning->interval));
	return false;
}

bool
etl_model_is_partitioned(const EtlModel *model)
{
	return etl_json_has(model->options, "partition_by");
}

bool
etl_partition_replaces(const EtlModel *model)
{
	return model->strategy != NULL && strcmp(model->strategy, "partition_replace") == 0;
}

/*
 * partition_columns returns the columns that stand alone in PARTITION BY;
 * NIL when it has an expression.
 */
static List *
partition_columns(const EtlPartitioning *partitioning)
{
	List	   *statements = etl_parse(psprintf("CREATE TABLE t (a int) PARTITION BY %s (%s\n)",
										  partitioning->method, partitioning->by));
	CreateStmt *create = list_length(statements) == 1 ?
							 (CreateStmt *) linitial_node(RawStmt, statements)->stmt :
							 NULL;
	List	   *names = NIL;
	ListCell   *cell;

	if (create == NULL || !IsA(create, CreateStmt) || create->partspec == NULL || create->options != NIL ||
		create->tablespacename != NULL || create->accessMethod != NULL)
		refuse(psprintf("\"%s\" is more than columns and expressions.", partitioning->by));
	if (list_length(create->partspec->partParams) != 1 && strcmp(partitioning->method, "hash") != 0)
		refuse("Lists and ranges are of one column or expression.");
	foreach(cell, create->partspec->partParams)
	{
		PartitionElem *element = lfirst_node(PartitionElem, cell);

		if (element->name == NULL)
			return NIL;
		names = lappend(names, element->name);
	}
	return names;
}

/*
 * etl_partition_columns lists the columns that a model is partitioned by; NIL
 * when it is by an expression.
 */
List *
etl_partition_columns(const EtlModel *model)
{
	return partition_columns(etl_partition_read(model));
}

/*
 * etl_partition_check judges option partition_by at definition.
 */
void
etl_partition_check(const EtlModel *model)
{
	EtlPartitioning *partitioning = etl_partition_read(model);
	List	   *columns;
	ListCell   *cell;

	if (partitioning == NULL && etl_partition_replaces(model))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("strategy \"partition_replace\" needs option \"partition_by\""),
						errhint("Say how, such as {\"partition_by\": {\"range\": \"day\", \"interval\": "
								"\"1 month\"}}.")));
	if (partitioning == NULL)
		return;
	if (strcmp(model->materialized, "table") != 0 && strcmp(model->materialized, "incremental") != 0 &&
		strcmp(model->materialized, "seed") != 0)
		refuse("Only tables and incremental models are partitioned.");
	columns = partition_columns(partitioning);
	if (partitioning->interval != NULL)
		(void) read_interval(partitioning);
	if (model->key == NIL && columns == NIL && etl_partition_replaces(model))
		refuse("With strategy partition_replace and without a key it must be columns, by which it "
			   "is told what "
			   "a change touches.");
	if (model->key != NIL && columns == NIL)
		refuse("A table that is partitioned by an expression has no unique key.");
	foreach(cell, model->key != NIL ? columns : NIL)
		if (!etl_name_among(model->key, lfirst(cell)))
			refuse(psprintf("The key does not have column \"%s\", so that it could not be kept unique.",
							(char *) lfirst(cell)));
}

/*
 * etl_partition_check_columns judges option partition_by by what the query
 * yields.
 */
void
etl_partition_check_columns(const EtlModel *model, Query *query)
{
	EtlPartitioning *partitioning = etl_partition_read(model);
	TupleDesc	desc = partitioning ? etl_query_desc(query) : NULL;
	List	   *names = NIL;
	ListCell   *cell;

	for (int i = 0; desc && i < desc->natts; i++)
		names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	foreach(cell, partitioning ? partition_columns(partitioning) : NIL)
	{
		const char *nearest = etl_nearest(lfirst(cell), names);
		int			place = 0;
		Oid			type;

		if (!etl_name_among(names, lfirst(cell)))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"partition_by\" names column \"%s\", which the query does not have",
							(char *) lfirst(cell)),
					 nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
		while (strcmp(NameStr(TupleDescAttr(desc, place)->attname), lfirst(cell)) != 0)
			place++;
		type = getBaseType(TupleDescAttr(desc, place)->atttypid);
		if (partitioning->interval != NULL && !etl_partition_by_moment(type) &&
			(!etl_partition_by_number(type) || !read_interval(partitioning)))
			refuse(psprintf("Column \"%s\" is of type %s, which cannot be cut by \"%s\".",
							(char *) lfirst(cell), format_type_be(type), partitioning->interval));
	}
}
