/*-------------------------------------------------------------------------
 *
 * frozen.c
 *    Keys of an incremental model whose history retention removed in part.
 *
 * A build leaves keys that freeze.c froze as they are, on both sides of its
 * comparison, and what would have changed them becomes a reject
 * "beyond_horizon" of the model.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/frozen.h"
#include "common/guc.h"
#include "common/json.h"
#include "model/internal.h"

/* Frozen keys of the same columns. */
typedef struct FrozenSet
{
	char	   *name;			/* in an environment */
	List	   *columns;		/* char * */
	List	   *keynos;			/* int: which of the affected keys' columns they are; -1: none */
	TupleDesc	desc;
	Tuplestorestate *rows;
	int64		count;
	bool		nulls;			/* a key has a NULL */
} FrozenSet;

struct EtlFrozen
{
	const EtlDelta *delta;
	List	   *sets;			/* FrozenSet * */
};

/*
 * equals_as_text tells whether values of a type are equal exactly when their
 * texts are.
 */
static bool
equals_as_text(Oid type, Oid collation)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMESTAMPOID:
		case UUIDOID:
			return true;
		case TEXTOID:
		case VARCHAROID:
			return !OidIsValid(collation) || get_collation_isdeterministic(collation);
		default:
			return false;
	}
}

/*
 * candidates renders the affected keys in the columns of a set; NIL when they
 * do not have all of these, or values tell more than their texts.
 */
static List *
candidates(const FrozenSet *set, TupleDesc keys_desc, Tuplestorestate *affected)
{
	TupleTableSlot *slot;
	List	   *keys = NIL;
	ListCell   *cell;
	int			level;

	foreach(cell, set->keynos)
	{
		Form_pg_attribute column = lfirst_int(cell) < 0 ? NULL : TupleDescAttr(keys_desc, lfirst_int(cell));

		if (column == NULL || !equals_as_text(column->atttypid, column->attcollation))
			return NIL;
	}
	slot = MakeSingleTupleTableSlot(keys_desc, &TTSOpsMinimalTuple);
	level = etl_change_text_begin();
	while (tuplestore_gettupleslot(affected, true, false, slot))
	{
		TupleTableSlot *key = MakeSingleTupleTableSlot(set->desc, &TTSOpsVirtual);

		slot_getallattrs(slot);
		foreach(cell, set->keynos)
		{
			key->tts_values[foreach_current_index(cell)] = slot->tts_values[lfirst_int(cell)];
			key->tts_isnull[foreach_current_index(cell)] = slot->tts_isnull[lfirst_int(cell)];
		}
		ExecStoreVirtualTuple(key);
		keys = lappend(keys, etl_frozen_key_text(key, set->desc->natts));
		ExecDropSingleTupleTableSlot(key);
	}
	AtEOXact_GUC(false, level);
	tuplestore_rescan(affected);
	ExecDropSingleTupleTableSlot(slot);
	return keys;
}

/*
 * put_keys makes rows of the keys of a set.
 */
static void
put_keys(FrozenSet *set, List *keys)
{
	Datum	   *values = palloc0(sizeof(Datum) * set->desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * set->desc->natts);
	int			level = etl_change_text_begin();
	ListCell   *cell;

	set->rows = tuplestore_begin_heap(true, false, work_mem);
	foreach(cell, keys)
	{
		Jsonb	   *key = etl_json_parse(lfirst(cell));

		for (int i = 0; i < set->desc->natts; i++)
		{
			JsonbValue *value = getIthJsonbValueFromContainer(&key->root, i);
			Oid			input;
			Oid			param;

			nulls[i] = value == NULL || value->type == jbvNull;
			set->nulls |= nulls[i];
			if (nulls[i])
				continue;
			getTypeInputInfo(TupleDescAttr(set->desc, i)->atttypid, &input, &param);
			values[i] = OidInputFunctionCall(
				input, pnstrdup(value->val.string.val, value->val.string.len), param, -1);
		}
		tuplestore_putvalues(set->rows, set->desc, values, nulls);
		set->count++;
	}
	AtEOXact_GUC(false, level);
}

/*
 * make_set begins a set of frozen keys; NULL for columns that the query does
 * not have.
 */
static FrozenSet *
make_set(const EtlDelta *delta, TupleDesc query_desc, List *columns)
{
	FrozenSet  *set = palloc0(sizeof(FrozenSet));
	ListCell   *cell;
	ListCell   *key;

	set->columns = columns;
	set->desc = CreateTemplateTupleDesc(list_length(columns));
	foreach(cell, columns)
	{
		int			n = foreach_current_index(cell) + 1;
		int			keyno = -1;
		Form_pg_attribute column = NULL;

		for (int i = 0; i < query_desc->natts; i++)
			if (strcmp(NameStr(TupleDescAttr(query_desc, i)->attname), lfirst(cell)) == 0)
				column = TupleDescAttr(query_desc, i);
		if (column == NULL)
			return NULL;
		foreach(key, delta->keys)
			if (strcmp(((EtlDeltaKey *) lfirst(key))->column, lfirst(cell)) == 0)
				keyno = foreach_current_index(key);
		set->keynos = lappend_int(set->keynos, keyno);
		TupleDescInitEntry(set->desc, n, psprintf("k%d", n), column->atttypid, -1, 0);
		TupleDescInitEntryCollation(set->desc, n, column->attcollation);
	}
	return set;
}

