/*-------------------------------------------------------------------------
 *
 * sql_body.c
 *    The query that an SQL function is.
 *
 * A function whose body is one SELECT can be looked through like a view,
 * and its call be replaced by that query, the arguments in the place of the
 * parameters.  Bodies of several statements, of other languages and those
 * that cannot be analyzed stay what they are: opaque.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/functions.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parser.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/driver.h"
#include "model/internal.h"

/* ---- the body ---- */

typedef struct Body
{
	FuncExpr   *call;			/* NULL: its types are those of the declaration */
	HeapTuple	tuple;
	bool		as_owner;		/* of a function with its owner's rights */
	List	   *queries;		/* Query *, the SELECTs */
	bool		whole;			/* there is nothing else in it */
} Body;

/*
 * keep_selects keeps the SELECTs of the analyzed statements of a body.
 */
static void
keep_selects(Body *body, List *statements)
{
	ListCell   *cell;

	foreach(cell, statements)
		if (IsA(lfirst(cell), Query) && lfirst_node(Query, cell)->commandType == CMD_SELECT)
			body->queries = lappend(body->queries, lfirst(cell));
		else
			body->whole = false;
}

/*
 * analyze_text analyzes a body that is kept as text, statement by statement.
 */
static void
analyze_text(Body *body)
{
	bool		isnull;
	Datum		datum = SysCacheGetAttr(PROCOID, body->tuple, Anum_pg_proc_proconfig, &isnull);
	char	   *source;
	ListCell   *cell;

	if (!isnull)
		ProcessGUCArray(DatumGetArrayTypeP(datum), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE);
	datum = SysCacheGetAttr(PROCOID, body->tuple, Anum_pg_proc_prosrc, &isnull);
	source = TextDatumGetCString(datum);
	foreach(cell, raw_parser(source, RAW_PARSE_DEFAULT))
	{
		SQLFunctionParseInfoPtr info;

		/* others are not analyzed: that would lock what they write */
		if (!IsA(lfirst_node(RawStmt, cell)->stmt, SelectStmt))
		{
			body->whole = false;
			continue;
		}
		info = prepare_sql_fn_parse_info(body->tuple, (Node *) body->call,
										 body->call ? body->call->inputcollid : InvalidOid);
		keep_selects(body, list_make1(parse_analyze_withcb(
							   lfirst_node(RawStmt, cell), source,
							   (ParserSetupHook) sql_fn_parser_setup, info, NULL)));
	}
}

/*
 * analyze_body analyzes the body; an argument of etl_subxact.
 */
static void
analyze_body(void *arg)
{
	Body	   *body = arg;
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(body->tuple);
	bool		isnull;
	Datum		datum = SysCacheGetAttr(PROCOID, body->tuple, Anum_pg_proc_prosqlbody, &isnull);
	Oid			user;
	int			context;

	if (!isnull)
	{
		Node	   *tree = stringToNode(TextDatumGetCString(datum));

		keep_selects(body, IsA(tree, List) ? linitial_node(List, (List *) tree) : list_make1(tree));
		return;
	}
	GetUserIdAndSecContext(&user, &context);
	if (body->as_owner && form->prosecdef)
		SetUserIdAndSecContext(form->proowner, context | SECURITY_RESTRICTED_OPERATION |
												   SECURITY_LOCAL_USERID_CHANGE);
	analyze_text(body);
	SetUserIdAndSecContext(user, context);
}

/*
 * analyze_function fills in the body of an SQL function; false when it is none,
 * or cannot be analyzed.
 */
static bool
analyze_function(Oid function, Body *body)
{
	ErrorData  *error = NULL;
	bool		sql;

	body->whole = true;
	body->tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(body->tuple))
		return false;
	sql = ((Form_pg_proc) GETSTRUCT(body->tuple))->prolang == SQLlanguageId;
	if (sql)
		error = etl_subxact(analyze_body, body);
	ReleaseSysCache(body->tuple);
	return sql && error == NULL;
}

Query *
etl_sql_function_query(FuncExpr *call)
{
	Body		body = {.call = call};

	return call->funcid >= FirstNormalObjectId && analyze_function(call->funcid, &body) && body.whole &&
				   list_length(body.queries) == 1 ?
			   linitial(body.queries) :
			   NULL;
}

List *
etl_sql_function_queries(Oid function, FuncExpr *call, bool *whole)
{
	Body		body = {.call = call, .as_owner = true};

	if (!analyze_function(function, &body))
		body.queries = NIL;
	*whole = body.whole && body.queries != NIL;
	return body.queries;
}

/* ---- in the place of the call ---- */

typedef struct Arguments
{
	List	   *args;
	int			levels;			/* queries between the body and the place at hand, the body included */
} Arguments;

/*
 * put_arguments replaces the parameters below a node.
 */
static Node *
put_arguments(Node *node, Arguments *arguments)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN &&
		((Param *) node)->paramid <= list_length(arguments->args))
	{
		Node	   *arg = copyObject(list_nth(arguments->args, ((Param *) node)->paramid - 1));

		IncrementVarSublevelsUp(arg, arguments->levels, 0);
		return arg;
	}
	if (IsA(node, Query))
	{
		Query	   *query;

		arguments->levels++;
		query = query_tree_mutator((Query *) node, put_arguments, arguments, 0);
		query->hasSubLinks = query->hasSubLinks || checkExprHasSubLink((Node *) arguments->args);
		arguments->levels--;
		return (Node *) query;
	}
	return expression_tree_mutator(node, put_arguments, arguments);
}

