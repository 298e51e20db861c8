/*-------------------------------------------------------------------------
 *
 * json_schema.h
 *    JSON Schema (draft 2020-12): is a document what was promised, and do two
 *    promises go together.
 *
 * Called by load/, for contracts, and by SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_JSON_SCHEMA_H
#define ETL_JSON_SCHEMA_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* One thing that is wrong with a document. */
typedef struct EtlSchemaFault
{
	char	   *path;			/* $.items[0].sku */
	const char *keyword;		/* of the schema */
	char	   *message;		/* lower-case sentence */
} EtlSchemaFault;

/* raises ET001 for a schema that is none, or says more than is understood */
extern void etl_json_schema_check(const Jsonb *schema);

/* the faults of a document, EtlSchemaFault *, at most 'max' */
extern List *etl_json_schema_validate(const Jsonb *schema, const Jsonb *document, int max);

/*
 * Why documents that are right by 'old' may be wrong by 'new', char *; NIL:
 * none is.  What cannot be told counts as a reason.
 */
extern List *etl_json_schema_breaks(const Jsonb *new_schema, const Jsonb *old_schema);

/* full | backward (old documents are right by the new schema) | forward (new ones by the old) | none */
extern const char *etl_json_schema_verdict(bool backward, bool forward);

#endif							/* ETL_JSON_SCHEMA_H */
