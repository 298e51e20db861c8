/*-------------------------------------------------------------------------
 *
 * decoder.h
 *    What the decoders share: the input window, fields, values, encoding.
 *
 * Included only by src/decode/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DECODER_H
#define ETL_DECODER_H

#include "decode/decode.h"
#include "lib/stringinfo.h"

#define ETL_RAW_KEPT   65536	/* of a record that is too large */
#define ETL_PADDING	   64		/* readable bytes behind a window or record: vector loads */
#define ETL_MAX_FIELDS 8192		/* JSON keys of one decoder; PostgreSQL has 1600 columns */

/* What becomes of bytes that are no text. */
typedef enum EtlInvalidBytes
{
	ETL_INVALID_QUARANTINE,
	ETL_INVALID_REPLACE,
	ETL_INVALID_STRIP
} EtlInvalidBytes;

/*
 * A window over the bytes of a reader.  What is not yet consumed lies at
 * data[start .. end); etl_input_more may move it, so positions are kept
 * relative to 'start'.
 */
typedef struct EtlInput
{
	EtlRead    *reader;
	char	   *data;
	size_t		capacity;		/* without the padding */
	size_t		start;
	size_t		end;
	bool		eof;			/* the reader has nothing behind 'end' */
	int64		before;			/* bytes consumed before data[0] */
} EtlInput;

/* A record above the limit while it passes by: its head, its length, its hash. */
typedef struct EtlOversize
{
	char	   *head;
	int			kept;
	int64		size;
	struct pg_cryptohash_ctx *hash;
	char		hex[65];
} EtlOversize;

struct EtlDecoder
{
	MemoryContext context;
	EtlRecordState (*next) (EtlDecoder *decoder, EtlRecord *record);
	EtlDecoder *inner;			/* whose records these are, reshaped; NULL: decoded from input */
	EtlInput	input;
	char	   *origin;
	size_t		max_record;
	int64		position;		/* of the next record: line or number */

	int			nfields;
	int			maxfields;
	const char **fields;
	int		   *field_lengths;
	EtlValue   *values;

	char	   *work;			/* the record, cut into NUL-terminated values */
	size_t		work_size;
	StringInfoData problem;
	EtlOversize oversize;

	int			encoding;		/* of what is decoded */
	bool		transcodes;		/* the whole input becomes UTF-8 first */
	EtlInvalidBytes invalid_bytes;
	MemoryContext repaired;		/* of values that were repaired, reset with each record */
	Oid			conversion;		/* function to the server encoding; InvalidOid: none needed */
	char	   *converted;
	size_t		converted_size;
};

/* input.c */
extern void etl_input_open(EtlInput *input, EtlRead *reader, size_t size);
extern bool etl_input_more(EtlInput *input);
extern void etl_oversize_begin(EtlOversize *oversize);
extern void etl_oversize_add(EtlOversize *oversize, const char *bytes, size_t length);
extern void etl_oversize_end(EtlOversize *oversize, EtlRecord *record);

/* decoder.c */
extern int etl_decoder_add_field(EtlDecoder *decoder, const char *name, int length);
extern char *etl_decoder_copy(EtlDecoder *decoder, const char *bytes, size_t length);
extern EtlRecordState etl_decoder_bad(EtlDecoder *decoder, EtlRecord *record, const char *code,
									  const char *format, ...) pg_attribute_printf(4, 5);
extern EtlRecordState etl_decoder_skip_line(EtlDecoder *decoder, EtlRecord *record,
											bool cr_ends_line);

/* encoding.c */
/* reads the options encoding and invalid_bytes; 'marks' are the bytes that structure CSV, NULL for JSON */
extern void etl_encoding_open(EtlDecoder *decoder, const Jsonb *options, const unsigned char *marks);
extern bool etl_encoding_is_ascii(const char *bytes, size_t length);	/* and without NUL */
extern const char *etl_encoding_fault(int encoding, const char *bytes, size_t length);
extern bool etl_encoding_convert(EtlDecoder *decoder, int nvalues, int *bad);
/* forgets the repaired text of the record before */
extern void etl_encoding_begin_repair(EtlDecoder *decoder);
/* text with its faults replaced or stripped, verified, in the server encoding; lives until the next record */
extern char *etl_encoding_repair(EtlDecoder *decoder, int encoding, Oid conversion, const char *bytes,
								 size_t length, size_t *repaired);

/* transcode.c */
extern bool etl_encoding_is_utf16(const char *name);
/* whether an input in this encoding becomes UTF-8 before it is decoded */
extern bool etl_encoding_transcodes(const char *name, bool json, const unsigned char *marks);
extern void etl_encoding_begin(EtlDecoder *decoder, const char *name);

/* csv.c, json.c, text.c, fixed.c; the checks raise ET001 for values that nothing can be read with */
extern EtlDecoder *etl_csv_open(EtlRead *input, const EtlDecodeOptions *options);
extern EtlDecoder *etl_json_open(EtlRead *input, const EtlDecodeOptions *options);
extern EtlDecoder *etl_text_open(EtlRead *input, const EtlDecodeOptions *options);
extern EtlDecoder *etl_fixed_open(EtlRead *input, const EtlDecodeOptions *options);
extern EtlDecoder *etl_xml_open(EtlRead *input, const EtlDecodeOptions *options);
extern void etl_xml_check(const Jsonb *options);
extern void etl_csv_check(const Jsonb *options);
extern void etl_text_check(const Jsonb *options);
extern void etl_fixed_check(const Jsonb *options);
extern void etl_decoder_begin(EtlDecoder *decoder, EtlRead *input, const EtlDecodeOptions *options);

#endif							/* ETL_DECODER_H */
