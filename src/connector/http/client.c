/*-------------------------------------------------------------------------
 *
 * client.c
 *    One request at a time over libcurl's multi interface.
 *
 * libcurl tells which sockets and which moment it waits for; the core waits
 * for them.  What may never be turned off: certificates are verified, only
 * http and https are spoken, redirects come back to the caller, no proxy,
 * .netrc or cookie is used, and the address that a name resolved to is
 * judged before it is connected to.
 *
 * Callbacks only copy and return codes.  All signals are blocked around
 * libcurl, because the threads that it makes to resolve names inherit the
 * mask, and PostgreSQL's handlers must not run in them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/guc.h"
#include "common/hosts.h"
#include "connector/http/http.h"
#include "connector/http/link.h"

#define RESERVED_FDS 3

struct HttpClient
{
	MemoryContextCallback callback;
	MemoryContext context;
	const HttpConfig *config;
	const EtlServices *services;
	CURLM	   *multi;
	CURL	   *easy;
	bool		active;			/* easy is in multi */
	struct curl_slist *headers;
	struct curl_slist *recipients;
	HttpSink   *sink;
	char	   *url;
	char	   *host;			/* host:port of the current request */
	int			nsockets;
	int			sockets[ETL_MAX_SOCKETS];
	uint32		events[ETL_MAX_SOCKETS];
	TimestampTz timer;			/* DT_NOEND: none */
	char		blocked[80];	/* address that was refused */
	char		message[CURL_ERROR_SIZE];
};

/*
 * initialize_library prepares libcurl, once, never in the postmaster.
 */
static void
initialize_library(void)
{
	static bool done = false;

	if (done)
		return;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not initialize libcurl")));
	done = true;
}

/* ---- callbacks of libcurl: no ereport, no palloc ---- */

static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
	HttpClient *client = arg;
	int			i;

	for (i = 0; i < client->nsockets; i++)
		if (client->sockets[i] == socket)
			break;
	if (what == CURL_POLL_REMOVE || what == CURL_POLL_NONE)
	{
		if (i < client->nsockets)
		{
			client->nsockets--;
			client->sockets[i] = client->sockets[client->nsockets];
			client->events[i] = client->events[client->nsockets];
		}
		return 0;
	}
	if (i == ETL_MAX_SOCKETS)
		return 0;				/* the timer still drives it */
	if (i == client->nsockets)
		client->nsockets++;
	client->sockets[i] = socket;
	client->events[i] = (what & CURL_POLL_IN ? WL_SOCKET_READABLE : 0) |
						(what & CURL_POLL_OUT ? WL_SOCKET_WRITEABLE : 0);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpClient *client = arg;

	client->timer = timeout_ms < 0 ? DT_NOEND : GetCurrentTimestamp() + timeout_ms * INT64CONST(1000);
	return 0;
}

