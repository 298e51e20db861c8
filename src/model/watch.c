/*-------------------------------------------------------------------------
 *
 * watch.c
 *    Seeing how far a running query has come.
 *
 * A query hands out its first row when a sort or an aggregate has read all
 * its input; until then only its scans run.  So each scan, and whatever
 * stores rows, looks at the progress flag before it fetches one: those of the model's query, and of
 * whatever else is executed while this process works on a node, checks,
 * hooks and the statements of functions among them.  How far the model's
 * query has come is where its sequential scans stand in their tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "common/progress.h"
#include "model/model.h"
#include "model/watch.h"

static List *scans = NIL;		/* SeqScanState * of the model's query that runs */

static ExecutorRun_hook_type previous_run = NULL;

/*
 * fetch is what a watched node runs for each row.
 */
static TupleTableSlot *
fetch(PlanState *node)
{
	etl_progress_check();
	return node->ExecProcNodeReal(node);
}

/*
 * hands_out tells whether a plan node goes on to hand out rows when those
 * below it have given theirs.
 */
static bool
hands_out(const PlanState *node)
{
	switch (nodeTag(node))
	{
		case T_SortState:
		case T_IncrementalSortState:
		case T_AggState:
		case T_WindowAggState:
		case T_MaterialState:
		case T_HashJoinState:
		case T_GatherState:
		case T_GatherMergeState:
		case T_SetOpState:
			return true;
		default:
			return node->lefttree == NULL && node->righttree == NULL;
	}
}

/*
 * watch makes a plan node, and those below it, watched ones.
 */
static bool
watch(PlanState *node, void *arg)
{
	if (node == NULL)
		return false;
	/* with instrumentation the executor needs its own wrapper */
	if (node->instrument == NULL && hands_out(node))
		node->ExecProcNode = fetch;
	return planstate_tree_walker(node, watch, arg);
}

/*
 * run is the hook that sees every query.
 */
static void
run(QueryDesc *desc, ScanDirection direction, ETL_EXECUTOR_RUN_PARAMS)
{
	if (unlikely(etl_progress_is_on()))
		(void) watch(desc->planstate, NULL);
	if (previous_run)
		previous_run(desc, direction, ETL_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(desc, direction, ETL_EXECUTOR_RUN_ARGS);
}

/*
 * etl_watch_install puts the hook before those that were there.
 */
void
etl_watch_install(void)
{
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run;
}

/*
 * find_scans notes the sequential scans below a plan node.
 */
static bool
find_scans(PlanState *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, SeqScanState))
		scans = lappend(scans, node);
	return planstate_tree_walker(node, find_scans, arg);
}

/*
 * blocks_read tells where a scan stands, its parallel workers included.
 */
static int64
blocks_read(ScanState *state, int64 blocks)
{
	TableScanDesc desc = state->ss_currentScanDesc;
	HeapScanDesc heap = (HeapScanDesc) desc;

	if (desc == NULL || state->ss_currentRelation->rd_tableam != GetHeapamTableAmRoutine())
		return 0;
	if (desc->rs_parallel != NULL)
	{
		ParallelBlockTableScanDesc shared = (ParallelBlockTableScanDesc) desc->rs_parallel;

		return Min((int64) pg_atomic_read_u64(&shared->phs_nallocated), blocks);
	}
	/* the scan is opened with its first row, and is not in its table before and after */
	if (!heap->rs_inited)
		return blocks;
	return ((int64) heap->rs_cblock - heap->rs_startblock + blocks) % Max(blocks, 1);
}

/*
 * measure adds up the scans, in bytes.
 */
static void
measure(int64 *done, int64 *total)
{
	ListCell   *cell;

	*done = *total = 0;
	foreach(cell, scans)
	{
		ScanState  *scan = lfirst(cell);
		int64		blocks = RelationGetNumberOfBlocks(scan->ss_currentRelation);

		*total += blocks * BLCKSZ;
		*done += blocks_read(scan, blocks) * BLCKSZ;
	}
}

/*
 * etl_watch_begin: see watch.h.  The list lives as long as the query.
 */
void
etl_watch_begin(PlanState *plan)
{
	scans = NIL;
	(void) find_scans(plan, NULL);
	etl_progress_measure = scans != NIL ? measure : NULL;
}

/*
 * etl_watch_end forgets the query, which has ended.
 */
void
etl_watch_end(void)
{
	etl_progress_measure = NULL;
	scans = NIL;
}
