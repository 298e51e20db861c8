/*-------------------------------------------------------------------------
 *
 * merge.c
 *    The staged rows of a load into the current state of a merge stream.
 *
 * Per key the record greatest in (event_time, load, position) stays.  One
 * statement compares the staged rows with the relation and writes only the
 * difference: a row whose columns are the same byte for byte keeps its xmin
 * and its ctid.  Columns that the input has no field for take their default
 * where a row is new, and stay as they are where it is not.
 *
 * Where a row of it is refused (a second unique constraint, a foreign key, a
 * trigger), the staged rows are halved, in the order they came, until those
 * at fault are alone; an older record of the same key then lands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "load/land.h"

/*
 * etl_qualified_operator: see land.h.
 */
char *
etl_qualified_operator(Oid operator)
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
						landing->stream->target),
				 errhint("Correct key or event_time, or declare the column in columns.")));
	type = get_atttype(RelationGetRelid(landing->rel), attnum);
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_GT_OPR);
	operator= greater ? entry->gt_opr : entry->eq_opr;
	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("column \"%s\" of type %s cannot be compared", column, format_type_be(type)),
				 errhint("Choose another key or event_time.")));
	return etl_qualified_operator(operator);
}

/*
 * is_of_input tells whether the input says anything of a column: it has a
 * field for it, or would have NULL.
 */
static bool
is_of_input(EtlLanding *landing, AttrNumber attnum)
{
	for (int c = 0; c < landing->ncolumns; c++)
		if (landing->columns[c].attnum == attnum)
			return landing->columns[c].default_value == NULL || landing->columns[c].ever_mapped;
	return true;
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

		if (att->attisdropped || att->attgenerated || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			continue;
		appendStringInfo(bare, "%s%s", bare->len ? ", " : "", name);
		if (!is_of_input(landing, att->attnum))
			continue;
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
 * newest_sql writes the query that leaves one staged record per key.
 */
static char *
newest_sql(EtlLanding *landing)
{
	const EtlStream *stream = landing->stream;
	StringInfoData keys;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&keys);
	foreach(cell, stream->key)
		appendStringInfo(&keys, "%s%s", keys.len ? ", " : "", quote_identifier(lfirst(cell)));
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT DISTINCT ON (%s) * FROM etl_staged ORDER BY %s", keys.data, keys.data);
	if (stream->event_time != NULL)
		appendStringInfo(&sql, ", %s DESC NULLS LAST", quote_identifier(stream->event_time));
	appendStringInfoString(&sql, ", _etl_load_id DESC, _etl_row DESC");
	return sql.data;
}

/*
 * merge_sql writes the statement: the newest record of each key, compared
 * with the relation, the difference applied, counted by what became of it.
 * Its condition has the rows updated while they are compared: counted first,
 * all pages would be read for the comparison and once more for the update.
 */
static char *
merge_sql(EtlLanding *landing)
{
	const EtlStream *stream = landing->stream;
	StringInfoData bare,
		new,
		current,
		set,
		join,
		sql;
	/* partitions have places of the same number */
	const char *same_table = landing->rel->rd_rel->relkind == RELKIND_RELATION &&
									 !landing->rel->rd_rel->relhassubclass ?
								 "" :
								 " AND t.tableoid OPERATOR(pg_catalog.=) s.\"etl table\"";
	ListCell   *cell;

	column_lists(landing, &bare, &new, &current, &set);
	initStringInfo(&join);
	foreach(cell, stream->key)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(&join, "%st.%s %s n.%s", join.len ? " AND " : "", name,
						 column_operator(landing, lfirst(cell), false), name);
	}

	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		"WITH compared AS MATERIALIZED (SELECT n.*, t.ctid AS \"etl tid\", t.tableoid AS \"etl table\","
		" CASE WHEN t.ctid IS NULL THEN 'i' WHEN %s THEN 'o'"
		" WHEN pg_catalog.record_image_eq(ROW(%s), ROW(%s)) THEN 'u' ELSE 'c' END AS \"etl op\""
		" FROM etl_newest n LEFT JOIN %s t ON %s),"
		" changed AS (UPDATE %s t SET %s FROM compared s"
		" WHERE s.\"etl op\" OPERATOR(pg_catalog.=) 'c' AND t.ctid OPERATOR(pg_catalog.=) s.\"etl "
		"tid\"%s"
		" RETURNING 1),"
		" added AS (INSERT INTO %s (%s) SELECT %s FROM compared"
		" WHERE \"etl op\" OPERATOR(pg_catalog.=) 'i' RETURNING 1)"
		" SELECT (SELECT pg_catalog.count(*) FROM added), (SELECT pg_catalog.count(*) FROM "
		"changed),"
		" pg_catalog.count(*) FILTER (WHERE \"etl op\" OPERATOR(pg_catalog.=) 'u'),"
		" pg_catalog.count(*) FILTER (WHERE \"etl op\" OPERATOR(pg_catalog.=) 'o'),"
		" pg_catalog.count(*) FROM compared"
		" WHERE (SELECT pg_catalog.count(*) FROM changed) OPERATOR(pg_catalog.>=) 0",
		older_condition(landing), new.data, current.data, stream->target, join.data, stream->target,
		set.data, same_table, stream->target, bare.data, bare.data);
	return sql.data;
}

