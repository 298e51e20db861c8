/*-------------------------------------------------------------------------
 *
 * rowexpr.c
 *    Boolean SQL expressions over one row, from the text of a definition.
 *
 * The text is parsed as one expression and never pasted into a statement
 * before that, so that it cannot end a statement and begin another.  Its
 * columns are those of a TupleDesc, which need not be a relation's: the
 * parser sees them as a named row set without relation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "quality/check.h"

/*
 * bare_select parses "SELECT ..." without the SELECT and returns it when it
 * is a plain select; NULL for a set operation or VALUES.
 */
static SelectStmt *
bare_select(const char *text)
{
	List	   *list = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, castNode(RawStmt, linitial(list))->stmt);

	if (select->op != SETOP_NONE || select->valuesLists != NIL || select->intoClause ||
		select->distinctClause != NIL || select->fromClause != NIL || select->whereClause ||
		select->groupClause != NIL || select->havingClause || select->windowClause != NIL ||
		select->limitCount || select->limitOffset || select->lockingClause != NIL ||
		select->withClause)
		return NULL;
	return select;
}

/*
 * not_an_expression raises ET001 for a text that is more or less than it should be.
 */
static void
not_an_expression(const char *what, const char *text, const char *reason, const char *hint)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for option \"%s\": %s", what, text),
			 errdetail("%s", reason),
			 errhint("%s", hint)));
}

/*
 * parse_clause parses 'text' and turns a syntax error into ET001.
 */
static SelectStmt *
parse_clause(const char *what, const char *option_text, const char *text, const char *hint)
{
	MemoryContext context = CurrentMemoryContext;
	SelectStmt *volatile select = NULL;

	PG_TRY();
	{
		select = bare_select(text);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (etl_check_must_obey(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		not_an_expression(what, option_text, psprintf("%s.", error->message), hint);
	}
	PG_END_TRY();
	return select;
}

/*
 * etl_rowexpr_parse returns the raw tree of one expression.  Raises ET001
 * when the text is not exactly that.
 */
Node *
etl_rowexpr_parse(const char *what, const char *text)
{
	const char *hint = "Write one boolean expression over the columns of a row, such as \"amount > 0\".";
	SelectStmt *select = parse_clause(what, text, text, hint);
	ResTarget  *target;

	if (select == NULL || select->sortClause != NIL || list_length(select->targetList) != 1)
		not_an_expression(what, text, "It is not one expression.", hint);
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL || (IsA(target->val, ColumnRef) &&
								 IsA(llast(((ColumnRef *) target->val)->fields), A_Star)))
		not_an_expression(what, text, "It is not one expression.", hint);
	return target->val;
}

/*
 * etl_orderby_validate raises ET001 unless the text is the list of an ORDER BY.
 */
void
etl_orderby_validate(const char *what, const char *text)
{
	const char *hint = "Write it as after ORDER BY, such as \"updated_at DESC, id\".";
	SelectStmt *select = parse_clause(what, text, psprintf("1 ORDER BY %s", text), hint);

	if (select == NULL || select->sortClause == NIL || list_length(select->targetList) != 1)
		not_an_expression(what, text, "It is not a list of ordering expressions.", hint);
}

/*
 * row_pstate makes a parse state in which the columns of 'desc' are visible,
 * unqualified or under the name 'relation', as varno 1.
 */
static ParseState *
row_pstate(TupleDesc desc, const char *relation)
{
	ParseState *pstate = make_parsestate(NULL);
	EphemeralNamedRelation row = palloc0(sizeof(EphemeralNamedRelationData));
	ParseNamespaceItem *item;

	row->md.name = pstrdup(relation);
	row->md.reliddesc = InvalidOid;
	row->md.tupdesc = desc;
	row->md.enrtype = ENR_NAMED_TUPLESTORE;
	row->md.enrtuples = 0;
	pstate->p_queryEnv = create_queryEnv();
	register_ENR(pstate->p_queryEnv, row);

	item = addRangeTableEntryForENR(pstate, makeRangeVar(NULL, pstrdup(relation), -1), true);
	addNSItemToQuery(pstate, item, false, true, true);
	return pstate;
}

/*
 * etl_rowexpr_analyze resolves a raw expression against a row of 'desc'.
 * Subqueries, aggregates and window functions are refused, as in a CHECK
 * constraint: a row is judged by itself.
 */
Node *
etl_rowexpr_analyze(TupleDesc desc, const char *relation, Node *raw, bool as_boolean)
{
	ParseState *pstate = row_pstate(desc, relation);
	Node	   *expr = transformExpr(pstate, copyObject(raw), EXPR_KIND_CHECK_CONSTRAINT);

	if (as_boolean)
		expr = coerce_to_boolean(pstate, expr, "CHECK");
	assign_expr_collations(pstate, expr);
	return expr;
}

/*
 * equality_name names the equality of two types: that of a type's own order
 * or hash, else PostgreSQL's, and only then one from the search path, which
 * others might have put there.
 */
static List *
equality_name(Oid left, Oid right)
{
	List	   *ours = list_make2(makeString("pg_catalog"), makeString("="));
	Oid			equal = left == right ? lookup_type_cache(left, TYPECACHE_EQ_OPR)->eq_opr : InvalidOid;
	Operator	found;

	if (OidIsValid(equal))
	{
		HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(equal));
		Form_pg_operator form = (Form_pg_operator) GETSTRUCT(tuple);
		List	   *name = list_make2(makeString(get_namespace_name(form->oprnamespace)),
								makeString(pstrdup(NameStr(form->oprname))));

		ReleaseSysCache(tuple);
		return name;
	}
	found = oper(NULL, ours, left, right, true, -1);
	if (found == NULL)
		return list_make1(makeString("="));
	ReleaseSysCache(found);
	return ours;
}

