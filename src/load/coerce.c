/*-------------------------------------------------------------------------
 *
 * coerce.c
 *    Text to Datum, with a reason instead of an error.
 *
 * What PostgreSQL's input functions accept is accepted, with their result,
 * but for dates and times: a text in a form of ISO 8601 means what the
 * standard says; leap seconds are refused, since they would become the first
 * second of the next minute, and so are the words that mean another day
 * tomorrow (now, today, …), since the same file must give the same rows.  The input functions called
 * here under PG_TRY are pure C without resources, so that no subtransaction
 * is needed; every other type is not soft and left to the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/errors.h"
#include "common/json.h"
#include "load/coercer.h"

#define SHOWN_BYTES 100

/*
 * one_mark reads an option that is one byte.
 */
static char
one_mark(const Jsonb *options, const char *key, char mark)
{
	char	   *text = etl_json_get_text(options, key);

	if (text == NULL)
		return mark;
	if (strlen(text) > 1 || (mark && text[0] == '\0') || (text[0] >= '0' && text[0] <= '9'))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"%s\" must be one byte that is no digit, not \"%s\"", key, text)));
	return text[0];
}

/*
 * etl_coerce_options_read takes timezone, date_order, decimal and thousands
 * from stream options.
 */
void
etl_coerce_options_read(EtlCoerceOptions *coerce, const Jsonb *options)
{
	char	   *timezone = etl_json_get_text(options, "timezone");
	char	   *order = etl_json_get_text(options, "date_order");

	coerce->timezone = timezone ? timezone : "UTC";
	if (pg_tzset(coerce->timezone) == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("unknown time zone \"%s\" in option \"timezone\"", coerce->timezone),
				 errhint("pg_timezone_names lists them.")));
	coerce->date_order = order ? order[0] : 'Y';
	coerce->decimal = one_mark(options, "decimal", '.');
	coerce->thousands = one_mark(options, "thousands", '\0');
	if (coerce->decimal == coerce->thousands)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options \"decimal\" and \"thousands\" are the same"),
				 errhint("For 1.234,56 set \"decimal\" to \",\" and \"thousands\" to \".\".")));
}

/*
 * is_soft_type lists the types whose input function is pure and whose errors
 * become reasons.
 */
static bool
is_soft_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case UUIDOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
		case JSONBOID:
		case BYTEAOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
			return true;
		default:
			return false;
	}
}

/*
 * etl_coercer_make prepares a column of a type; lives in the current context.
 */
EtlCoercer *
etl_coercer_make(Oid type, int32 typmod, const EtlCoerceOptions *options)
{
	EtlCoercer *coercer = palloc0(sizeof(EtlCoercer));
	Oid			function;

	coercer->type = type;
	coercer->typmod = typmod;
	coercer->soft = is_soft_type(type);
	coercer->options = *options;
	coercer->timezone = pg_tzset(options->timezone);
	coercer->utc = strcmp(pg_get_timezone_name(coercer->timezone), "UTC") == 0;
	getTypeInputInfo(type, &function, &coercer->ioparam);
	fmgr_info(function, &coercer->input);
	coercer->is_array = OidIsValid(get_element_type(type));

	coercer->max_chars = typmod >= (int32) VARHDRSZ ? typmod - (int32) VARHDRSZ : -1;
	coercer->plain_typmod = true;
	if (type == NUMERICOID && typmod >= (int32) VARHDRSZ)
	{
		coercer->precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
		coercer->scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
		coercer->plain_typmod = coercer->scale >= 0 && coercer->scale <= coercer->precision &&
								coercer->scale <= 18;
	}
	return coercer;
}

/*
 * etl_coercer_is_text: see coerce.h.
 */
bool
etl_coercer_is_text(const EtlCoercer *coercer)
{
	return coercer->type == TEXTOID || (coercer->type == VARCHAROID && coercer->max_chars < 0);
}

bool
etl_coercer_is_soft(const EtlCoercer *coercer)
{
	return coercer->soft;
}

