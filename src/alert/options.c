/*-------------------------------------------------------------------------
 *
 * options.c
 *    Which options rules of alerts and channels have, and what they mean.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "alert/internal.h"
#include "catalog/sla.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"

const char *const etl_alert_events[] = {
	"run_failed", "run_recovered", "run_slow", "no_run", "sla_missed", "freshness", "check_failed",
	"rejects", "schema_changed", "worker", "channel_failed", "digest", NULL};

const EtlOptionDef etl_alert_options[] = {
	{"cooldown", "duration", "1 h", "the same alert is told again at most once in this time"},
	{"escalate", "object", NULL, "see etl.options('alert:escalate')"},
	{"auto_resolve", "boolean", "true",
	 "ends the alert when its cause is gone; else it stays until it is acknowledged"},
	{"notify_resolved", "boolean", "true", "tells that an alert is over"},
	{"max_alerts", "integer", "10",
	 "alerts of one run and event; what is more is counted in one further alert"},
	{"warnings", "boolean", "true", "check_failed: also of checks that only warn"},
	{"slow_factor", "number", "3", "run_slow: how many times what it takes on average is slow"},
	{"slow_min", "duration", "1 min", "run_slow: what is never slow"},
	{"no_run_for", "duration", "24 h", "no_run: how long nothing may have been tried"},
	{"digest_at", "text", "08:00", "digest: time of the day"},
	{"timezone", "text", "UTC", "digest: zone that digest_at is read in"},
	{NULL}};

static const EtlOptionDef escalate_options[] = {
	{"after", "duration", NULL, "how long after it fired, when nobody has acknowledged it"},
	{"channels", "text[]", NULL, "who is told then; default the channels of the rule"},
	{"severity", "info|warning|error|critical", NULL, "severity that it has from then on; default as it is"},
	{NULL}};

static const EtlOptionDef retry_options[] = {
	{"base", "duration", "2 s", "bound of the first random wait; doubles with each"},
	{"cap", "duration", "10 min", "bound of every random wait"},
	{"deadline", "duration", "24 h", "when a delivery is given up"},
	{NULL}};

#define OF_EVERY_HOST \
	{"timeout", "duration", "10 s", "for one try"}, \
		{"retry", "object", NULL, "see etl.options('channel:retry')"}, \
	{ \
		NULL \
	}

static const EtlOptionDef notify_options[] = {
	{"channel", "text", NULL, "what LISTEN names; the payload is the number of the alert"},
	{"retry", "object", NULL, "see etl.options('channel:retry')"},
	{NULL}};

static const EtlOptionDef smtp_options[] = {
	{"url", "text", NULL, "smtp://host:port (STARTTLS) or smtps://host:port"},
	{"from", "text", NULL, "address of the sender"},
	{"to", "text[]", NULL, "addresses of the recipients"},
	{"user", "text", NULL, "user of the mail server; default none"},
	{"password", "text", NULL, "its password"},
	{"tls", "required|none", "required", "none: in clear text, only to this very machine"},
	{"subject_prefix", "text", "[etl]", "what subjects begin with"},
	OF_EVERY_HOST};

static const EtlOptionDef webhook_options[] = {
	{"url", "text", NULL, "where the JSON document is posted to"},
	{"headers", "object", NULL, "further header fields"},
	{"signing_secret", "text", NULL,
	 "key of the HMAC-SHA256 in X-Etl-Signature over timestamp, a point and the body"},
	OF_EVERY_HOST};

static const EtlOptionDef slack_options[] = {
	{"url", "text", NULL, "incoming webhook"},
	OF_EVERY_HOST};

static const EtlOptionDef pagerduty_options[] = {
	{"routing_key", "text", NULL, "integration key of the service"},
	{"url", "text", "https://events.pagerduty.com/v2/enqueue", "where events are posted to"},
	OF_EVERY_HOST};

static const EtlOptionDef alertmanager_options[] = {
	{"url", "text", NULL, "of the Alertmanager; /api/v2/alerts is appended"},
	{"labels", "object", NULL, "further labels of every alert"},
	{"headers", "object", NULL, "further header fields"},
	OF_EVERY_HOST};

static const struct
{
	const char *kind;
	const char *of;
	const EtlOptionDef *defs;
} kinds[] = {
	{"notify", "channel:notify", notify_options},
	{"smtp", "channel:smtp", smtp_options},
	{"webhook", "channel:webhook", webhook_options},
	{"slack", "channel:slack", slack_options},
	{"pagerduty", "channel:pagerduty", pagerduty_options},
	{"alertmanager", "channel:alertmanager", alertmanager_options},
};

void
etl_alert_register_options(void)
{
	etl_options_register("alert", etl_alert_options);
	etl_options_register("alert:escalate", escalate_options);
	etl_options_register("channel:retry", retry_options);
	for (int i = 0; i < lengthof(kinds); i++)
		etl_options_register(kinds[i].of, kinds[i].defs);
}

const EtlOptionDef *
etl_channel_options(const char *kind)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			return kinds[i].defs;
	return NULL;
}

char *
etl_channel_kinds(void)
{
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; i < lengthof(kinds); i++)
		appendStringInfo(&all, "%s%s", i == 0 ? "" : ", ", kinds[i].kind);
	return all.data;
}

/*
 * duration reads a positive duration.
 */
