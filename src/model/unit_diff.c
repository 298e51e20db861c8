/*-------------------------------------------------------------------------
 *
 * unit_diff.c
 *    Expected rows beside actual ones, and what differs.
 *
 * Only the columns that expected rows name are compared, with the equality
 * of their types.  Rows are sorted by their key and then by everything; rows
 * of one key that are equal are taken away first, the others are paired in
 * this order: a pair is a changed row, of which only the columns that differ
 * are told, and who is left alone is missing or unexpected.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/tstoreReceiver.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "common/parse.h"
#include "model/unit_test.h"

/* What is told in full; of the rest only how many. */
#define MAX_ROWS 100

/* Columns that are compared. */
typedef struct Columns
{
	int			n;
	int			nkeys;			/* the first of 'order' */
	TupleDesc	desc;
	int		   *order;			/* the key first */
	FmgrInfo  **compare;		/* of each type; NULL: as text */
	FmgrInfo   *output;
} Columns;

typedef struct Row
{
	Datum	   *values;
	bool	   *nulls;
	bool		taken;			/* it has an equal one */
} Row;

typedef struct Rows
{
	Row		   *rows;
	int			n;
} Rows;

/*
 * compare_values orders two values of a column; NULLs last, equal to each
 * other.
 */
static int
compare_values(const Columns *columns, int i, const Row *a, const Row *b)
{
	if (a->nulls[i] || b->nulls[i])
		return a->nulls[i] - b->nulls[i];
	if (columns->compare[i] != NULL)
	{
		Oid			collation = TupleDescAttr(columns->desc, i)->attcollation;

		return DatumGetInt32(FunctionCall2Coll(columns->compare[i], collation, a->values[i], b->values[i]));
	}
	return strcmp(OutputFunctionCall(&columns->output[i], a->values[i]),
				  OutputFunctionCall(&columns->output[i], b->values[i]));
}

/*
 * compare_rows orders rows by the first n columns of the order.
 */
static int
compare_rows(const Columns *columns, const Row *a, const Row *b, int n)
{
	for (int i = 0; i < n; i++)
	{
		int			result = compare_values(columns, columns->order[i], a, b);

		if (result != 0)
			return result;
	}
	return 0;
}

/*
 * compare_whole orders rows by everything; an argument of qsort_arg.
 */
static int
compare_whole(const void *a, const void *b, void *columns)
{
	return compare_rows(columns, a, b, ((Columns *) columns)->n);
}

/*
 * read_rows takes the rows out of a tuplestore, sorted.
 */
static Rows
read_rows(const Columns *columns, Tuplestorestate *store)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(columns->desc, &TTSOpsMinimalTuple);
	Rows		rows = {palloc(sizeof(Row) * Max(tuplestore_tuple_count(store), 1)), 0};

	tuplestore_rescan(store);
	while (tuplestore_gettupleslot(store, true, true, slot))
	{
		Row		   *row = &rows.rows[rows.n++];

		slot_getallattrs(slot);
		row->values = palloc(sizeof(Datum) * Max(columns->n, 1));
		row->nulls = palloc(sizeof(bool) * Max(columns->n, 1));
		row->taken = false;
		for (int i = 0; i < columns->n; i++)
		{
			Form_pg_attribute column = TupleDescAttr(columns->desc, i);

			row->nulls[i] = slot->tts_isnull[i];
			row->values[i] = row->nulls[i] ? (Datum) 0 :
											 datumCopy(slot->tts_values[i], column->attbyval, column->attlen);
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	return rows;
}

/*
 * sort_rows puts rows in the order of the key, then of everything.
 */
static void
sort_rows(Columns *columns, Rows *rows)
{
	qsort_arg(rows->rows, rows->n, sizeof(Row), compare_whole, columns);
}

/* ---- which columns tell rows apart ---- */

/*
 * prepare_columns finds out how the columns of a descriptor are compared.
 */
static Columns *
prepare_columns(TupleDesc desc)
{
	Columns    *columns = palloc0(sizeof(Columns));

	columns->n = desc->natts;
	columns->desc = desc;
	columns->order = palloc(sizeof(int) * Max(desc->natts, 1));
	columns->compare = palloc0(sizeof(FmgrInfo *) * Max(desc->natts, 1));
	columns->output = palloc0(sizeof(FmgrInfo) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		TypeCacheEntry *type = lookup_type_cache(column->atttypid, TYPECACHE_CMP_PROC_FINFO);
		Oid			function;
		bool		varlena;

		columns->order[i] = i;
		if (OidIsValid(type->cmp_proc_finfo.fn_oid))
			columns->compare[i] = &type->cmp_proc_finfo;
		if (!OidIsValid(column->attcollation))
			column->attcollation = get_typcollation(column->atttypid);
		getTypeOutputInfo(column->atttypid, &function, &varlena);
		fmgr_info(function, &columns->output[i]);
	}
	return columns;
}

/*
 * put_first makes columns the first of the order; false when one of them is
 * not compared.
 */
static bool
put_first(Columns *columns, List *names)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, names)
	{
		int			at;

		for (at = 0; at < columns->n; at++)
			if (strcmp(NameStr(TupleDescAttr(columns->desc, at)->attname), lfirst(cell)) == 0)
				break;
		if (at == columns->n)
			return false;
	}
	foreach(cell, names)
		for (int at = 0; at < columns->n; at++)
			if (strcmp(NameStr(TupleDescAttr(columns->desc, at)->attname), lfirst(cell)) == 0)
				columns->order[n++] = at;
	columns->nkeys = n;
	for (int at = 0; at < columns->n; at++)
		if (!etl_name_among(names, NameStr(TupleDescAttr(columns->desc, at)->attname)))
			columns->order[n++] = at;
	return true;
}

