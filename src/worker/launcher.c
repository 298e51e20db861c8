/*-------------------------------------------------------------------------
 *
 * launcher.c
 *    One process that starts a scheduler for each database.
 *
 * It is connected to no database, reads pg_database when it may have
 * changed, and starts schedulers; those of databases without the extension
 * leave at once, and are not started again until CREATE EXTENSION says so.
 * One that died is started again after 1, 2, 4 … 30 seconds.
 *
 * Schedulers do not depend on it: when it ends, they stay, and the next
 * launcher finds them in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "worker/worker.h"

#define MAX_STARTING	  2		/* so many schedulers are started at a time */
#define ETL_MAX_BACKOFF_S 30
#define STEADY_AFTER_MS	  60000 /* one that lived so long has not failed in a row */

/* What the launcher remembers of a database. */
typedef struct Database
{
	Oid			oid;			/* key */
	bool		exists;
	bool		absent;			/* has no extension, as its scheduler said */
	bool		told;			/* that no process could be had is in the log */
	int			failures;		/* in a row */
	TimestampTz not_before;		/* 0: at once */
} Database;

static HTAB *databases = NULL;

/*
 * etl_launcher_register makes the launcher a part of the server.
 */
void
etl_launcher_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "etl launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "etl launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "etl", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "etl_launcher_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/*
 * etl_launcher_tell has the launcher read pg_database again and, given a
 * database, find out anew whether it has the extension.
 */
void
etl_launcher_tell(Oid database)
{
	EtlLauncher *launcher = &etl_shared->launcher;
	EtlScheduler *scheduler;
	bool		known = !OidIsValid(database);

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	launcher->scan = true;
	/* one that is about to say that there is no extension is told that this was before */
	scheduler = known ? NULL : etl_shared_scheduler(database);
	if (scheduler != NULL)
		scheduler->wake = true;
	for (int i = 0; i < launcher->n_look && !known; i++)
		known = launcher->look[i] == database;
	if (!known && launcher->n_look < ETL_MAX_LOOK)
		launcher->look[launcher->n_look++] = database;
	else if (!known)
		launcher->look_at_all = true;
	etl_launcher_kick();
	LWLockRelease(etl_shared->lock);
}

/*
 * leave clears the launcher's place; an exit callback.
 */
static void
leave(int code, Datum arg)
{
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	etl_shared->launcher.proc = NULL;
	etl_shared->launcher.pid = 0;
	etl_shared->launcher.started_at = GetCurrentTimestamp();
	LWLockRelease(etl_shared->lock);
}

/*
 * take_place makes the launcher known.
 */
static void
take_place(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};

	databases = hash_create("etl databases", 64, &control, HASH_ELEM | HASH_BLOBS);
	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	etl_shared->launcher.proc = MyProc;
	etl_shared->launcher.pid = MyProcPid;
	etl_shared->launcher.started_at = GetCurrentTimestamp();
	etl_shared->launcher.scan = true;
	LWLockRelease(etl_shared->lock);
	/* late, when the process has left the proc array, but can still take a lock */
	on_shmem_exit(leave, 0);
}

/*
 * read_databases reads pg_database: those that can be connected to and are
 * no templates.
 */
static void
read_databases(void)
{
	HASH_SEQ_STATUS all;
	Database   *database;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	hash_seq_init(&all, databases);
	while ((database = hash_seq_search(&all)) != NULL)
		database->exists = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		bool		found;

		/* -2 marks one that was left half dropped */
		if (!form->datallowconn || form->datistemplate || form->datconnlimit == -2)
			continue;
		database = hash_search(databases, &form->oid, HASH_ENTER, &found);
		if (!found)
			memset((char *) database + sizeof(Oid), 0, sizeof(Database) - sizeof(Oid));
		database->exists = true;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();

	hash_seq_init(&all, databases);
	while ((database = hash_seq_search(&all)) != NULL)
		if (!database->exists)
			hash_search(databases, &database->oid, HASH_REMOVE, NULL);
}

/*
 * take_messages does what etl_launcher_tell asked for.
 */
