/*-------------------------------------------------------------------------
 *
 * names.c
 *    Which relations a query names, found in its raw parse tree.
 *
 * Analysis needs every relation to exist; names need none.  They order
 * definitions that arrive before their inputs, and find cycles at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/internal.h"

typedef struct NamesContext
{
	List	   *ctes;			/* names of CTEs in scope */
	List	   *names;			/* canonical, found so far */
	List	   *functions;		/* oids followed so far */
} NamesContext;

static bool names_walker(Node *node, NamesContext *context);

/*
 * etl_query_parse returns the raw parse tree of a query; raises ET001
 * unless it is one SELECT.
 */
RawStmt *
etl_query_parse(const char *query)
{
	List	   *statements = etl_parse(query);
	RawStmt    *statement;
	WithClause *with;
	SelectStmt *first;			/* of a set operation, what it begins with */
	ListCell   *cell;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a model is one SELECT, but this text holds %d statements",
						list_length(statements)),
				 errhint("Statements around the build belong into the options pre_hook and post_hook.")));
	statement = linitial_node(RawStmt, statements);
	if (!IsA(statement->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a model is one SELECT, but this is another statement"),
				 errhint("Give the query alone: etl creates and fills the relation.")));
	with = ((SelectStmt *) statement->stmt)->withClause;
	for (first = (SelectStmt *) statement->stmt; first->op != SETOP_NONE; first = first->larg)
		;
	if (first->intoClause != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a model must not say SELECT INTO"),
				 errhint("The target is the first argument of etl.define_model().")));
	if (((SelectStmt *) statement->stmt)->lockingClause != NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a model must not lock what it reads"),
				 errhint("Leave FOR UPDATE or FOR SHARE out of the query.")));
	foreach(cell, with ? with->ctes : NIL)
		if (!IsA(lfirst_node(CommonTableExpr, cell)->ctequery, SelectStmt))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("a model must not write: its WITH clause holds more than SELECTs"),
					 errhint("Statements that write belong into the options pre_hook and post_hook.")));
	return statement;
}

/*
 * etl_query_text returns the text of a query's one statement, so that it
 * can stand inside another.
 */
char *
etl_query_text(const char *query)
{
	RawStmt    *statement = etl_query_parse(query);
	const char *text = query + Max(statement->stmt_location, 0);

	return statement->stmt_len > 0 ? pnstrdup(text, statement->stmt_len) : pstrdup(text);
}

/*
 * etl_names_add adds a name that is not in the list yet.
 */
List *
etl_names_add(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return names;
	return lappend(names, pstrdup(name));
}

/*
 * canonical_of quotes a relation name and its schema; NULL: the first of the search path.
 */
static char *
canonical_of(const char *schema, const char *relation)
{
	return schema ? psprintf("%s.%s", quote_identifier(schema), quote_identifier(relation)) :
					etl_name_canonical(quote_identifier(relation));
}

/*
 * node_in_path finds the node that an unqualified name of a relation that
 * does not exist will mean: the first schema of the path with such a node.
 * Schemas are made when something is built in them: the path names them all.
 */
static char *
node_in_path(const char *relation)
{
	List	   *schemas = NIL;
	ListCell   *cell;

	(void) SplitIdentifierString(pstrdup(namespace_search_path), ',', &schemas);
	foreach(cell, schemas)
	{
		char	   *schema = strcmp(lfirst(cell), "$user") == 0 ? GetUserNameFromId(GetUserId(), true) :
															lfirst(cell);
		char	   *name = schema ? canonical_of(schema, relation) : NULL;

		if (name != NULL && etl_node_owner(name) != NULL)
			return name;
	}
	return canonical_of(NULL, relation);
}

/*
 * etl_name_in_path: see internal.h.
 */
char *
etl_name_in_path(const char *schema, const char *relation)
{
	return schema ? canonical_of(schema, relation) : node_in_path(relation);
}

/*
 * add_relation records the relation that a RangeVar means.
 */
static void
add_relation(NamesContext *context, RangeVar *range)
{
	Oid			relid = RangeVarGetRelid(range, NoLock, true);

	if (OidIsValid(relid))
	{
		char	   *name = etl_name_of_relation(relid);

		if (name == NULL)
			return;
		context->names = etl_names_add(context->names, name);
		if (get_rel_relkind(relid) == RELKIND_VIEW && etl_node_owner(name) == NULL)
		{
			ListCell   *cell;

			foreach(cell, etl_relation_behind(relid))
				context->names = etl_names_add(context->names, lfirst(cell));
		}
	}
	else
		context->names = etl_names_add(context->names, range->schemaname ?
														   canonical_of(range->schemaname, range->relname) :
														   node_in_path(range->relname));
}

