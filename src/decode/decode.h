/*-------------------------------------------------------------------------
 *
 * decode.h
 *    Bytes to records.
 *
 * Called by load/ (records to land), connector/ (facts about JSON pages) and
 * load/infer.c.  A decoder pulls bytes through EtlRead and hands out one
 * record at a time; all pointers of a record are valid until the next call.
 * Memory is bounded by max_record_size; bad bytes become rejects, never
 * errors.  An error (ET007) means the envelope is broken: a corrupt archive,
 * a missing header, a JSON document that ends early.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DECODE_H
#define ETL_DECODE_H

#include "lib/stringinfo.h"

#include "etl_connector.h"

/* decompress.c: wraps a reader; what is packed by magic bytes, else the bytes as they are */
extern EtlRead *etl_decompress(EtlRead *input, const char *compression /* auto|none|gzip|… */,
							   const char *origin);

/* unpack.c: what is around the records of an input */
#define ETL_EXPANSION_FREE (64 * 1024 * 1024)	/* bytes before growth is judged */
typedef struct EtlPacking
{
	const char *compression;
	int			max_expansion;	/* how many times its size an input may grow; 0: no limit */
	bool		encrypted;		/* a PGP message */
	const char *key;			/* a secret key, armored; NULL: none */
	const char *passphrase;		/* NULL: none */
} EtlPacking;
/* decrypts, then unpacks as etl_decompress does; ET008 when that grows beyond the limit */
extern EtlRead *etl_unpack(EtlRead *input, const EtlPacking *packing, const char *origin);
/* reads what is left: whether an input is whole is known at its end */
extern void etl_unpacked_end(EtlRead *input);
extern void etl_expansion_check(const char *origin, int64 packed, int64 unpacked, int limit);

typedef enum EtlValueKind
{
	ETL_VALUE_NULL,				/* unquoted empty or null text in CSV; null or absent in JSON */
	ETL_VALUE_TEXT,				/* CSV field; JSON string, unescaped */
	ETL_VALUE_NUMBER,			/* JSON number, its text */
	ETL_VALUE_BOOL,				/* JSON true/false, its text */
	ETL_VALUE_JSON				/* JSON object or array, its text */
} EtlValueKind;

typedef struct EtlValue
{
	EtlValueKind kind;
	char	   *text;			/* NUL-terminated, in server encoding, verified */
	int			length;
	bool		from_json;		/* a TEXT value is a JSON string, not a JSON document */
	bool		roomy;			/* the byte before 'text' may be written once the values before it are read */
} EtlValue;

typedef enum EtlRecordState
{
	ETL_RECORD_OK,
	ETL_RECORD_BAD,				/* a reject: 'problem' says why */
	ETL_RECORD_END
} EtlRecordState;

/* A list whose elements are to be rows of a child table. */
typedef struct EtlNestedList
{
	const char *path;			/* in the record: a.b */
	char	   *text;			/* JSON */
	int			length;
} EtlNestedList;

typedef struct EtlRecord
{
	int64		position;		/* 1-based: line where it starts (csv, ndjson), or record number (json) */
	int			nvalues;		/* = number of fields known so far */
	EtlValue   *values;			/* by field number */
	const char *raw;			/* the record as it came, without its line end */
	int			raw_length;		/* at most 64 kB when too large */
	int64		raw_size;		/* its whole length */
	const char *raw_sha256;		/* of the whole, in hex, when raw_length < raw_size; else NULL */
	const char *problem;		/* ETL_RECORD_BAD: lower-case sentence */
	const char *
		problem_code;			/* "malformed", "too_few_fields", "too_many_fields", "encoding", "too_large", … */
	const char *problem_field;	/* name of the field, or NULL */
	int			nlists;			/* that are no values of the record itself */
	EtlNestedList *lists;
} EtlRecord;

/*
 * A decoder numbers its fields as it meets them: the CSV header in order,
 * JSON keys at first sight.  Fields only grow; 'fields' are foreign names.
 */
typedef struct EtlDecoder EtlDecoder;

