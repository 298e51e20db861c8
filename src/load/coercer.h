/*-------------------------------------------------------------------------
 *
 * coercer.h
 *    One column's way from text to Datum.  Included only by coerce*.c and
 *    infer.c.
 *
 * The fast paths take the common forms and return false for the rest, which
 * then goes through PostgreSQL's own input function: same result, slower.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_COERCER_H
#define ETL_COERCER_H

#include "fmgr.h"
#include "pgtime.h"

#include "load/coerce.h"

struct EtlCoercer
{
	Oid			type;
	int32		typmod;
	bool		soft;
	FmgrInfo	input;			/* the type's input function */
	Oid			ioparam;
	EtlCoerceOptions options;
	pg_tz	   *timezone;
	bool		utc;
	int			precision;		/* numeric(precision, scale); 0: any */
	int			scale;
	bool		plain_typmod;	/* of a numeric: the fast path knows it */
	bool		is_array;
	int			max_chars;		/* varchar(n), character(n); -1: any */
};

/* coerce_number.c */
extern const char *etl_coerce_plain_number(const EtlCoerceOptions *options, const char **text,
										   int *length);
extern const char *etl_coerce_integer(const EtlCoercer *coercer, const char *text, int length,
									  bool json, Datum *datum);
extern bool etl_coerce_numeric_fast(const EtlCoercer *coercer, const char *text, int length,
									Datum	   *datum, const char **reason);
extern bool etl_coerce_is_no_number(const char *text);
extern bool etl_coerce_float8_fast(const char *text, int length, double *result);

/* coerce_datetime.c */
extern bool etl_coerce_datetime_fast(const EtlCoercer *coercer, const char *text, int length,
									 Datum *datum);
extern bool etl_coerce_datetime_form(const EtlCoercer *coercer, const char **text, int length,
									 Datum *datum, const char **reason);

/* coerce_array.c */
extern char *etl_coerce_array_literal(const char *json);

/* the text of a value as it stands in a reason, cut when long */
extern char *etl_coerce_shown(const char *text, int length);

#endif							/* ETL_COERCER_H */
