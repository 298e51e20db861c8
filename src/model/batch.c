/*-------------------------------------------------------------------------
 *
 * batch.c
 *    Building one slice of a model's event time.
 *
 * The query is restricted in its tree to the rows of the result whose event
 * time lies in the slice: the relations that it comes from where that can be
 * told, the result otherwise.  What comes out replaces what the table holds
 * of the slice, in one transaction with the slice's row in the ledger.  A
 * row whose event time lies elsewhere, or nowhere, is an error: it would be
 * lost, or counted twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "model/lost.h"

/* of a row that is shown in an error */
#define SHOWN_BYTES 500

void
etl_slice_refuse(const EtlModel *model, const EtlSlicing *slicing, TupleTableSlot *row,
				 TimestampTz since, TimestampTz until)
{
	char	   *shown;
	bool		isnull;
	TimestampTz at;
	Datum		value = slot_getattr(row, slicing->resno, &isnull);

	BlessTupleDesc(row->tts_tupleDescriptor);
	shown = TextDatumGetCString(DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(row)));
	if (strlen(shown) > SHOWN_BYTES)
		shown = psprintf("%.*s…", pg_mbcliplen(shown, strlen(shown), SHOWN_BYTES), shown);
	if (isnull || !etl_slice_value(slicing, value, &at))
		ereport(ERROR,
				(errcode(ETL_ERR_INTERVAL),
				 errmsg("the query of %s yields a row without an event time, which lies in no interval",
						model->target),
				 errdetail("Column \"%s\" is null or infinite in %s.", slicing->column, shown),
				 errhint("Leave such rows out with WHERE, or give them a time with coalesce.")));
	ereport(ERROR,
			(errcode(ETL_ERR_INTERVAL),
			 errmsg("the query of %s yields a row outside of the interval %s that is built", model->target,
					since == DT_NOBEGIN ? "" : etl_slice_text(slicing, since, until)),
			 errdetail("The row is %s.", shown),
			 errhint("Column \"%s\" must depend on the row alone: a function in it gives another value each "
					 "time.", slicing->column)));
}

/* ---- the query of a slice ---- */

EtlDelta *
etl_slice_delta(const EtlModel *model, const EtlDue *due)
{
	EtlDelta   *delta = palloc0(sizeof(EtlDelta));
	EtlDeltaKey *key = palloc0(sizeof(EtlDeltaKey));
	TargetEntry *entry = list_nth_node(TargetEntry, due->query->targetList, due->slicing->resno - 1);

	delta->query = copyObject(due->query);
	key->column = pstrdup(due->slicing->column);
	key->resno = entry->resno;
	key->type = due->slicing->type;
	key->typmod = exprTypmod((Node *) entry->expr);
	delta->keys = list_make1(key);
	delta->slicing = due->slicing;
	delta->slice = due->slice;

	/* a query that is too large is cut around it: there are no places */
	delta->wrapped = true;
	if (etl_query_is_too_large(delta->query))
		return delta;
	etl_query_inline(delta->query);
	etl_restrict_places(delta, get_role_oid(model->owner, false));
	return delta;
}

Query *
etl_slice_query(const EtlDue *due)
{
	const char *column = quote_identifier(due->slicing->column);
	Oid			type = due->slicing->type;
	char	   *since = "true";

	if (due->begin != DT_NOEND)
		since = psprintf("c.%s OPERATOR(pg_catalog.>=) %s", column,
						 etl_slice_literal(type, due->begin));
	return etl_query_around(copyObject(due->query), "*",
							psprintf("c.%s IS NULL OR NOT pg_catalog.isfinite(c.%s)"
									 " OR (%s AND c.%s OPERATOR(pg_catalog.<) %s)",
									 column, column, since,
									 column, etl_slice_literal(type, due->end)),
							create_queryEnv());
}

/* ---- rows that lie in no slice ---- */

typedef struct Refusal
{
	DestReceiver pub;
	const EtlModel *model;
	const EtlSlicing *slicing;
} Refusal;

static bool
refuse_row(TupleTableSlot *slot, DestReceiver *self)
{
	Refusal    *refusal = (Refusal *) self;

	etl_slice_refuse(refusal->model, refusal->slicing, slot, DT_NOBEGIN, DT_NOBEGIN);
}

static void
refuse_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
refuse_nothing(DestReceiver *self)
{
}

