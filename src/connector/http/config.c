/*-------------------------------------------------------------------------
 *
 * config.c
 *    Options of http sources and streams, read into an HttpConfig.
 *
 * Definitions are judged with the same reader that a pull uses, except that
 * secrets are left alone; a pull resolves them first, into memory that is
 * wiped with its context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/redact.h"
#include "connector/connector.h"
#include "connector/http/http.h"
#include "connector/http/resolve.h"

const EtlOptionDef http_source_options[] = {
	{"url", "text", NULL, "address that the paths of streams are appended to; http or https"},
	{"headers", "object", NULL, "header fields of every request"},
	{"query", "object", NULL, "query parameters of every request"},
	{"auth", "object", NULL, "credentials: see etl.options('http:auth')"},
	{"timeout", "object", NULL, "see etl.options('http:timeout')"},
	{"retry", "object", NULL, "see etl.options('http:retry')"},
	{"rate_limit", "object", NULL, "see etl.options('http:rate_limit')"},
	{"max_response_size", "size", "64MB", "a longer answer fails the pull"},
	{NULL}};

const EtlOptionDef http_stream_options[] = {
	{"path", "text", NULL, "appended to the source's url"},
	{"method", "GET|POST", "GET", "method of the requests"},
	{"query", "object", NULL, "query parameters, besides those of the source"},
	{"headers", "object", NULL, "header fields, besides those of the source"},
	{"body", "any", NULL, "body of a POST: an object or array is sent as JSON, text as it is"},
	{"records", "text", NULL, "JSON path of the array of records; default the document itself"},
	{"paginate", "object", NULL, "see etl.options('http:paginate')"},
	{"incremental", "object", NULL, "see etl.options('http:incremental')"},
	{"max_rejects", "threshold", NULL, "rejects, as a count or a share, above which a load fails whole"},
	{NULL}};

static const EtlOptionDef auth_options[] = {
	{"type", "basic|bearer|api_key|oauth2_client_credentials", NULL, "kind of credentials"},
	{"user", "text", NULL, "basic: user name"},
	{"password", "text", NULL, "basic: password"},
	{"token", "text", NULL, "bearer: token"},
	{"name", "text", NULL, "api_key: name of the header field or parameter"},
	{"value", "text", NULL, "api_key: the key"},
	{"in", "header|query", "header", "api_key: where it is sent"},
	{"token_url", "text", NULL, "oauth2_client_credentials: where tokens are had"},
	{"client_id", "text", NULL, "oauth2_client_credentials: client"},
	{"client_secret", "text", NULL, "oauth2_client_credentials: its secret"},
	{"scopes", "text[]", NULL, "oauth2_client_credentials: scopes asked for"},
	{NULL}};

static const EtlOptionDef timeout_options[] = {
	{"connect", "duration", "10 s", "until the connection stands, TLS included"},
	{"idle", "duration", "30 s", "without a byte received"},
	{"total", "duration", "5 min", "for one answer"},
	{NULL}};

static const EtlOptionDef retry_options[] = {
	{"attempts", "integer", "3", "tries of one request, the first included; answers that name a "
								 "Retry-After do not count"},
	{"base", "duration", "500 ms", "upper bound of the first random wait; doubles with each"},
	{"cap", "duration", "30 s", "upper bound of any random wait"},
	{"deadline", "duration", "10 min", "time for one request with all its tries"},
	{NULL}};

static const EtlOptionDef rate_limit_options[] = {
	{"requests", "integer", NULL, "requests of this session to the source in the time 'per'"},
	{"per", "duration", "1 s", "the time that 'requests' counts over"},
	{NULL}};

static const EtlOptionDef paginate_options[] = {
	{"type", "page|offset|cursor|next_url|link_header", NULL, "how further pages are asked for"},
	{"param", "text", NULL,
	 "page, offset, cursor: parameter that says where to go on; default page, offset, cursor"},
	{"start", "integer", NULL,
	 "page: number of the first page, default 1; offset: first offset, default 0"},
	{"size_param", "text", NULL, "page, offset: parameter for the number of records in a page"},
	{"size", "integer", NULL, "page, offset: records in a page; a shorter page is the last"},
	{"next", "text", NULL, "cursor, next_url: JSON path of the next cursor or URL in an answer"},
	{"max_pages", "integer", NULL, "pages of one pull; the next pull goes on from there"},
	{NULL}};

static const EtlOptionDef incremental_options[] = {
	{"field", "text", NULL, "JSON path, in a record, of the value that grows"},
	{"param", "text", NULL, "parameter that gets the greatest value of earlier pulls"},
	{"start", "text", NULL, "value of the first pull; default none is sent"},
	{"lookback", "text", NULL, "interval, or number, subtracted from the value that is sent"},
	{NULL}};

void
etl_http_register_options(void)
{
	etl_options_register("http:auth", auth_options);
	etl_options_register("http:timeout", timeout_options);
	etl_options_register("http:retry", retry_options);
	etl_options_register("http:rate_limit", rate_limit_options);
	etl_options_register("http:paginate", paginate_options);
	etl_options_register("http:incremental", incremental_options);
}

/*
 * part returns a nested object after checking its keys; NULL when absent.
 */
