/*-------------------------------------------------------------------------
 *
 * driver.h
 *    How a node's work ends its transactions, whoever drives it.
 *
 * run/ makes one driver for CALL (and later one for workers); load/ and
 * model/ only use it.  'commit' makes everything so far durable and begins
 * the next transaction; in a caller's transaction block (atomic) it commits
 * nothing.  After commit no snapshot is active and none is registered.
 *
 * A worker waits without any transaction: 'suspend' commits, 'resume' begins
 * the next one; between them nothing of the database may be touched.  A CALL
 * has neither: PostgreSQL cannot be without a transaction inside a statement,
 * so it waits in an empty one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DRIVER_H
#define ETL_DRIVER_H

#include "common/compat.h"

typedef struct EtlDriver
{
	bool		atomic;			/* inside a caller's transaction: never commits */
	void		(*commit) (struct EtlDriver *driver);
	void		(*suspend) (struct EtlDriver *driver);	/* NULL: it cannot be without a transaction */
	void		(*resume) (struct EtlDriver *driver);
	/* notes that a try of something failed that is tried again in place; NULL: nobody wants to know */
	void		(*retrying) (struct EtlDriver *driver, int sqlerrcode, const char *message);
	/* whether the run may put one more process to work now; NULL: it may not */
	bool		(*has_room) (struct EtlDriver *driver);
	int64		run_id;
	const char *node;			/* the node at work, for messages and the log */
} EtlDriver;

/*
 * etl_driver_wait calls wait(arg) while this process has no transaction, if
 * the driver can do that.  Errors of the wait find a transaction again.
 */
extern void etl_driver_wait(EtlDriver *driver, void (*wait)(void *arg), void *arg);

/*
 * etl_subxact runs work(arg) in an internal subtransaction.  Returns NULL
 * when it succeeded; otherwise everything it did is rolled back (user id,
 * security context and settings included) and the error is returned, copied
 * into the caller's context.  Cancel and shutdown are re-thrown.
 */
extern ErrorData *etl_subxact(void (*work)(void *arg), void *arg);

/*
 * etl_rethrow raises an error that was copied, in place of ReThrowError: that
 * one leaves some of the texts where the copy stands, which may be
 * in a context that is deleted before the next one catches the error.
 */
pg_noreturn extern void etl_rethrow(ErrorData *error);

/*
 * etl_error_is_cancel tells a cancel of this process from an error that only
 * has its code: 57014 of a function's RAISE, or of another server, is a
 * failure like any other.
 */
extern bool etl_error_is_cancel(const ErrorData *error);

#endif							/* ETL_DRIVER_H */
