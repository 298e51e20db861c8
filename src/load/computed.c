/*-------------------------------------------------------------------------
 *
 * computed.c
 *    What the relation itself computes of a row: defaults, generated
 *    columns, CHECK constraints.
 *
 * Evaluated before the row is written, so that a violation is a reject.  An
 * expression that may raise is evaluated in a subtransaction, which writes
 * nothing and so costs no xid; most expressions are seen not to raise and
 * are evaluated bare.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/compat.h"
#include "load/land.h"

/*
 * function_may_raise tells whether a function may raise an error for some
 * value; 'context' is not used.
 */
static bool
function_may_raise(Oid function, void *context)
{
	static const Oid calm[] = {
		F_NOW, F_CLOCK_TIMESTAMP, F_STATEMENT_TIMESTAMP, F_TRANSACTION_TIMESTAMP, F_NEXTVAL,
		F_GEN_RANDOM_UUID, F_LENGTH_TEXT, F_CHAR_LENGTH_TEXT, F_CHARACTER_LENGTH_TEXT,
		F_OCTET_LENGTH_TEXT, F_LOWER_TEXT, F_UPPER_TEXT, F_BTRIM_TEXT, F_BTRIM_TEXT_TEXT,
		F_NUMERIC_INT4, F_NUMERIC_INT8, F_INT8_INT4, F_TEXTLIKE, F_TEXTNLIKE};

	if (get_func_leakproof(function))
		return false;
	for (int i = 0; i < lengthof(calm); i++)
		if (calm[i] == function)
			return false;
	return true;
}

/*
 * is_comparison tells whether an operator of PostgreSQL's own compares by an
 * order: these take every value of their types.
 */
static bool
is_comparison(Oid operator)
{
	return operator<FirstGenbkiObjectId && etl_op_interpretation(operator) != NIL;
}

/*
 * may_raise walks an expression for what may raise; 'context' is not used.
 */
static bool
may_raise(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, OpExpr) && is_comparison(((OpExpr *) node)->opno))
		return expression_tree_walker(node, may_raise, context);
	if (IsA(node, ScalarArrayOpExpr) && is_comparison(((ScalarArrayOpExpr *) node)->opno))
		return expression_tree_walker(node, may_raise, context);
	if (IsA(node, CoerceViaIO) || IsA(node, CoerceToDomain) || IsA(node, ArrayCoerceExpr) ||
		IsA(node, XmlExpr) || IsA(node, SubLink))
		return true;
	if (check_functions_in_node(node, function_may_raise, context))
		return true;
	return expression_tree_walker(node, may_raise, context);
}

/*
 * reads_virtual tells whether an expression reads a column that is computed
 * only when it is read; PostgreSQL then judges it alone.
 */
static bool
reads_virtual(Relation rel, Node *expression)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *columns = NULL;

	pull_varattnos(expression, 1, &columns);
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated &&
			TupleDescAttr(desc, i)->attgenerated != ATTRIBUTE_GENERATED_STORED &&
			bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, columns))
			return true;
	return false;
}

/*
 * prepare readies an expression and notes whether any may raise.
 */
static ExprState *
prepare(struct EtlLandingState *state, Node *expression)
{
	state->risky = state->risky || may_raise(expression, NULL);
	return ExecPrepareExpr((Expr *) expression, state->estate);
}

/*
 * etl_computed_default: see land.h.
 */
ExprState *
etl_computed_default(EtlLanding *landing, Form_pg_attribute att)
{
	bool		has_default = att->atthasdef || att->attidentity || get_typtype(att->atttypid) == TYPTYPE_DOMAIN;
	Node	   *expression = has_default ? build_column_default(landing->rel, att->attnum) : NULL;

	if (expression == NULL)
		return NULL;
	landing->state->defaults = true;
	return prepare(landing->state, expression);
}

/*
 * etl_computed_begin: see land.h.
 */
void
etl_computed_begin(EtlLanding *landing)
{
	struct EtlLandingState *state = landing->state;
	TupleDesc	desc = RelationGetDescr(landing->rel);
	TupleConstr *constr = desc->constr;

	state->generated = palloc(sizeof(EtlRowExpression) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated == ATTRIBUTE_GENERATED_STORED &&
			!TupleDescAttr(desc, i)->attisdropped)
		{
			EtlRowExpression *generated = &state->generated[state->ngenerated++];

			generated->name = pstrdup(NameStr(TupleDescAttr(desc, i)->attname));
			generated->attnum = i + 1;
			generated->not_null = TupleDescAttr(desc, i)->attnotnull;
			generated->state = prepare(state, build_column_default(landing->rel, i + 1));
		}

	state->constraints = palloc(sizeof(EtlRowExpression) * (constr ? constr->num_check : 1));
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		Node	   *expression = stringToNode(constr->check[i].ccbin);
		EtlRowExpression *constraint;

		if (reads_virtual(landing->rel, expression))
			continue;
		constraint = &state->constraints[state->nconstraints++];
		constraint->name = pstrdup(constr->check[i].ccname);
		constraint->state = prepare(state, expression);
	}
}

