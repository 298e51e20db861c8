/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *    Snapshots: what a query yielded, and since when, and until when.
 *
 * The rows that a query yields now are merged into the versions that the
 * table holds, as a difference that diff.c then applies.  Nothing is ever
 * rebuilt: a full build compares everything, an incremental one the keys
 * that changed, and both write only what differs.
 *
 * timestamp: a row says itself since when it holds.  It becomes a version of
 * its own wherever that moment lies: at the end, before the first version,
 * or inside one, which it splits.  A row whose moment is that of a version
 * corrects it.
 *
 * check: a row whose columns differ from the current version's becomes the
 * next version, from the moment of the build on, or from its event_time.
 *
 * Moments of one key always rise: where the clock stands still, a version
 * begins a microsecond after the one before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "common/clock.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/parse.h"
#include "model/snapshot.h"

/* ---- the rows at hand ---- */

/*
 * a_row returns, as text, a row of what a query from the staged rows yields;
 * NULL when it yields none.
 */
static char *
a_row(const EtlMerge *merge, const char *columns, const char *rest)
{
	return etl_first_text(psprintf("SELECT pg_catalog.row_to_json(k.*)::pg_catalog.text FROM"
								   " (SELECT %s FROM %s s %s LIMIT 1) k",
								   columns, merge->staged, rest),
						  merge->environment);
}

/*
 * require_moments raises 23502 for a row that does not tell its moment.
 */
static void
require_moments(const EtlMerge *merge)
{
	char	   *without = a_row(merge, etl_diff_column_list(merge->model->key, "s."),
						  "WHERE s.etl_at IS NULL OR NOT pg_catalog.isfinite(s.etl_at)");

	if (without != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a row of %s does not tell since when it holds", merge->model->target),
				 errdetail("Column \"%s\" is null or infinite for key %s.",
						   merge->model->event_time, without),
				 errhint("Leave such rows out of the query, or define a not_null check with "
						 "on_fail quarantine.")));
}

/*
 * require_one_row makes rows that are there twice one, and raises 23505 for
 * two different rows of a key and a moment.
 */
static void
require_one_row(EtlMerge *merge)
{
	char	   *key = psprintf("%s%s", etl_diff_column_list(merge->model->key, "s."),
						 merge->history ? ", s.etl_at" : "");
	char	   *row = psprintf("ROW(%s)::pg_catalog.text COLLATE pg_catalog.\"C\"",
						 etl_diff_column_list(merge->columns, "s."));
	char	   *twice;

	if (a_row(merge, key,
			  psprintf("GROUP BY %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1", key)) ==
		NULL)
		return;
	twice = a_row(merge, key, psprintf("GROUP BY %s HAVING pg_catalog.min(%s) OPERATOR(pg_catalog.<>)"
									   " pg_catalog.max(%s)", key, row, row));
	if (twice != NULL)
		ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
						errmsg("the query of %s yields more than one row for a key%s",
							   merge->model->target, merge->history ? " at one time" : ""),
						errdetail("Key %s comes more than once.", twice),
						errhint("Make the query yield one of them, for example with SELECT "
								"DISTINCT ON (%s) … ORDER BY%s.",
								etl_diff_key_columns(merge->model),
								merge->history || etl_snapshot_by_time(merge->model) ?
									"" :
									", or say with event_time which column tells the order")));
	merge->staged = psprintf("(SELECT DISTINCT ON (%s) * FROM %s s)", key, merge->staged);
}

/*
 * has_null_key tells whether a staged row has a NULL in its key.
 */
static bool
has_null_key(const EtlMerge *merge)
{
	StringInfoData condition;
	ListCell   *cell;

	initStringInfo(&condition);
	foreach(cell, merge->model->key)
		appendStringInfo(&condition, "%ss.%s IS NULL", condition.len ? " OR " : "WHERE ",
						 quote_identifier(lfirst(cell)));
	return a_row(merge, "1", condition.data) != NULL;
}

/*
 * prepare fills in what all queries of a merge share.
 */
