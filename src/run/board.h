/*-------------------------------------------------------------------------
 *
 * board.h
 *    What is to be done, who does it, and what is done: shared by those who
 *    work on one run.
 *
 * One entry for each node of the graph.  Alone it is ordinary memory; when
 * helpers join, a dynamic shared memory segment.  Plain values only, and
 * places in the graph's order of names: each participant has a graph of its
 * own.  The spinlock guards all of it; it is held for a few stores.
 *
 *   waiting --> claimed --> succeeded | failed | skipped       (then it is in the log)
 *      ^           |
 *      '-----------'  to be tried again, or postponed by what analysis found
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_BOARD_H
#define ETL_RUN_BOARD_H

#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/spin.h"

#include "run/run.h"

#define ETL_BOARD_PARTICIPANTS 64

typedef enum EtlBoardState
{
	ETL_BOARD_WAITING,
	ETL_BOARD_CLAIMED,
	ETL_BOARD_SUCCEEDED,
	ETL_BOARD_FAILED,
	ETL_BOARD_SKIPPED,
	ETL_BOARD_PASSED			/* not selected: what is above it goes through */
} EtlBoardState;

typedef struct EtlBoardNode
{
	uint8		state;			/* EtlBoardState */
	bool		selected;
	bool		changed;		/* wrote something in this run */
	bool		conditional;	/* skipped by a condition, not by a failure */
	bool		lost;			/* its worker died at work; whoever finds it claims it */
	int16		claimed_by;		/* place among the participants */
	int16		attempt;		/* number of the task's current attempt */
	int16		tries;			/* of this run, ended ones */
	int			blocked_by;		/* place of the node at the root of its skip; -1: none */
	int			group;
	int			edges_version;	/* of the graph, when its edges changed last */
	float		rank;			/* seconds to the end of the run by the longest path from here */
	int64		task_id;
	TimestampTz not_before;		/* when it may be tried again */
	uint32		name;			/* offset of its name */
} EtlBoardNode;

typedef struct EtlBoardParticipant
{
	int			pid;			/* 0: free, or gone */
	bool		helper;
} EtlBoardParticipant;

typedef struct EtlBoard
{
	slock_t		mutex;
	ConditionVariable moved;	/* something finished, came back or ended */
	int64		run_id;
	Size		size;
	int			n;
	int			nlog;			/* entries of the log that are valid */
	int			version;		/* of the graph's edges */
	int			claimed;		/* nodes that are claimed now */
	bool		closed;			/* no more claims: cancelled, failed, or the leader is gone */
	int			participants;	/* places ever used */
	EtlBoardParticipant participant[ETL_BOARD_PARTICIPANTS];

	/* what the run's row says */
	int			succeeded;
	int			failed;
	int			skipped;
	int			unchanged;
	int64		rows_written;
	int64		rows_rejected;
	bool		incomplete;

	EtlBoardNode node[FLEXIBLE_ARRAY_MEMBER];
	/* then: int log[n], the places of finished nodes in the order they finished; the names */
} EtlBoard;

#endif							/* ETL_RUN_BOARD_H */
