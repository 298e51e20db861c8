/*-------------------------------------------------------------------------
 *
 * deliver.c
 *    Bringing the outbox to the channels: a chore.
 *
 * A handful of deliveries are under way at once, at most one to a channel: a
 * receiver that is slow keeps nobody waiting but itself.  An attempt is
 * counted and committed before anything is sent; while the network is waited
 * for, no snapshot, transaction id or lock is held, and by a worker no
 * transaction.
 *
 *	 waiting --> delivered
 *	   | ^  '--> dead       refused for good, or tried until the deadline
 *	   '-'                  later, not before Retry-After
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "commands/async.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alert/internal.h"
#include "catalog/alert_rule.h"
#include "common/clock.h"
#include "common/errors.h"
#include "connector/connector.h"

#define MAX_FLIGHTS			6
#define ANSWER_SIZE			8192
#define SLICE_US			INT64CONST(500000)
#define PAUSE_US			INT64CONST(100000)	/* before a row that somebody has locked is asked for again */
#define LONGEST_RETRY_AFTER 21600	/* seconds */
#define FAILURES_TO_TELL	5	/* tries in a row after which a channel counts as failing */

/* One delivery that is under way. */
typedef struct Flight
{
	MemoryContext context;
	EtlDelivery *delivery;
	EtlChannel *channel;
	EtlPost    *post;
	HttpClient *client;
	HttpSink	sink;
	EtlWait		wait;
	EtlVerdict	verdict;
	bool		ended;
} Flight;

/* ---- what an answer means ---- */

/*
 * status_remedy says what can be done about an HTTP status.
 */
static const char *
status_remedy(long status)
{
	if (status >= 300 && status < 400)
		return "The receiver has moved: define the channel with its new url.";
	if (status == 401 || status == 403)
		return "The receiver does not accept the credentials: renew the secret or the url of the channel.";
	if (status == 404 || status == 410)
		return "There is nothing at this url any more: define the channel with the present one.";
	if (status == 429)
		return "The receiver takes no more for now; it is tried again when it says.";
	if (status >= 500)
		return "The receiver has a problem of its own; it is tried again.";
	return "The receiver refuses the message: check the kind and the options of the channel.";
}

/*
 * judge_mail says what the end of an SMTP conversation means.
 */
static void
judge_mail(const HttpResult *result, EtlVerdict *verdict)
{
	verdict->again = result->status < 500;
	verdict->error = result->status > 0 ?
						 psprintf("%s (the server answered %ld)", result->message, result->status) :
						 pstrdup(result->message);
	switch (result->code)
	{
		case CURLE_LOGIN_DENIED:
			verdict->remedy = "The mail server does not accept user and password: renew the secret.";
			return;
		case CURLE_USE_SSL_FAILED:
			verdict->again = true;
			verdict->remedy =
				"The mail server offers no STARTTLS: use its submission port (587), or smtps://.";
			return;
		default:
			verdict->remedy =
				result->status >= 500 ?
					"The mail server refuses the mail: check \"from\" and \"to\" of the channel." :
					"Check the url of the channel and whether the mail server runs; it is tried "
					"again.";
	}
}

void
etl_delivery_judge(const EtlChannel *channel, const EtlPost *post, const HttpResult *result,
				   EtlVerdict *verdict)
{
	bool		mail = strcmp(channel->kind, "smtp") == 0;

	memset(verdict, 0, sizeof(*verdict));
	if (result->code == CURLE_OK && result->status >= 200 && result->status < 300)
	{
		verdict->delivered = true;
		return;
	}
	/* an answer that is too long to keep was an answer */
	if (result->code == CURLE_WRITE_ERROR && result->status >= 200 && result->status < 300)
	{
		verdict->delivered = true;
		return;
	}
	verdict->retry_after = Min(result->retry_after, LONGEST_RETRY_AFTER);
	if (result->blocked != NULL)
	{
		verdict->again = true;
		verdict->error = psprintf("host %s leads to %s, which is private or reserved", post->host,
								  result->blocked);
		verdict->remedy =
			psprintf("A superuser can name the host itself: ALTER SYSTEM SET etl.allowed_hosts = "
					 "'…,%s'; SELECT pg_reload_conf();", post->host);
	}
	else if (result->code == CURLE_PEER_FAILED_VERIFICATION)
	{
		verdict->again = true;
		verdict->error = psprintf("the certificate of %s cannot be trusted: %s", post->host, result->message);
		verdict->remedy = "Renew the certificate, use the name it was issued for, or add its "
						  "authority (etl.tls_ca_file).";
	}
	else if (result->code == CURLE_COULDNT_RESOLVE_HOST || result->code == CURLE_COULDNT_CONNECT ||
			 result->code == CURLE_OPERATION_TIMEDOUT)
	{
		verdict->again = true;
		verdict->error = psprintf("%s cannot be reached: %s", post->host, http_failure_text(result));
		verdict->remedy = "Check the url of the channel, and whether the receiver runs; it is tried again.";
	}
	else if (mail)
		judge_mail(result, verdict);
	else if (result->code != CURLE_OK)
	{
		verdict->again = http_retry_is_sensible(result);
		verdict->error = psprintf("%s: %s", post->host, http_failure_text(result));
		verdict->remedy = "Check the url of the channel; it is tried again.";
	}
	else
	{
		verdict->again = http_retry_is_sensible(result);
		verdict->error = psprintf("%s answered with HTTP %ld", post->host, result->status);
		verdict->remedy = unconstify(char *, status_remedy(result->status));
	}
	verdict->error = etl_message_clip(etl_message_line(http_mask(&post->config, verdict->error)), 500);
}

