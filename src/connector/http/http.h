/*-------------------------------------------------------------------------
 *
 * http.h
 *    What the files of the http connector share.
 *
 *    config.c     options → HttpConfig, all secrets resolved
 *    client.c     one request at a time over libcurl's multi interface
 *    auth.c       credentials of a request, OAuth2 tokens
 *    paginate.c   which page comes next, positions, the loop guard
 *    retry.c      what to try again and when; the rate limit
 *    spool.c      response bodies in an unlinked temporary file
 *    url.c        making, resolving and showing URLs
 *    connector.c  the state machine behind the connector ABI
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HTTP_H
#define ETL_HTTP_H

#include "common/compat.h"
#include "etl_connector.h"

#define HTTP_MAX_REDIRECTS 5

typedef struct HttpPair
{
	char	   *name;
	char	   *value;
} HttpPair;

typedef enum HttpAuth
{
	AUTH_NONE,
	AUTH_BASIC,
	AUTH_BEARER,
	AUTH_API_KEY,
	AUTH_OAUTH2
} HttpAuth;

typedef enum HttpPaging
{
	PAGING_NONE,
	PAGING_PAGE,
	PAGING_OFFSET,
	PAGING_CURSOR,
	PAGING_NEXT_URL,
	PAGING_LINK_HEADER
} HttpPaging;

typedef struct HttpConfig
{
	/* source */
	char	   *url;			/* source url and stream path, joined */
	List	   *headers;		/* HttpPair *, those of the stream win */
	List	   *query;			/* HttpPair * */
	HttpAuth	auth;
	char	   *user;			/* basic; client_id of oauth2 */
	char	   *password;		/* basic; client_secret of oauth2 */
	char	   *token;			/* bearer; value of api_key */
	char	   *key_name;		/* api_key */
	bool		key_in_query;
	char	   *token_url;
	char	   *scopes;
	int64		connect_ms;
	int64		idle_ms;
	int64		total_ms;
	int			attempts;
	int64		base_ms;
	int64		cap_ms;
	int64		deadline_ms;
	int			rate_requests;	/* 0: no limit */
	int64		rate_per_ms;
	int64		max_response_size;

	/* stream */
	char	   *method;
	Jsonb	   *body;			/* NULL: none */
	char	   *records;
	bool		is_json;		/* pages can be looked into */
	HttpPaging	paging;
	char	   *param;
	char	   *size_param;
	char	   *next_path;
	int64		start;
	int64		size;			/* 0: not given */
	int64		max_pages;		/* 0: no limit */
	char	   *inc_field;
	char	   *inc_param;
	char	   *inc_start;
	char	   *inc_lookback;

	List	   *masked;			/* char *: plaintexts that no message may show */
	List	   *masked_params;	/* char *: query parameters whose value is hidden */
	uint64		fingerprint;	/* of what a position depends on */
} HttpConfig;

/* A mail, for URLs of the schemes smtp and smtps. */
typedef struct HttpMail
{
	char	   *from;			/* bare addresses */
	List	   *to;				/* char * */
	char	   *text;			/* header and body, lines ended by CR LF */
	size_t		sent;			/* how much of it libcurl has had */
	char	   *user;			/* NULL: without credentials */
	char	   *password;
	bool		clear;			/* without TLS */
} HttpMail;

/* One request, ready to be sent. */
typedef struct HttpRequest
{
	const char *method;
	char	   *url;			/* without credentials */
	List	   *headers;		/* HttpPair * */
	char	   *body;			/* NULL: none */
	const char *body_type;
	HttpMail   *mail;			/* NULL: it is HTTP */
} HttpRequest;

/* ---- config.c ---- */
extern const EtlOptionDef http_source_options[];
extern const EtlOptionDef http_stream_options[];
extern void http_config_validate(const Jsonb *source_options, const Jsonb *stream_options,
								 const char *format);
extern HttpConfig *http_config_read(EtlConnectorContext *context);

/* ---- url.c ---- */
extern char *http_url_join(const char *url, const char *path);
extern char *http_url_add(const char *url, List *pairs);
extern char *http_url_resolve(const char *base, const char *reference);	/* NULL: not a URL */
extern char *http_url_without(const char *url, const char *param);
extern char *http_url_origin(const char *url);	/* scheme://host:port */
extern char *http_url_host(const char *url);	/* host:port */
extern bool http_url_is_supported(const char *url);	/* http or https, no user in it */
extern bool http_url_is_mail(const char *url);	/* smtp or smtps, no user in it */
extern char *http_url_show(const HttpConfig *config, const char *url);
extern char *http_mask(const HttpConfig *config, const char *text);

/* ---- spool.c ---- */
typedef struct HttpSpool
{
	int			fd;
	int64		end;			/* where the next byte goes */
	int			held;			/* items not yet released */
	MemoryContextCallback callback;
} HttpSpool;

