/*-------------------------------------------------------------------------
 *
 * run.h
 *    Running: what is shared between the files of run/.
 *
 * graph.c knows the nodes, selector.c picks some of them, plan.c says what
 * would happen, call.c and lead.c bring a run, open.c opens and closes it,
 * execute.c goes through the nodes (streams by streams.c, models by models.c
 * and groups.c, within the limits of clocks.c, when
 * rule.c and pool.c let it) with driver.c, lock.c and board.c, outcome.c notes
 * what became of them, report.c tells it, explain.c explains it afterwards.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_H
#define ETL_RUN_H

#include "nodes/bitmapset.h"
#include "utils/hsearch.h"

#include "catalog/definition.h"
#include "catalog/interval.h"
#include "catalog/runs.h"
#include "common/driver.h"
#include "common/names.h"
#include "model/model.h"

/* ---- graph.c ---- */

typedef struct EtlNode
{
	int			index;			/* position in the graph's array */
	EtlName    *name;
	EtlName    *stands_for;		/* of an environment: its name in production; else NULL */
	const char *kind;			/* stream | model */
	EtlStream  *stream;			/* one of the two */
	EtlModel   *model;
	char	   *owner;
	int			version;
	int			built_version;	/* 0: never published */
	List	   *tags;
	List	   *depends_on;		/* char *: relations it reads, nodes or not */
	List	   *parents;		/* EtlNode *: those of them that are nodes */
	List	   *children;
	List	   *references;		/* EtlNode *: its foreign keys' tables; only for the order */
	int			level;			/* longest path from a root, over the whole graph */
	int			step;			/* the same, counting only selected nodes; from 1 */
	bool		selected;

	/* while it runs */
	const char *action;
	char	   *reason;
	bool		planned_unchanged;
	bool		certain;		/* nothing that the run does can change it or what is above it */
	bool		checked;		/* it has checks */
	bool		shows_built;	/* a view on something that is built before */
	int			group;			/* nodes of one group publish together; 0: alone */
	TimestampTz built_at;		/* when its build ended, before the commit */
	int			place;			/* on the board; -1: the leader does not know it */
	double		seconds;		/* what it took lately; 0: unknown */
	double		rank;			/* seconds by the longest way to the end of the run */
	int			tries;			/* ended ones of this run */
	TimestampTz not_before;		/* 0, or when it is to be tried again */
	bool		lost;			/* whoever worked on it is gone */
	bool		unhelpful;		/* a slice of it failed here, and is left to its leader */
	bool		conditional;	/* skipped by a condition, not by a failure */
	List	   *instead;		/* char * in pairs: an input that did not succeed, what is read instead */
	char	   *incomplete;		/* which input did not succeed, when it is built nevertheless */
	bool		done;
	TimestampTz ended_at;		/* 0: when it is noted as finished */
	bool		changed;		/* wrote something in this run */
	struct EtlNode *blocked_by; /* itself or its nearest failed ancestor */
	EtlTask    *task;
	List	   *check_results;
} EtlNode;

typedef struct EtlGraph
{
	int			n;
	EtlNode   **nodes;			/* by name */
	EtlNode   **order;			/* parents first, then by name */
	HTAB	   *by_name;
} EtlGraph;

extern EtlGraph *etl_graph_load(void);
extern EtlNode *etl_graph_find(EtlGraph *graph, const char *canonical);
extern List *etl_graph_names(EtlGraph *graph);	/* char * */
/* nodes reachable from 'from' within 'depth' edges (-1: any), without 'from' */
extern Bitmapset *etl_graph_walk(EtlGraph *graph, EtlNode *from, bool up, int depth);
/* reads a node's dependencies again after it was analyzed; true when they changed, then it sorts again */
extern bool etl_graph_refresh(EtlGraph *graph, EtlNode *node);
/* makes 'child' come after 'parent', unless that closes a circle */
extern void etl_graph_add_reference(EtlGraph *graph, EtlNode *child, EtlNode *parent);
extern void etl_graph_number_steps(EtlGraph *graph);

/* ---- selector.c ---- */

/* etl_select marks what the selectors pick; raises ET001, ET002 */
extern void etl_select(EtlGraph *graph, const char *selector, const char *exclude);
/* the names of what a selector picks, for alert/: char * */
extern List *etl_select_names(const char *selector);

/* ---- plan.c ---- */

/*
 * etl_plan_nodes sets action and reason of every selected node from state
 * alone.  With 'run', what stops a run before any work (ET013) is raised.
 */
extern void etl_plan_nodes(EtlGraph *graph, bool full_refresh, bool run);

/* ---- driver.c ---- */

typedef struct EtlRunDriver
{
	EtlDriver	base;
	bool		worker;			/* without a statement around it */
	char	   *params;			/* JSON text for etl.params */
	MemoryContext context;
} EtlRunDriver;

