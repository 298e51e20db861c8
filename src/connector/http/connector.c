/*-------------------------------------------------------------------------
 *
 * connector.c
 *    The http connector: the state machine behind the connector ABI.
 *
 *    PLAN ──▶ PAUSE ──▶ SEND ──▶ RUN ──▶ page handed out ──▶ PLAN
 *      │        ▲ rate limit      │ 429, 5xx, network: back to PAUSE
 *      │        └─────────────────┤ 401: TOKEN, once
 *      ▼                          └ redirect: SEND to its target
 *     END
 *
 * One request is under way at a time, and none while a page is handed out.
 * A page is handed out when it is complete in the spool.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "fmgr.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "connector/http/http.h"

PG_FUNCTION_INFO_V1(etl_sql_http_connector);

#define TOKEN_BUFFER_SIZE 65536

typedef enum HttpPhase
{
	PHASE_PLAN,					/* which page is next? */
	PHASE_PAUSE,				/* until 'until' */
	PHASE_SEND,
	PHASE_RUN,
	PHASE_END
} HttpPhase;

typedef struct HttpState
{
	EtlConnectorContext *context;
	HttpConfig *config;
	HttpClient *client;
	HttpSpool  *spool;
	HttpPager  *pager;
	HttpPhase	phase;
	HttpRequest *page;			/* request for the current page, without credentials */
	char	   *target;			/* URL it is sent to: its own, or where it was redirected */
	HttpRequest *sent;			/* request under way */
	HttpSink	sink;
	bool		for_token;		/* the request under way asks for a token */
	HttpToken	token;
	bool		renewed;		/* the token was renewed for this page */
	int			redirects;
	HttpRetry	retry;
	TimestampTz until;
	char	   *reason;			/* of the pause */
	char	   *failure;		/* what failed before it, until the core knows */
	int			failure_code;
	MemoryContext page_context; /* requests and facts of one page */
} HttpState;

typedef struct HttpPage
{
	HttpSink	sink;
	HttpSinkReader reader;
} HttpPage;

static void *
http_open(EtlConnectorContext *context)
{
	MemoryContext old = MemoryContextSwitchTo(context->context);
	HttpState  *state = palloc0(sizeof(HttpState));

	state->context = context;
	state->config = http_config_read(context);
	state->spool = http_spool_open(context->context);
	state->client = http_client_open(context->context, state->config, context->services);
	state->pager = http_pager_open(context, state->config);
	state->page_context = AllocSetContextCreate(context->context, "etl http page",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return state;
}

/*
 * plan decides on the next page, and takes a place under the rate limit.
 */
static void
plan(HttpState *state)
{
	MemoryContext old;

	if (state->pager->done || state->pager->stopped)
	{
		state->phase = PHASE_END;
		return;
	}
	MemoryContextReset(state->page_context);
	old = MemoryContextSwitchTo(state->page_context);
	state->page = http_pager_request(state->pager);
	MemoryContextSwitchTo(old);
	state->target = state->page->url;
	state->redirects = 0;
	state->renewed = false;
	state->retry.attempt = 1;
	state->retry.began = GetCurrentTimestamp();
	state->until = http_rate_limit_take(state->context->source, state->config);
	state->reason = "waiting for the rate limit";
	state->phase = PHASE_PAUSE;
}

/*
 * send_token begins to ask for a token.
 */
static void
send_token(HttpState *state)
{
	HttpSink	sink = {.limit = TOKEN_BUFFER_SIZE};

	sink.buffer = palloc(TOKEN_BUFFER_SIZE);
	state->sink = sink;
	state->for_token = true;
	state->sent = http_auth_token_request(state->config, &state->token);
	http_client_start(state->client, state->sent, &state->sink);
}

/*
 * send_page begins to ask for the current page.  Credentials, and header
 * fields of the options, go to the source's own origin only.
 */
static void
send_page(HttpState *state)
{
	HttpSink	sink = {.spool = state->spool, .limit = state->config->max_response_size};
	char	   *own = http_url_origin(state->config->url);
	char	   *other = http_url_origin(state->target);

	http_spool_reuse(state->spool);
	sink.offset = state->spool->end;
	state->sent = palloc0(sizeof(HttpRequest));
	*state->sent = *state->page;
	state->sent->url = state->target;
	if (own != NULL && other != NULL && strcmp(own, other) == 0)
	{
		state->sent->headers = list_copy(state->page->headers);
		http_auth_apply(state->config, &state->token, state->sent);
	}
	else
		state->sent->headers = NIL;
	state->sink = sink;
	state->for_token = false;
	http_client_start(state->client, state->sent, &state->sink);
}

/*
 * send begins the request that is due.
 */
static void
send_due(HttpState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->page_context);

	if (http_auth_needs_token(state->config, &state->token))
		send_token(state);
	else
		send_page(state);
	MemoryContextSwitchTo(old);
	state->phase = PHASE_RUN;
}

