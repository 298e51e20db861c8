/*-------------------------------------------------------------------------
 *
 * diff_apply.c
 *    Writing a difference to the table.
 *
 * Rows go first, then others change, then new ones come.  Where a row that
 * changes takes a unique value from another one that does, both are deleted
 * and inserted anew: an UPDATE meets the value before it is given up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/parse.h"
#include "model/internal.h"

/*
 * with_diff makes the diff visible to a statement.
 */
static QueryEnvironment *
with_diff(EtlDiff *diff)
{
	QueryEnvironment *environment = create_queryEnv();

	etl_diff_to_environment(environment, diff);
	return environment;
}

/*
 * apply runs one DML statement that reads the diff.
 */
static void
apply(EtlDiff *diff, const char *sql)
{
	etl_execute(sql, with_diff(diff), NULL);
}

/*
 * insert inserts what is new, without a statement if it can.
 */
static void
insert(EtlDiff *diff, const char *table)
{
	EtlInsertion *insertion = etl_insertion_begin(diff->relid, diff->desc, diff->only_inserts ? 0 : 3);
	TupleTableSlot *row;
	bool		isnull;

	if (insertion == NULL)
	{
		apply(diff,
			  psprintf("INSERT INTO %s (%s) SELECT %s FROM etl_diff d%s", table,
					   etl_diff_column_list(diff->columns, ""),
					   etl_diff_column_list(diff->columns, "d."),
					   diff->only_inserts ? "" : " WHERE d.etl_op OPERATOR(pg_catalog.=) 'I'"));
		return;
	}
	row = MakeSingleTupleTableSlot(diff->desc, &TTSOpsMinimalTuple);
	tuplestore_rescan(diff->rows);
	while (tuplestore_gettupleslot(diff->rows, true, false, row))
		if (diff->only_inserts || DatumGetChar(slot_getattr(row, 1, &isnull)) == 'I')
			etl_insertion_put(insertion, row);
	ExecDropSingleTupleTableSlot(row);
	etl_insertion_end(insertion);
}

/* ---- unique values that change hands ---- */

/* What an index that may be unique reads: columns of the diff, and its predicate. */
typedef struct UniqueIndex
{
	bool		unique;			/* and checked row by row */
	bool		plain;			/* of whole columns */
	List	   *keys;			/* char * */
	List	   *columns;		/* the same, and those of expressions and of the predicate */
	Node	   *predicate;		/* NULL: every row is in it */
} UniqueIndex;

/* a row of the table is that of a diff's row */
static const char *const same_row =
	"c.ctid OPERATOR(pg_catalog.=) d.etl_ctid AND c.tableoid OPERATOR(pg_catalog.=) d.etl_table";

/*
 * differs renders that a diff's row has other values in columns than the
 * table's.
 */
static char *
differs(List *columns)
{
	return psprintf("ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record",
					etl_diff_column_list(columns, "c."), etl_diff_column_list(columns, "d."));
}

/*
 * covers_key tells whether columns are all of the key's, and perhaps more.
 */
static bool
covers_key(const EtlDiff *diff, List *columns)
{
	ListCell   *cell;

	foreach(cell, diff->key)
		if (!etl_name_among(columns, lfirst(cell)))
			return false;
	return diff->key != NIL;
}

/*
 * attribute_names lists those of the columns that the diff has.
 */
static List *
attribute_names(const EtlDiff *diff, Relation rel, Bitmapset *attnos)
{
	List	   *columns = NIL;
	int			attno = -1;

	while ((attno = bms_next_member(attnos, attno)) >= 0)
	{
		int			column = attno + FirstLowInvalidHeapAttributeNumber;
		char	   *name;

		if (column <= 0)
			continue;
		name = NameStr(TupleDescAttr(RelationGetDescr(rel), column - 1)->attname);
		if (etl_name_among(diff->columns, name))
			columns = lappend(columns, pstrdup(name));
	}
	return columns;
}

/*
 * read_index tells what a unique index reads of the diff.
 */
static void
read_index(const EtlDiff *diff, Relation rel, Oid indexid, UniqueIndex *read)
{
	Relation	index = index_open(indexid, AccessShareLock);
	List	   *predicate = RelationGetIndexPredicate(index);
	Bitmapset  *keys = NULL;
	Bitmapset  *others = NULL;

	read->unique = index->rd_index->indisunique && index->rd_index->indimmediate;
	read->plain = RelationGetIndexExpressions(index) == NIL;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (index->rd_index->indkey.values[i] > 0)
			keys = bms_add_member(keys, index->rd_index->indkey.values[i] -
											FirstLowInvalidHeapAttributeNumber);
	pull_varattnos((Node *) RelationGetIndexExpressions(index), 1, &others);
	pull_varattnos((Node *) predicate, 1, &others);
	read->keys = attribute_names(diff, rel, keys);
	read->columns = attribute_names(diff, rel, bms_union(keys, others));
	read->predicate = predicate == NIL ? NULL : (Node *) make_ands_explicit(predicate);
	index_close(index, AccessShareLock);
}

/*
 * holds renders the predicate of an index over the rows of an alias, c or d;
 * true for a diff that does not have all that it reads.
 */
static char *
holds(const EtlDiff *diff, const UniqueIndex *index, const char *alias)
{
	Bitmapset  *attnos = NULL;
	int			attno = -1;

	pull_varattnos(index->predicate, 1, &attnos);
	while (strcmp(alias, "d") == 0 && (attno = bms_next_member(attnos, attno)) >= 0)
	{
		char	   *column = get_attname(diff->relid, attno + FirstLowInvalidHeapAttributeNumber, true);

		if (column == NULL || !etl_name_among(diff->columns, column))
			return pstrdup("true");
	}
	return etl_expression_deparse(index->predicate, diff->relid, alias);
}

