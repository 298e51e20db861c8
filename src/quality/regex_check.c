/*-------------------------------------------------------------------------
 *
 * regex_check.c
 *    The check regex: values match a regular expression.
 *
 * Simple ones are matched by pattern.c on the bytes; what is not simple is for
 * PostgreSQL's engine, which wants wide characters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"

#include "common/json.h"
#include "quality/check.h"

typedef struct RegexColumns
{
	text	   *pattern;
	char	   *pattern_text;
	EtlPattern *simple;			/* NULL: PostgreSQL's engine is asked */
	Oid		   *collations;
	bool	   *is_text;
	FmgrInfo   *output;
	pg_wchar   *wide;			/* grows to the longest value seen */
	int			wide_size;
} RegexColumns;

/*
 * regex_test tells whether a value matches.
 */
static bool
regex_test(EtlCheckState *state, int column, Datum value)
{
	RegexColumns *regex = state->material;
	regex_t    *compiled;
	char	   *bytes;
	int			length;
	int			code;

	if (regex->is_text[column])
	{
		text	   *packed = DatumGetTextPP(value);

		bytes = VARDATA_ANY(packed);
		length = VARSIZE_ANY_EXHDR(packed);
	}
	else
	{
		bytes = OutputFunctionCall(&regex->output[column], value);
		length = strlen(bytes);
	}
	if (regex->simple != NULL)
		return etl_pattern_matches(regex->simple, bytes, length);

	if (length >= regex->wide_size)
	{
		if (regex->wide != NULL)
			pfree(regex->wide);
		regex->wide = NULL;
		regex->wide_size = 0;
		regex->wide = MemoryContextAllocHuge(state->set->context,
											 sizeof(pg_wchar) * ((Size) length * 2 + 64));
		regex->wide_size = length * 2 + 64;
	}
	length = pg_mb2wchar_with_len(bytes, regex->wide, length);

	/* PostgreSQL keeps the last 32 compiled expressions: this is a lookup */
	compiled = RE_compile_and_cache(regex->pattern, REG_ADVANCED | REG_NOSUB,
									regex->collations[column]);
	code = pg_regexec(compiled, regex->wide, length, 0, NULL, 0, NULL, 0);
	if (code != REG_OKAY && code != REG_NOMATCH)
	{
		char		message[100];

		CHECK_FOR_INTERRUPTS();
		pg_regerror(code, compiled, message, sizeof(message));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				 errmsg("regular expression failed: %s", message)));
	}
	return code == REG_OKAY;
}

/*
 * etl_regex_compile prepares a check; raises what PostgreSQL says of its expression.
 */
void
etl_regex_compile(EtlCheckState *state)
{
	RegexColumns *regex = palloc0(sizeof(RegexColumns));

	regex->pattern_text = etl_json_get_text(state->def->options, "pattern");
	regex->pattern = cstring_to_text(regex->pattern_text);
	regex->collations = palloc0(sizeof(Oid) * state->ncolumns);
	regex->is_text = palloc0(sizeof(bool) * state->ncolumns);
	regex->output = palloc0(sizeof(FmgrInfo) * state->ncolumns);
	for (int i = 0; i < state->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(state->set->desc, state->attnos[i] - 1);
		Oid			base = getBaseType(attr->atttypid);
		Oid			output;
		bool		is_varlena;

		regex->is_text[i] = etl_is_text(base);
		regex->collations[i] = OidIsValid(attr->attcollation) ? attr->attcollation : DEFAULT_COLLATION_OID;
		getTypeOutputInfo(attr->atttypid, &output, &is_varlena);
		fmgr_info_cxt(output, &regex->output[i], state->set->context);
		if (base >= FirstGenbkiObjectId)
			state->may_raise = state->serial = true;
	}
	/* an expression that PostgreSQL refuses must fail now, not on a row */
	for (int i = 0; i < state->ncolumns; i++)
		(void) RE_compile_and_cache(regex->pattern, REG_ADVANCED | REG_NOSUB, regex->collations[i]);
	regex->simple = etl_pattern_compile(regex->pattern_text);
	state->material = regex;
	state->test = regex_test;
}

/*
 * etl_regex_text returns the expression, for messages.
 */
const char *
etl_regex_text(EtlCheckState *state)
{
	return ((RegexColumns *) state->material)->pattern_text;
}