/*
 * pause_or_fail waits before the next attempt, or raises.
 */
static void
pause_or_fail(HttpState *state, const HttpResult *result)
{
	int64		delay = http_retry_delay(state->config, &state->retry, result);

	if (delay < 0)
		http_failure_report(state->config, state->sent, result, &state->sink, state->retry.attempt);
	if (state->sink.spool != NULL)
		state->spool->end = state->sink.offset;
	state->target = state->page->url;
	state->redirects = 0;
	/* a server that says when to come back is obeyed, until the deadline */
	if (result->status != 429 || result->retry_after == 0)
		state->retry.attempt++;
	state->until = Max(GetCurrentTimestamp() + delay * 1000,
					   http_rate_limit_take(state->context->source, state->config));
	state->reason = psprintf("retrying in %.1f s after %s", delay / 1000.0, http_failure_text(result));
	state->failure = psprintf("\"%s\" failed: %s", http_url_show(state->config, state->sent->url),
							  http_failure_text(result));
	state->failure_code = result->code == CURLE_OK ? ETL_ERR_HTTP_STATUS : ETL_ERR_UNREACHABLE;
	state->phase = PHASE_PAUSE;
}

/*
 * keep_token moves a new token where it outlives the page.
 */
static void
keep_token(HttpState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->context->context);

	state->token.text = pstrdup(state->token.text);
	state->config->masked = lappend(state->config->masked, state->token.text);
	MemoryContextSwitchTo(old);
}

/*
 * take_token reads the answer to a request for a token.
 */
static void
take_token(HttpState *state, const HttpResult *result)
{
	if (result->code == CURLE_OK && result->status >= 200 && result->status < 300)
	{
		if (!http_auth_token_read(state->config, state->context->services, &state->sink, &state->token))
			ereport(ERROR,
					(errcode(ETL_ERR_PROTOCOL),
					 errmsg("the token server \"%s\" gave no token",
							http_url_show(state->config, state->config->token_url)),
					 errdetail("Its answer is not a JSON object with \"access_token\"."),
					 errhint("Check the option \"token_url\".")));
		keep_token(state);
		state->phase = PHASE_SEND;
		return;
	}
	/* servers want the credentials in the header or in the body: try both */
	if (result->code == CURLE_OK && (result->status == 400 || result->status == 401) &&
		!state->token.in_body)
	{
		state->token.in_body = true;
		state->phase = PHASE_SEND;
		return;
	}
	pause_or_fail(state, result);
}

/*
 * redirect follows a redirect of the current page.
 */
static void
redirect(HttpState *state, const HttpResult *result)
{
	if (++state->redirects > HTTP_MAX_REDIRECTS)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("\"%s\" redirects more than %d times",
						http_url_show(state->config, state->page->url), HTTP_MAX_REDIRECTS),
				 errhint("Check the url of the source.")));
	if (!http_url_is_supported(result->redirect) ||
		(strncmp(state->sent->url, "https:", 6) == 0 && strncmp(result->redirect, "https:", 6) != 0))
		ereport(ERROR, (errcode(ETL_ERR_NOT_ALLOWED),
						errmsg("\"%s\" redirects to where etl does not follow",
							   http_url_show(state->config, state->sent->url)),
						errdetail("The target is \"%s\"; only http and https are followed, and "
								  "never from https to http.",
								  http_url_show(state->config, result->redirect)),
						errhint("Check the url of the source.")));
	state->target = http_url_without(result->redirect,
									 state->config->key_in_query ? state->config->key_name : "");
	if (result->status == 303 || ((result->status == 301 || result->status == 302) &&
								  strcmp(state->page->method, "POST") == 0))
	{
		state->page->method = "GET";
		state->page->body = NULL;
	}
	state->spool->end = state->sink.offset;
	state->phase = PHASE_SEND;
}

/*
 * make_item makes the item of the page in the sink.
 */
