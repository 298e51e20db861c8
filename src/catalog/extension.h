/*-------------------------------------------------------------------------
 *
 * extension.h
 *    Is the extension there, and is it the one this library was made for.
 *
 * Called at the start of every transaction of a worker: between two of them
 * the extension may be dropped, updated, or made anew.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_EXTENSION_H
#define ETL_EXTENSION_H

#include "postgres.h"

typedef enum EtlExtension
{
	ETL_EXTENSION_PRESENT,
	ETL_EXTENSION_ABSENT,
	ETL_EXTENSION_MISMATCH		/* another version than the library's */
} EtlExtension;

/*
 * etl_extension_lock keeps the extension from being dropped or altered until
 * the transaction ends.  'version' (if not NULL) gets its version.
 */
extern EtlExtension etl_extension_lock(char **version);

/* the version of the library, as the control file has it */
extern const char *etl_library_version(void);

#endif							/* ETL_EXTENSION_H */
