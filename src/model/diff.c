/*-------------------------------------------------------------------------
 *
 * diff.c
 *    Publication by DML: only what differs is written.
 *
 * Staged rows are compared with what the table holds, by key or, without
 * one, as whole rows; the difference is a tuplestore of (op, table, ctid,
 * columns) that DELETE, UPDATE and INSERT then read.  A row that did not change
 * keeps its ctid and xmin, and subscribers see only real changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/parse.h"
#include "model/internal.h"

/*
 * find_attribute returns the staged column of that name.
 */
static Form_pg_attribute
find_attribute(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return TupleDescAttr(desc, i);
	elog(ERROR, "the query has no column \"%s\"", name);
	return NULL;
}

/*
 * columns_to_be lists the columns of the query that the table has, or will
 * have when 'coming' have come.
 */
static List *
columns_to_be(Oid relid, TupleDesc desc, List *coming)
{
	List	   *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = pstrdup(NameStr(TupleDescAttr(desc, i)->attname));

		if (etl_name_among(coming, name) || get_attnum(relid, name) > 0)
			columns = lappend(columns, name);
	}
	return columns;
}

/*
 * etl_diff_common_columns lists the columns of the query that the table has.
 */
List *
etl_diff_common_columns(Oid relid, TupleDesc desc)
{
	return columns_to_be(relid, desc, NIL);
}

/*
 * etl_diff_column_list joins columns, each with a prefix such as "s.".
 */
char *
etl_diff_column_list(List *columns, const char *prefix)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, columns)
		appendStringInfo(&text, "%s%s%s", text.len ? ", " : "", prefix, quote_identifier(lfirst(cell)));
	return text.data;
}

/*
 * etl_sql_equals renders "a = b" with the type's own equality, whatever the search
 * path; NULL for a type that has none.
 */
char *
etl_sql_equals(Oid type, const char *a, const char *b)
{
	Oid			equality = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = OidIsValid(equality) ? SearchSysCache1(OPEROID, ObjectIdGetDatum(equality)) : NULL;
	Form_pg_operator form;
	char	   *sql;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_operator) GETSTRUCT(tuple);
	sql = psprintf("%s OPERATOR(%s.%s) %s", a, quote_identifier(get_namespace_name(form->oprnamespace)),
				   NameStr(form->oprname), b);
	ReleaseSysCache(tuple);
	return sql;
}

/*
 * row_hash renders a hash of whole rows, by which rows without a key are
 * paired: by the types' own hash functions, or over the row's text when a
 * type has none.  Rows that share a hash by chance are paired too, and come
 * out as an update.
 */
static char *
row_hash(TupleDesc desc, const char *names)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		if (!OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
			return psprintf(
				"pg_catalog.hashtextextended(ROW(%s)::pg_catalog.text COLLATE pg_catalog.\"C\", 0)",
				names);
	}
	return psprintf("pg_catalog.hash_record_extended(ROW(%s), 0)", names);
}

/*
 * first_row returns the first row of a small query as text; NULL: it has none.
 */
static char *
first_row(const char *sql, QueryEnvironment *environment, TupleDesc desc)
{
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	char	   *value_text = NULL;
	bool		isnull;

	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
	/* nothing in it is a user's text: expressions of indexes, say, are rendered for this search path */
	etl_execute_query(etl_query_analyze_qualified(sql, environment), sql, environment, receiver);
	if (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Datum		value = slot_getattr(slot, 1, &isnull);

		value_text = isnull ? pstrdup("") : TextDatumGetCString(value);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
	return value_text;
}

/*
 * one_text describes a result of one text column.
 */
static TupleDesc
one_text(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "value", TEXTOID, -1, 0);
	return desc;
}

char *
etl_first_text(const char *sql, QueryEnvironment *environment)
{
	return first_row(sql, environment, one_text());
}

/*
 * etl_diff_key_columns joins the columns of a model's key.
 */
char *
etl_diff_key_columns(const EtlModel *model)
{
	return etl_diff_column_list(model->key, "");
}

/*
 * require_unique_key raises 23505 when two staged rows have one key.
 */
static void
require_unique_key(const EtlModel *model, QueryEnvironment *environment)
{
	char	   *columns = etl_diff_column_list(model->key, "s.");
	char	   *twice = first_row(
		psprintf("SELECT pg_catalog.row_to_json(k.*)::pg_catalog.text FROM (SELECT %s FROM etl_staged s"
				 " GROUP BY %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 LIMIT 1) k",
				 columns, columns),
		environment, one_text());

	if (twice != NULL)
		ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
						errmsg("the query of %s yields more than one row for a key", model->target),
						errdetail("Key %s comes more than once.", twice),
						errhint("Make the query yield one row a key, for example with SELECT "
								"DISTINCT ON (%s) … ORDER BY.", etl_diff_key_columns(model))));
}

