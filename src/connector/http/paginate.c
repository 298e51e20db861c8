/*-------------------------------------------------------------------------
 *
 * paginate.c
 *    Which page comes next, positions, and the loop guard.
 *
 * A position is an object:
 *    {"value": v}                              a pull came to its end
 *    {"value": v, "high": h, "next": {…}, "of": f}   a pull stands at 'next'
 * 'value' is what incremental pulls start from; 'high' becomes it when the
 * pull ends, since pages need not come in order.  'of' tells which requests
 * 'next' belongs to: after a redefinition it is not used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "connector/http/http.h"
#include "connector/http/increment.h"

#define MAX_EMPTY_PAGES 1000

typedef struct SeenKey
{
	uint64		a;
	uint64		b;
} SeenKey;

/*
 * see takes note of a request or body; true when it was there before.
 */
static bool
see(HttpPager *pager, SeenKey key)
{
	bool		found;

	(void) hash_search(pager->seen, &key, HASH_ENTER, &found);
	return found;
}

/*
 * take_position reads where an earlier pull stopped.
 */
static void
take_position(HttpPager *pager, const Jsonb *position)
{
	const HttpConfig *config = pager->config;
	Jsonb	   *next = etl_json_get(position, "next");
	char	   *of = etl_json_get_text(position, "of");

	pager->value = etl_json_get_text(position, "value");
	if (next == NULL || of == NULL || strcmp(of, psprintf(UINT64_FORMAT, config->fingerprint)) != 0)
		return;
	pager->high = etl_json_get_text(position, "high");
	pager->number = etl_json_get_int64(next, config->paging == PAGING_PAGE ? "page" : "offset",
									   config->start);
	pager->cursor = etl_json_get_text(next, "cursor");
	pager->url = etl_json_get_text(next, "url");
}

HttpPager *
http_pager_open(EtlConnectorContext *context, const HttpConfig *config)
{
	HttpPager  *pager = palloc0(sizeof(HttpPager));
	HASHCTL		control = {.keysize = sizeof(SeenKey), .entrysize = sizeof(SeenKey), .hcxt = context->context};

	pager->context = context->context;
	pager->config = config;
	pager->number = config->start;
	pager->seen = hash_create("etl pages", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (context->position != NULL)
		take_position(pager, context->position);
	return pager;
}

/* ---- requests ---- */

/*
 * add_pair appends a parameter; 'number' tells that JSON bodies get a number.
 */
static List *
add_pair(List *pairs, const char *name, char *value)
{
	HttpPair   *pair = palloc(sizeof(HttpPair));

	pair->name = pstrdup(name);
	pair->value = value;
	return lappend(pairs, pair);
}

/*
 * page_parameters lists what paging and incremental loading add to a request.
 */
static List *
page_parameters(HttpPager *pager)
{
	const HttpConfig *config = pager->config;
	List	   *pairs = NIL;

	if (config->inc_param != NULL)
	{
		char	   *value = pager->value != NULL ?
						  http_increment_look_back(pager->value, config->inc_lookback) :
						  config->inc_start;

		if (value != NULL)
			pairs = add_pair(pairs, config->inc_param, value);
	}
	if (config->paging == PAGING_PAGE || config->paging == PAGING_OFFSET)
		pairs = add_pair(pairs, config->param, psprintf(INT64_FORMAT, pager->number));
	if (config->paging == PAGING_CURSOR && pager->cursor != NULL)
		pairs = add_pair(pairs, config->param, pager->cursor);
	if (config->size_param != NULL)
		pairs = add_pair(pairs, config->size_param, psprintf(INT64_FORMAT, config->size));
	return pairs;
}

/*
 * make_body merges parameters into the JSON object of a POST.
 */
static char *
make_body(const HttpConfig *config, List *parameters)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_keys(config->body))
		etl_json_add(builder, lfirst(cell), etl_json_get(config->body, lfirst(cell)));
	foreach(cell, parameters)
	{
		HttpPair   *pair = lfirst(cell);
		bool		number = (config->size_param && strcmp(pair->name, config->size_param) == 0) ||
					  ((config->paging == PAGING_PAGE || config->paging == PAGING_OFFSET) &&
					   strcmp(pair->name, config->param) == 0);

		if (number)
			etl_json_add_int64(builder, pair->name, strtoll(pair->value, NULL, 10));
		else
			etl_json_add_text(builder, pair->name, pair->value);
	}
	return etl_json_text(etl_json_object_end(builder));
}

/*
 * has_header tells whether the options set a header field themselves.
 */
static bool
has_header(const HttpConfig *config, const char *name)
{
	ListCell   *cell;

	foreach(cell, config->headers)
		if (pg_strcasecmp(((HttpPair *) lfirst(cell))->name, name) == 0)
			return true;
	return false;
}

