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
#include "catalog/alert_facts.h"
#include "catalog/alert_rule.h"
#include "catalog/history.h"
#include "catalog/remedy.h"
#include "catalog/sla.h"
#include "common/clock.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"

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
	resolve(work, nodes);
	foreach(cell, work->checks)
		if (is_failing(lfirst(cell)))
			raise_check(work->run, lfirst(cell));
	foreach(cell, work->facts)
		if (strcmp(((EtlTaskFact *) lfirst(cell))->task->status, "failed") == 0)
			raise_failed(work->run, lfirst(cell));
	tell_success(work, succeeded);
}

/*
 * look_again has the promises about nodes judged again; an argument of
 * etl_subxact.
 */
static void
look_again(void *arg)
{
	TaskWork   *work = arg;
	List	   *nodes = NIL;
	ListCell   *cell;

	foreach(cell, work->facts)
		nodes = lappend(nodes, ((EtlTaskFact *) lfirst(cell))->task->node);
	etl_slas_look_again(nodes);
}

void
etl_alert_tasks(const EtlRun *run, List *facts, List *checks)
{
	TaskWork	work = {run, facts, checks};
	int			wanted = facts == NIL && checks == NIL ? 0 : etl_alert_wanted(run->run_id);

	if (wanted & 2)
		etl_report_tell(&etl_report_promises, &work);
	if (wanted & 1)
		etl_report_tell(&etl_report_tasks, &work);
}

/* ---- putting it off ---- */

/*
 * pack_task writes what is told of a task.
 */
static Jsonb *
pack_task(const EtlTaskFact *fact)
{
	const EtlTask *task = fact->task;
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_json_add_int64(builder, "task_id", task->task_id);
	etl_json_add_text(builder, "node", task->node);
	etl_json_add_text(builder, "kind", task->kind);
	etl_json_add_text(builder, "status", task->status);
	etl_json_add_text(builder, "sqlstate", task->sqlstate);
	etl_json_add_text(builder, "error", task->error);
	etl_json_add_text(builder, "detail", task->detail);
	etl_json_add_text(builder, "hint", task->hint);
	etl_json_add_int64(builder, "written", task->rows_inserted + task->rows_updated + task->rows_deleted);
	etl_json_add_int64(builder, "rejected", task->rows_rejected);
	etl_json_add_int64(builder, "started_at", task->started_at);
	etl_json_add_int64(builder, "finished_at", task->finished_at);
	etl_json_add_int64(builder, "below", fact->below);
	return etl_json_object_end(builder);
}

/*
 * unpack_task reads it again.
 */
static EtlTaskFact *
unpack_task(const Jsonb *body, int64 run_id)
{
	EtlTaskFact *fact = palloc0(sizeof(EtlTaskFact));
	EtlTask    *task = palloc0(sizeof(EtlTask));

	task->run_id = run_id;
	task->task_id = etl_json_get_int64(body, "task_id", 0);
	task->node = etl_json_get_text(body, "node");
	task->kind = etl_json_get_text(body, "kind");
	task->status = etl_json_get_text(body, "status");
	task->sqlstate = etl_json_get_text(body, "sqlstate");
	task->error = etl_json_get_text(body, "error");
	task->detail = etl_json_get_text(body, "detail");
	task->hint = etl_json_get_text(body, "hint");
	task->rows_inserted = etl_json_get_int64(body, "written", 0);
	task->rows_rejected = etl_json_get_int64(body, "rejected", 0);
	task->started_at = etl_json_get_int64(body, "started_at", 0);
	task->finished_at = etl_json_get_int64(body, "finished_at", 0);
	fact->task = task;
	fact->below = (int) etl_json_get_int64(body, "below", 0);
	return fact;
}

/*
 * pack_check writes what is told of a check.
 */
static Jsonb *
pack_check(const EtlCheckResult *result)
{
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_json_add_text(builder, "target", result->target);
	etl_json_add_text(builder, "check_name", result->check_name);
	etl_json_add_text(builder, "on_fail", result->on_fail);
	etl_json_add_text(builder, "status", result->status);
	etl_json_add_int64(builder, "evaluated", result->evaluated);
	etl_json_add_int64(builder, "failed", result->failed);
	return etl_json_object_end(builder);
}

/*
 * unpack_check reads it again.
 */
static EtlCheckResult *
unpack_check(const Jsonb *body)
{
	EtlCheckResult *result = palloc0(sizeof(EtlCheckResult));

	result->target = etl_json_get_text(body, "target");
	result->check_name = etl_json_get_text(body, "check_name");
	result->on_fail = etl_json_get_text(body, "on_fail");
	result->status = etl_json_get_text(body, "status");
	result->evaluated = etl_json_get_int64(body, "evaluated", 0);
	result->failed = etl_json_get_int64(body, "failed", 0);
	return result;
}

/*
 * pack_tasks writes the argument of tell_all: tasks as t0, t1 …, checks as c0, c1 ….
 */
static Jsonb *
pack_tasks(void *arg)
{
	TaskWork   *work = arg;
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	etl_report_add_run(builder, work->run->run_id, work->run->selector);
	foreach(cell, work->facts)
		etl_json_add(builder, psprintf("t%d", foreach_current_index(cell)), pack_task(lfirst(cell)));
	foreach(cell, work->checks)
		etl_json_add(builder, psprintf("c%d", foreach_current_index(cell)), pack_check(lfirst(cell)));
	return etl_json_object_end(builder);
}

/*
 * unpack_tasks reads it again.
 */
static void *
unpack_tasks(const Jsonb *body)
{
	TaskWork   *work = palloc0(sizeof(TaskWork));
	Jsonb	   *part;

	work->run = etl_report_get_run(body);
	for (int i = 0; (part = etl_json_get(body, psprintf("t%d", i))) != NULL; i++)
		work->facts = lappend(work->facts, unpack_task(part, work->run->run_id));
	for (int i = 0; (part = etl_json_get(body, psprintf("c%d", i))) != NULL; i++)
		work->checks = lappend(work->checks, unpack_check(part));
	return work;
}

const EtlReportKind etl_report_tasks = {"tasks", tell_all, pack_tasks, unpack_tasks};
/* promises have rows of their own: no alert is in their way */
const EtlReportKind etl_report_promises = {"promises", look_again, pack_tasks, unpack_tasks, .at_once = true};