/*
 * are_told_apart tells whether no two sorted rows agree in the first n
 * columns.
 */
static bool
are_told_apart(const Columns *columns, const Rows *rows, int n)
{
	for (int i = 1; i < rows->n; i++)
		if (compare_rows(columns, &rows->rows[i - 1], &rows->rows[i], n) == 0)
			return false;
	return true;
}

/*
 * guess_key takes as the key the first columns that tell both the expected
 * and the actual rows apart, if there are any left then to differ.
 */
static void
guess_key(Columns *columns, const Rows *expected, const Rows *actual)
{
	for (int n = 1; n < columns->n; n++)
		if (are_told_apart(columns, expected, n) && are_told_apart(columns, actual, n))
		{
			columns->nkeys = n;
			return;
		}
}

/* ---- telling ---- */

/*
 * row_json renders a row as a JSON object.
 */
static Jsonb *
row_json(const Columns *columns, const Row *row)
{
	HeapTuple	tuple = heap_form_tuple(columns->desc, row->values, row->nulls);
	Datum		record = HeapTupleGetDatum(tuple);

	return etl_json_parse(TextDatumGetCString(DirectFunctionCall1(row_to_json, record)));
}

/*
 * append_side adds one side of a value.
 */
static void
append_side(StringInfo json, const char *side, const Jsonb *row, const char *column)
{
	Jsonb	   *value = row ? etl_json_get(row, column) : NULL;

	if (row != NULL)
		appendStringInfo(json, "%s\"%s\": %s", json->data[json->len - 1] == '{' ? "" : ", ", side,
						 value ? etl_json_text(value) : "null");
}

/*
 * tell adds one row that differs; of the two one may be missing.
 */
static void
tell(EtlUnitDiff *diff, const char *where, const Columns *columns, const Row *expected, const Row *actual)
{
	Jsonb	   *old = expected ? row_json(columns, expected) : NULL;
	Jsonb	   *new = actual ? row_json(columns, actual) : NULL;
	StringInfo	json = &diff->json;
	bool		first = true;

	if (++diff->rows > MAX_ROWS)
		return;
	appendStringInfo(json, "%s{\"in\": \"%s\", \"row\": \"%s\", \"key\": {",
					 diff->rows > 1 ? ", " : "", where,
					 !expected ? "unexpected" :
					 !actual   ? "missing" :
								 "changed");
	for (int i = 0; i < columns->nkeys; i++)
	{
		char	   *name = NameStr(TupleDescAttr(columns->desc, columns->order[i])->attname);
		Jsonb	   *value = etl_json_get(old ? old : new, name);

		appendStringInfo(json, "%s%s: %s", i ? ", " : "", etl_json_quote(name),
						 value ? etl_json_text(value) : "null");
	}
	appendStringInfoString(json, "}, \"columns\": {");
	for (int i = 0; i < columns->n; i++)
	{
		char	   *name = NameStr(TupleDescAttr(columns->desc, i)->attname);

		if (expected && actual && compare_values(columns, i, expected, actual) == 0)
			continue;
		appendStringInfo(json, "%s%s: {", first ? "" : ", ", etl_json_quote(name));
		append_side(json, "expected", old, name);
		append_side(json, "actual", new, name);
		appendStringInfoChar(json, '}');
		first = false;
	}
	appendStringInfoString(json, "}}");
}

