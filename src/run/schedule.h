/*-------------------------------------------------------------------------
 *
 * schedule.h
 *    When runs start by themselves.
 *
 * Called by the scheduler's loop (worker/) and by tick().
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_SCHEDULE_H
#define ETL_RUN_SCHEDULE_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/*
 * etl_schedules_fire queues a run for every slot and event that is due at
 * 'now' and returns when it must be called next, DT_NOEND for "when woken".
 * Statements on etl's own tables only, in the caller's transaction, which it
 * neither begins nor ends; any number of processes may call it at once.
 */
extern TimestampTz etl_schedules_fire(TimestampTz now);

/* computes the next slot of a schedule again, after what decides about it has changed */
extern void etl_schedule_replan(const char *name);

/*
 * What the scheduler does besides, each in a transaction of its own:
 *
 * etl_events_refresh   after start and whenever it was woken: listens to the
 *                      channels and watches the directories that schedules
 *                      and streams now wait for, and no others.
 * etl_watch_fd         a descriptor that becomes readable when files arrive,
 *                      -1 when there is none (it may change with a refresh).
 * etl_watch_read       when it is readable: notes the files that arrived.
 * etl_listen_read      when the latch was set: notes notifications.  Outside
 *                      a transaction; begins its own only when there are any.
 * Both return true when etl_schedules_fire should be called.
 */
extern void etl_events_refresh(void);
extern int etl_watch_fd(void);
extern bool etl_watch_read(void);
extern bool etl_listen_read(void);

#endif							/* ETL_RUN_SCHEDULE_H */
