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

/* ---- judging: deadline.c ---- */

/* moments in (judged_until, now] at which a time of day passed in the promise's zone: TimestampTz * */
extern List *etl_sla_deadlines(const EtlSla *sla, int64 time, TimestampTz now);

/*
 * Each writes results, and returns how many nodes missed newly.
 */
extern int etl_sla_judge_daily(const EtlSla *sla, List *nodes, const char *measure, TimestampTz due_at);
extern int etl_sla_judge_fresh(const EtlSla *sla, List *nodes, TimestampTz now);
extern int etl_sla_judge_duration(const EtlSla *sla, List *nodes, TimestampTz now);
/* nodes that were fresh all the day that ended at 'midnight' */
extern void etl_sla_note_fresh_day(const EtlSla *sla, List *nodes, TimestampTz midnight);
/* notes what was made good; forgets nodes that the promise is no more about */
extern void etl_sla_recover(const EtlSla *sla, List *nodes, TimestampTz now);
/* nodes that a measure is missed of, those that none of them depends on first: char * */
extern List *etl_sla_missed(const char *sla, const char *measure, TimestampTz *since);
/* the next moment after now at which a node can miss freshness or max_duration; DT_NOEND: none */
extern TimestampTz etl_sla_next_miss(const EtlSla *sla, List *nodes, TimestampTz now);
/* of the nodes, those that are not below (or are) one whose failure a rule has told: char * */
extern List *etl_nodes_without_failed_root(const char *rule, List *nodes);

#endif							/* ETL_CATALOG_SLA_H */
