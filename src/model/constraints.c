/*-------------------------------------------------------------------------
 *
 * constraints.c
 *    Constraints of etl: named by their definition, found again by name.
 *
 * A name ends in _etl_, a letter that says who made it (c: the definition, v:
 * what a snapshot needs) and a hash of the constraint's text, so that it is
 * made once, and dropped when nobody wants it any more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/names.h"
#include "model/internal.h"

/* _etl_c01234567 */
#define TAIL 14

char *
etl_constraint_name(Oid relid, char letter, const char *definition)
{
	uint32		hash = DatumGetUInt32(hash_any((const unsigned char *) definition, strlen(definition)));

	return etl_name_suffixed(get_rel_name(relid), psprintf("_etl_%c%08x", letter, hash));
}

bool
etl_constraint_is_ours(const char *name, char letter)
{
	size_t		length = strlen(name);
	const char *tail = length > TAIL ? name + length - TAIL : "";

	return strncmp(tail, "_etl_", 5) == 0 && tail[5] == letter && strspn(tail + 6, "0123456789abcdef") == 8;
}

/*
 * uses_one_of tells whether a constraint is over one of the columns.
 */
static bool
uses_one_of(Relation rel, HeapTuple tuple, List *columns)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_constraint_conkey, RelationGetDescr(rel), &isnull);
	ArrayType  *numbers;

	if (isnull || columns == NIL)
		return false;
	numbers = DatumGetArrayTypeP(datum);
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(numbers), ARR_DIMS(numbers)); i++)
		if (list_member_int(columns, ((int16 *) ARR_DATA_PTR(numbers))[i]))
			return true;
	return false;
}

List *
etl_constraints_of(Oid relid, List *lost)
{
	List	   *names = NIL;
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (!uses_one_of(rel, tuple, lost))
			names = lappend(names, pstrdup(NameStr(((Form_pg_constraint) GETSTRUCT(tuple))->conname)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return names;
}

/*
 * etl_constraints_follow gives the constraints of a table that was renamed
 * the names that they are found by; inside etl_run_as.
 */
void
etl_constraints_follow(Oid relid)
{
	char	   *relation = get_rel_name(relid);
	ListCell   *cell;

	foreach(cell, etl_constraints_of(relid, NIL))
	{
		char	   *name = lfirst(cell);
		char	   *wanted;

		if (!etl_constraint_is_ours(name, 'c') && !etl_constraint_is_ours(name, 'v'))
			continue;
		wanted = etl_name_suffixed(relation, name + strlen(name) - TAIL);
		if (strcmp(name, wanted) != 0)
			etl_execute_utility(psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s",
										 etl_quoted_relation(relid), quote_identifier(name),
										 quote_identifier(wanted)));
	}
}
