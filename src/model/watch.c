/*-------------------------------------------------------------------------
 *
 * watch.c
 *    Seeing how far a running query has come.
 *
 * A query hands out its first row when a sort or an aggregate has read all
 * its input; until then only its scans run.  So each scan looks at the
 * progress flag before it fetches a row, and how far the query has come is
 * where its sequential scans stand in their tables.
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

#include "common/progress.h"
#include "model/watch.h"

static List *scans = NIL;		/* SeqScanState * of the query that runs */

/*
 * fetch is what a watched scan runs for each row.
 */
static TupleTableSlot *
fetch(PlanState *node)
{
	etl_progress_check();
	return node->ExecProcNodeReal(node);
}

/*
 * watch makes the scans below a plan node watched ones.
 */
static bool
watch(PlanState *node, void *arg)
{
	if (node == NULL)
		return false;
	/* with instrumentation the executor needs its own wrapper */
	if (node->lefttree == NULL && node->righttree == NULL && node->instrument == NULL)
		node->ExecProcNode = fetch;
	if (IsA(node, SeqScanState))
		scans = lappend(scans, node);
	return planstate_tree_walker(node, watch, arg);
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
	(void) watch(plan, NULL);
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
