/*-------------------------------------------------------------------------
 *
 * cppcheck.h
 *    What cppcheck needs to know of PostgreSQL's macros; it gets no headers.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

/* ERROR and above do not return */
#define ereport(level, ...) RAISE_##level
#define elog(level, ...) RAISE_##level
#define RAISE_ERROR abort()
#define RAISE_FATAL abort()
#define RAISE_WARNING (void) 0
#define RAISE_NOTICE (void) 0
#define RAISE_INFO (void) 0
#define RAISE_LOG (void) 0
#define RAISE_DEBUG1 (void) 0

#define PG_RE_THROW() abort()
#define PG_TRY() if (1)
#define PG_CATCH() else
#define PG_FINALLY()
#define PG_END_TRY()
#define PG_FUNCTION_ARGS FunctionCallInfo fcinfo
#define PG_FUNCTION_INFO_V1(name) extern Datum name(FunctionCallInfo fcinfo)
#define PG_MODULE_MAGIC extern int etl_magic
#define foreach(cell, list) for (cell = first_cell(list); cell != NULL; cell = next_cell(cell))
#define for_each_from(cell, list, n) for (cell = nth_cell(list, n); cell != NULL; cell = next_cell(cell))
#define forboth(a, first, b, second) for (; (a = next_of(first)) != NULL && (b = next_of(second)) != NULL;)
#define INT64_FORMAT "%ld"
#define UINT64_FORMAT "%lu"
#define FLEXIBLE_ARRAY_MEMBER
#define pg_attribute_printf(f, a)
#define pg_noinline
#define PGDLLEXPORT