/* One row at work; what is evaluated now gets the blame. */
typedef struct RowWork
{
	EtlLanding *landing;
	TupleTableSlot *slot;
	const char *check;			/* name of the constraint, "default" or "generated" */
	const char *column;			/* or NULL */
	int			constraint;		/* number of the constraint at work */
	EtlReasons *reasons;
} RowWork;

/*
 * fill_row sets defaults and generated columns.  'arg' is a RowWork.
 */
static void
fill_row(void *arg)
{
	RowWork    *work = arg;
	EtlLanding *landing = work->landing;
	struct EtlLandingState *state = landing->state;
	TupleTableSlot *slot = work->slot;
	ExprContext *econtext = GetPerTupleExprContext(state->estate);

	work->check = "default";
	for (int c = 0; c < landing->ncolumns && state->defaults; c++)
	{
		EtlColumn  *column = &landing->columns[c];
		int			i = column->attnum - 1;

		work->column = column->name;
		if (column->default_value != NULL && !column->mapped && slot->tts_isnull[i])
			slot->tts_values[i] = ExecEvalExpr(column->default_value, econtext, &slot->tts_isnull[i]);
	}
	if (state->ngenerated == 0)
		return;

	/* a generated column reads no other generated one: NULL stands in their place */
	work->check = "generated";
	ExecStoreVirtualTuple(slot);
	econtext->ecxt_scantuple = slot;
	for (int g = 0; g < state->ngenerated; g++)
	{
		EtlRowExpression *generated = &state->generated[g];
		int			i = generated->attnum - 1;
		bool		isnull;

		work->column = generated->name;
		slot->tts_values[i] = ExecEvalExpr(generated->state, econtext, &isnull);
		slot->tts_isnull[i] = isnull;
	}
	ExecClearTuple(slot);
}

/*
 * check_constraint evaluates one CHECK constraint.  'arg' is a RowWork.
 */
static void
check_constraint(void *arg)
{
	RowWork    *work = arg;
	struct EtlLandingState *state = work->landing->state;
	EtlRowExpression *constraint = &state->constraints[work->constraint];
	ExprContext *econtext = GetPerTupleExprContext(state->estate);

	econtext->ecxt_scantuple = work->slot;
	if (!ExecCheck(constraint->state, econtext))
		etl_reasons_add(work->reasons, constraint->name, NULL, NULL,
						psprintf("violates check constraint \"%s\"", constraint->name));
}

/*
 * guarded does a piece of work on a row; what it raises becomes a reason
 * when the row is to blame, and is raised again otherwise.
 */
static bool
guarded(RowWork *work, void (*function)(void *arg))
{
	ErrorData  *error;

	if (!work->landing->state->risky)
	{
		function(work);
		return true;
	}
	error = etl_subxact(function, work);
	if (error == NULL)
		return true;
	if (!etl_fault_of_row(error))
		etl_rethrow(error);
	etl_reasons_add(work->reasons, work->check, work->column, NULL, error->message);
	return false;
}

/*
 * etl_computed_fill: see land.h.
 */
bool
etl_computed_fill(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons)
{
	struct EtlLandingState *state = landing->state;
	RowWork		work = {landing, slot, NULL, NULL, 0, reasons};

	if (!state->defaults && state->ngenerated == 0)
		return true;
	if (!guarded(&work, fill_row))
	{
		ExecClearTuple(slot);
		return false;
	}
	return true;
}

/*
 * etl_computed_check: see land.h.
 */
void
etl_computed_check(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons)
{
	struct EtlLandingState *state = landing->state;

	for (int g = 0; g < state->ngenerated; g++)
		if (state->generated[g].not_null && slot->tts_isnull[state->generated[g].attnum - 1])
			etl_reasons_add(reasons, "not_null", state->generated[g].name, NULL,
							"null value in a column that is not nullable");
	if (state->nconstraints == 0)
		return;
	for (int i = 0; i < state->nconstraints; i++)
	{
		RowWork		work = {landing, slot, state->constraints[i].name, NULL, i, reasons};

		(void) guarded(&work, check_constraint);
	}
	ResetPerTupleExprContext(state->estate);
}