static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpClient *client = arg;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		!client->services->address_allowed(client->host, &address->addr, address->addrlen))
	{
		etl_address_text(&address->addr, client->blocked, sizeof(client->blocked));
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t
on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	HttpSink   *sink = arg;
	size_t		length = size * n;
	size_t		written = 0;

	if (sink->length + (int64) length > sink->limit)
	{
		sink->too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (sink->spool == NULL)
	{
		memcpy(sink->buffer + sink->length, bytes, length);
		sink->length += length;
		return length;
	}
	while (written < length)
	{
		ssize_t		done = pwrite(sink->spool->fd, bytes + written, length - written,
							  sink->spool->end);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
		{
			sink->write_errno = done < 0 ? errno : ENOSPC;
			return CURL_WRITEFUNC_ERROR;
		}
		written += done;
		sink->spool->end += done;
		sink->length += done;
	}
	return length;
}

static size_t
on_mail(char *buffer, size_t size, size_t n, void *arg)
{
	HttpMail   *mail = arg;
	size_t		length = strnlen(mail->text + mail->sent, size * n);

	memcpy(buffer, mail->text + mail->sent, length);
	mail->sent += length;
	return length;
}

/* ---- life of a client ---- */

/*
 * stop takes the current request out of libcurl.
 */
static void
stop(HttpClient *client)
{
	sigset_t	all;
	sigset_t	saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	if (client->active)
		curl_multi_remove_handle(client->multi, client->easy);
	client->active = false;
	curl_slist_free_all(client->headers);
	curl_slist_free_all(client->recipients);
	client->headers = client->recipients = NULL;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

/*
 * free_client frees every foreign handle; also when the pull's context goes
 * away after an error.
 */
static void
free_client(void *arg)
{
	HttpClient *client = arg;

	if (client->multi == NULL)
		return;
	stop(client);
	if (client->easy != NULL)
		curl_easy_cleanup(client->easy);
	curl_multi_cleanup(client->multi);
	client->easy = NULL;
	client->multi = NULL;
	for (int i = 0; i < RESERVED_FDS; i++)
		ReleaseExternalFD();
}

HttpClient *
http_client_open(MemoryContext context, const HttpConfig *config, const EtlServices *services)
{
	HttpClient *client = MemoryContextAllocZero(context, sizeof(HttpClient));

	initialize_library();
	client->context = context;
	client->config = config;
	client->services = services;
	client->timer = DT_NOEND;
	client->callback.func = free_client;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(context, &client->callback);

	client->multi = curl_multi_init();
	if (client->multi != NULL)
		for (int i = 0; i < RESERVED_FDS; i++)
			ReserveExternalFD();
	client->easy = client->multi ? curl_easy_init() : NULL;
	if (client->easy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not initialize libcurl")));
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	return client;
}

void
http_client_close(HttpClient *client)
{
	free_client(client);
}

/* ---- a request ---- */

/*
 * set_policy sets what no option can change.
 */
static void
set_policy(HttpClient *client)
{
	CURL	   *easy = client->easy;

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (etl_tls_ca_file && etl_tls_ca_file[0])
	{
		curl_easy_setopt(easy, CURLOPT_CAINFO, etl_tls_ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, client);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "etl/1.0 (PostgreSQL)");
}

/*
 * add_header appends one field; libcurl drops a field whose value is empty
 * unless it ends with a semicolon.
 */
static void
add_header(HttpClient *client, const char *name, const char *value)
{
	char	   *line = value[0] ? psprintf("%s: %s", name, value) : psprintf("%s;", name);
	struct curl_slist *list = curl_slist_append(client->headers, line);

	explicit_bzero(line, strlen(line));
	pfree(line);
	if (list == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	client->headers = list;
}

/*
 * set_mail makes the request a mail.  Other protocols than SMTP are out of
 * reach then, and what is not encrypted is refused.
 */
static void
set_mail(HttpClient *client, HttpMail *mail)
{
	CURL	   *easy = client->easy;
	ListCell   *cell;

	foreach(cell, mail->to)
	{
		struct curl_slist *list = curl_slist_append(client->recipients, lfirst(cell));

		if (list == NULL)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		client->recipients = list;
	}
	mail->sent = 0;
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	curl_easy_setopt(easy, CURLOPT_USE_SSL, (long) (mail->clear ? CURLUSESSL_NONE : CURLUSESSL_ALL));
	curl_easy_setopt(easy, CURLOPT_MAIL_FROM, mail->from);
	curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, client->recipients);
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_mail);
	curl_easy_setopt(easy, CURLOPT_READDATA, mail);
	if (mail->user != NULL)
	{
		curl_easy_setopt(easy, CURLOPT_USERNAME, mail->user);
		curl_easy_setopt(easy, CURLOPT_PASSWORD, mail->password);
	}
}

/*
 * set_body gives an HTTP request its body.
 */
static void
set_body(HttpClient *client, const HttpRequest *request)
{
	CURL	   *easy = client->easy;

	if (request->body != NULL)
	{
		add_header(client, "Content-Type", request->body_type);
		add_header(client, "Expect", "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(request->body));
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body);
	}
	else if (strcmp(request->method, "POST") == 0)
	{
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) 0);
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
	}
}

