/*-------------------------------------------------------------------------
 *
 * lines.h
 *    What the formats share whose records are lines.
 *
 * Included only by src/decode/csv.c, text.c, fixed.c and header.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DECODE_LINES_H
#define ETL_DECODE_LINES_H

#include "common/compat.h"
#include "decode/decoder.h"

/* The options that such formats have in common. */
typedef struct EtlLines
{
	int64		skip_lines;
	char	   *comment;		/* NULL: none */
	char	   *encoding;		/* as the option names it; NULL: not given */
	bool		has_header;
	List	   *names;			/* of char *: the fields, where the option names them; NIL: not */
	List	   *nulls;			/* of char * */
	bool		begun;
} EtlLines;

/* reads them; raises ET001 */
extern void etl_lines_configure(EtlLines *lines, const Jsonb *options);
/* the option "header": whether there is one, or the names of the fields */
extern bool etl_lines_header(const Jsonb *options, List **names);
extern bool etl_lines_is_null(const List *nulls, const char *text, int length);

/* passes over byte order mark and skipped lines */
extern void etl_lines_begin(EtlDecoder *decoder, EtlLines *lines);

/*
 * The next line that is no comment, without its end, in record->raw; 'escapes':
 * behind an odd number of backslashes a line does not end.  False at the end
 * of the input, or when the line became a reject (in '*state').
 */
extern bool etl_lines_next(EtlDecoder *decoder, const EtlLines *lines, EtlRecord *record, bool escapes,
						   EtlRecordState *state);

/*
 * etl_values_check verifies and converts the values of a record; the number of
 * a bad one, or -1.
 */
extern int etl_values_check(EtlDecoder *decoder, const char *raw, size_t length, int n);
/* makes a reject of a record whose value number 'bad' is no text */
extern EtlRecordState etl_values_bad(EtlDecoder *decoder, EtlRecord *record, int bad);

/* header.c: what all raise is ET007 */
/* a page of HTML in the place of records, or a name that comes twice */
extern void etl_header_check_names(EtlDecoder *decoder);
/* a first line, or "header", that is a reject */
pg_noreturn extern void etl_header_malformed(EtlDecoder *decoder, const char *what, const EtlRecord *record);
/* a header that is no text in the encoding of the decoder */
pg_noreturn extern void etl_header_not_text(EtlDecoder *decoder, const char *raw, size_t length);
/* the only field of a header, in which another delimiter stands than the usual one */
extern void etl_header_check_single(EtlDecoder *decoder);

#endif							/* ETL_DECODE_LINES_H */
