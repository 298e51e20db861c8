/*-------------------------------------------------------------------------
 *
 * ledger.c
 *    The bytes of an item, and whether the file ledger knows them.
 *
 * A file is known by size and time, or else by the hash of what it stores;
 * one that changed is loaded in the place of its former rows, beside them, or
 * not at all, as the stream's on_change says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/progress.h"
#include "load/children.h"
#include "load/pull.h"

/*
 * read_item is the EtlRead callback of an item.
 */
static size_t
read_item(void *arg, char *buffer, size_t size)
{
	EtlItemReader *reader = arg;
	size_t		n = reader->pull->connector->read(reader->pull->state, reader->item, buffer, size);

	if (reader->hash != NULL && n > 0)
		(void) pg_cryptohash_update(reader->hash, (uint8 *) buffer, n);
	reader->bytes += n;
	etl_progress_bytes += n;
	return n;
}

/*
 * etl_item_reader_open rewinds an item and reads it from its beginning.
 */
EtlItemReader *
etl_item_reader_open(EtlPull *pull, EtlItem *item, bool hash)
{
	EtlItemReader *reader = palloc0(sizeof(EtlItemReader));

	reader->read.read = read_item;
	reader->read.arg = reader;
	reader->pull = pull;
	reader->item = item;
	if (item->size > 0)
		etl_progress_bytes_total = etl_progress_bytes + item->size;
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
 * etl_item_reader_finish reads what the decoder left and returns the hash.
 */
char *
etl_item_reader_finish(EtlItemReader *reader)
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

bool
etl_item_is_file(const EtlItem *item)
{
	return item->own_load && item->mtime != DT_NOBEGIN;
}

/*
 * etl_ledger_same tells whether the ledger knows this very file, without
 * reading it, or keeps it out.
 */
bool
etl_ledger_same(const EtlFile *file, const EtlItem *item)
{
	return file != NULL &&
		   (file->unloaded || (file->size == item->size && file->mtime == item->mtime));
}

/*
 * etl_ledger_same_content reads a file whose time changed and compares it with what
 * was loaded; the ledger takes over the new time.
 */
bool
etl_ledger_same_content(EtlPull *pull, EtlFile *file, EtlItem *item)
{
	char	   *hash;

	if (file->size != item->size)
		return false;
	hash = etl_item_reader_finish(etl_item_reader_open(pull, item, true));
	if (strcmp(hash, file->hash) != 0)
		return false;
	file->mtime = item->mtime;
	etl_file_store(pull->stream->target, file);
	return true;
}

/*
 * delete_load removes the rows of a load and closes its rejects; rows of a
 * table that was dropped are gone already.
 */
static int64
delete_load(EtlPull *pull, int64 load_id)
{
	int64		rows = 0;

	if (OidIsValid(etl_name_relation(pull->stream->target)))
	{
		etl_children_delete(pull->stream,
							psprintf(ETL_LOAD_ID_COLUMN " OPERATOR(pg_catalog.=) " INT64_FORMAT, load_id),
							psprintf("load " INT64_FORMAT " is superseded", load_id));
		etl_gone_record(pull->stream, load_id);
		rows = etl_relation_sql(psprintf("DELETE FROM %s WHERE %s OPERATOR(pg_catalog.=) " INT64_FORMAT,
										 pull->stream->target, ETL_LOAD_ID_COLUMN, load_id));
	}
	(void) etl_rejects_close(pull->stream->target, load_id, "superseded");
	etl_load_set_status(load_id, "superseded");
	etl_children_set_status(load_id, "superseded");
	return rows;
}

/*
 * etl_ledger_changed does with a file that was loaded before what on_change says.
 */
void
etl_ledger_changed(EtlAttempt *attempt, EtlFile *file, EtlItem *item)
{
	EtlPull    *pull = attempt->pull;

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
	if (pull->options->replace || (file->size >= 0 && pull->options->on_change == ETL_ON_CHANGE_APPEND))
		return;
	/* what it says of a key is merged; the records that it rejects again come anew */
	if (pull->options->merge)
		(void) etl_rejects_close(pull->stream->target, file->load_id, "superseded");
	else
		attempt->load.rows_deleted += delete_load(pull, file->load_id);
}

/*
 * etl_ledger_replace_former deletes what an asked-for reload of a stream without files
 * replaces.
 */
void
etl_ledger_replace_former(EtlAttempt *attempt)
{
	const EtlStream *stream = attempt->pull->stream;
	int64		last = etl_stream_take_replace(stream->target);

	if (last == 0 || attempt->pull->options->replace)
		return;
	if (attempt->pull->options->merge)
	{
		etl_rejects_close_until(stream->target, last);
		return;
	}
	etl_children_delete(stream, psprintf(ETL_LOAD_ID_COLUMN " OPERATOR(pg_catalog.<=) " INT64_FORMAT, last),
						psprintf("loads up to " INT64_FORMAT " are superseded", last));
	attempt->load.rows_deleted +=
		etl_relation_sql(psprintf("DELETE FROM %s WHERE %s OPERATOR(pg_catalog.<=) " INT64_FORMAT,
								  stream->target, ETL_LOAD_ID_COLUMN, last));
	etl_loads_supersede(stream->target, last);
}

/*
 * etl_ledger_missing tells of files that were loaded and are gone since the
 * last pull; what they brought stays.
 */
void
etl_ledger_missing(EtlPull *pull)
{
	const char *target = pull->stream->target;
	List	   *gone = NIL;
	ListCell   *cell;

	foreach(cell, etl_files_unseen(target, pull->seen))
	{
		struct stat status;

		/* the path of the stream may only have changed */
		if (lstat(lfirst(cell), &status) < 0 && (errno == ENOENT || errno == ENOTDIR))
			gone = lappend(gone, lfirst(cell));
	}
	if (gone == NIL)
		return;
	etl_files_vanish(target, gone);
	foreach(cell, gone)
		etl_log_store("warning", pull->driver->run_id, target,
					  psprintf("file \"%s\" has vanished", (char *) lfirst(cell)),
					  "It was loaded before; its rows stay. etl.unload takes them out.");
	pull->result->remark =
		list_length(gone) == 1 ?
			psprintf("file \"%s\" has vanished, its rows stay", (char *) linitial(gone)) :
			psprintf("%d files have vanished, \"%s\" among them; their rows stay", list_length(gone),
					 (char *) linitial(gone));
}