static int64
duration(const Jsonb *options, const char *key, int64 default_ms)
{
	char	   *text = options ? etl_json_get_text(options, key) : NULL;
	int64		value = text ? etl_option_duration_ms(key, text) : default_ms;

	if (text != NULL && value <= 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"%s\": \"%s\"", key, text),
				 errhint("It must be a positive duration, for example \"30 min\".")));
	return value;
}

/*
 * time_of_day reads "08:00" into microseconds after midnight.
 */
static int64
time_of_day(const char *key, const char *text)
{
	int			hour;
	int			minute;
	int			end = 0;

	if (sscanf(text, "%2d:%2d%n", &hour, &minute, &end) != 2 || text[end] != '\0' ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"%s\": \"%s\"", key, text),
				 errhint("Write it as \"08:00\".")));
	return (hour * INT64CONST(60) + minute) * 60 * USECS_PER_SEC;
}

/*
 * read_escalation reads option escalate.
 */
static void
read_escalation(const Jsonb *options, EtlRuleOptions *result)
{
	Jsonb	   *escalate = etl_json_get(options, "escalate");

	if (escalate == NULL)
		return;
	etl_options_check(escalate, "alert:escalate", escalate_options, NULL);
	result->escalate_ms = duration(escalate, "after", 0);
	result->escalate_channels = etl_json_get_list(escalate, "channels");
	result->escalate_severity = etl_json_get_text(escalate, "severity");
	if (result->escalate_ms == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"escalate\" does not say after how long"),
				 errhint("Write \"escalate\": {\"after\": \"30 min\", \"channels\": [\"pager\"]}.")));
}

void
etl_timezone_check(const char *name)
{
	/* offsets in POSIX notation are refused: there +2 means two hours behind */
	if (!isalpha((unsigned char) name[0]) || pg_tzset(name) == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("time zone \"%s\" does not exist", name),
				 errhint("SELECT name FROM pg_timezone_names lists them.")));
}

void
etl_rule_options_read(const Jsonb *options, EtlRuleOptions *result)
{
	char	   *factor = etl_json_get_text(options, "slow_factor");
	char	   *digest_at = etl_json_get_text(options, "digest_at");

	memset(result, 0, sizeof(*result));
	etl_options_check(options, "alert", etl_alert_options, NULL);
	result->cooldown_ms = duration(options, "cooldown", INT64CONST(3600000));
	result->auto_resolve = etl_json_get_bool(options, "auto_resolve", true);
	result->notify_resolved = etl_json_get_bool(options, "notify_resolved", true);
	result->warnings = etl_json_get_bool(options, "warnings", true);
	result->max_alerts = (int) Min(etl_json_get_int64(options, "max_alerts", 10), 1000);
	result->slow_factor = factor ? strtod(factor, NULL) : 3;
	result->slow_min_ms = duration(options, "slow_min", 60000);
	result->no_run_ms = duration(options, "no_run_for", INT64CONST(86400000));
	result->digest_at = time_of_day("digest_at", digest_at ? digest_at : "08:00");
	result->timezone = etl_json_get_text(options, "timezone");
	if (result->timezone == NULL)
		result->timezone = "UTC";
	etl_timezone_check(result->timezone);
	if (result->max_alerts < 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("option \"max_alerts\" must be at least 1")));
	if (!(result->slow_factor > 1) || isinf(result->slow_factor))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("option \"slow_factor\" must be greater than 1")));
	read_escalation(options, result);
}

TimestampTz
etl_digest_next(const EtlRuleOptions *options, TimestampTz now)
{
	return etl_next_time_of_day(now, options->digest_at, options->timezone);
}

void
etl_channel_retry_read(const Jsonb *options, EtlChannelRetry *retry)
{
	Jsonb	   *object = etl_json_get(options, "retry");

	if (object != NULL)
		etl_options_check(object, "channel:retry", retry_options, NULL);
	retry->base_ms = duration(object, "base", 2000);
	retry->cap_ms = duration(object, "cap", 600000);
	retry->deadline_ms = duration(object, "deadline", INT64CONST(86400000));
	if (retry->cap_ms < retry->base_ms)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("\"cap\" of option \"retry\" is less than its \"base\"")));
}

