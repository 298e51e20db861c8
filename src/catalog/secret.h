/*-------------------------------------------------------------------------
 *
 * secret.h
 *    Stored secrets: sealed bytes, or where to find them.
 *
 * Called by secret/ only.  No plaintext passes here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_SECRET_H
#define ETL_CATALOG_SECRET_H

#include "nodes/pg_list.h"

typedef struct EtlSecret
{
	char	   *name;
	char	   *sealed;			/* bytes; NULL unless the kind is value */
	int			sealed_length;
	char	   *file;
	char	   *env;
	bool		any_host;		/* allowed_hosts is NULL */
	List	   *allowed_hosts;	/* char * */
	char	   *description;
	char	   *owner;
} EtlSecret;

extern EtlSecret *etl_secret_find(const char *name);
extern List *etl_secret_names(void);	/* char *, in order */

/* Returns "created" or "updated"; the caller knows what is "unchanged". */
extern const char *etl_secret_store(const EtlSecret *secret);

/* "source x" or "stream x" that names the secret in its options, char *. */
extern List *etl_secret_users(const char *name);

#endif							/* ETL_CATALOG_SECRET_H */
