/*-------------------------------------------------------------------------
 *
 * iso_time.h
 *    Dates and timestamps in ISO 8601: the common form, and all others.
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

/* What is wrong with a text of the right form. */
typedef enum EtlIsoFault
{
	ETL_ISO_NO_FAULT,
	ETL_ISO_NO_SUCH_TIME,		/* February 30, week 54, 25 o'clock */
	ETL_ISO_LEAP_SECOND			/* it exists, but no timestamp stands for it */
} EtlIsoFault;

/*
 * etl_iso_time_parse reads YYYY-MM-DD, or with [T ]HH:MM[:SS[.ffffff]] and
 * then Z, ±HH, ±HHMM, ±HH:MM; the fraction may follow a comma.  False for
 * anything else, also for what PostgreSQL would still understand.
 */
extern bool etl_iso_time_parse(const char *text, int length, EtlIsoTime *result);

/*
 * etl_iso_form_read reads every other form of ISO 8601 too, where somebody
 * said that a text is a date or timestamp: 2024-W05-3, 2024-032, 20240131T0405Z.
 * False when it has none of these forms.
 */
extern bool etl_iso_form_read(const char *text, int length, EtlIsoTime *result, EtlIsoFault *fault);

/* the same for a time of day */
extern bool etl_iso_form_read_time(const char *text, int length, EtlIsoTime *result, EtlIsoFault *fault);

extern bool etl_iso_time_is_date(int year, int month, int day);

/* days since 2000-01-01 */
extern int32 etl_iso_time_date(const EtlIsoTime *iso);

/* microseconds since 2000-01-01 of date and time, zone not regarded */
extern Timestamp etl_iso_time_local(const EtlIsoTime *iso);

#endif							/* ETL_ISO_TIME_H */
