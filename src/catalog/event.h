/*-------------------------------------------------------------------------
 *
 * event.h
 *    What schedules wait for beside the clock: files, publications,
 *    notifications, queries.
 *
 * Called by run/.  The rows of a schedule's events are locked with it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_EVENT_H
#define ETL_CATALOG_EVENT_H

#include "catalog/definition.h"

typedef struct EtlEvent
{
	char	   *schedule;
	int			number;
	char	   *kind;			/* file | published | notify | sql */
	char	   *argument;
	Interval   *every;
	int64		timeout_ms;		/* how long a look may take; 0: no limit */
	char	   *error;			/* of the last look; NULL: it went well */
	char	   *seen;
	TimestampTz happened_at;	/* DT_NOBEGIN: has not */
	TimestampTz check_at;		/* DT_NOBEGIN: nobody has to look */
} EtlEvent;

/* replaces the events of a schedule; what is known of equal ones is kept */
extern void etl_events_store(const char *schedule, List *events);	/* EtlEvent * */
extern List *etl_events_of(const char *schedule);	/* by number */
extern bool etl_events_lock(const char *schedule);	/* false: another process has them */
extern List *etl_channels(void);	/* char *: what notify events wait for */
extern List *etl_events_to_check(TimestampTz now);	/* check_at has come */
extern List *etl_events_to_look_at(void);	/* those of the kinds sql and file */
extern TimestampTz etl_events_next_check(void);	/* DT_NOEND: none */
extern List *etl_events_happened(void);	/* char *: schedules with one */
extern bool etl_event_happened(const char *kind, const char *argument, TimestampTz at);
/* after etl_event_happened: some of them could not be told, since they are locked */
extern bool etl_event_missed(const char *kind, const char *argument, TimestampTz at);
/* somebody has to look for files of a stream by then; false: some events are locked */
extern bool etl_event_look_by(const char *argument, TimestampTz at);
extern void etl_event_set(const EtlEvent *event);	/* seen, error, check_at, every; happened_at when given */
extern void etl_events_reset(const char *schedule);
/* nothing that happened before now counts, but files that are still to be loaded; NULL: for all schedules */
extern void etl_events_begin_anew(const char *schedule);
/* notes what was published since it was last looked at; true when anything was */
extern bool etl_events_find_published(TimestampTz now);

/* The directory of a file event; path and root as the stream and its source give them. */
typedef struct EtlFileEvent
{
	EtlEvent	event;
	char	   *owner;			/* of the stream */
	char	   *root;			/* may be NULL */
	char	   *path;
	int64		settle_ms;		/* how long a file must not have been written */
} EtlFileEvent;

extern List *etl_file_events(void);	/* of those that are not paused */

#endif							/* ETL_CATALOG_EVENT_H */
