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

#include "alert/alert.h"
#include "common/driver.h"
#include "worker/worker.h"

/* the object of alerts about too few processes */
#define PLACES "background workers"

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
resolve(void *arg)
{
	etl_alert_is_over("worker", PLACES);
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
 * etl_tell_taken_up tells that the processes of so many runs have died, and
 * that the runs go on.
 */
void
etl_tell_taken_up(int runs)
{
	EtlFact		fact = {
		.event = "worker",
		.object = "etl task",
		.object_kind = "process",
		.what = psprintf("%d run%s lost the process that worked on %s, and go%s on from the last commit",
						 runs, runs == 1 ? "" : "s", runs == 1 ? "it" : "them", runs == 1 ? "es" : ""),
		.cause = "The process was ended, or the server has crashed or was restarted.",
		.remedy = "SELECT * FROM etl.status() shows the processes; the server's log at that time tells more.",
		.since = DT_NOBEGIN,
		.momentary = true,
	};

	carefully(tell, &fact);
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
		.since = DT_NOBEGIN,
	};

	carefully(tell, &fact);
}

/*
 * etl_tell_process_again tells that none waits for that reason any more.
 */
void
etl_tell_process_again(void)
{
	carefully(resolve, NULL);
}