static Jsonb *
part(const Jsonb *options, const char *key, const char *of, const EtlOptionDef *defs)
{
	Jsonb	   *object = options ? etl_json_get(options, key) : NULL;

	if (object != NULL)
		etl_options_check(object, of, defs, NULL);
	return object;
}

/*
 * need returns a text that must be there.
 */
static char *
need(const Jsonb *options, const char *key, const char *of)
{
	char	   *text = etl_json_get_text(options, key);

	if (text == NULL || text[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"%s\" is missing in %s", key, of),
				 errhint("SELECT * FROM etl.options('%s') describes it.", of)));
	return text;
}

/*
 * duration reads an interval option in milliseconds.
 */
static int64
duration(const Jsonb *options, const char *key, int64 default_ms)
{
	char	   *text = options ? etl_json_get_text(options, key) : NULL;
	int64		ms = text ? etl_option_duration_ms(key, text) : default_ms;

	if (ms <= 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"%s\" must be longer than nothing", key)));
	return Min(ms, PG_INT32_MAX);
}

/*
 * count reads an integer option of at least 'least'.
 */
static int64
count(const Jsonb *options, const char *key, int64 default_value, int64 least)
{
	int64		value = options ? etl_json_get_int64(options, key, default_value) : default_value;

	if (value < least || value > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"%s\" must be between %lld and %d", key, (long long) least, PG_INT32_MAX)));
	return value;
}

/*
 * add_pairs appends the members of an object, replacing those of the same
 * name.  Header fields may not hold line ends.
 */
static List *
add_pairs(List *pairs, const Jsonb *options, const char *key, bool header)
{
	Jsonb	   *object = options ? etl_json_get(options, key) : NULL;
	ListCell   *cell;

	foreach(cell, object ? etl_json_keys(object) : NIL)
	{
		HttpPair   *pair = palloc(sizeof(HttpPair));
		ListCell   *other;

		pair->name = lfirst(cell);
		pair->value = etl_json_get_text(object, pair->name);
		if (pair->value == NULL)
			pair->value = "";
		if (header && (pair->name[0] == '\0' || strpbrk(pair->name, "\r\n: ") ||
					   strpbrk(pair->value, "\r\n")))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("header field \"%s\" holds a character that it may not hold", pair->name),
					 errdetail("Names have no colon, space or line end, values no line end.")));
		foreach(other, pairs)
		{
			HttpPair   *old = lfirst(other);

			if (header ? pg_strcasecmp(old->name, pair->name) == 0 : strcmp(old->name, pair->name) == 0)
				pairs = foreach_delete_current(pairs, other);
		}
		pairs = lappend(pairs, pair);
	}
	return pairs;
}

/*
 * read_auth reads the credentials.
 */
static void
read_auth(HttpConfig *config, const Jsonb *auth)
{
	const char *type;

	if (auth == NULL)
		return;
	type = need(auth, "type", "http:auth");
	if (strcmp(type, "basic") == 0)
	{
		config->auth = AUTH_BASIC;
		config->user = need(auth, "user", "http:auth");
		config->password = need(auth, "password", "http:auth");
	}
	else if (strcmp(type, "bearer") == 0)
	{
		config->auth = AUTH_BEARER;
		config->token = need(auth, "token", "http:auth");
	}
	else if (strcmp(type, "api_key") == 0)
	{
		char	   *in = etl_json_get_text(auth, "in");

		config->auth = AUTH_API_KEY;
		config->key_name = need(auth, "name", "http:auth");
		config->token = need(auth, "value", "http:auth");
		config->key_in_query = in != NULL && strcmp(in, "query") == 0;
	}
	else
	{
		List	   *scopes = etl_json_get_list(auth, "scopes");
		StringInfoData all;
		ListCell   *cell;

		config->auth = AUTH_OAUTH2;
		config->token_url = need(auth, "token_url", "http:auth");
		config->user = need(auth, "client_id", "http:auth");
		config->password = need(auth, "client_secret", "http:auth");
		initStringInfo(&all);
		foreach(cell, scopes)
			appendStringInfo(&all, "%s%s", all.len > 0 ? " " : "", (char *) lfirst(cell));
		config->scopes = all.data;
		if (!http_url_is_supported(config->token_url))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("option \"token_url\" is not an http or https URL")));
	}
	if ((config->token && strpbrk(config->token, "\r\n")) ||
		(config->key_name && strpbrk(config->key_name, "\r\n: ")))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("the credentials hold a line end or another character that a header "
							   "field may not hold")));
}

