/*-------------------------------------------------------------------------
 *
 * merge.c
 *    The staged rows of a load into the current state of a merge stream.
 *
 * Per key the record greatest in (event_time, load, position) stays.  One
 * statement compares the staged rows with the relation and writes only the
 * difference: a row whose columns are the same byte for byte keeps its xmin
 * and its ctid.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "load/landing.h"

/*
 * qualified_operator renders OPERATOR(schema.name), whatever the search path.
 */
static char *
qualified_operator(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * column_operator finds the default equality (or greater-than) operator of a
 * column's type.
 */
static char *
column_operator(EtlLanding *landing, const char *column, bool greater)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(landing->rel), column);
	Oid			type;
	TypeCacheEntry *entry;
	Oid			operator;

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("column \"%s\" of stream \"%s\" is neither declared nor in the data", column,
						landing->stream->target)));
	type = get_atttype(RelationGetRelid(landing->rel), attnum);
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_GT_OPR);
	operator= greater ? entry->gt_opr : entry->eq_opr;
	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("column \"%s\" of type %s cannot be compared", column, format_type_be(type)),
				 errhint("Choose another key or event_time.")));
	return qualified_operator(operator);
}

/*
 * column_lists renders the columns that a statement writes: bare, prefixed
 * by n. and t. without etl's own, and as assignments.
 */
static void
column_lists(EtlLanding *landing, StringInfo bare, StringInfo new, StringInfo current, StringInfo set)
{
	TupleDesc	desc = RelationGetDescr(landing->rel);

	initStringInfo(bare);
	initStringInfo(new);
	initStringInfo(current);
	initStringInfo(set);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = quote_identifier(NameStr(att->attname));

		if (att->attisdropped || att->attgenerated)
			continue;
		appendStringInfo(bare, "%s%s", bare->len ? ", " : "", name);
		appendStringInfo(set, "%s%s = s.%s", set->len ? ", " : "", name, name);
		if (att->attnum == landing->load_id_attnum || att->attnum == landing->row_attnum)
			continue;
		appendStringInfo(new, "%sn.%s", new->len ? ", " : "", name);
		appendStringInfo(current, "%st.%s", current->len ? ", " : "", name);
	}
}

/*
 * older_condition is true where the relation's record is the newer one.
 */
static char *
older_condition(EtlLanding *landing)
{
	const char *event_time = landing->stream->event_time;
	const char *order = "coalesce((t._etl_load_id, t._etl_row) OPERATOR(pg_catalog.>)"
						" (n._etl_load_id, n._etl_row), false)";
	const char *e;

	if (event_time == NULL)
		return landing->replay ? "true" : pstrdup(order);
	e = quote_identifier(event_time);
	return psprintf("CASE WHEN (t.%s IS NULL AND n.%s IS NULL) OR t.%s %s n.%s THEN %s"
					" WHEN n.%s IS NULL THEN true WHEN t.%s IS NULL THEN false"
					" ELSE t.%s %s n.%s END",
					e, e, e, column_operator(landing, event_time, false), e, order, e, e, e,
					column_operator(landing, event_time, true), e);
}

/*
 * merge_sql writes the statement: newest staged record per key, compared
 * with the relation, the difference applied, counted by what became of it.
 */
static char *
merge_sql(EtlLanding *landing)
{
	const EtlStream *stream = landing->stream;
	StringInfoData bare,
		new,
		current,
		set,
		keys,
		join,
		sql;
	ListCell   *cell;

	column_lists(landing, &bare, &new, &current, &set);
	initStringInfo(&keys);
	initStringInfo(&join);
	foreach(cell, stream->key)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(&keys, "%s%s", keys.len ? ", " : "", name);
		appendStringInfo(&join, "%st.%s %s n.%s", join.len ? " AND " : "", name,
						 column_operator(landing, lfirst(cell), false), name);
	}

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH newest AS MATERIALIZED (SELECT DISTINCT ON (%s) * FROM etl_staged ORDER BY %s",
					 keys.data, keys.data);
	if (stream->event_time != NULL)
		appendStringInfo(&sql, ", %s DESC NULLS LAST", quote_identifier(stream->event_time));
	appendStringInfo(
		&sql,
		", _etl_load_id DESC, _etl_row DESC),"
		" compared AS MATERIALIZED (SELECT n.*, t.ctid AS \"etl tid\","
		" CASE WHEN t.ctid IS NULL THEN 'i' WHEN %s THEN 'o'"
		" WHEN pg_catalog.record_image_eq(ROW(%s), ROW(%s)) THEN 'u' ELSE 'c' END AS \"etl op\""
		" FROM newest n LEFT JOIN %s t ON %s),"
		" changed AS (UPDATE %s t SET %s FROM compared s"
		" WHERE s.\"etl op\" OPERATOR(pg_catalog.=) 'c' AND t.ctid OPERATOR(pg_catalog.=) s.\"etl "
		"tid\""
		" RETURNING 1),"
		" added AS (INSERT INTO %s (%s) SELECT %s FROM compared"
		" WHERE \"etl op\" OPERATOR(pg_catalog.=) 'i' RETURNING 1)"
		" SELECT (SELECT pg_catalog.count(*) FROM added), (SELECT pg_catalog.count(*) FROM "
		"changed),"
		" pg_catalog.count(*) FILTER (WHERE \"etl op\" OPERATOR(pg_catalog.=) 'u'),"
		" pg_catalog.count(*) FILTER (WHERE \"etl op\" OPERATOR(pg_catalog.=) 'o'),"
		" pg_catalog.count(*) FROM compared",
		older_condition(landing), new.data, current.data, stream->target, join.data, stream->target,
		set.data, stream->target, bare.data, bare.data);
	return sql.data;
}

/*
 * etl_merge_apply brings the staged rows into the relation and counts them
 * as loaded, updated, unchanged or deduplicated.
 */
void
etl_merge_apply(EtlLanding *landing, Tuplestorestate *staged)
{
	EtlLoad    *load = landing->load;
	int64		n = tuplestore_tuple_count(staged);
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	char	   *sql;
	int64		count[5];

	if (n == 0)
		return;
	sql = merge_sql(landing);
	enr->md.name = "etl_staged";
	enr->md.reliddesc = RelationGetRelid(landing->rel);
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = n;
	enr->reldata = staged;

	SPI_connect();
	SPI_register_relation(enr);
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "unexpected result of: %s", sql);
	for (int i = 0; i < 5; i++)
	{
		bool		isnull;

		count[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1,
											   &isnull));
	}
	SPI_finish();

	/* a trigger that suppresses a row would otherwise break the accounting */
	if (count[0] + count[1] + count[2] + count[3] != count[4])
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger or rule of \"%s\" kept rows of a merge from being written",
						landing->stream->target),
				 errhint("Drop it: what a merge stream holds is decided by its key and order.")));
	load->rows_loaded += count[0];
	load->rows_updated += count[1];
	load->rows_unchanged += count[2];
	load->rows_deduplicated += count[3] + (n - count[4]);
	if (landing->replay != NULL)
		landing->replay->superseded = count[3] > 0;
}
