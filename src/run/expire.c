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

#include "catalog/expiry.h"
#include "catalog/history.h"
#include "common/clock.h"
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

/*
 * needed tells why loads of a stream stay; NULL: they may go.  The models
 * whose keys freeze are kept from being built until this transaction ends.
 */
static char *
needed(const EtlStream *stream, List *loads, bool dry_run, List **frozen)
{
	char	   *why = etl_model_needs(stream->target, loads, frozen);
	ListCell   *cell;

	if (why != NULL || *frozen == NIL || dry_run)
		return why;
	foreach(cell, *frozen)
		if (!etl_try_lock_node(lfirst(cell)))
			return psprintf("%s is at work", (char *) lfirst(cell));
	/* as it is now, with the locks */
	return etl_model_needs(stream->target, loads, frozen);
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
	char	   *why = NULL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, etl_stream_expiring(stream, etl_now()))
	{
		EtlExpiry  *expiry = lfirst(cell);
		List	   *frozen = NIL;

		CHECK_FOR_INTERRUPTS();
		if (why == NULL)
			why = needed(stream, expiry->loads, dry_run, &frozen);
		if (result != NULL)
			put_loads(result, stream->target, expiry, why ? "keep" : etl_expiry_action(stream), why);
		if (why != NULL || dry_run)
			continue;
		foreach(other, frozen)
			etl_model_freeze(lfirst(other), stream->target, expiry->loads);
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
