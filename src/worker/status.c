/*-------------------------------------------------------------------------
 *
 * status.c
 *    etl.status(): which processes there are, and what they do.
 *
 * Shows the launcher, and the scheduler and workers of this database; of
 * other databases only how many workers they have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/chore.h"
#include "catalog/schedule.h"
#include "common/guc.h"
#include "common/progress.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(etl_sql_status);

/* What is copied from shared memory under its lock, to be told without it. */
typedef struct Picture
{
	EtlLauncher launcher;
	EtlScheduler scheduler;		/* of this database; FREE: none */
	bool		held;
	bool		foreign;		/* the database is a copy */
	int			n_tasks;
	EtlTaskSlot *tasks;			/* of this database */
	int			n_workers;		/* for runs, of all databases */
	int			n_here;			/* of this one */
} Picture;

/*
 * take_picture copies what is of interest.
 */
static void
take_picture(Picture *picture)
{
	EtlScheduler *scheduler;

	memset(picture, 0, sizeof(Picture));
	picture->tasks = palloc(etl_shared->n_slots * sizeof(EtlTaskSlot));

	LWLockAcquire(etl_shared->lock, LW_SHARED);
	picture->launcher = etl_shared->launcher;
	scheduler = etl_shared_scheduler(MyDatabaseId);
	if (scheduler != NULL)
		picture->scheduler = *scheduler;
	picture->held = etl_shared_is_held(MyDatabaseId);
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlTaskSlot *slot = &etl_shared->tasks[i];

		if (slot->state == ETL_TASK_FREE)
			continue;
		picture->n_workers += slot->for_chores ? 0 : 1;
		if (slot->database != MyDatabaseId)
			continue;
		picture->n_here += slot->for_chores ? 0 : 1;
		picture->tasks[picture->n_tasks++] = *slot;
	}
	LWLockRelease(etl_shared->lock);
}

/*
 * add_row adds a row to the result; pid and since may be 0.
 */
static void
add_row(ReturnSetInfo *result, const char *process, int pid, TimestampTz since, const char *state,
		const char *detail)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false, pid == 0, since == 0, false, detail == NULL};

	values[0] = CStringGetTextDatum(process);
	values[1] = Int32GetDatum(pid);
	values[2] = TimestampTzGetDatum(since);
	values[3] = CStringGetTextDatum(state);
	if (detail != NULL)
		values[4] = CStringGetTextDatum(detail);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * with_problem adds the last error to a detail.
 */
static char *
with_problem(char *detail, const EtlProblem *problem)
{
	if (problem->at == 0)
		return detail;
	return psprintf("%s%slast error %s: %s", detail ? detail : "", detail ? "; " : "",
					timestamptz_to_str(problem->at), problem->text);
}

/*
 * add_launcher tells about the launcher.
 */
static void
add_launcher(ReturnSetInfo *result, const Picture *picture)
{
	const EtlLauncher *launcher = &picture->launcher;
	char	   *detail = psprintf("%d of %d workers, %d of them in other databases", picture->n_workers,
							etl_max_workers, picture->n_workers - picture->n_here);

	if (launcher->pid != 0)
		add_row(result, "launcher", launcher->pid, launcher->started_at, "running",
				with_problem(detail, &launcher->problem));
	else if (RecoveryInProgress())
		add_row(result, "launcher", 0, 0, "standby", "starts when this server is promoted");
	else
		add_row(result, "launcher", 0, launcher->started_at, "restarting",
				"the server starts it again within a second");
}

/*
 * scheduler_state names the state of the scheduler.
 */
static const char *
scheduler_state(const Picture *picture)
{
	const EtlScheduler *scheduler = &picture->scheduler;

	switch (scheduler->state)
	{
		case ETL_SCHEDULER_STARTING:
			return "starting";
		case ETL_SCHEDULER_RUNNING:
			if (scheduler->mismatch)
				return "idle";
			if (picture->foreign)
				return "paused";
			return scheduler->queued > 0 ? "waiting" : "running";
		case ETL_SCHEDULER_ENDED:
		case ETL_SCHEDULER_WAITING:
			return "restarting";
		default:
			return picture->held ? "stopped" : "absent";
	}
}

/*
 * add_scheduler tells about the scheduler of this database.
 */
static void
add_scheduler(ReturnSetInfo *result, const Picture *picture)
{
	const EtlScheduler *scheduler = &picture->scheduler;
	char	   *detail = NULL;

	if (picture->launcher.pid == 0 && scheduler->state == ETL_SCHEDULER_FREE)
		return;
	if (picture->foreign)
		detail = "this database was copied or restored; SELECT etl.resume() lets it begin";
	else if (scheduler->queued > 0)
		detail = psprintf("%d runs are queued: no worker is free", scheduler->queued);
	else if (picture->held)
		detail = "a statement that needs the database, or the extension, for itself is at work";
	add_row(result, "scheduler", scheduler->pid, scheduler->since, scheduler_state(picture),
			with_problem(detail, &scheduler->problem));
}

/*
 * add_task tells about a worker.
 */
static void
add_task(ReturnSetInfo *result, const EtlTaskSlot *slot)
{
	static const char *const states[] = {"free", "starting", "idle", "busy", "leaving"};
	char	   *detail = slot->job.kind == ETL_JOB_NONE ? NULL : etl_job_describe(&slot->job);
	char	   *node = detail && slot->pid != 0 ? etl_progress_of(slot->pid) : NULL;

	if (node != NULL)
		detail = psprintf("%s, %s", detail, node);
	add_row(result, "task", slot->pid, slot->since, states[slot->state],
			with_problem(detail, &slot->problem));
}

/*
 * add_parked tells about the periodic work that is not done any more.
 */
static void
add_parked(ReturnSetInfo *result)
{
	ListCell   *cell;

	foreach(cell, etl_chores_parked())
	{
		EtlParkedChore *chore = lfirst(cell);

		add_row(result, "chore", 0, chore->parked_at, "parked",
				psprintf("%s: the server crashed %d times in a row while it was at work; "
						 "SELECT etl.resume('chore:%s') begins it again",
						 chore->name, chore->crashes, chore->name));
	}
}

/*
 * etl_sql_status is etl.status().
 */
Datum
etl_sql_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Picture		picture;

	InitMaterializedSRF(fcinfo, 0);
	if (etl_shared == NULL)
	{
		add_row(result, "launcher", 0, 0, "not preloaded",
				"add etl to shared_preload_libraries and restart the server; until then "
				"CALL etl.run() works alone, and CALL etl.tick() does what is due");
		add_parked(result);
		PG_RETURN_VOID();
	}

	take_picture(&picture);
	picture.foreign = etl_instance_state() == ETL_INSTANCE_FOREIGN;
	add_launcher(result, &picture);
	add_scheduler(result, &picture);
	for (int i = 0; i < picture.n_tasks; i++)
		add_task(result, &picture.tasks[i]);
	add_parked(result);
	PG_RETURN_VOID();
}
