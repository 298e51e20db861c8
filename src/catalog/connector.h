/*-------------------------------------------------------------------------
 *
 * connector.h
 *    Which connectors are registered.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_CONNECTOR_H
#define ETL_CATALOG_CONNECTOR_H

#include "nodes/pg_list.h"

/* Qualified name of the function that hands out the connector; NULL when none is registered. */
extern char *etl_connector_handler(const char *name);

/* Names of all connectors, char *, in order. */
extern List *etl_connector_names(void);

#endif							/* ETL_CATALOG_CONNECTOR_H */
