/*-------------------------------------------------------------------------
 *
 * pull.c
 *    Fetching what is new and committing it load by load.
 *
 * A connector hands out items; an item is a load of its own (a file) or
 * joins the items before it until the pull ends, a second passed or 16 MB
 * are there.  Every load is one internal subtransaction and one commit: its
 * rows, rejects, cursor, ledger and accounting are there together or not at
 * all.  While a network is waited for, nothing is held: no snapshot, no xid,
 * no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "connector/connector.h"
#include "load/landing.h"
#include "load/load.h"

#define MAX_BATCH_BYTES (16 * 1024 * 1024)
#define MAX_BATCH_MS	1000
#define MAX_RESTARTS	100

/* One pull of one stream. */
typedef struct Pull
{
	EtlDriver  *driver;
	const EtlStream *stream;
	EtlLoadOptions *options;
	EtlPullResult *result;
	MemoryContext context;		/* of the pull and its connector */
	const EtlConnector *connector;
	EtlConnectorContext connector_context;
	void	   *state;
	Jsonb	   *cursor;			/* as committed; NULL: none */
	List	   *items;			/* EtlItem *, waiting to be landed */
	int64		bytes;
	TimestampTz batch_started;
	int64		items_seen;
	int64		items_known;	/* files that were loaded before */
} Pull;

/* The items of one load, and what its tries found out. */
typedef struct Attempt
{
	Pull	   *pull;
	List	   *items;
	Jsonb	   *position;
	MemoryContext context;
	MemoryContext try_context;
	EtlLanding *landing;
	EtlLoad		load;
	bool		infer;
	List	   *widenings;
	bool		nothing;		/* known already, or no record at all */
} Attempt;

/* Bytes of an item as stored, hashed on their way. */
typedef struct ItemReader
{
	EtlRead		read;
	Pull	   *pull;
	EtlItem    *item;
	pg_cryptohash_ctx *hash;
	int64		bytes;
} ItemReader;

/*
 * read_item is the EtlRead callback of an item.
 */
static size_t
read_item(void *arg, char *buffer, size_t size)
{
	ItemReader *reader = arg;
	size_t		n = reader->pull->connector->read(reader->pull->state, reader->item, buffer, size);

	if (reader->hash != NULL && n > 0)
		(void) pg_cryptohash_update(reader->hash, (uint8 *) buffer, n);
	reader->bytes += n;
	return n;
}

/*
 * open_reader rewinds an item and reads it from its beginning.
 */
static ItemReader *
open_reader(Pull *pull, EtlItem *item, bool hash)
{
	ItemReader *reader = palloc0(sizeof(ItemReader));

	reader->read.read = read_item;
	reader->read.arg = reader;
	reader->pull = pull;
	reader->item = item;
	pull->connector->rewind(pull->state, item);
	if (hash)
	{
		reader->hash = pg_cryptohash_create(PG_SHA256);
		if (reader->hash == NULL || pg_cryptohash_init(reader->hash) < 0)
			elog(ERROR, "could not compute a SHA-256");
	}
	return reader;
}

/*
 * finish_reader reads what the decoder left and returns the hash.
 */
