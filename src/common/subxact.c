/*-------------------------------------------------------------------------
 *
 * subxact.c
 *    Running a piece of work so that its failure can be reported and survived.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "common/driver.h"

/*
 * etl_error_is_cancel: see driver.h.  Everything that stops a backend from
 * outside is raised at one place of PostgreSQL, which the error names.
 */
bool
etl_error_is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname != NULL &&
		   strcmp(error->funcname, "ProcessInterrupts") == 0;
}

/*
 * etl_rethrow: see driver.h.
 */
void
etl_rethrow(ErrorData *error)
{
	/* ReThrowError copies the other texts */
	if (error->filename != NULL)
		error->filename = MemoryContextStrdup(ErrorContext, error->filename);
	if (error->funcname != NULL)
		error->funcname = MemoryContextStrdup(ErrorContext, error->funcname);
	if (error->domain != NULL)
		error->domain = MemoryContextStrdup(ErrorContext, error->domain);
	if (error->context_domain != NULL)
		error->context_domain = MemoryContextStrdup(ErrorContext, error->context_domain);
	if (error->message_id != NULL)
		error->message_id = MemoryContextStrdup(ErrorContext, error->message_id);
	ReThrowError(error);
}

/*
 * etl_subxact: see driver.h.
 */
ErrorData *
etl_subxact(void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);

	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	/*
	 * Whoever asked us to stop must be obeyed, not reported.  The subtransaction
	 * is over by then: one that an error leaves open would make the session wait
	 * for a ROLLBACK that nobody knows of.
	 */
	if (error != NULL && etl_error_is_cancel(error))
		etl_rethrow(error);
	return error;
}

/*
 * etl_driver_wait: see driver.h.
 */
void
etl_driver_wait(EtlDriver *driver, void (*wait)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;

	if (driver->suspend == NULL)
	{
		wait(arg);
		return;
	}
	driver->suspend(driver);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		wait(arg);
	}
	PG_FINALLY();
	{
		/* who cleans up after an error may do what needs one */
		driver->resume(driver);
		MemoryContextSwitchTo(context);
	}
	PG_END_TRY();
}
