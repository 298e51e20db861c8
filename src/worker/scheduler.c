/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *    One process a database that starts what is due, and sleeps otherwise.
 *
 * It works in steps: reconcile what dead processes left, queue what the
 * schedules say, hand queued runs to workers, hand out chores.  Each step is
 * a short transaction of its own, on etl's tables only, which first makes
 * sure that the extension is still there.  A step that fails is logged once
 * and tried again later and later; it keeps no other step from being taken.
 *
 * It wakes when something is due or when a commit says that there is
 * something new, and for nothing else: an idle database costs no query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "catalog/extension.h"
#include "catalog/schedule.h"
#include "common/clock.h"
#include "common/compat.h"
#include "common/guc.h"
#include "run/chores.h"
#include "run/lead.h"
#include "run/schedule.h"
#include "worker/worker.h"

/* the longest sleep when something is due: the clock of the wall may jump */
#define MAX_SLEEP_MS 60000

typedef struct Step
{
	const char *name;
	TimestampTz (*work) (int chore);	/* in a transaction; returns when it is due again */
	int			chore;
	TimestampTz due;			/* DT_NOEND: when woken */
	int			failures;		/* in a row */
	char		said[ETL_PROBLEM_SIZE];	/* the message that is in the log */
} Step;

static EtlScheduler *my_slot = NULL;
static MemoryContext step_context;

static TimestampTz reconcile(int);
static TimestampTz look_at_events(int);
static TimestampTz look_at_schedules(int);
static TimestampTz look_at_runs(int);
static TimestampTz look_at_chore(int);
static TimestampTz watch(int);

/* in this order; those of the chores follow */
enum
{
	RECONCILE,
	EVENTS,
	SCHEDULES,
	RUNS,
	FIRST_CHORE
};
static Step steps[FIRST_CHORE + ETL_MAX_CHORES] = {
	[RECONCILE] = {"reconcile", reconcile},
	[EVENTS] = {"events", look_at_events},
	[SCHEDULES] = {"schedules", look_at_schedules},
	[RUNS] = {"runs", look_at_runs},
};
static int	n_steps = FIRST_CHORE;
/* not in the row: taken when its descriptor is readable */
static Step watching = {"files", watch};
/* looked at while it was being done: to be looked at again when it ends */
static bool chore_again[ETL_MAX_CHORES];

/*
 * leave clears the slot and tells the launcher; an exit callback.
 */
static void
leave(int code, Datum arg)
{
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	my_slot->state = ETL_SCHEDULER_ENDED;
	my_slot->since = GetCurrentTimestamp();
	my_slot->proc = NULL;
	my_slot->pid = 0;
	my_slot->waiting = false;
	etl_launcher_kick();
	LWLockRelease(etl_shared->lock);
	ConditionVariableBroadcast(&etl_shared->left);
}

/*
 * take_place makes the process known in its slot; one that comes too late
 * leaves.
 */
static void
take_place(const EtlStart *start)
{
	EtlScheduler *slot = &etl_shared->schedulers[start->slot];
	bool		wanted;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	wanted = slot->generation == start->generation && slot->state == ETL_SCHEDULER_STARTING;
	if (wanted)
	{
		slot->proc = MyProc;
		slot->pid = MyProcPid;
		my_slot = slot;
		/* late, when the process has left the proc array, but can still take a lock */
		on_shmem_exit(leave, 0);
	}
	LWLockRelease(etl_shared->lock);
	if (!wanted)
		proc_exit(0);
}

/*
 * end_as ends the process and says why: the launcher then does not start it
 * again by itself.
 */
pg_noreturn static void
end_as(EtlEnding ending)
{
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	my_slot->ending = ending;
	LWLockRelease(etl_shared->lock);
	proc_exit(0);
}

/*
 * check_version notes whether library and extension fit, and logs it once if
 * they do not.
 */
static bool
check_version(EtlExtension extension, const char *version)
{
	bool		mismatch = extension == ETL_EXTENSION_MISMATCH;

	if (mismatch && !my_slot->mismatch)
	{
		char	   *text = psprintf("the library is version %s, the extension %s",
							  etl_library_version(), version);

		etl_problem_set(&my_slot->problem, text);
		ereport(LOG,
				(errmsg("etl does nothing in database \"%s\": %s", get_database_name(MyDatabaseId), text),
				 errhint("Run ALTER EXTENSION etl UPDATE, or restart the server when the library was "
						 "replaced.")));
	}
	my_slot->mismatch = mismatch;
	return !mismatch;
}