/*
 * takes_values tells whether a row that is updated gets values of an index
 * that another row has until then; of an expression, whether it may.
 */
static bool
takes_values(EtlDiff *diff, const UniqueIndex *index)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT ''::pg_catalog.text FROM etl_diff d, %s c"
						   " WHERE d.etl_op OPERATOR(pg_catalog.=) 'U' AND ",
					 etl_quoted_relation(diff->relid));
	if (!index->plain)
		appendStringInfo(&sql, "%s AND %s", same_row, differs(index->columns));
	else
	{
		appendStringInfo(&sql, "NOT (%s)", same_row);
		foreach(cell, index->keys)
		{
			const char *name = quote_identifier(lfirst(cell));
			char	   *equals = etl_sql_equals(get_atttype(diff->relid, get_attnum(diff->relid, lfirst(cell))),
										  psprintf("c.%s", name), psprintf("d.%s", name));

			if (equals != NULL)
				appendStringInfo(&sql, " AND %s", equals);
		}
	}
	if (index->predicate != NULL)
		appendStringInfo(&sql, " AND %s", holds(diff, index, "d"));
	if (index->predicate != NULL && index->plain)
		appendStringInfo(&sql, " AND %s", holds(diff, index, "c"));
	appendStringInfoString(&sql, " LIMIT 1");
	return etl_first_text(sql.data, with_diff(diff)) != NULL;
}

/*
 * may_come_anew tells whether a row may be deleted and inserted instead of
 * updated: the diff has all that it holds, and no foreign key leads to it.
 */
static bool
may_come_anew(const EtlDiff *diff, Relation rel)
{
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), i);

		if (!column->attisdropped && column->attgenerated == '\0' &&
			!etl_name_among(diff->columns, NameStr(column->attname)))
			return false;
	}
	return etl_first_text(psprintf("SELECT ''::pg_catalog.text FROM pg_catalog.pg_constraint"
								   " WHERE confrelid OPERATOR(pg_catalog.=) %u LIMIT 1",
								   diff->relid),
						  NULL) == NULL;
}

/*
 * handed_columns lists the columns of unique indexes, other than on the key,
 * whose values updated rows take from one another.  An UPDATE meets such a
 * value before the row that has it gives it up.
 */
static List *
handed_columns(EtlDiff *diff)
{
	Relation	rel = table_open(diff->relid, AccessShareLock);
	List	   *handed = NIL;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		UniqueIndex index;

		read_index(diff, rel, lfirst_oid(cell), &index);
		if (!index.unique || index.columns == NIL || (index.plain && covers_key(diff, index.keys)))
			continue;
		if (takes_values(diff, &index))
			handed = list_concat(handed, index.columns);
	}
	if (handed != NIL && !may_come_anew(diff, rel))
		handed = NIL;
	table_close(rel, AccessShareLock);
	return handed;
}

/*
 * hand_over deletes the rows whose columns 'handed' change, and inserts them
 * as they will be.
 */
static void
hand_over(EtlDiff *diff, List *handed)
{
	char	   *table = etl_quoted_relation(diff->relid);

	apply(diff, psprintf("DELETE FROM %s c USING etl_diff d WHERE d.etl_op OPERATOR(pg_catalog.=) 'U'"
						 " AND %s AND %s", table, same_row, differs(handed)));
	apply(
		diff,
		psprintf(
			"INSERT INTO %s (%s) SELECT %s FROM etl_diff d"
			" WHERE d.etl_op OPERATOR(pg_catalog.=) 'U' AND NOT EXISTS (SELECT FROM %s c WHERE %s)",
			table, etl_diff_column_list(diff->columns, ""), etl_diff_column_list(diff->columns, "d."), table,
			same_row));
}

/*
 * etl_diff_apply_upserts updates and inserts.  What hand_over inserted is
 * not there to be updated any more.
 */
void
etl_diff_apply_upserts(EtlDiff *diff)
{
	char	   *table = etl_quoted_relation(diff->relid);
	List	   *handed = diff->updated > 0 ? handed_columns(diff) : NIL;

	if (handed != NIL)
		hand_over(diff, handed);
	if (diff->updated > 0)
		apply(diff, psprintf("UPDATE %s c SET (%s) = ROW(%s) FROM etl_diff d"
							 " WHERE d.etl_op OPERATOR(pg_catalog.=) 'U' AND c.ctid "
							 "OPERATOR(pg_catalog.=) d.etl_ctid"
							 " AND c.tableoid OPERATOR(pg_catalog.=) d.etl_table",
							 table, etl_diff_column_list(diff->columns, ""),
							 etl_diff_column_list(diff->columns, "d.")));
	if (diff->inserted > 0 && diff->rows != NULL)
		insert(diff, table);
}

/*
 * etl_diff_apply_deletes deletes.
 */
void
etl_diff_apply_deletes(EtlDiff *diff)
{
	if (diff->deleted > 0)
		apply(diff, psprintf("DELETE FROM %s c USING etl_diff d"
							 " WHERE d.etl_op OPERATOR(pg_catalog.=) 'D' AND c.ctid "
							 "OPERATOR(pg_catalog.=) d.etl_ctid"
							 " AND c.tableoid OPERATOR(pg_catalog.=) d.etl_table",
							 etl_quoted_relation(diff->relid)));
}