EtlFrozen *
etl_frozen_among(const EtlModel *model, const EtlDelta *delta, TupleDesc query_desc, TupleDesc keys_desc,
				 Tuplestorestate *affected, bool null_keys)
{
	EtlFrozen  *frozen = NULL;
	ListCell   *cell;

	foreach(cell, etl_frozen_columns(model->target))
	{
		FrozenSet  *set = make_set(delta, query_desc, lfirst(cell));
		List	   *keys;

		if (set == NULL)
			continue;
		keys = etl_frozen_keys(model->target, set->columns, candidates(set, keys_desc, affected), null_keys);
		if (keys == NIL)
			continue;
		if (frozen == NULL)
		{
			frozen = palloc0(sizeof(EtlFrozen));
			frozen->delta = delta;
		}
		frozen->sets = lappend(frozen->sets, set);
		set->name = psprintf("etl_frozen_%d", list_length(frozen->sets));
		put_keys(set, keys);
	}
	return frozen;
}

void
etl_frozen_to_environment(const EtlFrozen *frozen, QueryEnvironment *environment)
{
	ListCell   *cell;

	foreach(cell, frozen->sets)
	{
		FrozenSet  *set = lfirst(cell);

		etl_environment_add(environment, set->name, set->desc, set->rows, set->count);
	}
}

/*
 * is_in_set renders that values are a key of a set: those without NULLs so
 * that it can be hashed, those with NULLs apart.  NULL values are not
 * compared.
 */
static char *
is_in_set(const FrozenSet *set, List *values)
{
	StringInfoData plain;
	StringInfoData with_nulls;
	StringInfoData any_null;
	ListCell   *cell;

	initStringInfo(&plain);
	initStringInfo(&with_nulls);
	initStringInfo(&any_null);
	foreach(cell, values)
	{
		int			n = foreach_current_index(cell) + 1;
		char	   *equals;

		if (lfirst(cell) == NULL)
			continue;
		equals = etl_sql_equals(TupleDescAttr(set->desc, n - 1)->atttypid, psprintf("f.k%d", n),
								lfirst(cell));
		appendStringInfo(&plain, "%s%s", plain.len ? " AND " : "", equals);
		appendStringInfo(&with_nulls, " AND (%s OR (f.k%d IS NULL AND %s IS NULL))", equals, n,
						 (char *) lfirst(cell));
		appendStringInfo(&any_null, "%sf.k%d IS NULL", any_null.len ? " OR " : "", n);
	}
	if (plain.len == 0)
		return "false";
	if (!set->nulls)
		return psprintf("EXISTS (SELECT FROM %s f WHERE %s)", set->name, plain.data);
	return psprintf("(EXISTS (SELECT FROM %s f WHERE %s) OR EXISTS (SELECT FROM %s f WHERE (%s)%s))",
					set->name, plain.data, set->name, any_null.data, with_nulls.data);
}

char *
etl_frozen_spares(const EtlFrozen *frozen, const char *alias)
{
	StringInfoData sql;
	ListCell   *cell;
	ListCell   *column;

	initStringInfo(&sql);
	foreach(cell, frozen->sets)
	{
		FrozenSet  *set = lfirst(cell);
		List	   *values = NIL;

		foreach(column, set->columns)
			values = lappend(values, psprintf("%s.%s", alias, quote_identifier(lfirst(column))));
		appendStringInfo(&sql, "%sNOT %s", sql.len ? " AND " : "", is_in_set(set, values));
	}
	return sql.data;
}

/*
 * key_values renders the columns of a set as those of affected keys, NULL
 * for each that these do not have.
 */
static List *
key_values(const FrozenSet *set, const char *alias)
{
	List	   *values = NIL;
	ListCell   *cell;

	foreach(cell, set->keynos)
		values = lappend(
			values, lfirst_int(cell) < 0 ? NULL : psprintf("%s.k%d", alias, lfirst_int(cell) + 1));
	return values;
}

char *
etl_frozen_spares_keys(const EtlFrozen *frozen, const char *alias)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, frozen->sets)
	{
		FrozenSet  *set = lfirst(cell);

		if (list_member_int(set->keynos, -1))
			return NULL;
		appendStringInfo(&sql, "%sNOT %s", sql.len ? " AND " : "", is_in_set(set, key_values(set, alias)));
	}
	return sql.data;
}

/* ---- what comes too late ---- */

/*
 * late_sql renders the changed rows that touch a set, once each, with the key;
 * what went only where nothing came for its key.
 */
