/*-------------------------------------------------------------------------
 *
 * lost.c
 *    Rows that a unique check put aside, and what lets them in again.
 *
 * A row that was put aside lost to another one, which is in the table.  It can
 * come in only when that one changes or goes, so it is a candidate when its
 * value is among those of the rows that do.  The first row of a value stays
 * the first whatever comes or goes beside it.
 *
 * With several such checks a row may have lost to one that another check put
 * aside later, and who lost to whom makes chains: then all rows that they put
 * aside are candidates.
 *
 * A model that recomputes keys recomputes those of the candidates.  Where it
 * does not, since it builds by intervals, only appends, or retention has taken
 * what a key was made of, the table and the open rejects together are all
 * rows of the query: candidates are read back from their rejects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

#include "catalog/consumption.h"
#include "model/lost.h"

/* rejects that are read at once */
#define BATCH 1000

List *
etl_lost_checks(EtlCheckSet *checks, Oid relid)
{
	List	   *comparing = NIL;
	ListCell   *cell;
	ListCell   *column;

	foreach(cell, etl_checks_moving(checks))
	{
		bool		compares = true;

		foreach(column, ((EtlCheck *) lfirst(cell))->columns)
		{
			AttrNumber	attno = get_attnum(relid, lfirst(column));

			compares &= attno > 0 && etl_sql_equals(get_atttype(relid, attno), "", "") != NULL;
		}
		if (compares)
			comparing = lappend(comparing, lfirst(cell));
	}
	return comparing;
}

/* ---- what was put aside ---- */

/*
 * lost_desc describes the rows of etl_lost.
 */
static TupleDesc
lost_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(4);

	TupleDescInitEntry(desc, 1, "n", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "reject_id", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 3, "check_name", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, 3, DEFAULT_COLLATION_OID);
	TupleDescInitEntry(desc, 4, "lost", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, 4, DEFAULT_COLLATION_OID);
	return desc;
}

/*
 * etl_lost_read reads what checks put aside, and is open yet; NULL: nothing.
 */
Tuplestorestate *
etl_lost_read(const EtlModel *model, List *checks)
{
	TupleDesc	desc = lost_desc();
	Tuplestorestate *lost = tuplestore_begin_heap(true, false, work_mem);
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "etl lost rows", ALLOCSET_DEFAULT_SIZES);
	List	   *names = NIL;
	List	   *batch;
	int64		after = 0;
	int64		n = 0;
	ListCell   *cell;

	foreach(cell, checks)
		names = lappend(names, ((EtlCheck *) lfirst(cell))->name);
	do
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		batch = etl_rejects_of_checks(model->target, names, after, BATCH);
		foreach(cell, batch)
		{
			EtlLostRow *row = lfirst(cell);
			Datum		values[] = {Int64GetDatum(++n), Int64GetDatum(row->reject_id),
							  CStringGetTextDatum(row->check), CStringGetTextDatum(row->record)};
			bool		nulls[4] = {0};

			tuplestore_putvalues(lost, desc, values, nulls);
			after = row->reject_id;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	} while (batch != NIL);
	MemoryContextDelete(context);
	if (tuplestore_tuple_count(lost) > 0)
		return lost;
	tuplestore_end(lost);
	return NULL;
}

/*
 * etl_lost_to_environment makes them visible to SQL, as etl_lost.
 */
void
etl_lost_to_environment(QueryEnvironment *environment, Tuplestorestate *lost)
{
	tuplestore_rescan(lost);
	etl_environment_add(environment, "etl_lost", lost_desc(), lost, tuplestore_tuple_count(lost));
}

/*
 * add_definition adds a column to those of a row of JSON.
 */
static void
add_definition(StringInfo definitions, const char *name, Oid type, int32 typmod, Oid collation)
{
	appendStringInfo(
		definitions, "%s%s %s%s", definitions->len ? ", " : "", quote_identifier(name),
		format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
		OidIsValid(collation) ? psprintf(" COLLATE %s", generate_collation_name(collation)) : "");
}

/*
 * add_table_definitions adds columns as they are in the table, but those of
 * the names 'there'.
 */
