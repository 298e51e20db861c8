/*-------------------------------------------------------------------------
 *
 * redact.h
 *    Which names tell that their value is a secret.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_REDACT_H
#define ETL_REDACT_H

#include "postgres.h"

/* etl_is_sensitive judges the name of an option, header or parameter. */
extern bool etl_is_sensitive(const char *name, size_t length);

#endif							/* ETL_REDACT_H */
