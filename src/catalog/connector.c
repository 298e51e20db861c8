/*-------------------------------------------------------------------------
 *
 * connector.c
 *    Which connectors are registered: the rows of etl.connectors.
 *
 * A row is made by the CREATE EXTENSION that brings the connector, so that
 * it comes and goes with the code it names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/connector.h"
#include "catalog/sql.h"

char *
etl_connector_handler(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT handler FROM etl.connectors WHERE name = $1", &params);
	return rows->n > 0 ? etl_row_text(rows, 0, "handler") : NULL;
}

List *
etl_connector_names(void)
{
	EtlRows    *rows = etl_sql_query("SELECT name FROM etl.connectors ORDER BY name", NULL);

	return etl_column_texts(rows, "name");
}
