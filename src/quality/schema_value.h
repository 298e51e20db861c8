/*-------------------------------------------------------------------------
 *
 * schema_value.h
 *    What JSON Schema asks of values.
 *
 * Included only by src/quality/json_schema.c and schema_*.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_SCHEMA_VALUE_H
#define ETL_SCHEMA_VALUE_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* the schema that a "$ref": "#/…" means; NULL: there is none */
extern JsonbValue *etl_json_schema_resolve(const Jsonb *root, const char *ref);
/* the member of an object, NULL: it has none, or is none */
extern JsonbValue *etl_json_schema_member(const JsonbValue *object, const char *key);
/* a list of strings, or the one string that it is, char * */
extern List *etl_json_schema_strings(const JsonbValue *value);
/* whether two values are equal as JSON */
extern bool etl_json_schema_equal(JsonbValue *a, JsonbValue *b);
/* a document as a value */
extern JsonbValue *etl_json_schema_value(const Jsonb *document);

extern bool etl_schema_is_object(const JsonbValue *value);
extern bool etl_schema_is_array(const JsonbValue *value);
extern char *etl_schema_string(const JsonbValue *value);	/* of a string */
extern int etl_schema_compare_numbers(Numeric a, Numeric b);
extern const char *etl_schema_type(const JsonbValue *value);
extern bool etl_schema_has_type(const JsonbValue *value, const char *type);
/* whether a regular expression occurs in a string, or a string has a format */
extern bool etl_schema_matches(const char *pattern, const char *string, int length);
extern bool etl_schema_is_format(const char *format, const char *string, int length);

#endif							/* ETL_SCHEMA_VALUE_H */