void
etl_slices_check_unplaced(const EtlModel *model, const EtlDue *due)
{
	Refusal		refusal = {{refuse_row, refuse_startup, refuse_nothing, refuse_nothing, DestNone},
					   model,
					   due->slicing};
	EtlDelta   *delta = etl_slice_delta(model, due);
	QueryEnvironment *environment = create_queryEnv();

	etl_execute_query(etl_delta_rewrite(delta, false, environment), model->query, environment, &refusal.pub);
}

/* ---- keys that move from slice to slice ---- */

/*
 * key_match renders that row x of the staged ones has the key of row c of
 * the table.
 */
static char *
key_match(const EtlModel *model, TupleDesc desc)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, model->key)
	{
		const char *name = quote_identifier(lfirst(cell));

		for (int i = 0; i < desc->natts; i++)
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), lfirst(cell)) == 0)
				appendStringInfo(&sql, "%s%s", sql.len ? " AND " : "",
								 etl_sql_equals(TupleDescAttr(desc, i)->atttypid, psprintf("x.%s", name),
												psprintf("c.%s", name)));
	}
	return sql.data;
}

/* Rows of other slices whose keys come in this one. */
typedef struct Movers
{
	DestReceiver pub;
	const EtlModel *model;
	const EtlSlicing *slicing;
	List	   *ledger;			/* EtlSlice * */
	int			n;
} Movers;

/*
 * move_row allows that a key leaves a slice that will be built again; in one
 * that is done it would be there twice.
 */
static bool
move_row(TupleTableSlot *slot, DestReceiver *self)
{
	Movers	   *movers = (Movers *) self;
	bool		isnull;
	Datum		value = slot_getattr(slot, 1, &isnull);
	TimestampTz at;
	ListCell   *cell;

	movers->n++;
	if (isnull || !etl_slice_value(movers->slicing, value, &at))
		return true;
	foreach(cell, movers->ledger)
	{
		EtlSlice   *slice = lfirst(cell);

		if (at >= slice->since && at < slice->until && strcmp(slice->status, "done") == 0)
			ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
							errmsg("the query of %s yields more than one row for a key",
								   movers->model->target),
							errdetail("Key %s is in the interval %s, too.",
									  TextDatumGetCString(slot_getattr(slot, 2, &isnull)),
									  etl_slice_text(movers->slicing, slice->since, slice->until)),
							errhint("Make the query yield one row a key, or give a key that holds "
									"the event time.")));
	}
	return true;
}

/*
 * count_movers counts rows of other slices whose keys come in this one.
 */
static int
count_movers(const EtlModel *model, const EtlDue *due, TupleDesc desc, Tuplestorestate *rows, int64 n,
			 const char *in_slice)
{
	Movers		movers = {{move_row, refuse_startup, refuse_nothing, refuse_nothing, DestNone},
					 model,
					 due->slicing,
					 NIL,
					 0};
	QueryEnvironment *environment = create_queryEnv();
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, model->key)
		appendStringInfo(&columns, "%sc.%s", columns.len ? ", " : "", quote_identifier(lfirst(cell)));
	movers.ledger = etl_intervals_read(model->target);
	etl_environment_add(environment, "etl_staged", desc, rows, n);
	etl_execute(
		psprintf(
			"SELECT c.%s, (SELECT pg_catalog.row_to_json(k.*)::pg_catalog.text FROM (SELECT %s) k)"
			" FROM etl_staged x JOIN %s c ON %s WHERE (%s) IS NOT TRUE",
			quote_identifier(due->slicing->column), columns.data, etl_quoted_relation(due->relid),
			key_match(model, desc), in_slice),
		environment, &movers.pub);
	return movers.n;
}

/* ---- several slices at the same time ---- */

/*
 * checks_stay_apart tells whether no unique check can put a row of one slice
 * aside for one of another, or let it in: there is none, or one of the time.
 */
static bool
checks_stay_apart(const EtlModel *model)
{
	int			n = 0;
	bool		apart = true;
	ListCell   *cell;

	foreach(cell, etl_checks_of(model->target))
	{
		EtlCheck   *check = lfirst(cell);

		if (strcmp(check->kind, "unique") != 0 || strcmp(check->on_fail, "quarantine") != 0)
			continue;
		n++;
		apart &= etl_name_among(check->columns, model->event_time);
	}
	return apart && n <= 1;
}

