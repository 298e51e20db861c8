/*-------------------------------------------------------------------------
 *
 * expire.c
 *    Retention of streams: etl.expire, and the chore that does it.
 *
 * What goes is decided by the option retention of a stream and by the models
 * that read it; a load that a model still needs stays, and the reason is
 * told.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "catalog/child.h"
#include "catalog/expiry.h"
#include "catalog/history.h"
#include "common/clock.h"
#include "common/node_lock.h"
#include "common/run_as.h"
#include "load/load.h"
#include "model/model.h"
#include "run/expire.h"

PG_FUNCTION_INFO_V1(etl_sql_expire);

/*
 * put_loads appends a row for each load: what became of it, or would.
 */
static void
put_loads(ReturnSetInfo *result, const char *target, const EtlExpiry *expiry, const char *action,
		  const char *reason)
{
	ListCell   *cell;

	foreach(cell, expiry->loads)
	{
		EtlLoad    *load = lfirst(cell);
		Datum		values[7];
		bool		nulls[7] = {false, false, false, false, false, false, reason == NULL};

		values[0] = CStringGetTextDatum(target);
		values[1] = Int64GetDatum(load->load_id);
		values[2] = CStringGetTextDatum(load->origin);
		values[3] = TimestampTzGetDatum(load->started_at);
		values[4] = Int64GetDatum(load->rows_loaded);
		values[5] = CStringGetTextDatum(action);
		if (reason != NULL)
			values[6] = CStringGetTextDatum(reason);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* Loads of one stream that go together with those of others, and the models whose keys freeze then. */
typedef struct Going
{
	char	   *target;
	List	   *loads;			/* EtlLoad * */
	List	   *frozen;			/* char * */
} Going;

/*
 * all_going lists the loads of a stream, and what landed with them.
 */
static List *
all_going(const EtlStream *stream, List *loads)
{
	Going	   *own = palloc0(sizeof(Going));
	List	   *all = list_make1(own);
	List	   *within = NIL;
	ListCell   *cell;
	ListCell   *other;

	own->target = stream->target;
	own->loads = loads;
	if (etl_stream_children(stream->target) != NIL)
		foreach(cell, loads)
			within = list_concat(within, etl_loads_within(((EtlLoad *) lfirst(cell))->load_id));
	foreach(cell, within)
	{
		EtlChildLoad *child = lfirst(cell);
		EtlLoad    *load = palloc0(sizeof(EtlLoad));
		Going	   *going = NULL;

		foreach(other, all)
			if (strcmp(((Going *) lfirst(other))->target, child->target) == 0)
				going = lfirst(other);
		if (going == NULL)
		{
			going = palloc0(sizeof(Going));
			going->target = child->target;
			all = lappend(all, going);
		}
		load->load_id = child->load_id;
		going->loads = lappend(going->loads, load);
	}
	return all;
}

/*
 * needed tells why loads stay; NULL: they may go.  The models whose keys
 * freeze are kept from being built until this transaction ends.
 */
static char *
needed(List *all, bool dry_run)
{
	char	   *why = NULL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, all)
	{
		Going	   *going = lfirst(cell);

		why = etl_model_needs(going->target, going->loads, &going->frozen);
		if (why != NULL)
			return why;
		if (going->frozen == NIL || dry_run)
			continue;
		foreach(other, going->frozen)
			if (!etl_try_lock_node(lfirst(other)))
				return psprintf("%s is at work", (char *) lfirst(other));
		/* as it is now, with the locks */
		why = etl_model_needs(going->target, going->loads, &going->frozen);
		if (why != NULL)
			return why;
	}
	return NULL;
}

/*
 * freeze keeps the keys of models from what is left when loads are gone.
 */
static void
freeze(const Going *going)
{
	ListCell   *cell;

	foreach(cell, going->frozen)
		etl_model_freeze(lfirst(cell), going->target, going->loads);
}

/*
 * expire_stream lets go what a stream does not keep; 'result' may be NULL.
 * What is kept for a model keeps what is younger, too: there is one horizon.
 */
static void
expire_stream(const EtlStream *stream, bool dry_run, ReturnSetInfo *result)
{
	int64		rows = 0;
	int			loads = 0;
	const char *why = NULL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, etl_stream_expiring(stream, etl_now()))
	{
		EtlExpiry  *expiry = lfirst(cell);
		List	   *all = all_going(stream, expiry->loads);

		CHECK_FOR_INTERRUPTS();
		if (why == NULL && expiry->partial)
			why = "its partition holds younger loads, too, which are kept";
		if (why == NULL)
			why = needed(all, dry_run);
		if (result != NULL)
			put_loads(result, stream->target, expiry, why ? "keep" : etl_expiry_action(stream), why);
		if (why != NULL || dry_run)
			continue;
		foreach(other, all)
			freeze(lfirst(other));
		etl_stream_expire(stream, expiry);
		foreach(other, expiry->loads)
			rows += ((EtlLoad *) lfirst(other))->rows_loaded;
		loads += list_length(expiry->loads);
	}
	if (loads > 0)
		etl_log_store("info", 0, stream->target,
					  psprintf("retention removed %d loads with " INT64_FORMAT " rows", loads, rows), NULL);
}

void
etl_expire_all(void)
{
	ListCell   *cell;

	foreach(cell, etl_streams_retained())
		expire_stream(etl_stream_get(lfirst(cell)), false, NULL);
}

Datum
etl_sql_expire(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EtlGraph   *graph = etl_graph_load();
	bool		dry_run = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	etl_select(graph, PG_ARGISNULL(0) ? "*" : text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL);
	foreach(cell, etl_streams_retained())
	{
		EtlNode    *node = etl_graph_find(graph, lfirst(cell));
		EtlStream  *stream = etl_stream_get(lfirst(cell));

		if (node == NULL || !node->selected)
			continue;
		if (!dry_run)
			etl_check_owner(stream->owner, "stream", stream->target);
		expire_stream(stream, dry_run, result);
	}
	return (Datum) 0;
}
