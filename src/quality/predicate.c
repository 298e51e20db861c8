/*-------------------------------------------------------------------------
 *
 * predicate.c
 *    Row checks as compiled predicates on a slot.
 *
 * A check is compiled once for the shape of the rows; per row it costs a
 * look at tts_values and a comparison, without SQL and without allocating
 * unless a value must be detoasted.  NULL passes every kind but not_null.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#include "common/json.h"
#include "quality/check.h"

#define MAX_SHOWN_VALUE 1000	/* bytes of a value in a reason */

/*
 * find_columns fills in the attribute numbers of the check's columns; raises
 * 42703 naming the nearest column.
 */
static void
find_columns(EtlCheckState *state)
{
	TupleDesc	desc = state->set->desc;
	ListCell   *cell;
	int			n = 0;

	state->ncolumns = list_length(state->def->columns);
	state->attnos = palloc0(sizeof(AttrNumber) * Max(state->ncolumns, 1));
	foreach(cell, state->def->columns)
	{
		const char *column = lfirst(cell);
		List	   *names = NIL;
		const char *nearest;

		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute attr = TupleDescAttr(desc, i);

			if (attr->attisdropped)
				continue;
			if (strcmp(NameStr(attr->attname), column) == 0)
				state->attnos[n] = i + 1;
			names = lappend(names, NameStr(attr->attname));
		}
		if (state->attnos[n] == 0)
		{
			nearest = etl_nearest(column, names);
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" does not exist%s", column,
							nearest ? psprintf(" (nearest: \"%s\")", nearest) : "")));
		}
		n++;
	}
}

/*
 * compile_expression makes an executable of an option's text.
 */
static ExprState *
compile_expression(EtlCheckState *state, const char *option, const char *text)
{
	EtlCheckSet *set = state->set;
	Node	   *raw = etl_rowexpr_parse(option, text);
	Node	   *expr = etl_rowexpr_analyze(set->desc, etl_name_parse(set->target)->relation, raw, true);

	state->may_raise = true;
	state->only_builtin = state->only_builtin && etl_rowexpr_only_builtin(expr);
	state->serial = state->serial || !etl_rowexpr_is_parallel_safe(expr);
	return ExecPrepareExpr((Expr *) expr, set->estate);
}

/*
 * etl_predicate_compile makes a check ready for rows of its set's shape.
 * Raises what makes it impossible; the caller records it.
 */
void
etl_predicate_compile(EtlCheckState *state)
{
	const char *where = etl_json_get_text(state->def->options, "where");

	state->only_builtin = true;
	find_columns(state);
	if (where != NULL)
		state->where = compile_expression(state, "where", where);

	switch (state->kind->id)
	{
		case ETL_KIND_RANGE:
			etl_range_compile(state);
			break;
		case ETL_KIND_ACCEPTED_VALUES:
			etl_values_compile(state);
			break;
		case ETL_KIND_REGEX:
			etl_regex_compile(state);
			break;
		case ETL_KIND_EXPRESSION:
			state->expression = compile_expression(state, "expression",
												   etl_json_get_text(state->def->options, "expression"));
			break;
		case ETL_KIND_RELATIONSHIP:
			etl_relationship_compile(state);
			break;
		default:
			break;
	}
}

/*
 * column_fails judges one column of a row for the kinds that look at each
 * column by itself.
 */
static inline bool
column_fails(EtlCheckState *state, TupleTableSlot *slot, int column)
{
	int			i = state->attnos[column] - 1;

	if (slot->tts_isnull[i])
		return state->kind->id == ETL_KIND_NOT_NULL;
	return state->test != NULL && !state->test(state, column, slot->tts_values[i]);
}

/*
 * expression_is returns the value of a boolean expression on the row of the
 * set's econtext, 'when_null' for null.
 */
static inline bool
expression_is(EtlCheckState *state, ExprState *expression, bool when_null)
{
	bool		isnull;
	Datum		value = ExecEvalExpr(expression, state->set->econtext, &isnull);

	return isnull ? when_null : DatumGetBool(value);
}

/*
 * etl_predicate_fails counts a row and tells whether it fails the check.
 * The slot is deformed; the current context is reset for every row.
 */