/*
 * etl_model_slices_apart tells whether no row of one slice can be in the way
 * of another's: where a key may move from slice to slice, it must be seen
 * what became of the other.  Hooks and new partitions are for one at a time.
 */
bool
etl_model_slices_apart(const EtlModel *model)
{
	bool		apart = model->key == NIL || etl_name_among(model->key, model->event_time);

	return apart && checks_stay_apart(model) && !etl_model_is_partitioned(model) &&
		   !etl_json_has(model->options, "pre_hook") && !etl_json_has(model->options, "post_hook");
}

/* ---- staging ---- */

EtlDiff *
etl_slice_stage(EtlDriver *driver, const EtlModel *model, EtlDue *due, EtlCheckSet *checks,
				EtlBuildResult *result)
{
	EtlDelta   *delta = etl_slice_delta(model, due);
	TupleDesc	desc = etl_query_desc(due->query);
	QueryEnvironment *environment = create_queryEnv();
	EtlDiffScope scope = {etl_delta_scope(delta, "c", false)};
	EtlWriter  *writer;
	Tuplestorestate *rows;

	if (etl_rejects_any_open(model->target))
		etl_rejects_supersede_slice(model->target, due->slicing->column, due->slice, due->slicing->wall);
	writer = etl_writer_begin(model, desc, checks, driver->run_id);
	rows = etl_writer_to_tuplestore(writer);
	etl_writer_guard(writer, due->slicing, due->slice->since, due->slice->until);
	etl_execute_query(etl_delta_rewrite(delta, false, environment), model->query, environment,
					  etl_writer_receiver(writer));
	etl_writer_end(writer);
	result->rejected += etl_writer_rejected(writer);
	etl_reshape(due);
	if (model->key != NIL && !etl_name_among(model->key, model->event_time))
		etl_lost_forget_moved(model, checks, due->relid, desc, rows, etl_writer_rows(writer));
	if (model->key != NIL && etl_writer_rows(writer) > 0 &&
		count_movers(model, due, desc, rows, etl_writer_rows(writer), scope.condition) > 0)
		scope.condition = psprintf("(%s OR EXISTS (SELECT FROM etl_staged x WHERE %s))", scope.condition,
								   key_match(model, desc));
	return etl_diff_compute(model, due->relid, desc, rows, etl_writer_rows(writer), environment, &scope, NIL);
}

/* ---- the ledger ---- */

/*
 * all_slices lists what a full build has built.
 */
static List *
all_slices(const EtlModel *model, const EtlDue *due)
{
	TimestampTz since = due->begin;
	List	   *slices = NIL;
	EtlRunAs	as;

	if (since == DT_NOEND)
	{
		etl_run_as_begin(&as, model->owner, model->settings);
		since = etl_intervals_first(model->query, due->slicing,
									etl_query_analyze(psprintf("SELECT %s FROM %s",
															   quote_identifier(due->slicing->column),
															   etl_quoted_relation(due->built)),
													  create_queryEnv()));
		etl_run_as_end(&as);
	}
	for (; since < due->end; since = etl_slice_next(due->slicing, since))
	{
		EtlSlice   *slice = palloc0(sizeof(EtlSlice));

		CHECK_FOR_INTERRUPTS();
		slice->since = since;
		slice->until = etl_slice_next(due->slicing, since);
		slices = lappend(slices, slice);
	}
	return slices;
}

void
etl_slices_remember(EtlDriver *driver, const EtlModel *model, const EtlDue *due, const EtlBuildResult *result)
{
	if (due->slice != NULL)
		etl_interval_done(model->target, due->slice, driver->run_id,
						  result->inserted + result->updated + result->deleted);
	else if (due->sliced)
	{
		if (due->anew)
			etl_intervals_forget(model->target);
		etl_intervals_add(model->target, due->made_due);
	}
	else
		etl_intervals_replace(model->target, all_slices(model, due), driver->run_id);
}

TimestampTz
etl_slice_instant(const EtlModel *model, TimestampTz instant)
{
	EtlSlicing *slicing;
	EtlRunAs	as;

	if (etl_model_missing(model) != NULL)
		return instant;
	etl_run_as_begin(&as, model->owner, model->settings);
	slicing = etl_slicing_of(model, etl_query_analyze(model->query, NULL));
	etl_run_as_end(&as);
	return etl_slice_time(slicing, instant);
}
