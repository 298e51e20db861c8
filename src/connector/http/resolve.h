/*-------------------------------------------------------------------------
 *
 * resolve.h
 *    Putting plaintexts in the place of {"secret": name}.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HTTP_RESOLVE_H
#define ETL_HTTP_RESOLVE_H

#include "etl_connector.h"

/*
 * http_resolve copies options with every {"secret": name} replaced by its
 * plaintext, which may be sent to 'host' (within "auth": 'auth_host').  The
 * copy is wiped with the context; the plaintexts are added to *masked.
 */
extern Jsonb *http_resolve(EtlConnectorContext *context, const Jsonb *options,
						   const char *host, const char *auth_host, List **masked);

#endif							/* ETL_HTTP_RESOLVE_H */
