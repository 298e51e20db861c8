/*-------------------------------------------------------------------------
 *
 * kinds.c
 *    The nine kinds of checks: what each takes, and its dimension.
 *
 * One table says everything that differs between kinds before rows are
 * looked at; what cannot be written in a table is in etl_kind_validate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "common/errors.h"
#include "common/json.h"
#include "quality/check.h"

#define COMMON_OPTIONS \
	{"where", "text", NULL, "Boolean SQL expression: only rows for which it is true are checked."}, \
		{"max_failed", "threshold", NULL, "Failed rows that are tolerated, inclusive: a count, or a share (\"1%\")."}, \
	{ \
		"weight", "number", NULL, "Weight in the score; by default warn 1, quarantine 3, fail 5." \
	}

static const EtlOptionDef plain_options[] = {
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef unique_options[] = {
	{"order_by", "text", "_etl_load_id, _etl_row; of a model its key, or its values",
	 "ORDER BY list: of the rows of a load that share a key the first stays when the check quarantines; "
	 "a row that was there before the load always stays."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef accepted_values_options[] = {
	{"values", "any", NULL, "Required: array of the values that pass."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef range_options[] = {
	{"min", "any", NULL, "Smallest value that passes, in the column's type."},
	{"max", "any", NULL, "Greatest value that passes, in the column's type."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef regex_options[] = {
	{"pattern", "text", NULL,
	 "Required: regular expression that a part of the value must match; anchor it with ^ and $."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef relationship_options[] = {
	{"to", "text", NULL, "Required: relation in which each value must be found."},
	{"columns", "text[]", NULL, "Its columns; by default those of the same names."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef expression_options[] = {
	{"expression", "text", NULL,
	 "Required: boolean SQL expression over the columns of a row; true and null pass."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef row_count_options[] = {
	{"min", "integer", NULL, "Fewest rows that pass."},
	{"max", "integer", NULL, "Most rows that pass."},
	COMMON_OPTIONS,
	{NULL}};

static const EtlOptionDef freshness_options[] = {
	{"max_age", "duration", NULL, "Required: greatest age of the newest value."},
	COMMON_OPTIONS,
	{NULL}};

/*
 * The dimensions are the usual six; a relation that another contradicts is
 * inconsistent, a rule over the columns of one row asks whether it is
 * accurate, and missing rows are missing data.
 */
static const EtlCheckKind kinds[] = {
	{ETL_KIND_NOT_NULL, "not_null", true, "completeness", 1, INT_MAX, plain_options},
	{ETL_KIND_UNIQUE, "unique", false, "uniqueness", 1, 32, unique_options},
	{ETL_KIND_ACCEPTED_VALUES, "accepted_values", true, "validity", 1, INT_MAX, accepted_values_options},
	{ETL_KIND_RANGE, "range", true, "validity", 1, INT_MAX, range_options},
	{ETL_KIND_REGEX, "regex", true, "validity", 1, INT_MAX, regex_options},
	{ETL_KIND_RELATIONSHIP, "relationship", true, "consistency", 1, 32, relationship_options},
	{ETL_KIND_EXPRESSION, "expression", true, "accuracy", 0, INT_MAX, expression_options},
	{ETL_KIND_ROW_COUNT, "row_count", false, "completeness", 0, 0, row_count_options},
	{ETL_KIND_FRESHNESS, "freshness", false, "timeliness", 0, 1, freshness_options}};

static const char *const dimensions[] = {
	"completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness"};

/*
 * etl_quality_register_options puts the option sets of all kinds into
 * etl.options(): check:not_null, check:range, …
 */
void
etl_quality_register_options(void)
{
	for (int i = 0; i < lengthof(kinds); i++)
	{
		char		of[64];

		snprintf(of, sizeof(of), "check:%s", kinds[i].name);
		etl_options_register(of, kinds[i].options);
	}
}

/*
 * etl_kind_find returns the kind of this name, NULL when there is none.
 */
