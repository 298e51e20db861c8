/*-------------------------------------------------------------------------
 *
 * format.h
 *    The formats there are: their names, options and decoders.
 *
 * Called by load/ to judge definitions, and by decoder.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DECODE_FORMAT_H
#define ETL_DECODE_FORMAT_H

#include "decode/decode.h"

typedef struct EtlFormat
{
	const char *name;
	const EtlOptionDef *options;
	void		(*check) (const Jsonb *options);	/* ET001 for values that nothing can be read with; or NULL */
	EtlDecoder *(*open)(EtlRead *input, const EtlDecodeOptions *options);
	bool		is_json;		/* values have JSON types, records name their fields */
	bool		named;			/* fields have names unless the option header says no */
	bool		keeps_header;	/* a header tells the names that a record needs to be read again */
} EtlFormat;

extern const EtlFormat *etl_format_find(const char *name);	/* NULL: none of this name */
extern const EtlFormat *etl_format_next(const EtlFormat *format);	/* all of them; NULL: first, last */

#endif							/* ETL_DECODE_FORMAT_H */
