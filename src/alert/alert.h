/*-------------------------------------------------------------------------
 *
 * alert.h
 *    Telling people: what is worth it, whom, and that it arrives.
 *
 * Called by run/ with what became of tasks, by worker/ with what became of
 * processes.  Facts are written down in the transaction that makes them true,
 * with a row in the outbox for each channel; a chore delivers them later.  No
 * run waits for that, and none fails because of it.
 *
 *	 fact -> rules that match -> alert (opened, or counted) -> outbox -> channel
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ALERT_H
#define ETL_ALERT_H

#include "catalog/alert.h"
#include "catalog/runs.h"
#include "common/driver.h"
#include "etl_connector.h"

/* Something that happened.  Texts hold names and counts, never values of the data. */
typedef struct EtlFact
{
	const char *event;			/* run_failed … */
	const char *also;			/* another event that it is for rules without the first; NULL: none */
	const char *unless;			/* rules with this event know already; NULL: none */
	const char *object;			/* canonical name of the node, or of what object_kind says */
	const char *object_kind;	/* node | run | sla | channel | process | rule */
	const char *detail;			/* tells facts of one object apart (a check's name); NULL: nothing to tell */
	const char *what;			/* a sentence */
	const char *error;			/* as it was raised; values are taken out here; NULL: none */
	const char *sqlstate;
	const char *cause;			/* NULL: what the sqlstate says */
	const char *remedy;
	int			others;			/* nodes that it keeps from being done */
	List	   *nodes;			/* char *: an alert about several; NIL: about its object */
	int64		run_id;			/* 0: none */
	const char *run_selector;
	const char *rule;			/* only for the rule of this name; NULL: for all */
	TimestampTz since;			/* 0: now */
	bool		momentary;		/* it is over at once: there is nothing to resolve */
	bool		warning;		/* of a check that only warns */
} EtlFact;

/* etl_alert_raise tells a fact to every rule that wants it. */
extern void etl_alert_raise(const EtlFact *fact);

/* etl_alert_is_over resolves what is open about an object. */
extern void etl_alert_is_over(const char *event, const char *object);

/* A task that has ended and is not tried again in its run. */
typedef struct EtlTaskFact
{
	const EtlTask *task;		/* succeeded or failed */
	int			below;			/* selected nodes below it that will not be tried */
} EtlTaskFact;

/*
 * etl_alert_tasks tells what became of tasks (EtlTaskFact *), and of their
 * checks (EtlCheckResult *).  What goes wrong here is a WARNING, never an
 * error of the run.
 */
extern void etl_alert_tasks(const EtlRun *run, List *facts, List *checks);

/* etl_alert_run tells that a run as a whole failed, or succeeded (error NULL). */
extern void etl_alert_run(const EtlRun *run, const ErrorData *error);

/* etl_alert_worker tells that a process died at work; 'run' is what it worked on. */
extern void etl_alert_worker(int64 run_id, const char *selector, const char *what);

/* etl_alert_parked tells that a chore is not done any more; over when etl_alert_is_over says so. */
extern void etl_alert_parked(const char *chore, const char *what, const char *remedy);

/*
 * etl_alert_wanted tells whether there is anybody to tell (1), and any promise
 * (2).  Within a run a look of a second ago is good enough.
 */
extern int etl_alert_wanted(int64 run_id);

/* A node that a freshness is promised of. */
typedef struct EtlFreshNode
{
	char	   *node;
	Interval   *freshness;
} EtlFreshNode;

extern List *etl_sla_fresh_nodes(void);	/* EtlFreshNode *, a node once for each promise */

/* set by run/: the nodes that a selector picks (char *); raises ET001, ET002 */
extern List *(*etl_alert_select)(const char *selector);

/* ---- for the list of chores ---- */

extern TimestampTz etl_deadlines_work(EtlDriver *driver, TimestampTz now);
extern TimestampTz etl_deadlines_due(TimestampTz now);
extern TimestampTz etl_deliveries_work(EtlDriver *driver, TimestampTz now);
extern TimestampTz etl_deliveries_due_at(TimestampTz now);

/* for etl.options() */
extern void etl_alert_register_options(void);

#endif							/* ETL_ALERT_H */
