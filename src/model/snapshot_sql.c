/*-------------------------------------------------------------------------
 *
 * snapshot_sql.c
 *    The queries that merge rows into the versions of a snapshot.
 *
 * Each yields the rows of a difference: the operation (I, U), the table and
 * the ctid of the version it changes, the columns, valid_from, valid_to,
 * is_current and, where the table has it, is_deleted.  Of a version a query
 * yields one row at most.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "common/parse.h"
#include "model/snapshot.h"

/*
 * column_of returns a column of the query.
 */
static Form_pg_attribute
column_of(const EtlMerge *merge, const char *name)
{
	for (int i = 0; i < merge->desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(merge->desc, i)->attname), name) == 0)
			return TupleDescAttr(merge->desc, i);
	elog(ERROR, "the query has no column \"%s\"", name);
	return NULL;
}

/*
 * numbered renames columns: "s.a AS s1, s.b AS s2".
 */
static char *
numbered(List *columns, const char *alias)
{
	StringInfoData text;
	int			n = 0;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, columns)
	{
		n++;
		appendStringInfo(&text, "%s%s.%s AS %s%d", n > 1 ? ", " : "", alias,
						 quote_identifier(lfirst(cell)), alias, n);
	}
	return text.data;
}

/*
 * numbers lists what numbered has named.
 */
static char *
numbers(const EtlMerge *merge, List *columns, const char *alias)
{
	StringInfoData text;
	ListCell   *cell;
	ListCell   *all;

	initStringInfo(&text);
	foreach(cell, columns)
	{
		int			n = 0;

		foreach(all, merge->columns)
		{
			n++;
			if (strcmp(lfirst(all), lfirst(cell)) == 0)
				appendStringInfo(&text, "%s%s%d", text.len ? ", " : "", alias, n);
		}
	}
	return text.data;
}

/*
 * same_key renders that two rows have one key.  Both offer etl_key, a record
 * in which NULLs are equal; without NULLs an index on the columns serves.
 */
static char *
same_key(const EtlMerge *merge, const char *a, const char *b)
{
	StringInfoData sql;
	ListCell   *cell;

	if (!merge->by_columns)
		return psprintf("%s.etl_key OPERATOR(pg_catalog.=) %s.etl_key", a, b);
	initStringInfo(&sql);
	foreach(cell, merge->model->key)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(&sql, "%s%s", sql.len ? " AND " : "",
						 etl_sql_equals(column_of(merge, lfirst(cell))->atttypid,
										psprintf("%s.%s", a, name), psprintf("%s.%s", b, name)));
	}
	return sql.data;
}

/*
 * of_key renders a subquery over the versions n of the key of row s, such
 * that an index finds them also when the key has NULLs.
 */
static char *
of_key(const EtlMerge *merge, const char *what, const char *where)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT %s FROM %s n WHERE %s", what, merge->table, where);
	foreach(cell, merge->model->key)
	{
		const char *name = quote_identifier(lfirst(cell));
		char	   *equals = etl_sql_equals(column_of(merge, lfirst(cell))->atttypid,
									  psprintf("n.%s", name), psprintf("s.%s", name));

		appendStringInfo(&sql, merge->by_columns ? " AND %s" : " AND (%s OR (n.%s IS NULL AND s.%s IS NULL))",
						 equals, name, name);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/*
 * with_equality lists those of the columns whose type has an equality, or
 * those whose type has none.
 */
static List *
with_equality(const EtlMerge *merge, List *columns, bool has)
{
	List	   *chosen = NIL;
	ListCell   *cell;

	foreach(cell, columns)
	{
		TypeCacheEntry *type = lookup_type_cache(column_of(merge, lfirst(cell))->atttypid, TYPECACHE_EQ_OPR);

		if (OidIsValid(type->eq_opr) == has)
			chosen = lappend(chosen, lfirst(cell));
	}
	return chosen;
}

/*
 * differs renders that s differs in columns from 'other', a format for the
 * record to compare with; NULLs are equal.  The types' own equality decides
 * where they have one.
 */
static char *
differs(const EtlMerge *merge, List *columns, const char *alias, const char *other)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int has = 0; has <= 1; has++)
	{
		List	   *these = with_equality(merge, columns, has);

		if (these == NIL)
			continue;
		appendStringInfo(&sql, "%sROW(%s)::pg_catalog.record OPERATOR(pg_catalog.%s) ", sql.len ? " OR " : "",
						 numbers(merge, these, "s"), has ? "<>" : "*<>");
		appendStringInfo(&sql, other, psprintf("ROW(%s)::pg_catalog.record", numbers(merge, these, alias)));
	}
	return sql.len ? psprintf("(%s)", sql.data) : "false";
}