extern HttpSpool *http_spool_open(MemoryContext context);
extern void http_spool_reuse(HttpSpool *spool);

/* ---- client.c ---- */

/* Where the bytes of an answer go: the spool, or a small buffer. */
typedef struct HttpSink
{
	HttpSpool  *spool;			/* NULL: 'buffer' */
	char	   *buffer;
	int64		offset;			/* of the first byte in the spool */
	int64		length;
	int64		limit;
	bool		too_large;
	int			write_errno;
} HttpSink;

typedef struct HttpResult
{
	int			code;			/* CURLcode */
	long		status;			/* 0 when there was none */
	long		verify_result;	/* X509_V_ERR_… */
	int64		retry_after;	/* seconds, 0 none */
	char	   *redirect;		/* absolute URL, or NULL */
	char	   *link_next;		/* of the Link header, as it stands, or NULL */
	char	   *message;		/* libcurl's */
	char	   *blocked;		/* address that may not be connected to, or NULL */
} HttpResult;

typedef struct HttpClient HttpClient;

extern HttpClient *http_client_open(MemoryContext context, const HttpConfig *config,
									const EtlServices *services);
extern void http_client_start(HttpClient *client, const HttpRequest *request, HttpSink *sink);
/* true when the answer is complete or failed; else 'wait' says what for */
extern bool http_client_poll(HttpClient *client, EtlWait *wait, HttpResult *result);
extern void http_client_close(HttpClient *client);

/* ---- auth.c ---- */
typedef struct HttpToken
{
	char	   *text;			/* NULL: none yet */
	TimestampTz expires;
	bool		in_body;		/* the server wants the credentials in the body */
} HttpToken;

extern bool http_auth_needs_token(const HttpConfig *config, const HttpToken *token);
extern HttpRequest *http_auth_token_request(const HttpConfig *config, const HttpToken *token);
extern bool http_auth_token_read(const HttpConfig *config, const EtlServices *services,
								 HttpSink *sink, HttpToken *token);
/* adds the credentials to a request that goes to the source's own origin */
extern void http_auth_apply(const HttpConfig *config, const HttpToken *token, HttpRequest *request);

/* ---- paginate.c ---- */
typedef struct HttpPager
{
	MemoryContext context;		/* outlives the page */
	const HttpConfig *config;
	int64		number;			/* page or offset */
	char	   *cursor;
	char	   *url;			/* next_url, link_header */
	char	   *value;			/* incremental value that this pull started with */
	char	   *high;			/* greatest value seen in it */
	int64		pages;			/* asked for in this pull */
	int64		size;			/* records a full page has, as the server sees it; 0 unknown */
	int			empty;			/* pages without records in a row */
	bool		done;			/* the last page has come */
	bool		stopped;		/* max_pages reached */
	struct HTAB *seen;			/* requests made and bodies got: the loop guard */
} HttpPager;

extern HttpPager *http_pager_open(EtlConnectorContext *context, const HttpConfig *config);
extern HttpRequest *http_pager_request(HttpPager *pager);
/* takes note of a page; returns the number of its records, -1 unknown */
extern int64 http_pager_page(HttpPager *pager, const EtlServices *services, const HttpSink *sink,
							 const HttpResult *result, const char *url);
/* true when a missing page (404) is only the end of the pages */
extern bool http_pager_ends_at_missing(HttpPager *pager);
extern Jsonb *http_pager_position(HttpPager *pager);
extern Jsonb *http_pager_final(HttpPager *pager);

/* ---- retry.c ---- */
typedef struct HttpRetry
{
	int			attempt;		/* of the current request, from 1 */
	TimestampTz began;
} HttpRetry;

extern bool http_retry_is_sensible(const HttpResult *result);
/* milliseconds to wait before the next attempt, -1: give up */
extern int64 http_retry_delay(const HttpConfig *config, const HttpRetry *retry,
							  const HttpResult *result);
/* moment from which the next request may be sent under the source's rate limit; takes a place */
extern TimestampTz http_rate_limit_take(const char *source, const HttpConfig *config);

/* failure.c: raises what a failed request means */
pg_noreturn extern void http_failure_report(const HttpConfig *config, const HttpRequest *request,
											const HttpResult *result, const HttpSink *sink,
											int attempts);
extern char *http_failure_text(const HttpResult *result);	/* "HTTP 503", "a dropped connection" */

/* spool.c: reading what a sink got, as EtlRead does */
typedef struct HttpSinkReader
{
	EtlRead		read;
	const HttpSink *sink;
	int64		at;
} HttpSinkReader;

extern void http_sink_reader(HttpSinkReader *reader, const HttpSink *sink);

#endif							/* ETL_HTTP_H */
