/*-------------------------------------------------------------------------
 *
 * arrivals.c
 *    Whether a stream has files that were not loaded yet, without loading any.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "catalog/child.h"
#include "catalog/history.h"
#include "connector/connector.h"
#include "load/load.h"
#include "load/pull.h"

/*
 * add_item adds what makes a file another one to a hash.
 */
static uint64
add_item(uint64 hash, const EtlItem *item)
{
	uint64		one = hash_bytes_extended((const unsigned char *) item->origin, strlen(item->origin),
									 (uint64) item->mtime);

	/* in whatever order the files come */
	return hash + hash_combine64(one, (uint64) item->size);
}

/*
 * list_arrivals goes through what the connector would hand out.  What it does
 * not hand out yet, it remarks.
 */
static char *
list_arrivals(const EtlConnector *connector, EtlConnectorContext *context, bool *more)
{
	void	   *state = connector->open(context);
	uint64		hash = 0;
	int64		n = 0;

	for (;;)
	{
		EtlItem    *item = NULL;
		EtlWait		wait = {.until = DT_NOEND};

		CHECK_FOR_INTERRUPTS();
		if (connector->next(state, &item, &wait) != ETL_READY)
			break;
		if (!etl_item_is_file(item) || etl_ledger_same(etl_file_find(context->stream, item->origin), item))
			continue;
		hash = add_item(hash, item);
		n++;
	}
	*more = connector->remark != NULL && connector->remark(state) != NULL;
	connector->close(state);
	return n == 0 ? NULL : psprintf(INT64_FORMAT " files, " UINT64_FORMAT, n, hash);
}

/*
 * etl_pull_arrivals: see load.h.
 */
char *
etl_pull_arrivals(const EtlStream *stream, bool *more)
{
	EtlSource  *source = etl_source_get(stream->source);
	const EtlConnector *connector = etl_connector_find(source->connector);
	EtlConnectorContext context = {0};
	char	   *result;

	*more = false;
	if (connector->needs_network || etl_stream_parent(stream) != NULL)
		return NULL;
	context.context = AllocSetContextCreate(CurrentMemoryContext, "etl arrivals", ALLOCSET_DEFAULT_SIZES);
	context.source = source->name;
	context.stream = stream->target;
	context.owner = stream->owner;
	context.format = stream->format;
	context.source_options = source->options;
	context.stream_options = stream->options;
	context.services = etl_connector_services();
	result = list_arrivals(connector, &context, more);
	MemoryContextDelete(context.context);
	return result;
}
