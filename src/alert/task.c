/*-------------------------------------------------------------------------
 *
 * task.c
 *    What became of tasks and runs, as facts.
 *
 * Called with every commit of a run, so it looks at nothing while nobody has
 * defined an alert or a promise.  A node that failed because of a check is
 * one alert for rules that want both events.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "alert/internal.h"
#include "catalog/history.h"
#include "catalog/remedy.h"
#include "catalog/sla.h"
#include "common/clock.h"
#include "common/driver.h"
#include "common/errors.h"

/* how long a run waits for an alert that somebody has locked */
#define LONGEST_LOCK "3s"

typedef struct TaskWork
{
	const EtlRun *run;
	List	   *facts;
	List	   *checks;
} TaskWork;

/*
 * is_failing tells whether a check has found something.
 */
static bool
is_failing(const EtlCheckResult *result)
{
	return strcmp(result->status, "fail") == 0 || strcmp(result->status, "error") == 0 ||
		   strcmp(result->status, "warn") == 0;
}

/*
 * is_about tells whether a result belongs to a node.
 */
static bool
is_about(const EtlCheckResult *result, const char *node)
{
	return strcmp(result->target, node) == 0;
}

/*
 * raise_check tells that a check has found something: its name, and how many.
 */
static void
raise_check(const EtlRun *run, const EtlCheckResult *result)
{
	EtlFact		fact = {0};

	fact.event = "check_failed";
	fact.object = result->target;
	fact.object_kind = "node";
	fact.detail = result->check_name;
	fact.what = strcmp(result->status, "error") == 0 ?
					psprintf("check %s of %s could not be evaluated", result->check_name, result->target) :
					psprintf("check %s of %s: " INT64_FORMAT " of " INT64_FORMAT " failed",
							 result->check_name, result->target, result->failed, result->evaluated);
	fact.cause = strcmp(result->on_fail, "fail") == 0 ?
					 "the data does not pass; nothing of it was published" :
				 strcmp(result->on_fail, "quarantine") == 0 ?
					 "the data does not pass; the rows were put aside" :
					 "the data does not pass; it was published";
	fact.remedy = psprintf("SELECT * FROM etl.validate(%s)", quote_literal_cstr(result->target));
	fact.run_id = run->run_id;
	fact.run_selector = run->selector;
	fact.warning = strcmp(result->status, "warn") == 0;
	etl_alert_raise(&fact);
}

/*
 * find_remedy says what is behind a failure and what ends it; hints of
 * errors about values may hold values.
 */
static void
find_remedy(const EtlTask *task, EtlFact *fact)
{
	EtlFailure	failure = {.run_id = task->run_id,
						  .node = task->node,
						  .sqlstate = task->sqlstate ? task->sqlstate : "XX000",
						  .message = task->error,
						  .detail = task->detail,
						  .hint = task->hint};
	EtlRemedy	remedy = {0};

	if (task->sqlstate == NULL || etl_message_is_about_values(task->sqlstate))
		failure.hint = NULL;
	etl_remedy_find(&failure, &remedy);
	fact->cause = remedy.cause;
	fact->remedy = remedy.remedy;
}

/*
 * raise_failed tells that a node failed.
 */
static void
raise_failed(const EtlRun *run, const EtlTaskFact *ended)
{
	const EtlTask *task = ended->task;
	EtlFact		fact = {0};

	fact.event = "run_failed";
	if (task->sqlstate != NULL && strcmp(task->sqlstate, "ET011") == 0)
		fact.unless = "check_failed";
	fact.object = task->node;
	fact.object_kind = "node";
	fact.what = psprintf("%s failed in run " INT64_FORMAT "%s", task->node, run->run_id,
						 ended->below == 0 ? "" :
						 ended->below == 1 ? "; 1 node below it is not done" :
											 psprintf("; %d nodes below it are not done", ended->below));
	fact.error = task->error;
	fact.sqlstate = task->sqlstate;
	find_remedy(task, &fact);
	fact.others = ended->below;
	fact.run_id = run->run_id;
	fact.run_selector = run->selector;
	etl_alert_raise(&fact);
}

/*
 * raise_rejects tells that records were put aside: how many.
 */
