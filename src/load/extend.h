/*-------------------------------------------------------------------------
 *
 * extend.h
 *    Blocks for a relation that grows, many at a time.
 *
 * Called by writer.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_EXTEND_H
#define ETL_LOAD_EXTEND_H

#include "access/heapam.h"
#include "utils/relcache.h"

typedef struct EtlExtension
{
	BlockNumber next;			/* of the blocks that were added and are not yet used */
	BlockNumber end;
	int			step;			/* blocks to add the next time */
	bool		impossible;		/* the file system had no room, or cannot reserve it */
	Size		room;			/* in the block that 'bulk' fills, when it is one of these */
} EtlExtension;

/*
 * how many of the next 'n' tuples go into one block; the block that 'bulk'
 * fills has room for them.  0: PostgreSQL shall find the room
 */
extern int etl_extension_fit(EtlExtension *extension, Relation rel, BulkInsertState bulk,
							 HeapTuple *tuples, int n);

/* tells the free space map of blocks that were added and not used */
extern void etl_extension_end(EtlExtension *extension, Relation rel);

#endif							/* ETL_LOAD_EXTEND_H */
