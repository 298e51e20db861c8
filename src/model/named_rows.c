/*-------------------------------------------------------------------------
 *
 * named_rows.c
 *    Rows that generated SQL reads under a name, and what the planner should
 *    know of them.
 *
 * PostgreSQL takes any column of a tuplestore for one of 200 values.  For the
 * key of 100,000 rows that is so wrong that a hash join would build its table
 * from the millions of rows of the other side, in batches on disk.  So it is
 * told that the column differs in each row; of a key of several columns one
 * is, which makes the estimate of their join right.  The affected keys of a
 * model are not: seeming few, they are looked up by an index, which is several
 * times as fast as reading a large table where the planner would.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "tcop/tcopprot.h"
#include "utils/selfuncs.h"
#include "utils/typcache.h"

#include "model/internal.h"

/* What a query environment of ours holds. */
typedef struct NamedRows
{
	EphemeralNamedRelationData relation;
	AttrNumber	unique;			/* the column of the key that differs most; 0: none */
} NamedRows;

/* Rows that are looked at for which column of a key differs most. */
#define SAMPLE_ROWS 300

/* of the query that is being planned */
static QueryEnvironment *planned_environment = NULL;
static get_relation_stats_hook_type stats_before = NULL;

static int
compare_hashes(const void *a, const void *b)
{
	uint32		one = *(const uint32 *) a;
	uint32		two = *(const uint32 *) b;

	return one < two ? -1 : one > two;
}

/*
 * hash_column hashes a value of a row; NULL, and a value that has no hash, are 0.
 */
static uint32
hash_column(TupleTableSlot *row, AttrNumber column)
{
	Form_pg_attribute attribute = TupleDescAttr(row->tts_tupleDescriptor, column - 1);
	TypeCacheEntry *type = lookup_type_cache(attribute->atttypid, TYPECACHE_HASH_PROC_FINFO);
	bool		isnull;
	Datum		value = slot_getattr(row, column, &isnull);

	return isnull || !OidIsValid(type->hash_proc) ?
			   0 :
			   DatumGetUInt32(FunctionCall1Coll(&type->hash_proc_finfo, attribute->attcollation, value));
}

/*
 * count_values tells how many values a column has in the first rows.
 */
static int
count_values(TupleTableSlot *row, Tuplestorestate *rows, AttrNumber column)
{
	uint32		hashes[SAMPLE_ROWS];
	int			n = 0;
	int			values = 0;

	tuplestore_rescan(rows);
	while (n < SAMPLE_ROWS && tuplestore_gettupleslot(rows, true, false, row))
		hashes[n++] = hash_column(row, column);
	tuplestore_rescan(rows);
	qsort(hashes, n, sizeof(uint32), compare_hashes);
	for (int i = 0; i < n; i++)
		values += i == 0 || hashes[i] != hashes[i - 1];
	return values;
}

/*
 * most_distinct returns the column of a key that tells the rows apart best,
 * by the first of them; 0 when there are none to look at.
 */
static AttrNumber
most_distinct(TupleDesc desc, Bitmapset *key, Tuplestorestate *rows)
{
	TupleTableSlot *row;
	AttrNumber	best = InvalidAttrNumber;
	int			most = 0;
	int			column = -1;

	if (bms_membership(key) == BMS_SINGLETON)
		return bms_singleton_member(key);
	if (rows == NULL)
		return InvalidAttrNumber;
	row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	while ((column = bms_next_member(key, column)) >= 0)
	{
		int			values = count_values(row, rows, column);

		if (values > most)
		{
			most = values;
			best = column;
		}
	}
	ExecDropSingleTupleTableSlot(row);
	return best;
}

/*
 * etl_environment_add makes rows visible to generated SQL under a name.
 */
void
etl_environment_add(QueryEnvironment *environment, const char *name, TupleDesc desc,
					Tuplestorestate *rows, double count)
{
	etl_environment_add_keyed(environment, name, desc, rows, count, NULL);
}

/*
 * etl_environment_add_keyed does so, and tells which columns are the key of
 * the rows.
 */
void
etl_environment_add_keyed(QueryEnvironment *environment, const char *name, TupleDesc desc,
						  Tuplestorestate *rows, double count, Bitmapset *key)
{
	NamedRows  *named = palloc0(sizeof(NamedRows));

	named->relation.md.name = pstrdup(name);
	named->relation.md.reliddesc = InvalidOid;
	named->relation.md.tupdesc = desc;
	named->relation.md.enrtype = ENR_NAMED_TUPLESTORE;
	named->relation.md.enrtuples = count;
	named->relation.reldata = rows;
	named->unique = bms_is_empty(key) ? InvalidAttrNumber : most_distinct(desc, key, rows);
	register_ENR(environment, &named->relation);
}

/*
 * look_up_stats answers the planner's question for statistics of a column.
 */
static bool
look_up_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber column, VariableStatData *known)
{
	EphemeralNamedRelation relation;

	if (rte->rtekind != RTE_NAMEDTUPLESTORE || column <= 0 ||
		(relation = get_ENR(planned_environment, rte->enrname)) == NULL ||
		((NamedRows *) relation)->unique != column)
		return stats_before != NULL && stats_before(root, rte, column, known);
	known->isunique = true;
	return true;
}

/*
 * etl_plan plans a query that reads rows of an environment.
 */
PlannedStmt *
etl_plan(Query *query, const char *source, QueryEnvironment *environment)
{
	QueryEnvironment *environment_before = planned_environment;
	get_relation_stats_hook_type hook_before = get_relation_stats_hook;
	PlannedStmt *plan;

	if (environment == NULL)
		return pg_plan_query(query, source, CURSOR_OPT_PARALLEL_OK, NULL);
	PG_TRY();
	{
		planned_environment = environment;
		if (hook_before != look_up_stats)
			stats_before = hook_before;
		get_relation_stats_hook = look_up_stats;
		plan = pg_plan_query(query, source, CURSOR_OPT_PARALLEL_OK, NULL);
	}
	PG_FINALLY();
	{
		planned_environment = environment_before;
		get_relation_stats_hook = hook_before;
	}
	PG_END_TRY();
	return plan;
}
