/*-------------------------------------------------------------------------
 *
 * pool.h
 *    Named pools, which limit how many tasks work at once.
 *
 * Called by run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_POOL_H
#define ETL_CATALOG_POOL_H

#include "nodes/pg_list.h"

typedef struct EtlPool
{
	char	   *name;
	int			slots;
} EtlPool;

extern List *etl_pools_all(void);	/* EtlPool * */
extern const char *etl_pool_store(const char *name, int slots, const char *description,
								  const char *owner);	/* created | updated | unchanged */
extern bool etl_pool_delete(const char *name);
extern char *etl_pool_owner(const char *name);	/* NULL when there is none */

#endif							/* ETL_CATALOG_POOL_H */