/* Staged rows on their way into the relation, and what became of them. */
typedef struct MergeWork
{
	EtlLanding *landing;
	const char *newest;			/* what the statements are */
	const char *sql;
	Tuplestorestate *rows;
	int64		n;
	int64		count[5];		/* added, changed, unchanged, older, of distinct keys */
} MergeWork;

/*
 * register_rows makes rows of the relation readable as 'name'.
 */
static void
register_rows(EtlLanding *landing, char *name, Tuplestorestate *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = name;
	enr->md.reliddesc = RelationGetRelid(landing->rel);
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(rows);
	enr->reldata = rows;
	SPI_register_relation(enr);
}

/*
 * newest_rows returns the newest staged record of each key.  They are put
 * aside, as the planner asks how many they are.
 */
static Tuplestorestate *
newest_rows(MergeWork *work)
{
	SPIExecuteOptions options = {0};
	Tuplestorestate *newest;

	if (work->n == 1)
		return work->rows;
	newest = tuplestore_begin_heap(true, false, work_mem);
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, newest, CurrentMemoryContext, false, NULL, NULL);
	register_rows(work->landing, "etl_staged", work->rows);
	if (SPI_execute_extended(work->newest, &options) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", work->newest);
	return newest;
}

/*
 * merge_rows runs the statement over staged rows.  'arg' is a MergeWork.
 */
static void
merge_rows(void *arg)
{
	MergeWork  *work = arg;
	int64	   *count = work->count;
	Tuplestorestate *newest;

	SPI_connect();
	newest = newest_rows(work);
	register_rows(work->landing, "etl_newest", newest);
	if (SPI_execute(work->sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "unexpected result of: %s", work->sql);
	for (int i = 0; i < 5; i++)
	{
		bool		isnull;

		count[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1,
											   &isnull));
	}
	if (newest != work->rows)
		tuplestore_end(newest);
	SPI_finish();

	/* a trigger that suppresses a row would otherwise break the accounting */
	if (count[0] + count[1] + count[2] + count[3] != count[4])
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger or rule of \"%s\" kept rows of a merge from being written",
						work->landing->stream->target),
				 errhint("Drop it: what a merge stream holds is decided by its key and order.")));
}

/*
 * refuse_row notes the only staged row as one that the relation refused;
 * replays have the record at hand.
 */
