/*-------------------------------------------------------------------------
 *
 * chore.h
 *    Periodic work: whether it ended, and whether it is still begun.
 *
 * Called by run/chores.c and run/define_schedule.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_CHORE_H
#define ETL_CATALOG_CHORE_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

typedef enum EtlChoreStart
{
	ETL_CHORE_BEGUN,
	ETL_CHORE_BEGUN_AGAIN,		/* the last time it may have crashed the server */
	ETL_CHORE_JUST_PARKED,		/* by this call */
	ETL_CHORE_PARKED
} EtlChoreStart;

typedef struct EtlParkedChore
{
	char	   *name;
	int			crashes;
	TimestampTz parked_at;
} EtlParkedChore;

/*
 * etl_chore_begin notes that a chore begins, when the caller commits; one that
 * was begun 'limit' times in a row without ever ending is parked instead.
 */
extern EtlChoreStart etl_chore_begin(const char *name, int limit);
/* notes that it ended; 'stopped': its process was told to end, which says nothing about it */
extern void etl_chore_ended(const char *name, bool stopped);
extern List *etl_chores_parked(void);	/* EtlParkedChore * */
extern bool etl_chore_unpark(const char *name);	/* NULL: all; false: none was parked */

#endif							/* ETL_CATALOG_CHORE_H */
