/*-------------------------------------------------------------------------
 *
 * alert.h
 *    Channels, rules of alerts, what fired, and what is to be delivered.
 *
 * Called by alert/.  What fires, and its rows in the outbox, are written in
 * the transaction of the fact.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_ALERT_H
#define ETL_CATALOG_ALERT_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* ---- what fired ---- */

typedef struct EtlAlert
{
	int64		alert_id;
	char	   *fingerprint;
	const char *rule;
	const char *event;
	const char *object;
	const char *object_kind;	/* node | run | sla | channel | process | rule */
	const char *severity;
	const char *what;
	const char *error;
	const char *sqlstate;
	const char *cause;
	const char *remedy;
	int			others;
	int			occurrences;
	int64		run_id;			/* 0: none */
	TimestampTz since;
	TimestampTz last_at;
	TimestampTz resolved_at;
	char	   *acknowledged_by;	/* NULL: nobody */
} EtlAlert;

/* How a rule wants its alerts told. */
typedef struct EtlAlertPolicy
{
	int64		cooldown_ms;
	int64		escalate_ms;	/* 0: never */
	bool		momentary;		/* it is over at once: nothing to resolve */
	bool		count_only;		/* one more of the same: no new text */
	List	   *channels;		/* char * */
} EtlAlertPolicy;

typedef enum EtlFired
{
	ETL_FIRED_NEW,
	ETL_FIRED_AGAIN				/* an open alert, or one that was open lately */
} EtlFired;

/* opens the alert of a fingerprint, or counts in it; 'nodes' (char *) are those that it waits for */
extern EtlFired etl_alert_fire(EtlAlert *alert, const EtlAlertPolicy *policy, List *nodes, TimestampTz now);
extern bool etl_alert_is_open(const char *fingerprint);
/* how many alerts of a rule's event this run has opened */
extern int etl_alerts_of_run(const char *rule, const char *event, int64 run_id);
/* 1: there is a rule, or an open alert; 2: there is a promise */
extern int etl_alerts_wanted(void);

/* open alerts that wait for one of the nodes, locked: EtlAlert * */
extern List *etl_alerts_waiting_for(List *nodes);
/* the alert waits for the nodes no more; true when it waits for nothing now */
extern bool etl_alert_node_done(int64 alert_id, List *nodes);
/* open ones of an event and object, of any rule; object NULL: any */
extern List *etl_alerts_open(const char *event, const char *object);	/* EtlAlert * */
extern void etl_alert_resolve(int64 alert_id, List *channels, TimestampTz now);
extern EtlAlert *etl_alert_find(int64 alert_id);
extern void etl_alert_acknowledge(int64 alert_id, const char *by, const char *note, TimestampTz now);
extern void etl_alert_enqueue(int64 alert_id, List *channels, const char *message, TimestampTz now);

/* ---- what could not be told at once ---- */

typedef struct EtlReport
{
	int64		report_id;
	char	   *kind;
	Jsonb	   *body;
	TimestampTz happened_at;
} EtlReport;

extern void etl_report_store(const char *kind, const Jsonb *body, TimestampTz now);
extern bool etl_reports_wait(void);
extern TimestampTz etl_reports_due(void);	/* DT_NOEND: none */
extern EtlReport *etl_report_next(void);	/* the oldest, locked; NULL: none, or another process has it */
extern void etl_report_delete(int64 report_id);
extern void etl_reports_put_off(TimestampTz until);

/* ---- silences ---- */

extern int64 etl_silence_store(const char *object, const char *event, const char *rule,
							   TimestampTz starts_at, TimestampTz ends_at, const char *reason,
							   const char *author);
extern bool etl_silence_end(int64 silence_id, TimestampTz now);
extern char *etl_silence_author(int64 silence_id);	/* NULL: there is none */

/* ---- by the clock ---- */

/* open alerts that nobody has acknowledged in time: EtlAlert *; they count as escalated from now on */
extern List *etl_alerts_to_escalate(TimestampTz now);
/* open alerts that a silence or their cooldown kept from being told until now: EtlAlert * */
extern List *etl_alerts_to_tell(TimestampTz now);
extern TimestampTz etl_alerts_due(void);	/* of both, and of rules; DT_NOEND: none */
extern void etl_alert_set_severity(int64 alert_id, const char *severity);

/* ---- the outbox ---- */

typedef struct EtlDelivery
{
	int64		delivery_id;
	char	   *channel;
	int64		alert_id;
	char	   *message;
	char	   *idempotency_key;
	Jsonb	   *body;
	int			attempts;		/* this one included */
	TimestampTz created_at;
} EtlDelivery;

/*
 * etl_delivery_take takes the oldest delivery that is due, of a channel that
 * is not in 'busy' (char *), and counts the attempt; NULL: none.  'again_at'
 * is when it is due again should this process die.
 */
extern EtlDelivery *etl_delivery_take(List *busy, TimestampTz now, TimestampTz again_at);
extern void etl_delivery_done(const EtlDelivery *delivery, TimestampTz now);
extern void etl_delivery_failed(const EtlDelivery *delivery, const char *error, const char *remedy,
								bool		dead, TimestampTz next_try, TimestampTz now);
extern TimestampTz etl_deliveries_due(void);	/* DT_NOEND: none */
extern int64 etl_deliveries_revive(const char *channel, TimestampTz now);	/* NULL: of all channels */

#endif							/* ETL_CATALOG_ALERT_H */