extern void etl_driver_begin(EtlRunDriver *driver, bool atomic, char *params);
extern void etl_driver_begin_worker(EtlRunDriver *driver);
extern void etl_driver_set_params(EtlRunDriver *driver, const Jsonb *params);
extern void etl_driver_end(EtlRunDriver *driver);
/* commits what only records progress: a crash may lose it, so no flush is waited for */
extern void etl_driver_commit_lazily(EtlRunDriver *driver);
/*
 * etl_driver_try runs work(arg), which may commit through the driver.
 * Returns NULL, or the error after everything uncommitted was rolled back;
 * unlike etl_subxact also a cancel, for the caller to record and re-throw.
 * In a caller's transaction it is etl_subxact.
 */
extern ErrorData *etl_driver_try(EtlRunDriver *driver, void (*work)(void *arg), void *arg);

/* ---- lock.c ---- */

extern bool etl_lock_run(int64 run_id);	/* false: another session has it */
extern bool etl_lock_run_here(int64 run_id);	/* the same, until the transaction ends */
extern void etl_unlock_run(int64 run_id);
extern bool etl_run_is_alive(int64 run_id);
extern int etl_run_leader(int64 run_id);	/* pid, 0 when nobody leads it */
extern bool etl_lock_pool(const char *pool, int slot);	/* false: taken */
/* keeps others from building a slice of a node; without 'wait' false when another does */
extern bool etl_lock_slice(const char *node, TimestampTz since, bool wait);
extern void etl_unlock_slice(const char *node, TimestampTz since);
extern void etl_unlock_pool(const char *pool, int slot);
extern void etl_locks_install(void);	/* once, from _PG_init: keeps them from pg_advisory_unlock_all() */

/* ---- access.c ---- */

/* raises 42501 unless the role may run every selected node */
extern void etl_check_may_run(EtlGraph *graph, Oid role);
/* raises 42501 unless the current user has etl_operator or the rights of 'owner' (NULL: nobody's) */
extern void etl_check_may_operate(const char *owner);
/* the current user may SELECT from the relation, owns its definition, or operates */
extern bool etl_may_read(const char *target);

/* ---- execute.c ---- */

typedef struct EtlRunState
{
	EtlRun		run;
	EtlRunDriver driver;
	EtlGraph   *graph;
	List	   *finished;		/* EtlTask * whose rows are still to be written */
	List	   *fresh;			/* EtlTask * of next attempts, whose rows are still to be made */
	List	   *certain;		/* EtlNode * that had nothing to do for certain, when it began */
	List	   *failures;		/* EtlTask * whose error is still to be logged */
	List	   *checks;			/* EtlCheckResult * that are still to be told */
	int			unchanged;		/* nodes with nothing to do */
	bool		tells;			/* a session listens: NOTICEs for it */
	TimestampTz run_written;	/* when its row was written last */
	bool		flags;			/* there are incomplete datasets */

	EtlIntervalRequest request; /* of a run with since and until: slices.c */
	bool		paused;			/* it goes back into the queue */
	TimestampTz waits_since;	/* 0: this process has something to do */
	void	   *pulling;		/* the pull at work, streams.c */

	/* with whom: board.c */
	int			workers;		/* at most so many at work, this process included */
	int			called;			/* helpers that were to come */
	struct EtlBoard *board;
	struct dsm_segment *segment;	/* where the board lies; NULL: here */
	int			place;			/* among the participants; 0: the leader */
	int			seen;			/* entries of the board's log */
	int			version;		/* of the graph's edges */
	EtlNode   **at;				/* the graph's nodes by their place on the board; NULL: not known here */
	List	   *untold;			/* EtlNode * that others finished */

	/* which next: execute.c, rank.c, pool.c */
	EtlNode   **sequence;		/* NULL: the graph's order */
	int			first;			/* all before it are done */
	List	   *pools;			/* EtlPool * */
	List	   *places;			/* EtlPlace *: what this process holds in pools */
} EtlRunState;

extern void etl_run_execute(EtlRunState *state);
extern void etl_run_look_around(EtlRunState *state);
extern void etl_run_steps(EtlRunState *state);
/* a node that is not selected is done when what is above it is */
extern bool etl_node_is_done(EtlNode *node);

/* ---- streams.c ---- */
extern void etl_work_on_stream(EtlRunState *state, EtlNode *node);

/* ---- clocks.c ---- */
extern void etl_clocks_start(const Jsonb *options);
extern void etl_clocks_stop(void);
/* a cancel of the run, and not the end of a limit of the node */
extern bool etl_node_is_cancelled(ErrorData *error);
/* makes the error that is being raised say which limit has ended, when one has */
extern void etl_clocks_restate(EtlRunState *state);

/* ---- rank.c ---- */

extern void etl_rank_nodes(EtlRunState *state);
extern void etl_rank_sort(EtlRunState *state);

