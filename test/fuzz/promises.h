/*-------------------------------------------------------------------------
 *
 * promises.h
 *    What the decoders promise for any bytes, and what holds them to it.
 *
 * Beside that no sanitizer complains:
 *	 - the records do not depend on how the bytes arrive (pieces of 1 to 64
 *	   bytes against one piece);
 *	 - positions grow;
 *	 - memory stays below a bound that does not depend on the input's length;
 *	 - where etl_json_facts calls a document valid, the decoder counts the
 *	   same records, or refuses some;
 *	 - a dialect that is found can be said as options, and is as certain as a
 *	   number from 0 to 1 says.
 * Called by fuzz.c and targets.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_PROMISES_H
#define ETL_PROMISES_H

#include "lib/stringinfo.h"

#include "decode/decode.h"

#define FUZZ_MAX_INPUT (256 * 1024)

typedef struct FuzzCase
{
	const char *format;
	const char *name;
	char	   *options;
	char	   *bytes;
	size_t		length;
} FuzzCase;

typedef struct FuzzBytes
{
	const char *at;
	size_t		left;
	size_t		piece;			/* greatest piece; 0: as much as asked for */
} FuzzBytes;

/* What a decoding printed; malloc'ed, since contexts come and go. */
typedef struct FuzzOutput
{
	char	   *text;
	size_t		length;
	size_t		room;
	int64		records;
	bool		failed;
	size_t		before_error;	/* the length of what came before it */
	size_t		peak;
} FuzzOutput;

extern uint64 fuzz_random;		/* state of fuzz_any */
extern uint32 fuzz_any(uint32 below);
extern size_t fuzz_read(void *arg, char *buffer, size_t size);	/* of a FuzzBytes */
extern void fuzz_broken(const char *promise, const FuzzCase *test) pg_attribute_noreturn();
extern void fuzz_decode(const FuzzCase *test, size_t piece, FuzzOutput *output);
extern void fuzz_check(const FuzzCase *test);

#endif							/* ETL_PROMISES_H */
