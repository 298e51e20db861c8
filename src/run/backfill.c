/*-------------------------------------------------------------------------
 *
 * backfill.c
 *    Building intervals of the past again, below live work.
 *
 * A backfill is nothing but queued runs, one for each step of its interval,
 * in one lane and with a priority below that of everything else: it survives
 * what runs survive, is looked at in etl.runs, and is paused by holding what
 * has not begun.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/node_lock.h"
#include "common/wake.h"
#include "run/backfill.h"
#include "run/lead.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_backfill);
PG_FUNCTION_INFO_V1(etl_sql_reset_intervals);

#define MAX_STEPS	10000
#define PRIORITY	(-100)
#define NAME_PREFIX "backfill:"

typedef struct Backfill
{
	char	   *selector;
	TimestampTz since;
	TimestampTz until;
	Interval   *step;			/* NULL: one run */
	char	   *reprocess;
	bool		dry_run;
	char	   *name;			/* of its lane; NULL until the first run is queued */
	int			queued;
	ArrayType  *nodes;			/* those that use the interval */
	List	   *runs;			/* EtlRun *: of earlier ones with this selector, oldest first */
	List	   *ledgers;		/* Ledger * */
} Backfill;

/* What one of the models has built. */
typedef struct Ledger
{
	EtlModel   *model;
	List	   *slices;			/* EtlSlice *, oldest first */
} Ledger;

bool
etl_node_uses_interval(const EtlNode *node)
{
	return node->model != NULL && etl_model_has_slices(node->model);
}

/*
 * etl_check_interval: see backfill.h.
 */
void
etl_check_interval(EtlGraph *graph)
{
	int			selected = 0;

	for (int i = 0; i < graph->n; i++)
	{
		if (!graph->nodes[i]->selected)
			continue;
		if (etl_node_uses_interval(graph->nodes[i]))
			return;
		selected++;
	}
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("since and until need models that keep an interval ledger"),
			 errdetail("None of the %d nodes does; they follow what changed in their inputs.", selected),
			 errhint("Leave since and until out; full_refresh => true builds everything again.")));
}

/*
 * read_arguments reads and checks what backfill was given.
 */
static void
read_arguments(FunctionCallInfo fcinfo, Backfill *backfill)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("a backfill needs a selector, since and until"),
						errhint("For example SELECT * FROM etl.backfill('mart.daily', "
								"'2026-01-01', '2026-02-01').")));
	backfill->selector = etl_arg_text(fcinfo, 0);
	backfill->since = PG_GETARG_TIMESTAMPTZ(1);
	backfill->until = PG_GETARG_TIMESTAMPTZ(2);
	backfill->step = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	backfill->reprocess = PG_ARGISNULL(4) ? "missing" : etl_arg_text(fcinfo, 4);
	backfill->dry_run = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);

	if (TIMESTAMP_NOT_FINITE(backfill->since) || TIMESTAMP_NOT_FINITE(backfill->until) ||
		backfill->since >= backfill->until)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("since must be before until, and both finite"),
				 errdetail("The interval is half-open: [since, until).")));
	if (backfill->step != NULL &&
		(backfill->step->month < 0 || backfill->step->day < 0 || backfill->step->time < 0 ||
		 backfill->step->month + backfill->step->day + backfill->step->time == 0))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("step must be positive, and no part of it negative"),
				 errhint("For example step => '1 day'.")));
	if (strcmp(backfill->reprocess, "missing") != 0 && strcmp(backfill->reprocess, "failed") != 0 &&
		strcmp(backfill->reprocess, "all") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for argument \"reprocess\": \"%s\"", backfill->reprocess),
				 errhint("Use missing, failed or all.")));
}

/*
 * boundary returns where step number k begins.
 */
static TimestampTz
boundary(const Backfill *backfill, int k)
{
	Interval	distance;
	TimestampTz at;

	if (k == 0)
		return backfill->since;
	if (backfill->step == NULL)
		return backfill->until;
	distance.month = backfill->step->month * k;
	distance.day = backfill->step->day * k;
	distance.time = backfill->step->time * k;
	at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												 TimestampTzGetDatum(backfill->since),
												 IntervalPGetDatum(&distance)));
	return Min(at, backfill->until);
}