/*
 * check_line raises ET001 for a text that a header field may not hold.
 */
static void
check_line(const char *key, const char *text)
{
	for (const unsigned char *p = (const unsigned char *) text; p && *p; p++)
		if (*p < ' ' || *p == 127)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"%s\" holds a line end or another control character", key),
					 errhint("It goes into a header, where such a character could begin another one.")));
}

/*
 * check_address raises ET001 for what is no plain mail address.
 */
static void
check_address(const char *key, const char *address)
{
	const char *at = strrchr(address, '@');

	check_line(key, address);
	if (at == NULL || at == address || at[1] == '\0' || strpbrk(address, " <>,;\"\\()") != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid mail address in option \"%s\": \"%s\"", key, address),
				 errhint("Write the bare address, for example \"ops@shop.example\".")));
}

/*
 * check_url raises ET001 for a URL of another scheme; one in a secret is
 * judged when it is used.
 */
static void
check_url(const Jsonb *options, const char *scheme)
{
	Jsonb	   *value = etl_json_get(options, "url");
	char	   *url = value && etl_json_kind(value) == 's' ? etl_json_bare_text(value) : NULL;
	bool		mail = strcmp(scheme, "smtp") == 0;

	if (url == NULL)
		return;
	check_line("url", url);
	if (mail ? !http_url_is_mail(url) : !http_url_is_supported(url))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"url\" is not an %s or %ss URL without a user in it", scheme, scheme),
				 errhint("Write for example \"%s\".",
						 mail ? "smtp://mail.shop.example:587" : "https://hooks.shop.example/etl")));
}

/*
 * need raises ET001 when an option is missing.
 */
static void
need(const Jsonb *options, const char *kind, const char *key)
{
	Jsonb	   *value = etl_json_get(options, key);

	if (value == NULL || (etl_json_kind(value) == 's' && etl_json_bare_text(value)[0] == '\0'))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a channel of kind %s needs the option \"%s\"", kind, key),
				 errhint("SELECT * FROM etl.options('channel:%s') describes it.", kind)));
}

/*
 * check_mail judges the options of a mail channel.
 */
static void
check_mail(const Jsonb *options)
{
	char	   *prefix = etl_json_get_text(options, "subject_prefix");
	char	   *tls = etl_json_get_text(options, "tls");
	char	   *host = etl_json_get_text(options, "url");
	ListCell   *cell;

	need(options, "smtp", "from");
	need(options, "smtp", "to");
	check_line("subject_prefix", prefix);
	check_address("from", etl_json_get_text(options, "from"));
	foreach(cell, etl_json_get_list(options, "to"))
		check_address("to", lfirst(cell));
	if (etl_json_get_list(options, "to") == NIL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("option \"to\" names nobody")));
	if (etl_json_has(options, "user") != etl_json_has(options, "password"))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options \"user\" and \"password\" go together")));
	if (tls == NULL || strcmp(tls, "none") != 0)
		return;
	host = http_url_host(host);
	if (etl_json_has(options, "user") || host == NULL ||
		(strncmp(host, "localhost:", 10) != 0 && strncmp(host, "127.0.0.1:", 10) != 0 &&
		 strncmp(host, "[::1]:", 6) != 0))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("mail in clear text goes to a server on this machine only, without a password"),
				 errhint("Leave \"tls\" out.")));
}

/*
 * check_headers judges header fields.
 */
static void
check_headers(const Jsonb *options)
{
	Jsonb	   *headers = etl_json_get(options, "headers");
	ListCell   *cell;

	foreach(cell, headers ? etl_json_keys(headers) : NIL)
	{
		char	   *name = lfirst(cell);

		if (name[0] == '\0' ||
			strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") !=
				strlen(name))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("invalid name of a header field in option \"headers\"")));
		check_line("headers", etl_json_get_text(headers, name));
	}
}

void
etl_channel_check(const char *kind, const Jsonb *options)
{
	EtlChannelRetry retry;
	char	   *notify = etl_json_get_text(options, "channel");

	etl_channel_retry_read(options, &retry);
	(void) duration(options, "timeout", 10000);
	check_headers(options);
	if (strcmp(kind, "notify") == 0)
	{
		need(options, kind, "channel");
		if (strlen(notify) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"channel\" is longer than %d bytes", NAMEDATALEN - 1)));
		return;
	}
	if (strcmp(kind, "pagerduty") == 0)
		need(options, kind, "routing_key");
	else
		need(options, kind, "url");
	check_url(options, strcmp(kind, "smtp") == 0 ? "smtp" : "http");
	if (strcmp(kind, "smtp") == 0)
		check_mail(options);
}
