/*-------------------------------------------------------------------------
 *
 * extension.c
 *    Is the extension there, and is it the one this library was made for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "catalog/extension.h"

/* the test of ALTER EXTENSION UPDATE makes a library of the next version by this text */
static const char library_version[] = "etl library version 1.0";

/*
 * etl_library_version returns the part after the last space.
 */
const char *
etl_library_version(void)
{
	return strrchr(library_version, ' ') + 1;
}

/*
 * installed_version reads the extension's row.
 */
static char *
installed_version(Oid extension)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(relation, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
								   RelationGetDescr(relation), &isnull);

		version = isnull ? pstrdup("") : TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return version;
}

/*
 * etl_extension_lock: see extension.h.
 */
EtlExtension
etl_extension_lock(char **version)
{
	Oid			extension = get_extension_oid("etl", true);
	char	   *installed;

	if (!OidIsValid(extension))
		return ETL_EXTENSION_ABSENT;

	/* who drops it holds an exclusive lock; what we find after waiting is what counts */
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	installed = installed_version(extension);
	if (installed == NULL)
		return ETL_EXTENSION_ABSENT;
	if (version != NULL)
		*version = installed;
	return strcmp(installed, etl_library_version()) == 0 ? ETL_EXTENSION_PRESENT : ETL_EXTENSION_MISMATCH;
}