static void
add_table_definitions(StringInfo definitions, Oid relid, List *columns, List *there)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		if (etl_name_among(there, lfirst(cell)))
			continue;
		get_atttypetypmodcoll(relid, get_attnum(relid, lfirst(cell)), &type, &typmod, &collation);
		add_definition(definitions, lfirst(cell), type, typmod, collation);
	}
}

/*
 * shares_values renders that row r has the values of row c in the columns of
 * a check.
 */
static char *
shares_values(const EtlCheck *check, Oid relid)
{
	StringInfoData equal;
	ListCell   *cell;

	initStringInfo(&equal);
	foreach(cell, check->columns)
		appendStringInfo(&equal, "%s%s", equal.len ? " AND " : "",
						 etl_sql_equals(get_atttype(relid, get_attnum(relid, lfirst(cell))),
										psprintf("c.%s", quote_identifier(lfirst(cell))),
										psprintf("r.%s", quote_identifier(lfirst(cell)))));
	return equal.data;
}

/* ---- keys to be computed anew ---- */

/*
 * losers_sql renders the keys of the rows of etl_lost that share the values of
 * a check with what 'scope' selects of the table; without a check, of all.
 */
static char *
losers_sql(const EtlDelta *delta, const EtlCheck *check, Oid relid, const char *scope)
{
	StringInfoData sql;
	StringInfoData definitions;
	List	   *names = NIL;
	ListCell   *cell;

	initStringInfo(&sql);
	initStringInfo(&definitions);
	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		names = lappend(names, key->column);
		add_definition(&definitions, key->column, key->type, key->typmod, key->collation);
	}
	if (check)
		add_table_definitions(&definitions, relid, check->columns, names);
	appendStringInfo(&sql,
					 "SELECT DISTINCT %s FROM etl_lost l,"
					 " LATERAL pg_catalog.jsonb_to_record(l.lost::pg_catalog.jsonb) AS r(%s)",
					 etl_diff_column_list(names, "r."), definitions.data);
	if (check)
		appendStringInfo(&sql, " WHERE EXISTS (SELECT FROM %s c WHERE %s AND %s)",
						 etl_quoted_relation(relid), scope, shares_values(check, relid));
	return sql.data;
}

Tuplestorestate *
etl_losers_keys(const EtlModel *model, const EtlDelta *delta, EtlCheckSet *checks, Oid relid,
				QueryEnvironment *environment, const char *scope)
{
	List	   *moving = etl_lost_checks(checks, relid);
	Tuplestorestate *lost;
	Tuplestorestate *keys;

	if (moving == NIL || !etl_rejects_any_open(model->target) ||
		(lost = etl_lost_read(model, moving)) == NULL)
		return NULL;
	etl_lost_to_environment(environment, lost);
	keys = etl_execute_keep(
		losers_sql(delta, list_length(moving) == 1 ? linitial(moving) : NULL, relid, scope),
		environment);
	tuplestore_end(lost);
	if (tuplestore_tuple_count(keys) > 0)
		return keys;
	tuplestore_end(keys);
	return NULL;
}

/* ---- out of their rejects ---- */

/*
 * is_readable tells whether a value that became JSON can become one of the
 * type again; *exact is cleared when it need not be the same: a null of JSON,
 * say, would be one of SQL.
 */
static bool
is_readable(Oid type, bool *exact)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case UUIDOID:
		case BYTEAOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
			return true;
		case FLOAT4OID:
		case FLOAT8OID:
			*exact &= extra_float_digits > 0;
			return true;
		case JSONOID:
		case JSONBOID:
		case INTERVALOID:
			*exact = false;
			return true;
		default:
			*exact = false;
			return false;
	}
}

/*
 * joined_sql renders the rows of a difference after those of etl_lost, which
 * are told by a place of their own.
 */