/*
 * read_paginate reads how pages follow each other.
 */
static void
read_paginate(HttpConfig *config, const Jsonb *paginate)
{
	static const struct
	{
		const char *type;
		HttpPaging	paging;
		const char *param;
		int64		start;
	} kinds[] = {
		{"page", PAGING_PAGE, "page", 1},
		{"offset", PAGING_OFFSET, "offset", 0},
		{"cursor", PAGING_CURSOR, "cursor", 0},
		{"next_url", PAGING_NEXT_URL, NULL, 0},
		{"link_header", PAGING_LINK_HEADER, NULL, 0}};
	const char *type;

	if (paginate == NULL)
		return;
	type = need(paginate, "type", "http:paginate");
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (strcmp(type, kinds[i].type) != 0)
			continue;
		config->paging = kinds[i].paging;
		config->param = etl_json_get_text(paginate, "param");
		if (config->param == NULL && kinds[i].param != NULL)
			config->param = pstrdup(kinds[i].param);
		config->start = count(paginate, "start", kinds[i].start, 0);
	}
	config->size_param = etl_json_get_text(paginate, "size_param");
	config->size = count(paginate, "size", 0, etl_json_has(paginate, "size") ? 1 : 0);
	config->max_pages = count(paginate, "max_pages", 0, etl_json_has(paginate, "max_pages") ? 1 : 0);
	config->next_path = etl_json_get_text(paginate, "next");

	if (config->size_param != NULL && config->size == 0)
		(void) need(paginate, "size", "http:paginate");
	if (config->paging == PAGING_CURSOR || config->paging == PAGING_NEXT_URL)
		(void) need(paginate, "next", "http:paginate");
	if (!config->is_json && config->paging != PAGING_LINK_HEADER)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("paging by \"%s\" needs the format json", type),
				 errhint("Only link_header works without looking into an answer.")));
}

/*
 * read_incremental reads how a pull continues where an earlier one ended.
 */
static void
read_incremental(HttpConfig *config, const Jsonb *incremental)
{
	if (incremental == NULL)
		return;
	config->inc_field = need(incremental, "field", "http:incremental");
	config->inc_param = need(incremental, "param", "http:incremental");
	config->inc_start = etl_json_get_text(incremental, "start");
	config->inc_lookback = etl_json_get_text(incremental, "lookback");
	if (!config->is_json)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"incremental\" needs the format json")));
	if (config->inc_lookback != NULL &&
		strspn(config->inc_lookback, "0123456789.") != strlen(config->inc_lookback))
		(void) etl_option_duration_ms("lookback", config->inc_lookback);
}

/*
 * read_source reads what the source says.
 */
static void
read_source(HttpConfig *config, const Jsonb *options)
{
	Jsonb	   *timeout = part(options, "timeout", "http:timeout", timeout_options);
	Jsonb	   *retry = part(options, "retry", "http:retry", retry_options);
	Jsonb	   *rate = part(options, "rate_limit", "http:rate_limit", rate_limit_options);
	char	   *size = etl_json_get_text(options, "max_response_size");

	config->url = need(options, "url", "http");
	if (!http_url_is_supported(config->url))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"url\" of an http source is not an http or https URL"),
				 errhint("Write it like \"https://api.example.com/v1\"; credentials belong in \"auth\".")));
	config->headers = add_pairs(NIL, options, "headers", true);
	config->query = add_pairs(NIL, options, "query", false);
	read_auth(config, part(options, "auth", "http:auth", auth_options));
	config->connect_ms = duration(timeout, "connect", 10 * 1000);
	config->idle_ms = duration(timeout, "idle", 30 * 1000);
	config->total_ms = duration(timeout, "total", 5 * 60 * 1000);
	config->attempts = count(retry, "attempts", 3, 1);
	config->base_ms = duration(retry, "base", 500);
	config->cap_ms = duration(retry, "cap", 30 * 1000);
	config->deadline_ms = duration(retry, "deadline", 10 * 60 * 1000);
	config->rate_per_ms = duration(rate, "per", 1000);
	if (rate != NULL)
	{
		(void) need(rate, "requests", "http:rate_limit");
		config->rate_requests = count(rate, "requests", 1, 1);
	}
	config->max_response_size = size ? etl_option_size("max_response_size", size) : 64 * 1024 * 1024;
}

