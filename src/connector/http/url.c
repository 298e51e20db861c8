/*-------------------------------------------------------------------------
 *
 * url.c
 *    Making, resolving and showing URLs.
 *
 * Everything is parsed by libcurl's own URL parser, so that what is judged
 * here is what is connected to later.  A handle lives within one function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "common/redact.h"
#include "connector/http/http.h"

/*
 * part returns one part of a parsed URL, palloc'd; NULL when it has none.
 */
static char *
part(CURLU *handle, CURLUPart what, unsigned int flags)
{
	char	   *text = NULL;
	char	   *result;

	if (curl_url_get(handle, what, &text, flags) != CURLUE_OK || text == NULL)
		return NULL;
	result = pstrdup(text);
	curl_free(text);
	return result;
}

/*
 * parse makes a handle of a URL; NULL when it is none.
 */
static CURLU *
parse(const char *url)
{
	CURLU	   *handle = curl_url();

	if (handle != NULL &&
		curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER) != CURLUE_OK)
	{
		curl_url_cleanup(handle);
		return NULL;
	}
	return handle;
}

char *
http_url_join(const char *url, const char *path)
{
	size_t		length = strlen(url);

	if (path == NULL || path[0] == '\0')
		return pstrdup(url);
	if (path[0] == '?')
		return psprintf("%s%s", url, path);
	while (length > 0 && url[length - 1] == '/')
		length--;
	while (*path == '/')
		path++;
	return psprintf("%.*s/%s", (int) length, url, path);
}

char *
http_url_add(const char *url, List *pairs)
{
	CURLU	   *handle;
	char	   *result = NULL;
	ListCell   *cell;
	bool		ok = true;

	if (pairs == NIL)
		return pstrdup(url);
	handle = parse(url);
	if (handle == NULL)
		return pstrdup(url);
	foreach(cell, pairs)
	{
		HttpPair   *pair = lfirst(cell);
		char	   *text = psprintf("%s=%s", pair->name, pair->value ? pair->value : "");

		ok = ok && curl_url_set(handle, CURLUPART_QUERY, text,
								CURLU_APPENDQUERY | CURLU_URLENCODE) == CURLUE_OK;
	}
	if (ok)
		result = part(handle, CURLUPART_URL, 0);
	curl_url_cleanup(handle);
	return result ? result : pstrdup(url);
}

char *
http_url_resolve(const char *base, const char *reference)
{
	CURLU	   *handle = parse(base);
	char	   *result = NULL;

	if (handle == NULL)
		return NULL;
	if (curl_url_set(handle, CURLUPART_URL, reference,
					 CURLU_DISALLOW_USER | CURLU_ALLOW_SPACE | CURLU_URLENCODE) == CURLUE_OK)
		result = part(handle, CURLUPART_URL, 0);
	curl_url_cleanup(handle);
	return result;
}

char *
http_url_without(const char *url, const char *param)
{
	StringInfoData result;
	const char *query = strchr(url, '?');
	const char *end;
	size_t		name_length = strlen(param);
	char		separator = '?';

	if (query == NULL)
		return pstrdup(url);
	initStringInfo(&result);
	appendBinaryStringInfo(&result, url, query - url);
	end = url + strcspn(url, "#");
	for (const char *p = query + 1; p <= end;)
	{
		size_t		length = Min(strcspn(p, "&#"), end - p);

		if (length > 0 && !(strncmp(p, param, name_length) == 0 &&
							(p[name_length] == '=' || length == name_length)))
		{
			appendStringInfoChar(&result, separator);
			appendBinaryStringInfo(&result, p, length);
			separator = '&';
		}
		p += length + 1;
	}
	return result.data;
}

char *
http_url_host(const char *url)
{
	CURLU	   *handle = parse(url);
	char	   *host;
	char	   *port;

	if (handle == NULL)
		return NULL;
	host = part(handle, CURLUPART_HOST, 0);
	port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	curl_url_cleanup(handle);
	return host && port ? psprintf("%s:%s", host, port) : NULL;
}

char *
http_url_origin(const char *url)
{
	CURLU	   *handle = parse(url);
	char	   *scheme;
	char	   *host;

	if (handle == NULL)
		return NULL;
	scheme = part(handle, CURLUPART_SCHEME, 0);
	curl_url_cleanup(handle);
	host = http_url_host(url);
	if (scheme == NULL || host == NULL)
		return NULL;
	for (char *p = host; *p; p++)
		*p = pg_tolower((unsigned char) *p);
	return psprintf("%s://%s", scheme, host);
}

/*
 * has_scheme tells whether a URL has one of two schemes, and no user in it.
 */
static bool
has_scheme(const char *url, const char *a, const char *b)
{
	CURLU	   *handle = parse(url);
	char	   *scheme;
	char	   *host;

	if (handle == NULL)
		return false;
	scheme = part(handle, CURLUPART_SCHEME, 0);
	host = part(handle, CURLUPART_HOST, 0);
	curl_url_cleanup(handle);
	/* libcurl guesses a scheme for "host/path": we want it written */
	return host && host[0] && scheme && strstr(url, "://") &&
		   (strcmp(scheme, a) == 0 || strcmp(scheme, b) == 0);
}

bool
http_url_is_supported(const char *url)
{
	return has_scheme(url, "http", "https");
}

bool
http_url_is_mail(const char *url)
{
	return has_scheme(url, "smtp", "smtps");
}

/*
 * http_mask replaces every plaintext of a secret in a text.
 */
char *
http_mask(const HttpConfig *config, const char *text)
{
	char	   *result = pstrdup(text);
	ListCell   *cell;

	foreach(cell, config->masked)
	{
		const char *plain = lfirst(cell);
		size_t		from = 0;
		char	   *found;

		if (strlen(plain) < 3)
			continue;
		while ((found = strstr(result + from, plain)) != NULL)
		{
			from = found - result + 3;
			result = psprintf("%.*s***%s", (int) (found - result), result, found + strlen(plain));
		}
	}
	return result;
}

/*
 * http_url_show returns a URL as users may see it: values of sensitive
 * parameters are hidden.
 */
char *
http_url_show(const HttpConfig *config, const char *url)
{
	StringInfoData result;
	const char *query = strchr(url, '?');

	if (query == NULL)
		return http_mask(config, url);
	initStringInfo(&result);
	appendBinaryStringInfo(&result, url, query + 1 - url);
	for (const char *p = query + 1; *p;)
	{
		size_t		length = strcspn(p, "&");
		size_t		name = strcspn(p, "=&");
		bool		hidden = etl_is_sensitive(p, name);
		ListCell   *cell;

		foreach(cell, config->masked_params)
			if (strlen(lfirst(cell)) == name && strncmp(p, lfirst(cell), name) == 0)
				hidden = true;
		appendBinaryStringInfo(&result, p, hidden ? name : length);
		if (hidden)
			appendStringInfoString(&result, "=***");
		p += length;
		if (*p == '&')
			appendStringInfoChar(&result, *p++);
	}
	return http_mask(config, result.data);
}
