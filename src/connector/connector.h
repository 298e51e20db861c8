/*-------------------------------------------------------------------------
 *
 * connector.h
 *    Finding connectors, and the services the core gives them.
 *
 * Called by load/ (pulls) and by the definitions of sources and streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CONNECTOR_REGISTRY_H
#define ETL_CONNECTOR_REGISTRY_H

#include "etl_connector.h"

/* etl_connector_find loads the connector registered under 'name'; raises ET002 naming the nearest. */
extern const EtlConnector *etl_connector_find(const char *name);

/* The nested option sets of the built-in connectors, for etl.options(). */
extern void etl_http_register_options(void);

/* The one table of services. */
extern const EtlServices *etl_connector_services(void);

/* wait.c: waits for 'wait' in slices of at most a second, reaching CHECK_FOR_INTERRUPTS in each. */
extern void etl_wait(const EtlWait *wait);

#endif							/* ETL_CONNECTOR_REGISTRY_H */
