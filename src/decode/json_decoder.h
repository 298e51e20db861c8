/*-------------------------------------------------------------------------
 *
 * json_decoder.h
 *    The state of a JSON decoder.  Included only by json.c and json_record.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_JSON_DECODER_H
#define ETL_JSON_DECODER_H

#include "decode/json_path.h"
#include "decode/json_scan.h"

typedef enum JsonPlace
{
	BETWEEN,					/* before a document */
	FIRST_ELEMENT,				/* behind the '[' of the records */
	NEXT_ELEMENT,				/* behind an element of them */
	TAIL						/* behind the records, inside the objects around them */
} JsonPlace;

typedef struct JsonDecoder
{
	EtlDecoder	base;
	bool		begun;
	char	   *encoding;		/* as the option names it; NULL: not given */
	JsonPlace	place;
	EtlJsonPath path;			/* of the records */
	int			depth;			/* objects entered on the way to them */
	int			expected;		/* the field that followed last time */
	int		   *slots;			/* hash table: field number + 1 */
	uint32		nslots;			/* a power of two */
} JsonDecoder;

/*
 * etl_json_decode_record makes values, or a reject with its fault, of the
 * bytes of one record.
 */
extern EtlRecordState etl_json_decode_record(JsonDecoder *json, EtlRecord *record,
											 const char *bytes, size_t size, JsonFault *fault);

#endif							/* ETL_JSON_DECODER_H */
