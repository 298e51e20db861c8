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

#include "decode/decode.h"

typedef struct EtlTransform EtlTransform;

/* reads the option "transform"; NULL: there is none.  Raises ET001, and the errors of an expression. */
extern EtlTransform *etl_transform_read(const Jsonb *options);
/* true when something of a record must not be stored */
extern bool etl_transform_redacts(const EtlTransform *transform);
/* fields to be dropped or hashed that no record had so far; NULL: none */
extern char *etl_transform_unmet(const EtlTransform *transform);
/* the type that the column of a field shall have, as SQL; NULL: as inferred */
extern char *etl_transform_type(const EtlTransform *transform, const char *field);

/*
 * A decoder with the transformed records of 'inner', which it closes.  'named'
 * false: fields go to columns by position, and none leaves its place.
 * 'replaces': the bytes of each record are those of the result, as JSON; none
 * where there is no result.
 */
extern EtlDecoder *etl_decoder_transform(EtlDecoder *inner, const EtlTransform *transform, bool named,
										 bool is_json, bool replaces);

#endif							/* ETL_LOAD_TRANSFORM_H */