const EtlCheckKind *
etl_kind_find(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

/*
 * etl_kind_names lists the kinds.
 */
List *
etl_kind_names(void)
{
	List	   *names = NIL;

	for (int i = 0; i < lengthof(kinds); i++)
		names = lappend(names, unconstify(char *, kinds[i].name));
	return names;
}

/*
 * etl_dimension_known tells whether 'name' is one of the six, listed in *names.
 */
bool
etl_dimension_known(const char *name, List **names)
{
	bool		found = false;

	*names = NIL;
	for (int i = 0; i < lengthof(dimensions); i++)
	{
		*names = lappend(*names, unconstify(char *, dimensions[i]));
		found = found || strcmp(dimensions[i], name) == 0;
	}
	return found;
}

/*
 * refuse raises ET001 for one option of a check.
 */
static void
refuse(const EtlCheckKind *kind, const char *option, const char *detail)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("option \"%s\" of a check of kind %s is missing or wrong", option, kind->name),
			 errdetail("%s", detail),
			 errhint("SELECT * FROM etl.options('check:%s') describes it.", kind->name)));
}

/*
 * validate_columns raises ET001 unless the kind takes that many columns.
 */
static void
validate_columns(const EtlCheckKind *kind, const EtlCheck *check)
{
	int			n = list_length(check->columns);
	ListCell   *a;

	if (n < kind->min_columns || n > kind->max_columns)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("a check of kind %s cannot have %d columns", kind->name, n),
						kind->max_columns == 0 ?
							errhint("Leave \"columns\" out.") :
						kind->min_columns == 0 ?
							errhint("Give at most %d.", kind->max_columns) :
							errhint("Give \"columns\", an array of column names such as '{id}'.")));
	foreach(a, check->columns)
	{
		ListCell   *b;

		for_each_cell(b, check->columns, lnext(check->columns, a)) if (strcmp(lfirst(a), lfirst(b)) == 0)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("column \"%s\" is named twice", (char *) lfirst(a)),
					 errhint("Name each column once.")));
	}
}

/*
 * validate_scalar raises ET001 unless an option is absent or one plain value.
 */
static bool
validate_scalar(const EtlCheckKind *kind, const Jsonb *options, const char *key)
{
	Jsonb	   *value = etl_json_get(options, key);

	if (value == NULL)
		return false;
	if (strchr("snb", etl_json_kind(value)) == NULL)
		refuse(kind, key, "It must be one value: a number or a text.");
	return true;
}

/*
 * validate_values raises ET001 unless "values" is an array of plain values.
 */
static void
validate_values(const EtlCheckKind *kind, const Jsonb *options)
{
	Jsonb	   *values = etl_json_get(options, "values");
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	int			n = 0;

	if (values == NULL || etl_json_kind(values) != 'a')
		refuse(kind, "values", "It must be an array such as [\"new\", \"paid\"].");
	it = JsonbIteratorInit(&values->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		n++;
		if (item.type == jbvNull)
			refuse(
				kind, "values",
				"It holds a null; null values pass anyway, use a not_null check to refuse them.");
		if (item.type == jbvBinary)
			refuse(kind, "values", "Its elements must be numbers, texts or booleans.");
	}
	if (n == 0)
		refuse(kind, "values", "The array is empty: no value would pass.");
}

/*
 * validate_pattern raises ET001 unless "pattern" is a regular expression.
 */
static void
validate_pattern(const EtlCheckKind *kind, const Jsonb *options)
{
	char	   *pattern = etl_json_get_text(options, "pattern");
	MemoryContext context = CurrentMemoryContext;

	if (pattern == NULL)
		refuse(kind, "pattern", "It must be a regular expression such as \"^[A-Z]{2}$\".");
	PG_TRY();
	{
		(void) RE_compile_and_cache(cstring_to_text(pattern), REG_ADVANCED | REG_NOSUB,
									DEFAULT_COLLATION_OID);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_INVALID_REGULAR_EXPRESSION)
			PG_RE_THROW();
		FlushErrorState();
		refuse(kind, "pattern", psprintf("%s.", error->message));
	}
	PG_END_TRY();
}

/*
 * numeric_of reads the text of a JSON number.
 */
static Datum
numeric_of(const char *text)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/*
 * is_above tells whether a minimum is above a maximum, as far as that can
 * be told without the column: for two numbers, and for two dates or times.
 */
