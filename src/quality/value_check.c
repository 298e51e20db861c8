/*-------------------------------------------------------------------------
 *
 * value_check.c
 *    The kinds range and accepted_values: values compared as their type does.
 *
 * Bounds and values are made datums once.  Integers, dates and timestamps
 * are compared as numbers, texts whose equality is that of bytes as bytes;
 * everything else by the functions of its type.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "quality/check.h"

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

void
etl_range_compile(EtlCheckState *state)
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

char *
etl_range_message(EtlCheckState *state, int column, Datum value)
{
	RangeColumn *range = &((RangeColumn *) state->material)[column];
	bool		below = range->min_text != NULL;

	if (below && range->by.as_int64)
		below = to_int64(range->by.base, value) < range->low;
	else if (below)
		below = DatumGetInt32(FunctionCall2Coll(&range->by.cmp, range->by.collation, value, range->min)) < 0;
	return below ? psprintf("is below the minimum %s", range->min_text) :
				   psprintf("is above the maximum %s", range->max_text);
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

void
etl_values_compile(EtlCheckState *state)
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