typedef struct EtlDecodeOptions
{
	const char *format;			/* csv | json | ndjson */
	const Jsonb *options;		/* stream options: delimiter, quote, … */
	const char *records_path;	/* json */
	const char *origin;			/* for messages */
	int64		max_record_size;	/* bytes */
} EtlDecodeOptions;


/* whether records of such an input are handed out, and kept in rejects, as UTF-8 whatever its encoding is */
extern bool etl_decoder_keeps_utf8(const char *format, const Jsonb *options);

extern EtlDecoder *etl_decoder_open(EtlRead *input, const EtlDecodeOptions *options);
/* fields known so far: *n and their names; grows with etl_decoder_next */
extern const char **etl_decoder_fields(EtlDecoder *decoder, int *n);
extern EtlRecordState etl_decoder_next(EtlDecoder *decoder, EtlRecord *record);
extern int64 etl_decoder_bytes(EtlDecoder *decoder);	/* decompressed bytes consumed, for progress */
extern void etl_decoder_close(EtlDecoder *decoder);	/* frees foreign handles; also on context reset */

/*
 * reshape.c: a decoder with the records of 'inner', which it closes, and other
 * fields.  'reshape' sees each record, rejects too, and puts its values; it
 * may alter the record and make a reject of it.
 */
typedef EtlRecordState (*EtlReshape)(void *arg, EtlDecoder *outer, EtlRecord *record,
									 EtlRecordState state);
extern EtlDecoder *etl_decoder_reshape(EtlDecoder *inner, EtlReshape reshape, void *arg);
/* has fields and no records: those come from elsewhere */
extern EtlDecoder *etl_decoder_of_fields(List *names, const char *origin);
extern EtlDecoder *etl_decoder_inner(EtlDecoder *outer);
/* for 'reshape': the number of a field of that name, made when there is none (-1: too many) */
extern int etl_decoder_field(EtlDecoder *decoder, const char *name);
extern EtlValue *etl_decoder_value(EtlDecoder *decoder, int field);	/* until the next field is made */
extern EtlRecordState etl_decoder_refuse(EtlDecoder *decoder, EtlRecord *record, const char *code,
										 const char *field, const char *problem);

/*
 * flatten.c: objects inside the records of 'inner' become fields a__b, and
 * lists its items; 'nested' is the option of that name.  'digest': a field
 * ETL_ITEMS_FIELD is another one when the items of a record are.  'whole'
 * names fields and paths (char *) that stay values, whatever 'nested' says.
 */
#define ETL_ITEMS_FIELD "_etl_children"
extern void etl_nested_check(const Jsonb *nested);	/* ET001 */
extern EtlDecoder *etl_decoder_flatten(EtlDecoder *inner, const Jsonb *nested, bool digest, List *whole);
/* for a reshape of what was flattened: puts that field; false: the record is refused */
extern bool etl_decoder_digest(EtlDecoder *decoder, EtlRecord *record);
/*
 * items.c: records that were flattened before, and written with their lists
 * in the field ETL_LISTS_FIELD: an object of paths and lists
 */
#define ETL_LISTS_FIELD "_etl_lists"
extern EtlDecoder *etl_decoder_lists(EtlDecoder *inner);
/* a decoder of JSON objects that are fed to it one at a time: each is a record, and then the end comes */
extern EtlDecoder *etl_decoder_of_items(const char *origin);
extern void etl_decoder_feed(EtlDecoder *decoder, char *text, int length);
/*
 * the next element of a list, '*at' NULL: the first; false when there is none.
 * 'item' is a JSON object on one line without its closing brace, a comma behind
 * its last value; an element that is no object is its field "value"
 */
extern bool etl_nested_next(const EtlNestedList *list, char **at, StringInfo item);
extern bool etl_nested_has_tables(const Jsonb *nested);	/* whether lists may become items */
/* what becomes of what is nested at a path: flatten, table or jsonb */
extern const char *etl_nested_word(const Jsonb *nested, const char *path);

/* json.c: see EtlServices.json_facts */
extern EtlJsonFacts *etl_json_facts(EtlRead *body, const char *records_path, int npaths,
									const char *const *paths, const char *max_path);

#endif							/* ETL_DECODE_H */
