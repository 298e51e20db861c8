/*-------------------------------------------------------------------------
 *
 * pgp.h
 *    What the files of the PGP part share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_PGP_H
#define ETL_PGP_H

#include "postgres.h"

#include <gpgme.h>

#include "common/compat.h"
#include "etl_part.h"

/* ---- home.c: a private home for gpg, with an agent of its own ---- */

typedef struct PgpHome
{
	char		path[64];		/* empty: none */
	int			lifeline;		/* the home goes when this is closed, by whatever; -1 none */
	pid_t		watcher;		/* removes it; 0 none */
	MemoryContextCallback callback;
} PgpHome;

/* makes a home; it goes, and its agent ends, with the current context or with the process */
extern void home_begin(PgpHome *home, const char *origin);

/* ---- operation.c: an operation of gpgme that is waited for as the server waits ---- */

#define OPERATION_FDS 16

typedef struct OperationFd
{
	gpgme_io_cb_t work;			/* NULL: the place is free */
	void	   *data;
	int			fd;
	bool		writes;
} OperationFd;

typedef struct Operation
{
	OperationFd fds[OPERATION_FDS];
	bool		runs;
	gpgme_error_t error;		/* of one that has ended */
} Operation;

/* makes 'operation' the one that the context's next operation reports to */
extern void operation_attach(Operation *operation, gpgme_ctx_t ctx);
/* goes on until 'enough' (NULL: never) or the end */
extern void operation_work(Operation *operation, const bool *enough);

/* decrypt.c */
extern EtlRead *decrypt_stream(EtlRead *input, const char *key, size_t key_length, const char *passphrase,
							   const char *origin);

#endif							/* ETL_PGP_H */
