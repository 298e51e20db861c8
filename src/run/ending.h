/*-------------------------------------------------------------------------
 *
 * ending.h
 *    What a process writes down when it is told to end while it is at work.
 *
 * SIGTERM, a shutdown and DROP DATABASE end a process in good order; only
 * what ends without a word has crashed.  Called by lead.c and chores.c; the
 * workers say when they are told.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_ENDING_H
#define ETL_RUN_ENDING_H

#include <signal.h>

/* set by the handler of SIGTERM in workers */
extern volatile sig_atomic_t etl_told_to_end;

/*
 * etl_at_end has note(arg) called, in a transaction of its own with a
 * snapshot, should this process be told to end; NULL: nothing is at work.
 */
extern void etl_at_end(void (*note)(Datum arg), Datum arg);

#endif							/* ETL_RUN_ENDING_H */
