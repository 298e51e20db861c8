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
 * no lock, and by a worker no transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/child.h"
#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "connector/paths.h"
#include "load/pull.h"

#define MAX_BATCH_BYTES (16 * 1024 * 1024)
#define MAX_BATCH_MS	1000

/*
 * flush waits until the loads of the pull are where a commit would have put
 * them: on the disk, and on the standbys that are waited for.
 */
static void
flush(EtlPull *pull)
{
	if (!pull->unflushed)
		return;
	/* the position of the next record may lie behind a page header that is not there yet */
	XLogFlush(XactLastCommitEnd);
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(XactLastCommitEnd, true);
	RESUME_INTERRUPTS();
	pull->unflushed = false;
}

/*
 * etl_pull_done lets the connector archive or delete what is loaded, once
 * nothing can take the load away any more.
 */
void
etl_pull_done(EtlPull *pull, EtlItem *item)
{
	if (!pull->finishes || pull->driver->atomic || pull->connector->done == NULL)
		return;
	/* also where the session does not wait for its commits */
	XLogFlush(XactLastCommitEnd);
	flush(pull);
	pull->connector->done(pull->state, item);
}

/*
 * etl_pull_commit: see pull.h.  A crash that takes such a load away takes its
 * entry in the ledger away, too: the file is read again.
 */
