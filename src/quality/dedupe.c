/*-------------------------------------------------------------------------
 *
 * dedupe.c
 *    SQL functions dedupe and duplicates.
 *
 * dedupe is polymorphic over the row type: NULL::raw.users says at once what
 * is read and what is returned, so that PostgreSQL knows its columns and
 * etl its dependency.  Both read with the caller's rights and with the
 * snapshot of the calling query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/rowset.h"
#include "quality/check.h"

PG_FUNCTION_INFO_V1(etl_sql_dedupe);
PG_FUNCTION_INFO_V1(etl_sql_duplicates);

/*
 * key_columns reads the key: names of columns of the relation.
 */
static List *
key_columns(FunctionCallInfo fcinfo, int arg, Oid relid)
{
	Datum	   *items;
	bool	   *nulls;
	int			n = 0;
	List	   *key = NIL;

	if (!PG_ARGISNULL(arg))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT,
						  &items, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *column = nulls[i] ? NULL : TextDatumGetCString(items[i]);

		if (column == NULL || get_attnum(relid, column) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of %s does not exist", column ? column : "null",
							etl_name_of_relation(relid)),
					 errhint("The key is an array of its column names.")));
		key = lappend(key, column);
	}
	if (key == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the key must name at least one column"),
				 errhint("Write it as an array, such as '{user_id}'.")));
	return key;
}

/*
 * key_sql lists the key's columns, qualified.
 */
static char *
key_sql(List *key)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, key)
		appendStringInfo(&sql, "%st.%s", sql.len > 0 ? ", " : "", quote_identifier(lfirst(cell)));
	return sql.data;
}

/* ---- dedupe ---- */

/*
 * tie_break orders rows that order_by leaves equal: as landed, then by all
 * values, so that the result does not depend on where rows lie.  Of types
 * without an order the text decides.
 */
static char *
tie_break(TupleDesc desc, Oid relid, List *key)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (get_attnum(relid, "_etl_load_id") > 0 && get_attnum(relid, "_etl_row") > 0)
		return "t._etl_load_id, t._etl_row";
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		TypeCacheEntry *type;
		bool		in_key = false;
		ListCell   *cell;

		if (attr->attisdropped)
			continue;
		foreach(cell, key)
			in_key = in_key || strcmp(lfirst(cell), NameStr(attr->attname)) == 0;
		type = lookup_type_cache(getBaseType(attr->atttypid), TYPECACHE_CMP_PROC);
		if (in_key && OidIsValid(type->cmp_proc))
		{
			/* equal in the key need not be identical: 1.0 and 1.00 */
			if (type->type_id == INT4OID || type->type_id == INT8OID)
				continue;
			appendStringInfo(&sql, "%st.%s::pg_catalog.text COLLATE \"C\"", sql.len > 0 ? ", " : "",
							 quote_identifier(NameStr(attr->attname)));
			continue;
		}
		appendStringInfo(
			&sql, OidIsValid(type->cmp_proc) ? "%st.%s" : "%st.%s::pg_catalog.text COLLATE \"C\"",
			sql.len > 0 ? ", " : "", quote_identifier(NameStr(attr->attname)));
	}
	return sql.data;
}

/*
 * dedupe_query writes the SELECT DISTINCT ON; it treats nulls as equal.
 */
static char *
dedupe_query(TupleDesc desc, Oid relid, List *key, const char *order_by)
{
	char	   *columns = key_sql(key);
	char	   *ties = tie_break(desc, relid, key);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT DISTINCT ON (%s) %s FROM %s AS t ORDER BY %s", columns,
					 etl_rowset_columns(desc), etl_name_of_relation(relid), columns);
	if (order_by != NULL)
	{
		etl_orderby_validate("order_by", order_by);
		appendStringInfo(&sql, ", %s\n", order_by);
	}
	if (*ties)
		appendStringInfo(&sql, ", %s", ties);
	return sql.data;
}

/*
 * etl_sql_dedupe returns the first row of each key.
 */
Datum
etl_sql_dedupe(PG_FUNCTION_ARGS)
{
	Oid			relid = etl_rowset_relation(fcinfo, "dedupe");
	Relation	rel = relation_open(relid, AccessShareLock);
	char	   *order_by = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *sql = dedupe_query(RelationGetDescr(rel), relid, key_columns(fcinfo, 1, relid), order_by);

	etl_rowset_begin(fcinfo, RelationGetDescr(rel), "dedupe");
	relation_close(rel, AccessShareLock);
	etl_rowset_run(fcinfo, sql);
	PG_RETURN_NULL();
}

/* ---- duplicates ---- */

/*
 * duplicates_query counts the rows of each key.
 */
static char *
duplicates_query(Oid relid, List *key)
{
	char	   *columns = key_sql(key);
	StringInfoData object;
	ListCell   *cell;

	initStringInfo(&object);
	foreach(cell, key)
		appendStringInfo(&object, "%s%s, t.%s", object.len > 0 ? ", " : "",
						 quote_literal_cstr(lfirst(cell)), quote_identifier(pstrdup(lfirst(cell))));
	return psprintf("SELECT pg_catalog.jsonb_build_object(%s), pg_catalog.count(*) FROM %s AS t"
					" GROUP BY %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 ORDER BY 2 DESC, 1",
					object.data, etl_name_of_relation(relid), columns);
}

/*
 * etl_sql_duplicates lists the keys that are there more than once.
 */
Datum
etl_sql_duplicates(PG_FUNCTION_ARGS)
{
	char	   *target;
	Oid			relid;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	target = etl_name_canonical(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	relid = etl_name_relation(target);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s does not exist", target)));
	etl_rowset_run(fcinfo, duplicates_query(relid, key_columns(fcinfo, 1, relid)));
	PG_RETURN_NULL();
}
