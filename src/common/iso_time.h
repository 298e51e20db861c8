/*-------------------------------------------------------------------------
 *
 * iso_time.h
 *    The common form of dates and timestamps: ISO 8601, and nothing else.
 *
 * Called by decode/ (greatest cursor value) and load/ (coercion, inference).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ISO_TIME_H
#define ETL_ISO_TIME_H

#include "datatype/timestamp.h"

typedef struct EtlIsoTime
{
	int			year;
	int			month;
	int			day;
	bool		has_time;
	bool		has_zone;
	bool		rounded;		/* more than six digits of a second */
	int64		time;			/* microseconds since midnight */
	int			zone;			/* seconds east of UTC */
} EtlIsoTime;

/*
 * etl_iso_time_parse reads YYYY-MM-DD, or with [T ]HH:MM[:SS[.ffffff]] and
 * then Z, ±HH, ±HHMM, ±HH:MM.  False for anything else, also for what
 * PostgreSQL would still understand.
 */
extern bool etl_iso_time_parse(const char *text, int length, EtlIsoTime *result);

/* days since 2000-01-01 */
extern int32 etl_iso_time_date(const EtlIsoTime *iso);

/* microseconds since 2000-01-01 of date and time, zone not regarded */
extern Timestamp etl_iso_time_local(const EtlIsoTime *iso);

#endif							/* ETL_ISO_TIME_H */
