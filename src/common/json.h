/*-------------------------------------------------------------------------
 *
 * json.h
 *    Reading and building small jsonb documents: options, cursors, reasons.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_JSON_H
#define ETL_JSON_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* Top-level key of an object.  NULL when absent or JSON null. */
extern char *etl_json_get_text(const Jsonb *object,
							   const char *key);	/* scalars as text, others as JSON text */
extern Jsonb *etl_json_get(const Jsonb *object, const char *key);	/* any value, as a document */
extern bool etl_json_get_bool(const Jsonb *object, const char *key, bool default_value);
extern int64 etl_json_get_int64(const Jsonb *object, const char *key, int64 default_value);
extern List *etl_json_get_list(const Jsonb *object,
							   const char *key);	/* of char *; a scalar is a list of one */
extern char etl_json_kind_of(const Jsonb *object, const char *key);	/* as etl_json_kind; NUL: absent */
extern List *etl_json_keys(const Jsonb *object);	/* of char * */
extern bool etl_json_has(const Jsonb *object, const char *key);

/* the elements of an array, each a document of its own: Jsonb * */
extern List *etl_json_elements(const Jsonb *array);

/* a copy of an object without a key */
extern Jsonb *etl_json_without(const Jsonb *object, const char *key);

/* 'o' object, 'a' array, 's' string, 'n' number, 'b' boolean, '0' null */
extern char etl_json_kind(const Jsonb *value);

extern Jsonb *etl_json_parse(const char *text);	/* raises 22P02 */
extern char *etl_json_text(const Jsonb *value);	/* as JSON */
extern char *etl_json_bare_text(const Jsonb *value);	/* a string without its quotes, others as JSON */

extern char *etl_json_quote(const char *text);	/* a text as a JSON string */

/* Building an object, keys in any order. */
typedef struct EtlJsonBuilder EtlJsonBuilder;
extern EtlJsonBuilder *etl_json_object_begin(void);
extern void etl_json_add_text(EtlJsonBuilder *builder, const char *key, const char *value);	/* NULL → null */
extern void etl_json_add_int64(EtlJsonBuilder *builder, const char *key, int64 value);
extern void etl_json_add(EtlJsonBuilder *builder, const char *key, const Jsonb *value);
extern Jsonb *etl_json_object_end(EtlJsonBuilder *builder);

#endif							/* ETL_JSON_H */