static List *
refuse_row(EtlLanding *landing, Tuplestorestate *rows, const ErrorData *error, List *refused)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(landing->rel), &TTSOpsMinimalTuple);
	EtlReject  *reject = palloc0(sizeof(EtlReject));
	EtlReasons	reasons = {0};
	bool		isnull;

	etl_fault_reason(&reasons, error);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	if (!tuplestore_gettupleslot(rows, true, false, slot))
		elog(ERROR, "a staged row is missing");
	reject->load_id = DatumGetInt64(slot_getattr(slot, landing->load_id_attnum, &isnull));
	reject->position = DatumGetInt64(slot_getattr(slot, landing->row_attnum, &isnull));
	reject->reasons = etl_reasons_end(&reasons);
	ExecDropSingleTupleTableSlot(slot);
	return lappend(refused, reject);
}

/*
 * merge_range merges staged rows, halving them where rows are refused.
 */
static void
merge_range(const MergeWork *all, Tuplestorestate *rows, int64 n, List **refused)
{
	EtlLanding *landing = all->landing;
	EtlLoad    *load = landing->load;
	MergeWork	work = {landing, all->newest, all->sql, rows, n};
	ErrorData  *error;
	TupleTableSlot *slot;

	CHECK_FOR_INTERRUPTS();
	error = etl_subxact(merge_rows, &work);
	if (error == NULL)
	{
		load->rows_loaded += work.count[0];
		load->rows_updated += work.count[1];
		load->rows_unchanged += work.count[2];
		load->rows_deduplicated += work.count[3] + (n - work.count[4]);
		if (landing->replay != NULL)
			landing->replay->superseded = work.count[3] > 0;
		return;
	}
	if (!etl_fault_of_row(error) || (landing->originals == NULL && landing->replay == NULL))
		etl_rethrow(error);
	if (n == 1)
	{
		*refused = refuse_row(landing, rows, error, *refused);
		return;
	}

	slot = MakeSingleTupleTableSlot(RelationGetDescr(landing->rel), &TTSOpsMinimalTuple);
	for (int half = 0; half < 2; half++)
	{
		Tuplestorestate *part = tuplestore_begin_heap(false, false, work_mem);
		int64		first = half == 0 ? 0 : n / 2;
		int64		last = half == 0 ? n / 2 : n;

		tuplestore_select_read_pointer(rows, 0);
		tuplestore_rescan(rows);
		(void) tuplestore_skiptuples(rows, first, true);
		for (int64 i = first; i < last && tuplestore_gettupleslot(rows, true, false, slot); i++)
			tuplestore_puttupleslot(part, slot);
		ExecClearTuple(slot);
		merge_range(all, part, last - first, refused);
		tuplestore_end(part);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * etl_merge_apply brings the staged rows into the relation and counts them
 * as loaded, updated, unchanged, deduplicated or rejected.  Its statements
 * are not compiled: few rows of a large table look costly enough for that,
 * and compiling took a tenth of the time that merging 30,000 takes.
 */
void
etl_merge_apply(EtlLanding *landing, Tuplestorestate *staged)
{
	MergeWork	work = {landing};
	List	   *refused = NIL;
	int64		n = tuplestore_tuple_count(staged);
	int			level;
	ListCell   *cell;

	if (n == 0)
		return;
	work.newest = newest_sql(landing);
	work.sql = merge_sql(landing);
	level = NewGUCNestLevel();
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	merge_range(&work, staged, n, &refused);
	AtEOXact_GUC(false, level);
	if (refused == NIL)
		return;
	if (landing->originals != NULL)
		etl_originals_restore(landing->originals, refused, etl_records_are_rows(landing->options));
	foreach(cell, refused)
	{
		EtlReject  *reject = lfirst(cell);
		EtlReasons	reasons = {0};

		etl_reasons_add_all(&reasons, reject->reasons);
		etl_rejects_add(landing->rejects, reject->position, reject->raw, reject->raw_length,
						reject->record_size, &reasons);
	}
	etl_event_time_recount(landing);
}