bool
etl_predicate_fails(EtlCheckState *state, TupleTableSlot *slot)
{
	bool		fails = false;

	if (state->where != NULL && !expression_is(state, state->where, false))
		return false;

	switch (state->kind->id)
	{
		case ETL_KIND_EXPRESSION:
			fails = !expression_is(state, state->expression, true);
			break;
		case ETL_KIND_RELATIONSHIP:
			fails = !etl_relationship_exists(state, slot);
			break;
		default:
			for (int i = 0; i < state->ncolumns && !fails; i++)
				fails = column_fails(state, slot, i);
	}
	state->evaluated++;
	if (fails)
		state->failed++;
	return fails;
}

/* ---- reasons ---- */

/*
 * value_text shows a value, cut where it is long; NULL for null.
 */
static char *
value_text(TupleDesc desc, AttrNumber attno, Datum value, bool isnull)
{
	Oid			output;
	bool		is_varlena;
	char	   *text;
	int			length;

	if (isnull)
		return NULL;
	getTypeOutputInfo(TupleDescAttr(desc, attno - 1)->atttypid, &output, &is_varlena);
	text = OidOutputFunctionCall(output, value);
	length = strlen(text);
	if (length > MAX_SHOWN_VALUE)
		text = psprintf("%.*s…", pg_mbcliplen(text, length, MAX_SHOWN_VALUE), text);
	return text;
}

/*
 * etl_columns_text joins names for a message: "a, b"; NULL for none.
 */
char *
etl_columns_text(List *columns)
{
	StringInfoData text;
	ListCell   *cell;

	if (columns == NIL)
		return NULL;
	initStringInfo(&text);
	foreach(cell, columns)
		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", (char *) lfirst(cell));
	return text.data;
}

/*
 * row_values shows the values of the check's columns: bare for one, as a
 * list in parentheses for several.
 */
static char *
row_values(EtlCheckState *state, TupleTableSlot *slot)
{
	StringInfoData text;

	if (state->ncolumns == 0)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < state->ncolumns; i++)
	{
		AttrNumber	attno = state->attnos[i];
		char	   *value = value_text(state->set->desc, attno, slot->tts_values[attno - 1],
								 slot->tts_isnull[attno - 1]);

		if (state->ncolumns == 1)
			return value;
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "(", value ? value : "null");
	}
	appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * column_message says why a value fails.
 */
static char *
column_message(EtlCheckState *state, int column, Datum value)
{
	switch (state->kind->id)
	{
		case ETL_KIND_NOT_NULL:
			return "is null";
		case ETL_KIND_ACCEPTED_VALUES:
			return "is not an accepted value";
		case ETL_KIND_REGEX:
			return psprintf("does not match %s", etl_regex_text(state));
		default:
			return etl_range_message(state, column, value);
	}
}

/*
 * etl_predicate_reasons emits why a row that fails the check does: once for
 * each failing column, once for the kinds that look at several together.
 */
void
etl_predicate_reasons(EtlCheckState *state, TupleTableSlot *slot,
					  void (*emit)(void *arg, EtlCheckState *state, const char *column,
								   const char *value, const char *message),
					  void *arg)
{
	const Jsonb *options = state->def->options;
	char	   *columns = etl_columns_text(state->def->columns);

	if (state->kind->id == ETL_KIND_EXPRESSION)
	{
		emit(arg, state, columns, row_values(state, slot),
			 psprintf("is not true: %s", etl_json_get_text(options, "expression")));
		return;
	}
	if (state->kind->id == ETL_KIND_RELATIONSHIP)
	{
		emit(arg, state, columns, row_values(state, slot),
			 psprintf("is not in %s", etl_json_get_text(options, "to")));
		return;
	}
	for (int i = 0; i < state->ncolumns; i++)
	{
		AttrNumber	attno = state->attnos[i];

		if (column_fails(state, slot, i))
			emit(arg, state, NameStr(TupleDescAttr(state->set->desc, attno - 1)->attname),
				 value_text(state->set->desc, attno, slot->tts_values[attno - 1],
							slot->tts_isnull[attno - 1]),
				 column_message(state, i,
								slot->tts_isnull[attno - 1] ? (Datum) 0 :
															  slot->tts_values[attno - 1]));
	}
}
