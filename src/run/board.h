/*-------------------------------------------------------------------------
 *
 * board.h
 *    What is to be done, who does it, and what is done: shared by those who
 *    work on one run.
 *
 * One entry for each node of the leader's graph.  Alone it is ordinary
 * memory; with helpers, a dynamic shared memory segment.  It holds plain
 * values and places in the leader's order of names, since each participant
 * has a graph of its own.  The spinlock guards all of it; it is held for a
 * few stores.
 *
 *   waiting --> claimed --> succeeded | failed | skipped       (then it is in the log)
 *      ^           |
 *      '-----------'  to be tried again, or postponed by what analysis found
 *
 * Called by execute.c and lead.c.
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
	ETL_BOARD_SKIPPED
} EtlBoardState;

typedef struct EtlBoardNode
{
	uint8		state;			/* EtlBoardState */
	bool		selected;
	bool		changed;		/* wrote something in this run */
	bool		conditional;	/* skipped by a condition, not by a failure */
	bool		lost;			/* whoever had claimed it is gone */
	bool		edges_changed;	/* since the run began */
	int16		claimed_by;		/* place among the participants */
	int16		attempt;		/* number of the task's current attempt */
	int16		tries;			/* ended ones of this run */
	int			blocked_by;		/* place of the node at the root of its skip; -1: none */
	int			group;
	float		rank;			/* seconds to the end of the run by the longest path from here */
	int64		task_id;		/* of the current attempt */
	int64		rows_written;
	int64		rows_rejected;
	TimestampTz not_before;		/* when it may be tried again */
	TimestampTz slices_since;	/* of its intervals helpers may build those that begin from here … */
	TimestampTz slices_until;	/* … to here; the same: none */
	int			slices_version; /* of its definition, whose intervals they are */
	int64		sliced[4];		/* rows that helpers inserted, updated, deleted and rejected */
	uint32		name;			/* offset of its name from the board's beginning */
} EtlBoardNode;

typedef struct EtlBoard
{
	slock_t		mutex;
	ConditionVariable moved;	/* something finished, came back or ended */
	int64		run_id;
	Size		size;
	int			n;
	Size		log;			/* offset of int[n]: finished nodes in the order they finished */
	int			nlog;			/* entries of the log that are valid */
	int			version;		/* of the graph's edges */
	bool		closed;			/* no more claims: cancelled, failed, or the leader is gone */
	bool		incomplete;		/* something was built on input that did not succeed */
	int			pids[ETL_BOARD_PARTICIPANTS];	/* 0: free, or gone; the first is the leader */
	EtlBoardNode node[FLEXIBLE_ARRAY_MEMBER];
} EtlBoard;

/* makes the board of a run; with 'shared' in a segment that helpers can attach */
extern void etl_board_make(EtlRunState *state, bool shared);
/* joins the board of a leader; false when the run has ended */
extern bool etl_board_attach(EtlRunState *state, dsm_handle handle);
extern void etl_board_detach(EtlRunState *state);
extern const char *etl_board_name(const EtlBoard *board, int place);

/* brings what others have done into this participant's graph; true when edges changed */
extern bool etl_board_sync(EtlRunState *state);
/* claims nodes that are waiting, all or none */
extern bool etl_board_claim(EtlRunState *state, List *nodes);
/* tells what became of claimed nodes: done, or back to wait */
extern void etl_board_publish(EtlRunState *state, List *nodes);
/* tells that analysis changed the edges of a node; its rows are committed */
extern void etl_board_edges_changed(EtlRunState *state, EtlNode *node);
/* sleeps until something moves on the board, at most until 'until' and a second */
extern void etl_board_wait(EtlRunState *state, TimestampTz until);
/* ends the run for the helpers and waits until they have left; with 'cancel' they stop at once */
extern void etl_board_close(EtlRunState *state, bool cancel);
extern bool etl_board_alone(const EtlRunState *state);	/* nobody else is at work */
extern int etl_board_participants(const EtlRunState *state);	/* this one included */

#endif							/* ETL_RUN_BOARD_H */
