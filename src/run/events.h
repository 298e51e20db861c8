/*-------------------------------------------------------------------------
 *
 * events.h
 *    What a schedule waits for besides the clock.
 *
 * Called by schedule.c, define_schedule.c, condition.c and tick.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_EVENTS_H
#define ETL_RUN_EVENTS_H

#include "catalog/definition.h"
#include "catalog/schedule.h"
#include "etl_connector.h"

/* all and any over events, or one event alone */
typedef struct EtlEventTree
{
	bool		all;
	List	   *parts;			/* EtlEventTree *; NIL: an event */
	int			number;			/* of the event */
} EtlEventTree;

/* An on_event, read once. */
typedef struct EtlEventRule
{
	EtlEventTree *tree;
	List	   *events;			/* EtlEvent *, by number */
	int64		debounce;		/* microseconds of quiet before it fires */
} EtlEventRule;

extern const EtlOptionDef etl_event_options[];

/* raises ET001 for what is no rule */
extern EtlEventRule *etl_event_rule(const Jsonb *on_event);
/* when the rule fires, given what happened (EtlEvent *, by number); DT_NOEND: not yet */
extern TimestampTz etl_event_rule_when(const EtlEventRule *rule, List *happened);

#endif							/* ETL_RUN_EVENTS_H */