HttpRequest *
http_pager_request(HttpPager *pager)
{
	const HttpConfig *config = pager->config;
	HttpRequest *request = palloc0(sizeof(HttpRequest));
	List	   *parameters = page_parameters(pager);
	SeenKey		key;

	request->method = config->method;
	request->headers = list_copy(config->headers);
	if (config->is_json && !has_header(config, "Accept"))
		request->headers = add_pair(request->headers, "Accept", pstrdup("application/json"));

	if (pager->url != NULL)
		request->url = pstrdup(pager->url);	/* it carries its parameters */
	else
		request->url = http_url_add(config->url, config->query);
	if (config->body != NULL && etl_json_kind(config->body) == 'o')
		request->body = make_body(config, pager->url ? NIL : parameters);
	else
	{
		if (pager->url == NULL)
			request->url = http_url_add(request->url, parameters);
		if (config->body != NULL)
			request->body = etl_json_bare_text(config->body);
	}
	request->body_type = config->body && etl_json_kind(config->body) == 's' ?
							 "text/plain; charset=utf-8" :
							 "application/json";
	if (has_header(config, "Content-Type"))
		request->body_type = NULL;

	key.a = hash_bytes_extended((unsigned char *) request->url, strlen(request->url), 1);
	key.b = request->body == NULL ?
				1 :
				hash_bytes_extended((unsigned char *) request->body, strlen(request->body), 2);
	if (see(pager, key))
		ereport(ERROR, (errcode(ETL_ERR_PROTOCOL),
						errmsg("paging of \"%s\" goes round in circles",
							   http_url_show(config, request->url)),
						errdetail("After " INT64_FORMAT
								  " pages the server points to one that was already read.",
								  pager->pages),
						errhint("Check the option \"paginate\", or report the loop to the operator "
								"of the server.")));
	pager->pages++;
	return request;
}

/* ---- answers ---- */

/*
 * hash_body hashes a body without having it in memory.
 */
static SeenKey
hash_body(const HttpSink *sink)
{
	SeenKey		key = {3, 4};
	HttpSinkReader reader;
	unsigned char chunk[8192];
	size_t		n;

	http_sink_reader(&reader, sink);
	while ((n = reader.read.read(reader.read.arg, (char *) chunk, sizeof(chunk))) > 0)
	{
		key.a = hash_bytes_extended(chunk, n, key.a);
		key.b = hash_bytes_extended(chunk, n, key.b);
	}
	return key;
}

/*
 * follow takes the URL of the next page, relative to the page that named it.
 */
static void
follow(HttpPager *pager, const char *url, const char *reference)
{
	const HttpConfig *config = pager->config;
	char	   *next = http_url_resolve(url, reference);

	if (next == NULL || !http_url_is_supported(next))
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("the server names a next page that is not an http or https URL"),
				 errdetail("It is \"%s\".", http_url_show(config, reference))));
	if (strncmp(url, "https:", 6) == 0 && strncmp(next, "https:", 6) != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_ALLOWED),
				 errmsg("the server names a next page without encryption"),
				 errdetail("It is \"%s\".", http_url_show(config, next)),
				 errhint("Define the source with an http URL if that is intended.")));
	/* the key is added again when it is sent, and is not stored with the position */
	if (config->auth == AUTH_API_KEY && config->key_in_query)
		next = http_url_without(next, config->key_name);
	if (pager->url != NULL)
		pfree(pager->url);
	pager->url = MemoryContextStrdup(pager->context, next);
}

/*
 * is_last_by_size tells whether a page is the last because it is not full.
 * A server may cap the size asked for, so a short first page only tells how
 * large its pages are: the next one is asked for all the same.
 */
static bool
is_last_by_size(HttpPager *pager, int64 records)
{
	int64		asked = pager->config->size;

	if (records == 0)
		return true;
	if (pager->size == 0)
		pager->size = asked > 0 ? Min(Max(records, 1), asked) : 1;
	return asked > 0 && records >= 0 && records < pager->size;
}

/*
 * http_pager_ends_at_missing ends the pull at a 404 behind the first page,
 * which is how some servers say that there are no more.
 */
bool
http_pager_ends_at_missing(HttpPager *pager)
{
	if ((pager->config->paging != PAGING_PAGE && pager->config->paging != PAGING_OFFSET) ||
		pager->size == 0)
		return false;
	pager->done = true;
	return true;
}

/*
 * advance moves the pager behind a page.
 */
static void
advance(HttpPager *pager, int64 records, const char *next, const HttpResult *result, const char *url)
{
	const HttpConfig *config = pager->config;
	bool		last_by_size = is_last_by_size(pager, records);

	/* what APIs put where there is no next page */
	if (next != NULL && (next[0] == '\0' || strcmp(next, "false") == 0))
		next = NULL;
	switch (config->paging)
	{
		case PAGING_NONE:
			pager->done = true;
			break;
		case PAGING_PAGE:
			pager->number++;
			pager->done = last_by_size;
			break;
		case PAGING_OFFSET:
			pager->number += Max(records, 0);
			pager->done = last_by_size;
			break;
		case PAGING_CURSOR:
			pager->done = next == NULL;
			if (pager->cursor != NULL)
				pfree(pager->cursor);
			pager->cursor = next ? MemoryContextStrdup(pager->context, next) : NULL;
			break;
		case PAGING_NEXT_URL:
		case PAGING_LINK_HEADER:
			if (config->paging == PAGING_LINK_HEADER)
				next = result->link_next;
			pager->done = next == NULL;
			if (next != NULL)
				follow(pager, url, next);
			break;
	}
	pager->stopped = !pager->done && config->max_pages > 0 && pager->pages >= config->max_pages;
}

