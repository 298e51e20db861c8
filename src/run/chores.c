/*-------------------------------------------------------------------------
 *
 * chores.c
 *    The list of periodic work, and that it is never done twice at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "alert/alert.h"
#include "run/chores.h"
#include "run/condition.h"
#include "run/retention.h"

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
	{"conditions", etl_conditions_work, etl_conditions_due},
	{"calendars", etl_calendars_work, etl_calendars_due},
	{"retention", etl_retention_work, etl_retention_due},
	{"deadlines", deadlines_work, etl_deadlines_due},
	{"deliveries", deliveries_work, etl_deliveries_due_at},
};

const int	etl_n_chores = lengthof(etl_chores);

/*
 * etl_chore_run: see chores.h.
 */
TimestampTz
etl_chore_run(int i, EtlRunDriver *driver, TimestampTz now)
{
	LOCKTAG		tag;
	volatile TimestampTz next = now + USECS_PER_SEC;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) i, LOCK_CLASS_CHORE);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return next;
	PG_TRY();
	{
		next = etl_chores[i].work(driver, now);
	}
	PG_FINALLY();
	{
		(void) LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
	return next;
}