static char *
late_sql(const EtlFrozen *frozen, const FrozenSet *set)
{
	StringInfoData key;
	StringInfoData mine;
	StringInfoData other;
	ListCell   *cell;

	initStringInfo(&key);
	initStringInfo(&mine);
	initStringInfo(&other);
	foreach(cell, frozen->delta->keys)
	{
		int			n = foreach_current_index(cell) + 1;

		appendStringInfo(&key, "%sl.k%d AS %s", n > 1 ? ", " : "", n,
						 quote_identifier(((EtlDeltaKey *) lfirst(cell))->column));
		appendStringInfo(&mine, "%sl.k%d", n > 1 ? ", " : "", n);
		appendStringInfo(&other, "%so.k%d", n > 1 ? ", " : "", n);
	}
	return psprintf(
		"SELECT DISTINCT ON (1) coalesce(pg_catalog.substr(l.etl_record, 2), key), key FROM "
		"etl_late l,"
		" LATERAL (SELECT pg_catalog.row_to_json(k.*)::pg_catalog.text AS key FROM (SELECT %s) k) k"
		" WHERE %s AND (l.etl_record IS NULL OR l.etl_record OPERATOR(pg_catalog.~~) '+%%' OR NOT EXISTS"
		" (SELECT FROM etl_late o WHERE o.etl_record OPERATOR(pg_catalog.~~) '+%%'"
		" AND ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.=) ROW(%s)::pg_catalog.record)) ORDER BY 1, 2",
		key.data, is_in_set(set, key_values(set, "l")), other.data, mine.data);
}

/*
 * reject_rows stores a reject for each row (record, key) of a tuplestore.
 */
static int64
reject_rows(const EtlModel *model, const FrozenSet *set, int64 run_id, TupleDesc desc, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	EtlRejectWriter *writer = etl_reject_writer_begin();
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "etl late row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row_context);
	int64		count = 0;

	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		EtlReject	reject = {0};
		bool		isnull;
		char	   *key = TextDatumGetCString(slot_getattr(slot, 2, &isnull));

		reject.target = model->target;
		reject.run_id = run_id;
		reject.raw = TextDatumGetCString(slot_getattr(slot, 1, &isnull));
		reject.record_size = strlen(reject.raw);
		reject.raw_length = reject.record_size;
		if (reject.raw_length > etl_max_record_size_kb * 1024)
			reject.raw_length = Min(reject.raw_length, 65536);
		reject.of_row = true;
		reject.reasons = etl_json_parse(psprintf(
			"[{\"check\": \"beyond_horizon\", \"column\": %s, \"value\": %s, \"message\": %s}]",
			etl_json_quote(linitial(set->columns)), etl_json_quote(key),
			etl_json_quote(psprintf("retention removed rows of %s, so it keeps what it holds", key))));
		etl_reject_writer_put(writer, &reject);
		count++;
		ExecClearTuple(slot);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old);
	etl_reject_writer_end(writer);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
	return count;
}

int64
etl_frozen_reject_late(const EtlFrozen *frozen, const EtlModel *model, int64 run_id)
{
	QueryEnvironment *environment = create_queryEnv();
	TupleDesc	keys = etl_delta_keys_desc(frozen->delta);
	TupleDesc	late_desc = CreateTemplateTupleDesc(keys->natts + 1);
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	Tuplestorestate *late = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	List	   *changes = etl_delta_changes(frozen->delta, environment, true);
	int64		count = 0;
	ListCell   *cell;

	for (int i = 1; i <= keys->natts; i++)
		TupleDescCopyEntry(late_desc, i, keys, i);
	TupleDescInitEntry(late_desc, keys->natts + 1, "etl_record", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(late_desc, keys->natts + 1, DEFAULT_COLLATION_OID);
	TupleDescInitEntry(desc, 1, "record", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "key", TEXTOID, -1, 0);
	SetTuplestoreDestReceiverParams(receiver, late, CurrentMemoryContext, false, NULL, NULL);
	foreach(cell, etl_delta_tellers(frozen->delta, environment))
		etl_execute_query(lfirst(cell), model->query, environment, receiver);
	etl_environment_add(environment, "etl_late", late_desc, late, tuplestore_tuple_count(late));
	etl_frozen_to_environment(frozen, environment);

	foreach(cell, frozen->sets)
	{
		Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);

		SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
		etl_execute(late_sql(frozen, lfirst(cell)), environment, receiver);
		count += reject_rows(model, lfirst(cell), run_id, desc, rows);
		tuplestore_end(rows);
	}
	tuplestore_end(late);
	foreach(cell, changes)
		tuplestore_end(lfirst(cell));
	return count;
}

void
etl_frozen_end(EtlFrozen *frozen)
{
	ListCell   *cell;

	foreach(cell, frozen->sets)
		tuplestore_end(((FrozenSet *) lfirst(cell))->rows);
}
