/*-------------------------------------------------------------------------
 *
 * index_build.c
 *    Building an index of a table of ours, which says how far it has come.
 *
 * The index is first made empty, then filled while the table's rows pass by
 * the progress flag.  The last part, when what was sorted is written, has no
 * such place; docs/operations.md says what is seen then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/defrem.h"
#include "parser/parse_utilcmd.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "common/parse.h"
#include "common/progress.h"
#include "common/timeout.h"
#include "model/internal.h"

/* Who wants the rows of a scan. */
typedef struct Reader
{
	IndexBuildCallback callback;
	void	   *state;
} Reader;

static const TableAmRoutine *scanned_by;	/* the routines of the table that is read */
static int64 at_block;
static int64 blocks;

/*
 * measure tells how much of the table has been read.
 */
static void
measure(int64 *done, int64 *total)
{
	*done = Min(at_block, blocks) * BLCKSZ;
	*total = blocks * BLCKSZ;
}

/*
 * pass_on looks at the progress flag, and hands a row on.
 */
static void
pass_on(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	Reader	   *reader = state;

	at_block = ItemPointerGetBlockNumber(tid) + 1;
	etl_progress_check();
	reader->callback(index, tid, values, isnull, alive, reader->state);
}

/*
 * scan reads a table for an index, each row through pass_on.  Its place among
 * the table's routines is given back first: they know each other.
 */
static double
scan(Relation table, Relation index, struct IndexInfo *form, bool allow_sync, bool anyvisible,
	 bool progress, BlockNumber start, BlockNumber n, IndexBuildCallback callback, void *state,
	 TableScanDesc desc)
{
	Reader		reader = {callback, state};

	table->rd_tableam = scanned_by;
	return scanned_by->index_build_range_scan(table, index, form, allow_sync, anyvisible, progress,
											  start, n, pass_on, &reader, desc);
}

/*
 * fill builds an index that is there, but empty.
 */
static void
fill(Oid relid, Oid indexid)
{
	Relation	table = table_open(relid, ShareLock);
	Relation	index = index_open(indexid, AccessExclusiveLock);
	TableAmRoutine routines = *table->rd_tableam;

	scanned_by = table->rd_tableam;
	routines.index_build_range_scan = scan;
	at_block = 0;
	blocks = RelationGetNumberOfBlocks(table);
	etl_progress_measure = measure;
	table->rd_tableam = &routines;
	PG_TRY();
	{
		index_build(table, index, BuildIndexInfo(index), false, true);
	}
	PG_FINALLY();
	{
		if (table->rd_tableam == &routines)
			table->rd_tableam = scanned_by;
		etl_progress_measure = NULL;
	}
	PG_END_TRY();
	index_close(index, NoLock);
	table_close(table, NoLock);
}

/*
 * etl_index_build: see internal.h.
 */
Oid
etl_index_build(Oid relid, IndexStmt *statement)
{
	/* one that is partitioned has its parts built where they are made */
	bool		watched = get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE;
	Oid			index = etl_define_index(relid, statement, watched).objectId;

	CommandCounterIncrement();
	if (watched)
	{
		fill(relid, index);
		CommandCounterIncrement();
	}
	return index;
}

/*
 * etl_index_build_sql: see internal.h.
 */
Oid
etl_index_build_sql(Oid relid, const char *sql)
{
	RawStmt    *statement = linitial_node(RawStmt, etl_parse(sql));
	bool		timed = etl_timeout_start(ETL_TIMEOUT_STATEMENT, etl_statement_limit_ms, 0);

	Oid			index;

	index = etl_index_build(relid, transformIndexStmt(relid, castNode(IndexStmt, statement->stmt), sql));
	if (timed)
		etl_timeout_stop(ETL_TIMEOUT_STATEMENT);
	return index;
}
