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

/* ---- definitions ---- */

typedef struct EtlChannel
{
	char	   *name;
	char	   *kind;			/* notify | smtp | webhook | slack | pagerduty | alertmanager */
	Jsonb	   *options;
	char	   *owner;
	int			failures;		/* tries in a row that failed */
} EtlChannel;

extern const char *etl_channel_store(const EtlChannel *channel);
extern EtlChannel *etl_channel_find(const char *name);
extern EtlChannel *etl_channel_get(const char *name);	/* raises ET002 */
/* forgets it; what waits for it is dead, and rules do not name it any more */
extern bool etl_channel_delete(const char *name, TimestampTz now);

typedef struct EtlAlertRule
{
	char	   *name;
	List	   *events;			/* char * */
	List	   *channels;		/* char * */
	char	   *selector;
	char	   *severity;
	Jsonb	   *options;
	char	   *owner;
	TimestampTz digest_at;		/* DT_NOBEGIN: none; here and below */
	TimestampTz no_run_at;		/* when to look for nodes that nobody tries */
} EtlAlertRule;

extern const char *etl_alert_rule_store(const EtlAlertRule *rule);
extern EtlAlertRule *etl_alert_rule_find(const char *name);
extern List *etl_alert_rules_all(void);	/* EtlAlertRule *, by name */
extern List *etl_alert_rules_of_channel(const char *channel);	/* char * */
extern bool etl_alert_rule_delete(const char *name, TimestampTz now);
extern void etl_alert_rule_set_times(const EtlAlertRule *rule);	/* digest_at, no_run_at */
extern List *etl_alert_rules_due(TimestampTz now);	/* of digest_at or no_run_at; locked */

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

/* ---- what rules compare with ---- */

/* of nodes that just succeeded, those whose try before failed: char * */
extern List *etl_nodes_recovered(List *nodes, int64 run_id);
/* seconds that a node usually took, the last ten times that it did something; 0: unknown */
extern double etl_node_usual_seconds(const char *node, int64 before_task);
extern bool etl_rejects_are_open(const char *node);
/* what a run changed of a relation's columns, "column_added colour, size"; NULL: nothing */
extern char *etl_schema_changes_of(const char *node, int64 run_id);
/* nodes of a list that nobody has tried since a moment: char *; *next: the oldest try of the others */
extern List *etl_nodes_not_tried(List *nodes, TimestampTz since, TimestampTz *next);
/* one line of what happened in a time, for a summary */
extern char *etl_runs_summary(TimestampTz since, TimestampTz until);

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
