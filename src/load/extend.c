/*-------------------------------------------------------------------------
 *
 * extend.c
 *    Blocks for a relation that grows, many at a time.
 *
 * PostgreSQL 15 adds block after block and writes each as zeros first, which
 * is a tenth of the time of a load (perf).  Here the file system reserves
 * the room of many blocks at once, as PostgreSQL 16 does itself; the blocks
 * are written once, with their rows.
 *
 * Their empty buffers are made while the relation's extension is locked and
 * before the file is longer: no other process can have used the blocks.
 * Later they are read like any block, and one that somebody else found first
 * is not empty any more and is left alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/heaptoast.h"
#include "access/hio.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "load/extend.h"

#ifdef ETL_ADDS_BLOCKS

#define FIRST_STEP 8
#define LAST_STEP  64

/*
 * reserve makes the segment of a relation's file that begins with block
 * 'segment * RELSEG_SIZE' 'blocks' long.
 */
static bool
reserve(Relation rel, BlockNumber first, int n)
{
	BlockNumber segment = first / RELSEG_SIZE;
	char	   *path = relpathperm(rel->rd_node, MAIN_FORKNUM);
	int			file;
	int			result;

	if (segment > 0)
		path = psprintf("%s.%u", path, segment);
	file = OpenTransientFile(path, O_RDWR | PG_BINARY);
	if (file < 0)
		return false;
	do
		result = posix_fallocate(file, (off_t) (first % RELSEG_SIZE) * BLCKSZ, (off_t) n * BLCKSZ);
	while (result == EINTR);
	CloseTransientFile(file);
	pfree(path);
	return result == 0;
}

/*
 * add_blocks makes the relation longer.
 */
static bool
add_blocks(EtlExtension *extension, Relation rel, BulkInsertState bulk, Size wanted)
{
	BlockNumber first;
	int			n;
	bool		done;

	/* what deleted rows left comes first */
	if (GetPageWithFreeSpace(rel, wanted) != InvalidBlockNumber)
		return false;
	LockRelationForExtension(rel, ExclusiveLock);
	first = RelationGetNumberOfBlocks(rel);
	n = Min(extension->step, RELSEG_SIZE - first % RELSEG_SIZE);

	/* a file must have been made and opened by the storage manager */
	if (first % RELSEG_SIZE == 0)
		n = 0;
	for (int i = 0; i < n; i++)
		UnlockReleaseBuffer(ReadBufferExtended(rel, MAIN_FORKNUM, first + i, RBM_ZERO_AND_LOCK,
											   bulk->strategy));
	done = n > 0 && reserve(rel, first, n);
	UnlockRelationForExtension(rel, ExclusiveLock);
	if (!done)
	{
		extension->impossible = n > 0;
		return false;
	}
	extension->next = first;
	extension->end = first + n;
	extension->step = Min(extension->step * 2, LAST_STEP);
	return true;
}

/*
 * next_page makes the next empty block the one that 'bulk' fills.
 */
static bool
next_page(EtlExtension *extension, Relation rel, BulkInsertState bulk, Size wanted)
{
	Size		kept = RelationGetTargetPageFreeSpace(rel, HEAP_DEFAULT_FILLFACTOR);

	extension->room = 0;
	if (extension->step == 0)
		extension->step = FIRST_STEP;
	if (extension->next == extension->end &&
		(extension->impossible || !add_blocks(extension, rel, bulk, wanted)))
		return false;
	if (bulk->current_buf != InvalidBuffer)
		ReleaseBuffer(bulk->current_buf);
	bulk->current_buf = ReadBufferExtended(rel, MAIN_FORKNUM, extension->next++, RBM_NORMAL, bulk->strategy);
	if (PageIsNew(BufferGetPage(bulk->current_buf)))
		extension->room = BLCKSZ - SizeOfPageHeaderData - kept;
	return extension->room > 0;
}

int
etl_extension_fit(EtlExtension *extension, Relation rel, BulkInsertState bulk, HeapTuple *tuples,
				  int n)
{
	int			fit;

	for (fit = 0; fit < n; fit++)
	{
		Size		size = MAXALIGN(tuples[fit]->t_len) + sizeof(ItemIdData);

		/* a long row has parts elsewhere, or grows smaller */
		if (tuples[fit]->t_len > TOAST_TUPLE_THRESHOLD)
		{
			extension->room = 0;
			return fit;
		}
		if (size > extension->room && (fit > 0 || !next_page(extension, rel, bulk, size)))
			return fit;
		if (size > extension->room)
			return fit;
		extension->room -= size;
	}
	return fit;
}

void
etl_extension_end(EtlExtension *extension, Relation rel)
{
	Size		room = BLCKSZ - SizeOfPageHeaderData;

	for (BlockNumber block = extension->next; block < extension->end; block++)
		RecordPageWithFreeSpace(rel, block, room);
	if (extension->next < extension->end)
		FreeSpaceMapVacuumRange(rel, extension->next, extension->end);
	extension->next = extension->end;
}

#else

int
etl_extension_fit(EtlExtension *extension, Relation rel, BulkInsertState bulk, HeapTuple *tuples,
				  int n)
{
	return 0;
}

void
etl_extension_end(EtlExtension *extension, Relation rel)
{
}

#endif
