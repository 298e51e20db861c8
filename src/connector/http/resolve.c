/*-------------------------------------------------------------------------
 *
 * resolve.c
 *    Putting plaintexts in the place of {"secret": name}.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/json.h"
#include "connector/http/resolve.h"

typedef struct Resolver
{
	EtlConnectorContext *context;
	const char *host;
	const char *auth_host;
	List	   *masked;
	JsonbParseState *state;
} Resolver;

typedef struct Wiper
{
	MemoryContextCallback callback;
	Jsonb	   *document;
} Wiper;

/*
 * wipe overwrites a resolved document when its context goes away.
 */
static void
wipe(void *arg)
{
	Wiper	   *wiper = arg;

	explicit_bzero(wiper->document, VARSIZE(wiper->document));
}

/*
 * secret_name returns the name in {"secret": name}; NULL for anything else.
 */
static char *
secret_name(JsonbContainer *container)
{
	JsonbValue	key;
	JsonbValue *value;

	if (!JsonContainerIsObject(container) || JsonContainerSize(container) != 1)
		return NULL;
	key.type = jbvString;
	key.val.string.val = "secret";
	key.val.string.len = 6;
	value = findJsonbValueFromContainer(container, JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/*
 * copy_container copies an object or array; 'in_auth' below the key "auth".
 * Returns the value that ends it.
 */
static JsonbValue *
copy_container(Resolver *resolver, JsonbContainer *container, bool in_auth)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue	item;
	JsonbIteratorToken token;
	JsonbValue *result = NULL;
	bool		below_auth = in_auth;
	int			depth = 0;

	while ((token = JsonbIteratorNext(&it, &item, depth > 0)) != WJB_DONE)
	{
		char	   *name;

		depth = 1;
		if (token == WJB_KEY)
			below_auth = in_auth ||
						 (item.val.string.len == 4 && memcmp(item.val.string.val, "auth", 4) == 0);
		if ((token != WJB_VALUE && token != WJB_ELEM) || item.type != jbvBinary)
		{
			result = pushJsonbValue(&resolver->state, token,
									token == WJB_BEGIN_OBJECT || token == WJB_END_OBJECT ||
											token == WJB_BEGIN_ARRAY || token == WJB_END_ARRAY ?
										NULL :
										&item);
			continue;
		}
		name = secret_name(item.val.binary.data);
		if (name == NULL)
		{
			result = copy_container(resolver, item.val.binary.data, below_auth);
			continue;
		}
		item.type = jbvString;
		item.val.string.val = resolver->context->services->secret(
			resolver->context, name, below_auth ? resolver->auth_host : resolver->host);
		item.val.string.len = strlen(item.val.string.val);
		resolver->masked = lappend(resolver->masked, item.val.string.val);
		result = pushJsonbValue(&resolver->state, token, &item);
	}
	return result;
}

Jsonb *
http_resolve(EtlConnectorContext *context, const Jsonb *options,
			 const char *host, const char *auth_host, List **masked)
{
	Resolver	resolver = {.context = context, .host = host, .auth_host = auth_host, .masked = *masked};
	MemoryContext old = MemoryContextSwitchTo(context->context);
	Wiper	   *wiper = palloc0(sizeof(Wiper));
	JsonbValue *root = copy_container(&resolver, unconstify(JsonbContainer *, &options->root), false);

	wiper->document = JsonbValueToJsonb(root);
	wiper->callback.func = wipe;
	wiper->callback.arg = wiper;
	MemoryContextRegisterResetCallback(context->context, &wiper->callback);
	MemoryContextSwitchTo(old);
	*masked = resolver.masked;
	return wiper->document;
}
