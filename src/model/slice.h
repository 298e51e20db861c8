/*-------------------------------------------------------------------------
 *
 * slice.h
 *    Time cut into slices: where each begins, and how it is written.
 *
 * Called by the files of model/ that build interval by interval.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_SLICE_H
#define ETL_MODEL_SLICE_H

#include "nodes/parsenodes.h"
#include "pgtime.h"

#include "catalog/definition.h"
#include "catalog/interval.h"

/*
 * How a model's time is cut.  Days and months are those of the time zone
 * stored with the definition.  A date or timestamp without zone is wall time;
 * its slices are those of the same clock reading in UTC.
 */
typedef struct EtlSlicing
{
	const char *column;			/* the event time, of the query */
	int			resno;
	Oid			type;			/* as the query yields it … */
	Oid			base;			/* … date, timestamp or timestamptz */
	bool		wall;
	pg_tz	   *zone;
	const Interval *batch;		/* months, days, or time alone */
} EtlSlicing;

/* is it a model that keeps an interval ledger? */
extern bool etl_model_has_slices(const EtlModel *model);
/* raises ET001 for arguments of define_model that make no slices */
extern void etl_slicing_check(const EtlModel *model);
/* raises ET001 when the query does not yield a time */
extern EtlSlicing *etl_slicing_of(const EtlModel *model, Query *query);

extern TimestampTz etl_slice_floor(const EtlSlicing *slicing, TimestampTz at);
extern TimestampTz etl_slice_next(const EtlSlicing *slicing, TimestampTz since);
/* an instant as the model's time counts it, and the one it counts now */
extern TimestampTz etl_slice_time(const EtlSlicing *slicing, TimestampTz instant);
extern TimestampTz etl_slice_now(const EtlSlicing *slicing);
/* that many intervals before an instant */
extern TimestampTz etl_slice_before(TimestampTz at, const Interval *span);
/* a value of the event time; false for one that no slice holds: infinity */
extern bool etl_slice_value(const EtlSlicing *slicing, Datum value, TimestampTz *at);

/* an instant as a constant of the event time's type, for SQL */
extern char *etl_slice_literal(Oid type, TimestampTz at);
/* [since, until), for people */
extern char *etl_slice_text(const EtlSlicing *slicing, TimestampTz since, TimestampTz until);

#endif							/* ETL_MODEL_SLICE_H */