/*
 * chosen renders the select list of a difference: column by column s's value
 * or, where 'keep' holds, c's; NULL: always s's.
 */
static char *
chosen(const EtlMerge *merge, const char *keep)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 1; i <= list_length(merge->columns); i++)
		if (keep != NULL)
			appendStringInfo(&sql, "CASE WHEN %s THEN c%d ELSE s%d END, ", keep, i, i);
		else
			appendStringInfo(&sql, "s%d, ", i);
	return sql.data;
}

/*
 * after renders the moment of the build, or one right after 'moment' when
 * that is not later.
 */
static char *
after(const EtlMerge *merge, const char *moment, bool strictly)
{
	return psprintf("GREATEST(%s, %s%s)", merge->now, moment,
					strictly ? " OPERATOR(pg_catalog.+) '1 microsecond'::pg_catalog.interval" : "");
}

/*
 * deleted renders the last column of a difference where there is one.
 */
static char *
deleted(const EtlMerge *merge, const char *value)
{
	return merge->marked ? psprintf(", %s", value) : "";
}

/* ---- strategy timestamp ---- */

/*
 * etl_snapshot_observed renders the merge of rows that tell their moment.  j: each row
 * with the version that holds at its moment, if it is news; w: with what
 * comes next.  A row makes a new version (I), unless it corrects one, and
 * the first row within a version shortens or corrects that (U).
 */
char *
etl_snapshot_observed(const EtlMerge *merge)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		"WITH etl_j AS (SELECT %s, %s, s.etl_at, c.etl_ctid, c.etl_table, c.valid_from AS etl_from,"
		" %s AS etl_gone, CASE WHEN c.etl_ctid IS NOT NULL THEN c.valid_to ELSE %s END AS etl_until"
		" FROM %s s LEFT JOIN %s c ON %s AND c.valid_from OPERATOR(pg_catalog.<=) s.etl_at"
		" AND (c.valid_to IS NULL OR s.etl_at OPERATOR(pg_catalog.<) c.valid_to)"
		" WHERE c.etl_ctid IS NULL OR c.valid_from OPERATOR(pg_catalog.<) s.etl_at"
		" OR (%sROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record)), ",
		numbered(merge->columns, "s"), numbered(merge->columns, "c"),
		merge->marked ? "c.is_deleted" : "false",
		merge->empty ? "NULL::pg_catalog.timestamptz" :
					   of_key(merge, "pg_catalog.min(n.valid_from)",
							  "n.valid_from OPERATOR(pg_catalog.>) s.etl_at"),
		merge->staged, merge->current, same_key(merge, "s", "c"),
		merge->marked ? "c.is_deleted IS NOT TRUE AND " : "",
		etl_diff_column_list(merge->columns, "s."), etl_diff_column_list(merge->columns, "c."));
	appendStringInfo(
		&sql,
		"etl_w AS (SELECT *, pg_catalog.lead(etl_at) OVER w AS etl_next, etl_ctid IS NOT NULL AND"
		" (pg_catalog.lag(etl_from) OVER w OPERATOR(pg_catalog.=) etl_from) IS NOT TRUE AS "
		"etl_first,"
		" (etl_from OPERATOR(pg_catalog.<) etl_at) IS NOT FALSE AS etl_new"
		" FROM etl_j WINDOW w AS (PARTITION BY %s ORDER BY etl_at))",
		numbers(merge, merge->model->key, "s"));
	appendStringInfo(
		&sql,
		" SELECT CASE WHEN o.u THEN 'U' ELSE 'I' END::\"char\", etl_table, etl_ctid, %s"
		"CASE WHEN o.u THEN etl_from ELSE etl_at END, v.valid_to, v.valid_to IS NULL%s"
		" FROM etl_w CROSS JOIN (VALUES (true), (false)) o(u) CROSS JOIN LATERAL"
		" (SELECT CASE WHEN o.u AND etl_new THEN etl_at ELSE LEAST(etl_next, etl_until) END) "
		"v(valid_to)"
		" WHERE CASE WHEN o.u THEN etl_first ELSE etl_new END",
		chosen(merge, "o.u AND etl_new"), deleted(merge, "o.u AND etl_new AND etl_gone"));
	return sql.data;
}

