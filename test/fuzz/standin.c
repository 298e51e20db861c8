/*-------------------------------------------------------------------------
 *
 * standin.c
 *    Just enough of a backend to run src/decode/ under the sanitizers.
 *
 * Every palloc is a malloc of its own, so that AddressSanitizer sees each
 * byte too many; a context frees what is left in it.  An error longjmps to
 * the harness.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "catalog/namespace.h"
#include "common/cryptohash.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/json.h"
#include "common/part.h"
#include "etl_part.h"

#include "standin.h"

/* ---- memory ---- */

typedef struct Chunk
{
	struct Chunk *next;
	struct Chunk **link;
	size_t		size;
	struct Context *context;
} Chunk;

typedef struct Context
{
	MemoryContextData head;		/* only its address matters */
	Chunk	   *chunks;
	MemoryContextCallback *callbacks;
	struct Context *children;	/* of the root: all contexts */
	struct Context *next;
	struct Context **link;
} Context;

static Context root;
MemoryContext CurrentMemoryContext = &root.head;
MemoryContext ErrorContext = &root.head;
MemoryContext TopMemoryContext = &root.head;
size_t		standin_allocated;

static void *
chunk_new(Context *context, size_t size)
{
	Chunk	   *chunk = malloc(sizeof(Chunk) + size);

	if (chunk == NULL)
		abort();
	chunk->size = size;
	chunk->context = context;
	chunk->next = context->chunks;
	chunk->link = &context->chunks;
	if (chunk->next)
		chunk->next->link = &chunk->next;
	context->chunks = chunk;
	standin_allocated += size;
	return chunk + 1;
}

static void
chunk_free(Chunk *chunk)
{
	*chunk->link = chunk->next;
	if (chunk->next)
		chunk->next->link = chunk->link;
	standin_allocated -= chunk->size;
	free(chunk);
}

void *
palloc(Size size)
{
	return chunk_new((Context *) CurrentMemoryContext, size);
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return memset(MemoryContextAllocHuge(context, size), 0, size);
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	return MemoryContextAllocHuge(context, size);
}

void *
MemoryContextAllocHuge(MemoryContext context, Size size)
{
	return chunk_new((Context *) context, size);
}

void
pfree(void *pointer)
{
	chunk_free((Chunk *) pointer - 1);
}

void *
repalloc(void *pointer, Size size)
{
	Chunk	   *chunk = (Chunk *) pointer - 1;
	void	   *result = chunk_new(chunk->context, size);

	memcpy(result, pointer, Min(size, chunk->size));
	chunk_free(chunk);
	return result;
}

void *
repalloc_huge(void *pointer, Size size)
{
	return repalloc(pointer, size);
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	return strcpy(MemoryContextAllocHuge(context, strlen(string) + 1), string);
}

char *
pstrdup(const char *string)
{
	return MemoryContextStrdup(CurrentMemoryContext, string);
}

char *
pnstrdup(const char *string, Size length)
{
	char	   *copy = palloc(length + 1);

	memcpy(copy, string, length);
	copy[length] = '\0';
	return copy;
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size a, Size b, Size c)
{
	Context    *context = calloc(1, sizeof(Context));

	context->next = root.children;
	context->link = &root.children;
	if (context->next)
		context->next->link = &context->next;
	root.children = context;
	return &context->head;
}

void
MemoryContextRegisterResetCallback(MemoryContext context, MemoryContextCallback *callback)
{
	callback->next = ((Context *) context)->callbacks;
	((Context *) context)->callbacks = callback;
}

void
MemoryContextReset(MemoryContext mc)
{
	Context    *context = (Context *) mc;

	while (context->chunks)
		chunk_free(context->chunks);
}

void
MemoryContextDelete(MemoryContext mc)
{
	Context    *context = (Context *) mc;

	for (; context->callbacks; context->callbacks = context->callbacks->next)
		context->callbacks->func(context->callbacks->arg);
	while (context->chunks)
		chunk_free(context->chunks);
	if (context == &root)
		return;
	*context->link = context->next;
	if (context->next)
		context->next->link = context->link;
	free(context);
}

