/*-------------------------------------------------------------------------
 *
 * sql.h
 *    Running SQL on etl's own tables; only catalog/ includes it.
 *
 * Statements run as the extension's owner with search_path = pg_catalog,
 * so etl tables are written etl.x.  Values travel as $n.  Safe inside and
 * outside etl_run_as.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_SQL_H
#define ETL_CATALOG_SQL_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define ETL_MAX_PARAMS 32

typedef struct EtlParams
{
	int			n;
	Oid			types[ETL_MAX_PARAMS];
	Datum		values[ETL_MAX_PARAMS];
	char		nulls[ETL_MAX_PARAMS];
} EtlParams;

extern void etl_param_text(EtlParams *params, const char *value);	/* NULL → SQL null, here and below */
extern void etl_param_int8(EtlParams *params, int64 value);
extern void etl_param_int4(EtlParams *params, int32 value);
extern void etl_param_bool(EtlParams *params, bool value);
extern void etl_param_float8(EtlParams *params, double value);
extern void etl_param_jsonb(EtlParams *params, const Jsonb *value);
extern void etl_param_bytea(EtlParams *params, const char *bytes, int length);
extern void etl_param_texts(EtlParams *params, List *values);	/* list of char *; NIL → '{}' */
extern void etl_param_int8s(EtlParams *params, const int64 *values, int n);
extern void etl_param_timestamps(EtlParams *params, const TimestampTz *values, int n);
extern void etl_param_timestamp(EtlParams *params, TimestampTz value);
extern void etl_param_interval(EtlParams *params, const Interval *value);	/* NULL: null */
extern void etl_param_datum(EtlParams *params, Oid type, Datum value, bool isnull);

typedef struct EtlRows
{
	int			n;
	TupleDesc	desc;
	HeapTuple  *rows;

	/* what was read last */
	int			row;			/* -1: none */
	int			column;			/* from 0 */
	Datum	   *values;
	bool	   *nulls;
} EtlRows;

/* etl_sql_exec returns the number of rows; etl_sql_query the rows, in the caller's context. */
extern uint64 etl_sql_exec(const char *sql, EtlParams *params);
extern EtlRows *etl_sql_query(const char *sql, EtlParams *params);
/* etl_sql_query_seen only reads, and sees exactly what the active snapshot sees. */
extern EtlRows *etl_sql_query_seen(const char *sql, EtlParams *params);
extern int64 etl_sql_int8(const char *sql,
						  EtlParams *params);	/* first column of the first row; 0 when none */

/* Columns by name; NULL or the zero value where SQL is null. */
extern char *etl_row_text(EtlRows *rows, int i, const char *column);
extern int64 etl_row_int8(EtlRows *rows, int i, const char *column);
extern int32 etl_row_int4(EtlRows *rows, int i, const char *column);
extern bool etl_row_bool(EtlRows *rows, int i, const char *column);
extern TimestampTz etl_row_timestamp(EtlRows *rows, int i, const char *column);
extern TimestampTz etl_row_due(EtlRows *rows, int i, const char *column);	/* null: DT_NOEND */
extern Interval *etl_row_interval(EtlRows *rows, int i, const char *column);
extern Jsonb *etl_row_jsonb(EtlRows *rows, int i, const char *column);
extern List *etl_row_texts(EtlRows *rows, int i, const char *column);
/* a column of all rows: char * */
extern List *etl_column_texts(EtlRows *rows, const char *column);
extern Datum etl_row_datum(EtlRows *rows, int i, const char *column, bool *isnull);

#endif							/* ETL_CATALOG_SQL_H */
