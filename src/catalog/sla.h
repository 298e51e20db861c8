/*-------------------------------------------------------------------------
 *
 * sla.h
 *    What is promised of nodes, and what became of it.
 *
 * Called by alert/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_SLA_H
#define ETL_CATALOG_SLA_H

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/timestamp.h"

typedef struct EtlSla
{
	char	   *name;
	char	   *selector;
	Interval   *freshness;		/* NULL when not given, here and below */
	TimeADT    *finish_by;
	TimeADT    *start_by;
	Interval   *max_duration;
	char	   *timezone;
	char	   *description;
	char	   *owner;

	/* state */
	TimestampTz begins_at;		/* deadlines before it do not count */
	TimestampTz judged_until;
} EtlSla;

extern const char *etl_sla_store(const EtlSla *sla, TimestampTz now);
extern EtlSla *etl_sla_find(const char *name);
extern List *etl_slas_all(void);	/* EtlSla *, by name */
extern List *etl_slas_due(TimestampTz now);	/* EtlSla *, locked */
extern TimestampTz etl_slas_next_check(TimestampTz now);	/* DT_NOEND: none */
extern void etl_sla_set_state(const EtlSla *sla, TimestampTz check_at);
extern bool etl_sla_delete(const char *name);
/* promises that are missed of one of the nodes are looked at again */
extern void etl_slas_look_again(List *nodes);

/* the next moment after 'after' at which clocks in a zone show a time of day (in microseconds) */
extern TimestampTz etl_next_time_of_day(TimestampTz after, int64 time, const char *zone);

#endif							/* ETL_CATALOG_SLA_H */
