/*-------------------------------------------------------------------------
 *
 * channel.c
 *    What each kind of channel is sent.
 *
 * Every text goes through the escaping of where it goes: JSON strings, the
 * markup of Slack, header fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "alert/internal.h"
#include "catalog/alert_rule.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/options.h"
#include "connector/connector.h"
#include "connector/http/resolve.h"

#define MAX_DEDUP_KEY	   255
#define ALERTMANAGER_KEEPS (7 * USECS_PER_DAY)

/*
 * text_of returns a text of the message, "" when it has none.
 */
static const char *
text_of(const EtlDelivery *delivery, const char *key)
{
	char	   *text = etl_json_get_text(delivery->body, key);

	return text ? text : "";
}

/*
 * add appends a name and a text to a JSON object that is being written.
 */
static void
add(StringInfo out, const char *name, const char *value)
{
	char		last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{')
		appendStringInfoString(out, ", ");
	escape_json(out, name);
	appendStringInfoString(out, ": ");
	escape_json(out, value);
}

/*
 * open_name appends a name whose value follows.
 */
static void
open_name(StringInfo out, const char *name, char bracket)
{
	if (out->data[out->len - 1] != '{')
		appendStringInfoString(out, ", ");
	escape_json(out, name);
	appendStringInfo(out, ": %c", bracket);
}

/*
 * hexadecimal renders bytes.
 */
static char *
hexadecimal(const unsigned char *bytes, int n)
{
	char	   *text = palloc(2 * n + 1);

	for (int i = 0; i < n; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	return text;
}

/*
 * dedup_key names an alert to the outside: the same one, the same key.
 */
static char *
dedup_key(const EtlDelivery *delivery)
{
	char	   *key = psprintf("%s/%s", text_of(delivery, "database"), text_of(delivery, "fingerprint"));
	unsigned char digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *hash;

	if (strlen(key) <= MAX_DEDUP_KEY)
		return key;
	hash = pg_cryptohash_create(PG_SHA256);
	if (pg_cryptohash_init(hash) < 0 || pg_cryptohash_update(hash, (uint8 *) key, strlen(key)) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a hash");
	pg_cryptohash_free(hash);
	return hexadecimal(digest, sizeof(digest));
}

/*
 * is tells what a delivery is about: firing, resolved …
 */
static bool
is(const EtlDelivery *delivery, const char *message)
{
	return strcmp(delivery->message, message) == 0;
}

/* ---- the bodies ---- */

/*
 * webhook_body is the message itself, with its key.
 */
static char *
webhook_body(const EtlDelivery *delivery)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	add(&out, "idempotency_key", delivery->idempotency_key);
	add(&out, "environment", etl_environment ? etl_environment : "");
	add(&out, "subject", etl_message_subject(delivery->body));
	appendStringInfo(&out, ", %s", etl_json_text(delivery->body) + 1);
	return out.data;
}

/*
 * slack_escape replaces the three characters that begin markup of Slack.
 */
static char *
slack_escape(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = text; *p; p++)
	{
		if (*p == '&')
			appendStringInfoString(&out, "&amp;");
		else if (*p == '<')
			appendStringInfoString(&out, "&lt;");
		else if (*p == '>')
			appendStringInfoString(&out, "&gt;");
		else
			appendStringInfoChar(&out, *p);
	}
	return out.data;
}

/*
 * slack_body is a line for lists and a block for the conversation.
 */
static char *
slack_body(const EtlDelivery *delivery)
{
	StringInfoData out;
	char	   *subject = slack_escape(etl_message_clip(etl_message_subject(delivery->body), 300));
	char	   *text = slack_escape(etl_message_clip(etl_message_text(delivery->body), 2000));

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	add(&out, "text", subject);
	open_name(&out, "blocks", '[');
	appendStringInfoString(&out, "{\"type\": \"section\", \"text\": {\"type\": \"mrkdwn\", \"text\": ");
	escape_json(&out, psprintf("*%s*\n```%s```", subject, text));
	appendStringInfoString(&out, "}}]}");
	return out.data;
}

/*
 * pagerduty_body is an event of version 2.
 */
static char *
pagerduty_body(const EtlDelivery *delivery, const Jsonb *options)
{
	static const char *const details[] = {"what", "error", "sqlstate", "cause", "remedy", "others",
										  "occurrences", "run_id", "alert_id", "note", NULL};
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	add(&out, "routing_key", etl_json_get_text(options, "routing_key"));
	add(&out, "event_action",
		is(delivery, "resolved")	 ? "resolve" :
		is(delivery, "acknowledged") ? "acknowledge" :
									   "trigger");
	add(&out, "dedup_key", dedup_key(delivery));
	add(&out, "client", "etl");
	open_name(&out, "payload", '{');
	add(&out, "summary", etl_message_clip(etl_message_subject(delivery->body), 1000));
	add(&out, "source", text_of(delivery, "database"));
	add(&out, "severity", text_of(delivery, "severity"));
	add(&out, "timestamp", text_of(delivery, "since"));
	add(&out, "component", text_of(delivery, "object"));
	add(&out, "group", text_of(delivery, "rule"));
	add(&out, "class", text_of(delivery, "event"));
	open_name(&out, "custom_details", '{');
	for (int i = 0; details[i]; i++)
		if (text_of(delivery, details[i])[0] != '\0')
			add(&out, details[i], text_of(delivery, details[i]));
	appendStringInfoString(&out, "}}}");
	return out.data;
}

/*
 * moment renders a timestamp as JSON wants it.
 */
static char *
moment(TimestampTz at)
{
	char	   *text = palloc(MAXDATELEN + 1);

	return JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL);
}

