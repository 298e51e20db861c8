/*-------------------------------------------------------------------------
 *
 * coerce.h
 *    Text to Datum, with a reason instead of an error.
 *
 * Called by the stream writer for every value, and by infer.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_COERCE_H
#define ETL_COERCE_H

#include "decode/decode.h"

typedef struct EtlCoerceOptions
{
	const char *timezone;		/* zone-less timestamps are read in it; default UTC */
	char		date_order;		/* 'Y' YMD, 'D' DMY, 'M' MDY */
	char		decimal;		/* '.' */
	char		thousands;		/* 0: none */
} EtlCoerceOptions;

extern void etl_coerce_options_read(EtlCoerceOptions *coerce, const Jsonb *options);

typedef struct EtlCoercer EtlCoercer;	/* for one column */

extern EtlCoercer *etl_coercer_make(Oid type, int32 typmod, const EtlCoerceOptions *options);

/*
 * True when etl_coerce never raises for this type.  For the others the
 * caller runs a batch in one subtransaction, row by row only if it failed.
 */
/* whether every text is a value as it is */
extern bool etl_coercer_is_text(const EtlCoercer *coercer);
extern bool etl_coercer_is_soft(const EtlCoercer *coercer);

/*
 * etl_coerce makes the Datum of a value (in CurrentMemoryContext) and
 * returns NULL, or returns the reason, a lower-case sentence such as
 * 'invalid input syntax for type integer: "x"'.  A NULL value is *isnull.
 */
extern const char *etl_coerce(EtlCoercer *coercer, const EtlValue *value, Datum *datum, bool *isnull);

/* infer.c: the narrowest type that holds every value seen, never a guess (API.md, Inference) */
typedef struct EtlInference EtlInference;
extern EtlInference *etl_inference_begin(const EtlCoerceOptions *options, bool is_json);
extern void etl_inference_add(EtlInference *inference, EtlDecoder *decoder, const EtlRecord *record);
typedef struct EtlInferredColumn
{
	const char *field;			/* foreign name */
	char	   *name;			/* identifier */
	Oid			type;
	bool		seen;			/* it had a value: the type is more than the default */
	int64		values;			/* that it had */
	int64		decided_at;		/* position of the record whose value made the type no narrower */
	char	   *decided_by;		/* that value, cut when long; NULL: none */
} EtlInferredColumn;
/* the narrowest type that holds the values of both; InvalidOid stands for no value */
extern Oid etl_inference_wider(Oid a, Oid b);
extern List *etl_inference_end(EtlInference *inference, EtlDecoder *decoder);	/* EtlInferredColumn * */

#endif							/* ETL_COERCE_H */