static void
raise_rejects(const EtlRun *run, const EtlTask *task)
{
	EtlFact		fact = {0};

	fact.event = "rejects";
	fact.object = task->node;
	fact.object_kind = "node";
	fact.what = psprintf("%s put " INT64_FORMAT " record%s aside in run " INT64_FORMAT, task->node,
						 task->rows_rejected, task->rows_rejected == 1 ? "" : "s", run->run_id);
	fact.cause = "records that are malformed, do not fit, or do not pass a check";
	fact.remedy = psprintf("SELECT * FROM etl.rejects WHERE target = %s AND run_id = " INT64_FORMAT "; "
						   "correct the cause and SELECT * FROM etl.replay(%s)",
						   quote_literal_cstr(task->node), run->run_id, quote_literal_cstr(task->node));
	fact.run_id = run->run_id;
	fact.run_selector = run->selector;
	etl_alert_raise(&fact);
}

/*
 * raise_momentary tells something that is over as soon as it is told.
 */
static void
raise_momentary(const EtlRun *run, const char *event, const char *node, const char *what, const char *cause,
				const char *remedy)
{
	EtlFact		fact = {0};

	fact.event = event;
	fact.object = node;
	fact.object_kind = "node";
	fact.what = what;
	fact.cause = cause;
	fact.remedy = remedy;
	fact.run_id = run->run_id;
	fact.run_selector = run->selector;
	fact.momentary = true;
	if (strcmp(event, "run_recovered") == 0)
		fact.unless = "run_failed";	/* there the end of that alert says it */
	etl_alert_raise(&fact);
}

/*
 * anybody_wants tells whether some rule has an event.
 */
static bool
anybody_wants(List *rules, const char *event)
{
	ListCell   *cell;

	foreach(cell, rules)
		if (etl_rule_wants(lfirst(cell), event))
			return true;
	return false;
}

/*
 * raise_slow tells that a node took much longer than usual, to every rule by
 * its own measure.
 */
static void
raise_slow(const EtlRun *run, const EtlTask *task, List *rules)
{
	double		took = (task->finished_at - task->started_at) / (double) USECS_PER_SEC;
	double		usual = -1;
	ListCell   *cell;

	foreach(cell, rules)
	{
		EtlAlertRule *rule = lfirst(cell);
		EtlRuleOptions options;
		EtlFact		fact = {0};

		if (!etl_rule_wants(rule, "run_slow"))
			continue;
		etl_rule_options_read(rule->options, &options);
		if (took * 1000 < options.slow_min_ms)
			continue;
		if (usual < 0)
			usual = etl_node_usual_seconds(task->node, task->task_id);
		if (usual == 0 || took < usual * options.slow_factor)
			continue;
		fact.event = "run_slow";
		fact.object = task->node;
		fact.object_kind = "node";
		fact.rule = rule->name;
		fact.what = psprintf("%s took %.0f s in run " INT64_FORMAT "; usually it takes %.0f s",
							 task->node, took, run->run_id, usual);
		fact.cause = "more data, a worse plan, or a busy server";
		fact.remedy = psprintf("SELECT * FROM etl.tasks WHERE node = %s ORDER BY task_id DESC",
							   quote_literal_cstr(task->node));
		fact.run_id = run->run_id;
		fact.run_selector = run->selector;
		fact.momentary = true;
		etl_alert_raise(&fact);
	}
}

/*
 * still_failing tells whether a check that an alert is about has found
 * something again, or was not evaluated.
 */
static bool
still_failing(const EtlAlert *alert, const char *node, List *checks)
{
	bool		evaluated = false;
	ListCell   *cell;

	foreach(cell, checks)
	{
		EtlCheckResult *result = lfirst(cell);

		if (!is_about(result, node))
			continue;
		evaluated = true;
		if (!is_failing(result))
			continue;
		if (strcmp(alert->object_kind, "node") != 0 ||
			strcmp(alert->fingerprint, psprintf("%s/%s/%s/%s", alert->rule, alert->event, node,
												result->check_name)) == 0)
			return true;
	}
	return !evaluated;
}

/*
 * has_no_rejects tells whether a task that did something put nothing aside,
 * or all that was put aside is dealt with.
 */
static bool
has_no_rejects(const EtlTask *task)
{
	if (task->rows_rejected > 0)
		return false;
	return task->rows_inserted + task->rows_updated + task->rows_deleted > 0 ||
		   !etl_rejects_are_open(task->node);
}

