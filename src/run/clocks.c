/*-------------------------------------------------------------------------
 *
 * clocks.c
 *    The limits of time that an attempt has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/json.h"
#include "common/options.h"
#include "common/timeout.h"
#include "run/run.h"

/*
 * limit_of reads a limit of time; 0 when there is none.
 */
static int64
limit_of(const Jsonb *options, const char *key)
{
	char	   *text = etl_json_get_text(options, key);

	return text ? etl_option_duration_ms(key, text) : 0;
}

/*
 * etl_clocks_start sets the limits of an attempt.
 */
void
etl_clocks_start(const Jsonb *options)
{
	int64		limit = limit_of(options, "timeout");

	etl_statement_limit_ms = limit_of(options, "statement_timeout");
	(void) etl_timeout_start(ETL_TIMEOUT_TASK, limit ? limit : limit_of(options, "task_timeout"), 0);
}

/*
 * etl_clocks_stop takes them away.
 */
void
etl_clocks_stop(void)
{
	etl_statement_limit_ms = 0;
	etl_timeout_stop(ETL_TIMEOUT_TASK);
	etl_timeout_stop(ETL_TIMEOUT_STATEMENT);
}

/*
 * etl_node_is_cancelled tells whether an error is a cancel of the run, and
 * not the end of a limit of the node, which is a failure like others.
 */
bool
etl_node_is_cancelled(ErrorData *error)
{
	return !etl_timeout_take(ETL_TIMEOUT_TASK, error) &&
		   !etl_timeout_take(ETL_TIMEOUT_STATEMENT, error) && etl_error_is_cancel(error);
}

/*
 * etl_clocks_restate makes the error that is being raised say which limit has
 * ended, when one has.
 */
void
etl_clocks_restate(EtlRunState *state)
{
	ErrorData  *error;

	MemoryContextSwitchTo(state->driver.context);
	error = CopyErrorData();
	if (etl_node_is_cancelled(error) && !etl_timeout_take(ETL_TIMEOUT_RUN, error))
		return;
	FlushErrorState();
	etl_clocks_stop();
	etl_rethrow(error);
}
