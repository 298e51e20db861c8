/*-------------------------------------------------------------------------
 *
 * etl.c
 *    What happens when PostgreSQL loads the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "alert/alert.h"
#include "common/guc.h"
#include "common/options.h"
#include "common/retry.h"
#include "connector/connector.h"
#include "decode/format.h"
#include "load/landing.h"
#include "model/model.h"
#include "quality/quality.h"
#include "run/calendar.h"
#include "run/events.h"
#include "run/run.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

void _PG_init(void);

/*
 * register_options makes the option sets known that etl.options() lists,
 * besides those of connectors.
 */
static void
register_options(void)
{
	etl_options_register("stream", etl_stream_options);
	etl_options_register("stream:contract", etl_contract_options);
	etl_options_register("stream:decrypt", etl_decrypt_options);
	etl_options_register("stream:retention", etl_retention_options);
	etl_options_register("stream:transform", etl_transform_options);
	etl_options_register("file", etl_stream_file_options);
	for (const EtlFormat *format = NULL; (format = etl_format_next(format)) != NULL;)
		etl_options_register(format->name, format->options);
	etl_options_register("model", etl_model_options);
	etl_options_register("model:contract", etl_promise_options);
	etl_options_register("retry", etl_retry_options);
	etl_options_register("schedule", etl_schedule_options);
	etl_options_register("schedule:blackout", etl_blackout_options);
	etl_options_register("event", etl_event_options);
	etl_options_register("unit_test", etl_unit_test_options);
	etl_http_register_options();
	etl_alert_register_options();
}

void
_PG_init(void)
{
	etl_guc_define();
	register_options();
	etl_quality_register_options();
	etl_alert_select = etl_select_names;
	etl_locks_install();
	etl_watch_install();
	if (process_shared_preload_libraries_in_progress)
		etl_worker_install();
}
