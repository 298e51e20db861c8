/*-------------------------------------------------------------------------
 *
 * retry.h
 *    Which errors may heal by themselves, how often to try, how long to wait.
 *
 * Called by model/ to judge the option "retry" and by run/ to follow it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RETRY_H
#define ETL_RETRY_H

#include "utils/jsonb.h"

#include "common/options.h"

typedef struct EtlRetryPolicy
{
	int			attempts;		/* in all, the first one included */
	int64		base_ms;		/* bound of the first wait; it doubles */
	int64		cap_ms;			/* bound of every wait */
} EtlRetryPolicy;

extern const EtlOptionDef etl_retry_options[];	/* ended by a NULL name */

/* reads the key "retry" of options, or gives the defaults; raises ET001 */
extern void etl_retry_read(const Jsonb *options, EtlRetryPolicy *policy);

/* tells whether an error of this code may be gone at the next try */
extern bool etl_error_heals(int sqlstate);

/* a random time in [0, min(cap, base * 2^(tries - 1))] after so many tries */
extern int64 etl_retry_delay_ms(const EtlRetryPolicy *policy, int tries);

#endif							/* ETL_RETRY_H */
