/*-------------------------------------------------------------------------
 *
 * belongings.c
 *    What others gave a table of etl's by hand: it is told when it goes.
 *
 * The definition of a model says what its table has.  Somebody may have added
 * a constraint, an index or statistics besides; etl leaves them alone as long
 * as it can.  Where it cannot, because their column goes or is made again, it
 * does not let them go without a word.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/names.h"
#include "load/belongings.h"
#include "load/dependents.h"

/* ---- of a relation that is made again ---- */

/* what others made of a table or materialized view, beside what the next one may be given again */
#define LOST_IN_EVERY_CASE \
	"WITH part AS (SELECT relid FROM pg_partition_tree($1) UNION SELECT $1)" \
	" SELECT pg_describe_object('pg_constraint'::regclass, oid, 0) FROM pg_constraint" \
	" WHERE conrelid IN (SELECT relid FROM part) AND contype IN ('c', 'f', 'p', 'u', 'x')" \
	" AND conislocal AND conparentid = 0 AND conname !~ '_etl_[cv][0-9a-f]{8}$'" \
	" UNION ALL" \
	" SELECT pg_describe_object('pg_statistic_ext'::regclass, oid, 0) FROM pg_statistic_ext " \
	"WHERE stxrelid IN (SELECT relid FROM part)" \
	" UNION ALL" \
	" SELECT pg_describe_object('pg_publication_rel'::regclass, oid, 0) FROM pg_publication_rel " \
	"WHERE prrelid = $1"
#define LOST_INDEXES \
	" UNION ALL" \
	" SELECT pg_describe_object('pg_class'::regclass, indexrelid, 0) FROM pg_index JOIN pg_class c ON c.oid = indexrelid" \
	" WHERE indrelid = $1 AND relname !~ '_etl_[ui][0-9a-f]{8}$'" \
	" AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"

void
etl_relation_warn_of_loss(Oid relid, bool with_indexes)
{
	List	   *lost = etl_garments(
		psprintf("%s%s ORDER BY 1", LOST_IN_EVERY_CASE, with_indexes ? LOST_INDEXES : ""), relid);
	StringInfoData names;
	ListCell   *cell;

	if (lost == NIL)
		return;
	initStringInfo(&names);
	foreach(cell, lost)
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", ((EtlGarment *) lfirst(cell))->statement);
	ereport(WARNING,
			(errmsg("%s is made again, without what others had added to it",
					etl_name_of_relation(relid)),
			 errdetail("Gone: %s.", names.data),
			 errhint("Make it again where the new relation can have it, or declare it with the options of "
					 "the model.")));
}

/* ---- of columns that change ---- */

