/*-------------------------------------------------------------------------
 *
 * auth.c
 *    Credentials of a request, and OAuth2 tokens.
 *
 * Credentials are added only to requests to the source's own origin; the
 * caller sees to that.  A token of client credentials is had before the
 * first request, and once more when it expired or was answered with 401.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"

#include "connector/http/http.h"

/* a token is renewed this long before it expires */
#define EXPIRY_MARGIN_S 30

/*
 * add appends one header field.
 */
static void
add(HttpRequest *request, const char *name, char *value)
{
	HttpPair   *pair = palloc(sizeof(HttpPair));

	pair->name = pstrdup(name);
	pair->value = value;
	request->headers = lappend(request->headers, pair);
}

/*
 * basic makes the value of an Authorization field from user and password.
 */
static char *
basic(const char *user, const char *password)
{
	char	   *plain = psprintf("%s:%s", user, password);
	int			length = pg_b64_enc_len(strlen(plain));
	char	   *encoded = palloc0(length + 1);
	char	   *result;

	length = etl_b64_encode(plain, strlen(plain), encoded, length);
	encoded[Max(length, 0)] = '\0';
	result = psprintf("Basic %s", encoded);
	explicit_bzero(plain, strlen(plain));
	return result;
}

void
http_auth_apply(const HttpConfig *config, const HttpToken *token, HttpRequest *request)
{
	switch (config->auth)
	{
		case AUTH_NONE:
			break;
		case AUTH_BASIC:
			add(request, "Authorization", basic(config->user, config->password));
			break;
		case AUTH_BEARER:
			add(request, "Authorization", psprintf("Bearer %s", config->token));
			break;
		case AUTH_OAUTH2:
			if (token->text != NULL)
				add(request, "Authorization", psprintf("Bearer %s", token->text));
			break;
		case AUTH_API_KEY:
			if (config->key_in_query)
			{
				HttpPair	pair = {config->key_name, config->token};

				request->url = http_url_add(request->url, list_make1(&pair));
			}
			else
				add(request, config->key_name, pstrdup(config->token));
			break;
	}
}

bool
http_auth_needs_token(const HttpConfig *config, const HttpToken *token)
{
	return config->auth == AUTH_OAUTH2 &&
		   (token->text == NULL || token->expires <= GetCurrentTimestamp());
}

/*
 * form_encode percent-encodes a value of a form.
 */
static char *
form_encode(const char *text)
{
	StringInfoData result;

	initStringInfo(&result);
	for (; *text; text++)
	{
		unsigned char c = *text;

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			strchr("-._~", c) != NULL)
			appendStringInfoChar(&result, c);
		else
			appendStringInfo(&result, "%%%02X", c);
	}
	return result.data;
}

HttpRequest *
http_auth_token_request(const HttpConfig *config, const HttpToken *token)
{
	HttpRequest *request = palloc0(sizeof(HttpRequest));
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "grant_type=client_credentials");
	if (config->scopes[0])
		appendStringInfo(&body, "&scope=%s", form_encode(config->scopes));
	if (token->in_body)
		appendStringInfo(&body, "&client_id=%s&client_secret=%s",
						 form_encode(config->user), form_encode(config->password));
	request->method = "POST";
	request->url = config->token_url;
	request->body = body.data;
	request->body_type = "application/x-www-form-urlencoded";
	add(request, "Accept", pstrdup("application/json"));
	if (!token->in_body)
		add(request, "Authorization", basic(form_encode(config->user), form_encode(config->password)));
	return request;
}

bool
http_auth_token_read(const HttpConfig *config, const EtlServices *services,
					 HttpSink *sink, HttpToken *token)
{
	static const char *const paths[] = {"access_token", "expires_in"};
	HttpSinkReader reader;
	EtlJsonFacts *facts;
	int64		seconds = 3600;

	http_sink_reader(&reader, sink);
	facts = services->json_facts(&reader.read, NULL, 2, paths, NULL);
	if (!facts->valid || facts->values[0] == NULL || facts->values[0][0] == '\0' ||
		strpbrk(facts->values[0], "\r\n") != NULL)
		return false;
	if (facts->values[1] != NULL)
		seconds = strtol(facts->values[1], NULL, 10);
	token->text = facts->values[0];
	token->expires = GetCurrentTimestamp() +
					 Max(seconds - EXPIRY_MARGIN_S, 1) * USECS_PER_SEC;
	return true;
}
