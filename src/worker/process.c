/*-------------------------------------------------------------------------
 *
 * process.c
 *    What launcher, scheduler and task have in common: how they begin, read
 *    the configuration again, and go on after an error.
 *
 * SIGTERM is die(), which waits for a safe place; the default of background
 * workers would end them in the middle of a critical section.  That it came
 * is remembered: what a process was at when it was told to end is not what
 * ended it.  SIGUSR1 and SIGINT stay as PostgreSQL sets them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/condition_variable.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "common/clock.h"
#include "common/guc.h"
#include "run/ending.h"
#include "worker/worker.h"

/*
 * told_to_end is the handler of SIGTERM.
 */
static void
told_to_end(SIGNAL_ARGS)
{
	etl_told_to_end = true;
	die(postgres_signal_arg);
}

/*
 * etl_process_begin installs the handlers, then lets signals in.
 */
void
etl_process_begin(void)
{
	pqsignal(SIGTERM, told_to_end);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

/*
 * etl_process_settings overrides what a role or database may have set for
 * people: it would break the work of a process that nobody talks to.
 */
void
etl_process_settings(void)
{
	static const char *const settings[][2] = {
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"search_path", "pg_catalog, pg_temp"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * etl_process_read_start reads what etl_process_register wrote.
 */
void
etl_process_read_start(EtlStart *start)
{
	StaticAssertStmt(sizeof(EtlStart) <= BGW_EXTRALEN, "EtlStart does not fit into bgw_extra");
	memcpy(start, MyBgworkerEntry->bgw_extra, sizeof(EtlStart));
}

/*
 * etl_process_reload reads the configuration files again if that was asked.
 */
void
etl_process_reload(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

/*
 * etl_process_recover cleans up after the error just caught, inside a
 * transaction or not, as autovacuum's launcher does; 'report' has it logged.
 */
void
etl_process_recover(bool report)
{
	HOLD_INTERRUPTS();
	QueryCancelPending = false;
	if (report)
		EmitErrorReport();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	/* see run/driver.c */
	if (ActivePortal != NULL)
	{
		MarkPortalFailed(ActivePortal);
		ActivePortal = NULL;
	}
	AbortOutOfAnyTransaction();
	LockReleaseSession(USER_LOCKMETHOD);
	FlushErrorState();
	RESUME_INTERRUPTS();
}

/*
 * etl_process_register asks the postmaster for a worker of this library;
 * false when max_worker_processes are in use.  Whether it has come is seen
 * in its slot: nobody waits for it.
 */
bool
etl_process_register(const char *type, const char *function, const EtlStart *start)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, type, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "etl", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, start, sizeof(EtlStart));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * etl_process_due converts a moment on the clock of etl_now() to one to sleep
 * until.  A clock that a test has stopped brings nothing about by itself.
 */
TimestampTz
etl_process_due(TimestampTz due)
{
	if (etl_test_now == NULL || etl_test_now[0] == '\0')
		return due;
	return due <= etl_now() ? GetCurrentTimestamp() : DT_NOEND;
}
