/*-------------------------------------------------------------------------
 *
 * tell.c
 *    What became of processes, told to the rules that want the event worker.
 *
 * Called in a step of the scheduler.  Telling may go wrong; the step must
 * not, so it is done in a subtransaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "common/driver.h"
#include "common/guc.h"
#include "worker/worker.h"

/* the objects of alerts about too few processes, and about too few of ours */
#define PLACES	"background workers"
#define WORKERS "workers"

/*
 * tell tells a fact; an argument of etl_subxact.
 */
static void
tell(void *arg)
{
	etl_alert_raise(arg);
}

/*
 * resolve ends the alerts about too few processes; an argument of
 * etl_subxact.
 */
static void
resolve(void *object)
{
	etl_alert_is_over("worker", object);
}

/*
 * carefully does so in a subtransaction.
 */
static void
carefully(void (*work)(void *arg), void *arg)
{
	ErrorData  *error = etl_subxact(work, arg);

	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("what became of etl's processes could not be told: %s", error->message)));
}

/*
 * etl_tell_no_process tells that runs wait since no background worker is
 * free.
 */
void
etl_tell_no_process(int queued)
{
	EtlFact		fact = {
		.event = "worker",
		.object = PLACES,
		.object_kind = "process",
		.what = psprintf("%d run%s for a background worker", queued, queued == 1 ? " waits" : "s wait"),
		.cause = psprintf("All max_worker_processes = %d background workers are in use.",
						  max_worker_processes),
		.remedy = psprintf("ALTER SYSTEM SET max_worker_processes = %d; and restart the server.",
						   2 * max_worker_processes),
		.since = GetCurrentTimestamp(),
	};

	carefully(tell, &fact);
}

/*
 * etl_tell_process_again tells that none waits for that reason any more.
 */
void
etl_tell_process_again(void)
{
	carefully(resolve, PLACES);
}

/*
 * etl_tell_shortage tells that runs wait since all workers are at work.
 */
void
etl_tell_shortage(int queued, TimestampTz since)
{
	EtlFact		fact = {
		.event = "worker",
		.object = WORKERS,
		.object_kind = "process",
		.what = psprintf("%d run%s for a worker, and none was free for five minutes", queued,
						 queued == 1 ? " waits" : "s wait"),
		.cause = psprintf("All etl.max_workers = %d are at work.", etl_max_workers),
		.remedy = psprintf("ALTER SYSTEM SET etl.max_workers = %d; SELECT pg_reload_conf();",
						   2 * Max(etl_max_workers, 1)),
		.since = since,
	};

	carefully(tell, &fact);
}

/*
 * etl_tell_enough_workers tells that none waits for a worker any more.
 */
void
etl_tell_enough_workers(void)
{
	carefully(resolve, WORKERS);
}