/*
 * etl_snapshot_returned renders what becomes of keys that are there again, with a moment
 * before their deletion: a version from now on.  And such a version, which
 * began later than its row says, follows the corrections of its row.
 */
char *
etl_snapshot_returned(const EtlMerge *merge)
{
	char	   *key = etl_diff_column_list(merge->model->key, "s.");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		" UNION ALL SELECT v.op::\"char\", v.etl_table, v.etl_ctid, %sv.valid_from, v.valid_to,"
		" v.valid_to IS NULL%s FROM (SELECT %s, %s, s.etl_at, c.etl_table, c.etl_ctid, "
		"c.valid_from,"
		" %s AS live, c.%s::pg_catalog.timestamptz AS event_at,"
		" CASE WHEN c.etl_ctid IS NULL THEN %s END AS gone"
		" FROM (SELECT DISTINCT ON (%s) * FROM %s s ORDER BY %s, s.etl_at DESC) s"
		" LEFT JOIN %s c ON c.is_current AND %s) x",
		chosen(merge, "v.keep"), deleted(merge, "v.keep"), numbered(merge->columns, "s"),
		numbered(merge->columns, "c"), merge->marked ? "c.is_deleted IS NOT TRUE" : "true",
		quote_identifier(merge->model->event_time),
		of_key(merge, "pg_catalog.max(n.valid_to)", "true"), key, merge->staged, key,
		merge->current, same_key(merge, "s", "c"));
	appendStringInfo(
		&sql,
		" CROSS JOIN LATERAL (SELECT 'I', NULL::pg_catalog.oid, NULL::pg_catalog.tid, %s,"
		" NULL::pg_catalog.timestamptz, false WHERE etl_ctid IS NULL AND etl_at "
		"OPERATOR(pg_catalog.<) gone"
		" UNION ALL SELECT CASE WHEN m.u THEN 'U' ELSE 'I' END, etl_table, etl_ctid,"
		" CASE WHEN m.u THEN x.valid_from ELSE %s END, CASE WHEN m.u THEN %s END, m.u"
		" FROM (VALUES (true), (false)) m(u) WHERE etl_ctid IS NOT NULL AND NOT live"
		" AND etl_at OPERATOR(pg_catalog.<=) x.valid_from"
		" UNION ALL SELECT 'U', etl_table, etl_ctid, x.valid_from, NULL, false WHERE etl_ctid IS "
		"NOT NULL"
		" AND live AND event_at OPERATOR(pg_catalog.<) x.valid_from"
		" AND etl_at OPERATOR(pg_catalog.>=) event_at AND etl_at OPERATOR(pg_catalog.<) "
		"x.valid_from"
		" AND ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record"
		") v(op, etl_table, etl_ctid, valid_from, valid_to, keep)",
		after(merge, "gone", false), after(merge, "x.valid_from", true),
		after(merge, "x.valid_from", true), numbers(merge, merge->columns, "s"),
		numbers(merge, merge->columns, "c"));
	return sql.data;
}