/*
 * over_for lists the nodes for which the cause of an alert is gone.
 */
static List *
over_for(const EtlAlert *alert, const TaskWork *work)
{
	List	   *nodes = NIL;
	ListCell   *cell;

	foreach(cell, work->facts)
	{
		const EtlTask *task = ((EtlTaskFact *) lfirst(cell))->task;
		bool		over = strcmp(task->status, "succeeded") == 0;

		if (strcmp(alert->event, "check_failed") == 0)
			over = over && !still_failing(alert, task->node, work->checks);
		else if (strcmp(alert->event, "rejects") == 0)
			over = over && has_no_rejects(task);
		else if (strcmp(alert->event, "no_run") == 0)
			over = true;
		else if (strcmp(alert->event, "run_failed") != 0)
			over = false;		/* the clock judges promises */
		if (over)
			nodes = lappend(nodes, task->node);
	}
	return nodes;
}

/*
 * resolve ends the alerts whose cause is gone.
 */
static void
resolve(const TaskWork *work, List *nodes)
{
	TimestampTz now = etl_now();
	ListCell   *cell;

	foreach(cell, etl_alerts_waiting_for(nodes))
	{
		EtlAlert   *alert = lfirst(cell);
		List	   *over = over_for(alert, work);

		if (over != NIL && etl_alert_node_done(alert->alert_id, over))
			etl_alert_settle(alert, now);
	}
}

/*
 * tell_success tells what is remarkable about tasks that succeeded.
 */
static void
tell_success(const TaskWork *work, List *succeeded)
{
	const EtlRun *run = work->run;
	List	   *rules = etl_alert_rules_all();
	bool		schema = anybody_wants(rules, "schema_changed");
	bool		slow = anybody_wants(rules, "run_slow");
	ListCell   *cell;

	if (succeeded != NIL && anybody_wants(rules, "run_recovered"))
		foreach(cell, etl_nodes_recovered(succeeded, run->run_id))
			raise_momentary(run, "run_recovered", lfirst(cell),
							psprintf("%s succeeds again in run " INT64_FORMAT,
									 (char *) lfirst(cell), run->run_id),
							NULL, NULL);
	foreach(cell, work->facts)
	{
		const EtlTask *task = ((EtlTaskFact *) lfirst(cell))->task;
		char	   *changes;

		if (task->rows_rejected > 0)
			raise_rejects(run, task);
		if (schema && strcmp(task->kind, "stream") == 0 &&
			(changes = etl_schema_changes_of(task->node, run->run_id)) != NULL)
			raise_momentary(
				run, "schema_changed", task->node,
				psprintf("the columns of %s changed: %s", task->node, changes),
				"the source sends other columns or values than before",
				psprintf(
					"SELECT * FROM etl.schema_changes WHERE target = %s ORDER BY event_id DESC",
					quote_literal_cstr(task->node)));
		if (slow && strcmp(task->status, "succeeded") == 0)
			raise_slow(run, task, rules);
	}
}

/*
 * tell_all does the work of etl_alert_tasks; an argument of etl_subxact.
 */
static void
tell_all(void *arg)
{
	TaskWork   *work = arg;
	int			wanted = etl_alert_wanted(work->run->run_id);
	List	   *nodes = NIL;
	List	   *succeeded = NIL;
	ListCell   *cell;

	foreach(cell, work->facts)
	{
		const EtlTask *task = ((EtlTaskFact *) lfirst(cell))->task;

		nodes = lappend(nodes, task->node);
		if (strcmp(task->status, "succeeded") == 0)
			succeeded = lappend(succeeded, task->node);
	}
	if (wanted & 2)
		etl_slas_look_again(nodes);
	if (!(wanted & 1))
		return;
	resolve(work, nodes);
	foreach(cell, work->checks)
		if (is_failing(lfirst(cell)))
			raise_check(work->run, lfirst(cell));
	foreach(cell, work->facts)
		if (strcmp(((EtlTaskFact *) lfirst(cell))->task->status, "failed") == 0)
			raise_failed(work->run, lfirst(cell));
	tell_success(work, succeeded);
}

typedef struct Guarded
{
	void		(*work) (void *arg);
	void	   *arg;
} Guarded;

