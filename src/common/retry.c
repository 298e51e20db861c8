/*-------------------------------------------------------------------------
 *
 * retry.c
 *    Which errors may heal by themselves, how often to try, how long to wait.
 *
 * What depends on the moment (another transaction, a connection, a resource,
 * a process that was ended) is tried again; what depends on the data or the
 * definition fails the same way each time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "common/pg_prng.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/retry.h"

#define DEFAULT_ATTEMPTS 3
#define DEFAULT_BASE_MS	 1000
#define DEFAULT_CAP_MS	 60000
#define MAX_ATTEMPTS	 100

const EtlOptionDef etl_retry_options[] = {
	{"attempts", "integer", "3", "How often a node is tried in all, when its error may heal."},
	{"base", "duration", "1 s", "Bound of the first wait; it doubles with every try."},
	{"cap", "duration", "1 min", "Bound of every wait."},
	{NULL}};

/* Codes that heal, or classes of them. */
static const char *const healing[] = {
	"08",						/* connection */
	"40001", "40P01", "40003",	/* serialization, deadlock, unknown completion */
	"53",						/* resources: connections, memory, disk */
	"55006", "55P03",			/* in use, lock not available */
	"57P01", "57P02", "57P03", "57P05",	/* a server process was ended, or cannot start yet */
	"58030",					/* input and output */
	"HV00N",					/* a foreign server does not answer */
	"ET019",					/* the publication lock */
	NULL};

/*
 * etl_retry_read: see retry.h.
 */
void
etl_retry_read(const Jsonb *options, EtlRetryPolicy *policy)
{
	Jsonb	   *retry = options ? etl_json_get(options, "retry") : NULL;
	char	   *text;

	policy->attempts = DEFAULT_ATTEMPTS;
	policy->base_ms = DEFAULT_BASE_MS;
	policy->cap_ms = DEFAULT_CAP_MS;
	if (retry == NULL)
		return;
	etl_options_check(retry, "retry", etl_retry_options, NULL);
	policy->attempts = (int) Min(etl_json_get_int64(retry, "attempts", DEFAULT_ATTEMPTS), INT_MAX);
	if (policy->attempts < 1 || policy->attempts > MAX_ATTEMPTS)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"attempts\" of \"retry\" must be between 1 and %d", MAX_ATTEMPTS),
				 errhint("1 means that a node is tried once and never again.")));
	if ((text = etl_json_get_text(retry, "base")) != NULL)
		policy->base_ms = etl_option_duration_ms("base", text);
	if ((text = etl_json_get_text(retry, "cap")) != NULL)
		policy->cap_ms = etl_option_duration_ms("cap", text);
	if (policy->base_ms < 0 || policy->cap_ms < 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options \"base\" and \"cap\" of \"retry\" must not be negative"),
				 errhint("Write an interval, such as \"10 s\".")));
}

/*
 * etl_error_heals: see retry.h.
 */
bool
etl_error_heals(int sqlstate)
{
	const char *code = unpack_sql_state(sqlstate);

	for (const char *const *entry = healing; *entry; entry++)
		if (strncmp(code, *entry, strlen(*entry)) == 0)
			return true;
	return false;
}

/*
 * etl_retry_delay_ms: see retry.h.
 */
int64
etl_retry_delay_ms(const EtlRetryPolicy *policy, int tries)
{
	int64		bound = policy->base_ms;

	for (int i = 1; i < tries && bound < policy->cap_ms; i++)
		bound *= 2;
	return (int64) (pg_prng_double(&pg_global_prng_state) * Min(bound, policy->cap_ms));
}
