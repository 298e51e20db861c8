/*-------------------------------------------------------------------------
 *
 * seal.h
 *    Sealing and opening bytes with the key of etl.secret_key_file.
 *
 * Called by secret.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_SEAL_H
#define ETL_SEAL_H

#include "postgres.h"

/* Both raise ET015 when the key file cannot be used. */
extern char *etl_seal(const char *name, const char *plain, int length, int *sealed_length);

/* NULL when the bytes were not sealed under this name with this key. */
extern char *etl_unseal(const char *name, const char *sealed, int sealed_length, int *length);

#endif							/* ETL_SEAL_H */
