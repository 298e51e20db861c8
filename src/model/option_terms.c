/*-------------------------------------------------------------------------
 *
 * option_terms.c
 *    Constraints and indexes of a definition, judged by the columns that its
 *    query yields: a slip is told at definition, and not by the first build.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/parse.h"
#include "load/landing.h"
#include "model/internal.h"

/* What the terms of an option are judged by. */
typedef struct Judgement
{
	const EtlModel *model;
	Query	   *query;
	List	   *columns;		/* char *, of the query */
	const char *option;			/* of indexes */
} Judgement;

/*
 * judge_expression raises what PostgreSQL says of an expression over the rows
 * of the query.
 */
static void
judge_expression(const Judgement *by, Node *expression, ParseExprKind kind)
{
	ParseState *state = make_parsestate(NULL);
	Alias	   *alias = makeAlias(etl_name_parse(by->model->target)->relation, NIL);
	Node	   *transformed;

	addNSItemToQuery(state, addRangeTableEntryForSubquery(state, copyObject(by->query), alias, false, true),
					 false, true, true);
	transformed = transformExpr(state, copyObject(expression), kind);
	if (kind == EXPR_KIND_CHECK_CONSTRAINT)
		transformed = coerce_to_boolean(state, transformed, "CHECK");
	assign_expr_collations(state, transformed);
	free_parsestate(state);
}

/*
 * judge_column raises 42703 for a column that the query does not have.
 */
static void
judge_column(const Judgement *by, const char *name)
{
	const char *nearest = etl_nearest(name, by->columns);

	if (!etl_name_among(by->columns, name))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" does not exist", name),
						nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
}

/*
 * judge_element judges a column or an expression that an index is made of.
 */
static void
judge_element(const Judgement *by, const IndexElem *element)
{
	if (element->expr != NULL)
		judge_expression(by, element->expr, EXPR_KIND_INDEX_EXPRESSION);
	else
		judge_column(by, element->name);
}

/*
 * judge_constraints judges option "constraints"; an argument of
 * etl_option_judge.
 */
static void
judge_constraints(void *judgement)
{
	const Judgement *by = judgement;
	ListCell   *cell;
	ListCell   *name;

	foreach(cell, etl_json_get_list(by->model->options, "constraints"))
	{
		Constraint *constraint = etl_constraint_parse(lfirst(cell));

		if (constraint->raw_expr != NULL)
			judge_expression(by, constraint->raw_expr, EXPR_KIND_CHECK_CONSTRAINT);
		foreach(name, constraint->keys)
			judge_column(by, strVal(lfirst(name)));
		foreach(name, constraint->fk_attrs)
			judge_column(by, strVal(lfirst(name)));
		foreach(name, constraint->exclusions)
			judge_element(by, linitial_node(IndexElem, lfirst(name)));
	}
}

/*
 * judge_indexes judges the expressions of an option of indexes; an argument of
 * etl_option_judge.
 */
static void
judge_indexes(void *judgement)
{
	const Judgement *by = judgement;
	ListCell   *cell;
	ListCell   *element;

	foreach(cell, etl_model_indexes(by->model, by->option))
	{
		const char *text = ((EtlModelIndex *) lfirst(cell))->text;

		if (text == NULL)
			continue;
		foreach(element, etl_index_parse(text)->indexParams)
			judge_element(by, lfirst_node(IndexElem, element));
	}
}

/*
 * has_more tells whether the relation of a model has columns that its query
 * does not yield: of a snapshot, or of a table that was adopted.
 */
static bool
has_more(const Judgement *by)
{
	Oid			relid = etl_name_relation(by->model->target);
	ListCell   *cell;

	if (etl_model_is_snapshot(by->model))
		return true;
	if (OidIsValid(relid))
		foreach(cell, etl_relation_columns(relid))
			if (!etl_name_among(by->columns, lfirst(cell)))
				return true;
	return false;
}

void
etl_option_terms_check(const EtlModel *model, Query *query, List *columns)
{
	static const char *const options[] = {"indexes", "unique"};
	Judgement	by = {model, query, columns};

	if (has_more(&by))
		return;
	etl_option_judge("constraints", "model", judge_constraints, &by);
	for (int i = 0; i < lengthof(options); i++)
	{
		by.option = options[i];
		etl_option_judge(options[i], "model", judge_indexes, &by);
	}
}
