/*-------------------------------------------------------------------------
 *
 * watch.h
 *    What the scheduler watches: directories and channels.
 *
 * Called within run/; schedule.h says what the scheduler calls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_WATCH_H
#define ETL_RUN_WATCH_H

/* both in a transaction, which must commit: what is defined now is watched, and nothing else */
extern void etl_watch_refresh(void);
extern void etl_listen_refresh(void);

#endif							/* ETL_RUN_WATCH_H */