/* ---- pool.c ---- */

typedef struct EtlPlace
{
	char	   *pool;
	int			slot;
} EtlPlace;

/* takes a place in the pool of every node; false, and none, when one is full */
extern bool etl_pool_enter(EtlRunState *state, List *nodes);
extern void etl_pool_leave(EtlRunState *state);

/* ---- rule.c ---- */

typedef struct EtlSkip
{
	EtlNode    *root;			/* the node that is to blame; NULL: the node's own condition */
	bool		conditional;
	char	   *reason;			/* NULL: it is not skipped */
} EtlSkip;

/* judges a node by what became of its parents, those in 'together' aside */
extern void etl_rule_judge(EtlRunState *state, EtlNode *node, List *together, EtlSkip *skip);
/* evaluates the option run_if of a model; returns its error */
extern ErrorData *etl_rule_run_if(EtlNode *node, bool *holds);

/* ---- lead.c ---- */

extern void etl_run_call_helpers(EtlRunState *state);
extern void etl_run_call_more(EtlRunState *state, int processes);

/* ---- open.c ---- */

/*
 * etl_run_open selects and plans the nodes and writes the run and its tasks;
 * commits.  'run' holds what was asked for; with a run_id its row is there
 * already, and what a leader before this one has done counts.
 */
extern void etl_run_open(EtlRunState *state);
/* raises ET001 for arguments that make no sense; fills in what is not given */
extern void etl_run_check_arguments(EtlRun *run);
/* raises ET001 while a run has not ended */
extern void etl_run_check_ended(const EtlRun *run);
/* does the work of an open run and writes how it ended */
extern void etl_run_work(EtlRunState *state);
/* writes that an open run was broken off, and by what */
extern void etl_run_break_off(EtlRunState *state, ErrorData *error);

/* ---- outcome.c ---- */

extern char *etl_run_keep(EtlRunState *state, const char *text);	/* a copy that lives as long as the run */
extern void etl_node_finish(EtlRunState *state, EtlNode *node, const char *status);
extern void etl_node_broken_off(EtlRunState *state, EtlNode *node);
extern void etl_node_failed(EtlRunState *state, EtlNode *node, const ErrorData *error);
/* a try failed that is repeated in place: its attempt ends, the next one begins; commits */
extern void etl_node_retrying(EtlRunState *state, EtlNode *node, int sqlerrcode, const char *message);
extern void etl_node_put_back(EtlRunState *state, EtlNode *node, TimestampTz not_before);
extern void etl_node_skipped(EtlRunState *state, EtlNode *node, EtlNode *root,
							 const char *because, const char *reason);
extern void etl_node_unchanged(EtlRunState *state, EtlNode *node, const char *action, const char *reason);
extern void etl_node_inherit(EtlNode *node, bool *changed_above);
extern void etl_nodes_begin(EtlRunState *state, List *nodes);
extern void etl_nodes_settle(EtlRunState *state, List *nodes);
extern void etl_nodes_tell(EtlRunState *state);	/* to alert/, what has finished */
extern void etl_nodes_flush(EtlRunState *state);	/* writes and commits what is noted */
extern void etl_nodes_forget(EtlRunState *state, List *nodes);

/* ---- groups.c ---- */

extern void etl_groups_make(EtlRunState *state);
extern void etl_groups_link(EtlRunState *state);	/* the same for a helper, who knows the groups */
extern List *etl_group_members(EtlGraph *graph, EtlNode *node);	/* EtlNode *, open ones, parents first */

/* ---- models.c ---- */

/* false: an input that analysis has found is not done yet */
extern bool etl_work_on_models(EtlRunState *state, List *nodes);

/* ---- rollback.c ---- */

extern EtlDriver etl_function_driver(const char *node);	/* of builds in an SQL function */

/* ---- slices.c ---- */

/* tells the models that build by intervals what a run with since and until asks for */
extern void etl_slices_ask(EtlRunState *state, EtlNode *node);
/* builds a node slice by slice, each in a transaction; what becomes of it is noted and committed */
extern void etl_slices_work(EtlRunState *state, EtlNode *node);
/* builds a slice of a node that another participant works on; false when there is none to build */
extern bool etl_slices_help(EtlRunState *state);
/* builds slices in the current transaction, adding to 'result' */
extern void etl_slices_build_here(EtlRunState *state, EtlNode *node, EtlBuildResult *result);

/* ---- report.c ---- */

extern char *etl_format_count(int64 count);	/* 1,234,567 */
extern char *etl_format_seconds(TimestampTz from, TimestampTz to);
extern void etl_report_task(const EtlTask *task);
extern void etl_report_run(EtlRunState *state);	/* closing NOTICE, or the ERROR ET012 */
extern char *etl_report_failures(EtlRunState *state);

extern int64 etl_last_run_id;

#endif							/* ETL_RUN_H */
