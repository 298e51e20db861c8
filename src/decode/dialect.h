/*-------------------------------------------------------------------------
 *
 * dialect.h
 *    Telling the dialect of CSV from a sample, and how sure that is.
 *
 * Called by load/dialect.c.  What the options of a stream say is taken as it
 * is and not doubted; the rest is found, with a confidence of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DIALECT_H
#define ETL_DIALECT_H

#include "decode/csv_scan.h"
#include "decode/decode.h"

#define ETL_DIALECT_SAMPLE (128 * 1024)	/* bytes that are looked at */
#define ETL_DIALECT_SURE   0.7	/* below this nobody may go on without being told */

/* What can be found; the order is that in which it is told. */
typedef enum EtlDialectAspectKind
{
	ETL_DIALECT_ENCODING,
	ETL_DIALECT_DELIMITER,
	ETL_DIALECT_QUOTE,
	ETL_DIALECT_HEADER,
	ETL_DIALECT_DECIMAL,
	ETL_DIALECT_ASPECTS
} EtlDialectAspectKind;

typedef struct EtlDialectAspect
{
	bool		given;			/* by the options: not doubted */
	double		confidence;		/* 0 to 1 */
	const char *doubt;			/* why it is not higher; NULL: nothing speaks against it */
} EtlDialectAspect;

typedef struct EtlDialect
{
	EtlDialectAspect aspects[ETL_DIALECT_ASPECTS];
	const char *encoding;
	char		delimiter;
	char		quote;			/* NUL: none */
	char		escape;			/* = quote, unless another byte stands before quotes */
	bool		header;
	char		decimal;
	char		thousands;		/* NUL: none */
	int			skip_lines;
	const char *comment;		/* NULL: none */
	int			columns;		/* of most records */
	int			records;		/* looked at, the header included */
	double		confidence;		/* that of the least certain aspect */
} EtlDialect;

extern const char *etl_dialect_aspect_name(EtlDialectAspectKind kind);

/*
 * etl_dialect_detect looks at the beginning of an input; 'whole': nothing
 * follows it.  NULL when it has no record to tell anything from.
 */
extern EtlDialect *etl_dialect_detect(const char *bytes, size_t length, bool whole,
									  const Jsonb *options);

/* ---- shared by dialect*.c ---- */

/* A sample as records of cells: cells[first[i] .. first[i + 1]) are those of record i. */
typedef struct DialectRows
{
	const char *text;
	CsvCell    *cells;			/* offsets from 'text' */
	int			ncells;
	int			maxcells;
	int		   *first;
	int			nrecords;
	int			maxrecords;
	int			bad;			/* records that are none in this dialect */
} DialectRows;

/* What a value looks like. */
typedef enum DialectType
{
	DIALECT_EMPTY,
	DIALECT_NUMBER,
	DIALECT_TIME,				/* a date, a time, or both */
	DIALECT_BOOL,
	DIALECT_CODE,				/* uuid, address of mail or web */
	DIALECT_WORDS,
	DIALECT_OTHER
} DialectType;

/* How a number is written: which mark must be, or may be, which. */
typedef enum DialectMarks
{
	MARKS_NONE,					/* digits alone, or no number */
	MARKS_POINT,				/* 1.5, 1,234.5: the decimal mark is a point */
	MARKS_COMMA,				/* 1,5, 1.234,5 */
	MARKS_EITHER_POINT,			/* 1.234: decimals or thousands */
	MARKS_EITHER_COMMA			/* 1,234 */
} DialectMarks;

/* dialect_value.c */
extern DialectType etl_dialect_type(const char *text, int length);
extern DialectMarks etl_dialect_marks(const char *text, int length, bool *grouped);

/* dialect_rows.c: aspects that stand in the values */
extern void etl_dialect_find_header(EtlDialect *dialect, const DialectRows *rows);
extern void etl_dialect_find_decimal(EtlDialect *dialect, const DialectRows *rows);

/* dialect_encoding.c: the sample as ASCII-compatible text; its encoding and how sure it is */
extern char *etl_dialect_text(EtlDialect *dialect, const char *bytes, size_t length, bool whole,
							  size_t *text_length);

#endif							/* ETL_DIALECT_H */
