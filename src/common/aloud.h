/*-------------------------------------------------------------------------
 *
 * aloud.h
 *    NOTICEs of progress from inside PostgreSQL's own loops.
 *
 * Called by progress.c, whose timer asks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_COMMON_ALOUD_H
#define ETL_COMMON_ALOUD_H

/* what is called at the next CHECK_FOR_INTERRUPTS after a request */
extern void etl_aloud_begin(void (*callback)(void));

/* the two are called by a signal handler: is there a client, and the request */
extern bool etl_aloud_possible(void);
extern void etl_aloud_ask(void);

#endif							/* ETL_COMMON_ALOUD_H */
