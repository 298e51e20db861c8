/*-------------------------------------------------------------------------
 *
 * traits.c
 *    What besides its inputs decides a query's result.
 *
 * The clock, parameters of the run, and the text of the views and functions
 * below the query that no definition holds.  Every query, view and function
 * is a part: what it shows by itself, and which parts are right below it.
 * A thousand models share their parts, so those of views and functions are
 * kept in the process until a catalog that they rest on changes; managed
 * views are looked through, and their text does not count.
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
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"
#include "model/part_text.h"
#include "model/traits.h"

/* What is known of a part before it is looked at. */
typedef struct PartKey
{
	Oid			object;			/* a view or a function */
	bool		is_view;
	Oid			user;			/* who calls the function, … */
	uint64		settings;		/* … how its text is read, … */
	uint64		types;			/* … and of what its arguments are, when it is polymorphic */
} PartKey;

typedef struct Part
{
	PartKey		key;
	char	   *name;			/* kind and name */
	char	   *hash;			/* of its text; NULL: what counts is below it */
	bool		uses_clock;
	bool		uses_words;
	bool		time_of_param;	/* the value of a parameter becomes a time */
	bool		all_params;
	List	   *params;			/* char * */
	List	   *callees;		/* Callee *: right below it */
	uint64		visit;			/* the last query that reached it */
} Part;

typedef struct Callee
{
	Oid			object;
	bool		is_view;
	int			ntypes;			/* of the arguments of a polymorphic function */
	Oid		   *types;
} Callee;

typedef struct PartContext
{
	Part	   *part;
	const char *source;			/* what locations count in; NULL: nothing */
	Node	   *node;			/* at hand, for its arguments */
	MemoryContext memory;		/* of the part */
} PartContext;

static MemoryContext parts_memory = NULL;
static HTAB *parts = NULL;		/* PartKey → Part * */
static bool parts_are_stale = false;
static int	parts_in_use = 0;	/* nested: what is evaluated in a body may ask for a plan */
static uint64 visit = 0;

/* An entry of 'parts'. */
typedef struct PartEntry
{
	PartKey		key;
	Part	   *part;
} PartEntry;

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
	Callee	   *callee = palloc0(sizeof(Callee));
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
		Callee	   *other = lfirst(cell);

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
 * look_at_view fills in the part that a view is.
 */
