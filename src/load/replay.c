/*-------------------------------------------------------------------------
 *
 * replay.c
 *    Rejects on their second way, and streams on theirs: replay, discard,
 *    reload, reset.
 *
 * A replayed record is decoded again from its bytes, corrected by the patch,
 * and takes the same path as any other record; it keeps the (load, position)
 * that it was first read with.  The replay itself is a load with origin
 * 'replay', so that its accounting is there and closes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/run_as.h"
#include "load/children.h"
#include "load/dialect.h"
#include "load/landing.h"
#include "load/reread.h"

PG_FUNCTION_INFO_V1(etl_sql_replay);
PG_FUNCTION_INFO_V1(etl_sql_discard);

#define CHUNK 200

/* Numbers of rejects, ascending. */
typedef struct Ids
{
	int64	   *ids;
	int			n;
	int			room;
} Ids;

/* A replay at work. */
typedef struct Replay
{
	EtlStream  *stream;
	EtlReread  *reread;
	EtlLanding	landing;
	EtlLoad		load;
	MemoryContext record_context;
} Replay;

/*
 * etl_stream_operated: see landing.h.
 */
EtlStream *
etl_stream_operated(const char *target, const char *other_role)
{
	EtlStream  *stream = etl_stream_get(etl_environment_target(etl_name_canonical(target)));
	const char *roles[2] = {"etl_operator", other_role};

	for (int i = 0; i < 2; i++)
	{
		Oid			role = roles[i] ? get_role_oid(roles[i], true) : InvalidOid;

		if (OidIsValid(role) && has_privs_of_role(GetUserId(), role))
			return stream;
	}
	etl_check_owner(stream->owner, "stream", stream->target);
	return stream;
}

/*
 * stream_for returns the stream that the first argument names.
 */
static EtlStream *
stream_for(FunctionCallInfo fcinfo, const char *other_role)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED), errmsg("the name of a stream must not be null")));
	return etl_stream_operated(text_to_cstring(PG_GETARG_TEXT_PP(0)), other_role);
}

/*
 * check_filter raises 42501 unless the caller may see the rejects: a
 * condition can tell what they hold.
 */
static void
check_filter(const EtlStream *stream)
{
	Oid			steward = get_role_oid("etl_steward", true);
	Oid			owner = get_role_oid(stream->owner, true);

	if ((OidIsValid(steward) && has_privs_of_role(GetUserId(), steward)) ||
		(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to filter the rejects of \"%s\"", stream->target),
			 errdetail("Only the owner of the stream and members of etl_steward see its rejects."),
			 errhint("Leave the filter out, or let one of them do it.")));
}

/*
 * add_id appends a number.
 */
static void
add_id(Ids *ids, int64 id)
{
	if (ids->n == ids->room)
	{
		ids->room = Max(ids->room * 2, 1024);
		ids->ids = ids->ids ? repalloc_huge(ids->ids, sizeof(int64) * ids->room) :
							  palloc(sizeof(int64) * ids->room);
	}
	ids->ids[ids->n++] = id;
}

/*
 * filter_chunk adds the rejects of a chunk that the caller's condition
 * selects.  It runs as the caller, who sees nothing here that the view
 * etl.rejects would not show; numbers that are not in the chunk, which text
 * that is more than a condition can bring in, are passed over.
 */
static void
filter_chunk(EtlRows *rows, const char *filter, Ids *ids)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	MemoryContext context = CurrentMemoryContext;
	int			at = 0;

	for (int i = 0; i < rows->n; i++)
		tuplestore_puttuple(store, rows->rows[i]);
	enr->md.name = "rejects";
	enr->md.tupdesc = rows->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = rows->n;
	enr->reldata = store;

	SPI_connect();
	SPI_register_relation(enr);
	if (SPI_execute(psprintf("SELECT reject_id FROM rejects WHERE (%s\n) ORDER BY reject_id", filter),
					true, 0) != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("invalid filter: %s", filter),
				 errhint("Write a condition over the columns of the view etl.rejects.")));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContext old = MemoryContextSwitchTo(context);

		while (at < rows->n && etl_row_int8(rows, at, "reject_id") < id)
			at++;
		if (at < rows->n && etl_row_int8(rows, at, "reject_id") == id)
		{
			add_id(ids, id);
			at++;
		}
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	tuplestore_end(store);
}

/*
 * select_rejects collects the open rejects that the filter selects, a chunk
 * at a time.
 */
