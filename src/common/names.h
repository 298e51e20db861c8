/*-------------------------------------------------------------------------
 *
 * names.h
 *    Names of nodes: SQL identifiers of relations that may not exist yet.
 *
 * A node is known everywhere by its canonical name: schema and relation,
 * each quoted only where SQL needs it (raw.orders, "Raw"."Orders").
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_NAMES_H
#define ETL_NAMES_H

#include "postgres.h"

typedef struct EtlName
{
	char	   *schema;			/* unquoted */
	char	   *relation;		/* unquoted */
	char	   *canonical;		/* quoted, schema.relation */
} EtlName;

/*
 * etl_name_parse reads an SQL identifier; one without a schema gets the
 * first schema of the search path.  Raises 42602 when it is not one.
 */
extern EtlName *etl_name_parse(const char *text);
extern char *etl_name_canonical(const char *text);
extern char *etl_name_of_target(
	const char *text);			/* canonical; ET001 in a schema of the server's or etl's own */
extern char *etl_name_of_relation(Oid relid);	/* canonical name of an existing relation, NULL if gone */
extern Oid etl_name_relation(const char *canonical);	/* InvalidOid when it does not exist */

/*
 * etl_name_suffixed joins a name and a suffix to an identifier.  What is cut off
 * of a name that is too long still tells it from others.
 */
extern char *etl_name_suffixed(const char *name, const char *suffix);

/* etl_snake_case makes an identifier of a foreign name: snake_case, at most 63 bytes. */
extern char *etl_snake_case(const char *name);

#endif							/* ETL_NAMES_H */
