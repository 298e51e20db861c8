/*-------------------------------------------------------------------------
 *
 * query_part.c
 *    What a query, a view or a function shows by itself.
 *
 * The clock and the parameters that it asks for, its text, and the views and
 * functions right below it; traits.c puts the parts together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"
#include "model/part_text.h"
#include "model/query_part.h"

typedef struct PartContext
{
	EtlQueryPart *part;
	const char *source;			/* what locations count in; NULL: nothing */
	Node	   *node;			/* at hand, for its arguments */
	MemoryContext memory;		/* of the part */
} PartContext;

static bool part_walker(Node *node, PartContext *context);

/* ---- what a part calls ---- */

/*
 * is_polymorphic tells whether the body of a function depends on the types of
 * its arguments.
 */
static bool
is_polymorphic(Oid function)
{
	Oid		   *types;
	int			n;

	(void) get_func_signature(function, &types, &n);
	for (int i = 0; i < n; i++)
		if (IsPolymorphicType(types[i]))
			return true;
	return false;
}

/*
 * arguments_of returns the arguments that a node gives to its function.
 */
static List *
arguments_of(Node *node)
{
	if (node == NULL)
		return NIL;
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			return ((FuncExpr *) node)->args;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			return ((OpExpr *) node)->args;
		default:
			return NIL;
	}
}

/*
 * add_callee notes a view or function right below a part.
 */
static void
add_callee(PartContext *context, Oid object, bool is_view)
{
	MemoryContext old = MemoryContextSwitchTo(context->memory);
	EtlCallee  *callee = palloc0(sizeof(EtlCallee));
	ListCell   *cell;

	callee->object = object;
	callee->is_view = is_view;
	if (!is_view && context->node != NULL && is_polymorphic(object))
	{
		List	   *args = arguments_of(context->node);

		callee->types = palloc0(sizeof(Oid) * (list_length(args) + 1));
		foreach(cell, args)
			callee->types[callee->ntypes++] = exprType(lfirst(cell));
	}
	foreach(cell, context->part->callees)
	{
		EtlCallee  *other = lfirst(cell);

		if (other->object == object && other->is_view == is_view && other->ntypes == callee->ntypes &&
			(other->ntypes == 0 || memcmp(other->types, callee->types, sizeof(Oid) * other->ntypes) == 0))
			break;
	}
	if (cell == NULL)
		context->part->callees = lappend(context->part->callees, callee);
	MemoryContextSwitchTo(old);
}

/*
 * add_param notes the parameter that a call of etl.param() asks for.
 */
static void
add_param(PartContext *context, const FuncExpr *call)
{
	Node	   *name = call->args ? eval_const_expressions(NULL, linitial(call->args)) : NULL;
	MemoryContext old = MemoryContextSwitchTo(context->memory);

	if (name != NULL && IsA(name, Const) && !((Const *) name)->constisnull)
		context->part->params =
			etl_names_add(context->part->params, TextDatumGetCString(((Const *) name)->constvalue));
	else
		context->part->all_params = true;
	MemoryContextSwitchTo(old);
}

/*
 * is_param tells whether a function is etl.param.
 */
static bool
is_param(Oid function)
{
	return function >= FirstNormalObjectId && strcmp(get_func_name(function), "param") == 0 &&
		   strcmp(get_namespace_name(get_func_namespace(function)), "etl") == 0;
}

/*
 * look_at_function judges one function that a node calls.
 */
static bool
look_at_function(Oid function, void *arg)
{
	PartContext *context = arg;

	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_CLOCK_TIMESTAMP:
		case F_TIMEOFDAY:
		case F_AGE_TIMESTAMPTZ:
		case F_AGE_TIMESTAMP:
			context->part->uses_clock = true;
			return false;
		default:
			break;
	}
	if (function < FirstNormalObjectId)
		return false;
	if (context->node != NULL && IsA(context->node, FuncExpr) && is_param(function))
		add_param(context, (FuncExpr *) context->node);
	else
		add_callee(context, function, false);
	return false;
}

/*
 * look_at_sort judges the operators of an ORDER BY or GROUP BY.
 */
static void
look_at_sort(PartContext *context, const SortGroupClause *sort)
{
	context->node = NULL;
	if (sort->sortop >= FirstNormalObjectId)
		(void) look_at_function(get_opcode(sort->sortop), context);
	if (sort->eqop >= FirstNormalObjectId)
		(void) look_at_function(get_opcode(sort->eqop), context);
}

/* ---- moments told by a word ---- */

/*
 * mentions_moment finds words in literals below an expression that becomes a
 * time, and notes whether a parameter is there.
 */
static bool
mentions_moment(Node *node, PartContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Const))
	{
		Const	   *constant = (Const *) node;
		Oid			output;
		bool		varlena;

		if (constant->constisnull || TypeCategory(constant->consttype) != TYPCATEGORY_STRING)
			return false;
		getTypeOutputInfo(constant->consttype, &output, &varlena);
		return etl_text_is_moment(OidOutputFunctionCall(output, constant->constvalue));
	}
	if (IsA(node, FuncExpr) && is_param(((FuncExpr *) node)->funcid))
		context->part->time_of_param = true;
	return expression_tree_walker(node, mentions_moment, context);
}

