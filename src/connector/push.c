/*-------------------------------------------------------------------------
 *
 * push.c
 *    The connector of streams that nothing is fetched for.
 *
 * Their records come by etl.ingest; a run finds nothing to do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "etl_connector.h"

PG_FUNCTION_INFO_V1(etl_sql_push_connector);

static const EtlOptionDef no_options[] = {{NULL}};

static void
push_validate(const Jsonb *source_options, const Jsonb *stream_options, const char *format)
{
}

static void *
push_open(EtlConnectorContext *context)
{
	return context;
}

static EtlPoll
push_next(void *state, EtlItem **item, EtlWait *wait)
{
	return ETL_END;
}

static size_t
push_read(void *state, EtlItem *item, char *buffer, size_t size)
{
	return 0;
}

static void
push_item(void *state, EtlItem *item)
{
}

static Jsonb *
push_final_position(void *state)
{
	return NULL;
}

static void
push_close(void *state)
{
}

static char *
push_remark(void *state)
{
	return pstrdup("its records are pushed by etl.ingest");
}

static const EtlConnector push_connector = {
	.abi_version = ETL_CONNECTOR_ABI,
	.name = "push",
	.shape = ETL_BYTES,
	.needs_network = false,
	.source_options = no_options,
	.stream_options = no_options,
	.validate = push_validate,
	.open = push_open,
	.next = push_next,
	.read = push_read,
	.rewind = push_item,
	.release = push_item,
	.final_position = push_final_position,
	.close = push_close,
	.remark = push_remark,
};

/*
 * etl_sql_push_connector hands out the push connector.
 */
Datum
etl_sql_push_connector(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&push_connector);
}