/*
 * add_row_type records the relation whose row type a cast names.  A type
 * that does not exist is taken for one when it has a schema, or when a node
 * has its name.
 */
static void
add_row_type(NamesContext *context, TypeName *type_name)
{
	Type		type;
	char	   *schema;
	char	   *relation;

	if (type_name->names == NIL || type_name->pct_type)
		return;
	type = LookupTypeName(NULL, type_name, NULL, true);
	if (type != NULL)
	{
		Oid			relid = ((Form_pg_type) GETSTRUCT(type))->typrelid;

		ReleaseSysCache(type);
		if (OidIsValid(relid) && get_rel_relkind(relid) != RELKIND_COMPOSITE_TYPE)
			context->names = etl_names_add(context->names, etl_name_of_relation(relid));
		return;
	}
	DeconstructQualifiedName(type_name->names, &schema, &relation);
	if (schema != NULL)
		context->names = etl_names_add(context->names, canonical_of(schema, relation));
	else
	{
		char	   *name = node_in_path(relation);

		if (etl_node_owner(name) != NULL)
			context->names = etl_names_add(context->names, name);
	}
}

/*
 * add_functions follows every SQL function that a call may mean.
 */
static void
add_functions(NamesContext *context, FuncCall *call)
{
	FuncCandidateList candidate;

	for (candidate = FuncnameGetCandidates(call->funcname, -1, NIL, false, false, false, true);
		 candidate; candidate = candidate->next)
	{
		ListCell   *cell;

		if (candidate->oid < FirstNormalObjectId || list_member_oid(context->functions, candidate->oid))
			continue;
		context->functions = lappend_oid(context->functions, candidate->oid);
		foreach(cell, etl_names_of_function(candidate->oid))
			context->names = etl_names_add(context->names, lfirst(cell));
	}
}

/*
 * etl_names_walk_select walks a SELECT with the names of its CTEs in scope:
 * '*ctes' is what 'walker' finds them in.
 */
bool
etl_names_walk_select(SelectStmt *select, List **ctes, bool (*walker)(), void *context)
{
	List	   *outer = *ctes;
	WithClause *with = select->withClause;
	ListCell   *cell;

	*ctes = list_copy(outer);
	foreach(cell, with && with->recursive ? with->ctes : NIL)
		*ctes = lappend(*ctes, lfirst_node(CommonTableExpr, cell)->ctename);
	foreach(cell, with ? with->ctes : NIL)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		walker(cte->ctequery, context);
		if (!with->recursive)
			*ctes = lappend(*ctes, cte->ctename);
	}
	select->withClause = NULL;
	raw_expression_tree_walker((Node *) select, walker, context);
	select->withClause = with;
	*ctes = outer;
	return false;
}

/*
 * names_walker collects the names below one raw node.
 */
static bool
names_walker(Node *node, NamesContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SelectStmt))
		return etl_names_walk_select((SelectStmt *) node, &context->ctes, names_walker, context);
	if (IsA(node, RangeVar))
	{
		RangeVar   *range = (RangeVar *) node;
		ListCell   *cell;

		if (range->schemaname == NULL)
			foreach(cell, context->ctes)
				if (strcmp(lfirst(cell), range->relname) == 0)
					return false;
		add_relation(context, range);
		return false;
	}
	if (IsA(node, TypeCast))
		add_row_type(context, ((TypeCast *) node)->typeName);
	if (IsA(node, FuncCall))
		add_functions(context, (FuncCall *) node);
	return raw_expression_tree_walker(node, names_walker, context);
}

/*
 * etl_names_of_query returns the canonical names of the relations that a
 * query reads, under the search path in force.
 */
List *
etl_names_of_query(const char *query)
{
	NamesContext context = {0};

	names_walker(etl_query_parse(query)->stmt, &context);
	return context.names;
}

/*
 * act_as_function takes over the rights of an SQL function's owner, if it runs
 * with them, and the settings that its body is read with: they find what it
 * names.  Returns the level of these settings.
 */