/*
 * standin_reset frees all that the last input left behind, also the contexts
 * that an error left open.
 */
void
standin_reset(void)
{
	CurrentMemoryContext = &root.head;
	while (root.children)
		MemoryContextDelete(&root.children->head);
	MemoryContextDelete(&root.head);
}

/* ---- errors ---- */

jmp_buf		standin_error;
char		standin_message[1024];
volatile uint32 InterruptHoldoffCount;
volatile sig_atomic_t InterruptPending;
volatile uint32 CritSectionCount;
sigjmp_buf *PG_exception_stack;
ErrorContextCallback *error_context_stack;

void
ProcessInterrupts(void)
{
}

bool
errstart(int elevel, const char *domain)
{
	standin_message[0] = '\0';
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int sqlerrcode)
{
	return 0;
}

int
errmsg(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(standin_message, sizeof(standin_message), format, args);
	va_end(args);
	return 0;
}

int
errmsg_internal(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(standin_message, sizeof(standin_message), format, args);
	va_end(args);
	return 0;
}

int
errdetail(const char *format, ...)
{
	return 0;
}

int
errhint(const char *format, ...)
{
	return 0;
}

void
errfinish(const char *file, int line, const char *function)
{
	pg_re_throw();
}

void
pg_re_throw(void)
{
	if (PG_exception_stack != NULL)
		siglongjmp(*PG_exception_stack, 1);
	longjmp(standin_error, 1);
}

ErrorData *
CopyErrorData(void)
{
	return palloc0(sizeof(ErrorData));
}

void
FlushErrorState(void)
{
}

void
ReThrowError(ErrorData *error)
{
	pg_re_throw();
}

/* ---- strings ---- */

char *
psprintf(const char *format, ...)
{
	char		buffer[4096];
	va_list		args;

	va_start(args, format);
	vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	return pstrdup(buffer);
}

void
initStringInfo(StringInfo string)
{
	string->maxlen = 64;
	string->data = palloc(string->maxlen);
	resetStringInfo(string);
}

void
resetStringInfo(StringInfo string)
{
	string->data[0] = '\0';
	string->len = 0;
	string->cursor = 0;
}

void
enlargeStringInfo(StringInfo string, int needed)
{
	while (string->maxlen <= string->len + needed)
		string->maxlen *= 2;
	string->data = repalloc(string->data, string->maxlen);
}

int
appendStringInfoVA(StringInfo string, const char *format, va_list args)
{
	int			room = string->maxlen - string->len;
	int			n = vsnprintf(string->data + string->len, room, format, args);

	if (n < room)
	{
		string->len += n;
		return 0;
	}
	string->data[string->len] = '\0';
	return n + 1;
}

void
appendBinaryStringInfo(StringInfo string, EtlBytes *data, int length)
{
	enlargeStringInfo(string, length);
	memcpy(string->data + string->len, data, length);
	string->len += length;
	string->data[string->len] = '\0';
}

void
appendStringInfoString(StringInfo string, const char *text)
{
	appendBinaryStringInfo(string, text, strlen(text));
}

void
appendStringInfoChar(StringInfo string, char character)
{
	appendBinaryStringInfo(string, &character, 1);
}

void
appendStringInfo(StringInfo string, const char *format, ...)
{
	va_list		args;
	int			needed;

	do
	{
		va_start(args, format);
		needed = appendStringInfoVA(string, format, args);
		va_end(args);
		if (needed)
			enlargeStringInfo(string, needed);
	} while (needed);
}

/* ---- lists ---- */

List *
list_make1_impl(NodeTag type, ListCell cell)
{
	List	   *list = palloc0(sizeof(List));

	list->type = type;
	list->length = 1;
	list->elements = palloc(sizeof(ListCell));
	list->elements[0] = cell;
	return list;
}

/* ---- a hash that tells inputs apart, no more ---- */

struct pg_cryptohash_ctx
{
	uint64		sum;
};