/*
 * look scans a JSON page for its records, its next page and its greatest
 * value.
 */
static EtlJsonFacts *
look(HttpPager *pager, const EtlServices *services, const HttpSink *sink, const char *url)
{
	const HttpConfig *config = pager->config;
	const char *paths[1];
	int			npaths = 0;
	HttpSinkReader reader;
	EtlJsonFacts *facts;

	if (config->paging == PAGING_CURSOR || config->paging == PAGING_NEXT_URL)
		paths[npaths++] = config->next_path;
	http_sink_reader(&reader, sink);
	facts = services->json_facts(&reader.read, config->records, npaths, paths, config->inc_field);
	if (!facts->valid)
		ereport(ERROR, (errcode(ETL_ERR_PROTOCOL),
						errmsg("the answer of \"%s\" is not a complete JSON document",
							   http_url_show(config, url)),
						errdetail(INT64_FORMAT " bytes came.", sink->length),
						errhint("Look at the answer with another client; if it is not JSON, give "
								"the stream its format.")));
	/* later pages may leave out what is empty; the first shows a wrong path, or an error in it */
	if (config->records != NULL && !facts->found && pager->pages <= 1)
		ereport(ERROR, (errcode(ETL_ERR_PROTOCOL),
						errmsg("there is nothing at \"%s\" in the answer of \"%s\"", config->records,
							   http_url_show(config, url)),
						errhint("Check the option \"records\", and look at the answer: it may be "
								"an error that came with a status of success.")));
	/* cppcheck-suppress returnDanglingLifetime ; facts hold nothing of the reader */
	return facts;
}

/*
 * raise_high takes note of the greatest value of a page.
 */
static void
raise_high(HttpPager *pager, const char *value)
{
	char	   *high = http_increment_greater(pager->high, value);

	if (high == pager->high)
		return;
	if (pager->high != NULL)
		pfree(pager->high);
	pager->high = MemoryContextStrdup(pager->context, high);
}

int64
http_pager_page(HttpPager *pager, const EtlServices *services, const HttpSink *sink,
				const HttpResult *result, const char *url)
{
	const HttpConfig *config = pager->config;
	EtlJsonFacts *facts = NULL;
	int64		records = sink->length == 0 ? 0 : -1;
	const char *next = NULL;

	if (config->is_json && sink->length > 0)
	{
		facts = look(pager, services, sink, url);
		records = facts->records;
		if (config->paging == PAGING_CURSOR || config->paging == PAGING_NEXT_URL)
			next = facts->values[0];
		if (facts->max_field != NULL)
			raise_high(pager, facts->max_field);
	}
	if ((config->paging == PAGING_PAGE || config->paging == PAGING_OFFSET) && records > 0 &&
		see(pager, hash_body(sink)))
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("page " INT64_FORMAT " of \"%s\" is the same as an earlier one", pager->pages,
						http_url_show(config, url)),
				 errdetail("The server seems to ignore the parameter \"%s\".", config->param),
				 errhint("Check the option \"paginate\".")));
	advance(pager, records, next, result, url);

	pager->empty = records == 0 ? pager->empty + 1 : 0;
	if (pager->empty > MAX_EMPTY_PAGES)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("%d pages in a row of \"%s\" had no records", pager->empty,
						http_url_show(config, url)),
				 errhint("Check the options \"records\" and \"paginate\".")));
	return records;
}

/* ---- positions ---- */

Jsonb *
http_pager_position(HttpPager *pager)
{
	const HttpConfig *config = pager->config;
	EtlJsonBuilder *builder;
	EtlJsonBuilder *next;

	if (pager->done)
		return http_pager_final(pager);

	next = etl_json_object_begin();
	if (config->paging == PAGING_PAGE)
		etl_json_add_int64(next, "page", pager->number);
	else if (config->paging == PAGING_OFFSET)
		etl_json_add_int64(next, "offset", pager->number);
	else if (config->paging == PAGING_CURSOR)
		etl_json_add_text(next, "cursor", pager->cursor);
	else
		etl_json_add_text(next, "url", pager->url);

	builder = etl_json_object_begin();
	if (pager->value != NULL)
		etl_json_add_text(builder, "value", pager->value);
	if (pager->high != NULL)
		etl_json_add_text(builder, "high", pager->high);
	etl_json_add(builder, "next", etl_json_object_end(next));
	etl_json_add_text(builder, "of", psprintf(UINT64_FORMAT, config->fingerprint));
	return etl_json_object_end(builder);
}

Jsonb *
http_pager_final(HttpPager *pager)
{
	EtlJsonBuilder *builder;
	char	   *value = pager->value;

	if (!pager->done)
		return http_pager_position(pager);
	if (pager->high != NULL)
		value = http_increment_greater(value, pager->high);
	builder = etl_json_object_begin();
	if (value != NULL)
		etl_json_add_text(builder, "value", value);
	return etl_json_object_end(builder);
}
