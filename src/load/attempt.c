/*-------------------------------------------------------------------------
 *
 * attempt.c
 *    One load: its relation, its rows, its accounting, in one commit.
 *
 * A load is tried in a subtransaction and tried again from its beginning
 * when a record asks for another relation: a new column, a wider type.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "load/children.h"
#include "load/dialect.h"
#include "load/pull.h"

#define MAX_RESTARTS 100

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
			known->type = etl_inference_wider(known->type, column->seen ? column->type : InvalidOid);
	}
	return fields;
}

/*
 * infer_fields reads every item of the load and returns the fields it has,
 * with the narrowest types that hold their values.
 */
static List *
infer_fields(EtlAttempt *attempt)
{
	EtlPull    *pull = attempt->pull;
	List	   *fields = NIL;
	ListCell   *cell;

	foreach(cell, attempt->items)
	{
		EtlItem    *item = lfirst(cell);
		MemoryContext context = AllocSetContextCreate(attempt->try_context, "etl inference",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		EtlItemReader *reader = etl_item_reader_open(pull, item, false);
		EtlRead    *input = etl_load_unpack(&reader->read, pull->options, item->origin);
		EtlDecoder *decoder = etl_landing_decoder(pull->stream, pull->options, input,
												  item->records_path, item->origin);
		EtlInference *inference = etl_inference_begin(&pull->options->coerce, pull->options->is_json);
		EtlRecord	record = {0};
		EtlRecordState state;
		List	   *inferred;
		int			n = 0;

		while ((state = etl_decoder_next(decoder, &record)) != ETL_RECORD_END)
		{
			if (++n % ETL_BATCH_ROWS == 0)
				CHECK_FOR_INTERRUPTS();
			if (state != ETL_RECORD_OK)
				continue;
			attempt->has_records = true;
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
 * column_at returns the column that the field of that number goes to where no
 * header names it; NULL when the relation has not so many.
 */
static char *
column_at(List *columns, int number)
{
	ListCell   *cell;

	foreach(cell, columns)
		if (strcmp(lfirst(cell), ETL_LOAD_ID_COLUMN) != 0 &&
			strcmp(lfirst(cell), ETL_ROW_COLUMN) != 0 &&
			strcmp(lfirst(cell), ETL_LOADED_AT_COLUMN) != 0 && number-- == 0)
			return lfirst(cell);
	return NULL;
}

/*
 * name_columns drops the fields that have a declared or existing column and
 * names the others.
 */
static List *
name_columns(EtlAttempt *attempt, List *fields, Oid relid)
{
	List	   *taken = NIL;
	List	   *claimed = NIL;
	List	   *result = NIL;
	int			by_position = 0;
	ListCell   *cell;

	if (OidIsValid(relid))
		taken = etl_relation_columns(relid);
	else
		foreach(cell, etl_columns_parse(attempt->pull->stream->columns))
			if (IsA(lfirst(cell), ColumnDef))
				taken = lappend(taken, ((ColumnDef *) lfirst(cell))->colname);

	if (!attempt->pull->options->header)
		by_position = list_length(fields) - list_length(attempt->pull->options->path_columns);

	foreach(cell, fields)
	{
		EtlNewColumn *column = lfirst(cell);
		char	   *name = foreach_current_index(cell) < by_position ?
						 column_at(taken, foreach_current_index(cell)) :
						 etl_relation_field_column(taken, relid, column->field, claimed);

		/* etl's own, which the relation is made with */
		if (name == NULL && strcmp(column->field, ETL_ITEMS_FIELD) == 0)
			continue;
		if (name == NULL)
		{
			if (!OidIsValid(column->type))
				column->type = TEXTOID;
			column->type_name = etl_transform_type(attempt->pull->options->transform, column->field);
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
add_path_fields(EtlAttempt *attempt, List *fields)
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
 * etl_attempt_relation makes the landing relation what this load needs.
 */
Oid
etl_attempt_relation(EtlAttempt *attempt)
{
	EtlPull    *pull = attempt->pull;
	Oid			relid = etl_relation_ensure(pull->stream, pull->options);
	List	   *fields = NIL;
	bool		keyed = OidIsValid(relid) && etl_relation_has_key(pull->stream, relid);
	bool		has_fields;

	if (!keyed || attempt->infer)
		fields = infer_fields(attempt);
	has_fields = fields != NIL || attempt->has_records;
	fields = name_columns(attempt, add_path_fields(attempt, fields), relid);
	if (!OidIsValid(relid))
		relid = etl_relation_create(pull->stream, pull->options, fields, attempt->load.load_id);
	else
		etl_relation_add_columns(pull->stream, relid, fields, attempt->load.load_id);

	/* without a single record nobody knows the type of the key */
	if (!keyed && (has_fields || etl_relation_has_key(pull->stream, relid)))
		etl_relation_ensure_key(pull->stream, pull->options, relid);

	etl_widen(attempt->landing, relid, attempt->widenings);
	etl_zone_prepare(pull->stream, pull->options, relid, attempt->load.started_at);
	return relid;
}

/*
 * etl_pull_check_cursor raises 40001 when another session moved the stream meanwhile.
 */
void
etl_pull_check_cursor(EtlPull *pull)
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
 * etl_attempt_item lands one item as part of the load at work; of a file, its
 * entry in the ledger, which has no load yet.
 */
EtlFile
etl_attempt_item(EtlAttempt *attempt, EtlItem *item)
{
	EtlLanding *landing = attempt->landing;
	EtlItemReader *reader = etl_item_reader_open(attempt->pull, item, etl_item_is_file(item));
	EtlFile		file = {0};

	landing->origin = item->origin;
	landing->item_size = item->size;
	etl_landing_item(landing, &reader->read, item->records_path);
	file.hash = etl_item_reader_finish(reader);
	landing->load->bytes_read += reader->bytes;
	file.uri = item->origin;
	file.size = item->size;
	file.mtime = item->mtime;
	return file;
}

/*
 * land_items lands every item and returns the ledger's entry of a file.
 */
static EtlFile
land_items(EtlAttempt *attempt)
{
	EtlFile		file = {0};
	ListCell   *cell;

	foreach(cell, attempt->items)
		file = etl_attempt_item(attempt, lfirst(cell));
	etl_landing_end(attempt->landing);
	return file;
}

/*
 * etl_attempt_changed notes how many rows of the stream came or changed, and
 * how many more it holds.
 */
void
etl_attempt_changed(EtlPull *pull, int64 changed, int64 more)
{
	const char *target = pull->stream->target;
	EtlNodeState *state = etl_node_state_get(target);

	state->rows_changed += changed;
	state->publication++;
	etl_node_state_set(target, state);
	etl_stream_hold(target, more);
}

/*
 * store_load writes what the load is accountable for.
 */
static void
store_load(EtlAttempt *attempt, const EtlFile *file)
{
	EtlPull    *pull = attempt->pull;
	EtlLoad    *load = &attempt->load;

	load->cursor = attempt->position;
	if (load->rows_loaded == 0)
		load->relfilenode = 0;
	etl_load_store(load);
	etl_dialect_keep(pull);
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
	etl_attempt_changed(pull, load->rows_loaded + load->rows_updated + load->rows_deleted,
						load->rows_loaded - load->rows_deleted);
}

/*
 * etl_attempt_landing prepares the structure that a try works on.
 */
EtlLanding *
etl_attempt_landing(EtlAttempt *attempt)
{
	EtlLanding *landing = palloc0(sizeof(EtlLanding));

	landing->stream = attempt->pull->stream;
	landing->options = attempt->pull->options;
	landing->load = &attempt->load;
	landing->context = attempt->try_context;
	landing->restart_context = attempt->context;
	landing->driver = attempt->pull->driver;
	landing->alone = attempt->alone;
	landing->stage = attempt->stage;
	landing->widenings = attempt->widenings;
	landing->tries = attempt->tries;
	return landing;
}

/*
 * etl_attempt_begin_load zeroes what an earlier try counted; its id and
 * beginning stay.
 */
void
etl_attempt_begin_load(EtlPull *pull, EtlLoad *load, EtlItem *item)
{
	int64		load_id = load->load_id;
	TimestampTz started = load->started_at;

	memset(load, 0, sizeof(EtlLoad));
	load->load_id = load_id;
	load->started_at = started;
	load->run_id = pull->driver->run_id;
	load->target = pull->stream->target;
	load->origin = item->origin;
	load->first_block = load->last_block = -1;
	load->last_event_time = DT_NOBEGIN;
	load->parent_load_id = pull->parent ? pull->parent->load_id : 0;
}

/*
 * land_in_relation makes the relation what the load needs, lands every item
 * and returns the ledger's entry of a file.
 */
static EtlFile
land_in_relation(EtlAttempt *attempt)
{
	EtlPull    *pull = attempt->pull;
	Oid			relid = etl_attempt_relation(attempt);

	if (!etl_item_is_file(linitial(attempt->items)) && !pull->pushed)
		etl_ledger_replace_former(attempt);
	if (pull->options->replace)
	{
		etl_children_delete(pull->stream, "true",
							psprintf("load " INT64_FORMAT " replaced all", attempt->load.load_id));
		attempt->load.rows_deleted += etl_relation_sql(psprintf("DELETE FROM %s", pull->stream->target));
		(void) etl_rejects_close(pull->stream->target, 0, "superseded");
	}
	etl_landing_begin(attempt->landing, relid);
	return land_items(attempt);
}

/*
 * land_attempt is one try to land a load, inside a subtransaction.  'arg' is
 * the EtlAttempt.
 */
static void
land_attempt(void *arg)
{
	EtlAttempt *attempt = arg;
	EtlPull    *pull = attempt->pull;
	const EtlStream *stream = pull->stream;
	EtlItem    *first = linitial(attempt->items);
	EtlRunAs	as;
	EtlFile		file = {0};
	EtlFile    *known;

	PushActiveSnapshot(GetTransactionSnapshot());
	attempt->landing = etl_attempt_landing(attempt);
	etl_attempt_begin_load(pull, &attempt->load, first);
	etl_stream_lock(stream->target);
	etl_run_as_begin(&as, stream->owner, stream->settings);

	known = etl_item_is_file(first) ? etl_file_find(stream->target, first->origin) : NULL;
	if (known != NULL && (etl_ledger_same(known, first) || etl_ledger_same_content(pull, known, first)))
		attempt->nothing = true;
	else
	{
		if (!etl_item_is_file(first) && !pull->pushed)
			etl_pull_check_cursor(pull);
		if (known != NULL)
			etl_ledger_changed(attempt, known, first);
		file = etl_attempt_has_no_table(attempt) ? etl_attempt_without_table(attempt) :
												   land_in_relation(attempt);
	}
	etl_run_as_end(&as);

	/* an answer without a record is no load, and neither is a file that is known */
	if (!etl_item_is_file(first) && !pull->pushed && attempt->load.rows_read == 0 &&
		attempt->load.rows_deleted == 0)
		attempt->nothing = true;
	if (!attempt->nothing)
	{
		store_load(attempt, &file);
		attempt->rejected_items = etl_children_land(attempt->landing, &attempt->load);
	}
	if (attempt->position != NULL)
		etl_cursor_set(stream->target, attempt->position, attempt->nothing ? 0 : attempt->load.load_id);
	PopActiveSnapshot();
}

/*
 * report_failure keeps the results of the checks that failed a load, and
 * raises its error.
 */
static void
report_failure(EtlAttempt *attempt, ErrorData *error)
{
	EtlPull    *pull = attempt->pull;

	if (attempt->landing != NULL && attempt->landing->check_results != NIL && !pull->driver->atomic)
	{
		etl_check_results_store(attempt->landing->check_results);
		pull->driver->commit(pull->driver);
	}
	etl_rethrow(error);
}

/*
 * etl_pull_landed adds a committed load to the result of the pull, and lets
 * go of its items.
 */
void
etl_pull_landed(EtlPull *pull, const EtlLoad *load, List *items)
{
	EtlPullResult *result = pull->result;
	ListCell   *cell;

	if (load == NULL)
		pull->items_known++;
	else
	{
		pull->left_open = NULL;
		result->loads++;
		result->read += load->rows_read;
		result->inserted += load->rows_loaded;
		result->updated += load->rows_updated;
		result->deleted += load->rows_deleted;
		result->rejected += load->rows_rejected;
	}
	foreach(cell, items)
	{
		etl_pull_done(pull, lfirst(cell));
		pull->connector->release(pull->state, lfirst(cell));
	}
}

/*
 * etl_pull_land lands the waiting items as one load and commits it; 'position' is
 * where the stream continues after it.
 */
void
etl_pull_land(EtlPull *pull, Jsonb *position)
{
	MemoryContext old = MemoryContextSwitchTo(pull->context);
	EtlAttempt	attempt = {0};
	ErrorData  *error;

	if (etl_dialect_is_auto(pull->stream))
		etl_dialect_settle(pull);
	attempt.pull = pull;
	attempt.items = pull->items;
	attempt.position = position;
	attempt.context = AllocSetContextCreate(pull->context, "etl load", ALLOCSET_DEFAULT_SIZES);
	attempt.load.load_id = pull->load_id = etl_load_next_id();
	attempt.load.started_at = pull->parent ? pull->parent->started_at : GetCurrentTimestamp();

	for (;; attempt.tries++)
	{
		attempt.try_context = AllocSetContextCreate(attempt.context, "etl try", ALLOCSET_DEFAULT_SIZES);
		MemoryContextSwitchTo(attempt.try_context);
		error = etl_subxact(land_attempt, &attempt);
		if (error == NULL)
			break;
		if (!attempt.landing->restart || attempt.tries == MAX_RESTARTS)
			report_failure(&attempt, error);
		attempt.infer = attempt.infer || attempt.landing->infer;
		attempt.alone = attempt.alone || attempt.landing->alone;
		attempt.stage = attempt.stage || attempt.landing->stage;
		attempt.widenings = attempt.landing->widenings;
		MemoryContextSwitchTo(attempt.context);
		MemoryContextDelete(attempt.try_context);
	}
	MemoryContextSwitchTo(pull->context);
	if (position != NULL)
		pull->cursor = position;

	etl_pull_commit(pull, linitial(pull->items));
	etl_pull_landed(pull, attempt.nothing ? NULL : &attempt.load, pull->items);
	pull->result->rejected += attempt.nothing ? 0 : attempt.rejected_items;
	MemoryContextDelete(attempt.context);
	pull->items = NIL;
	pull->bytes = 0;
	MemoryContextSwitchTo(old);
}