/*
 * alertmanager_body is a list of one alert; it says itself when it ends, so
 * that it need not be sent again and again.
 */
static char *
alertmanager_body(const EtlDelivery *delivery, const Jsonb *options)
{
	Jsonb	   *labels = etl_json_get(options, "labels");
	const char *resolved_at = text_of(delivery, "resolved_at");
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	appendStringInfoString(&out, "[{");
	open_name(&out, "labels", '{');
	add(&out, "alertname", psprintf("etl_%s", text_of(delivery, "event")));
	add(&out, "rule", text_of(delivery, "rule"));
	add(&out, "object", text_of(delivery, "object"));
	add(&out, "database", text_of(delivery, "database"));
	add(&out, "fingerprint", dedup_key(delivery));
	add(&out, "severity", text_of(delivery, "severity"));
	foreach(cell, labels ? etl_json_keys(labels) : NIL)
		add(&out, lfirst(cell), etl_json_get_text(labels, lfirst(cell)));
	appendStringInfoChar(&out, '}');
	open_name(&out, "annotations", '{');
	add(&out, "summary", etl_message_subject(delivery->body));
	add(&out, "description", etl_message_text(delivery->body));
	add(&out, "remedy", text_of(delivery, "remedy"));
	appendStringInfoChar(&out, '}');
	add(&out, "startsAt", text_of(delivery, "since"));
	add(&out, "endsAt", resolved_at[0] ? resolved_at : moment(GetCurrentTimestamp() + ALERTMANAGER_KEEPS));
	appendStringInfoString(&out, "}]");
	return out.data;
}

/* ---- requests ---- */

/*
 * add_header adds a header field; raises ET001 for one that could begin
 * another.
 */
static void
add_header(EtlPost *post, const char *name, const char *value)
{
	HttpPair   *pair = palloc(sizeof(HttpPair));

	if (strpbrk(value, "\r\n") != NULL || strpbrk(name, "\r\n: ") != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a header field holds a line end"),
				 errhint("Define the channel, or the secret in it, again without one.")));
	pair->name = pstrdup(name);
	pair->value = pstrdup(value);
	post->request.headers = lappend(post->request.headers, pair);
}

/*
 * sign adds when it was sent and an HMAC over that and the body.
 */
