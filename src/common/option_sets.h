/*-------------------------------------------------------------------------
 *
 * option_sets.h
 *    The registered option sets, for etl.options(), which lists them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_OPTION_SETS_H
#define ETL_OPTION_SETS_H

#include "nodes/pg_list.h"

#include "etl_connector.h"

typedef struct EtlOptionSet
{
	char	   *of;
	const EtlOptionDef *defs;
} EtlOptionSet;

extern List *etl_option_sets(void);	/* EtlOptionSet * */

#endif							/* ETL_OPTION_SETS_H */
