/*-------------------------------------------------------------------------
 *
 * survivor.c
 *    Which of the rows that a unique check finds alike stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "quality/check.h"

/*
 * etl_check_new_rows is true of the rows that a load or replay brought,
 * which alone may be moved; NULL where all may.
 */
char *
etl_check_new_rows(EtlCheckSet *set, Oid relid, const char *alias)
{
	if (get_attnum(relid, "_etl_load_id") <= 0 || get_attnum(relid, "_etl_row") <= 0)
		return NULL;
	if (set->only_rows)
		return psprintf("((%s._etl_load_id, %s._etl_row) OPERATOR(pg_catalog.=) ANY"
						" (SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r))",
						alias, alias);
	if (set->load_id > 0)
		return psprintf("(%s._etl_load_id OPERATOR(pg_catalog.=) " INT64_FORMAT ")", alias, set->load_id);
	return NULL;
}

/*
 * add_column appends a column, if its type has an order.
 */
static void
add_column(StringInfo sql, Oid relid, const char *alias, const char *name)
{
	AttrNumber	attno = get_attnum(relid, name);

	if (attno > 0 && OidIsValid(lookup_type_cache(get_atttype(relid, attno), TYPECACHE_LT_OPR)->lt_opr))
		appendStringInfo(sql, "%s.%s, ", alias, quote_identifier(name));
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * column_names lists the columns of rows by name: tables that were made in
 * other ways have them in other orders.
 */
static List *
column_names(TupleDesc desc)
{
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	list_sort(names, compare_names);
	return names;
}

/*
 * add_model_order appends what tells rows of a model apart: its key or, without
 * one, the event time and all values.  Where a row happens to lie must not
 * decide, since that differs from build to build.
 */
static void
add_model_order(StringInfo sql, EtlCheckState *state, Oid relid, const char *alias)
{
	EtlModel   *model = etl_model_find(state->set->target);
	ListCell   *cell;

	if (model == NULL)
		return;
	foreach(cell, model->key)
		add_column(sql, relid, alias, lfirst(cell));
	if (model->key != NIL)
		return;
	if (model->event_time != NULL)
		add_column(sql, relid, alias, model->event_time);
	foreach(cell, column_names(state->set->desc))
		add_column(sql, relid, alias, lfirst(cell));
}

/*
 * etl_check_survivor_order is the ORDER BY that decides which row of a key stays: what
 * was there before the load, then order_by, then the first landed or, of a
 * model, the smallest key or values; 'place' decides what these leave open.
 */
char *
etl_check_survivor_order(EtlCheckState *state, Oid relid, const char *alias, const char *place)
{
	char	   *order_by = etl_json_get_text(state->def->options, "order_by");
	bool		landed = get_attnum(relid, "_etl_load_id") > 0 && get_attnum(relid, "_etl_row") > 0;
	char	   *new_rows = etl_check_new_rows(state->set, relid, alias);
	StringInfoData sql;

	initStringInfo(&sql);
	if (new_rows != NULL)
		appendStringInfo(&sql, "%s, ", new_rows);
	if (order_by != NULL)
	{
		etl_orderby_validate("order_by", order_by);
		appendStringInfo(&sql, "%s\n, ", order_by);
	}
	if (landed)
		appendStringInfo(&sql, "%s._etl_load_id, %s._etl_row, ", alias, alias);
	else
		add_model_order(&sql, state, relid, alias);
	if (get_rel_relkind(relid) == RELKIND_VIEW)
		sql.len -= sql.len > 0 ? 2 : 0;
	else
		appendStringInfoString(&sql, place);
	sql.data[sql.len] = '\0';
	return sql.data;
}