/*
 * select_nodes picks the nodes, checks that the caller may run them, and
 * keeps the names of those that use an interval.
 */
static void
select_nodes(Backfill *backfill)
{
	EtlGraph   *graph = etl_graph_load();
	Datum	   *names = palloc(sizeof(Datum) * Max(graph->n, 1));
	int			n = 0;

	etl_select(graph, backfill->selector, NULL);
	etl_check_may_run(graph, GetUserId());
	etl_check_interval(graph);
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->order[i];
		Ledger	   *ledger = palloc(sizeof(Ledger));

		if (!node->selected || !etl_node_uses_interval(node))
			continue;
		names[n++] = CStringGetTextDatum(node->name->canonical);
		ledger->model = node->model;
		ledger->slices = etl_intervals_read(node->name->canonical);
		backfill->ledgers = lappend(backfill->ledgers, ledger);
	}
	backfill->nodes = construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * newest_run finds what became of an interval before; NULL when it was never
 * asked for.
 */
static EtlRun *
newest_run(const Backfill *backfill, TimestampTz since, TimestampTz until)
{
	EtlRun	   *newest = NULL;
	ListCell   *cell;

	foreach(cell, backfill->runs)
	{
		EtlRun	   *run = lfirst(cell);

		if (run->since == since && run->until == until)
			newest = run;
	}
	return newest;
}

/*
 * look_at_ledger tells what the ledgers of the models say of a step:
 * *missing when a slice in it is not done, *failed when one has failed.
 */
static void
look_at_ledger(const Backfill *backfill, TimestampTz since, TimestampTz until, bool *missing, bool *failed)
{
	ListCell   *cell;

	*missing = *failed = false;
	foreach(cell, backfill->ledgers)
	{
		Ledger	   *ledger = lfirst(cell);
		TimestampTz from = etl_slice_instant(ledger->model, since);
		TimestampTz to = etl_slice_instant(ledger->model, until);
		TimestampTz covered = from;
		ListCell   *entry;

		foreach(entry, ledger->slices)
		{
			EtlSlice   *slice = lfirst(entry);

			if (slice->until <= from || slice->since >= to)
				continue;
			*missing |= slice->since > covered || strcmp(slice->status, "done") != 0;
			*failed |= strcmp(slice->status, "failed") == 0;
			covered = slice->until;
		}
		*missing |= covered < to;
	}
}

/*
 * is_wanted tells whether a step is to be run, given what its newest run
 * came to (NULL: there was none); otherwise *status gets why not.
 */
static bool
is_wanted(const Backfill *backfill, TimestampTz since, TimestampTz until, const char **status)
{
	bool		missing;
	bool		failed;

	if (*status && (strcmp(*status, "queued") == 0 || strcmp(*status, "running") == 0))
		return false;
	if (strcmp(backfill->reprocess, "all") == 0)
		return true;
	look_at_ledger(backfill, since, until, &missing, &failed);
	if (strcmp(backfill->reprocess, "failed") == 0)
	{
		if (*status == NULL || (strcmp(*status, "succeeded") == 0 && missing))
			*status = missing ? "missing" : "succeeded";
		return failed;
	}
	*status = "succeeded";
	return missing;
}

/*
 * queue_step queues the run of a step.
 */
static int64
queue_step(Backfill *backfill, TimestampTz since, TimestampTz until)
{
	EtlRun		run = {0};

	if (backfill->name == NULL)
		backfill->name = psprintf(NAME_PREFIX INT64_FORMAT, etl_run_next_id());
	run.selector = backfill->selector;
	run.since = since;
	run.until = until;
	run.reprocess = backfill->reprocess;
	run.trigger = "backfill";
	run.trigger_name = backfill->name;
	run.lane = backfill->name;
	run.priority = PRIORITY;
	backfill->queued++;
	return etl_run_queue(&run);
}