/* ---- one flight ---- */

/*
 * prepare makes what is to be sent; an argument of etl_subxact.
 */
static void
prepare(void *arg)
{
	Flight	   *flight = arg;

	PushActiveSnapshot(GetTransactionSnapshot());
	flight->channel = etl_channel_find(flight->delivery->channel);
	if (flight->channel == NULL)
		ereport(ERROR, (errcode(ETL_ERR_UNDEFINED), errmsg("the channel does not exist any more")));
	flight->post = etl_post_make(flight->context, flight->channel, flight->delivery);
	if (flight->post->notify != NULL)
		Async_Notify(flight->post->notify, flight->post->payload);
	PopActiveSnapshot();
}

/*
 * start sends; an argument of etl_subxact.
 */
static void
start(void *arg)
{
	Flight	   *flight = arg;

	flight->sink.buffer = MemoryContextAlloc(flight->context, ANSWER_SIZE);
	flight->sink.limit = ANSWER_SIZE;
	flight->client = http_client_open(flight->context, &flight->post->config, etl_connector_services());
	http_client_start(flight->client, &flight->post->request, &flight->sink);
}

/*
 * fail notes an error of our own as the end of a flight: it may be mended.
 */
static void
fail(Flight *flight, const ErrorData *error)
{
	flight->ended = true;
	flight->verdict.again = flight->channel != NULL;
	flight->verdict.error = etl_message_clip(etl_message_line(error->message), 500);
	flight->verdict.remedy = error->hint ? error->hint : "Check the definition of the channel.";
}

/*
 * take_off begins a flight; one that cannot begin has ended.
 */
static void
take_off(Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);
	ErrorData  *error = etl_subxact(prepare, flight);

	if (error == NULL && flight->post->notify == NULL)
		error = etl_subxact(start, flight);
	if (error != NULL)
		fail(flight, error);
	else if (flight->post->notify != NULL)
		flight->ended = flight->verdict.delivered = true;
	MemoryContextSwitchTo(old);
}

/*
 * fly lets a flight go on as far as it can without waiting.
 */
static void
fly(Flight *flight)
{
	MemoryContext old;
	HttpResult	result;

	if (flight->ended)
		return;
	old = MemoryContextSwitchTo(flight->context);
	if (http_client_poll(flight->client, &flight->wait, &result))
	{
		flight->ended = true;
		etl_delivery_judge(flight->channel, flight->post, &result, &flight->verdict);
	}
	MemoryContextSwitchTo(old);
}

/*
 * next_delay is how long to wait after so many tries, in milliseconds.
 */
static int64
next_delay(const EtlChannelRetry *retry, const EtlVerdict *verdict, int attempts)
{
	int64		bound = retry->base_ms;

	for (int i = 1; i < attempts && bound < retry->cap_ms; i++)
		bound *= 2;
	bound = Min(bound, retry->cap_ms);
	return Max((int64) (pg_prng_double(&pg_global_prng_state) * bound), verdict->retry_after * 1000);
}

/*
 * raise_failing tells that a channel does not deliver.
 */
static void
raise_failing(const Flight *flight, bool dead)
{
	const char *channel = flight->delivery->channel;
	char	   *quoted = quote_literal_cstr(channel);
	char	   *what = dead ? psprintf("channel %s does not deliver: a message was given up after %d tries",
								 channel, flight->delivery->attempts) :
						psprintf("channel %s does not deliver: %d tries in a row failed", channel,
								 flight->channel->failures + 1);

	etl_report_channel(
		channel, what, flight->verdict.error,
		psprintf("%s SELECT * FROM etl.test_channel(%s); SELECT etl.redeliver(%s) sends what was given up.",
				 flight->verdict.remedy, quoted, quoted));
}

/*
 * land writes what became of a flight.
 */