static void
take_messages(void)
{
	EtlLauncher *launcher = &etl_shared->launcher;
	Oid			look[ETL_MAX_LOOK];
	int			n;
	bool		scan;
	bool		all_of_them;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	n = launcher->n_look;
	memcpy(look, launcher->look, n * sizeof(Oid));
	scan = launcher->scan;
	all_of_them = launcher->look_at_all;
	launcher->n_look = 0;
	launcher->scan = false;
	launcher->look_at_all = false;
	launcher->kicked = false;
	LWLockRelease(etl_shared->lock);

	if (scan)
		read_databases();
	for (int i = 0; i < n; i++)
	{
		Database   *database = hash_search(databases, &look[i], HASH_FIND, NULL);

		if (database != NULL)
		{
			database->absent = false;
			database->not_before = 0;
		}
	}
	if (all_of_them)
	{
		HASH_SEQ_STATUS all;
		Database   *database;

		hash_seq_init(&all, databases);
		while ((database = hash_seq_search(&all)) != NULL)
			database->absent = false;
	}
}

/*
 * back_off sets when a database is tried again.
 */
static void
back_off(Database *database)
{
	int			seconds = Min(ETL_MAX_BACKOFF_S, 1 << Min(database->failures, 5));

	database->failures++;
	database->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), seconds * 1000L);
}

/*
 * note_ending takes note of a scheduler that is gone; the lock is held.
 */
static void
note_ending(EtlScheduler *scheduler, TimestampTz now)
{
	Database   *database = hash_search(databases, &scheduler->database, HASH_FIND, NULL);
	EtlEnding	ending = scheduler->ending;

	if (database == NULL || ending != ETL_ENDED_DIED)
	{
		scheduler->state = ETL_SCHEDULER_FREE;
		if (database != NULL)
		{
			database->absent = ending == ETL_ENDED_ABSENT && !scheduler->wake;
			database->failures = 0;
			database->not_before = 0;
		}
		return;
	}
	scheduler->state = ETL_SCHEDULER_WAITING;
	scheduler->since = now;
	back_off(database);
}

/*
 * collect looks after the slots: who has ended, who never came, whose
 * database is gone.  Returns how many are about to come, and when the first
 * of them is given up.
 */
static int
collect(TimestampTz *given_up)
{
	TimestampTz now = GetCurrentTimestamp();
	int			starting = 0;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < etl_shared->n_slots; i++)
	{
		EtlScheduler *scheduler = &etl_shared->schedulers[i];

		if (scheduler->state == ETL_SCHEDULER_STARTING && scheduler->pid == 0 &&
			TimestampDifferenceExceeds(scheduler->since, now, ETL_START_TIMEOUT_MS))
		{
			scheduler->generation++;
			scheduler->state = ETL_SCHEDULER_ENDED;
			scheduler->ending = ETL_ENDED_DIED;
		}
		if (scheduler->state == ETL_SCHEDULER_ENDED)
			note_ending(scheduler, now);
		if (scheduler->state == ETL_SCHEDULER_WAITING &&
			hash_search(databases, &scheduler->database, HASH_FIND, NULL) == NULL)
			scheduler->state = ETL_SCHEDULER_FREE;
		if (scheduler->state == ETL_SCHEDULER_STARTING)
		{
			starting++;
			if (scheduler->pid == 0)
				*given_up = Min(*given_up,
								TimestampTzPlusMilliseconds(scheduler->since, ETL_START_TIMEOUT_MS));
		}
	}
	LWLockRelease(etl_shared->lock);
	return starting;
}

/*
 * reserve gives a database a slot; false when it has a scheduler already,
 * must not have one now, or no slot is left.
 */
static bool
reserve(Database *database, EtlStart *start)
{
	EtlScheduler *scheduler;
	bool		reserved = false;

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	scheduler = etl_shared_scheduler(database->oid);
	for (int i = 0; i < etl_shared->n_slots && scheduler == NULL; i++)
		if (etl_shared->schedulers[i].state == ETL_SCHEDULER_FREE)
			scheduler = &etl_shared->schedulers[i];

	if (scheduler != NULL && !etl_shared_is_held(database->oid) &&
		(scheduler->state == ETL_SCHEDULER_FREE || scheduler->state == ETL_SCHEDULER_WAITING))
	{
		EtlProblem	problem = scheduler->problem;
		uint32		generation = scheduler->generation + 1;
		bool		same = scheduler->state == ETL_SCHEDULER_WAITING;

		memset(scheduler, 0, sizeof(EtlScheduler));
		scheduler->state = ETL_SCHEDULER_STARTING;
		scheduler->database = database->oid;
		scheduler->generation = generation;
		scheduler->since = GetCurrentTimestamp();
		if (same)
			scheduler->problem = problem;
		start->slot = scheduler - etl_shared->schedulers;
		start->generation = generation;
		start->database = database->oid;
		reserved = true;
	}
	LWLockRelease(etl_shared->lock);
	return reserved;
}

