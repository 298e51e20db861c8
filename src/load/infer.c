/*-------------------------------------------------------------------------
 *
 * infer.c
 *    The narrowest type that holds every value seen, never a guess.
 *
 * A column starts as anything; every value takes away the types that would
 * not give it back.  In CSV a number is one only when it survives text →
 * type → text digit by digit (00123, +49 and 1e5 stay text); in JSON numbers
 * count by their value.  Dates, timestamps and uuids count in their one
 * standard form.  A column without values is text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"

#include "common/iso_time.h"
#include "common/names.h"
#include "load/coercer.h"

/* what a column may still be */
#define MAY_BIGINT	  0x01
#define MAY_NUMERIC	  0x02
#define MAY_BOOLEAN	  0x04
#define MAY_DATE	  0x08
#define MAY_TIMESTAMP 0x10
#define MAY_UUID	  0x20
#define MAY_TEXT	  0x40		/* no object or array among the values */
#define MAY_ANYTHING  0x7f

typedef struct Column
{
	int			may;
	bool		seen;
	int64		values;			/* that are not NULL */
	int64		decided_at;		/* position of the record that left the type it has; 0: none */
	char	   *decided_by;		/* its value */
} Column;

struct EtlInference
{
	MemoryContext context;
	EtlCoerceOptions options;
	bool		is_json;
	int			ncolumns;
	int			maxcolumns;
	Column	   *columns;
};

EtlInference *
etl_inference_begin(const EtlCoerceOptions *options, bool is_json)
{
	EtlInference *inference = palloc0(sizeof(EtlInference));

	inference->context = CurrentMemoryContext;
	inference->options = *options;
	inference->is_json = is_json;
	inference->maxcolumns = 32;
	inference->columns = palloc(inference->maxcolumns * sizeof(Column));
	return inference;
}

/*
 * exact_number tells whether a decimal is written as numeric_out would: bit
 * MAY_NUMERIC, and MAY_BIGINT when it is a bigint.
 */
static int
exact_number(const char *text, int length)
{
	const char *p = text;
	const char *end = text + length;
	bool		negative = p < end && *p == '-';
	const char *digits = p + negative;
	bool		zero = true;
	int			whole;

	for (p = digits; p < end && *p >= '0' && *p <= '9'; p++)
		zero &= *p == '0';
	whole = p - digits;
	if (whole == 0 || (whole > 1 && *digits == '0') || length > 1000)
		return 0;
	if (p == end)
	{
		if (zero && negative)
			return 0;
		/* nineteen digits may be too many: compare with the greatest bigint */
		if (whole < 19 ||
			(whole == 19 &&
			 strncmp(digits, negative ? "9223372036854775808" : "9223372036854775807", 19) <= 0))
			return MAY_BIGINT | MAY_NUMERIC;
		return MAY_NUMERIC;
	}
	if (*p++ != '.' || p == end)
		return 0;
	for (; p < end; p++)
	{
		if (*p < '0' || *p > '9')
			return 0;
		zero &= *p == '0';
	}
	return zero && negative ? 0 : MAY_NUMERIC;
}

/*
 * json_number classifies a JSON number by its value.
 */
static int
json_number(const EtlValue *value)
{
	const char *exponent = strpbrk(value->text, "eE");
	EtlCoercer	bigint = {.type = INT8OID};
	Datum		datum;

	if (etl_coerce_integer(&bigint, value->text, value->length, true, &datum) == NULL)
		return MAY_BIGINT | MAY_NUMERIC;
	if (value->length > 1000 || (exponent && labs(strtol(exponent + 1, NULL, 10)) > 1000))
		return 0;				/* beyond numeric, or absurd */
	return MAY_NUMERIC;
}

static bool
is_uuid(const char *text, int length)
{
	int			i;

	if (length != 36)
		return false;
	for (i = 0; i < 36; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i] != '-')
				return false;
		}
		else if (!isxdigit((unsigned char) text[i]))
			return false;
	}
	return true;
}

/*
 * text_may tells what a text, or a JSON string, may be.
 */
static int
text_may(const EtlInference *inference, const EtlValue *value)
{
	const char *text = value->text;
	int			length = value->length;
	int			may = MAY_TEXT;
	EtlIsoTime	iso;

	if (length == 0)
		return may;
	if (etl_iso_time_parse(text, length, &iso))
		return may | MAY_TIMESTAMP | (iso.has_time ? 0 : MAY_DATE);
	if (is_uuid(text, length))
		return may | MAY_UUID;
	if (inference->is_json)
		return may;
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return may | MAY_BOOLEAN;
	if ((text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) &&
		etl_coerce_plain_number(&inference->options, &text, &length) == NULL)
		may |= exact_number(text, length);
	return may;
}

/*
 * narrowest returns the narrowest type that is left.
 */
