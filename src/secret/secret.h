/*-------------------------------------------------------------------------
 *
 * secret.h
 *    Opening secrets for connectors; nothing else ever sees a plaintext.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_SECRET_H
#define ETL_SECRET_H

#include "postgres.h"

/*
 * etl_secret_open returns the plaintext in 'context', which wipes it when it
 * is reset or deleted.  Raises ET015 when there is none, the key is wrong, or
 * 'host' (NULL: not asked) is not among the secret's allowed hosts.
 */
extern char *etl_secret_open(MemoryContext context, const char *name, const char *host);

#endif							/* ETL_SECRET_H */
