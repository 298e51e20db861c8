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
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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

/* What the extension's row says. */
typedef struct Installed
{
	Oid			oid;			/* InvalidOid: there is none */
	Oid			owner;
	TransactionId made_by;
	char	   *version;		/* NULL unless asked for */
} Installed;

/*
 * read_row reads the extension's row as it is now.
 */
static Installed
read_row(bool with_version)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	Installed	row = {InvalidOid, InvalidOid, InvalidTransactionId, NULL};
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("etl"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		row.oid = form->oid;
		row.owner = form->extowner;
		row.made_by = HeapTupleHeaderGetXmin(tuple->t_data);
		if (with_version)
		{
			bool		isnull;
			Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
									   RelationGetDescr(relation), &isnull);

			row.version = isnull ? pstrdup("") : TextDatumGetCString(value);
		}
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return row;
}

/*
 * lock_row keeps the extension from being dropped or altered until the
 * transaction ends.  Returns false when this transaction had it locked
 * already.
 *
 * Whoever makes it locks nothing, and tells other processes of its tables
 * only after its row can be seen: for that moment we wait, lest we look for
 * tables where we remember that there are none.
 */
static bool
lock_row(const Installed *row)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, row->oid, 0);
	if (LockAcquire(&tag, AccessShareLock, false, false) == LOCKACQUIRE_ALREADY_HELD)
		return false;
	if (!RecoveryInProgress() && TransactionIdIsNormal(row->made_by) &&
		TransactionIdFollowsOrEquals(row->made_by, RecentXmin) &&
		!TransactionIdIsCurrentTransactionId(row->made_by))
		XactLockTableWait(row->made_by, NULL, NULL, XLTW_None);
	AcceptInvalidationMessages();
	return true;
}

/*
 * find returns the extension's row, locked: what is found after waiting for
 * those who drop it, or make it anew, is what counts.
 */
static Installed
find(bool with_version)
{
	Installed	row = read_row(with_version);

	while (OidIsValid(row.oid) && lock_row(&row))
		row = read_row(with_version);
	return row;
}

/*
 * etl_extension_lock: see extension.h.
 */
EtlExtension
etl_extension_lock(char **version)
{
	Installed	row = find(true);

	if (!OidIsValid(row.oid))
		return ETL_EXTENSION_ABSENT;
	if (version != NULL)
		*version = row.version;
	return strcmp(row.version, etl_library_version()) == 0 ? ETL_EXTENSION_PRESENT : ETL_EXTENSION_MISMATCH;
}

/*
 * etl_extension_owner: see extension.h.
 */
Oid
etl_extension_owner(void)
{
	Installed	row = find(false);

	if (!OidIsValid(row.oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"etl\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION etl.")));
	return row.owner;
}