/* takes the OID of the table; "%s" says which of its columns */
static const char *const belongings_sql =
	"WITH part AS (SELECT relid FROM pg_partition_tree($1) UNION SELECT $1),"
	" col AS (SELECT * FROM pg_attribute WHERE attrelid IN (SELECT relid FROM part) AND attnum > 0"
	" AND attname IN (SELECT attname FROM pg_attribute WHERE attrelid = $1 AND NOT attisdropped %s)),"
	" held AS (SELECT DISTINCT d.classid, d.objid FROM pg_depend d JOIN col"
	" ON d.refclassid = 'pg_class'::regclass AND d.refobjid = attrelid AND d.refobjsubid = attnum)"
	" SELECT * FROM (SELECT pg_describe_object(classid, objid, 0), pg_get_constraintdef(c.oid)"
	" FROM held JOIN pg_constraint c ON classid = 'pg_constraint'::regclass AND c.oid = objid"
	" WHERE conrelid IN (SELECT relid FROM part) AND contype IN ('c', 'f', 'p', 'u', 'x')"
	" AND conislocal AND conparentid = 0 AND conname !~ '_etl_[cv][0-9a-f]{8}$'"
	" UNION ALL"
	" SELECT pg_describe_object(classid, objid, 0), pg_get_indexdef(objid)"
	" FROM held JOIN pg_class i ON classid = 'pg_class'::regclass AND i.oid = objid"
	" WHERE relkind IN ('i', 'I') AND NOT relispartition AND relname !~ '_etl_[ui][0-9a-f]{8}$'"
	" UNION ALL"
	" SELECT pg_describe_object(classid, objid, 0), pg_get_statisticsobjdef(objid)"
	" FROM held JOIN pg_statistic_ext s ON classid = 'pg_statistic_ext'::regclass AND s.oid = objid"
	" UNION ALL"
	" SELECT format('target of %%s', pg_describe_object(classid, objid, 0)), stxstattarget::text"
	" FROM held JOIN pg_statistic_ext s ON classid = 'pg_statistic_ext'::regclass AND s.oid = objid"
	" WHERE stxstattarget >= 0"
	" UNION ALL"
	" SELECT format('column %%I: its default', attname), attname"
	" FROM col JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
	" WHERE attrelid = $1 AND attgenerated = ''"
	" UNION ALL"
	" SELECT format('column %%I: statistics target %%s', attname, attstattarget), attname"
	" FROM col WHERE attrelid = $1 AND attstattarget >= 0"
	" UNION ALL"
	" SELECT format('column %%I: %%s=%%s', attname, option_name, option_value), attname"
	" FROM col, pg_options_to_table(attoptions) WHERE attrelid = $1 AND option_name LIKE 'n\\_distinct%%'"
	" UNION ALL"
	" SELECT format('column %%I: NOT NULL', attname), attname"
	" FROM col WHERE attrelid = $1 AND attnotnull AND NOT attname = ANY (%s)) AS b (what, more)"
	" ORDER BY what COLLATE \"C\"";

List *
etl_belongings_of(Oid relid, List *columns, List *declared)
{
	StringInfoData numbers;
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&numbers);
	foreach(cell, columns)
		appendStringInfo(&numbers, "%s%d", foreach_current_index(cell) ? ", " : "AND attnum IN (",
						 lfirst_int(cell));
	appendStringInfoString(&numbers, columns ? ")" : "AND attnum > 0");
	initStringInfo(&names);
	foreach(cell, declared)
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", quote_literal_cstr(lfirst(cell)));
	return etl_garments(psprintf(belongings_sql, numbers.data, psprintf("ARRAY[%s]::text[]", names.data)),
						relid);
}

/*
 * is_of_column tells whether a belonging is no object of its own: it matters
 * only while there is the column.
 */
static bool
is_of_column(const EtlGarment *belonging)
{
	return strncmp(belonging->statement, "column ", strlen("column ")) == 0;
}

/*
 * is_there tells whether a table still has a belonging, or nobody misses it.
 */
static bool
is_there(Oid relid, const EtlGarment *belonging, List *now)
{
	ListCell   *cell;

	if (is_of_column(belonging) && get_attnum(relid, belonging->column) == InvalidAttrNumber)
		return true;
	foreach(cell, now)
		if (strcmp(((EtlGarment *) lfirst(cell))->statement, belonging->statement) == 0)
			return true;
	return false;
}

void
etl_belongings_warn_of_loss(Oid relid, List *belongings)
{
	List	   *now = belongings != NIL ? etl_belongings_of(relid, NIL, NIL) : NIL;
	StringInfoData gone;
	ListCell   *cell;

	initStringInfo(&gone);
	foreach(cell, belongings)
	{
		const EtlGarment *belonging = lfirst(cell);

		if (is_there(relid, belonging, now))
			continue;
		appendStringInfo(&gone, "%s%s", gone.len ? "; " : "", belonging->statement);
		if (!is_of_column(belonging))
			appendStringInfo(&gone, ": %s", belonging->column);
	}
	if (gone.len > 0)
		ereport(WARNING,
				(errmsg("%s loses what others had added to columns that go or get another type",
						etl_name_of_relation(relid)),
				 errdetail("Gone: %s.", gone.data),
				 errhint("Make it again where the table can still have it, or declare it with the "
						 "options of the model, such as indexes, constraints and not_null.")));
}