/*
 * has_null_keys tells whether a staged row has a NULL in its key.
 */
static bool
has_null_keys(const EtlModel *model, QueryEnvironment *environment)
{
	StringInfoData condition;
	ListCell   *cell;

	initStringInfo(&condition);
	foreach(cell, model->key)
		appendStringInfo(&condition, "%ss.%s IS NULL", condition.len ? " OR " : "",
						 quote_identifier(lfirst(cell)));
	return first_row(psprintf("SELECT ''::pg_catalog.text FROM etl_staged s WHERE %s LIMIT 1",
							  condition.data),
					 environment, one_text()) != NULL;
}

/*
 * match_condition renders how staged rows s and current rows c pair up.
 * Without NULLs in the key its columns are compared one by one, which can
 * be hashed; otherwise by etl_key: a record, in which NULLs are equal, or
 * the hash of a row without a key.
 */
static char *
match_condition(const EtlModel *model, TupleDesc desc, bool by_columns)
{
	StringInfoData condition;
	ListCell   *cell;

	if (!by_columns)
		return pstrdup("s.etl_key OPERATOR(pg_catalog.=) c.etl_key AND"
					   " s.etl_copy OPERATOR(pg_catalog.=) c.etl_copy");
	initStringInfo(&condition);
	foreach(cell, model->key)
	{
		const char *name = quote_identifier(lfirst(cell));
		char	   *equals = etl_sql_equals(find_attribute(desc, lfirst(cell))->atttypid,
									  psprintf("s.%s", name), psprintf("c.%s", name));

		if (equals == NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("key column %s has a type without equality", name)));
		appendStringInfo(&condition, "%s%s", condition.len ? " AND " : "", equals);
	}
	return condition.data;
}

/*
 * diff_desc describes the rows of a diff.
 */
static TupleDesc
diff_desc(List *columns, TupleDesc staged)
{
	TupleDesc	desc = CreateTemplateTupleDesc(3 + list_length(columns));
	int			n = 3;
	ListCell   *cell;

	TupleDescInitEntry(desc, 1, "etl_op", CHAROID, -1, 0);
	TupleDescInitEntry(desc, 2, "etl_table", OIDOID, -1, 0);	/* a partition, perhaps */
	TupleDescInitEntry(desc, 3, "etl_ctid", TIDOID, -1, 0);
	foreach(cell, columns)
	{
		Form_pg_attribute column = find_attribute(staged, lfirst(cell));

		n++;
		TupleDescInitEntry(desc, n, lfirst(cell), column->atttypid, column->atttypmod, 0);
		TupleDescInitEntryCollation(desc, n, column->attcollation);
	}
	return desc;
}

/*
 * A receiver that keeps the diff and counts its operations.
 */
typedef struct DiffReceiver
{
	DestReceiver pub;
	EtlDiff    *diff;
} DiffReceiver;

static bool
diff_receive(TupleTableSlot *slot, DestReceiver *self)
{
	EtlDiff    *diff = ((DiffReceiver *) self)->diff;
	bool		isnull;

	switch (DatumGetChar(slot_getattr(slot, 1, &isnull)))
	{
		case 'I':
			diff->inserted++;
			break;
		case 'U':
			diff->updated++;
			break;
		default:
			diff->deleted++;
			break;
	}
	tuplestore_puttupleslot(diff->rows, slot);
	return true;
}

static void
diff_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
diff_nothing(DestReceiver *self)
{
}

/*
 * etl_diff_make runs a query of diff rows and keeps what it yields.
 */
EtlDiff *
etl_diff_make(Oid relid, List *columns, TupleDesc staged_desc, const char *sql,
			  QueryEnvironment *environment)
{
	EtlDiff    *diff = palloc0(sizeof(EtlDiff));
	DiffReceiver receiver = {{diff_receive, diff_startup, diff_nothing, diff_nothing, DestNone}, diff};

	diff->relid = relid;
	diff->columns = columns;
	diff->desc = diff_desc(columns, staged_desc);
	diff->rows = tuplestore_begin_heap(true, false, work_mem);
	etl_execute(sql, environment, &receiver.pub);
	return diff;
}

/*
 * etl_diff_to_environment makes a difference visible to SQL, as etl_diff.
 */
void
etl_diff_to_environment(QueryEnvironment *environment, EtlDiff *diff)
{
	tuplestore_rescan(diff->rows);
	etl_environment_add(environment, "etl_diff", diff->desc, diff->rows,
						diff->inserted + diff->updated + diff->deleted);
}

/*
 * as_it_will_be renders the table with the columns that it will have: those
 * that come are NULL in its rows.
 */
