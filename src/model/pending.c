/*-------------------------------------------------------------------------
 *
 * pending.c
 *    Columns that relations do not have yet, but their definitions do.
 *
 * A script that adds a column to a stream or model, and reads it in another
 * one, is defined as a whole before anything is built.  Where a query does
 * not fit what is there, it is analyzed over what the next run will make of
 * its inputs: each of these stands in the query as an ephemeral relation of
 * the columns to come.  Nothing is executed that way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_type.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"

#include "common/driver.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "load/landing.h"
#include "model/internal.h"

static List *inputs_of(const EtlModel *model, List **known);

/* ---- the query, over what is to come ---- */

typedef struct StandInContext
{
	List	   *ctes;			/* names of CTEs in scope */
	List	   *pending;		/* EtlPending * */
} StandInContext;

/*
 * pending_of finds what a name in a query means among what is to come.
 */
static EtlPending *
pending_of(const StandInContext *context, const char *schema, const char *relation)
{
	char	   *name = etl_name_meant(schema, relation);
	ListCell   *cell;

	foreach(cell, context->pending)
		if (name != NULL && strcmp(((EtlPending *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

/*
 * stand_in makes a name in FROM that of the ephemeral relation.
 */
static void
stand_in(const StandInContext *context, RangeVar *range)
{
	EtlPending *pending;
	ListCell   *cell;

	if (range->schemaname == NULL)
		foreach(cell, context->ctes)
			if (strcmp(lfirst(cell), range->relname) == 0)
				return;
	pending = pending_of(context, range->schemaname, range->relname);
	if (pending == NULL)
		return;
	if (range->alias == NULL)
		range->alias = makeAlias(range->relname, NIL);
	range->catalogname = range->schemaname = NULL;
	range->relname = pending->name;
}

/*
 * stand_in_walker replaces the names below one raw node.  An ephemeral
 * relation has no schema that could stand before its columns.
 */
static bool
stand_in_walker(Node *node, StandInContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SelectStmt))
		return etl_names_walk_select((SelectStmt *) node, &context->ctes, stand_in_walker, context);
	if (IsA(node, RangeVar))
		stand_in(context, (RangeVar *) node);
	else if (IsA(node, ColumnRef))
	{
		ColumnRef  *column = (ColumnRef *) node;

		if (list_length(column->fields) == 3 && IsA(lsecond(column->fields), String) &&
			pending_of(context, strVal(linitial(column->fields)), strVal(lsecond(column->fields))))
			column->fields = list_delete_first(column->fields);
	}
	else
		return raw_expression_tree_walker(node, stand_in_walker, context);
	return false;
}

Query *
etl_pending_analyze(const char *query, List *pending)
{
	RawStmt    *statement = linitial_node(RawStmt, etl_parse(query));
	QueryEnvironment *environment = create_queryEnv();
	StandInContext context = {NIL, pending};
	EtlQueryText text;
	Query	   *result;
	ListCell   *cell;

	foreach(cell, pending)
		etl_environment_add(environment, ((EtlPending *) lfirst(cell))->name,
							((EtlPending *) lfirst(cell))->desc, NULL, 0);
	stand_in_walker(statement->stmt, &context);
	etl_query_text_begin(&text, query);
	result = parse_analyze_fixedparams(statement, query, NULL, 0, environment);
	etl_query_text_end(&text);
	return result;
}

/* ---- what is to come ---- */

/*
 * stream_pending tells the columns that a stream's relation will have with
 * those declared since it was made; NULL: none is missing.
 */
static EtlPending *
stream_pending(const EtlStream *stream)
{
	Relation	rel = table_open(etl_name_relation(stream->target), AccessShareLock);
	int			natts = RelationGetNumberOfAttributes(rel);
	List	   *missing = NIL;
	EtlPending *pending = NULL;
	EtlRunAs	as;
	ListCell   *cell;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	foreach(cell, etl_columns_parse(stream->columns))
		if (IsA(lfirst(cell), ColumnDef) &&
			get_attnum(RelationGetRelid(rel), lfirst_node(ColumnDef, cell)->colname) == InvalidAttrNumber)
			missing = lappend(missing, lfirst(cell));
	if (missing != NIL)
	{
		pending = palloc0(sizeof(EtlPending));
		pending->name = pstrdup(stream->target);
		pending->desc = CreateTemplateTupleDesc(natts + list_length(missing));
		for (int i = 0; i < natts; i++)
			TupleDescCopyEntry(pending->desc, i + 1, RelationGetDescr(rel), i + 1);
	}
	foreach(cell, missing)
	{
		ColumnDef  *column = lfirst(cell);
		Oid			type;
		int32		typmod;

		typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
		TupleDescInitEntry(pending->desc, natts + 1 + foreach_current_index(cell), column->colname, type,
						   typmod, 0);
	}
	etl_run_as_end(&as);
	table_close(rel, NoLock);
	return pending;
}

typedef struct DescribeWork
{
	const EtlModel *model;
	List	   *inputs;
	TupleDesc	desc;
} DescribeWork;

/*
 * describe analyzes a model over what is to come; an argument of etl_subxact.
 */
static void
describe(void *arg)
{
	DescribeWork *work = arg;
	EtlRunAs	as;

	etl_run_as_begin(&as, work->model->owner, work->model->settings);
	work->desc = etl_query_desc(etl_pending_analyze(work->model->query, work->inputs));
	if (etl_model_is_snapshot(work->model))
		work->desc = etl_snapshot_desc(work->desc, etl_snapshot_marks(work->model));
	etl_run_as_end(&as);
}

/*
 * model_pending tells the columns that a model will have; NULL: those that
 * it has.
 */
static EtlPending *
model_pending(const EtlModel *model, List **known)
{
	EtlPending *pending = palloc0(sizeof(EtlPending));
	DescribeWork work = {model, inputs_of(model, known), NULL};

	if (etl_node_state_get(model->target)->built_version == model->version && work.inputs == NIL)
		return NULL;
	pending->name = pstrdup(model->target);
	if (etl_model_missing(model) == NULL && !etl_pending_untold(work.inputs) &&
		etl_subxact(describe, &work) == NULL)
		pending->desc = work.desc;
	return pending;
}

/* What is known of a node. */
typedef struct Known
{
	char	   *name;
	EtlPending *pending;		/* NULL: it has its columns */
} Known;

/*
 * look finds out what is to come of one node, once.
 */
static EtlPending *
look(const char *name, List **known)
{
	Known	   *one;
	EtlModel   *model;
	EtlStream  *stream;
	ListCell   *cell;

	foreach(cell, *known)
		if (strcmp(((Known *) lfirst(cell))->name, name) == 0)
			return ((Known *) lfirst(cell))->pending;
	one = palloc0(sizeof(Known));
	one->name = pstrdup(name);
	*known = lappend(*known, one);
	if (!OidIsValid(etl_name_relation(name)))
		return NULL;
	if ((model = etl_model_find(name)) != NULL)
		one->pending = model_pending(model, known);
	else if ((stream = etl_stream_find(name)) != NULL)
		one->pending = stream_pending(stream);
	return one->pending;
}

/*
 * inputs_of lists the inputs of a model that will have other columns.
 */
static List *
inputs_of(const EtlModel *model, List **known)
{
	List	   *inputs = NIL;
	ListCell   *cell;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	foreach(cell, etl_model_names(model))
	{
		EtlPending *pending = look(lfirst(cell), known);

		if (pending != NULL)
			inputs = lappend(inputs, pending);
	}
	return inputs;
}

List *
etl_pending_inputs(const EtlModel *model)
{
	List	   *known = NIL;

	return inputs_of(model, &known);
}

bool
etl_pending_untold(List *pending)
{
	ListCell   *cell;

	foreach(cell, pending)
		if (((EtlPending *) lfirst(cell))->desc == NULL)
			return true;
	return false;
}
