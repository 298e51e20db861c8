/*-------------------------------------------------------------------------
 *
 * place.c
 *    The SQL of a relation that is read for the affected keys only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "utils/typcache.h"

#include "common/names.h"
#include "model/internal.h"

/*
 * may_join tells whether a place may be joined to the affected keys instead
 * of being asked for each of its rows whether its key is one: then a key that
 * is there once must meet a row once.
 */
static bool
may_join(const EtlDelta *delta, const EtlDeltaLeaf *place)
{
	ListCell   *keyno;
	ListCell   *key;

	if (delta->slicing != NULL)
		return false;
	forboth(keyno, place->keynos, key, place->keys)
		if (exprCollation(lfirst(key)) !=
			((EtlDeltaKey *) list_nth(delta->keys, lfirst_int(keyno)))->collation)
			return false;
	return true;
}

/*
 * values_of renders expressions over a place.
 */
static List *
values_of(const EtlDeltaLeaf *place, List *exprs)
{
	List	   *values = NIL;
	ListCell   *cell;

	foreach(cell, exprs)
		values = lappend(values, etl_expression_deparse(lfirst(cell), place->rte->relid, "t"));
	return values;
}

/*
 * conditions_on renders, to stand before others, the conditions without which
 * expressions over a place may not be computable from a row.
 */
static char *
conditions_on(const EtlDeltaLeaf *place, List *exprs)
{
	StringInfoData sql;
	bool		computed = false;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, exprs)
		computed |= !IsA(lfirst(cell), Var);
	foreach(cell, computed ? values_of(place, place->conditions) : NIL)
		appendStringInfo(&sql, "%s AND ", (char *) lfirst(cell));
	return sql.data;
}

/*
 * by_keys renders a place's rows with an affected key; 'select' asks for all
 * its rows, 'exprs' are what it makes of them.  Joined to the keys, the planner
 * knows how many they are.
 */
static char *
by_keys(const EtlDelta *delta, const EtlDeltaLeaf *place, const char *select, List *exprs, bool null_keys)
{
	List	   *values = values_of(place, place->keys);
	char	   *met = conditions_on(place, list_concat_copy(place->keys, exprs));
	char	   *restricted;

	/* rows with a NULL in any key column are all computed anew: none may be left out */
	if (null_keys && list_length(place->keys) < list_length(delta->keys))
		return NULL;
	if (may_join(delta, place))
		restricted = psprintf("%s JOIN %s a ON %s%s", select,
							  list_length(place->keynos) == list_length(delta->keys) ?
								  "etl_affected" :
								  etl_affected_keys(delta, place->keynos),
							  met, etl_affected_equals(delta, place->keynos, values));
	else
		restricted = psprintf("%s WHERE %s(%s)", select, met, etl_is_affected(delta, place->keynos, values));
	/* two disjoint scans can be hashed where one with an OR could not */
	return null_keys ? psprintf("%s UNION ALL %s WHERE %s(%s)", restricted, select, met,
								etl_any_null(values)) :
					   restricted;
}

static char *by_reach(const EtlDelta *delta, const EtlDeltaLeaf *place, const char *select, List *exprs,
					  bool null_keys);

/*
 * source_sql renders the values of a reach in one of its sources.
 */
static char *
source_sql(const EtlDelta *delta, const EtlDeltaLeaf *source, List *exprs, List *keynos, bool null_keys)
{
	List	   *values = values_of(source, exprs);
	StringInfoData select;
	ListCell   *cell;

	initStringInfo(&select);
	foreach(cell, keynos)
		appendStringInfo(&select, "%s%s AS k%d", select.len ? ", " : "",
						 (char *) list_nth(values, lfirst_int(cell)), lfirst_int(cell) + 1);
	return (source->reach ? by_reach : by_keys)(delta, source,
												psprintf("SELECT %s FROM %s%s t", select.data,
														 source->rte->inh ? "" : "ONLY ",
														 etl_quoted_relation(source->rte->relid)),
												exprs, null_keys);
}

/*
 * reach_sql renders some values of a reach, each once.  They come sorted where
 * they can be, as the affected keys do.
 */
static char *
reach_sql(const EtlDelta *delta, const EtlDeltaReach *reach, List *keynos, bool null_keys)
{
	StringInfoData names;
	StringInfoData rows;
	bool		sorts = true;
	ListCell   *source;
	ListCell   *exprs;
	ListCell   *cell;

	initStringInfo(&names);
	initStringInfo(&rows);
	foreach(cell, keynos)
	{
		Oid			type = exprType(list_nth(linitial(reach->values), lfirst_int(cell)));

		sorts &= OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr);
		appendStringInfo(&names, "%sk%d", names.len ? ", " : "", lfirst_int(cell) + 1);
	}
	forboth(source, reach->sources, exprs, reach->values)
	{
		char	   *sql = source_sql(delta, lfirst(source), lfirst(exprs), keynos, null_keys);

		if (sql == NULL)
			return NULL;
		appendStringInfo(&rows, "%s(%s)", rows.len ? " UNION ALL " : "", sql);
	}
	return psprintf("SELECT DISTINCT %s FROM (%s) r%s%s", names.data, rows.data,
					sorts ? " ORDER BY " : "", sorts ? names.data : "");
}

/*
 * by_reach renders a place's rows that have a value of its reach.
 */
static char *
by_reach(const EtlDelta *delta, const EtlDeltaLeaf *place, const char *select, List *exprs, bool null_keys)
{
	char	   *reach = reach_sql(delta, place->reach, place->keynos, null_keys);
	List	   *values = values_of(place, place->keys);
	char	   *met = conditions_on(place, list_concat_copy(place->keys, exprs));
	List	   *names = NIL;
	StringInfoData equals;
	ListCell   *keyno;
	ListCell   *value;

	if (reach == NULL)
		return NULL;
	initStringInfo(&equals);
	forboth(keyno, place->keynos, value, values)
	{
		char	   *name = psprintf("a.k%d", lfirst_int(keyno) + 1);

		names = lappend(names, name);
		appendStringInfo(&equals, "%s%s", equals.len ? " AND " : "",
						 etl_sql_equals(exprType(list_nth(linitial(place->reach->values), lfirst_int(keyno))),
										name, lfirst(value)));
	}
	if (!place->reach->with_nulls)
		return psprintf("%s JOIN (%s) a ON %s%s", select, reach, met, equals.data);
	return psprintf("WITH etl_reach AS MATERIALIZED (%s) %s JOIN etl_reach a ON %s%s"
					" UNION ALL %s WHERE %s(%s) AND EXISTS (SELECT FROM etl_reach a WHERE %s)",
					reach, select, met, equals.data, select, met, etl_any_null(values), etl_any_null(names));
}

char *
etl_place_sql(const EtlDelta *delta, const EtlDeltaLeaf *place, const char *select, bool null_keys)
{
	ListCell   *cell;

	foreach(cell, delta->reached)
	{
		EtlDeltaLeaf *reached = lfirst(cell);
		char	   *sql = reached->rte == place->rte ? by_reach(delta, reached, select, NIL, null_keys) : NULL;

		if (sql != NULL)
			return sql;
	}
	return place->reach ? NULL : by_keys(delta, place, select, NIL, null_keys);
}