/*
 * put_step decides about one step and adds its row to the result.
 */
static void
put_step(Backfill *backfill, ReturnSetInfo *result, TimestampTz since, TimestampTz until)
{
	EtlRun	   *before = newest_run(backfill, since, until);
	const char *status = before ? before->status : NULL;
	int64		run_id = before ? before->run_id : 0;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (is_wanted(backfill, since, until, &status))
	{
		status = backfill->dry_run ? "planned" : "queued";
		run_id = backfill->dry_run ? 0 : queue_step(backfill, since, until);
	}
	values[0] = Int64GetDatum(run_id);
	nulls[0] = run_id == 0;
	values[1] = TimestampTzGetDatum(since);
	values[2] = TimestampTzGetDatum(until);
	values[3] = PointerGetDatum(backfill->nodes);
	values[4] = CStringGetTextDatum(status);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * etl_sql_backfill is etl.backfill().
 */
Datum
etl_sql_backfill(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Backfill	backfill = {0};

	InitMaterializedSRF(fcinfo, 0);
	read_arguments(fcinfo, &backfill);
	select_nodes(&backfill);
	backfill.runs = etl_backfill_runs(backfill.selector);
	if (boundary(&backfill, MAX_STEPS) < backfill.until)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a backfill has at most %d steps", MAX_STEPS),
				 errhint("Make step greater, or the interval shorter.")));
	for (int k = 0; boundary(&backfill, k) < backfill.until; k++)
	{
		CHECK_FOR_INTERRUPTS();
		put_step(&backfill, result, boundary(&backfill, k), boundary(&backfill, k + 1));
	}
	if (backfill.queued > 0)
		ereport(NOTICE, (errmsg("%s: %d run%s queued", backfill.name, backfill.queued,
								backfill.queued == 1 ? "" : "s"),
						 errhint("SELECT status, count(*) FROM etl.runs WHERE trigger_name = '%s' "
								 "GROUP BY 1 shows how "
								 "far it is; SELECT etl.pause('%s') pauses it.",
								 backfill.name, backfill.name)));
	return (Datum) 0;
}

/*
 * etl_sql_reset_intervals is etl.reset_intervals(target, since, until).
 */
Datum
etl_sql_reset_intervals(PG_FUNCTION_ARGS)
{
	EtlModel   *model = etl_model_get(
		etl_environment_target(etl_name_canonical(etl_arg_required(fcinfo, 0, "target"))));
	TimestampTz since = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	int64		n;

	etl_check_may_operate(model->owner);
	if (!etl_model_has_slices(model))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("model %s keeps no interval ledger", model->target),
				 errdetail("It is not incremental with event_time and batch_size."),
				 errhint("CALL etl.run('%s', full_refresh => true) builds it again.", model->target)));
	if (since >= until)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("since must be before until"),
						errdetail("The interval is half-open: [since, until).")));
	/* a run at work has listed what it builds */
	etl_lock_node(model->target, false);
	n = etl_intervals_reset(model->target, etl_slice_instant(model, since), etl_slice_instant(model, until),
							psprintf("reset by %s", GetUserNameFromId(GetUserId(), false)));
	ereport(NOTICE, (errmsg("%lld interval%s of %s %s due again", (long long) n, n == 1 ? "" : "s",
							model->target, n == 1 ? "is" : "are")));
	PG_RETURN_VOID();
}

/*
 * etl_backfill_hold: see backfill.h.
 */
bool
etl_backfill_hold(const char *name, bool hold)
{
	char	   *requested_by;

	if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
		return false;
	requested_by = etl_lane_requested_by(name);
	if (requested_by == NULL)
		ereport(ERROR, (errcode(ETL_ERR_UNDEFINED), errmsg("there is no backfill \"%s\"", name),
						errhint("SELECT DISTINCT trigger_name FROM etl.runs WHERE trigger = "
								"'backfill' lists them.")));
	etl_check_may_operate(requested_by);
	etl_lane_hold(name, hold);
	etl_wake_for_run_at_commit();
	return true;
}
