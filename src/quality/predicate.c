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

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "quality/check.h"

#define MAX_SHOWN_VALUE 1000	/* bytes of a value in a reason */

/* How values of one column are compared. */
typedef struct Comparison
{
	FmgrInfo	cmp;			/* btree support function, or */
	FmgrInfo	eq;				/* only the equality operator's function */
	bool		has_cmp;
	bool		bytewise;		/* equal texts are equal bytes */
	bool		as_int64;		/* the datum is an integer, a date or a timestamp */
	Oid			base;
	Oid			collation;
} Comparison;

typedef struct RangeColumn
{
	Comparison	by;
	bool		has_min;
	bool		has_max;
	Datum		min;
	Datum		max;
	int64		low;			/* the same when as_int64 */
	int64		high;
	char	   *min_text;
	char	   *max_text;
} RangeColumn;

typedef struct ValuesColumn
{
	Comparison	by;
	int			n;
	Datum	   *values;			/* sorted when bytewise or has_cmp */
} ValuesColumn;

/*
 * etl_is_text tells whether a type is stored as text.
 */
bool
etl_is_text(Oid base)
{
	return base == TEXTOID || base == VARCHAROID;
}

/*
 * to_int64 reads the datum of a type for which as_int64 holds.
 */
static inline int64
to_int64(Oid base, Datum value)
{
	switch (base)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
		case DATEOID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/*
 * comparison finds out how values of a column compare; raises 42883 when
 * they do not.
 */
static void
comparison(EtlCheckState *state, Comparison *by, AttrNumber attno, bool need_order)
{
	Form_pg_attribute attr = TupleDescAttr(state->set->desc, attno - 1);
	TypeCacheEntry *type;

	by->base = getBaseType(attr->atttypid);
	by->collation = attr->attcollation;
	by->as_int64 = by->base == INT2OID || by->base == INT4OID || by->base == INT8OID ||
				   by->base == DATEOID || by->base == TIMESTAMPOID || by->base == TIMESTAMPTZOID;
	by->bytewise = etl_is_text(by->base) &&
				   (!OidIsValid(by->collation) || get_collation_isdeterministic(by->collation));

	type = lookup_type_cache(by->base, TYPECACHE_CMP_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO);
	by->has_cmp = OidIsValid(type->cmp_proc_finfo.fn_oid);
	if (by->has_cmp)
		fmgr_info_cxt(type->cmp_proc_finfo.fn_oid, &by->cmp, state->set->context);
	else if (!need_order && OidIsValid(type->eq_opr_finfo.fn_oid))
		fmgr_info_cxt(type->eq_opr_finfo.fn_oid, &by->eq, state->set->context);
	else
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("values of type %s cannot be %s", format_type_be(attr->atttypid),
						need_order ? "ordered" : "compared")));
	/* comparing values of containers calls functions of what they contain */
	if (by->base >= FirstGenbkiObjectId || type->typtype != TYPTYPE_BASE ||
		OidIsValid(get_element_type(by->base)))
		state->may_raise = state->serial = true;
}

/*
 * read_value makes a datum of the column's base type from an option's text.
 */
static Datum
read_value(Comparison *by, const char *text)
{
	Oid			input;
	Oid			param;

	getTypeInputInfo(by->base, &input, &param);
	return OidInputFunctionCall(input, unconstify(char *, text), param, -1);
}

/* ---- range ---- */

static bool
range_test(EtlCheckState *state, int column, Datum value)
{
	RangeColumn *range = &((RangeColumn *) state->material)[column];

	if (range->by.as_int64)
	{
		int64		number = to_int64(range->by.base, value);

		return number >= range->low && number <= range->high;
	}
	if (range->has_min &&
		DatumGetInt32(FunctionCall2Coll(&range->by.cmp, range->by.collation, value, range->min)) < 0)
		return false;
	return !range->has_max ||
		   DatumGetInt32(FunctionCall2Coll(&range->by.cmp, range->by.collation, value, range->max)) <= 0;
}

/*
 * round_bound reads a bound such as 0.5 of an integer column: the smallest
 * integer above a minimum, the greatest below a maximum.
 */
static int64
round_bound(const char *text, bool is_min)
{
	Datum		number = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	Datum		whole = DirectFunctionCall1(is_min ? numeric_ceil : numeric_floor, number);

	if (DatumGetBool(DirectFunctionCall2(numeric_gt, whole,
										 DirectFunctionCall1(int8_numeric, Int64GetDatum(PG_INT64_MAX)))))
		return PG_INT64_MAX;
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, whole,
										 DirectFunctionCall1(int8_numeric, Int64GetDatum(PG_INT64_MIN)))))
		return PG_INT64_MIN;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, whole));
}

