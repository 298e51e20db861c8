/*-------------------------------------------------------------------------
 *
 * retry.c
 *    What to try again and when, and the rate limit of a source.
 *
 * Waits grow exponentially with full jitter: a random time between nothing
 * and the bound, so that clients that failed together do not come back
 * together.  What the server says in Retry-After is the least that is
 * waited.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "common/pg_prng.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "connector/http/http.h"

#define MAX_RATE_REQUESTS 10000
#define SOURCE_NAME_SIZE  256

bool
http_retry_is_sensible(const HttpResult *result)
{
	if (result->blocked != NULL)
		return false;
	switch (result->code)
	{
		case CURLE_OK:
			return result->status == 408 || result->status == 425 || result->status == 429 ||
				   (result->status >= 500 && result->status <= 599);
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_OPERATION_TIMEDOUT:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_HTTP2:
		case CURLE_HTTP2_STREAM:
		case CURLE_BAD_CONTENT_ENCODING:
			return true;
		default:
			return false;
	}
}

int64
http_retry_delay(const HttpConfig *config, const HttpRetry *retry, const HttpResult *result)
{
	int64		bound = config->base_ms;
	int64		delay;
	int64		elapsed;

	bool		told_when = result->code == CURLE_OK && result->status == 429 && result->retry_after > 0;

	if ((retry->attempt >= config->attempts && !told_when) || !http_retry_is_sensible(result))
		return -1;
	for (int i = 1; i < retry->attempt && bound < config->cap_ms; i++)
		bound *= 2;
	bound = Min(bound, config->cap_ms);
	delay = (int64) (pg_prng_double(&pg_global_prng_state) * bound);
	delay = Max(delay, result->retry_after * 1000);

	elapsed = TimestampDifferenceMilliseconds(retry->began, GetCurrentTimestamp());
	return elapsed + delay > config->deadline_ms ? -1 : delay;
}

/* ---- rate limit: the moments of the last requests to each source ---- */

typedef struct RateEntry
{
	char		source[SOURCE_NAME_SIZE];	/* key */
	int			size;			/* of the ring */
	int			next;
	TimestampTz *ring;
} RateEntry;

TimestampTz
http_rate_limit_take(const char *source, const HttpConfig *config)
{
	static HTAB *sources = NULL;
	TimestampTz now = GetCurrentTimestamp();
	int			size = Min(config->rate_requests, MAX_RATE_REQUESTS);
	char		key[SOURCE_NAME_SIZE];
	RateEntry  *entry;
	TimestampTz earliest;
	bool		found;

	if (size == 0)
		return now;
	if (sources == NULL)
	{
		HASHCTL		control = {
			.keysize = SOURCE_NAME_SIZE, .entrysize = sizeof(RateEntry), .hcxt = TopMemoryContext};

		sources = hash_create("etl rate limits", 16, &control,
							  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	strlcpy(key, source, sizeof(key));
	entry = hash_search(sources, key, HASH_ENTER, &found);
	if (!found || entry->size != size)
	{
		if (found)
			pfree(entry->ring);
		entry->size = 0;
		entry->ring = MemoryContextAllocZero(TopMemoryContext, sizeof(TimestampTz) * size);
		entry->size = size;
		entry->next = 0;
		for (int i = 0; i < size; i++)
			entry->ring[i] = DT_NOBEGIN;
	}

	/* the place that is taken was used 'size' requests ago */
	earliest = entry->ring[entry->next];
	earliest = earliest == DT_NOBEGIN ? now : Max(now, earliest + config->rate_per_ms * 1000);
	entry->ring[entry->next] = earliest;
	entry->next = (entry->next + 1) % size;
	return earliest;
}