static Ids *
select_rejects(const char *target, const char *filter)
{
	Ids		   *ids = palloc0(sizeof(Ids));
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "etl rejects", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	int64		last = 0;

	for (;;)
	{
		EtlRows    *rows;
		Ids			found = {0};

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(chunk);
		MemoryContextSwitchTo(chunk);
		rows = etl_rejects_open(target, last, CHUNK);
		/* a filter that is none is an error, also where there is nothing to filter */
		if (filter != NULL && (rows->n > 0 || last == 0))
			filter_chunk(rows, filter, &found);
		if (rows->n == 0)
			break;
		last = etl_row_int8(rows, rows->n - 1, "reject_id");
		if (filter == NULL)
			for (int i = 0; i < rows->n; i++)
				add_id(&found, etl_row_int8(rows, i, "reject_id"));
		MemoryContextSwitchTo(old);
		for (int i = 0; i < found.n; i++)
			add_id(ids, found.ids[i]);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(chunk);
	return ids;
}

/*
 * replay_record sends one reject on its way again; what became of it is in
 * the landing's EtlReplay and in the accounting.
 */
static void
replay_record(Replay *replay, EtlRows *rows, int i)
{
	EtlLanding *landing = &replay->landing;
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, "raw", &isnull);
	bytea	   *raw = isnull ? NULL : DatumGetByteaPP(value);
	EtlRecord	record = {0};
	EtlRecordState state = ETL_RECORD_END;

	landing->origin = etl_row_text(rows, i, "origin");
	if (landing->origin == NULL)
		landing->origin = "";
	landing->replay->load_id = etl_row_int8(rows, i, "load_id");
	landing->replay->position = etl_row_int8(rows, i, "position");
	landing->replay->reasons = NULL;
	landing->replay->superseded = false;

	/* of a record that was too large only the beginning is there */
	if (raw != NULL && etl_row_int8(rows, i, "record_size") == VARSIZE_ANY_EXHDR(raw))
	{
		landing->decoder =
			etl_reread_open(replay->reread, landing->replay->load_id, etl_row_bool(rows, i, "of_row"), raw,
							landing->origin);
		state = etl_decoder_next(landing->decoder, &record);
	}
	if (state == ETL_RECORD_END)
	{
		replay->load.rows_read++;
		replay->load.rows_rejected++;
		landing->replay->reasons = etl_row_jsonb(rows, i, "reasons");
		return;
	}
	record.position = landing->replay->position;
	if (state == ETL_RECORD_OK && etl_stream_parent(replay->stream) != NULL &&
		!etl_child_has_parent(replay->stream, landing->decoder, &record))
	{
		/* the record that it was an item of is not there any more, or has others */
		replay->load.rows_read++;
		replay->load.rows_deduplicated++;
		landing->replay->superseded = true;
	}
	else
		etl_landing_record(landing, &record, state == ETL_RECORD_BAD);
	etl_decoder_close(landing->decoder);
	landing->decoder = NULL;
}

/*
 * close_replayed writes what became of a reject; one that landed is closed
 * when nothing can take it away any more.
 */
static void
close_replayed(Replay *replay, int64 reject_id, int64 discarded_before)
{
	const char *target = replay->stream->target;

	if (replay->landing.replay->reasons != NULL)
		etl_reject_set_reasons(target, reject_id, replay->landing.replay->reasons);
	else if (replay->landing.replay->superseded)
		(void) etl_reject_close(target, reject_id, "superseded");
	else if (replay->load.rows_discarded > discarded_before)
		(void) etl_reject_close(target, reject_id, "discarded");
	else
		etl_landed_add(&replay->landing, reject_id);
}

/*
 * replay_all replays the selected rejects, a chunk at a time.
 */
static void
replay_all(Replay *replay, const Ids *ids)
{
	int64		last = 0;
	int			next = 0;

	while (next < ids->n)
	{
		MemoryContext old;
		EtlRows    *rows;

		MemoryContextReset(replay->record_context);
		old = MemoryContextSwitchTo(replay->record_context);
		rows = etl_rejects_open(replay->stream->target, last, CHUNK);
		for (int i = 0; i < rows->n && next < ids->n; i++)
		{
			int64		discarded = replay->load.rows_discarded;

			last = etl_row_int8(rows, i, "reject_id");
			if (last != ids->ids[next])
				continue;
			next++;
			CHECK_FOR_INTERRUPTS();
			replay_record(replay, rows, i);
			close_replayed(replay, last, discarded);
		}
		MemoryContextSwitchTo(old);
		if (rows->n == 0)
			break;
	}
}

/*
 * begin_replay prepares a landing whose records come from rejects.
 */
static void
begin_replay(Replay *replay, const Jsonb *patch)
{
	EtlLanding *landing = &replay->landing;

	landing->stream = replay->stream;
	landing->options = etl_load_options_read(replay->stream);
	landing->load = &replay->load;
	landing->context = AllocSetContextCreate(CurrentMemoryContext, "etl replay", ALLOCSET_DEFAULT_SIZES);
	landing->restart_context = landing->context;
	replay->reread = etl_reread_begin(replay->stream, landing->options);
	landing->origin = "replay";
	landing->replay = palloc0(sizeof(EtlReplay));
	landing->replay->patch = patch;
	replay->record_context = AllocSetContextCreate(landing->context, "etl replayed records",
												   ALLOCSET_DEFAULT_SIZES);

	replay->load.load_id = etl_load_next_id();
	replay->load.target = replay->stream->target;
	replay->load.origin = "replay";
	replay->load.started_at = GetCurrentTimestamp();
	replay->load.first_block = replay->load.last_block = -1;
	replay->load.last_event_time = DT_NOBEGIN;
}

