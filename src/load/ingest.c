/*-------------------------------------------------------------------------
 *
 * ingest.c
 *    Records that are pushed: one load, in the transaction of the caller.
 *
 * They take the path of all records: coercion, checks, rejects, merge.  An
 * idempotency key stays with the load that it brought, so that a producer
 * that did not hear the answer may send the same records again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "catalog/child.h"
#include "catalog/landing.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "load/pull.h"

PG_FUNCTION_INFO_V1(etl_sql_ingest);

/* The records as the bytes of an item. */
typedef struct Pushed
{
	char	   *text;
	size_t		length;
	size_t		at;
} Pushed;

static size_t
read_pushed(void *state, EtlItem *item, char *buffer, size_t size)
{
	Pushed	   *pushed = state;
	size_t		n = Min(size, pushed->length - pushed->at);

	memcpy(buffer, pushed->text + pushed->at, n);
	pushed->at += n;
	return n;
}

static void
rewind_pushed(void *state, EtlItem *item)
{
	((Pushed *) state)->at = 0;
}

static void
release_pushed(void *state, EtlItem *item)
{
}

static const EtlConnector pushed_records = {
	.abi_version = ETL_CONNECTOR_ABI,
	.name = "ingest",
	.shape = ETL_BYTES,
	.read = read_pushed,
	.rewind = rewind_pushed,
	.release = release_pushed,
};

/*
 * sha256_of returns the SHA-256 of a text in hexadecimal.
 */
static char *
sha256_of(const char *text, size_t length)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *hex = palloc0(sizeof(digest) * 2 + 1);

	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) text, length) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a SHA-256");
	pg_cryptohash_free(hash);
	for (int i = 0; i < sizeof(digest); i++)
		sprintf(hex + i * 2, "%02x", digest[i]);
	return hex;
}

/*
 * see_changes makes what was done visible to what follows: the caller's
 * transaction commits it.
 */
static void
see_changes(EtlDriver *driver)
{
	CommandCounterIncrement();
}

/*
 * land lands the records and returns the number of their load.
 */
static int64
land(EtlStream *stream, Pushed *pushed, const char *key, EtlPullResult *result)
{
	EtlDriver	driver = {.atomic = true, .commit = see_changes, .node = stream->target};
	EtlPull    *pull = palloc0(sizeof(EtlPull));
	EtlItem    *item = palloc0(sizeof(EtlItem));
	EtlStream  *as_json = palloc(sizeof(EtlStream));

	/* whatever the format of the stream's files, what is pushed is JSON in UTF-8 */
	*as_json = *stream;
	as_json->format = "json";
	as_json->options = etl_json_without(stream->options, "records");
	as_json->options = etl_json_without(as_json->options, "encoding");
	as_json->options = etl_json_without(as_json->options, "path_columns");

	item->origin = key ? psprintf("ingest %s", key) : pstrdup("ingest");
	item->size = pushed->length;
	item->mtime = DT_NOBEGIN;
	item->own_load = true;

	pull->driver = &driver;
	pull->stream = as_json;
	pull->options = etl_load_options_read(as_json);
	pull->options->compression = "none";
	pull->options->pushed = true;
	pull->result = result;
	pull->context = AllocSetContextCreate(CurrentMemoryContext, "etl ingest", ALLOCSET_DEFAULT_SIZES);
	pull->connector = &pushed_records;
	pull->state = pushed;
	pull->pushed = true;
	pull->items = list_make1(item);
	etl_pull_land(pull, NULL);
	return pull->load_id;
}

/*
 * known_load returns the load that this key brought before, 0: none.  Raises
 * ET001 when it brought other records.
 */
static int64
known_load(const EtlStream *stream, const char *key, const char *hash)
{
	EtlIngestion *ingestion = etl_ingestion_find(stream->target, key);

	if (ingestion == NULL)
		return 0;
	if (strcmp(ingestion->hash, hash) != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("idempotency key \"%s\" of \"%s\" was used for other records", key, stream->target),
				 errdetail("They are load " INT64_FORMAT ".", ingestion->load_id),
				 errhint("Send the same records again, or new ones under a new key.")));
	return ingestion->load_id;
}

Datum
etl_sql_ingest(PG_FUNCTION_ARGS)
{
	EtlStream  *stream = etl_stream_operated(etl_arg_required(fcinfo, 0, "target"), NULL);
	char	   *key = etl_arg_nonempty(fcinfo, 2, "idempotency_key");
	Jsonb	   *records = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	EtlPullResult result = {0};
	Pushed		pushed = {0};
	char	   *hash;
	int64		load_id;

	if (records == NULL || JB_ROOT_IS_SCALAR(records))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("records must be a JSON array of objects, or one object"),
				 errhint("Write, for example, '[{\"id\": 1}, {\"id\": 2}]'.")));
	pushed.text = etl_json_text(records);
	pushed.length = strlen(pushed.text);
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		pushed.text = pg_server_to_any(pushed.text, pushed.length, PG_UTF8);
		pushed.length = strlen(pushed.text);
	}
	hash = sha256_of(pushed.text, pushed.length);

	etl_stream_refuse_child(stream, "pushed to");
	etl_stream_lock(stream->target);
	load_id = key ? known_load(stream, key, hash) : 0;
	if (load_id != 0)
		PG_RETURN_INT64(load_id);
	load_id = land(stream, &pushed, key, &result);
	if (key != NULL)
		etl_ingestion_store(stream->target, key, hash, load_id);
	if (result.rejected > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " of " INT64_FORMAT " records were rejected", result.rejected,
						result.read),
				 errhint("SELECT position, record, reasons FROM etl.rejects WHERE load_id = " INT64_FORMAT
						 " tells why.",
						 load_id)));
	PG_RETURN_INT64(load_id);
}
