/*-------------------------------------------------------------------------
 *
 * chores.c
 *    The list of periodic work, that it is never done twice at once, and
 *    that none of it crashes the server again and again.
 *
 * That a chore begins is committed before it does.  Who finds it begun and
 * has its lock knows that its process ended without a word; after three times
 * in a row the chore is parked until somebody resumes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/snapmgr.h"

#include "alert/alert.h"
#include "catalog/chore.h"
#include "catalog/history.h"
#include "run/chores.h"
#include "run/condition.h"
#include "run/ending.h"
#include "run/retention.h"

/* crashes in a row after which a chore is parked */
#define MAX_CRASHES 3

/* field 4 of the tag, see lock.c */
#define LOCK_CLASS_CHORE 72

/*
 * Deadlines and deliveries know the driver as alert/ does, which is below run/.
 */
static TimestampTz
deadlines_work(EtlRunDriver *driver, TimestampTz now)
{
	return etl_deadlines_work(&driver->base, now);
}

static TimestampTz
deliveries_work(EtlRunDriver *driver, TimestampTz now)
{
	return etl_deliveries_work(&driver->base, now);
}

const EtlChore etl_chores[] = {
	[ETL_CHORE_CONDITIONS] = {"conditions", etl_conditions_work, etl_conditions_due},
	{"calendars", etl_calendars_work, etl_calendars_due},
	{"retention", etl_retention_work, etl_retention_due},
	{"deadlines", deadlines_work, etl_deadlines_due},
	{"deliveries", deliveries_work, etl_deliveries_due_at},
};

const int	etl_n_chores = lengthof(etl_chores);

typedef struct ChoreWork
{
	EtlChoreWork work;
	EtlRunDriver *driver;
	TimestampTz now;
	TimestampTz next;
} ChoreWork;

/*
 * work does the chore; an argument of etl_driver_try.
 */
static void
work(void *arg)
{
	ChoreWork  *work = arg;

	work->next = work->work(work->driver, work->now);
}

/*
 * note_stopped notes that the process of a chore was told to end.
 */
static void
note_stopped(Datum name)
{
	etl_chore_ended(DatumGetPointer(name), true);
}

/*
 * tell_parked says that a chore is begun no more.
 */
static void
tell_parked(const char *name)
{
	char	   *what = psprintf("%s is parked: the server crashed %d times in a row while it was at work",
						  name, MAX_CRASHES);
	char	   *remedy = psprintf("SELECT etl.resume('chore:%s');", name);

	ereport(WARNING,
			(errmsg("etl: %s", what),
			 errhint("When the cause is gone, which the log of the server tells: %s", remedy)));
	etl_log_store("error", 0, NULL, what, remedy);
	etl_alert_parked(name, what, remedy);
}

/*
 * begin notes that a chore begins; false when it is parked.
 */
static bool
begin(const char *name, EtlRunDriver *driver)
{
	EtlChoreStart start;

	PushActiveSnapshot(GetTransactionSnapshot());
	start = etl_chore_begin(name, MAX_CRASHES);
	if (start == ETL_CHORE_JUST_PARKED)
		tell_parked(name);
	else if (start == ETL_CHORE_BEGUN_AGAIN)
		etl_alert_worker(0, name, psprintf("the process that did %s died; it is begun again", name));
	else if (start == ETL_CHORE_PARKED && !driver->worker)
		ereport(WARNING,
				(errmsg("etl: %s is parked: the server crashed %d times in a row while it was at work",
						name, MAX_CRASHES),
				 errhint("SELECT etl.resume('chore:%s') begins it again.", name)));
	PopActiveSnapshot();
	driver->base.commit(&driver->base);
	return start == ETL_CHORE_BEGUN || start == ETL_CHORE_BEGUN_AGAIN;
}

/*
 * end notes that a chore ended, well or with an error.
 */
static void
end(const char *name, EtlRunDriver *driver)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_chore_ended(name, false);
	PopActiveSnapshot();
	etl_driver_commit_lazily(driver);
}

/*
 * do_locked does a chore whose lock is held.
 */
static TimestampTz
do_locked(const EtlChore *chore, EtlChoreWork what, EtlRunDriver *driver, TimestampTz now)
{
	ChoreWork	todo = {what, driver, now, DT_NOEND};
	ErrorData  *error;

	if (!begin(chore->name, driver))
		return DT_NOEND;
	etl_at_end(note_stopped, PointerGetDatum(chore->name));
	error = etl_driver_try(driver, work, &todo);
	end(chore->name, driver);
	if (error != NULL)
		etl_rethrow(error);
	return todo.next;
}

/*
 * etl_chore_run: see chores.h.
 */
TimestampTz
etl_chore_run(int i, EtlChoreWork todo, EtlRunDriver *driver, TimestampTz now)
{
	LOCKTAG		tag;
	volatile TimestampTz next = now + USECS_PER_SEC;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) i, LOCK_CLASS_CHORE);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return next;
	PG_TRY();
	{
		next = do_locked(&etl_chores[i], todo ? todo : etl_chores[i].work, driver, now);
	}
	PG_FINALLY();
	{
		etl_at_end(NULL, (Datum) 0);
		(void) LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
	return next;
}

/*
 * etl_chore_is_parked: see chores.h.
 */
bool
etl_chore_is_parked(int i)
{
	ListCell   *cell;

	foreach(cell, etl_chores_parked())
		if (strcmp(((EtlParkedChore *) lfirst(cell))->name, etl_chores[i].name) == 0)
			return true;
	return false;
}

/*
 * etl_chore_resume: see chores.h.
 */
bool
etl_chore_resume(const char *name)
{
	List	   *parked = etl_chores_parked();
	bool		known = name == NULL;
	ListCell   *cell;

	for (int i = 0; i < etl_n_chores && !known; i++)
		known = strcmp(etl_chores[i].name, name) == 0;
	if (!known)
		return false;
	foreach(cell, parked)
	{
		EtlParkedChore *chore = lfirst(cell);

		if (name == NULL || strcmp(chore->name, name) == 0)
			etl_alert_is_over("worker", chore->name);
	}
	(void) etl_chore_unpark(name);
	return true;
}