static void
land(Flight *flight)
{
	TimestampTz now = etl_now();
	EtlVerdict *verdict = &flight->verdict;
	EtlChannelRetry retry;
	TimestampTz next;
	bool		dead;

	if (verdict->delivered)
	{
		etl_delivery_done(flight->delivery, now);
		if (flight->channel->failures > 0)
			etl_report_channel(flight->delivery->channel, NULL, NULL, NULL);
		return;
	}
	if (flight->channel == NULL)
	{
		etl_delivery_failed(flight->delivery, verdict->error, verdict->remedy, true, now, now);
		return;
	}
	etl_channel_retry_read(flight->channel->options, &retry);
	next = now + next_delay(&retry, verdict, flight->delivery->attempts) * INT64CONST(1000);
	dead = !verdict->again || next > flight->delivery->created_at + retry.deadline_ms * INT64CONST(1000);
	etl_delivery_failed(flight->delivery, verdict->error, verdict->remedy, dead, next, now);
	if (dead || flight->channel->failures + 1 == FAILURES_TO_TELL)
		raise_failing(flight, dead);
}

/*
 * land_safely writes what became of a flight and commits.
 */
static void
land_safely(EtlDriver *driver, Flight *flight)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	land(flight);
	PopActiveSnapshot();
	driver->commit(driver);
	MemoryContextDelete(flight->context);
}

/* ---- all of them ---- */

/*
 * board takes the next delivery that is due; NULL when there is none.
 */
static Flight *
board(EtlDriver *driver, List *flights, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "etl delivery", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Flight	   *flight = palloc0(sizeof(Flight));
	List	   *busy = NIL;
	TimestampTz now = etl_now();
	ListCell   *cell;

	foreach(cell, flights)
		busy = lappend(busy, ((Flight *) lfirst(cell))->delivery->channel);
	flight->context = context;
	PushActiveSnapshot(GetTransactionSnapshot());
	/* nobody else delivers: what this process leaves behind may be taken up soon */
	flight->delivery = etl_delivery_take(busy, now, now + USECS_PER_SEC);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	if (flight->delivery == NULL)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	driver->commit(driver);
	take_off(flight);

	/* a notification goes with the note that it was delivered */
	if (flight->post == NULL || flight->post->notify == NULL)
		driver->commit(driver);
	return flight;
}

/*
 * wait_for_any waits until one of the flights can go on; an argument of
 * etl_driver_wait.
 */
static void
wait_for_any(void *arg)
{
	List	   *flights = arg;
	EtlWait		wait = {0};
	ListCell   *cell;

	wait.until = GetCurrentTimestamp() + SLICE_US;
	foreach(cell, flights)
	{
		Flight	   *flight = lfirst(cell);

		for (int i = 0; i < flight->wait.nsockets; i++)
		{
			/* the rest is looked at in a moment */
			if (wait.nsockets == ETL_MAX_SOCKETS)
				break;
			wait.sockets[wait.nsockets] = flight->wait.sockets[i];
			wait.events[wait.nsockets++] = flight->wait.events[i];
		}
		wait.until = Min(wait.until, flight->wait.until);
	}
	etl_wait(&wait);
}

/*
 * etl_deliveries_work is the chore.
 */
TimestampTz
etl_deliveries_work(EtlDriver *driver, TimestampTz now)
{
	MemoryContext parent = CurrentMemoryContext;
	List	   *flights = NIL;
	TimestampTz due;

	for (;;)
	{
		Flight	   *flight;
		ListCell   *cell;

		CHECK_FOR_INTERRUPTS();
		while (list_length(flights) < MAX_FLIGHTS && (flight = board(driver, flights, parent)) != NULL)
		{
			fly(flight);
			if (flight->ended)
				land_safely(driver, flight);
			else
				flights = lappend(flights, flight);
		}
		if (flights == NIL)
			break;
		etl_driver_wait(driver, wait_for_any, flights);
		foreach(cell, flights)
		{
			flight = lfirst(cell);
			fly(flight);
			if (!flight->ended)
				continue;
			land_safely(driver, flight);
			flights = foreach_delete_current(flights, cell);
		}
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	due = etl_deliveries_due();
	PopActiveSnapshot();
	return Max(due, etl_now() + PAUSE_US);
}

TimestampTz
etl_deliveries_due_at(TimestampTz now)
{
	return etl_deliveries_due();
}

/*
 * etl_delivery_try sends one message now and waits for the answer; for
 * etl.test_channel, which nothing else depends on.
 */
void
etl_delivery_try(const char *channel, EtlDelivery *delivery, EtlVerdict *verdict)
{
	Flight		flight = {.context = CurrentMemoryContext, .delivery = delivery};

	delivery->channel = pstrdup(channel);
	take_off(&flight);
	while (!flight.ended)
	{
		fly(&flight);
		if (!flight.ended)
			wait_for_any(list_make1(&flight));
	}
	*verdict = flight.verdict;
}
