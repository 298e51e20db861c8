/*-------------------------------------------------------------------------
 *
 * internal.h
 *    What the files of alert/ share.
 *
 *    define.c     channels, rules: defining and dropping them
 *    options.c    which options they have
 *    sla.c        promises: defining and dropping them, the report
 *    fact.c       from a fact to rules, alerts and the outbox
 *    task.c       what became of tasks, as facts
 *    report.c     what became of runs, processes and channels, as facts
 *    later.c      telling what could not be told at once
 *    message.c    saying it without values of the data
 *    deadline.c   what only the clock can tell: a chore
 *    deliver.c    bringing the outbox to the channels: a chore
 *    channel.c    what each kind of channel is sent
 *    mail.c       mails
 *    operate.c    acknowledge, silence, test, try again
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ALERT_INTERNAL_H
#define ETL_ALERT_INTERNAL_H

#include "alert/alert.h"
#include "catalog/alert_rule.h"
#include "common/json.h"
#include "connector/http/http.h"

/* ---- options.c ---- */

extern const EtlOptionDef etl_alert_options[];

/* the table of a kind of channel; NULL when there is no such kind */
extern const EtlOptionDef *etl_channel_options(const char *kind);
extern char *etl_channel_kinds(void);	/* "notify, smtp, …" */
extern const char *const etl_alert_events[];	/* ended by NULL */

/* What the options of a rule say. */
typedef struct EtlRuleOptions
{
	int64		cooldown_ms;
	int64		escalate_ms;	/* 0: never */
	List	   *escalate_channels;
	const char *escalate_severity;	/* NULL: as it is */
	bool		auto_resolve;
	bool		notify_resolved;
	bool		warnings;		/* check_failed: also of checks that only warn */
	int			max_alerts;
	double		slow_factor;
	int64		slow_min_ms;
	int64		no_run_ms;
	int64		digest_at;		/* microseconds after midnight */
	char	   *timezone;
} EtlRuleOptions;

/* when the daily summary of a rule is due after 'now' */
extern TimestampTz etl_digest_next(const EtlRuleOptions *options, TimestampTz now);
/* reads and judges them; raises ET001 */
extern void etl_rule_options_read(const Jsonb *options, EtlRuleOptions *result);

/* When to try a delivery again. */
typedef struct EtlChannelRetry
{
	int64		base_ms;
	int64		cap_ms;
	int64		deadline_ms;
} EtlChannelRetry;

extern void etl_channel_retry_read(const Jsonb *options, EtlChannelRetry *retry);
/* raises ET001 for options of a channel that cannot work */
extern void etl_channel_check(const char *kind, const Jsonb *options);
/* raises ET001 for a time zone that does not exist */
extern void etl_timezone_check(const char *name);

/* ---- define.c ---- */

/* raises ET001 for a selector that cannot be read; tells of one that fits nothing yet */
extern void etl_selector_check(const char *kind, const char *name, const char *selector);
/* raises ET001 for a name that is no name */
extern void etl_name_check(const char *kind, const char *name);

/* ---- fact.c ---- */

extern bool etl_rule_wants(const EtlAlertRule *rule, const char *event);
/* the nodes that a selector picks, as far as it can be read: char * */
extern List *etl_selected_nodes(const char *selector);
extern void etl_alert_forget_cache(void);
/* who is told that an alert is over: the channels of its rule, escalated ones too */
extern void etl_alert_settle(const EtlAlert *alert, TimestampTz now);

/* when what is being told happened; 0: now */
extern TimestampTz etl_fact_happened_at;

/* ---- task.c, report.c, later.c ---- */

/* Something that is told in a way that it can be put off: see later.c. */
typedef struct EtlReportKind
{
	const char *name;
	void		(*tell) (void *arg);
	Jsonb *(*pack)(void *arg);
	void *(*unpack)(const Jsonb *body);
	bool		at_once;		/* need not wait for what waits */
} EtlReportKind;

extern const EtlReportKind etl_report_tasks;
extern const EtlReportKind etl_report_promises;
extern const EtlReportKind *etl_report_kind(const char *name);	/* NULL: there is none */
/* the run of a report: its number and selector */
extern void etl_report_add_run(EtlJsonBuilder *builder, int64 run_id, const char *selector);
extern EtlRun *etl_report_get_run(const Jsonb *body);
/* a channel does not deliver; 'what' NULL: it does again */
extern void etl_report_channel(const char *channel, const char *what, const char *error, const char *remedy);

/* tells it, or keeps it for later; never raises an error */
extern void etl_report_tell(const EtlReportKind *kind, void *arg);
/* tells what was put off */
extern void etl_reports_catch_up(EtlDriver *driver, TimestampTz now);

/* ---- message.c ---- */

/* an error's message without values of the data, at most a few hundred bytes */
extern char *etl_message_clean(const char *error, const char *sqlstate);
/* errors of this code, and what is said about them, may hold values of the data */
extern bool etl_message_is_about_values(const char *sqlstate);
extern const char *etl_message_cause(const char *sqlstate);
/* at most 'bytes', cut between characters */
extern char *etl_message_clip(const char *text, int bytes);
/* one line: control characters become spaces */
extern char *etl_message_line(const char *text);
extern char *etl_message_subject(const Jsonb *body);
extern char *etl_message_text(const Jsonb *body);

/* ---- channel.c ---- */

/* What is to be sent to a channel. */
typedef struct EtlPost
{
	HttpRequest request;
	HttpConfig	config;
	char	   *host;
	const char *notify;			/* name of a NOTIFY channel; NULL: the request */
	char	   *payload;		/* of NOTIFY */
} EtlPost;

/* makes it, with every secret opened; raises what is wrong with the channel */
extern EtlPost *etl_post_make(MemoryContext context, const EtlChannel *channel, const EtlDelivery *delivery);

/* ---- mail.c ---- */

extern HttpMail *etl_mail_make(const Jsonb *options, const EtlDelivery *delivery);

/* ---- deliver.c ---- */

typedef struct EtlVerdict
{
	bool		delivered;
	bool		again;			/* trying again may help */
	int64		retry_after;	/* seconds; 0: not said */
	char	   *error;
	char	   *remedy;
} EtlVerdict;

extern void etl_delivery_judge(const EtlChannel *channel, const EtlPost *post, const HttpResult *result,
							   EtlVerdict *verdict);

extern void etl_delivery_try(const char *channel, EtlDelivery *delivery, EtlVerdict *verdict);

#endif							/* ETL_ALERT_INTERNAL_H */
