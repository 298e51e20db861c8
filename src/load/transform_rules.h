/*-------------------------------------------------------------------------
 *
 * transform_rules.h
 *    What the option "transform" says, field by field.
 *
 * Included only by src/load/transform.c, transform_items.c and transform_rules.c.
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
	struct EtlTransformRule
		*outer;					/* the rule of the record that this one of its items is made of; NULL: none */
} EtlTransformRule;

struct EtlTransform
{
	const Jsonb *option;
	List	   *rules;			/* EtlTransformRule * */
	bool		redacts;
};

/* whether a rule derives a field of items, not of the record itself */
extern bool etl_transform_is_of_items(const EtlTransformRule *rule);

/* binds the rules for items of a path to those that they are made of */
extern void etl_transform_bind(EtlTransform *items, const EtlTransform *transform, const char *path);
/* the option's value, read */
extern EtlTransform *etl_transform_of(const Jsonb *value);
/* what is said of a field; NULL: nothing */
extern EtlTransformRule *etl_transform_rule(const EtlTransform *transform, const char *field);
/*
 * transform_items.c: lists of transformed items in the place of a record's;
 * the first item that cannot be transformed makes a reject of it
 */
typedef struct EtlItemTransform EtlItemTransform;
extern EtlItemTransform *etl_item_transform_begin(const EtlTransform *transform, const Jsonb *nested);
extern EtlRecordState etl_item_transform(EtlItemTransform *items, EtlDecoder *outer, EtlRecord *record);
/* the tree of a derivation; 'names' are the fields that it reads (char *), parameter i the i-th as text */
extern Node *etl_transform_analyze(const EtlTransformRule *rule, List **names);

#endif							/* ETL_LOAD_TRANSFORM_RULES_H */