/*
 * give_back frees the slot of a scheduler that could not be registered.
 */
static void
give_back(Database *database, const EtlStart *start)
{
	EtlScheduler *scheduler = &etl_shared->schedulers[start->slot];

	LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
	scheduler->state = ETL_SCHEDULER_WAITING;
	scheduler->since = GetCurrentTimestamp();
	LWLockRelease(etl_shared->lock);
	back_off(database);
	etl_pool_make_place();
	etl_problem_set(&scheduler->problem, "no background worker is free (max_worker_processes)");
	if (!database->told)
		ereport(LOG,
				(errmsg("etl cannot start the scheduler of database %u", database->oid),
				 errdetail("All max_worker_processes = %d background workers are in use.",
						   max_worker_processes),
				 errhint("Raise max_worker_processes and restart the server.")));
	database->told = true;
}

/*
 * start_scheduler starts that of one database; false when no process is to
 * be had.
 */
static bool
start_scheduler(Database *database, int *starting)
{
	EtlStart	start;

	if (!reserve(database, &start))
		return true;
	if (!etl_process_register("etl scheduler", "etl_scheduler_main", &start))
	{
		give_back(database, &start);
		return false;
	}
	database->told = false;
	(*starting)++;
	return true;
}

/*
 * forgive forgets the failures of a scheduler that has lived for a while.
 */
static void
forgive(Database *database, TimestampTz now)
{
	EtlScheduler *scheduler;

	if (database->failures == 0)
		return;
	LWLockAcquire(etl_shared->lock, LW_SHARED);
	scheduler = etl_shared_scheduler(database->oid);
	if (scheduler != NULL && scheduler->state == ETL_SCHEDULER_RUNNING &&
		TimestampDifferenceExceeds(scheduler->since, now, STEADY_AFTER_MS))
		database->failures = 0;
	LWLockRelease(etl_shared->lock);
}

/*
 * start_missing starts the schedulers that are missing, a few at a time,
 * and returns when to look again.
 */
static TimestampTz
start_missing(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	int			starting = collect(&next);
	HASH_SEQ_STATUS all;
	Database   *database;

	hash_seq_init(&all, databases);
	while ((database = hash_seq_search(&all)) != NULL)
	{
		forgive(database, now);
		if (database->absent || starting >= MAX_STARTING)
			continue;
		if (database->not_before <= now)
			(void) start_scheduler(database, &starting);
		if (database->not_before > now)
			next = Min(next, database->not_before);
	}
	return next;
}

/*
 * was_kicked tells whether there is something new since the last look.
 */
static bool
was_kicked(void)
{
	bool		kicked;

	LWLockAcquire(etl_shared->lock, LW_SHARED);
	kicked = etl_shared->launcher.kicked;
	LWLockRelease(etl_shared->lock);
	return kicked;
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
		long		timeout = -1;

		ResetLatch(MyLatch);
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		etl_process_reload();
		take_messages();
		next = start_missing();
		/* the latch was reset if that had to wait for a lock */
		if (was_kicked())
			continue;
		if (next != DT_NOEND)
			timeout = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next) + 1, 3600000L);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
	}
}

/*
 * etl_launcher_main is the launcher.
 */
void
etl_launcher_main(Datum arg)
{
	sigjmp_buf	caught;

	etl_process_begin();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	take_place();
	pgstat_report_activity(STATE_IDLE, NULL);

	if (sigsetjmp(caught, 1) != 0)
	{
		error_context_stack = NULL;
		etl_process_recover(true);
		etl_problem_set(&etl_shared->launcher.problem, "an error, see the server's log");
		/* whatever it is, it shall not fill the log */
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		LWLockAcquire(etl_shared->lock, LW_EXCLUSIVE);
		etl_shared->launcher.scan = true;
		etl_shared->launcher.look_at_all = true;
		LWLockRelease(etl_shared->lock);
	}
	PG_exception_stack = &caught;
	serve();
}