/*
 * has_all_arguments tells whether a call gives every argument in its place.
 */
static bool
has_all_arguments(FuncExpr *call)
{
	ListCell   *cell;

	foreach(cell, call->args)
		if (IsA(lfirst(cell), NamedArgExpr))
			return false;
	return list_length(call->args) == get_func_nargs(call->funcid);
}

/*
 * body_of_reader returns the body of a function that reads relations, with
 * the arguments in it; NULL when it reads none or is opaque.
 */
static Query *
body_of_reader(FuncExpr *call)
{
	Arguments	arguments = {call->args, 0};
	Query	   *body = call->funcid < FirstNormalObjectId || !has_all_arguments(call) ||
						  etl_names_of_function(call->funcid) == NIL ?
					  NULL :
					  etl_sql_function_query(call);

	return body ? (Query *) put_arguments((Node *) body, &arguments) : NULL;
}

/*
 * null_when_null wraps the value of a strict function.
 */
static Node *
null_when_null(FuncExpr *call, Node *value)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	bool		strict = ((Form_pg_proc) GETSTRUCT(tuple))->proisstrict;
	CaseExpr   *choice = makeNode(CaseExpr);
	ListCell   *cell;

	ReleaseSysCache(tuple);
	if (!strict || call->args == NIL)
		return value;
	choice->casetype = call->funcresulttype;
	choice->casecollid = call->funccollid;
	choice->location = -1;
	choice->defresult = (Expr *) value;
	foreach(cell, call->args)
	{
		NullTest   *test = makeNode(NullTest);
		CaseWhen   *when = makeNode(CaseWhen);

		test->arg = copyObject(lfirst(cell));
		test->nulltesttype = IS_NULL;
		test->location = -1;
		when->expr = (Expr *) test;
		when->result = (Expr *) makeNullConst(call->funcresulttype, -1, call->funccollid);
		when->location = -1;
		choice->args = lappend(choice->args, when);
	}
	return (Node *) choice;
}

/*
 * as_sublink makes a call a subquery that yields its value; NULL when that
 * cannot be done.
 */
static Node *
as_sublink(FuncExpr *call)
{
	SubLink    *link;
	Query	   *body = call->funcretset || type_is_rowtype(call->funcresulttype) ? NULL : body_of_reader(call);
	Node	   *value;

	if (body == NULL || body->targetList == NIL ||
		lfirst_node(TargetEntry, list_head(body->targetList))->resjunk)
		return NULL;
	/* of several rows an SQL function returns the first */
	if (body->limitCount == NULL)
		body->limitCount = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(1),
											  false, FLOAT8PASSBYVAL);
	link = makeNode(SubLink);
	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *) body;
	link->location = -1;
	value = coerce_to_target_type(NULL, (Node *) link, exprType((Node *) link), call->funcresulttype, -1,
								  COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	return value ? null_when_null(call, value) : NULL;
}

/*
 * open_entry makes a call in FROM a subquery.
 */
static void
open_entry(RangeTblEntry *rte)
{
	RangeTblFunction *function;
	Query	   *body;
	ListCell   *name;
	ListCell   *target;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1)
		return;
	function = linitial_node(RangeTblFunction, rte->functions);
	if (!IsA(function->funcexpr, FuncExpr))
		return;
	body = body_of_reader((FuncExpr *) function->funcexpr);
	if (body == NULL || ExecCleanTargetListLength(body->targetList) != function->funccolcount ||
		!((FuncExpr *) function->funcexpr)->funcretset)
		return;
	/* its columns have the names that the call gives them */
	forboth(name, rte->eref->colnames, target, body->targetList)
		lfirst_node(TargetEntry, target)->resname = pstrdup(strVal(lfirst(name)));
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = body;
	rte->functions = NIL;
	/* the arguments may be columns of what stands before it */
	rte->lateral = true;
	if (rte->alias == NULL)
		rte->alias = makeAlias(rte->eref->aliasname, NIL);
}

typedef struct Opening
{
	int			depth;			/* of functions in functions */
	bool		opened;
} Opening;

/*
 * open_calls replaces the calls below a node.
 */
static Node *
open_calls(Node *node, Opening *opening)
{
	Node	   *value;
	ListCell   *cell;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		bool		outer = opening->opened;
		Query	   *query;

		opening->opened = false;
		foreach(cell, ((Query *) node)->rtable)
			open_entry(lfirst_node(RangeTblEntry, cell));
		query = query_tree_mutator((Query *) node, open_calls, opening, 0);
		query->hasSubLinks |= opening->opened;
		opening->opened = outer;
		return (Node *) query;
	}
	if (IsA(node, FuncExpr) && opening->depth < 20 && (value = as_sublink((FuncExpr *) node)) != NULL)
	{
		opening->opened = true;
		opening->depth++;
		value = expression_tree_mutator(value, open_calls, opening);
		opening->depth--;
		opening->opened = true;
		return value;
	}
	return expression_tree_mutator(node, open_calls, opening);
}

Query *
etl_query_open_functions(Query *query)
{
	Opening		opening = {0, false};

	return (Query *) open_calls((Node *) copyObject(query), &opening);
}