static void
prepare(EtlMerge *merge)
{
	const EtlModel *model = merge->model;
	char	   *key = etl_diff_key_columns(model);

	merge->table = etl_quoted_relation(merge->relid);
	merge->columns = etl_diff_common_columns(merge->relid, merge->desc);
	merge->history = model->event_time != NULL;
	merge->marked = etl_snapshot_marks(model) || (get_attnum(merge->relid, "is_deleted") > 0 &&
												  !etl_name_among(merge->columns, "is_deleted"));
	merge->now = psprintf("'%s'::pg_catalog.timestamptz", timestamptz_to_str(etl_now()));
	merge->staged = psprintf("(SELECT *, ROW(%s) AS etl_key, %s AS etl_at FROM etl_staged)", key,
							 merge->history ? psprintf("%s::pg_catalog.timestamptz",
													   quote_identifier(model->event_time)) :
											  merge->now);
	merge->current = psprintf(
		"(SELECT ROW(%s) AS etl_key, t.tableoid AS etl_table, t.ctid AS etl_ctid, t.* FROM %s t)",
		key, merge->table);
	merge->empty =
		etl_first_text(psprintf("SELECT ''::pg_catalog.text FROM %s LIMIT 1", merge->table),
					   NULL) == NULL;
	if (merge->history)
		require_moments(merge);
	require_one_row(merge);
	merge->by_columns = !has_null_key(merge);
}

bool
etl_snapshot_by_time(const EtlModel *model)
{
	return model->strategy != NULL ? strcmp(model->strategy, "timestamp") == 0 : model->event_time != NULL;
}

/*
 * key_attributes returns the columns that are the key.  That a key may come
 * more than once, with several moments, does not matter to the planner.
 */
static Bitmapset *
key_attributes(const EtlModel *model, TupleDesc desc)
{
	Bitmapset  *key = NULL;

	for (int i = 0; i < desc->natts; i++)
		if (etl_name_among(model->key, NameStr(TupleDescAttr(desc, i)->attname)))
			key = bms_add_member(key, i + 1);
	return key;
}

/*
 * etl_snapshot_stage computes the difference that staged rows make, which it
 * takes over.  'scope' is a condition on row c of the table: of its keys the
 * staged rows tell everything; NULL when no key can be gone.
 */
EtlDiff *
etl_snapshot_stage(const EtlModel *model, EtlDue *due, Tuplestorestate *staged, int64 staged_rows,
				   Tuplestorestate *quarantined, QueryEnvironment *environment, const char *scope)
{
	EtlMerge	merge = {model, due->relid, NULL, etl_query_desc(due->query)};
	char	   *deletes = etl_json_get_text(model->options, "hard_deletes");
	bool		follows_deletes = deletes != NULL && strcmp(deletes, "ignore") != 0;
	StringInfoData sql;
	EtlDiff    *diff;

	merge.environment = environment;
	etl_environment_add_keyed(environment, "etl_staged", merge.desc, staged, staged_rows,
							  key_attributes(model, merge.desc));
	if (quarantined != NULL)
		etl_environment_add(environment, "etl_quarantined", merge.desc, quarantined, 1000);
	prepare(&merge);

	initStringInfo(&sql);
	appendStringInfoString(&sql, etl_snapshot_by_time(model) ?
									 etl_snapshot_observed(&merge) :
									 etl_snapshot_compared(&merge, due->added));
	if (etl_snapshot_by_time(model) && !merge.empty &&
		(follows_deletes || due->state->built_version != model->version))
		appendStringInfoString(&sql, etl_snapshot_returned(&merge));
	if (follows_deletes && !merge.empty && scope != NULL)
		appendStringInfoString(&sql, etl_snapshot_vanished(&merge, scope, quarantined != NULL));

	diff = etl_diff_make(due->relid,
						 list_concat(list_copy(merge.columns), etl_snapshot_columns(merge.marked)),
						 etl_snapshot_desc(merge.desc, merge.marked), sql.data, environment);
	diff->key = lappend(list_copy(model->key), "valid_from");	/* no version changes them */
	tuplestore_end(staged);
	if (quarantined != NULL)
		tuplestore_end(quarantined);
	return diff;
}
