/*-------------------------------------------------------------------------
 *
 * transform_rules.h
 *    What the option "transform" says, field by field.
 *
 * Included only by src/load/transform.c and transform_rules.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_TRANSFORM_RULES_H
#define ETL_LOAD_TRANSFORM_RULES_H

#include "nodes/pg_list.h"

#include "load/transform.h"

typedef enum EtlTransformAction
{
	ETL_TRANSFORM_KEEP,
	ETL_TRANSFORM_DROP,
	ETL_TRANSFORM_HASH,
	ETL_TRANSFORM_DERIVE
} EtlTransformAction;

/* What the option says of one field. */
typedef struct EtlTransformRule
{
	char	   *name;			/* of the field, as it comes or in snake_case */
	EtlTransformAction action;
	char	   *secret;			/* ETL_TRANSFORM_HASH */
	char	   *expression;		/* ETL_TRANSFORM_DERIVE */
	char	   *cast;			/* type of its column; NULL: as inferred */
	Oid			type;			/* of cast or of the expression; InvalidOid: unknown */
	int32		typmod;
	bool		met;			/* a record had such a field */
} EtlTransformRule;

struct EtlTransform
{
	List	   *rules;			/* EtlTransformRule * */
	bool		redacts;
};

/* what is said of a field; NULL: nothing */
extern EtlTransformRule *etl_transform_rule(const EtlTransform *transform, const char *field);
/* the tree of a derivation; 'names' are the fields that it reads (char *), parameter i the i-th as text */
extern Node *etl_transform_analyze(const EtlTransformRule *rule, List **names);

#endif							/* ETL_LOAD_TRANSFORM_RULES_H */