static char *
joined_sql(const EtlDiff *diff, bool *exact)
{
	StringInfoData columns;
	StringInfoData definitions;
	List	   *readable = NIL;
	ListCell   *cell;

	initStringInfo(&columns);
	initStringInfo(&definitions);
	*exact = true;
	foreach(cell, diff->columns)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(diff->relid, get_attnum(diff->relid, lfirst(cell)), &type, &typmod, &collation);
		if (is_readable(type, exact))
		{
			readable = lappend(readable, lfirst(cell));
			appendStringInfo(&columns, ", r.%s", quote_identifier(lfirst(cell)));
		}
		else
			appendStringInfo(&columns, ", NULL::%s",
							 format_type_extended(type, typmod,
												  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	}
	add_table_definitions(&definitions, diff->relid, readable, NIL);
	if (readable == NIL)
		return NULL;
	return psprintf("SELECT 'I'::\"char\", NULL::pg_catalog.oid, %s%s FROM etl_lost l,"
					" LATERAL pg_catalog.jsonb_to_record(l.lost::pg_catalog.jsonb) AS r(%s)"
					" UNION ALL SELECT %s, %s FROM etl_diff d",
					LOST_PLACE, columns.data, definitions.data,
					diff->only_inserts ? "'I', NULL, NULL" : "d.etl_op, d.etl_table, d.etl_ctid",
					etl_diff_column_list(diff->columns, "d."));
}

/*
 * touched_sql renders the rows of etl_lost that have a value of rows that a
 * difference changes or takes away.
 */
static char *
touched_sql(const EtlDiff *diff, const EtlCheck *check)
{
	StringInfoData definitions;

	initStringInfo(&definitions);
	add_table_definitions(&definitions, diff->relid, check->columns, NIL);
	return psprintf(
		"SELECT l.* FROM etl_lost l, LATERAL pg_catalog.jsonb_to_record(l.lost::pg_catalog.jsonb)"
		" AS r(%s) WHERE EXISTS (SELECT FROM %s c JOIN etl_diff d ON c.ctid OPERATOR(pg_catalog.=)"
		" d.etl_ctid AND c.tableoid OPERATOR(pg_catalog.=) d.etl_table WHERE %s)",
		definitions.data, etl_quoted_relation(diff->relid), shares_values(check, diff->relid));
}

/*
 * candidates reads the rows that may come in; NULL: there are none.
 */
static Tuplestorestate *
candidates(const EtlModel *model, EtlDiff *diff, List *checks)
{
	bool		one = list_length(checks) == 1;
	QueryEnvironment *environment;
	Tuplestorestate *lost;
	Tuplestorestate *touched;

	if ((one && diff->updated + diff->deleted == 0) || !etl_rejects_any_open(model->target))
		return NULL;
	lost = etl_lost_read(model, checks);
	if (lost == NULL || !one)
		return lost;
	environment = create_queryEnv();
	etl_lost_to_environment(environment, lost);
	etl_diff_to_environment(environment, diff);
	touched = etl_execute_keep(touched_sql(diff, linitial(checks)), environment);
	tuplestore_end(lost);
	if (tuplestore_tuple_count(touched) > 0)
		return touched;
	tuplestore_end(touched);
	return NULL;
}

EtlLost *
etl_lost_join(const EtlModel *model, const EtlDue *due, EtlDiff **diff, List *checks)
{
	bool		recomputed = due->slice == NULL && (due->delta == NULL || !due->delta->append);
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *rows;
	EtlDiff    *joined;
	EtlLost    *lost;
	char	   *sql;
	bool		exact;

	/* who may come in is among the recomputed keys, unless it is frozen */
	if ((recomputed && !due->spared) || (rows = candidates(model, *diff, checks)) == NULL)
		return NULL;
	sql = joined_sql(*diff, &exact);
	/* retention has taken what they were made of, and JSON does not tell all */
	if (sql == NULL || (recomputed && !exact))
	{
		tuplestore_end(rows);
		return NULL;
	}
	lost = palloc0(sizeof(EtlLost));
	lost->rows = rows;
	lost->exact = exact;
	etl_lost_to_environment(environment, rows);
	etl_diff_to_environment(environment, *diff);
	joined = etl_diff_make((*diff)->relid, (*diff)->columns, (*diff)->desc, sql, environment);
	joined->key = (*diff)->key;
	tuplestore_end((*diff)->rows);
	*diff = joined;
	return lost;
}