/*
 * begin_step begins a transaction and makes sure of the extension.  Returns
 * false when there is nothing to be done here: the versions do not fit; the
 * database is a copy, and its runs and messages belong to the original; or
 * nothing was ever run, scheduled or watched, which is also how a database
 * looks while a dump is being restored into it.
 */
static bool
begin_step(void)
{
	char	   *version = NULL;
	EtlExtension extension;
	EtlInstance instance;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* before the snapshot: what made the extension, and was waited for, is seen whole */
	extension = etl_extension_lock(&version);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (extension == ETL_EXTENSION_ABSENT)
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		end_as(ETL_ENDED_ABSENT);
	}
	if (!check_version(extension, version))
		return false;
	instance = etl_instance_state();
	return instance == ETL_INSTANCE_OURS || instance == ETL_INSTANCE_PAUSED;
}

/*
 * end_step commits.
 */
static void
end_step(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(step_context);
	MemoryContextReset(step_context);
}

/*
 * step_failed notes an error and sets when the step is tried again.  The
 * same message twice in a row is logged once.
 */
static void
step_failed(Step *step)
{
	ErrorData  *error;
	int			seconds = Min(ETL_MAX_BACKOFF_S, 1 << Min(step->failures, 5));
	char	   *text;
	bool		is_new;

	MemoryContextSwitchTo(step_context);
	error = CopyErrorData();
	text = psprintf("%s: %s", step->name, error->message);
	is_new = strncmp(step->said, text, ETL_PROBLEM_SIZE - 1) != 0;
	strlcpy(step->said, text, ETL_PROBLEM_SIZE);
	etl_process_recover(is_new);
	etl_problem_set(&my_slot->problem, text);
	step->failures++;
	step->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), seconds * 1000L);
	MemoryContextSwitchTo(step_context);
	MemoryContextReset(step_context);
}

/*
 * take_step takes one step and survives its errors.
 */
static void
take_step(Step *step)
{
	pgstat_report_activity(STATE_RUNNING, step->name);
	PG_TRY();
	{
		TimestampTz due = DT_NOEND;

		if (begin_step())
			due = step->work(step->chore);
		end_step();
		step->due = due;
		step->failures = 0;
		step->said[0] = '\0';
	}
	PG_CATCH();
	{
		step_failed(step);
	}
	PG_END_TRY();
}

/*
 * reconcile looks after what dead processes left behind.
 */
static TimestampTz
reconcile(int chore)
{
	if (etl_runs_reconcile() > 0)
		steps[RUNS].due = 0;
	return DT_NOEND;
}

/*
 * look_at_events listens and watches for what schedules wait for now.
 */
static TimestampTz
look_at_events(int chore)
{
	etl_events_refresh();
	return DT_NOEND;
}

/*
 * watch notes the files that arrived.
 */
static TimestampTz
watch(int chore)
{
	if (etl_watch_read())
		steps[SCHEDULES].due = 0;
	return DT_NOEND;
}

/*
 * look_at_schedules queues what is due.
 */
static TimestampTz
look_at_schedules(int chore)
{
	return etl_process_due(etl_schedules_fire(etl_now()));
}

/*
 * look_at_chore has a chore done that is due.
 */
static TimestampTz
look_at_chore(int chore)
{
	EtlJob		job = {.kind = ETL_JOB_CHORE, .chore = chore};
	TimestampTz now = etl_now();
	TimestampTz due = etl_chores[chore].due ? etl_chores[chore].due(now) : now;

	if (due > now)
		return etl_process_due(due);
	if (etl_chore_is_parked(chore))
		return DT_NOEND;
	if (etl_pool_is_doing(MyDatabaseId, chore))
	{
		chore_again[chore] = true;
		return DT_NOEND;
	}
	if (etl_pool_assign(MyDatabaseId, &job) != ETL_ASSIGNED)
		return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ETL_ASK_AGAIN_MS);
	return DT_NOEND;
}

/*
 * look_at_runs hands queued runs to workers.
 */
static TimestampTz
look_at_runs(int chore)
{
	return etl_hand_out_runs(my_slot);
}

/*
 * take_wishes reads what others want: that it leaves, or looks.
 */
static void
take_wishes(void)
{
	EtlScheduler wishes;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	wishes = *my_slot;
	my_slot->wake = my_slot->wake_chores = my_slot->task_died = my_slot->chore_ended = false;
	my_slot->kicked = false;
	memset(my_slot->chore_due, 0, sizeof(my_slot->chore_due));
	LWLockRelease(etl_shared->lock);

	if (wishes.stop)
		end_as(ETL_ENDED_STOPPED);
	if (wishes.task_died)
		steps[RECONCILE].due = 0;
	for (int i = EVENTS; i < n_steps; i++)
	{
		Step	   *step = &steps[i];

		/* one that failed keeps its back-off */
		if ((i < FIRST_CHORE ? wishes.wake : wishes.wake_chores) && step->failures == 0)
			step->due = 0;
		if (wishes.chore_ended && i >= FIRST_CHORE && wishes.chore_due[step->chore] != 0)
		{
			step->due = chore_again[step->chore] ? 0 : Min(step->due, wishes.chore_due[step->chore]);
			chore_again[step->chore] = false;
		}
	}
}

