/*-------------------------------------------------------------------------
 *
 * timeout.c
 *    Limits of time: of a statement, of a task, of a run.
 *
 * PostgreSQL's own statement_timeout is of no use here: in a CALL it counts
 * from the beginning of the CALL, and in a worker nobody starts it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"

#include "common/driver.h"
#include "common/timeout.h"

int64		etl_statement_limit_ms = 0;

typedef struct Clock
{
	const char *what;
	const char *hint;
	bool		registered;
	TimeoutId	id;
	int64		ms;
	volatile sig_atomic_t expired;
} Clock;

static Clock clocks[] = {
	{"a statement", "Make its query faster, or raise statement_timeout in its options.", false, 0, 0, false},
	{"the task", "Make it faster, or raise timeout in its options.", false, 0, 0, false},
	{"the run", "Select less, or raise the timeout of the run: etl.run_timeout, or that of its schedule.",
	 false, 0, 0, false},
};

/*
 * expire and its three callers run in a signal handler: they cancel what is going on.
 */
static void
expire(Clock *clock)
{
	clock->expired = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

static void
expire_statement(void)
{
	expire(&clocks[ETL_TIMEOUT_STATEMENT]);
}

static void
expire_task(void)
{
	expire(&clocks[ETL_TIMEOUT_TASK]);
}

static void
expire_run(void)
{
	expire(&clocks[ETL_TIMEOUT_RUN]);
}

/*
 * etl_timeout_start: see timeout.h.
 */
bool
etl_timeout_start(EtlTimeout which, int64 ms, int64 used)
{
	static const timeout_handler_proc handlers[] = {expire_statement, expire_task, expire_run};
	Clock	   *clock = &clocks[which];

	if (ms <= 0 || (clock->registered && get_timeout_active(clock->id)))
		return false;
	if (!clock->registered)
		clock->id = RegisterTimeout(USER_TIMEOUT, handlers[which]);
	clock->registered = true;
	clock->expired = false;
	clock->ms = ms;
	enable_timeout_after(clock->id, (int) Max(Min(ms - used, PG_INT32_MAX), 1));
	return true;
}

/*
 * etl_timeout_stop: see timeout.h.
 */
void
etl_timeout_stop(EtlTimeout which)
{
	Clock	   *clock = &clocks[which];

	if (!clock->registered)
		return;
	disable_timeout(clock->id, false);
	/* one that expired too late for the last check must not cancel what comes next */
	if (clock->expired)
		QueryCancelPending = false;
	clock->expired = false;
}

/*
 * etl_timeout_take: see timeout.h.
 */
bool
etl_timeout_take(EtlTimeout which, ErrorData *error)
{
	Clock	   *clock = &clocks[which];
	bool		expired = clock->expired && etl_error_is_cancel(error);

	if (expired)
	{
		error->message = psprintf("%s took longer than its timeout of %g s", clock->what, clock->ms / 1000.0);
		error->hint = pstrdup(clock->hint);
		error->funcname = "etl_timeout_take";
		clock->expired = false;
	}
	etl_timeout_stop(which);
	return expired;
}