/* ---- strategy check ---- */

/*
 * judged_columns lists the columns whose change makes a version, without
 * those that were not there when the versions were made.
 */
static List *
judged_columns(const EtlMerge *merge, List *added)
{
	const EtlModel *model = merge->model;
	List	   *wanted = etl_json_get_list(model->options, "check_columns");
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, merge->columns)
	{
		char	   *name = lfirst(cell);
		bool		is_moment = model->event_time != NULL && strcmp(name, model->event_time) == 0;

		if (!etl_name_among(added, name) && (wanted == NIL ? !is_moment : etl_name_among(wanted, name)))
			columns = lappend(columns, name);
	}
	return columns;
}

/*
 * compare_rows renders e: each row with the current version of its key and
 * the moment that a version of it would begin at, without rows older than
 * that version; and k: whether it differs from what was before it.
 */
static char *
compare_rows(const EtlMerge *merge, List *judged)
{
	char	   *key = numbers(merge, merge->model->key, "s");
	char	   *against = differs(merge, judged, "c", "%s");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		"WITH etl_j AS (SELECT %s, %s, s.etl_at, c.etl_ctid, c.etl_table, c.valid_from AS etl_from,"
		" c.etl_ctid IS NOT NULL%s AS etl_live,"
		" CASE WHEN c.etl_ctid IS NOT NULL THEN c.valid_from ELSE %s END AS etl_base, %s AS "
		"etl_last"
		" FROM %s s LEFT JOIN %s c ON c.is_current AND %s), ",
		numbered(merge->columns, "s"), numbered(merge->columns, "c"),
		merge->marked ? " AND c.is_deleted IS NOT TRUE" : "",
		merge->empty ? "NULL::pg_catalog.timestamptz" :
					   of_key(merge, "pg_catalog.max(n.valid_to)", "true"),
		merge->history ?
			psprintf("pg_catalog.lead(true) OVER (PARTITION BY %s ORDER BY s.etl_at) IS NULL",
					 etl_diff_column_list(merge->model->key, "s.")) :
			"true",
		merge->staged, merge->current, same_key(merge, "s", "c"));
	appendStringInfo(
		&sql,
		"etl_e AS (SELECT *, CASE WHEN etl_base IS NULL OR etl_at OPERATOR(pg_catalog.>) etl_base"
		" THEN etl_at ELSE %s END AS etl_begin FROM etl_j"
		" WHERE etl_last OR etl_base IS NULL OR etl_at OPERATOR(pg_catalog.>) etl_base), ",
		after(merge, "etl_base", true));
	if (merge->history)
		appendStringInfo(
			&sql,
			"etl_k AS (SELECT *, CASE WHEN pg_catalog.lag(true) OVER w THEN %s ELSE NOT etl_live "
			"OR %s END"
			" AS etl_changed FROM etl_e WINDOW w AS (PARTITION BY %s ORDER BY etl_begin)), ",
			differs(merge, judged, "s", "pg_catalog.lag(%s) OVER w"), against, key);
	else
		appendStringInfo(
			&sql, "etl_k AS (SELECT *, NOT etl_live OR %s AS etl_changed FROM etl_e), ", against);
	return sql.data;
}

/*
 * filled renders the rows of current versions that only get the values of
 * columns that came.
 */
static char *
filled(const EtlMerge *merge, List *added)
{
	StringInfoData sql;
	int			n = 0;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, " UNION ALL SELECT 'U'::\"char\", etl_table, etl_ctid, ");
	foreach(cell, merge->columns)
		appendStringInfo(&sql, "%s%d, ", etl_name_among(added, lfirst(cell)) ? "s" : "c", ++n);
	appendStringInfo(
		&sql,
		"etl_from, NULL, true%s FROM etl_k k WHERE etl_live AND etl_last AND NOT EXISTS (SELECT "
		"FROM"
		" etl_v v WHERE v.etl_ctid OPERATOR(pg_catalog.=) k.etl_ctid"
		" AND v.etl_table OPERATOR(pg_catalog.=) k.etl_table)"
		" AND ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record",
		deleted(merge, "false"), numbers(merge, added, "s"), numbers(merge, added, "c"));
	return sql.data;
}

