/*-------------------------------------------------------------------------
 *
 * extension.h
 *    Is the extension there, and is it the one this library was made for.
 *
 * Called at the start of every transaction of a worker, and before every
 * statement on etl's tables: between two transactions the extension may be
 * dropped, updated, or made anew.
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

/*
 * etl_extension_owner returns who owns the extension, hence its tables, and
 * keeps it as etl_extension_lock does.  Raises 42704 when there is none.
 */
extern Oid etl_extension_owner(void);

/* the version of the library, as the control file has it */
extern const char *etl_library_version(void);

#endif							/* ETL_EXTENSION_H */