char *
etl_coerce_shown(const char *text, int length)
{
	int			shown = length > SHOWN_BYTES ? pg_mbcliplen(text, length, SHOWN_BYTES) : length;
	char	   *copy = palloc(shown + 4);

	memcpy(copy, text, shown);
	strcpy(copy + shown, shown < length ? "..." : "");
	return copy;
}

/*
 * shown_message cuts off a message that quotes a very long value.
 */
static const char *
shown_message(const char *message)
{
	int			length = strlen(message);

	return length > 3 * SHOWN_BYTES ? etl_coerce_shown(message, length) : message;
}

/*
 * is_data_fault tells whether an error speaks about the value.
 */
static bool
is_data_fault(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION ||
		   ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/*
 * call_input calls the type's input function under the column's zone and
 * date order; a fault of the value becomes the reason.
 */
static const char *
call_input(EtlCoercer *coercer, const char *text, Datum *datum)
{
	MemoryContext context = CurrentMemoryContext;
	pg_tz	   *saved_zone = session_timezone;
	int			saved_order = DateOrder;
	const char *volatile reason = NULL;

	session_timezone = coercer->timezone;
	DateOrder = coercer->options.date_order == 'D' ? DATEORDER_DMY :
				coercer->options.date_order == 'M' ? DATEORDER_MDY :
													 DATEORDER_YMD;
	PG_TRY();
	{
		*datum = InputFunctionCall(&coercer->input, unconstify(char *, text), coercer->ioparam,
								   coercer->typmod);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		session_timezone = saved_zone;
		DateOrder = saved_order;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!is_data_fault(error))
			PG_RE_THROW();
		FlushErrorState();
		reason = shown_message(pstrdup(error->message));
		/* alone the message of JSON says nothing, and that of numeric no limit */
		if (error->detail && (coercer->type == JSONOID || coercer->type == JSONBOID ||
							  coercer->type == NUMERICOID))
			reason = psprintf("%s: %s", reason, etl_coerce_shown(error->detail, strlen(error->detail)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	session_timezone = saved_zone;
	DateOrder = saved_order;
	return reason;
}

/*
 * coerce_datetime reads ISO 8601, and what is not as PostgreSQL does.
 */
static const char *
coerce_datetime(EtlCoercer *coercer, const EtlValue *value, Datum *datum)
{
	static const char *const moving[] = {"now", "today", "tomorrow", "yesterday"};
	const char *text = value->text;
	const char *reason = NULL;
	const char *p;
	int			i;

	if (coercer->type != TIMEOID && coercer->type != TIMETZOID &&
		etl_coerce_datetime_fast(coercer, value->text, value->length, datum))
		return NULL;
	if (etl_coerce_datetime_form(coercer, &text, value->length, datum, &reason))
		return reason;
	for (p = value->text; *p; p++)
	{
		if (!isalpha((unsigned char) *p) || (p > value->text && isalpha((unsigned char) p[-1])))
			continue;
		for (i = 0; i < lengthof(moving); i++)
			if (pg_strncasecmp(p, moving[i], strlen(moving[i])) == 0 &&
				!isalpha((unsigned char) p[strlen(moving[i])]))
				return psprintf("\"%s\" means another time tomorrow",
								etl_coerce_shown(value->text, value->length));
	}
	return call_input(coercer, text, datum);
}

/*
 * coerce_number reads floats and numerics.
 */
static const char *
coerce_number(EtlCoercer *coercer, const EtlValue *value, Datum *datum)
{
	const char *text = value->text;
	int			length = value->length;
	const char *reason = NULL;
	double		number;

	if (!value->from_json && (reason = etl_coerce_plain_number(&coercer->options, &text, &length)))
		return reason;
	if (coercer->type == NUMERICOID)
	{
		if (etl_coerce_numeric_fast(coercer, text, length, datum, &reason))
			return reason;
	}
	else if (coercer->type == FLOAT8OID && etl_coerce_float8_fast(text, length, &number))
	{
		*datum = Float8GetDatum(number);
		return NULL;
	}
	if (etl_coerce_is_no_number(text))
		return shown_message(psprintf("invalid input syntax for type %s: \"%s\"",
									  format_type_be(coercer->type), text));
	return call_input(coercer, text, datum);
}

/*
 * coerce_text makes text, varchar(n) and character(n); only blanks may be
 * cut off, as the SQL standard has it.
 */
static const char *
coerce_text(EtlCoercer *coercer, const EtlValue *value, Datum *datum)
{
	const char *text = value->text;
	int			length = value->length;
	int			limit = coercer->type == TEXTOID ? -1 : coercer->max_chars;
	int			keep;
	int			i;

	if (limit >= 0 && coercer->type == BPCHAROID)
		return call_input(coercer, text, datum);
	if (limit >= 0 && length > limit)
	{
		keep = pg_mbcharcliplen(text, length, limit);
		for (i = keep; i < length; i++)
			if (text[i] != ' ')
				return psprintf("value too long for type character varying(%d)", limit);
		length = keep;
	}
	*datum = PointerGetDatum(cstring_to_text_with_len(text, length));
	return NULL;
}

/*
 * json_string makes the JSON text of a string.
 */
static char *
json_string(const char *text)
{
	StringInfoData json;

	initStringInfo(&json);
	escape_json(&json, text);
	return json.data;
}

static inline int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * coerce_uuid reads the form with four hyphens; the input function knows the
 * others.
 */
static const char *
coerce_uuid(EtlCoercer *coercer, const EtlValue *value, Datum *datum)
{
	const char *p = value->text;
	pg_uuid_t  *uuid;
	int			i;

	if (value->length != 36)
		return call_input(coercer, value->text, datum);
	uuid = palloc(sizeof(pg_uuid_t));
	for (i = 0; i < UUID_LEN; i++, p += 2)
	{
		int			high;
		int			low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return call_input(coercer, value->text, datum);
		high = hex_digit(p[0]);
		low = high < 0 ? -1 : hex_digit(p[1]);
		if (low < 0)
			return call_input(coercer, value->text, datum);
		uuid->data[i] = high * 16 + low;
	}
	*datum = UUIDPGetDatum(uuid);
	return NULL;
}

const char *
etl_coerce(EtlCoercer *coercer, const EtlValue *value, Datum *datum, bool *isnull)
{
	const char *text = value->text;
	int			length = value->length;
	const char *reason;
	bool		truth;

	*isnull = value->kind == ETL_VALUE_NULL;
	*datum = (Datum) 0;
	if (*isnull)
		return NULL;
	switch (coercer->type)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return coerce_text(coercer, value, datum);
		case INT2OID:
		case INT4OID:
		case INT8OID:
			if (!value->from_json &&
				(reason = etl_coerce_plain_number(&coercer->options, &text, &length)))
				return reason;
			return etl_coerce_integer(coercer, text, length, value->kind == ETL_VALUE_NUMBER, datum);
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return coerce_number(coercer, value, datum);
		case BOOLOID:
			if (!parse_bool_with_len(text, length, &truth))
				return call_input(coercer, text, datum);
			*datum = BoolGetDatum(truth);
			return NULL;
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return coerce_datetime(coercer, value, datum);
		case UUIDOID:
			return coerce_uuid(coercer, value, datum);
		case JSONOID:
		case JSONBOID:
			if (value->from_json && value->kind == ETL_VALUE_TEXT)
				text = json_string(text);
			return call_input(coercer, text, datum);
		default:
			if (coercer->soft)
				return call_input(coercer, text, datum);
			if (coercer->is_array && value->kind == ETL_VALUE_JSON && text[0] == '[')
				text = etl_coerce_array_literal(text);
			*datum = InputFunctionCall(&coercer->input, unconstify(char *, text), coercer->ioparam,
									   coercer->typmod);
			return NULL;
	}
}