void
http_client_start(HttpClient *client, const HttpRequest *request, HttpSink *sink)
{
	const HttpConfig *config = client->config;
	CURL	   *easy = client->easy;
	sigset_t	all;
	sigset_t	saved;
	ListCell   *cell;

	stop(client);
	curl_easy_reset(easy);
	set_policy(client);
	client->sink = sink;
	client->blocked[0] = client->message[0] = '\0';
	client->url = MemoryContextStrdup(client->context, request->url);
	client->host = http_url_host(request->url);
	client->services->check_host(client->host);
	client->host = MemoryContextStrdup(client->context, client->host);

	foreach(cell, request->headers)
	{
		HttpPair   *pair = lfirst(cell);

		add_header(client, pair->name, pair->value);
	}
	if (request->mail != NULL)
		set_mail(client, request->mail);
	else
		set_body(client, request);
	curl_easy_setopt(easy, CURLOPT_URL, client->url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, client->headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, client->message);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, sink);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) config->connect_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) config->total_ms);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) ((config->idle_ms + 999) / 1000));

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	client->active = curl_multi_add_handle(client->multi, easy) == CURLM_OK;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (!client->active)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("libcurl could not take a request")));
}

/*
 * link_next finds the reference with rel="next" among the Link header fields.
 */
static char *
link_next(CURL *easy)
{
	struct curl_header *header;
	char	   *result = NULL;

	for (size_t i = 0; result == NULL &&
					   curl_easy_header(easy, "Link", i, CURLH_HEADER, -1, &header) == CURLHE_OK;
		 i++)
	{
		result = http_link_next(header->value);
		if (header->amount == i + 1)
			break;
	}
	return result;
}

/*
 * fill_result collects what is known of a request that ended.
 */
static void
fill_result(HttpClient *client, CURLcode code, HttpResult *result)
{
	CURL	   *easy = client->easy;
	curl_off_t	retry_after = 0;
	char	   *redirect = NULL;

	memset(result, 0, sizeof(*result));
	result->code = code;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &result->status);
	curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &result->verify_result);
	if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after) == CURLE_OK)
		result->retry_after = retry_after;
	if (curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &redirect) == CURLE_OK && redirect)
		result->redirect = pstrdup(redirect);
	result->link_next = link_next(easy);
	result->message = pstrdup(client->message[0] ? client->message : curl_easy_strerror(code));
	result->blocked = client->blocked[0] ? pstrdup(client->blocked) : NULL;
}

/*
 * drive lets libcurl work on everything that may be ready; true when the
 * request ended.
 */
static bool
drive(HttpClient *client, CURLcode *code)
{
	int			sockets[ETL_MAX_SOCKETS];
	int			n = client->nsockets;
	int			running = 0;
	int			queued;
	CURLMsg    *message;
	bool		ended = false;
	sigset_t	all;
	sigset_t	saved;

	memcpy(sockets, client->sockets, sizeof(sockets));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	for (int i = 0; i < n; i++)
		curl_multi_socket_action(client->multi, sockets[i], 0, &running);
	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	while ((message = curl_multi_info_read(client->multi, &queued)) != NULL)
		if (message->msg == CURLMSG_DONE)
		{
			*code = message->data.result;
			ended = true;
		}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return ended;
}

bool
http_client_poll(HttpClient *client, EtlWait *wait, HttpResult *result)
{
	CURLcode	code;

	if (drive(client, &code))
	{
		fill_result(client, code, result);
		stop(client);
		return true;
	}
	memset(wait, 0, sizeof(*wait));
	wait->nsockets = client->nsockets;
	memcpy(wait->sockets, client->sockets, sizeof(wait->sockets));
	memcpy(wait->events, client->events, sizeof(wait->events));
	wait->until = client->timer;
	if (wait->nsockets == 0 && TIMESTAMP_NOT_FINITE(wait->until))
		wait->until = GetCurrentTimestamp() + INT64CONST(100000);
	return false;
}