/*
 * reload reads the configuration again; what may have become possible or due
 * by that is looked at.
 */
static void
reload(void)
{
	static int	max_workers = -1;
	static char *test_now = NULL;

	etl_process_reload();
	if (max_workers == etl_max_workers && strcmp(test_now, etl_test_now) == 0)
		return;
	if (test_now != NULL)
		for (int i = EVENTS; i < n_steps; i++)
			steps[i].due = 0;
	max_workers = etl_max_workers;
	test_now = MemoryContextStrdup(TopMemoryContext, etl_test_now);
}

/*
 * take_due_steps takes what is due and returns when the next thing is.
 */
static TimestampTz
take_due_steps(void)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < n_steps; i++)
	{
		if (steps[i].due <= GetCurrentTimestamp())
			take_step(&steps[i]);
		next = Min(next, steps[i].due);
	}
	return next;
}

/*
 * was_kicked tells whether there is something new since the last look: who
 * waits for a lock in a step resets the latch.
 */
static bool
was_kicked(void)
{
	bool		kicked;

	if (etl_listen_read())
	{
		steps[SCHEDULES].due = 0;
		return true;
	}

	LWLockAcquire(etl_shared->lock, LW_SHARED);
	kicked = my_slot->kicked;
	LWLockRelease(etl_shared->lock);
	return kicked;
}

/*
 * nap sleeps until something is due or somebody wishes something.
 */
static void
nap(TimestampTz next)
{
	int			fd = etl_watch_fd();
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;
	int			happened;

	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	/* a descriptor that cannot be read would stay readable */
	if (fd >= 0 && watching.failures > 0 && watching.due > GetCurrentTimestamp())
	{
		fd = -1;
		next = Min(next, watching.due);
	}
	if (next != DT_NOEND)
	{
		timeout = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next) + 1, MAX_SLEEP_MS);
		events |= WL_TIMEOUT;
	}
	if (fd >= 0)
		events |= WL_SOCKET_READABLE;
	happened = WaitLatchOrSocket(MyLatch, events, fd, timeout, PG_WAIT_EXTENSION);

	if ((happened & WL_SOCKET_READABLE) != 0)
		take_step(&watching);
}

/*
 * serve looks and sleeps, for ever; its caller catches errors.
 */
static void
serve(void)
{
	for (;;)
	{
		TimestampTz next;

		ResetLatch(MyLatch);
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		reload();
		take_wishes();
		etl_pool_collect(MyDatabaseId);
		next = take_due_steps();
		if (!was_kicked())
			nap(next);
	}
}

/*
 * add_chore_steps makes a step of each chore.
 */
static void
add_chore_steps(void)
{
	Assert(etl_n_chores <= ETL_MAX_CHORES);
	for (int i = 0; i < etl_n_chores; i++)
	{
		Step	   *step = &steps[n_steps++];

		step->name = etl_chores[i].name;
		step->work = look_at_chore;
		step->chore = i;
	}
}

/*
 * arrive finds out whether the process is needed here, and says that it is
 * there.
 */
static void
arrive(void)
{
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	my_slot->wake = false;
	LWLockRelease(etl_shared->lock);

	(void) begin_step();
	end_step();

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	my_slot->state = ETL_SCHEDULER_RUNNING;
	my_slot->since = GetCurrentTimestamp();
	etl_launcher_kick();
	LWLockRelease(etl_shared->lock);
}

/*
 * etl_scheduler_main is the scheduler.
 */
void
etl_scheduler_main(Datum arg)
{
	EtlStart	start;
	sigjmp_buf	caught;

	etl_process_begin();
	etl_process_read_start(&start);
	take_place(&start);
	BackgroundWorkerInitializeConnectionByOid(start.database, InvalidOid, 0);
	etl_process_settings();
	step_context = AllocSetContextCreate(TopMemoryContext, "etl step", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(step_context);
	add_chore_steps();
	arrive();

	if (sigsetjmp(caught, 1) != 0)
	{
		error_context_stack = NULL;
		etl_process_recover(true);
		/* whatever it is, it shall not fill the log */
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
	}
	PG_exception_stack = &caught;
	serve();
}
