/*-------------------------------------------------------------------------
 *
 * json_scan.h
 *    JSON at the level of bytes: strings, numbers, nested values, extents.
 *
 * Included by json*.c only.  The etl_json_scan_* functions read
 * text that is followed by at least ETL_PADDING zero bytes: a zero byte is
 * never valid, so it ends every loop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_JSON_SCAN_H
#define ETL_JSON_SCAN_H

#include "decode/decoder.h"

#define ETL_JSON_MAX_DEPTH 1000

/* Why text is not JSON, or is JSON that PostgreSQL cannot store. */
typedef struct JsonFault
{
	const char *code;			/* "malformed", "encoding" */
	const char *problem;
	const char *at;
} JsonFault;

/*
 * Reads a string behind its opening quote; unescapes it in place, when asked,
 * and ends it with a NUL.  Returns the place behind the closing quote, or
 * NULL with the fault.
 */
extern char *etl_json_scan_string(char *p, bool in_place, int *length, JsonFault *fault);
extern char *etl_json_scan_number(char *p, JsonFault *fault);
/* any value, not changed; returns the place behind it */
extern char *etl_json_scan_value(char *p, JsonFault *fault);
/* true, false, null: its length, or 0 */
extern int etl_json_scan_word(const char *p);

static inline char *
etl_json_skip_space(char *p)
{
	while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')
		p++;
	return p;
}

/*
 * The extent of a value whose bytes come in pieces.  Brackets are counted,
 * not matched: whoever parses the value finds the rest.
 */
typedef struct JsonExtent
{
	int64		depth;
	bool		begun;
	bool		in_string;
	bool		escaped;		/* the next byte is escaped */
	bool		scalar;			/* number or word: ends before a delimiter */
} JsonExtent;

/*
 * true when a value that is no JSON surely ends where its extent does: every
 * string of it is whole and stands where a string may stand, and its brackets
 * match, so that no quote or bracket too many or too few moved its end
 */
extern bool etl_json_is_closed(char *text, size_t size);

/* true when the value ends within these bytes: '*used' are its own */
extern bool etl_json_extent(JsonExtent *extent, const char *bytes, size_t length, size_t *used);

#endif							/* ETL_JSON_SCAN_H */