/*
 * look_at_words notes a time that is told by a word.
 */
static void
look_at_words(PartContext *context, Node *node)
{
	if (IsA(node, Const))
	{
		Const	   *constant = (Const *) node;

		/* what such a literal means was found out when the query was analyzed */
		if (constant->location >= 0 && context->source != NULL && !constant->constisnull &&
			etl_type_tells_time(constant->consttype) &&
			etl_literal_is_moment(context->source, constant->location))
			context->part->uses_words = true;
	}
	else if (IsA(node, CoerceViaIO) && etl_type_tells_time(((CoerceViaIO *) node)->resulttype))
		context->part->uses_clock |= mentions_moment((Node *) ((CoerceViaIO *) node)->arg, context);
}

/*
 * part_walker looks at one node of the query that a part is.
 */
static bool
part_walker(Node *node, PartContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, part_walker, context,
								 QTW_EXAMINE_RTES_BEFORE | QTW_EXAMINE_SORTGROUP);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->inFromCl && get_rel_relkind(rte->relid) == RELKIND_VIEW)
			add_callee(context, rte->relid, true);
		return false;
	}
	if (IsA(node, SQLValueFunction) && ((SQLValueFunction *) node)->op <= SVFOP_LOCALTIMESTAMP_N)
		context->part->uses_clock = true;
	if (IsA(node, SortGroupClause))
		look_at_sort(context, (SortGroupClause *) node);
	look_at_words(context, node);
	context->node = node;
	(void) check_functions_in_node(node, look_at_function, context);
	return expression_tree_walker(node, part_walker, context);
}

/* ---- views and functions ---- */

/*
 * tell notes what is told of a part: that it is there, and its text.
 */
static void
tell(PartContext *context, const char *kind, const char *name, const char *text)
{
	context->part->told = MemoryContextStrdup(
		context->memory,
		psprintf("%s: \"%s\"", etl_json_quote(psprintf("%s %s", kind, name)), etl_part_hash(text)));
}

/*
 * look_at_view fills in the part that a view is.
 */
static void
look_at_view(PartContext *context, Oid relid)
{
	Relation	view = table_open(relid, AccessShareLock);
	Query	   *query = copyObject(get_view_query(view));
	char	   *name = etl_name_of_relation(relid);

	part_walker((Node *) query, context);
	context->part->name = MemoryContextStrdup(context->memory, name);
	if (relid >= FirstNormalObjectId)
		tell(context, "view", name, etl_view_text(view, query));
	table_close(view, NoLock);
}

/*
 * look_below_aggregate adds the functions that an aggregate is made of.
 */
static void
look_below_aggregate(PartContext *context, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	Form_pg_aggregate form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	context->node = NULL;
	(void) look_at_function(form->aggtransfn, context);
	(void) look_at_function(form->aggfinalfn, context);
	(void) look_at_function(form->aggcombinefn, context);
	(void) look_at_function(form->aggmtransfn, context);
	(void) look_at_function(form->aggminvtransfn, context);
	(void) look_at_function(form->aggmfinalfn, context);
	ReleaseSysCache(tuple);
}

/*
 * look_at_body walks the queries of an SQL function, and returns them; NIL when
 * its text tells more than they do.
 */
static List *
look_at_body(PartContext *context, const EtlCallee *callee)
{
	FuncExpr   *call = NULL;
	List	   *args = NIL;
	List	   *queries;
	ListCell   *cell;
	bool		whole;

	for (int i = 0; i < callee->ntypes; i++)
		args = lappend(args, makeNullConst(callee->types[i], -1, get_typcollation(callee->types[i])));
	if (args != NIL)
		call = makeFuncExpr(callee->object, get_func_rettype(callee->object), args, InvalidOid, InvalidOid,
							COERCE_EXPLICIT_CALL);
	queries = etl_sql_function_queries(callee->object, call, &whole);
	context->source = etl_function_source(callee->object);
	foreach(cell, queries)
		part_walker(lfirst(cell), context);
	/* a word means another moment each time that the text is read */
	return whole && !context->part->uses_words ? queries : NIL;
}

/*
 * look_at_called fills in the part that a function is.
 */
static void
look_at_called(PartContext *context, const EtlCallee *callee)
{
	List	   *queries = NIL;

	if (get_func_prokind(callee->object) == PROKIND_AGGREGATE)
		look_below_aggregate(context, callee->object);
	else
		queries = look_at_body(context, callee);
	tell(context, "function", format_procedure_qualified(callee->object),
		 etl_function_text(callee->object, queries));
}

/* ---- entry points ---- */

void
etl_query_part_of(EtlQueryPart *part, MemoryContext memory, Query *query, const char *source)
{
	PartContext context = {.part = part, .memory = memory, .source = source};

	part_walker((Node *) query, &context);
}

void
etl_query_part_add_view(EtlQueryPart *part, MemoryContext memory, Oid relid)
{
	PartContext context = {.part = part, .memory = memory};

	add_callee(&context, relid, true);
}

void
etl_query_part_of_callee(EtlQueryPart *part, MemoryContext memory, const EtlCallee *callee)
{
	PartContext context = {.part = part, .memory = memory};

	if (callee->is_view)
		look_at_view(&context, callee->object);
	else
		look_at_called(&context, callee);
}