static bool
is_above(const Jsonb *min, const Jsonb *max)
{
	char	   *low = etl_json_bare_text(min);
	char	   *high = etl_json_bare_text(max);

	if (etl_json_kind(min) == 'n' && etl_json_kind(max) == 'n')
		return DatumGetBool(DirectFunctionCall2(numeric_gt, numeric_of(low), numeric_of(high)));

	/* ISO 8601 sorts as text as long as the shapes are the same */
	return strlen(low) == strlen(high) && strlen(low) >= 10 && low[4] == '-' && low[7] == '-' &&
		   strspn(low, "0123456789") == 4 && strspn(high, "0123456789") == 4 &&
		   strspn(low, "0123456789-:T. ") == strlen(low) &&
		   strspn(high, "0123456789-:T. ") == strlen(high) && strcmp(low, high) > 0;
}

/*
 * validate_bounds raises ET001 unless there is a minimum or a maximum.
 */
static void
validate_bounds(const EtlCheckKind *kind, const Jsonb *options)
{
	bool		has_min = validate_scalar(kind, options, "min");
	bool		has_max = validate_scalar(kind, options, "max");

	if (!has_min && !has_max)
		refuse(kind, "min", "Give \"min\", \"max\" or both.");
	if (has_min && has_max && is_above(etl_json_get(options, "min"), etl_json_get(options, "max")))
		refuse(kind, "min", "The minimum is above the maximum.");
	if (kind->id == ETL_KIND_ROW_COUNT && has_min && etl_json_get_int64(options, "min", 0) < 0)
		refuse(kind, "min", "It must not be negative.");
	if (kind->id == ETL_KIND_ROW_COUNT && has_max && etl_json_get_int64(options, "max", 0) < 0)
		refuse(kind, "max", "It must not be negative.");
}

/*
 * etl_kind_validate raises ET001 for columns and options that make no
 * sense for the kind, whatever the relation will look like.
 */
void
etl_kind_validate(const EtlCheckKind *kind, const EtlCheck *check)
{
	const Jsonb *options = check->options;
	char	   *text;

	etl_options_check(options, psprintf("check:%s", kind->name), kind->options, NULL);
	validate_columns(kind, check);

	if ((text = etl_json_get_text(options, "where")) != NULL)
		(void) etl_rowexpr_parse("where", text);
	if ((text = etl_json_get_text(options, "weight")) != NULL &&
		(!(strtod(text, NULL) > 0) || isinf(strtod(text, NULL))))
		refuse(kind, "weight", "It must be greater than 0.");

	switch (kind->id)
	{
		case ETL_KIND_ACCEPTED_VALUES:
			validate_values(kind, options);
			break;
		case ETL_KIND_RANGE:
		case ETL_KIND_ROW_COUNT:
			validate_bounds(kind, options);
			break;
		case ETL_KIND_REGEX:
			validate_pattern(kind, options);
			break;
		case ETL_KIND_RELATIONSHIP:
			if ((text = etl_json_get_text(options, "to")) == NULL)
				refuse(kind, "to", "It must name a relation, such as \"clean.users\".");
			(void) etl_name_parse(text);
			if (etl_json_has(options, "columns") &&
				list_length(etl_json_get_list(options, "columns")) != list_length(check->columns))
				refuse(kind, "columns", "It must have as many columns as the check.");
			break;
		case ETL_KIND_EXPRESSION:
			if ((text = etl_json_get_text(options, "expression")) == NULL)
				refuse(kind, "expression", "It must be a boolean expression, such as \"amount > 0\".");
			(void) etl_rowexpr_parse("expression", text);
			break;
		case ETL_KIND_FRESHNESS:
			if (!etl_json_has(options, "max_age"))
				refuse(kind, "max_age", "It must be an interval, such as \"2 hours\".");
			if (etl_option_duration_ms("max_age", etl_json_get_text(options, "max_age")) == 0)
				refuse(kind, "max_age", "It must be longer than nothing.");
			break;
		case ETL_KIND_UNIQUE:
			if ((text = etl_json_get_text(options, "order_by")) != NULL)
				etl_orderby_validate("order_by", text);
			break;
		case ETL_KIND_NOT_NULL:
			break;
	}
}
