/*-------------------------------------------------------------------------
 *
 * options.h
 *    Option keys: what exists, its type and default, and reading values.
 *
 * One table per option set serves validation, etl.options() and the
 * reference check.  Connectors hand in theirs through the ABI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_OPTIONS_H
#define ETL_OPTIONS_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "etl_connector.h"		/* EtlOptionDef */

/*
 * etl_options_check raises ET001 for a key that 'defs' (ended by a NULL
 * name) does not have, naming the nearest valid one, and for a value of
 * another type.  'of' names the set as etl.options() takes it.  Several
 * sets may be given: 'more' is tried second.
 */
extern void etl_options_check(const Jsonb *options, const char *of,
							  const EtlOptionDef *defs, const EtlOptionDef *more);

/*
 * etl_option_judge runs judge(arg), and makes of what PostgreSQL says there an
 * ET001 that names option 'key' of the set 'of'.
 */
extern void etl_option_judge(const char *key, const char *of, void (*judge)(void *arg), void *arg);

/* Registry of the sets that etl.options(of) lists. */
extern void etl_options_register(const char *of, const EtlOptionDef *defs);

/* Values; raise ET001 naming the key when the text does not parse. */
extern int64 etl_option_size(const char *key, const char *text);	/* "64MB" → bytes */
extern int64 etl_option_duration_ms(const char *key, const char *text);	/* "10 min" */

/* the option "max_expansion"; 0: no limit */
extern int etl_max_expansion(const Jsonb *options);

/* A count ("100") or a share ("1%"); is_share tells which, value 0.01 for 1%. */
typedef struct EtlThreshold
{
	bool		given;
	bool		is_share;
	double		value;
} EtlThreshold;
extern EtlThreshold etl_option_threshold(const char *key, const char *text);	/* NULL → not given */
extern bool etl_threshold_exceeded(const EtlThreshold *threshold, int64 failed, int64 total);

/* etl_nearest returns the entry of 'names' (char *) most like 'name', or NULL. */
extern const char *etl_nearest(const char *name, List *names);

#endif							/* ETL_OPTIONS_H */
