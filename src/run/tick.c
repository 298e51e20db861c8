/*-------------------------------------------------------------------------
 *
 * tick.c
 *    CALL etl.tick(): what the scheduler and its workers do, done here.
 *
 * Where nothing is preloaded, one job of pg_cron (or anything else that can
 * run a statement) drives all schedules.  Where there is a scheduler a tick
 * does no harm: slots, runs and chores are each taken by whoever comes first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "catalog/event.h"
#include "catalog/schedule.h"
#include "common/clock.h"
#include "common/errors.h"
#include "run/chores.h"
#include "run/condition.h"
#include "run/lead.h"
#include "run/run.h"
#include "run/schedule.h"

PG_FUNCTION_INFO_V1(etl_sql_tick);

#define MAX_ROUNDS 100			/* of runs that make others due; the rest is for the next tick */

/* A tick at work. */
typedef struct Tick
{
	EtlRunDriver driver;
	TimestampTz now;
	int			chore;			/* the one at work */
	MemoryContext context;
	List	   *runs;			/* int64 *: queued now */
	int64		led;			/* the run that was led last */
	int			done;			/* runs that have ended */
} Tick;

/*
 * do_chore does one chore when it is due; an argument of etl_driver_try.
 */
static void
do_chore(void *arg)
{
	Tick	   *tick = arg;
	const EtlChore *chore = &etl_chores[tick->chore];
	bool		due;

	PushActiveSnapshot(GetTransactionSnapshot());
	due = chore->due == NULL || chore->due(tick->now) <= tick->now;
	PopActiveSnapshot();
	if (due)
		(void) etl_chore_run(tick->chore, NULL, &tick->driver, tick->now);
}

/*
 * do_chores does every chore; one that fails keeps no other from being done.
 */
static void
do_chores(Tick *tick)
{
	for (tick->chore = 0; tick->chore < etl_n_chores; tick->chore++)
	{
		ErrorData  *error = etl_driver_try(&tick->driver, do_chore, tick);

		if (error != NULL && etl_error_is_cancel(error))
			etl_rethrow(error);
		if (error != NULL)
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("%s: %s", etl_chores[tick->chore].name, error->message)));
	}
}

/*
 * look_at_all looks at files and conditions, whenever that was done last: a
 * tick is an explicit wish.
 */
static TimestampTz
look_at_all(EtlRunDriver *driver, TimestampTz now)
{
	List	   *events = NIL;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (etl_instance_state() == ETL_INSTANCE_OURS)
		events = etl_events_to_look_at();
	PopActiveSnapshot();
	(void) etl_conditions_look(driver, events, now);
	return DT_NOEND;
}

/*
 * look finds what dead processes left, and what has happened; an argument of
 * etl_driver_try.
 */
static void
look(void *arg)
{
	Tick	   *tick = arg;
	bool		any;

	PushActiveSnapshot(GetTransactionSnapshot());
	(void) etl_runs_reconcile();
	any = etl_events_to_look_at() != NIL && !etl_chore_is_parked(ETL_CHORE_CONDITIONS);
	PopActiveSnapshot();
	tick->driver.base.commit(&tick->driver.base);
	if (any)
		(void) etl_chore_run(ETL_CHORE_CONDITIONS, look_at_all, &tick->driver, tick->now);
}

/*
 * fire queues what is due and lists the runs that wait.
 */
static void
fire(void *arg)
{
	Tick	   *tick = arg;
	TimestampTz next;
	ListCell   *cell;

	do
	{
		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetTransactionSnapshot());
		next = etl_schedules_fire(tick->now);
		PopActiveSnapshot();
		tick->driver.base.commit(&tick->driver.base);
	} while (next <= tick->now);

	tick->runs = NIL;
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, etl_runs_queued())
	{
		MemoryContext old = MemoryContextSwitchTo(tick->context);
		int64	   *run_id = palloc(sizeof(int64));

		*run_id = *(int64 *) lfirst(cell);
		tick->runs = lappend(tick->runs, run_id);
		MemoryContextSwitchTo(old);
	}
	PopActiveSnapshot();
}

/*
 * with_driver does one step of a tick under a driver of its own.
 */
static void
with_driver(Tick *tick, void (*step)(Tick *tick))
{
	etl_driver_begin(&tick->driver, false, NULL);
	step(tick);
	etl_driver_end(&tick->driver);
}

static void
prepare(Tick *tick)
{
	ErrorData  *error = etl_driver_try(&tick->driver, look, tick);

	if (error != NULL)
		etl_rethrow(error);
	do_chores(tick);
}

static void
fire_and_list(Tick *tick)
{
	ErrorData  *error = etl_driver_try(&tick->driver, fire, tick);

	if (error != NULL)
		etl_rethrow(error);
}

/*
 * report tells what became of the run that was led last.
 */
static void
report(Tick *tick)
{
	EtlRun	   *run;

	PushActiveSnapshot(GetTransactionSnapshot());
	run = etl_run_find(tick->led);
	PopActiveSnapshot();
	if (run == NULL || strcmp(run->status, "queued") == 0 || strcmp(run->status, "running") == 0)
		return;
	tick->done++;
	ereport(NOTICE,
			(errmsg("run %lld%s%s: %s", (long long) run->run_id, run->trigger_name ? " of " : "",
					run->trigger_name ? run->trigger_name : "", run->status),
			 run->error ? errdetail("%s", run->error) : 0));
}

/*
 * lead_runs leads the runs that wait, one after another; false when other
 * processes had them all.
 */
static bool
lead_runs(Tick *tick)
{
	int			done = tick->done;

	for (; tick->runs != NIL; tick->runs = list_delete_first(tick->runs))
	{
		CHECK_FOR_INTERRUPTS();
		tick->led = *(int64 *) linitial(tick->runs);
		etl_run_lead(tick->led);
		with_driver(tick, report);
	}
	return tick->done > done;
}

/*
 * etl_sql_tick is the procedure etl.tick().
 */
Datum
etl_sql_tick(PG_FUNCTION_ARGS)
{
	Tick		tick = {.now = etl_now()};

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ETL_ERR_IN_TRANSACTION),
				 errmsg("etl.tick() cannot run inside a transaction block"),
				 errhint("CALL etl.tick() alone, with autocommit on.")));

	/* what is due, and what waits, is production's */
	etl_environment_must_be_off("nothing is looked at");
	tick.context = AllocSetContextCreate(TopMemoryContext, "etl tick", ALLOCSET_SMALL_SIZES);
	PG_TRY();
	{
		with_driver(&tick, prepare);
		for (int round = 0; round < MAX_ROUNDS; round++)
		{
			with_driver(&tick, fire_and_list);
			if (tick.runs == NIL || !lead_runs(&tick))
				break;
		}
	}
	PG_FINALLY();
	{
		MemoryContextDelete(tick.context);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}