pg_cryptohash_ctx *
pg_cryptohash_create(pg_cryptohash_type type)
{
	return palloc0(sizeof(pg_cryptohash_ctx));
}

int
pg_cryptohash_init(pg_cryptohash_ctx *hash)
{
	return 0;
}

int
pg_cryptohash_update(pg_cryptohash_ctx *hash, const uint8 *bytes, size_t length)
{
	while (length-- > 0)
		hash->sum = hash->sum * 1099511628211u + *bytes++;
	return 0;
}

int
pg_cryptohash_final(pg_cryptohash_ctx *hash, uint8 *digest, size_t length)
{
	memset(digest, 0, length);
	memcpy(digest, &hash->sum, sizeof(hash->sum));
	return 0;
}

void
pg_cryptohash_free(pg_cryptohash_ctx *hash)
{
	pfree(hash);
}

/* ---- encodings: the server is UTF8, other files are taken as LATIN1 ---- */

int
pg_mblen(const char *text)
{
	return pg_utf_mblen((const unsigned char *) text);
}

int
pg_mbcliplen(const char *text, int length, int limit)
{
	int			n = 0;

	while (n < length && n + pg_mblen(text + n) <= limit)
		n += pg_mblen(text + n);
	return n;
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

const char *
GetDatabaseEncodingName(void)
{
	return "UTF8";
}

Oid
FindDefaultConversionProc(int32 from, int32 to)
{
	return 1;
}

int
pg_do_encoding_conversion_buf(Oid proc, int from, int to, unsigned char *src, int srclen,
							  unsigned char *dest, int destlen, bool no_error)
{
	int			i;

	for (i = 0; i < srclen; i++)
	{
		if (src[i] < 0x80)
			*dest++ = src[i];
		else
		{
			*dest++ = 0xc0 | (src[i] >> 6);
			*dest++ = 0x80 | (src[i] & 0x3f);
		}
	}
	*dest = '\0';
	return srclen;
}

char *
pg_any_to_server(const char *text, int length, int encoding)
{
	return unconstify(char *, text);
}

char *
pg_server_to_any(const char *text, int length, int encoding)
{
	return unconstify(char *, text);
}

bool
pg_verify_mbstr(int encoding, const char *text, int length, bool no_error)
{
	return pg_encoding_verifymbstr(encoding, text, length) == length;
}

void
check_stack_depth(void)
{
}

/* ---- numbers: doubles do for an order ---- */

Datum
DirectFunctionCall2Coll(PGFunction function, Oid collation, Datum a, Datum b)
{
	return BoolGetDatum(*(double *) DatumGetPointer(a) < *(double *) DatumGetPointer(b));
}

Datum
DirectFunctionCall3Coll(PGFunction function, Oid collation, Datum a, Datum b, Datum c)
{
	double	   *number = palloc(sizeof(double));

	*number = strtod(DatumGetCString(a), NULL);
	return PointerGetDatum(number);
}

Datum
numeric_lt(PG_FUNCTION_ARGS)
{
	return 0;
}

Datum
numeric_in(PG_FUNCTION_ARGS)
{
	return 0;
}

/* ---- time zones: one hour east of UTC, always ---- */

int
DetermineTimeZoneOffset(struct pg_tm *tm, pg_tz *zone)
{
	return -3600;
}

/* ---- the rest of etl ---- */

int			etl_max_record_size_kb = 64;

/* parts that were linked */
extern const EtlXmlPart *etl_xml_part(void) __attribute__((weak));
extern const EtlArchivePart *etl_archive_part(void) __attribute__((weak));

const void *
etl_part_find(const char *name, const char *needed_for)
{
	if (strcmp(name, "xml") == 0 && etl_xml_part != NULL)
		return etl_xml_part();
	if (strcmp(name, "archive") == 0 && etl_archive_part != NULL)
		return etl_archive_part();
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("there is no part \"%s\" here", name)));
	return NULL;
}

char *
etl_coerce_shown(const char *text, int length)
{
	return pnstrdup(text, Min(length, 100));
}