static void
sign(EtlPost *post, const char *secret)
{
	char	   *timestamp = psprintf(INT64_FORMAT, (int64) timestamptz_to_time_t(GetCurrentTimestamp()));
	char	   *signed_text = psprintf("%s.%s", timestamp, post->request.body);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;

	if (HMAC(EVP_sha256(), secret, strlen(secret), (unsigned char *) signed_text, strlen(signed_text),
			 digest, &length) == NULL)
		elog(ERROR, "could not compute a signature");
	add_header(post, "X-Etl-Timestamp", timestamp);
	add_header(post, "X-Etl-Signature", psprintf("sha256=%s", hexadecimal(digest, length)));
}

/*
 * find_url returns the URL of a channel; one that is a secret is opened to
 * learn its host, and again for that host.
 */
static char *
find_url(EtlConnectorContext *context, const EtlChannel *channel)
{
	Jsonb	   *value = etl_json_get(channel->options, "url");
	char	   *name;
	char	   *url;

	if (value == NULL)
		return pstrdup("https://events.pagerduty.com/v2/enqueue");
	if (etl_json_kind(value) == 's')
		return etl_json_bare_text(value);
	name = etl_json_get_text(value, "secret");
	url = context->services->secret(context, name, NULL);
	if (http_url_is_supported(url) || http_url_is_mail(url))
		(void) context->services->secret(context, name, http_url_host(url));
	return url;
}

/*
 * fill_request makes the request of a channel other than NOTIFY.
 */
static void
fill_request(EtlPost *post, const EtlChannel *channel, const Jsonb *options, const EtlDelivery *delivery)
{
	HttpRequest *request = &post->request;
	Jsonb	   *headers = etl_json_get(options, "headers");
	char	   *secret = etl_json_get_text(options, "signing_secret");
	ListCell   *cell;

	if (strcmp(channel->kind, "smtp") == 0)
	{
		request->mail = etl_mail_make(options, delivery);
		return;
	}
	request->method = "POST";
	request->body_type = "application/json";
	if (strcmp(channel->kind, "slack") == 0)
		request->body = slack_body(delivery);
	else if (strcmp(channel->kind, "pagerduty") == 0)
		request->body = pagerduty_body(delivery, options);
	else if (strcmp(channel->kind, "alertmanager") == 0)
	{
		request->url = http_url_join(request->url, "/api/v2/alerts");
		request->body = alertmanager_body(delivery, options);
	}
	else
		request->body = webhook_body(delivery);
	request->body = pg_server_to_any(request->body, strlen(request->body), PG_UTF8);
	add_header(post, "Idempotency-Key", delivery->idempotency_key);
	foreach(cell, headers ? etl_json_keys(headers) : NIL)
		add_header(post, lfirst(cell), etl_json_get_text(headers, lfirst(cell)));
	if (secret != NULL)
		sign(post, secret);
}

EtlPost *
etl_post_make(MemoryContext context, const EtlChannel *channel, const EtlDelivery *delivery)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlPost    *post = palloc0(sizeof(EtlPost));
	EtlConnectorContext opened = {
		.context = context, .owner = channel->owner, .services = etl_connector_services()};
	char	   *timeout = etl_json_get_text(channel->options, "timeout");
	bool		mail = strcmp(channel->kind, "smtp") == 0;

	if (strcmp(channel->kind, "notify") == 0)
	{
		post->notify = etl_json_get_text(channel->options, "channel");
		post->payload = psprintf(INT64_FORMAT, delivery->alert_id);
		MemoryContextSwitchTo(old);
		return post;
	}
	post->request.url = find_url(&opened, channel);
	if (mail ? !http_url_is_mail(post->request.url) : !http_url_is_supported(post->request.url))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("the url of channel \"%s\" is not one", channel->name),
				 errhint("Correct the secret that holds it.")));
	post->host = http_url_host(post->request.url);
	opened.services->check_host(post->host);
	post->config.total_ms = timeout ? etl_option_duration_ms("timeout", timeout) : 10000;
	post->config.connect_ms = post->config.idle_ms = post->config.total_ms;
	fill_request(
		post, channel,
		http_resolve(&opened, channel->options, post->host, post->host, &post->config.masked),
		delivery);
	/* the path of a webhook is what lets one post to it */
	post->config.masked = lappend(post->config.masked, post->request.url);
	MemoryContextSwitchTo(old);
	return post;
}