static void
range_bound(RangeColumn *range, const char *text, bool is_min)
{
	Oid			base = range->by.base;
	Datum		value;

	if (base == INT2OID || base == INT4OID || base == INT8OID)
	{
		int64		bound = round_bound(text, is_min);

		if (is_min)
			range->low = bound;
		else
			range->high = bound;
		return;
	}
	value = read_value(&range->by, text);
	if (is_min)
	{
		range->min = value;
		range->has_min = true;
		if (range->by.as_int64)
			range->low = to_int64(base, value);
	}
	else
	{
		range->max = value;
		range->has_max = true;
		if (range->by.as_int64)
			range->high = to_int64(base, value);
	}
}

static void
range_compile(EtlCheckState *state)
{
	RangeColumn *ranges = palloc0(sizeof(RangeColumn) * state->ncolumns);
	char	   *min = etl_json_get_text(state->def->options, "min");
	char	   *max = etl_json_get_text(state->def->options, "max");

	for (int i = 0; i < state->ncolumns; i++)
	{
		RangeColumn *range = &ranges[i];

		comparison(state, &range->by, state->attnos[i], true);
		range->low = PG_INT64_MIN;
		range->high = PG_INT64_MAX;
		range->min_text = min;
		range->max_text = max;
		if (min != NULL)
			range_bound(range, min, true);
		if (max != NULL)
			range_bound(range, max, false);
	}
	state->material = ranges;
	state->test = range_test;
}

/* ---- accepted_values ---- */

/*
 * compare_values orders two values of a column; only equality matters to
 * the outcome, so texts go by length first.
 */
static int
compare_values(const void *a, const void *b, void *arg)
{
	Comparison *by = arg;
	Datum		left = *(const Datum *) a;
	Datum		right = *(const Datum *) b;

	if (by->bytewise)
	{
		struct varlena *l = (struct varlena *) DatumGetPointer(left);
		struct varlena *r = (struct varlena *) DatumGetPointer(right);
		int			length = VARSIZE_ANY_EXHDR(l);

		if (length != VARSIZE_ANY_EXHDR(r))
			return length < VARSIZE_ANY_EXHDR(r) ? -1 : 1;
		return memcmp(VARDATA_ANY(l), VARDATA_ANY(r), length);
	}
	return DatumGetInt32(FunctionCall2Coll(&by->cmp, by->collation, left, right));
}

static bool
values_test(EtlCheckState *state, int column, Datum value)
{
	ValuesColumn *accepted = &((ValuesColumn *) state->material)[column];

	if (accepted->by.bytewise)
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	if (accepted->by.bytewise || accepted->by.has_cmp)
	{
		int			low = 0;
		int			high = accepted->n - 1;

		while (low <= high)
		{
			int			middle = (low + high) / 2;
			int			order = compare_values(&value, &accepted->values[middle], &accepted->by);

			if (order == 0)
				return true;
			if (order < 0)
				high = middle - 1;
			else
				low = middle + 1;
		}
		return false;
	}
	for (int i = 0; i < accepted->n; i++)
		if (DatumGetBool(FunctionCall2Coll(&accepted->by.eq, accepted->by.collation,
										   value, accepted->values[i])))
			return true;
	return false;
}

static void
values_compile(EtlCheckState *state)
{
	ValuesColumn *columns = palloc0(sizeof(ValuesColumn) * state->ncolumns);
	List	   *texts = etl_json_get_list(state->def->options, "values");

	for (int i = 0; i < state->ncolumns; i++)
	{
		ValuesColumn *accepted = &columns[i];
		ListCell   *cell;

		comparison(state, &accepted->by, state->attnos[i], false);
		accepted->values = palloc(sizeof(Datum) * Max(list_length(texts), 1));
		foreach(cell, texts)
			accepted->values[accepted->n++] = read_value(&accepted->by, lfirst(cell));
		if (accepted->by.bytewise || accepted->by.has_cmp)
			qsort_arg(accepted->values, accepted->n, sizeof(Datum), compare_values, &accepted->by);
	}
	state->material = columns;
	state->test = values_test;
}

/* ---- all kinds ---- */

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
			range_compile(state);
			break;
		case ETL_KIND_ACCEPTED_VALUES:
			values_compile(state);
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
 * etl_value_text shows a value, cut where it is long; NULL for null.
 */
char *
etl_value_text(TupleDesc desc, AttrNumber attno, Datum value, bool isnull)
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
		char	   *value = etl_value_text(state->set->desc, attno, slot->tts_values[attno - 1],
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
		{
			RangeColumn *range = &((RangeColumn *) state->material)[column];
			bool		below = range->min_text != NULL;

			if (below && range->by.as_int64)
				below = to_int64(range->by.base, value) < range->low;
			else if (below)
				below = DatumGetInt32(FunctionCall2Coll(&range->by.cmp, range->by.collation,
														value, range->min)) < 0;
			return below ? psprintf("is below the minimum %s", range->min_text) :
						   psprintf("is above the maximum %s", range->max_text);
		}
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
				 etl_value_text(state->set->desc, attno, slot->tts_values[attno - 1],
								slot->tts_isnull[attno - 1]),
				 column_message(state, i,
								slot->tts_isnull[attno - 1] ? (Datum) 0 :
															  slot->tts_values[attno - 1]));
	}
}
