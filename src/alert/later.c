/*-------------------------------------------------------------------------
 *
 * later.c
 *    Telling what could not be told at once.
 *
 * Whoever reads or acknowledges alerts may keep them locked in a transaction
 * that stays open.  A run waits a moment for that and no longer: then what it
 * has to tell is kept as it is, in the transaction of the fact, and told by
 * the chore of deadlines when the lock is gone.  While something waits,
 * whatever comes after it waits, too: an end never goes before its beginning.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alert/internal.h"
#include "catalog/history.h"
#include "common/clock.h"
#include "common/driver.h"

/* how long a run waits for an alert that somebody has locked */
#define LONGEST_LOCK "250ms"
/* until it is tried again */
#define PAUSE		 (2 * USECS_PER_SEC)

typedef struct Telling
{
	const EtlReportKind *kind;
	void	   *arg;
	const EtlReport *report;	/* NULL: it is told for the first time */
} Telling;

/*
 * tell tells it with a limit on waiting for locks; an argument of etl_subxact.
 */
static void
tell(void *arg)
{
	Telling    *telling = arg;
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LONGEST_LOCK, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (telling->report != NULL)
		telling->arg = telling->kind->unpack(telling->report->body);
	etl_fact_happened_at = telling->report ? telling->report->happened_at : 0;
	telling->kind->tell(telling->arg);
	AtEOXact_GUC(false, level);
}

/*
 * try_to_tell returns the error, or NULL.
 */
static ErrorData *
try_to_tell(Telling *telling)
{
	ErrorData  *error = etl_subxact(tell, telling);

	etl_fact_happened_at = 0;
	return error;
}

/*
 * keep keeps it for later; an argument of etl_subxact.
 */
static void
keep(void *arg)
{
	Telling    *telling = arg;

	etl_report_store(telling->kind->name, telling->kind->pack(telling->arg), etl_now());
}

/*
 * etl_report_tell: see internal.h.
 */
void
etl_report_tell(const EtlReportKind *kind, void *arg)
{
	Telling		telling = {kind, arg, NULL};
	ErrorData  *error;

	if ((kind->at_once || !etl_reports_wait()) && try_to_tell(&telling) == NULL)
		return;
	error = etl_subxact(keep, &telling);
	if (error != NULL)
		ereport(WARNING, (errmsg("alerts could not be written: %s", error->message),
						  error->detail ? errdetail_internal("%s", error->detail) : 0));
}

/*
 * is_locked tells whether an error means that somebody was in the way.
 */
static bool
is_locked(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		   error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/*
 * catch_up tells the oldest report; false when there is none, or when it
 * cannot be told yet.  One that can never be told is told to the log.
 */
static bool
catch_up(TimestampTz now)
{
	EtlReport  *report = etl_report_next();
	Telling		telling = {.report = report};
	ErrorData  *error = NULL;

	if (report == NULL)
		return false;
	telling.kind = etl_report_kind(report->kind);
	if (telling.kind != NULL)
		error = try_to_tell(&telling);
	if (error != NULL && is_locked(error))
	{
		etl_reports_put_off(now + PAUSE);
		return false;
	}
	if (error != NULL)
		etl_log_store("error", 0, NULL, psprintf("an alert could not be written: %s", error->message),
					  error->detail);
	etl_report_delete(report->report_id);
	return true;
}

/*
 * etl_reports_catch_up: see internal.h.
 */
void
etl_reports_catch_up(EtlDriver *driver, TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl report", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	bool		more = true;

	while (more)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		more = catch_up(now);
		PopActiveSnapshot();
		driver->commit(driver);
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
