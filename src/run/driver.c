/*-------------------------------------------------------------------------
 *
 * driver.c
 *    The transactions of a run: of a CALL, or of a worker.
 *
 * In a CALL outside a transaction block the driver commits through SPI, as
 * PL/pgSQL's COMMIT does, and an error that reaches it is caught at top
 * level: what the failed work left behind (subtransactions, SPI levels,
 * snapshots) is taken down to where the CALL stood, then the transaction is
 * rolled back.  Inside a transaction block it commits nothing and works in
 * subtransactions.  A worker has no statement around it, so its driver
 * begins and ends transactions itself.
 *
 * Whatever must survive a commit lives in the driver's context, which is the
 * current one after etl_driver_begin.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "common/json.h"
#include "run/run.h"

/*
 * set_local sets a setting until the end of the transaction.
 */
static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * begin_transaction prepares the transaction that SPI has just begun.
 */
static void
begin_transaction(EtlRunDriver *driver)
{
	set_local("etl.params", driver->params);
	InvalidateCatalogSnapshot();
}

/*
 * commit_call commits and begins the next transaction.
 */
static void
commit_call(EtlDriver *base)
{
	SPI_commit();
	begin_transaction((EtlRunDriver *) base);
}

/*
 * start_transaction begins a worker's transaction.  There is no statement
 * that would say what the time is.
 */
static void
start_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
}

/*
 * make_portal makes a worker look as if a statement were executed in it:
 * statements through SPI want a portal to hang their snapshot on, which a
 * CALL has.  An active portal outlives commits and aborts.
 */
static void
make_portal(void)
{
	Portal		portal = CreatePortal("etl worker", true, true);

	portal->visible = false;
	portal->status = PORTAL_ACTIVE;
	ActivePortal = portal;
}

/*
 * drop_portal takes it away again, in a transaction.
 */
static void
drop_portal(void)
{
	ForgetPortalSnapshots();
	ActivePortal->status = PORTAL_DONE;
	PortalDrop(ActivePortal, false);
	ActivePortal = NULL;
}

/*
 * commit_worker commits and begins the next transaction.
 */
static void
commit_worker(EtlDriver *base)
{
	MemoryContext context = CurrentMemoryContext;

	ForgetPortalSnapshots();
	CommitTransactionCommand();
	start_transaction();
	MemoryContextSwitchTo(context);
	begin_transaction((EtlRunDriver *) base);
}

/*
 * suspend_worker commits and begins nothing: what follows is a wait.
 */
static void
suspend_worker(EtlDriver *base)
{
	ForgetPortalSnapshots();
	CommitTransactionCommand();
}

/*
 * resume_worker begins the transaction that follows a wait.
 */
static void
resume_worker(EtlDriver *base)
{
	start_transaction();
	begin_transaction((EtlRunDriver *) base);
}

/*
 * commit_nothing stands for a commit inside a caller's transaction: what was
 * done becomes visible to what follows.
 */
static void
commit_nothing(EtlDriver *base)
{
	CommandCounterIncrement();
}

/*
 * etl_driver_begin begins the driver of a CALL and makes its context current:
 * SPI's procedure context.
 */
void
etl_driver_begin(EtlRunDriver *driver, bool atomic, char *params)
{
	if (SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	driver->base.atomic = atomic;
	driver->base.commit = atomic ? commit_nothing : commit_call;
	driver->base.suspend = driver->base.resume = NULL;
	driver->base.node = NULL;
	driver->base.retrying = NULL;
	driver->base.has_room = NULL;
	driver->worker = false;
	driver->params = params ? pstrdup(params) : "{}";
	driver->context = CurrentMemoryContext;
	set_local("etl.params", driver->params);
}

/*
 * etl_driver_begin_worker begins the driver of a process without a statement,
 * and its first transaction.  The context is a child of the current one, so
 * that it goes with it when the process is broken off.
 */
void
etl_driver_begin_worker(EtlRunDriver *driver)
{
	driver->base.atomic = false;
	driver->base.commit = commit_worker;
	driver->base.suspend = suspend_worker;
	driver->base.resume = resume_worker;
	driver->base.node = NULL;
	driver->base.retrying = NULL;
	driver->base.has_room = NULL;
	driver->worker = true;
	driver->params = "{}";
	driver->context = AllocSetContextCreate(CurrentMemoryContext, "etl run", ALLOCSET_DEFAULT_SIZES);
	start_transaction();
	make_portal();
	MemoryContextSwitchTo(driver->context);
	begin_transaction(driver);
}

/*
 * etl_driver_set_params sets what etl.param() tells, now and in every
 * transaction to come.
 */
void
etl_driver_set_params(EtlRunDriver *driver, const Jsonb *params)
{
	driver->params = MemoryContextStrdup(driver->context, params ? etl_json_text(params) : "{}");
	set_local("etl.params", driver->params);
}

/*
 * etl_driver_end disconnects.
 */
void
etl_driver_end(EtlRunDriver *driver)
{
	MemoryContext parent;

	if (!driver->worker)
	{
		SPI_finish();
		return;
	}
	parent = MemoryContextGetParent(driver->context);
	drop_portal();
	CommitTransactionCommand();
	MemoryContextSwitchTo(parent);
	MemoryContextDelete(driver->context);
}

/*
 * etl_driver_commit_lazily commits without waiting for the disk.
 */
void
etl_driver_commit_lazily(EtlRunDriver *driver)
{
	if (!driver->base.atomic)
		set_local("synchronous_commit", "off");
	driver->base.commit(&driver->base);
}

/*
 * roll_back takes the session down to where the driver began, and begins a
 * new transaction.
 */
static void
roll_back(EtlRunDriver *driver)
{
	if (driver->worker)
	{
		AbortOutOfAnyTransaction();
		/* an abort leaves an active portal as it is, but its snapshot is gone */
		ActivePortal->portalSnapshot = NULL;
		start_transaction();
		MemoryContextSwitchTo(driver->context);
		begin_transaction(driver);
		return;
	}
	while (GetCurrentTransactionNestLevel() > 1)
		RollbackAndReleaseCurrentSubTransaction();
	while (!SPI_inside_nonatomic_context())
		if (SPI_finish() != SPI_OK_FINISH)
			break;

	/* SPI_rollback accounts for the portal's own snapshot and for no other */
	while (ActiveSnapshotSet() &&
		   (ActivePortal == NULL || GetActiveSnapshot() != ActivePortal->portalSnapshot))
		PopActiveSnapshot();
	SPI_rollback();
	MemoryContextSwitchTo(driver->context);
	begin_transaction(driver);
}

/*
 * etl_driver_try: see run.h.
 */
ErrorData *
etl_driver_try(EtlRunDriver *driver, void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *volatile error = NULL;

	if (driver->base.atomic)
		return etl_subxact(work, arg);

	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->elevel > ERROR)
			PG_RE_THROW();
		FlushErrorState();
		roll_back(driver);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	return error;
}
