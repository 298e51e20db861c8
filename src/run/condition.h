/*-------------------------------------------------------------------------
 *
 * condition.h
 *    What schedules ask of the data of users: conditions, calendars, files.
 *
 * Called by chores.c, define_schedule.c and tick.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_CONDITION_H
#define ETL_RUN_CONDITION_H

#include "catalog/schedule.h"
#include "run/run.h"

/* the chores "conditions" (sql and file events) and "calendars" */
extern TimestampTz etl_conditions_work(EtlRunDriver *driver, TimestampTz now);
extern TimestampTz etl_conditions_due(TimestampTz now);
extern TimestampTz etl_calendars_work(EtlRunDriver *driver, TimestampTz now);
extern TimestampTz etl_calendars_due(TimestampTz now);

/* looks at the events of a list (EtlEvent *), committing after each; true when any happened */
extern bool etl_conditions_look(EtlRunDriver *driver, List *events, TimestampTz now);

/* the days off in a relation, read as the schedule's owner: list of int, DateADT */
extern List *etl_calendar_read(const EtlSchedule *schedule, const char *relation);

#endif							/* ETL_RUN_CONDITION_H */