static void
look_at_view(PartContext *context, Oid relid)
{
	Relation	view = table_open(relid, AccessShareLock);
	Query	   *query = copyObject(get_view_query(view));
	char	   *name = etl_name_of_relation(relid);

	part_walker((Node *) query, context);
	context->part->name = MemoryContextStrdup(context->memory, psprintf("view %s", name));
	if (relid >= FirstNormalObjectId)
		context->part->hash = MemoryContextStrdup(context->memory, etl_part_hash(etl_view_text(view, query)));
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
look_at_body(PartContext *context, const Callee *callee)
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
look_at_called(PartContext *context, const Callee *callee)
{
	List	   *queries = NIL;
	char	   *text;

	if (get_func_prokind(callee->object) == PROKIND_AGGREGATE)
		look_below_aggregate(context, callee->object);
	else
		queries = look_at_body(context, callee);
	text = etl_function_text(callee->object, queries);
	context->part->name = MemoryContextStrdup(
		context->memory, psprintf("function %s", format_procedure_qualified(callee->object)));
	context->part->hash = MemoryContextStrdup(context->memory, etl_part_hash(text));
}

/* ---- the parts that are kept ---- */

/*
 * forget_parts notes that the parts may not be what they were.
 */
static void
forget_parts(Datum arg, Oid relid)
{
	parts_are_stale = true;
}

static void
forget_parts_of_catalog(Datum arg, int cache, uint32 hash)
{
	parts_are_stale = true;
}

/*
 * begin_parts makes the table of the parts, and anew when one may have changed.
 */
static void
begin_parts(void)
{
	static const int catalogs[] = {PROCOID, AGGFNOID, OPEROID, TYPEOID, CASTSOURCETARGET, NAMESPACEOID,
								   AUTHMEMMEMROLE};
	static bool registered = false;
	HASHCTL		control = {.keysize = sizeof(PartKey), .entrysize = sizeof(PartEntry)};

	if (!registered)
	{
		registered = true;
		CacheRegisterRelcacheCallback(forget_parts, 0);
		for (int i = 0; i < lengthof(catalogs); i++)
			CacheRegisterSyscacheCallback(catalogs[i], forget_parts_of_catalog, 0);
	}
	if (parts != NULL && (!parts_are_stale || parts_in_use > 0))
		return;
	if (parts_memory != NULL)
		MemoryContextDelete(parts_memory);
	parts = NULL;
	parts_memory = NULL;
	parts_are_stale = false;
	parts_memory = AllocSetContextCreate(CacheMemoryContext, "etl parts of queries", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = parts_memory;
	parts = hash_create("etl parts of queries", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * key_of tells apart the parts that one view or function can be.
 */
static PartKey
key_of(const Callee *callee, Oid user, uint64 settings)
{
	PartKey		key;

	memset(&key, 0, sizeof(key));
	key.object = callee->object;
	key.is_view = callee->is_view;
	if (callee->is_view)
		return key;
	key.user = user;
	key.settings = settings;
	if (callee->ntypes > 0)
		key.types = hash_bytes_extended((const unsigned char *) callee->types,
										sizeof(Oid) * callee->ntypes, 0);
	return key;
}

/*
 * make_part looks at a view or function and keeps what it found.
 */
static Part *
make_part(const Callee *callee, const PartKey *key)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "etl part", ALLOCSET_SMALL_SIZES);
	Part	   *part = MemoryContextAllocZero(memory, sizeof(Part));
	PartContext context = {.part = part, .memory = memory};
	PartEntry  *entry;

	part->key = *key;
	if (callee->is_view)
		look_at_view(&context, callee->object);
	else
		look_at_called(&context, callee);
	MemoryContextSetParent(memory, parts_memory);
	entry = hash_search(parts, key, HASH_ENTER, NULL);
	entry->part = part;
	return part;
}

/* ---- a query, and all below it ---- */

typedef struct Closure
{
	EtlQueryTraits *traits;
	EtlJsonBuilder *below;		/* NULL: nothing yet */
	uint64		visit;
	Oid			user;
	uint64		settings;
} Closure;

/*
 * add_part adds what a part shows, and the parts below it, once each.
 */
static void
add_part(Closure *closure, const Part *part)
{
	ListCell   *cell;

	check_stack_depth();
	closure->traits->uses_clock |=
		part->uses_clock || part->uses_words ||
		(part->time_of_param && etl_params != NULL && etl_text_is_moment(etl_params));
	closure->traits->all_params |= part->all_params;
	foreach(cell, part->params)
		closure->traits->params = etl_names_add(closure->traits->params, lfirst(cell));
	/* the definition of a view that etl manages has a version */
	if (part->hash != NULL && (!part->key.is_view || etl_node_owner(part->name + strlen("view ")) == NULL))
	{
		if (closure->below == NULL)
			closure->below = etl_json_object_begin();
		etl_json_add_text(closure->below, part->name, part->hash);
	}
	foreach(cell, part->callees)
	{
		PartKey		key = key_of(lfirst(cell), closure->user, closure->settings);
		PartEntry  *entry = hash_search(parts, &key, HASH_FIND, NULL);
		Part	   *other = entry ? entry->part : make_part(lfirst(cell), &key);

		if (other->visit == closure->visit)
			continue;
		other->visit = closure->visit;
		add_part(closure, other);
	}
}

/*
 * add_parts adds a query and all below it.
 */
static void
add_parts(Closure *closure, const Part *part)
{
	begin_parts();
	closure->visit = ++visit;
	closure->user = GetUserId();
	closure->settings = etl_settings_hash();
	parts_in_use++;
	PG_TRY();
	{
		add_part(closure, part);
	}
	PG_FINALLY();
	{
		parts_in_use--;
	}
	PG_END_TRY();
}

void
etl_query_traits(Query *query, const EtlModel *model, EtlQueryTraits *traits)
{
	Part		part = {0};
	PartContext context = {.part = &part, .source = model->query, .memory = CurrentMemoryContext};
	Closure		closure = {.traits = traits};
	ListCell   *cell;

	memset(traits, 0, sizeof(*traits));
	part_walker((Node *) query, &context);
	traits->uses_words = part.uses_words;
	foreach(cell, etl_json_get_list(model->options, "depends_on"))
	{
		Oid			relid = etl_name_relation(etl_name_canonical(lfirst(cell)));

		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
			add_callee(&context, relid, true);
	}
	if (part.callees == NIL)
		add_part(&closure, &part);
	else
		add_parts(&closure, &part);
	if (closure.below != NULL)
		traits->below = etl_json_object_end(closure.below);
}
