/*-------------------------------------------------------------------------
 *
 * registry.c
 *    From the name of a connector to its callbacks.
 *
 * A connector is a row in etl.connectors that names an SQL function
 * f(internal) RETURNS internal, which nobody can call from SQL; it is C and
 * returns a constant struct.  Built-in and loadable ones come the same way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

#include "catalog/connector.h"
#include "common/compat.h"
#include "common/errors.h"
#include "common/options.h"
#include "connector/connector.h"

/*
 * report_unknown raises ET002 for a connector that is not registered.
 */
static void
report_unknown(const char *name)
{
	List	   *names = etl_connector_names();
	const char *nearest = etl_nearest(name, names);
	StringInfoData all;
	ListCell   *cell;

	initStringInfo(&all);
	foreach(cell, names)
		appendStringInfo(&all, "%s%s", all.len > 0 ? ", " : "", (char *) lfirst(cell));
	ereport(ERROR, (errcode(ETL_ERR_UNDEFINED), errmsg("there is no connector \"%s\"", name),
					errdetail("Installed connectors: %s.", all.data),
					nearest ? errhint("Perhaps you meant \"%s\".", nearest) :
							  errhint("See the view etl.connectors.")));
}

const EtlConnector *
etl_connector_find(const char *name)
{
	char	   *handler = name ? etl_connector_handler(name) : NULL;
	const EtlConnector *connector;
	Oid			argument[1] = {INTERNALOID};
	Oid			function;

	if (handler == NULL)
		report_unknown(name ? name : "");

	function = LookupFuncName(etl_qualified_name(handler), 1, argument, false);
	if (get_func_rettype(function) != INTERNALOID)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("handler %s of connector \"%s\" does not return internal", handler, name),
				 errhint("Install the extension that brings this connector again.")));

	connector = (const EtlConnector *) DatumGetPointer(OidFunctionCall1(function, PointerGetDatum(NULL)));
	if (connector->abi_version != ETL_CONNECTOR_ABI)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("connector \"%s\" was built for another version of etl", name),
				 errdetail("It speaks version %u of the connector interface, this server speaks %d.",
						   connector->abi_version, ETL_CONNECTOR_ABI),
				 errhint("Install the build of the connector that belongs to this version of etl.")));
	return connector;
}