/*
 * read_stream reads what the stream says.
 */
static void
read_stream(HttpConfig *config, const Jsonb *options, const char *format)
{
	char	   *path = etl_json_get_text(options, "path");

	config->is_json = format == NULL || strcmp(format, "json") == 0;
	config->method = etl_json_get_text(options, "method");
	if (config->method == NULL)
		config->method = "GET";
	if (path != NULL && strstr(path, "://") != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"path\" of an http stream is appended to the url of its source"),
				 errhint("Define a source for the other host.")));
	config->url = http_url_join(config->url, path);
	if (!http_url_is_supported(config->url))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("url and path together are not a valid URL"),
				 errdetail("They make \"%s\".", config->url)));
	config->headers = add_pairs(config->headers, options, "headers", true);
	config->query = add_pairs(config->query, options, "query", false);
	config->body = etl_json_get(options, "body");
	if (config->body != NULL && strcmp(config->method, "POST") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"body\" needs the method POST")));
	config->records = etl_json_get_text(options, "records");
	if (config->records != NULL && !config->is_json)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"records\" needs the format json")));
	read_paginate(config, part(options, "paginate", "http:paginate", paginate_options));
	read_incremental(config, part(options, "incremental", "http:incremental", incremental_options));
}

void
http_config_validate(const Jsonb *source_options, const Jsonb *stream_options, const char *format)
{
	HttpConfig	config = {0};

	read_source(&config, source_options);
	if (stream_options != NULL)
		read_stream(&config, stream_options, format);
}

/*
 * fingerprint hashes what a stored page position depends on: a position is
 * not used for requests that have become others.
 */
static uint64
fingerprint(const Jsonb *source_options, const Jsonb *stream_options)
{
	static const char *const keys[] = {"path", "query", "body", "paginate", "incremental", NULL};
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, etl_json_get_text(source_options, "url"));
	for (int i = 0; keys[i]; i++)
	{
		char	   *value = etl_json_get_text(stream_options, keys[i]);

		appendStringInfo(&text, "\n%s", value ? value : "");
	}
	return hash_bytes_extended((const unsigned char *) text.data, text.len, 0);
}

/*
 * collect_masked notes what no message may show: secrets, clear-text
 * credentials, and the names of the parameters that carry them.
 */
static void
collect_masked(HttpConfig *config)
{
	ListCell   *cell;

	if (config->password)
		config->masked = lappend(config->masked, config->password);
	if (config->token)
		config->masked = lappend(config->masked, config->token);
	if (config->key_name && config->key_in_query)
		config->masked_params = lappend(config->masked_params, config->key_name);
	foreach(cell, config->headers)
	{
		HttpPair   *pair = lfirst(cell);

		if (etl_is_sensitive(pair->name, strlen(pair->name)))
			config->masked = lappend(config->masked, pair->value);
	}
}

HttpConfig *
http_config_read(EtlConnectorContext *context)
{
	HttpConfig *config = palloc0(sizeof(HttpConfig));
	char	   *url = need(context->source_options, "url", "http");
	Jsonb	   *auth = etl_json_get(context->source_options, "auth");
	char	   *token_url = auth ? etl_json_get_text(auth, "token_url") : NULL;
	char	   *host = http_url_host(url);
	const Jsonb *source;
	const Jsonb *stream;

	http_config_validate(context->source_options, context->stream_options, context->format);
	context->services->check_host(host);
	if (token_url != NULL)
		context->services->check_host(http_url_host(token_url));

	/* a secret of OAuth2 goes to the token server, every other to the source */
	source = http_resolve(context, context->source_options, host,
						  token_url ? http_url_host(token_url) : host, &config->masked);
	stream = http_resolve(context, context->stream_options, host, host, &config->masked);
	read_source(config, source);
	read_stream(config, stream, context->format);
	config->fingerprint = fingerprint(context->source_options, context->stream_options);
	collect_masked(config);
	return config;
}
