/*-------------------------------------------------------------------------
 *
 * handout.c
 *    The scheduler's step that gives queued runs to workers.
 *
 * A run that comes back to the queue is handed out again later and later, so
 * that one that cannot be led does not go round for ever.  Why runs wait is
 * logged once, until none does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "common/clock.h"
#include "common/guc.h"
#include "run/lead.h"
#include "worker/worker.h"

/* so many runs are remembered by when they were handed out */
#define REMEMBERED_RUNS 128

/* so long all workers may be at work while runs wait, before somebody is told */
#define SHORTAGE_US (5 * USECS_PER_MINUTE)

/* A run that was handed to a worker, so that one that comes back at once does not go round for ever. */
typedef struct HandedOut
{
	int64		run_id;
	TimestampTz at;
	int			times;
} HandedOut;

static HandedOut handed_out[REMEMBERED_RUNS];
static int	next_handed_out = 0;

/*
 * handed_out_entry finds the entry of a run, or makes one in the place of
 * the oldest.
 */
static HandedOut *
handed_out_entry(int64 run_id)
{
	HandedOut  *entry;

	for (int i = 0; i < REMEMBERED_RUNS; i++)
		if (handed_out[i].run_id == run_id)
			return &handed_out[i];
	entry = &handed_out[next_handed_out];
	next_handed_out = (next_handed_out + 1) % REMEMBERED_RUNS;
	memset(entry, 0, sizeof(HandedOut));
	entry->run_id = run_id;
	return entry;
}

/*
 * may_go_at returns when a run may be handed out: the first two times at
 * once, then later and later.
 */
static TimestampTz
may_go_at(const HandedOut *entry)
{
	if (entry->times < 2)
		return 0;
	return TimestampTzPlusMilliseconds(entry->at,
									   1000L * Min(ETL_MAX_BACKOFF_S, 1 << Min(entry->times - 2, 5)));
}

/*
 * say_no_process says that no background worker is free.
 */
static void
say_no_process(int queued)
{
	ereport(LOG,
			(errmsg("%d etl runs of database \"%s\" are queued", queued, get_database_name(MyDatabaseId)),
			 errdetail("All max_worker_processes = %d background workers are in use.",
					   max_worker_processes),
			 errhint("Raise max_worker_processes and restart the server.")));
	etl_tell_no_process(queued);
}

/*
 * tell_shortage tells when runs have waited for long because all workers
 * are at work, and returns when to look again.
 */
static TimestampTz
tell_shortage(bool busy, int queued)
{
	static TimestampTz since = 0;
	static bool told = false;
	/* what the process before this one has told may still be open */
	static bool open = true;
	TimestampTz now = etl_now();

	if (!busy)
	{
		if (open)
			etl_tell_enough_workers();
		since = 0;
		told = open = false;
		return DT_NOEND;
	}
	since = since == 0 ? now : since;
	if (told)
		return DT_NOEND;
	if (now < since + SHORTAGE_US)
		return etl_process_due(since + SHORTAGE_US);
	etl_tell_shortage(queued, since);
	told = open = true;
	return DT_NOEND;
}

/*
 * say_why_queued says each reason once, until no run waits any more.
 */
static void
say_why_queued(EtlAssignment why, int queued)
{
	static bool said_busy = false;
	/* what the process before this one has told may still be open */
	static bool said_no_process = true;
	static bool is_first = true;

	if (why == ETL_ASSIGNED)
	{
		if (said_no_process)
			etl_tell_process_again();
		said_busy = said_no_process = false;
	}
	else if (why == ETL_ALL_BUSY && !said_busy)
	{
		ereport(LOG,
				(errmsg("%d etl runs of database \"%s\" are queued", queued, get_database_name(MyDatabaseId)),
				 errdetail("All %d workers (etl.max_workers) are at work.", etl_max_workers)));
		said_busy = true;
	}
	else if (why == ETL_NO_PROCESS && (!said_no_process || is_first))
	{
		say_no_process(queued);
		said_no_process = true;
	}
	is_first = false;
}

/*
 * etl_hand_out_runs: see worker.h.
 */
TimestampTz
etl_hand_out_runs(EtlScheduler *scheduler)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = DT_NOEND;
	EtlAssignment assignment = ETL_ASSIGNED;
	int			queued = 0;
	ListCell   *cell;

	foreach(cell, etl_runs_queued())
	{
		EtlJob		job = {.kind = ETL_JOB_LEAD, .run_id = *(int64 *) lfirst(cell)};
		HandedOut  *entry;

		if (etl_pool_is_led(MyDatabaseId, job.run_id))
			continue;
		entry = handed_out_entry(job.run_id);
		if (may_go_at(entry) > now)
		{
			due = Min(due, may_go_at(entry));
			continue;
		}
		if (assignment == ETL_ASSIGNED)
			assignment = etl_pool_assign(MyDatabaseId, &job);
		if (assignment != ETL_ASSIGNED)
		{
			queued++;
			continue;
		}
		entry->at = now;
		entry->times++;
	}

	say_why_queued(assignment, queued);
	due = Min(due, tell_shortage(assignment == ETL_ALL_BUSY, queued));
	if (assignment == ETL_NO_PROCESS)
		due = Min(due, TimestampTzPlusMilliseconds(now, ETL_ASK_AGAIN_MS));
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	scheduler->queued = queued;
	if (queued == 0)
		scheduler->waiting = false;
	LWLockRelease(etl_shared->lock);
	return due;
}