static char *
finish_reader(ItemReader *reader)
{
	char	   *buffer = palloc(65536);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *hex;

	while (read_item(reader, buffer, 65536) > 0)
		CHECK_FOR_INTERRUPTS();
	pfree(buffer);
	if (reader->hash == NULL)
		return NULL;
	if (pg_cryptohash_final(reader->hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a SHA-256");
	pg_cryptohash_free(reader->hash);
	reader->hash = NULL;
	hex = palloc(sizeof(digest) * 2 + 1);
	for (int i = 0; i < sizeof(digest); i++)
		sprintf(hex + i * 2, "%02x", digest[i]);
	return hex;
}

/* ---- the file ledger ---- */

static bool
is_file(const EtlItem *item)
{
	return item->own_load && item->mtime != DT_NOBEGIN;
}

/*
 * same_as_before tells whether the ledger knows this very file, without
 * reading it.
 */
static bool
same_as_before(const EtlFile *file, const EtlItem *item)
{
	return file != NULL && file->size == item->size && file->mtime == item->mtime;
}

/*
 * same_content reads a file whose time changed and compares it with what
 * was loaded; the ledger takes over the new time.
 */
static bool
same_content(Pull *pull, EtlFile *file, EtlItem *item)
{
	char	   *hash;

	if (file->size != item->size)
		return false;
	hash = finish_reader(open_reader(pull, item, true));
	if (strcmp(hash, file->hash) != 0)
		return false;
	file->mtime = item->mtime;
	etl_file_store(pull->stream->target, file);
	return true;
}

/*
 * delete_load removes the rows of a load and closes its rejects.
 */
static int64
delete_load(Pull *pull, int64 load_id)
{
	int64		rows = etl_relation_sql(psprintf("DELETE FROM %s WHERE %s OPERATOR(pg_catalog.=) " INT64_FORMAT, pull->stream->target,
										   ETL_LOAD_ID_COLUMN, load_id));

	(void) etl_rejects_close(pull->stream->target, load_id, "superseded");
	etl_load_set_status(load_id, "superseded");
	return rows;
}

/*
 * judge_changed does with a file that was loaded before what on_change says.
 */
static void
judge_changed(Attempt *attempt, EtlFile *file, EtlItem *item)
{
	Pull	   *pull = attempt->pull;

	if (file->size >= 0 && pull->options->on_change == ETL_ON_CHANGE_ERROR)
		ereport(ERROR,
				(errcode(ETL_ERR_FILE_CHANGED),
				 errmsg("file \"%s\" has changed since it was loaded", item->origin),
				 errdetail("It was loaded as load " INT64_FORMAT " with " INT64_FORMAT
						   " bytes and has " INT64_FORMAT " now.",
						   file->load_id, file->size, item->size),
				 errhint("Write changed content under a new name, or set on_change to replace or append,"
						 " or call etl.reload('%s', '%s').", pull->stream->target, item->origin)));
	/* a reload (size -1) replaces whatever on_change says */
	if (pull->options->merge || pull->options->replace ||
		(file->size >= 0 && pull->options->on_change == ETL_ON_CHANGE_APPEND))
		return;
	if (OidIsValid(etl_name_relation(pull->stream->target)))
		attempt->load.rows_deleted += delete_load(pull, file->load_id);
}

/*
 * replace_former deletes what an asked-for reload of a stream without files
 * replaces.
 */
static void
replace_former(Attempt *attempt)
{
	const EtlStream *stream = attempt->pull->stream;
	int64		last = etl_stream_take_replace(stream->target);

	if (last == 0 || attempt->pull->options->merge || attempt->pull->options->replace)
		return;
	attempt->load.rows_deleted +=
		etl_relation_sql(psprintf("DELETE FROM %s WHERE %s OPERATOR(pg_catalog.<=) " INT64_FORMAT,
								  stream->target, ETL_LOAD_ID_COLUMN, last));
	etl_loads_supersede(stream->target, last);
}

/* ---- one load ---- */

/*
 * wider_of is the narrowest type that holds the values of both.
 */
static Oid
wider_of(Oid a, Oid b)
{
	if (a == b || !OidIsValid(b))
		return a;
	if (!OidIsValid(a))
		return b;
	if ((a == INT8OID && b == NUMERICOID) || (a == NUMERICOID && b == INT8OID))
		return NUMERICOID;
	if ((a == DATEOID && b == TIMESTAMPTZOID) || (a == TIMESTAMPTZOID && b == DATEOID))
		return TIMESTAMPTZOID;
	return TEXTOID;
}

/*
 * add_inferred merges what one item showed of its fields into 'fields'.
 */
static List *
add_inferred(List *fields, List *inferred)
{
	ListCell   *cell;

	foreach(cell, inferred)
	{
		EtlInferredColumn *column = lfirst(cell);
		EtlNewColumn *known = NULL;
		ListCell   *other;

		foreach(other, fields)
			if (strcmp(((EtlNewColumn *) lfirst(other))->field, column->field) == 0)
				known = lfirst(other);
		if (known == NULL)
		{
			known = palloc0(sizeof(EtlNewColumn));
			known->field = pstrdup(column->field);
			known->type = column->seen ? column->type : InvalidOid;
			fields = lappend(fields, known);
		}
		else
			known->type = wider_of(known->type, column->seen ? column->type : InvalidOid);
	}
	return fields;
}

/*
 * infer_fields reads every item of the load and returns the fields it has,
 * with the narrowest types that hold their values.
 */
static List *
infer_fields(Attempt *attempt)
{
	Pull	   *pull = attempt->pull;
	List	   *fields = NIL;
	ListCell   *cell;

	foreach(cell, attempt->items)
	{
		EtlItem    *item = lfirst(cell);
		MemoryContext context = AllocSetContextCreate(attempt->try_context, "etl inference",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		ItemReader *reader = open_reader(pull, item, false);
		EtlRead    *input = etl_decompress(&reader->read, pull->options->compression, item->origin);
		EtlDecoder *decoder = etl_landing_decoder(pull->stream, input, item->records_path, item->origin);
		EtlInference *inference = etl_inference_begin(&pull->options->coerce, pull->options->is_json);
		EtlRecord	record = {0};
		EtlRecordState state;
		List	   *inferred;
		int			n = 0;

		while ((state = etl_decoder_next(decoder, &record)) != ETL_RECORD_END)
		{
			if (++n % ETL_BATCH_ROWS == 0)
				CHECK_FOR_INTERRUPTS();
			if (state == ETL_RECORD_OK)
				etl_inference_add(inference, decoder, &record);
		}
		inferred = etl_inference_end(inference, decoder);
		MemoryContextSwitchTo(attempt->try_context);
		fields = add_inferred(fields, inferred);
		MemoryContextSwitchTo(context);
		etl_decoder_close(decoder);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
	}
	return fields;
}

/*
 * name_columns drops the fields that have a declared or existing column and
 * names the others.
 */
static List *
name_columns(Attempt *attempt, List *fields, Oid relid)
{
	List	   *taken = NIL;
	List	   *claimed = NIL;
	List	   *result = NIL;
	ListCell   *cell;

	if (OidIsValid(relid))
		taken = etl_relation_columns(relid);
	else
		foreach(cell, etl_columns_parse(attempt->pull->stream->columns))
			if (IsA(lfirst(cell), ColumnDef))
				taken = lappend(taken, ((ColumnDef *) lfirst(cell))->colname);

	foreach(cell, fields)
	{
		EtlNewColumn *column = lfirst(cell);
		char	   *name = etl_relation_field_column(taken, relid, column->field, claimed);

		if (name == NULL)
		{
			if (!OidIsValid(column->type))
				column->type = TEXTOID;
			name = column->name = etl_column_identifier(column->field, taken);
			taken = lappend(taken, name);
			result = lappend(result, column);
		}
		claimed = lappend(claimed, name);
	}
	return result;
}

/*
 * add_path_fields adds the path columns that the relation has no column for.
 */
static List *
add_path_fields(Attempt *attempt, List *fields)
{
	ListCell   *cell;

	foreach(cell, attempt->pull->options->path_columns)
	{
		EtlNewColumn *column = palloc0(sizeof(EtlNewColumn));

		column->field = ((EtlPathColumn *) lfirst(cell))->name;
		column->type = TEXTOID;
		fields = lappend(fields, column);
	}
	return fields;
}

/*
 * prepare_relation makes the landing relation what this load needs.
 */
static Oid
prepare_relation(Attempt *attempt)
{
	Pull	   *pull = attempt->pull;
	Oid			relid = etl_relation_ensure(pull->stream, pull->options);
	List	   *fields = NIL;
	ListCell   *cell;

	if (!OidIsValid(relid) || attempt->infer)
		fields = infer_fields(attempt);
	fields = name_columns(attempt, add_path_fields(attempt, fields), relid);
	if (!OidIsValid(relid))
		relid = etl_relation_create(pull->stream, pull->options, fields, attempt->load.load_id);
	else
		etl_relation_add_columns(pull->stream, relid, fields, attempt->load.load_id);

	foreach(cell, attempt->widenings)
	{
		EtlWidening *widening = lfirst(cell);

		etl_relation_widen(pull->stream, relid, widening->column, widening->type, attempt->load.load_id);
	}
	return relid;
}

/*
 * check_cursor raises 40001 when another session moved the stream meanwhile.
 */
static void
check_cursor(Pull *pull)
{
	Jsonb	   *now = etl_cursor_get(pull->stream->target);

	if ((now == NULL) == (pull->cursor == NULL) &&
		(now == NULL || strcmp(etl_json_text(now), etl_json_text(pull->cursor)) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("stream \"%s\" was advanced by another session meanwhile", pull->stream->target),
			 errhint("Run it again.")));
}

/*
 * land_items lands every item and finishes the ledger's entry of a file.
 */
static void
land_items(Attempt *attempt, EtlFile *file)
{
	Pull	   *pull = attempt->pull;
	EtlLanding *landing = attempt->landing;
	ListCell   *cell;

	foreach(cell, attempt->items)
	{
		EtlItem    *item = lfirst(cell);
		ItemReader *reader = open_reader(pull, item, is_file(item));

		landing->origin = item->origin;
		etl_landing_item(landing, &reader->read, item->records_path);
		file->hash = finish_reader(reader);
		attempt->load.bytes_read += reader->bytes;
		file->uri = item->origin;
		file->size = item->size;
		file->mtime = item->mtime;
	}
	etl_landing_end(landing);
}

/*
 * store_load writes what the load is accountable for.
 */
static void
store_load(Attempt *attempt, const EtlFile *file)
{
	Pull	   *pull = attempt->pull;
	EtlLoad    *load = &attempt->load;
	EtlNodeState *state;

	load->cursor = attempt->position;
	if (load->rows_loaded == 0)
		load->relfilenode = 0;
	etl_load_store(load);
	if (attempt->landing->fields != NIL)
		etl_load_set_fields(load->load_id, attempt->landing->fields);
	if (file->hash != NULL)
	{
		EtlFile		entry = *file;

		entry.load_id = load->load_id;
		etl_file_store(pull->stream->target, &entry);
	}
	if (load->rows_loaded + load->rows_updated + load->rows_deleted == 0)
		return;
	state = etl_node_state_get(pull->stream->target);
	state->rows_changed += load->rows_loaded + load->rows_updated + load->rows_deleted;
	state->publication++;
	etl_node_state_set(pull->stream->target, state);
}

/*
 * begin_landing prepares the structure that a try works on.
 */
static EtlLanding *
begin_landing(Attempt *attempt)
{
	EtlLanding *landing = palloc0(sizeof(EtlLanding));

	landing->stream = attempt->pull->stream;
	landing->options = attempt->pull->options;
	landing->load = &attempt->load;
	landing->context = attempt->try_context;
	landing->restart_context = attempt->context;
	landing->widenings = attempt->widenings;
	return landing;
}

/*
 * begin_accounting zeroes what an earlier try counted.
 */
static void
begin_accounting(Attempt *attempt)
{
	EtlLoad    *load = &attempt->load;
	int64		load_id = load->load_id;
	TimestampTz started = load->started_at;

	memset(load, 0, sizeof(EtlLoad));
	load->load_id = load_id;
	load->started_at = started;
	load->run_id = attempt->pull->driver->run_id;
	load->target = attempt->pull->stream->target;
	load->origin = ((EtlItem *) linitial(attempt->items))->origin;
	load->first_block = load->last_block = -1;
}

/*
 * land_attempt is one try to land a load, inside a subtransaction.  'arg' is
 * the Attempt.
 */
static void
land_attempt(void *arg)
{
	Attempt    *attempt = arg;
	Pull	   *pull = attempt->pull;
	const EtlStream *stream = pull->stream;
	EtlItem    *first = linitial(attempt->items);
	EtlRunAs	as;
	EtlFile		file = {0};
	EtlFile    *known;
	Oid			relid;

	PushActiveSnapshot(GetTransactionSnapshot());
	attempt->landing = begin_landing(attempt);
	begin_accounting(attempt);
	etl_stream_lock(stream->target);
	etl_run_as_begin(&as, stream->owner, stream->settings);

	known = is_file(first) ? etl_file_find(stream->target, first->origin) : NULL;
	if (known != NULL && (same_as_before(known, first) || same_content(pull, known, first)))
		attempt->nothing = true;
	else
	{
		if (!is_file(first))
			check_cursor(pull);
		if (known != NULL)
			judge_changed(attempt, known, first);
		relid = prepare_relation(attempt);
		if (!is_file(first))
			replace_former(attempt);
		if (pull->options->replace)
			attempt->load.rows_deleted += etl_relation_sql(psprintf("DELETE FROM %s", stream->target));
		etl_landing_begin(attempt->landing, relid);
		land_items(attempt, &file);
	}
	etl_run_as_end(&as);

	/* an answer without a record is no load, and neither is a file that is known */
	if (!is_file(first) && attempt->load.rows_read == 0 && attempt->load.rows_deleted == 0)
		attempt->nothing = true;
	if (!attempt->nothing)
		store_load(attempt, &file);
	if (attempt->position != NULL)
		etl_cursor_set(stream->target, attempt->position, attempt->nothing ? 0 : attempt->load.load_id);
	PopActiveSnapshot();
}

/*
 * report_failure keeps the results of the checks that failed a load, and
 * raises its error.
 */
static void
report_failure(Attempt *attempt, ErrorData *error)
{
	Pull	   *pull = attempt->pull;

	if (attempt->landing != NULL && attempt->landing->check_results != NIL && !pull->driver->atomic)
	{
		etl_check_results_store(attempt->landing->check_results);
		pull->driver->commit(pull->driver);
	}
	ReThrowError(error);
}

/*
 * count_load adds a committed load to the result of the pull.
 */
static void
count_load(EtlPullResult *result, const EtlLoad *load)
{
	result->loads++;
	result->read += load->rows_read;
	result->inserted += load->rows_loaded;
	result->updated += load->rows_updated;
	result->deleted += load->rows_deleted;
	result->rejected += load->rows_rejected;
}

/*
 * land_load lands the waiting items as one load and commits it; 'position' is
 * where the stream continues after it.
 */
static void
land_load(Pull *pull, Jsonb *position)
{
	MemoryContext old = MemoryContextSwitchTo(pull->context);
	Attempt		attempt = {0};
	ErrorData  *error;
	ListCell   *cell;

	attempt.pull = pull;
	attempt.items = pull->items;
	attempt.position = position;
	attempt.context = AllocSetContextCreate(pull->context, "etl load", ALLOCSET_DEFAULT_SIZES);
	attempt.load.load_id = etl_load_next_id();
	attempt.load.started_at = GetCurrentTimestamp();

	for (int i = 0;; i++)
	{
		attempt.try_context = AllocSetContextCreate(attempt.context, "etl try", ALLOCSET_DEFAULT_SIZES);
		MemoryContextSwitchTo(attempt.try_context);
		error = etl_subxact(land_attempt, &attempt);
		if (error == NULL)
			break;
		if (!attempt.landing->restart || i == MAX_RESTARTS)
			report_failure(&attempt, error);
		attempt.infer = attempt.infer || attempt.landing->infer;
		attempt.widenings = attempt.landing->widenings;
		MemoryContextSwitchTo(attempt.context);
		MemoryContextDelete(attempt.try_context);
	}
	MemoryContextSwitchTo(pull->context);
	if (position != NULL)
		pull->cursor = position;

	pull->driver->commit(pull->driver);
	if (attempt.nothing)
		pull->items_known++;
	else
		count_load(pull->result, &attempt.load);
	foreach(cell, pull->items)
		pull->connector->release(pull->state, lfirst(cell));
	MemoryContextDelete(attempt.context);
	pull->items = NIL;
	pull->bytes = 0;
	MemoryContextSwitchTo(old);
}

/* ---- the pull ---- */

/*
 * take_item adds an item to the waiting ones, or skips a file that the
 * ledger knows.
 */
static void
take_item(Pull *pull, EtlItem *item)
{
	MemoryContext old = MemoryContextSwitchTo(pull->context);
	MemoryContext lookup;
	bool		known = false;

	pull->items_seen++;
	if (is_file(item))
	{
		lookup = AllocSetContextCreate(pull->context, "etl ledger", ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(lookup);
		known = same_as_before(etl_file_find(pull->stream->target, item->origin), item);
		MemoryContextSwitchTo(pull->context);
		MemoryContextDelete(lookup);
	}
	if (known)
	{
		pull->items_known++;
		pull->connector->release(pull->state, item);
	}
	else
	{
		if (pull->items == NIL)
			pull->batch_started = GetCurrentTimestamp();
		pull->items = lappend(pull->items, item);
		pull->bytes += Max(item->size, 0);
	}
	MemoryContextSwitchTo(old);
}

/*
 * batch_is_full tells whether the waiting items make a load now.
 */
static bool
batch_is_full(Pull *pull)
{
	if (pull->items == NIL)
		return false;
	if (((EtlItem *) linitial(pull->items))->own_load)
		return true;
	/* a load of a replace stream is everything there is */
	if (pull->options->replace)
		return false;
	return pull->bytes >= MAX_BATCH_BYTES ||
		   TimestampDifferenceExceeds(pull->batch_started, GetCurrentTimestamp(), MAX_BATCH_MS);
}

/*
 * wait_for_source waits, but no longer than the waiting items may.
 */
static void
wait_for_source(Pull *pull, EtlWait *wait)
{
	if (pull->items != NIL && !pull->options->replace)
	{
		TimestampTz deadline = TimestampTzPlusMilliseconds(pull->batch_started, MAX_BATCH_MS);

		if (wait->until > deadline)
			wait->until = deadline;
	}
	etl_wait(wait);
}

/*
 * finish_pull lands what is left and keeps the connector's final position.
 */
static void
finish_pull(Pull *pull)
{
	Jsonb	   *final = pull->connector->final_position ? pull->connector->final_position(pull->state) : NULL;

	if (pull->items != NIL)
	{
		if (final == NULL)
			final = ((EtlItem *) llast(pull->items))->position;
		land_load(pull, final);
	}
	else if (final != NULL && (pull->cursor == NULL ||
							   strcmp(etl_json_text(final), etl_json_text(pull->cursor)) != 0))
	{
		etl_stream_lock(pull->stream->target);
		check_cursor(pull);
		etl_cursor_set(pull->stream->target, final, 0);
		pull->driver->commit(pull->driver);
	}
}

/*
 * pull_items asks the connector for items until there are no more.
 */
static void
pull_items(Pull *pull)
{
	for (;;)
	{
		EtlItem    *item = NULL;
		EtlWait		wait = {.until = DT_NOEND};
		EtlPoll		poll;

		CHECK_FOR_INTERRUPTS();
		if (pull->connector->needs_network)
			InvalidateCatalogSnapshot();
		poll = pull->connector->next(pull->state, &item, &wait);
		if (poll == ETL_END)
			break;
		if (poll == ETL_READY)
			take_item(pull, item);
		else if (!batch_is_full(pull))
			wait_for_source(pull, &wait);
		if (batch_is_full(pull))
			land_load(pull, ((EtlItem *) llast(pull->items))->position);
		else if (poll == ETL_READY && pull->connector->needs_network)
			InvalidateCatalogSnapshot();
	}
	finish_pull(pull);
}

/*
 * nothing_new says why a pull made no load.
 */
static char *
nothing_new(Pull *pull)
{
	const char *path = etl_json_get_text(pull->stream->options, "path");

	if (pull->connector->needs_network)
		return pstrdup("the source has nothing new");
	if (pull->items_seen == 0)
		return psprintf("no file matches %s", path ? path : "the stream's path");
	return psprintf("no new files: %lld of %lld were loaded before", (long long) pull->items_known,
					(long long) pull->items_seen);
}

/*
 * open_pull finds the connector and opens it with the committed position.
 */
static void
open_pull(Pull *pull)
{
	const EtlStream *stream = pull->stream;
	EtlSource  *source = etl_source_get(stream->source);
	EtlConnectorContext *context = &pull->connector_context;

	pull->options = etl_load_options_read(stream);
	pull->connector = etl_connector_find(source->connector);
	if (pull->connector->needs_network && pull->driver->atomic)
		ereport(ERROR,
				(errcode(ETL_ERR_IN_TRANSACTION),
				 errmsg("stream \"%s\" must wait for a network and cannot run inside a transaction block",
						stream->target),
				 errdetail("While it waits no transaction may be held open."),
				 errhint("CALL etl.run('%s') alone, outside a transaction block, or use etl.submit.",
						 stream->target)));
	pull->cursor = etl_cursor_get(stream->target);
	context->context = AllocSetContextCreate(pull->context, "etl connector", ALLOCSET_DEFAULT_SIZES);
	context->source = source->name;
	context->stream = stream->target;
	context->owner = stream->owner;
	context->format = stream->format;
	context->source_options = source->options;
	context->stream_options = stream->options;
	context->position = pull->cursor;
	context->services = etl_connector_services();
	pull->state = pull->connector->open(context);

	/* nothing is held from here on until there is something to land */
	if (pull->connector->needs_network)
		pull->driver->commit(pull->driver);
}

bool
etl_pull_needs_network(const EtlStream *stream)
{
	return etl_connector_find(etl_source_get(stream->source)->connector)->needs_network;
}

void
etl_pull(EtlDriver *driver, const EtlStream *stream, EtlPullResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	Pull	   *pull = palloc0(sizeof(Pull));

	memset(result, 0, sizeof(EtlPullResult));
	pull->driver = driver;
	pull->stream = stream;
	pull->result = result;
	pull->context = AllocSetContextCreate(caller, "etl pull", ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		MemoryContextSwitchTo(pull->context);
		open_pull(pull);
		pull_items(pull);
		MemoryContextSwitchTo(caller);
		if (result->loads == 0)
			result->reason = nothing_new(pull);
	}
	PG_FINALLY();
	{
		MemoryContextSwitchTo(caller);
		if (pull->state != NULL)
			pull->connector->close(pull->state);
		MemoryContextDelete(pull->context);
	}
	PG_END_TRY();
}