/*
 * group_end returns where the rows of one key end.
 */
static int
group_end(const Columns *columns, const Rows *rows, int start, const Row *like)
{
	while (start < rows->n && compare_rows(columns, &rows->rows[start], like, columns->nkeys) == 0)
		start++;
	return start;
}

/*
 * take_equal takes equal rows of two sorted groups away.
 */
static void
take_equal(const Columns *columns, Rows *expected, int e, int e_end, Rows *actual, int a, int a_end)
{
	while (e < e_end && a < a_end)
	{
		int			order = compare_rows(columns, &expected->rows[e], &actual->rows[a], columns->n);

		if (order == 0)
			expected->rows[e].taken = actual->rows[a].taken = true;
		if (order <= 0)
			e++;
		if (order >= 0)
			a++;
	}
}

/*
 * next_left returns the next row of a group that has no equal one; NULL at
 * its end.
 */
static Row *
next_left(Rows *rows, int *at, int end)
{
	while (*at < end)
		if (!rows->rows[(*at)++].taken)
			return &rows->rows[*at - 1];
	return NULL;
}

/*
 * compare_sorted goes through both, key by key.
 */
static void
compare_sorted(EtlUnitDiff *diff, const char *where, const Columns *columns, Rows *expected, Rows *actual)
{
	int			e = 0;
	int			a = 0;

	while (e < expected->n || a < actual->n)
	{
		bool		from_expected = a == actual->n ||
							 (e < expected->n && compare_rows(columns, &expected->rows[e], &actual->rows[a],
															  columns->nkeys) <= 0);
		const Row  *like = from_expected ? &expected->rows[e] : &actual->rows[a];
		int			e_end = group_end(columns, expected, e, like);
		int			a_end = group_end(columns, actual, a, like);

		take_equal(columns, expected, e, e_end, actual, a, a_end);
		for (;;)
		{
			Row		   *old = next_left(expected, &e, e_end);
			/* without a key nothing tells that two rows are the same one */
			Row		   *new = old && columns->nkeys == 0 ? NULL : next_left(actual, &a, a_end);

			if (old == NULL && new == NULL)
				break;
			tell(diff, where, columns, old, new);
		}
		e = e_end;
		a = a_end;
	}
}

void
etl_unit_compare(EtlUnitDiff *diff, const char *where, const Jsonb *expected, TupleDesc desc,
				 Tuplestorestate *actual, List *key)
{
	List	   *names = etl_unit_columns(expected, desc, psprintf("the result of the %s", where));
	QueryEnvironment *environment = create_queryEnv();
	Tuplestorestate *stores[2] = {tuplestore_begin_heap(true, false, work_mem),
								  tuplestore_begin_heap(true, false, work_mem)};
	StringInfoData sql;
	TupleDesc	compared;
	DestReceiver *receiver;
	Columns    *columns;
	Query	   *query;
	Rows		rows[2];
	ListCell   *cell;

	initStringInfo(&sql);
	if (etl_json_elements(expected) == NIL)
		for (int i = 0; i < desc->natts; i++)
			if (!TupleDescAttr(desc, i)->attisdropped)
				names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	foreach(cell, names)
		appendStringInfo(&sql, "%s%s", sql.len ? ", " : "", quote_identifier(lfirst(cell)));
	etl_environment_add(environment, "etl_actual", desc, actual, tuplestore_tuple_count(actual));
	for (int i = 0; i < 2; i++)
	{
		query = etl_query_analyze(i == 0 ? etl_unit_rows_sql(expected, desc, names, "what is expected") :
										   psprintf("SELECT %s FROM etl_actual", sql.data),
								  environment);
		receiver = CreateDestReceiver(DestTuplestore);
		SetTuplestoreDestReceiverParams(receiver, stores[i], CurrentMemoryContext, false, NULL, NULL);
		(void) etl_execute_query(query, "", environment, receiver);
	}
	compared = BlessTupleDesc(etl_query_desc(query));
	columns = prepare_columns(compared);
	for (int i = 0; i < 2; i++)
		rows[i] = read_rows(columns, stores[i]);
	if (!put_first(columns, key) || key == NIL)
	{
		for (int i = 0; i < 2; i++)
			sort_rows(columns, &rows[i]);
		guess_key(columns, &rows[0], &rows[1]);
	}
	for (int i = 0; i < 2; i++)
		sort_rows(columns, &rows[i]);
	compare_sorted(diff, where, columns, &rows[0], &rows[1]);
	for (int i = 0; i < 2; i++)
		tuplestore_end(stores[i]);
}