static EtlItem *
make_item(HttpState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->context->context);
	EtlItem    *item = palloc0(sizeof(EtlItem));
	HttpPage   *page = palloc0(sizeof(HttpPage));

	page->sink = state->sink;
	http_sink_reader(&page->reader, &page->sink);
	item->origin = http_url_show(state->config, state->page->url);
	item->size = state->sink.length;
	item->mtime = DT_NOBEGIN;
	item->records_path = state->config->records;
	item->position = http_pager_position(state->pager);
	item->handle = page;
	state->spool->held++;
	MemoryContextSwitchTo(old);
	return item;
}

/*
 * take_page reads the answer to the current page; returns an item unless the
 * page is empty or has to be asked for again.
 */
static EtlItem *
take_page(HttpState *state, const HttpResult *result)
{
	bool		answered = result->code == CURLE_OK;

	if (answered && result->status >= 200 && result->status < 300)
	{
		int64		records = http_pager_page(state->pager, state->context->services, &state->sink,
										result, state->sent->url);

		state->phase = PHASE_PLAN;
		if (records != 0)
			return make_item(state);
		state->spool->end = state->sink.offset;
		return NULL;
	}
	if (answered && result->status == 404 && http_pager_ends_at_missing(state->pager))
	{
		state->spool->end = state->sink.offset;
		state->phase = PHASE_PLAN;
	}
	else if (answered && result->status >= 300 && result->status < 400 && result->redirect != NULL)
		redirect(state, result);
	else if (answered && result->status == 401 && state->config->auth == AUTH_OAUTH2 &&
			 !state->renewed)
	{
		state->renewed = true;
		state->token.text = NULL;
		state->spool->end = state->sink.offset;
		state->phase = PHASE_SEND;
	}
	else
		pause_or_fail(state, result);
	return NULL;
}

/*
 * run drives the request under way; true when there is something to wait for.
 */
static bool
run(HttpState *state, EtlItem **item, EtlWait *wait)
{
	MemoryContext old = MemoryContextSwitchTo(state->page_context);
	HttpResult	result;
	bool		waiting = !http_client_poll(state->client, wait, &result);

	*item = NULL;
	if (!waiting && state->for_token)
		take_token(state, &result);
	else if (!waiting)
		*item = take_page(state, &result);
	MemoryContextSwitchTo(old);
	return waiting;
}

static EtlPoll
http_next(void *arg, EtlItem **item, EtlWait *wait)
{
	HttpState  *state = arg;

	for (;;)
	{
		switch (state->phase)
		{
			case PHASE_PLAN:
				plan(state);
				break;
			case PHASE_PAUSE:
				if (GetCurrentTimestamp() < state->until || state->failure != NULL)
				{
					memset(wait, 0, sizeof(*wait));
					wait->until = state->until;
					wait->reason = state->reason;
					wait->failure = state->failure;
					wait->failure_code = state->failure_code;
					state->failure = NULL;
					return ETL_WAIT;
				}
				state->phase = PHASE_SEND;
				break;
			case PHASE_SEND:
				send_due(state);
				break;
			case PHASE_RUN:
				if (run(state, item, wait))
					return ETL_WAIT;
				if (*item != NULL)
					return ETL_READY;
				break;
			case PHASE_END:
				return ETL_END;
		}
	}
}

static size_t
http_read(void *arg, EtlItem *item, char *buffer, size_t size)
{
	HttpPage   *page = item->handle;

	return page->reader.read.read(&page->reader, buffer, size);
}

static void
http_rewind(void *arg, EtlItem *item)
{
	HttpPage   *page = item->handle;

	page->reader.at = 0;
}

static void
http_release(void *arg, EtlItem *item)
{
	HttpState  *state = arg;

	pfree(item->handle);
	item->handle = NULL;
	state->spool->held--;
}

static Jsonb *
http_final_position(void *arg)
{
	return http_pager_final(((HttpState *) arg)->pager);
}

static void
http_close(void *arg)
{
	http_client_close(((HttpState *) arg)->client);
}

static const EtlConnector http_connector = {
	.abi_version = ETL_CONNECTOR_ABI,
	.name = "http",
	.shape = ETL_BYTES,
	.needs_network = true,
	.source_options = http_source_options,
	.stream_options = http_stream_options,
	.validate = http_config_validate,
	.open = http_open,
	.next = http_next,
	.read = http_read,
	.rewind = http_rewind,
	.release = http_release,
	.final_position = http_final_position,
	.close = http_close,
};

/*
 * etl_sql_http_connector hands out the http connector.
 */
Datum
etl_sql_http_connector(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&http_connector);
}
