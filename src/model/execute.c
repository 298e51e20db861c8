/*-------------------------------------------------------------------------
 *
 * execute.c
 *    Running query trees and generated SQL, rows going to a DestReceiver.
 *
 * Everything of one build runs under the build's snapshot, brought forward
 * only over the build's own changes.  Callers are inside etl_run_as.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/timeout.h"
#include "model/internal.h"
#include "model/watch.h"

bool		etl_model_defer_triggers = false;

/*
 * run_plan executes one planned query and returns the rows it processed.
 */
static uint64
run_plan(PlannedStmt *plan, const char *source, QueryEnvironment *environment, DestReceiver *receiver)
{
	QueryDesc  *desc;
	uint64		processed;

	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	desc = CreateQueryDesc(plan, source, GetActiveSnapshot(), InvalidSnapshot, receiver,
						   NULL, environment, 0);
	ExecutorStart(desc, etl_model_defer_triggers ? EXEC_FLAG_SKIP_TRIGGERS : 0);
	etl_watch_begin(desc->planstate);
	PG_TRY();
	{
		etl_executor_run(desc);
	}
	PG_FINALLY();
	{
		/* who notes an error must not look at scans that are gone */
		etl_watch_end();
	}
	PG_END_TRY();
	processed = desc->estate->es_processed;
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	PopActiveSnapshot();
	CommandCounterIncrement();
	return processed;
}

/*
 * number_columns returns the numbers of the columns of a side of a join, and
 * adds their names to 'names'.
 */
static List *
number_columns(Node *side, Query *query, List **names)
{
	int			index = IsA(side, JoinExpr) ? ((JoinExpr *) side)->rtindex : ((RangeTblRef *) side)->rtindex;
	List	   *columns = rt_fetch(index, query->rtable)->eref->colnames;
	List	   *numbers = NIL;

	for (int i = 1; i <= list_length(columns); i++)
		numbers = lappend_int(numbers, i);
	*names = list_concat(*names, columns);
	return numbers;
}

/*
 * list_columns makes the joins of a join tree list the columns that their
 * sides have now.  Nothing refers to a join any more where one was lost.
 */
static void
list_columns(Node *node, Query *query)
{
	JoinExpr   *join = (JoinExpr *) node;
	RangeTblEntry *rte;
	ListCell   *cell;

	if (IsA(node, FromExpr))
		foreach(cell, ((FromExpr *) node)->fromlist)
			list_columns(lfirst(cell), query);
	if (!IsA(node, JoinExpr))
		return;
	list_columns(join->larg, query);
	list_columns(join->rarg, query);
	rte = rt_fetch(join->rtindex, query->rtable);
	join->usingClause = NIL;
	join->alias = join->join_using_alias = rte->alias = rte->join_using_alias = NULL;
	rte->joinmergedcols = 0;
	rte->eref->colnames = rte->joinaliasvars = NIL;
	rte->joinleftcols = number_columns(join->larg, query, &rte->eref->colnames);
	rte->joinrightcols = number_columns(join->rarg, query, &rte->eref->colnames);
	foreach(cell, rte->eref->colnames)
		rte->joinaliasvars = lappend(rte->joinaliasvars, NULL);
}

/*
 * forget_lost_joins makes joins that are no more in the join tree something
 * else: the deparser looks for the sides of every join that a query lists, and
 * the planner for outer joins in the tree where one is listed.  'for_text': a
 * bool; the deparser looks in the sides for every column of a join, too.
 */
static bool
forget_lost_joins(Node *node, void *for_text)
{
	Query	   *query = (Query *) node;
	Relids		there;
	bool		lost = false;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, forget_lost_joins, for_text);
	there = etl_joins_below((Node *) query->jointree);
	for (int i = 1; i <= list_length(query->rtable); i++)
		if (rt_fetch(i, query->rtable)->rtekind == RTE_JOIN && !bms_is_member(i, there))
		{
			rt_fetch(i, query->rtable)->rtekind = RTE_RESULT;
			lost = true;
		}
	if (lost && *(bool *) for_text)
		list_columns((Node *) query->jointree, query);
	return query_tree_walker(query, forget_lost_joins, for_text, 0);
}

