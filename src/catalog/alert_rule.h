/*-------------------------------------------------------------------------
 *
 * alert_rule.h
 *    Definitions of channels and of rules of alerts.
 *
 * Called by alert/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_ALERT_RULE_H
#define ETL_CATALOG_ALERT_RULE_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

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

#endif							/* ETL_CATALOG_ALERT_RULE_H */