char *
etl_rowexpr_equality(Oid left, Oid right)
{
	List	   *name = equality_name(left, right);

	if (list_length(name) == 1)
		return pstrdup("=");
	return psprintf("OPERATOR(%s.%s)", quote_identifier(strVal(linitial(name))), strVal(lsecond(name)));
}

/*
 * etl_rowexpr_equal returns "column = other" for the operator that
 * equality_name names; the other side is the Var (2, other_attno).
 */
Node *
etl_rowexpr_equal(TupleDesc desc, AttrNumber attno, Form_pg_attribute other, AttrNumber other_attno)
{
	ParseState *pstate = make_parsestate(NULL);
	Form_pg_attribute attr = TupleDescAttr(desc, attno - 1);
	Var		   *left = makeVar(1, attno, attr->atttypid, attr->atttypmod, attr->attcollation, 0);
	Var		   *right = makeVar(2, other_attno, other->atttypid, other->atttypmod,
						 other->attcollation, 0);
	Expr	   *expr = make_op(pstate, equality_name(attr->atttypid, other->atttypid),
						 (Node *) left, (Node *) right, NULL, -1);

	assign_expr_collations(pstate, (Node *) expr);
	return (Node *) expr;
}

/*
 * is_foreign_function tells whether a function is not PostgreSQL's own.
 */
static bool
is_foreign_function(Oid function, void *context)
{
	return function >= FirstUnpinnedObjectId;
}

/*
 * has_foreign_function finds a function that anyone could have written.
 */
static bool
has_foreign_function(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_foreign_function, context))
		return true;
	/* the checks of a domain are expressions that are not in the tree */
	if (IsA(node, CoerceToDomain))
		return true;
	return expression_tree_walker(node, has_foreign_function, context);
}

/*
 * is_unsafe_function tells whether a function must not run in a parallel worker.
 */
static bool
is_unsafe_function(Oid function, void *context)
{
	return func_parallel(function) != PROPARALLEL_SAFE;
}

/*
 * has_unsafe_node finds what must not be evaluated in a parallel worker, or
 * hides what it calls.
 */
static bool
has_unsafe_node(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_unsafe_function, context))
		return true;
	if (IsA(node, CoerceToDomain) || IsA(node, NextValueExpr) || IsA(node, Param))
		return true;
	return expression_tree_walker(node, has_unsafe_node, context);
}

/*
 * etl_rowexpr_is_parallel_safe tells whether workers may evaluate an expression.
 */
bool
etl_rowexpr_is_parallel_safe(Node *expr)
{
	return !has_unsafe_node(expr, NULL);
}

/*
 * etl_rowexpr_only_builtin tells whether an error of this expression can
 * leave nothing behind: pinned functions, no domain.
 */
bool
etl_rowexpr_only_builtin(Node *expr)
{
	return !has_foreign_function(expr, NULL);
}