/*
 * execute_query rewrites, restricts, plans and runs a copy of a query tree.
 */
static uint64
execute_query(Query *query, const char *source, const char *sample, QueryEnvironment *environment,
			  DestReceiver *receiver)
{
	Query	   *copy = copyObject(query);
	uint64		processed = 0;
	bool		timed = etl_timeout_start(ETL_TIMEOUT_STATEMENT, etl_statement_limit_ms, 0);
	ListCell   *cell;

	(void) forget_lost_joins((Node *) copy, &(bool){false});
	AcquireRewriteLocks(copy, true, false);
	foreach(cell, QueryRewrite(copy))
	{
		Query	   *rewritten = lfirst_node(Query, cell);
		uint64		rows;

		if (sample != NULL)
			etl_sample_apply(rewritten, sample);
		rows = run_plan(etl_plan(rewritten, source, environment), source, environment,
						receiver ? receiver : None_Receiver);
		if (rewritten->canSetTag)
			processed = rows;
	}
	if (timed)
		etl_timeout_stop(ETL_TIMEOUT_STATEMENT);
	return processed;
}

/*
 * etl_execute_query runs a query tree.  The tree itself is kept unchanged.
 * Rows go to 'receiver' (NULL: nowhere).
 */
uint64
etl_execute_query(Query *query, const char *source, QueryEnvironment *environment,
				  DestReceiver *receiver)
{
	return execute_query(query, source, NULL, environment, receiver);
}

uint64
etl_execute_sampled(Query *query, const char *source, const char *sample, DestReceiver *receiver)
{
	return execute_query(query, source, sample, NULL, receiver);
}

/*
 * etl_execute analyzes and runs one generated SELECT or DML statement.
 */
uint64
etl_execute(const char *sql, QueryEnvironment *environment, DestReceiver *receiver)
{
	return etl_execute_query(etl_query_analyze(sql, environment), sql, environment, receiver);
}

/*
 * etl_execute_keep runs a query and keeps what it yields, to be read in any
 * order and as often as wanted.
 */
Tuplestorestate *
etl_execute_keep(const char *sql, QueryEnvironment *environment)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);

	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, false, NULL, NULL);
	etl_execute(sql, environment, receiver);
	return rows;
}

/*
 * etl_execute_utility runs statements of any kind: DDL and hooks.
 */
void
etl_execute_utility(const char *sql)
{
	bool		timed = etl_timeout_start(ETL_TIMEOUT_STATEMENT, etl_statement_limit_ms, 0);
	int			code;

	SPI_connect();
	code = SPI_execute(sql, false, 0);
	if (code == SPI_ERROR_TRANSACTION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("a hook must not begin or end a transaction: %s", sql),
				 errhint("Hooks run in the transaction that publishes their model; leave the "
						 "statement out.")));
	if (code < 0)
		elog(ERROR, "%s while running: %s", SPI_result_code_string(code), sql);
	SPI_finish();
	if (timed)
		etl_timeout_stop(ETL_TIMEOUT_STATEMENT);
}

/*
 * etl_query_deparse returns a query tree as SQL that means the same under
 * any search path.
 */
char *
etl_query_deparse(Query *query)
{
	int			level = NewGUCNestLevel();
	char	   *sql;

	query = copyObject(query);
	(void) forget_lost_joins((Node *) query, &(bool){true});
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	sql = pg_get_querydef(query, true);
	AtEOXact_GUC(false, level);
	return sql;
}

/*
 * etl_expression_deparse returns an expression over a relation as SQL over an
 * alias of it, in brackets, likewise.
 */
char *
etl_expression_deparse(Node *expression, Oid relid, const char *alias)
{
	int			level = NewGUCNestLevel();
	char	   *sql;

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	sql = deparse_expression(expression, deparse_context_for(alias, relid), true, false);
	AtEOXact_GUC(false, level);
	return psprintf("(%s)", sql);
}