void
etl_pull_commit(EtlPull *pull, const EtlItem *item)
{
	if (etl_item_is_file(item) && !pull->driver->atomic && synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
	{
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		pull->unflushed = true;
	}
	pull->driver->commit(pull->driver);
}

/*
 * land lands what waits; 'position' is where the stream continues after it.
 */
static void
land(EtlPull *pull, Jsonb *position)
{
	if (list_length(pull->items) > 1 && pull->crowd)
		etl_crowd_land(pull);
	else
		etl_pull_land(pull, position);
}

/*
 * take_item adds an item to the waiting ones, or skips a file that the
 * ledger knows.
 */
static void
take_item(EtlPull *pull, EtlItem *item)
{
	MemoryContext old = MemoryContextSwitchTo(pull->context);
	MemoryContext lookup;
	bool		known = false;
	bool		joins = false;

	pull->items_seen++;
	if (etl_item_is_file(item))
	{
		EtlFile    *file;

		lookup = AllocSetContextCreate(pull->context, "etl ledger", ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(lookup);
		file = etl_file_find(pull->stream->target, item->origin);
		known = etl_ledger_same(file, item);
		joins = file == NULL && etl_crowd_takes(pull, item);
		MemoryContextSwitchTo(pull->context);
		MemoryContextDelete(lookup);
		if (!pull->finishes)
			pull->seen = lappend(pull->seen, pstrdup(item->origin));
	}
	if (known)
	{
		pull->items_known++;
		etl_pull_done(pull, item);
		pull->connector->release(pull->state, item);
	}
	else
	{
		/* files land in their order */
		if (pull->crowd && !joins && pull->items != NIL)
			land(pull, NULL);
		pull->crowd = joins;
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
batch_is_full(EtlPull *pull)
{
	if (pull->items == NIL)
		return false;
	if (((EtlItem *) linitial(pull->items))->own_load)
		return !pull->crowd || etl_crowd_is_full(pull);
	/* a load of a replace stream is everything there is */
	if (pull->options->replace)
		return false;
	return pull->bytes >= MAX_BATCH_BYTES ||
		   TimestampDifferenceExceeds(pull->batch_started, GetCurrentTimestamp(), MAX_BATCH_MS);
}

/*
 * wait_now is etl_wait; an argument of etl_driver_wait.
 */
static void
wait_now(void *wait)
{
	etl_wait(wait);
}

/*
 * wait_for_source waits, but no longer than the waiting items may.
 */
static void
wait_for_source(EtlPull *pull, EtlWait *wait)
{
	if (pull->items != NIL && !pull->options->replace)
	{
		TimestampTz deadline = TimestampTzPlusMilliseconds(pull->batch_started, MAX_BATCH_MS);

		if (wait->until > deadline)
			wait->until = deadline;
	}
	etl_driver_wait(pull->driver, wait_now, wait);
}

/*
 * finish_pull lands what is left and keeps the connector's final position.
 */
static void
finish_pull(EtlPull *pull)
{
	Jsonb	   *final = pull->connector->final_position ? pull->connector->final_position(pull->state) : NULL;

	if (pull->items != NIL)
	{
		if (final == NULL)
			final = ((EtlItem *) llast(pull->items))->position;
		land(pull, final);
	}
	else if (final != NULL && (pull->cursor == NULL ||
							   strcmp(etl_json_text(final), etl_json_text(pull->cursor)) != 0))
	{
		etl_stream_lock(pull->stream->target);
		etl_pull_check_cursor(pull);
		etl_cursor_set(pull->stream->target, final, 0);
		pull->driver->commit(pull->driver);
	}
}

/*
 * pull_items asks the connector for items until there are no more.
 */
static void
pull_items(EtlPull *pull)
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
		if (poll == ETL_WAIT && wait.failure != NULL && pull->driver->retrying != NULL)
			pull->driver->retrying(pull->driver, wait.failure_code, wait.failure);
		if (poll == ETL_END)
			break;
		if (poll == ETL_READY)
			take_item(pull, item);
		else if (!batch_is_full(pull))
			wait_for_source(pull, &wait);
		if (batch_is_full(pull))
			land(pull, ((EtlItem *) llast(pull->items))->position);
		else if (poll == ETL_READY && pull->connector->needs_network)
			InvalidateCatalogSnapshot();
	}
	finish_pull(pull);
}

/*
 * etl_pull_no_file: see pull.h.
 */
char *
etl_pull_no_file(const EtlPull *pull, const char *path)
{
	char	   *root = etl_json_get_text(pull->connector_context.source_options, "root");
	char	   *missing = etl_glob_missing(root, path);

	return missing ? psprintf("no file matches %s: there is no directory \"%s\"", path, missing) :
					 psprintf("no file matches %s", path);
}

/*
 * nothing_new says why a pull made no load.
 */
static char *
nothing_new(EtlPull *pull)
{
	const char *path = etl_json_get_text(pull->stream->options, "path");

	if (pull->connector->needs_network)
		return pstrdup("the source has nothing new");
	if (pull->items_seen == 0 && path == NULL)
		return pstrdup("nothing to fetch");
	if (pull->items_seen == 0)
		return etl_pull_no_file(pull, path);
	return psprintf("no new files: %lld of %lld were loaded before", (long long) pull->items_known,
					(long long) pull->items_seen);
}

/*
 * say_gone warns that somebody dropped the table with what earlier loads
 * brought: only what is new comes by itself.
 */
static void
say_gone(EtlPull *pull)
{
	const char *target = pull->stream->target;

	ereport(
		WARNING,
		(errmsg("table %s was dropped outside etl", target),
		 errdetail(
			 "What earlier loads brought is gone with it, and is not loaded again by itself."),
		 errhint("SELECT etl.reload('%s'); the next run then reads everything again.", target)));
	pull->result->remark =
		psprintf("the table was dropped outside etl: etl.reload('%s') brings its rows back", target);
}

/*
 * say_unmet warns that a field which shall not be stored did not come: it may
 * have another name, and be stored under that.
 */
static void
say_unmet(EtlPull *pull)
{
	const EtlPullResult *result = pull->result;
	char	   *unmet = result->read > result->rejected ? etl_transform_unmet(pull->options->transform) : NULL;
	const char *detail =
		"What is to be dropped or hashed may have come under another name, and be stored in clear text.";

	if (unmet == NULL)
		return;
	ereport(
		WARNING,
		(errmsg("no record of %s had the fields %s of its transform", pull->stream->target, unmet),
		 errdetail("%s", detail),
		 errhint("Compare the names with those of etl.preview. Fields inside objects are seen"
				 " with the option \"nested\": \"flatten\", as who__name.")));
	etl_log_store("warning", pull->driver->run_id, pull->stream->target,
				  psprintf("no record had the fields %s of the transform", unmet), detail);
}

/*
 * open_pull finds the connector and opens it with the committed position.
 */
static void
open_pull(EtlPull *pull)
{
	const EtlStream *stream = pull->stream;
	EtlSource  *source = etl_source_get(stream->source);
	EtlConnectorContext *context = &pull->connector_context;
	const char *after = etl_json_get_text(stream->options, "after_load");

	pull->options = etl_load_options_read(stream);
	pull->finishes = after != NULL && strcmp(after, "keep") != 0;
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
	return etl_stream_parent(stream) == NULL &&
		   etl_connector_find(etl_source_get(stream->source)->connector)->needs_network;
}

void
etl_pull(EtlDriver *driver, const EtlStream *stream, EtlPullResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	EtlPull    *pull = palloc0(sizeof(EtlPull));

	memset(result, 0, sizeof(EtlPullResult));
	if (etl_stream_parent(stream) != NULL)
	{
		result->reason = psprintf("its rows come with %s", etl_stream_parent(stream));
		return;
	}
	pull->driver = driver;
	pull->stream = stream;
	pull->result = result;
	pull->context = AllocSetContextCreate(caller, "etl pull", ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		bool		gone = !OidIsValid(etl_name_relation(stream->target));

		MemoryContextSwitchTo(pull->context);
		open_pull(pull);
		if (pull->connector->needs_network)
			gone = gone && pull->cursor != NULL;
		pull_items(pull);
		flush(pull);
		MemoryContextSwitchTo(caller);
		if (!pull->connector->needs_network && !pull->finishes)
			etl_ledger_missing(pull);
		if (pull->connector->remark != NULL && pull->connector->remark(pull->state) != NULL)
			result->remark = pull->connector->remark(pull->state);
		if (gone && (pull->connector->needs_network || pull->items_known > 0))
			say_gone(pull);
		say_unmet(pull);
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
