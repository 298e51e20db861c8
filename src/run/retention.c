/*-------------------------------------------------------------------------
 *
 * retention.c
 *    History ends: what is old or too much of it is removed once an hour.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "catalog/history_room.h"
#include "common/clock.h"
#include "common/guc.h"
#include "run/expire.h"
#include "run/retention.h"

PG_FUNCTION_INFO_V1(etl_sql_trim_history);

/*
 * oldest_kept is the moment before which history is removed.
 */
static TimestampTz
oldest_kept(TimestampTz now)
{
	if (etl_history_max_age_min == 0)
		return DT_NOBEGIN;
	return now - (TimestampTz) etl_history_max_age_min * USECS_PER_MINUTE;
}

/*
 * etl_retention_due: see chores.h.
 */
TimestampTz
etl_retention_due(TimestampTz now)
{
	TimestampTz last = etl_history_trimmed_at();

	return last == DT_NOBEGIN ? now : last + USECS_PER_HOUR;
}

/*
 * etl_retention_work is the chore.  A reader's lock on a partition is not
 * waited for long: then it goes an hour later.
 */
TimestampTz
etl_retention_work(EtlRunDriver *driver, TimestampTz now)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("lock_timeout", "1s", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
	etl_history_set_trimmed_at(now);
	(void) etl_history_trim(oldest_kept(now), etl_history_max_runs, etl_history_max_entries, false);
	etl_expire_all();
	PopActiveSnapshot();
	driver->base.commit(&driver->base);
	return now + USECS_PER_HOUR;
}

/*
 * etl_sql_trim_history is etl.trim_history(dry_run).
 */
Datum
etl_sql_trim_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		dry_run = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, etl_history_trim(oldest_kept(etl_now()), etl_history_max_runs, etl_history_max_entries,
								   dry_run))
	{
		EtlTrimmed *trimmed = lfirst(cell);
		Datum		values[3] = {CStringGetTextDatum(trimmed->relation), Int64GetDatum(trimmed->rows),
						   Int32GetDatum(trimmed->partitions)};
		bool		nulls[3] = {0};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
