/*-------------------------------------------------------------------------
 *
 * named_rows.c
 *    Rows that generated SQL reads under a name, and what the planner should
 *    know of them.
 *
 * PostgreSQL takes any column of a tuplestore for one of 200 values.  For the
 * key of 100,000 rows that is so wrong that a hash join would build its table
 * from the millions of rows of the other side, in batches on disk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "tcop/tcopprot.h"
#include "utils/selfuncs.h"

#include "model/internal.h"

/* What a query environment of ours holds. */
typedef struct NamedRows
{
	EphemeralNamedRelationData relation;
	AttrNumber	unique;			/* a column that tells the rows apart; 0: none */
} NamedRows;

/* of the query that is being planned */
static QueryEnvironment *planned_environment = NULL;
static get_relation_stats_hook_type stats_before = NULL;

/*
 * etl_environment_add makes rows visible to generated SQL under a name.
 */
void
etl_environment_add(QueryEnvironment *environment, const char *name, TupleDesc desc,
					Tuplestorestate *rows, double count)
{
	etl_environment_add_unique(environment, name, desc, rows, count, InvalidAttrNumber);
}

/*
 * etl_environment_add_unique does so, and names the column whose values tell
 * the rows apart; 0: no column does, alone.
 */
void
etl_environment_add_unique(QueryEnvironment *environment, const char *name, TupleDesc desc,
						   Tuplestorestate *rows, double count, AttrNumber unique)
{
	NamedRows  *named = palloc0(sizeof(NamedRows));

	named->relation.md.name = pstrdup(name);
	named->relation.md.reliddesc = InvalidOid;
	named->relation.md.tupdesc = desc;
	named->relation.md.enrtype = ENR_NAMED_TUPLESTORE;
	named->relation.md.enrtuples = count;
	named->relation.reldata = rows;
	named->unique = unique;
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