/*
 * finish_replay stores the accounting and tells the models that rows of
 * former loads came.
 */
static void
finish_replay(Replay *replay)
{
	EtlLoad    *load = &replay->load;
	EtlNodeState *state;

	/* its rows carry the numbers of other loads: no block range is theirs alone */
	load->relfilenode = 0;
	etl_load_store(load);
	if (load->rows_loaded + load->rows_updated == 0)
		return;
	etl_stream_rewritten(replay->stream->target,
						 psprintf("records of former loads of %s were replayed with load " INT64_FORMAT,
								  replay->stream->target, load->load_id));
	state = etl_node_state_get(replay->stream->target);
	state->rows_changed += load->rows_loaded + load->rows_updated;
	state->publication++;
	etl_node_state_set(replay->stream->target, state);
	etl_stream_hold(replay->stream->target, load->rows_loaded - load->rows_deleted);
}

/*
 * check_patch raises ET001 unless a patch is an object.
 */
static void
check_patch(const Jsonb *patch)
{
	if (patch != NULL && !JB_ROOT_IS_OBJECT(patch))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("patch must be a JSON object of fields and their values"),
				 errhint("Write, for example, '{\"amount\": 5, \"day\": null}'.")));
}

/*
 * check_patched raises ET001 for a key of the patch that is no column and
 * that no record had as a field.
 */
static void
check_patched(EtlLanding *landing)
{
	ListCell   *cell;
	ListCell   *other;

	if (landing->replay->patch == NULL)
		return;
	foreach(cell, etl_json_keys(landing->replay->patch))
	{
		char	   *key = lfirst(cell);
		List	   *names = list_copy(landing->replay->patched);
		bool		known = false;

		for (int i = 0; i < landing->ncolumns; i++)
			names = lappend(names, landing->columns[i].name);
		foreach(other, names)
			known = known || strcmp(lfirst(other), key) == 0;
		if (!known)
		{
			const char *nearest = etl_nearest(key, names);

			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("patch names \"%s\", which is neither a column of \"%s\" nor a field of these"
							" rejects", key, landing->stream->target),
					 nearest ? errhint("The nearest is \"%s\".", nearest) : 0));
		}
	}
}

Datum
etl_sql_replay(PG_FUNCTION_ARGS)
{
	Replay	   *replay = palloc0(sizeof(Replay));
	char	   *filter = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	Jsonb	   *patch = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	Ids		   *ids;
	EtlRunAs	as;
	Oid			relid;
	int64		rejected_items = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	check_patch(patch);
	replay->stream = stream_for(fcinfo, "etl_steward");
	if (filter != NULL)
		check_filter(replay->stream);
	etl_child_lock(replay->stream);
	replay->stream = unconstify(EtlStream *, etl_dialect_known(replay->stream));
	ids = select_rejects(replay->stream->target, filter);
	if (ids->n > 0)
	{
		begin_replay(replay, patch);
		PushActiveSnapshot(GetTransactionSnapshot());
		etl_run_as_begin(&as, replay->stream->owner, replay->stream->settings);
		relid = etl_relation_ensure(replay->stream, replay->landing.options);
		if (!OidIsValid(relid))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
							errmsg("relation \"%s\" does not exist", replay->stream->target),
							errhint("Run the stream first: its first load makes the relation, "
									"where its schema_policy "
									"lets tables evolve.")));
		etl_landing_begin(&replay->landing, relid);
		replay_all(replay, ids);
		check_patched(&replay->landing);
		etl_landing_end(&replay->landing);
		etl_landed_close(replay->landing.replay, replay->stream->target);
		etl_run_as_end(&as);
		finish_replay(replay);
		rejected_items = etl_children_land(&replay->landing, &replay->load);
		PopActiveSnapshot();
	}
	values[0] = Int64GetDatum(replay->load.rows_read);
	values[1] = Int64GetDatum(replay->load.rows_loaded + replay->load.rows_updated +
							  replay->load.rows_unchanged);
	values[2] = Int64GetDatum(replay->load.rows_rejected);
	if (rejected_items > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " items of what landed were rejected", rejected_items),
				 errhint("SELECT target, reasons FROM etl.rejects WHERE target LIKE '%s\\_\\_%%' tells why.",
						 replay->stream->target)));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
etl_sql_discard(PG_FUNCTION_ARGS)
{
	EtlStream  *stream = stream_for(fcinfo, "etl_steward");
	Ids		   *ids;

	if (PG_ARGISNULL(1))
		PG_RETURN_INT64(etl_rejects_close(stream->target, 0, "discarded"));

	check_filter(stream);
	ids = select_rejects(stream->target, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	for (int i = 0; i < ids->n; i++)
		(void) etl_reject_close(stream->target, ids->ids[i], "discarded");
	PG_RETURN_INT64(ids->n);
}