/*
 * within_time does it with a limit on waiting for locks: somebody may have
 * taken an alert in a transaction that stays open.  An argument of
 * etl_subxact.
 */
static void
within_time(void *arg)
{
	Guarded    *guarded = arg;
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LONGEST_LOCK, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	guarded->work(guarded->arg);
	AtEOXact_GUC(false, level);
}

/*
 * guarded does something that may go wrong without harm to the run.
 */
static void
guarded(void (*work)(void *arg), void *arg)
{
	Guarded		guarded = {work, arg};
	ErrorData  *error = etl_subxact(within_time, &guarded);

	if (error != NULL)
		ereport(WARNING, (errmsg("alerts of this run could not be written: %s", error->message),
						  error->detail ? errdetail_internal("%s", error->detail) : 0));
}

void
etl_alert_tasks(const EtlRun *run, List *facts, List *checks)
{
	TaskWork	work = {run, facts, checks};

	if ((facts == NIL && checks == NIL) || etl_alert_wanted(run->run_id) == 0)
		return;
	guarded(tell_all, &work);
}

typedef struct RunWork
{
	const EtlRun *run;
	const ErrorData *error;
} RunWork;

/*
 * tell_run does the work of etl_alert_run; an argument of etl_subxact.
 */
static void
tell_run(void *arg)
{
	RunWork    *work = arg;
	const EtlRun *run = work->run;
	EtlFact		fact = {0};

	if (work->error == NULL)
	{
		etl_alert_is_over("run_failed", etl_message_clip(etl_message_line(run->selector), 200));
		return;
	}
	fact.event = "run_failed";
	fact.object = run->selector;
	fact.object_kind = "run";
	fact.what = psprintf("run " INT64_FORMAT " of %s failed", run->run_id,
						 etl_message_clip(etl_message_line(run->selector), 200));
	fact.error = work->error->message;
	fact.sqlstate = pstrdup(unpack_sql_state(work->error->sqlerrcode));
	fact.remedy = work->error->hint;
	fact.run_id = run->run_id;
	fact.run_selector = run->selector;
	etl_alert_raise(&fact);
}

void
etl_alert_run(const EtlRun *run, const ErrorData *error)
{
	RunWork		work = {run, error};

	if (etl_alert_wanted(run->run_id) & 1)
		guarded(tell_run, &work);
}

typedef struct WorkerWork
{
	int64		run_id;
	const char *selector;
	const char *what;
} WorkerWork;

/*
 * tell_worker does the work of etl_alert_worker; an argument of etl_subxact.
 */
static void
tell_worker(void *arg)
{
	WorkerWork *work = arg;
	EtlFact		fact = {0};

	fact.event = "worker";
	fact.object = work->selector ? work->selector : "etl";
	fact.object_kind = "process";
	fact.what = work->what;
	fact.cause = "it was killed, or the server crashed: the server's log says which";
	fact.remedy = work->run_id ? psprintf("SELECT * FROM etl.explain_run(" INT64_FORMAT ")", work->run_id) :
								 "SELECT * FROM etl.status()";
	fact.run_id = work->run_id;
	fact.run_selector = work->selector;
	fact.momentary = true;
	etl_alert_raise(&fact);
}

void
etl_alert_worker(int64 run_id, const char *selector, const char *what)
{
	WorkerWork	work = {run_id, selector, what};

	if (etl_alert_wanted(run_id) & 1)
		guarded(tell_worker, &work);
}

typedef struct ParkedWork
{
	const char *chore;
	const char *what;
	const char *remedy;
} ParkedWork;

/*
 * tell_chore does the work of etl_alert_parked; an argument of etl_subxact.
 */
static void
tell_chore(void *arg)
{
	ParkedWork *work = arg;
	EtlFact		fact = {0};

	fact.event = "worker";
	fact.object = work->chore;
	fact.object_kind = "process";
	fact.detail = "parked";
	fact.what = work->what;
	fact.cause = "something that it does crashes the server: the server's log says where";
	fact.remedy = work->remedy;
	etl_alert_raise(&fact);
}

void
etl_alert_parked(const char *chore, const char *what, const char *remedy)
{
	ParkedWork	work = {chore, what, remedy};

	if (etl_alert_wanted(0) & 1)
		guarded(tell_chore, &work);
}