static char *
as_it_will_be(const char *table, List *columns, TupleDesc desc, List *coming)
{
	StringInfoData sql;
	ListCell   *cell;

	if (coming == NIL)
		return pstrdup(table);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT tableoid, ctid");
	foreach(cell, columns)
	{
		if (etl_name_among(coming, lfirst(cell)))
			appendStringInfo(&sql, ", NULL::%s AS %s", etl_column_type(find_attribute(desc, lfirst(cell))),
							 quote_identifier(lfirst(cell)));
		else
			appendStringInfo(&sql, ", %s", quote_identifier(lfirst(cell)));
	}
	appendStringInfo(&sql, " FROM %s)", table);
	return sql.data;
}

/*
 * keeps_key tells whether no two rows of the table have one key, nor will
 * when 'coming' have come.
 */
static bool
keeps_key(const EtlModel *model, Oid relid, List *coming)
{
	ListCell   *cell;

	foreach(cell, model->key)
		if (etl_name_among(coming, lfirst(cell)))
			return false;
	return etl_table_key_is_kept(model, relid);
}

/*
 * etl_diff_compute compares staged rows with the table's, or with those of
 * them that 'scope' (which may use relations of 'environment') selects.  It
 * takes the staged rows over.
 */
EtlDiff *
etl_diff_compute(const EtlModel *model, Oid relid, TupleDesc staged_desc, Tuplestorestate *staged,
				 int64 staged_rows, QueryEnvironment *environment, const EtlDiffScope *scope, List *coming)
{
	List	   *columns = columns_to_be(relid, staged_desc, coming);
	char	   *names = etl_diff_column_list(columns, "");
	char	   *table = etl_quoted_relation(relid);
	bool		keyed = model->key != NIL;
	bool		one_a_key = keyed && (scope != NULL || keeps_key(model, relid, coming));
	bool		by_columns;
	char	   *key;
	char	   *copy;
	EtlDiff    *diff;

	etl_environment_add(environment, "etl_staged", staged_desc, staged, staged_rows);
	if (keyed && (scope == NULL || !scope->once))
		require_unique_key(model, environment);
	if (scope == NULL &&
		first_row(psprintf("SELECT ''::pg_catalog.text FROM %s LIMIT 1", table), NULL, one_text()) == NULL)
	{
		diff = etl_diff_inserts(relid, staged_desc, staged, staged_rows);
		diff->columns = columns;
		return diff;
	}

	by_columns = one_a_key && ((scope != NULL && scope->not_null) || !has_null_keys(model, environment));
	key = keyed ? psprintf("ROW(%s)", etl_diff_column_list(model->key, "")) : row_hash(staged_desc, names);
	/* rows without a key, or of a former one, may be there several times: the n-th pairs with the n-th */
	copy = one_a_key ? pstrdup("1") : psprintf("pg_catalog.row_number() OVER (PARTITION BY %s)", key);
	diff = etl_diff_make(
		relid, columns, staged_desc,
		psprintf(
			"SELECT CASE WHEN c.etl_here IS NULL THEN 'I' WHEN s.etl_here IS NULL THEN 'D'"
			" ELSE 'U' END::\"char\", c.etl_table, c.etl_ctid, %s"
			" FROM (SELECT %s AS etl_key, %s AS etl_copy, true AS etl_here, * FROM etl_staged) s"
			" FULL JOIN (SELECT %s AS etl_key, %s AS etl_copy, true AS etl_here,"
			" c.tableoid AS etl_table, c.ctid AS etl_ctid, c.* FROM %s c WHERE %s) c ON %s"
			" WHERE s.etl_here IS NULL OR c.etl_here IS NULL"
			" OR ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record",
			etl_diff_column_list(columns, "s."), key, copy, key, copy,
			as_it_will_be(table, columns, staged_desc, coming), scope ? scope->condition : "true",
			match_condition(model, staged_desc, by_columns), etl_diff_column_list(columns, "s."),
			etl_diff_column_list(columns, "c.")),
		environment);
	tuplestore_end(staged);
	diff->key = model->key;
	return diff;
}

/*
 * etl_diff_inserts makes a diff of rows that are all new: the staged ones,
 * which it takes over.
 */
EtlDiff *
etl_diff_inserts(Oid relid, TupleDesc staged_desc, Tuplestorestate *staged, int64 staged_rows)
{
	EtlDiff    *diff = palloc0(sizeof(EtlDiff));

	diff->relid = relid;
	diff->columns = etl_diff_common_columns(relid, staged_desc);
	diff->desc = staged_desc;
	diff->rows = staged;
	diff->inserted = staged_rows;
	diff->only_inserts = true;
	return diff;
}

EtlDiff *
etl_diff_written(Oid relid, TupleDesc staged_desc, int64 rows)
{
	EtlDiff    *diff = palloc0(sizeof(EtlDiff));

	diff->relid = relid;
	diff->columns = etl_diff_common_columns(relid, staged_desc);
	diff->desc = staged_desc;
	diff->inserted = rows;
	diff->only_inserts = true;
	return diff;
}
