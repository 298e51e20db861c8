/*-------------------------------------------------------------------------
 *
 * transform.h
 *    What becomes of values before anything is stored: drop, hash, cast,
 *    derive.
 *
 * Included only by src/load/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_TRANSFORM_H
#define ETL_LOAD_TRANSFORM_H

#include "utils/jsonb.h"

#include "decode/decode.h"

typedef struct EtlTransform EtlTransform;

/* reads the option "transform"; NULL: there is none.  Raises ET001, and the errors of an expression. */
extern EtlTransform *etl_transform_read(const Jsonb *options);
/* the option for the items of a path of lists; NULL: nothing is said of them.  Derived are fields named path.field */
extern Jsonb *etl_transform_within(const Jsonb *transform, const char *path);
/* names of fields and paths that something is said of (char *) */
extern List *etl_transform_names(const EtlTransform *transform);
/* true when something of a record must not be stored */
extern bool etl_transform_redacts(const EtlTransform *transform);
/* fields to be dropped or hashed that no record had so far; NULL: none */
extern char *etl_transform_unmet(const EtlTransform *transform);
/* the type that the column of a field shall have, as SQL; NULL: as inferred */
extern char *etl_transform_type(const EtlTransform *transform, const char *field);

/* child_define.c: the option "nested" for the items of a path */
extern Jsonb *etl_nested_within(const Jsonb *nested, const char *path);

/*
 * A decoder with the transformed records of 'inner', which it closes.  'named'
 * false: fields go to columns by position, and none leaves its place.
 * 'replaces': the bytes of each record are those of the result, as JSON; none
 * where there is no result.  'nested': the option of that name where lists may
 * be items, which are transformed, too, and named in the bytes; else NULL.
 */
extern EtlDecoder *etl_decoder_transform(EtlDecoder *inner, const EtlTransform *transform, bool named,
										 bool is_json, bool replaces, const Jsonb *nested, bool digest);

#endif							/* ETL_LOAD_TRANSFORM_H */