static Oid
narrowest(const Column *column)
{
	if (!column->seen)
		return TEXTOID;
	if (column->may & MAY_BIGINT)
		return INT8OID;
	if (column->may & MAY_NUMERIC)
		return NUMERICOID;
	if (column->may & MAY_BOOLEAN)
		return BOOLOID;
	if (column->may & MAY_DATE)
		return DATEOID;
	if (column->may & MAY_TIMESTAMP)
		return TIMESTAMPTZOID;
	if (column->may & MAY_UUID)
		return UUIDOID;
	return column->may & MAY_TEXT ? TEXTOID : JSONBOID;
}

/*
 * note_decision remembers the value that changed what the column will be.
 */
static void
note_decision(EtlInference *inference, Column *column, int before, int64 position, const EtlValue *value)
{
	Column		was = *column;

	was.may = before;
	if (narrowest(&was) == narrowest(column) && column->decided_by != NULL)
		return;
	if (column->decided_by != NULL)
		pfree(column->decided_by);
	column->decided_at = position;
	column->decided_by =
		MemoryContextStrdup(inference->context, etl_coerce_shown(value->text, value->length));
}

/*
 * etl_inference_add lets every value of a record take away types.
 */
void
etl_inference_add(EtlInference *inference, EtlDecoder *decoder, const EtlRecord *record)
{
	int			i;

	while (inference->ncolumns < record->nvalues)
	{
		if (inference->ncolumns == inference->maxcolumns)
		{
			inference->maxcolumns *= 2;
			inference->columns = repalloc(inference->columns, inference->maxcolumns * sizeof(Column));
		}
		memset(&inference->columns[inference->ncolumns], 0, sizeof(Column));
		inference->columns[inference->ncolumns++].may = MAY_ANYTHING;
	}
	for (i = 0; i < record->nvalues; i++)
	{
		const EtlValue *value = &record->values[i];
		Column	   *column = &inference->columns[i];
		int			may;

		if (value->kind == ETL_VALUE_NULL)
			continue;
		may = column->may;
		column->seen = true;
		column->values++;
		if (column->may == MAY_TEXT && value->kind != ETL_VALUE_JSON)
			continue;
		switch (value->kind)
		{
			case ETL_VALUE_NUMBER:
				column->may &= MAY_TEXT | json_number(value);
				break;
			case ETL_VALUE_BOOL:
				column->may &= MAY_TEXT | MAY_BOOLEAN;
				break;
			case ETL_VALUE_JSON:
				column->may = 0;
				break;
			default:
				column->may &= text_may(inference, value);
		}
		if (unlikely(column->may != may))
			note_decision(inference, column, may, record->position, value);
	}
}

/*
 * is_taken tells whether a column cannot be called 'name'.
 */
static bool
is_taken(const char *name, List *columns)
{
	static const char *const reserved[] = {
		"_etl_load_id", "_etl_row", "_etl_loaded_at", "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"};
	ListCell   *cell;
	int			i;

	for (i = 0; i < lengthof(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	foreach(cell, columns)
		if (strcmp(name, ((EtlInferredColumn *) lfirst(cell))->name) == 0)
			return true;
	return false;
}

/*
 * free_name makes an identifier of a field that no column has yet: user_id,
 * user_id_2, …, in 63 bytes.
 */
static char *
free_name(const char *field, List *columns)
{
	char	   *name = etl_snake_case(field);
	char	   *candidate = name;
	int			n;

	for (n = 2; is_taken(candidate, columns); n++)
	{
		char	   *suffix = psprintf("_%d", n);
		int			keep = pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - strlen(suffix));

		candidate = psprintf("%.*s%s", keep, name, suffix);
	}
	return candidate;
}

/*
 * etl_inference_end names and types the fields met, in their order.
 */
List *
etl_inference_end(EtlInference *inference, EtlDecoder *decoder)
{
	List	   *columns = NIL;
	const char **fields;
	int			n;
	int			i;

	fields = etl_decoder_fields(decoder, &n);
	for (i = 0; i < n; i++)
	{
		EtlInferredColumn *column = palloc0(sizeof(EtlInferredColumn));

		column->field = pstrdup(fields[i]);
		column->name = free_name(fields[i], columns);
		column->type = i < inference->ncolumns ? narrowest(&inference->columns[i]) : TEXTOID;
		if (i < inference->ncolumns)
		{
			column->seen = inference->columns[i].seen;
			column->values = inference->columns[i].values;
			column->decided_at = inference->columns[i].decided_at;
			column->decided_by = inference->columns[i].decided_by;
		}
		columns = lappend(columns, column);
	}
	return columns;
}

/*
 * etl_inference_wider is the narrowest type that holds the values of both.
 */
Oid
etl_inference_wider(Oid a, Oid b)
{
	if (a == b || !OidIsValid(b))
		return a;
	if (!OidIsValid(a))
		return b;
	if ((a == INT8OID && b == NUMERICOID) || (a == NUMERICOID && b == INT8OID))
		return NUMERICOID;
	if ((a == DATEOID && b == TIMESTAMPTZOID) || (a == TIMESTAMPTZOID && b == DATEOID))
		return TIMESTAMPTZOID;
	return TEXTOID;
}