static int
act_as_function(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	int			level = NewGUCNestLevel();
	bool		isnull;
	Datum		settings;
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	if (form->prosecdef)
		SetUserIdAndSecContext(form->proowner,
							   context | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
	settings = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	if (!isnull)
		ProcessGUCArray(DatumGetArrayTypeP(settings), superuser() ? PGC_SUSET : PGC_USERSET,
						PGC_S_SESSION, GUC_ACTION_SAVE);
	return level;
}

/*
 * names_of_body returns what the SELECTs of an SQL function read: of a body that
 * is kept analyzed, or of its text.
 */
static List *
names_of_body(HeapTuple tuple)
{
	NamesContext names = {0};
	ListCell   *cell;
	ListCell   *name;
	bool		isnull;
	Datum		body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);

	if (!isnull)
	{
		Node	   *tree = stringToNode(TextDatumGetCString(body));

		foreach(cell, IsA(tree, List) ? linitial_node(List, (List *) tree) : list_make1(tree))
			if (IsA(lfirst(cell), Query))
				foreach(name, etl_query_dependencies(lfirst(cell)))
					names.names = etl_names_add(names.names, lfirst(name));
		return names.names;
	}
	names.functions = list_make1_oid(((Form_pg_proc) GETSTRUCT(tuple))->oid);
	body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	foreach(cell, raw_parser(TextDatumGetCString(body), RAW_PARSE_DEFAULT))
		if (IsA(lfirst_node(RawStmt, cell)->stmt, SelectStmt))
			names_walker(lfirst_node(RawStmt, cell)->stmt, &names);
	return names.names;
}

/*
 * etl_names_of_function returns what the body of an SQL function reads;
 * NIL for functions in other languages, which are opaque.
 */
List *
etl_names_of_function(Oid function)
{
	static int	depth = 0;
	Oid			user;
	int			context;
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	List	   *names = NIL;
	int			level;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang != SQLlanguageId || depth > 20)
	{
		ReleaseSysCache(tuple);
		return NIL;
	}

	depth++;
	GetUserIdAndSecContext(&user, &context);
	PG_TRY();
	{
		level = act_as_function(tuple);
		names = names_of_body(tuple);
		AtEOXact_GUC(false, level);
	}
	PG_FINALLY();
	{
		depth--;
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
	ReleaseSysCache(tuple);
	return names;
}

/*
 * etl_names_add_declared adds what option depends_on names, and what is behind
 * a view that etl does not manage.
 */
List *
etl_names_add_declared(List *names, const EtlModel *model)
{
	ListCell   *cell;
	ListCell   *behind;

	foreach(cell, etl_json_get_list(model->options, "depends_on"))
	{
		char	   *name = etl_name_canonical(lfirst(cell));
		Oid			relid = etl_name_relation(name);

		names = etl_names_add(names, name);
		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW && etl_node_owner(name) == NULL)
			foreach(behind, etl_relation_behind(relid))
				names = etl_names_add(names, lfirst(behind));
	}
	return names;
}

/*
 * etl_model_names returns what a model reads, by name: its query and its
 * option depends_on.
 */
List *
etl_model_names(const EtlModel *model)
{
	EtlRunAs	as;
	List	   *names;

	etl_run_as_begin(&as, model->owner, model->settings);
	names = etl_names_add_declared(etl_names_of_query(model->query), model);
	etl_run_as_end(&as);
	return names;
}

/*
 * path_back searches a way from 'node' to 'target' along dependencies;
 * returns it with the names between, or NIL.
 */
static List *
path_back(const char *node, const char *target, List **seen)
{
	ListCell   *cell;

	check_stack_depth();
	if (strcmp(node, target) == 0)
		return list_make1(pstrdup(node));
	foreach(cell, *seen)
		if (strcmp(lfirst(cell), node) == 0)
			return NIL;
	*seen = lappend(*seen, pstrdup(node));
	foreach(cell, etl_dependencies_of(node))
	{
		List	   *path = path_back(lfirst(cell), target, seen);

		if (path != NIL)
			return lcons(pstrdup(node), path);
	}
	return NIL;
}

/*
 * etl_names_check_cycle raises ET003, naming the circle, when one of the
 * names leads back to the target.
 */
void
etl_names_check_cycle(const char *target, List *names)
{
	List	   *seen = NIL;
	ListCell   *cell;

	foreach(cell, names)
	{
		List	   *path = path_back(lfirst(cell), target, &seen);
		StringInfoData text;
		ListCell   *step;

		if (path == NIL)
			continue;
		initStringInfo(&text);
		appendStringInfoString(&text, target);
		foreach(step, path)
			appendStringInfo(&text, " -> %s", (char *) lfirst(step));
		ereport(ERROR,
				(errcode(ETL_ERR_CYCLE),
				 errmsg("model %s would depend on itself", target),
				 errdetail("The circle is %s (each reads the next).", text.data),
				 errhint("Take one of these relations out of the query that reads it.")));
	}
}
