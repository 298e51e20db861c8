/*-------------------------------------------------------------------------
 *
 * aloud.c
 *    NOTICEs of progress from inside PostgreSQL's own loops.
 *
 * A session says how far it is wherever etl's code is passed: at each row of
 * a scan, say.  One long call passes none, pg_sleep() or a sort for example,
 * but it reaches CHECK_FOR_INTERRUPTS.  That has no hook; but a request to
 * log the memory contexts of a process is served there, through ereport(),
 * and of what is logged extensions are told.  So the timer asks for such a
 * log, and when it comes a NOTICE is sent in its stead.  Nothing of it
 * reaches the server's log; what a user asks for with
 * pg_log_backend_memory_contexts() does.
 *
 * A NOTICE may be sent there: parallel workers' messages are handed on at the
 * same place, and interrupts are held off as they are for those.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "common/aloud.h"

static emit_log_hook_type previous_hook = NULL;
static void (*say)(void) = NULL;
static volatile sig_atomic_t asked = false;
static bool swallowing = false;

/*
 * speak calls back, its allocations in a context of their own.
 */
static void
speak(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl notice",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	HOLD_INTERRUPTS();
	say();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * on_log looks at what is about to be logged; keeps back what answers us.
 */
static void
on_log(ErrorData *edata)
{
	if (previous_hook != NULL)
		previous_hook(edata);
	if (edata->elevel != LOG_SERVER_ONLY || !edata->hide_stmt || edata->message_id == NULL)
		return;
	if (strncmp(edata->message_id, "logging memory contexts", 23) == 0)
	{
		swallowing = asked;
		asked = false;
		if (swallowing)
			speak();
	}
	if (!swallowing)
		return;
	edata->output_to_server = false;
	if (strncmp(edata->message_id, "Grand total", 11) == 0)
		swallowing = false;
}

void
etl_aloud_begin(void (*callback)(void))
{
	say = callback;
	if (previous_hook == on_log || emit_log_hook == on_log)
		return;
	previous_hook = emit_log_hook;
	emit_log_hook = on_log;
}

bool
etl_aloud_possible(void)
{
	return whereToSendOutput == DestRemote && say != NULL;
}

void
etl_aloud_ask(void)
{
	/* somebody else's request that is not served yet goes first */
	if (LogMemoryContextPending && !asked)
		return;
	asked = true;
	LogMemoryContextPending = true;
	InterruptPending = true;
}
