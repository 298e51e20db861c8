/*-------------------------------------------------------------------------
 *
 * rename.h
 *    Another name for a node, in all that is stored of it.
 *
 * Called by run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_RENAME_H
#define ETL_CATALOG_RENAME_H

#include "catalog/definition.h"

extern void etl_node_rename(const char *old, const char *new);

/* gives a model other texts that mean the same: a version of its own, but nothing to build */
extern void etl_model_requery(EtlModel *model, const char *query, Jsonb *options, const char *change);

/* A selector, or an option of a check, that names a node. */
typedef struct EtlMention
{
	char	   *kind;
	char	   *name;
	char	   *part;
	char	   *text;			/* the selector; of a check, its options */
} EtlMention;

extern List *etl_mentions(void);	/* EtlMention *, all of them */
extern void etl_mention_set(const EtlMention *mention, const char *text);

/* EtlMention *: unit tests that give rows of the node, which give them under its new name */
extern List *etl_unit_tests_follow(const char *old, const char *new);

/* char *: functions in SQL or PL/pgSQL whose text holds the name */
extern List *etl_functions_naming(const char *name);

#endif							/* ETL_CATALOG_RENAME_H */
