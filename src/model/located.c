/*-------------------------------------------------------------------------
 *
 * located.c
 *    Where the rows of new loads lie in an append stream's table.
 *
 * A load notes the blocks that its rows went to.  While all of them are still
 * there, the new rows are found without an index, and without looking at what
 * came before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/names.h"
#include "model/internal.h"

/* The blocks that all pending loads lie in. */
typedef struct Range
{
	int64		first;
	int64		last;
	int64		rows;			/* that the loads brought */
} Range;

/*
 * range_of returns the blocks of the pending loads of a stream; none, with
 * last < first, when not all of them tell theirs, or when half the table lies
 * between the first and the last: an index may do better, and nothing worse.
 */
static Range
range_of(const EtlInput *input, Relation rel)
{
	int64		node = (int64) EtlRelFileNumber(rel);
	Range		range = {PG_INT64_MAX, -1, 0};
	bool		located = node != 0 && rel->rd_tableam->scan_set_tidrange != NULL;
	ListCell   *cell;

	foreach(cell, input->consumption->pending)
	{
		EtlLoad    *load = lfirst(cell);

		located &= load->relfilenode == node && load->last_block >= load->first_block;
		range.first = Min(range.first, load->first_block);
		range.last = Max(range.last, load->last_block);
		range.rows += load->rows_loaded;
	}
	if (!located || range.last - range.first >= RelationGetNumberOfBlocks(rel) / 2)
		range.last = -1;
	return range;
}

/*
 * is_pending tells whether a load is one of the pending ones.
 */
static bool
is_pending(const EtlInput *input, int64 load_id)
{
	ListCell   *cell;

	foreach(cell, input->consumption->pending)
		if (((EtlLoad *) lfirst(cell))->load_id == load_id)
			return true;
	return false;
}

/*
 * find_rows looks for the rows of the pending loads in a range of blocks:
 * from where to where they lie, and whether others lie between them.  Returns
 * how many there are.
 */
static int64
find_rows(EtlInput *input, Relation rel, const Range *range)
{
	AttrNumber	column = get_attnum(RelationGetRelid(rel), "_etl_load_id");
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;
	int64		known = -1;
	int64		n = 0;
	bool		other = false;

	/* a hook of this build may have written, too: what the query will see is looked at */
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	input->alone = true;
	ItemPointerSet(&first, (BlockNumber) range->first, FirstOffsetNumber);
	ItemPointerSet(&last, (BlockNumber) range->last, MaxOffsetNumber);
	scan = table_beginscan_tidrange(rel, GetActiveSnapshot(), &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		int64		load_id = DatumGetInt64(slot_getattr(slot, column, &isnull));

		CHECK_FOR_INTERRUPTS();
		/* the rows of a load lie side by side */
		if (isnull || (load_id != known && !is_pending(input, load_id)))
		{
			other = n > 0;
			continue;
		}
		known = load_id;
		if (n++ == 0)
			input->first_row = slot->tts_tid;
		input->last_row = slot->tts_tid;
		input->alone &= !other;
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	return n;
}

/*
 * lie_there tells whether all rows that loads brought are among those of a
 * range: an UPDATE moves them.  Looked at once for what runs under one
 * snapshot, which is that of the caller.
 */
static bool
lie_there(EtlInput *input, Relation rel, const Range *range)
{
	if (input->placed == 0)
		input->placed = find_rows(input, rel, range) == range->rows && range->rows > 0 ? 1 : -1;
	return input->placed > 0;
}

/*
 * tid_text renders where a row lies.
 */
static char *
tid_text(const ItemPointerData *tid)
{
	return psprintf("'(%u,%u)'::pg_catalog.tid", ItemPointerGetBlockNumber(tid),
					ItemPointerGetOffsetNumber(tid));
}

char *
etl_pending_condition(const EtlDeltaLeaf *leaf, Oid relid)
{
	EtlInput   *input = leaf->input;
	Relation	rel = table_open(relid, AccessShareLock);
	Range		range = range_of(input, rel);
	bool		located = range.last >= range.first && lie_there(input, rel, &range);
	StringInfoData sql;
	ListCell   *cell;

	table_close(rel, NoLock);
	initStringInfo(&sql);
	if (located)
		appendStringInfo(&sql, "t.ctid OPERATOR(pg_catalog.>=) %s AND t.ctid OPERATOR(pg_catalog.<=) %s",
						 tid_text(&input->first_row), tid_text(&input->last_row));
	/* of a load that nobody has analyzed the planner expects one row */
	if (located && input->alone)
		return sql.data;
	appendStringInfo(&sql, "%st._etl_load_id OPERATOR(pg_catalog.=) ANY ('{", located ? " AND " : "");
	foreach(cell, input->consumption->pending)
		appendStringInfo(&sql, "%s" INT64_FORMAT, foreach_current_index(cell) ? "," : "",
						 ((EtlLoad *) lfirst(cell))->load_id);
	appendStringInfoString(&sql, "}'::pg_catalog.int8[])");
	return sql.data;
}