/*
 * etl_snapshot_compared renders the merge of rows whose columns tell that they changed:
 * the current version ends (U) with the first, each begins one (I).
 */
char *
etl_snapshot_compared(const EtlMerge *merge, List *added)
{
	List	   *here = NIL;
	char	   *key = numbers(merge, merge->model->key, "s");
	StringInfoData sql;
	ListCell   *cell;

	foreach(cell, added)
		if (etl_name_among(merge->columns, lfirst(cell)))
			here = lappend(here, lfirst(cell));
	initStringInfo(&sql);
	appendStringInfoString(&sql, compare_rows(merge, judged_columns(merge, here)));
	if (merge->history)
		appendStringInfo(&sql,
						 "etl_v AS (SELECT *, pg_catalog.lead(etl_begin) OVER w AS etl_next,"
						 " pg_catalog.lag(true) OVER w IS NULL AS etl_first FROM etl_k WHERE etl_changed"
						 " WINDOW w AS (PARTITION BY %s ORDER BY etl_begin))", key);
	else
		appendStringInfoString(
			&sql, "etl_v AS (SELECT *, NULL::pg_catalog.timestamptz AS etl_next, true AS etl_first"
				  " FROM etl_k WHERE etl_changed)");
	appendStringInfo(
		&sql,
		" SELECT CASE WHEN o.u THEN 'U' ELSE 'I' END::\"char\", etl_table, etl_ctid, %s"
		"CASE WHEN o.u THEN etl_from ELSE etl_begin END, CASE WHEN o.u THEN etl_begin ELSE "
		"etl_next END,"
		" NOT o.u AND etl_next IS NULL%s FROM etl_v CROSS JOIN (VALUES (true), (false)) o(u)"
		" WHERE NOT o.u OR (etl_first AND etl_ctid IS NOT NULL)",
		chosen(merge, "o.u"), deleted(merge, "o.u AND NOT etl_live"));
	if (here != NIL && !merge->empty)
		appendStringInfoString(&sql, filled(merge, here));
	return sql.data;
}

/* ---- keys that are gone ---- */

/*
 * etl_snapshot_vanished renders what becomes of current versions whose key the query does
 * not yield any more: they end, and with new_record a marker follows.
 */
char *
etl_snapshot_vanished(const EtlMerge *merge, const char *scope, bool quarantined)
{
	bool		mark = etl_snapshot_marks(merge->model);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 " UNION ALL SELECT CASE WHEN o.u THEN 'U' ELSE 'I' END::\"char\", "
					 "c.etl_table, c.etl_ctid, %s,"
					 " CASE WHEN o.u THEN c.valid_from ELSE %s END, CASE WHEN o.u THEN %s END, NOT "
					 "o.u%s FROM %s c"
					 " CROSS JOIN (VALUES (true)%s) o(u) WHERE c.is_current%s AND (%s)"
					 " AND NOT EXISTS (SELECT FROM %s s WHERE %s)%s",
					 etl_diff_column_list(merge->columns, "c."), after(merge, "c.valid_from", true),
					 after(merge, "c.valid_from", true), deleted(merge, "NOT o.u"), merge->current,
					 mark ? ", (false)" : "", merge->marked ? " AND c.is_deleted IS NOT TRUE" : "",
					 scope, merge->staged, same_key(merge, "s", "c"),
					 quarantined ?
						 psprintf(" AND NOT EXISTS (SELECT FROM etl_quarantined q WHERE"
								  " ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.=) c.etl_key)",
								  etl_diff_column_list(merge->model->key, "q.")) :
						 "");
	return sql.data;
}
