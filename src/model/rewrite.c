/*-------------------------------------------------------------------------
 *
 * rewrite.c
 *    Restricting a query to a delta, in its tree.
 *
 * Every place that reads a changed input becomes a subquery over the same
 * relation: the rows of the pending loads (append), or those with an
 * affected key.  The tree itself is executed; its deparse is for reading.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "common/compat.h"
#include "common/names.h"
#include "model/internal.h"

/*
 * leaf_columns renders the columns of a relation so that each keeps its
 * number; dropped ones, and those that are not 'used' (NULL: all are), are
 * NULLs.
 */
static char *
leaf_columns(Oid relid, Bitmapset *used)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *name = quote_identifier(NameStr(column->attname));

		if (i > 0)
			appendStringInfoString(&sql, ", ");
		if (column->attisdropped)
			appendStringInfo(&sql, "NULL::pg_catalog.int4 AS etl_dropped_%d", i);
		else if (used != NULL && !bms_is_member(i + 1, used))
			appendStringInfo(&sql, "NULL::pg_catalog.int4 AS %s", name);
		else
			appendStringInfo(&sql, "t.%s", name);
	}
	table_close(rel, NoLock);
	return sql.data;
}

/*
 * once renders that of rows t that are alike in the columns used one is
 * enough.
 */
static char *
once(Oid relid, Bitmapset *used)
{
	StringInfoData sql;
	int			column = -1;

	initStringInfo(&sql);
	while ((column = bms_next_member(used, column)) >= 0)
		appendStringInfo(&sql, "%st.%s", sql.len ? ", " : " GROUP BY ",
						 quote_identifier(get_attname(relid, column, false)));
	return sql.data;
}

/*
 * record_text renders a row of a leaf as JSON behind a sign: + as it is since,
 * - as it was before.
 */
static char *
record_text(Oid relid, const char *sign)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&columns, "%st.%s", columns.len ? ", " : "",
							 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	table_close(rel, NoLock);
	return psprintf(", pg_catalog.concat(%s, (SELECT pg_catalog.row_to_json(r.*) FROM (SELECT %s) r))"
					" AS etl_record", sign, columns.data);
}

/*
 * from_leaf renders the beginning of a query over a leaf's relation; 'told':
 * with the text of each row.
 */
static char *
from_leaf(const EtlDeltaLeaf *leaf, Bitmapset *used, bool told)
{
	return psprintf("SELECT %s%s FROM %s%s t", leaf_columns(leaf->rte->relid, used),
					told ? record_text(leaf->rte->relid, "'+'") : "",
					leaf->rte->inh ? "" : "ONLY ", etl_quoted_relation(leaf->rte->relid));
}

char *
etl_delta_key_values(const EtlDeltaLeaf *place, const EtlDeltaLeaf *leaf)
{
	Oid			relid = leaf->rte->relid;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, place->keys)
		appendStringInfo(&sql, "%s%s", sql.len ? ", " : "", etl_expression_deparse(lfirst(cell), relid, "t"));
	appendStringInfo(&sql, " FROM %s%s t WHERE %s", leaf->rte->inh ? "" : "ONLY ",
					 etl_quoted_relation(relid), etl_pending_condition(leaf, relid));
	/* a key may only be computable from the rows that the query reads */
	foreach(cell, place->conditions)
		appendStringInfo(&sql, " AND %s", etl_expression_deparse(lfirst(cell), relid, "t"));
	return psprintf("SELECT DISTINCT %s", sql.data);
}

/*
 * changes_name names the rows that are recorded as changed of an input.
 */
static char *
changes_name(const EtlDelta *delta, const EtlInput *input)
{
	int			n = 1;
	ListCell   *cell;

	foreach(cell, delta->inputs)
	{
		if (lfirst(cell) == input)
			break;
		n++;
	}
	return psprintf("etl_changed_%d", n);
}

/*
 * has_records tells whether changes of an input are recorded row by row.
 */
static bool
has_records(const EtlInput *input)
{
	return input->consumption->sets != NIL;
}

/*
 * unlike renders that rows t, alike in the columns they are grouped by, came
 * and went in different numbers.
 */
static const char *
unlike(void)
{
	return " HAVING pg_catalog.count(*) FILTER (WHERE t.etl_gone) OPERATOR(pg_catalog.<>)"
		   " pg_catalog.count(*) FILTER (WHERE NOT t.etl_gone)";
}

/*
 * changed_sql renders the rows of a leaf that changed, as before and as since:
 * those of new loads, and those recorded.  What a merge loads is recorded.
 * Not NULL, 'used' tells the columns that matter, and that alike rows count
 * once; 'by_match', and not at all when as many went as came.  'told': with the
 * text of each.
 */
static char *
changed_sql(const EtlDelta *delta, const EtlDeltaLeaf *leaf, Bitmapset *used, bool by_match, bool told)
{
	const EtlInput *input = leaf->input;
	Oid			relid = leaf->rte->relid;
	char	   *records = psprintf(
		"SELECT %s%s FROM %s t%s", leaf_columns(relid, used),
		told ? record_text(relid, "CASE WHEN t.etl_gone THEN '-' ELSE '+' END") : "",
		changes_name(delta, input), once(relid, used));
	/* of rows that are only appended, those that came and went do not count */
	bool		recorded = has_records(input) && !delta->append;
	char	   *loads;

	if (input->kind != 's' || strcmp(input->stream->mode, "merge") == 0 || input->consumption->pending == NIL)
	{
		if (!recorded)
			return psprintf("%s WHERE false", from_leaf(leaf, NULL, told));
		return by_match && !bms_is_empty(used) ? psprintf("%s%s", records, unlike()) : records;
	}
	loads = psprintf("%s WHERE %s%s", from_leaf(leaf, used, told), etl_pending_condition(leaf, relid),
					 once(relid, used));
	return recorded ? psprintf("%s UNION ALL %s", loads, records) : loads;
}

/*
 * whole_sql renders all rows of a leaf that there were or are; NULL when that
 * is what there is.
 */
static char *
whole_sql(const EtlDelta *delta, const EtlDeltaLeaf *leaf)
{
	if (!has_records(leaf->input))
		return NULL;
	return psprintf("%s UNION ALL SELECT %s FROM %s t WHERE t.etl_gone", from_leaf(leaf, NULL, false),
					leaf_columns(leaf->rte->relid, NULL), changes_name(delta, leaf->input));
}

/*
 * keep_rights makes a subquery's relations be read with the rights the
 * replaced entry had: those of the owner of a view, when it came from one.
 */
static bool
keep_rights(Node *node, Oid *as_user)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		etl_query_read_as((Query *) node, *as_user);
		return query_tree_walker((Query *) node, keep_rights, as_user, 0);
	}
	return expression_tree_walker(node, keep_rights, as_user);
}

/*
 * replace_leaf puts a subquery in the place of a relation.
 */
static void
replace_leaf(EtlDeltaLeaf *leaf, Query *subquery)
{
	RangeTblEntry *rte = leaf->rte;

	keep_rights((Node *) subquery, &leaf->as_user);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = subquery;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	etl_entry_forget_rights(rte);
	if (rte->alias == NULL)
		rte->alias = makeAlias(rte->eref->aliasname, NIL);
}

/*
 * reads_leaf tells whether a node reads one of the leaves.
 */
static bool
reads_leaf(Node *node, List *leaves)
{
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_leaf, leaves, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		foreach(cell, leaves)
			if (((EtlDeltaLeaf *) lfirst(cell))->rte == (RangeTblEntry *) node)
				return true;
		return false;
	}
	return expression_tree_walker(node, reads_leaf, leaves);
}

/*
 * silence_branches lets the branches of a UNION ALL that read nothing new
 * yield nothing, below every query that reads a leaf.
 */
static void
silence_branches(Query *query, List *leaves)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind != RTE_SUBQUERY)
			continue;
		if (reads_leaf((Node *) rte->subquery, leaves))
			silence_branches(rte->subquery, leaves);
		else if (query->setOperations)
			rte->subquery->limitCount = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
														   Int64GetDatum(0), false, FLOAT8PASSBYVAL);
	}
}

Query *
etl_query_around(Query *query, const char *targets, const char *condition, QueryEnvironment *environment)
{
	TupleDesc	desc = etl_query_desc(query);
	StringInfoData sql;
	Query	   *outer;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		appendStringInfo(&sql, "%sNULL::%s%s AS %s", i ? ", " : "",
						 format_type_extended(column->atttypid, column->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
						 OidIsValid(column->attcollation) ?
							 psprintf(" COLLATE %s", generate_collation_name(column->attcollation)) :
							 "",
						 quote_identifier(NameStr(column->attname)));
	}
	outer = etl_query_analyze(psprintf("SELECT %s FROM (SELECT %s) c WHERE %s", targets, sql.data, condition),
							  environment);
	rt_fetch(1, outer->rtable)->subquery = query;
	return outer;
}

/*
 * replace_leaves puts each text that is there in the place of its leaf.  All
 * are analyzed before one is put in place, so that none sees another.
 */
static void
replace_leaves(List *leaves, List *texts, QueryEnvironment *environment)
{
	List	   *subqueries = NIL;
	ListCell   *cell;
	ListCell   *subquery;

	foreach(cell, texts)
		subqueries = lappend(subqueries,
							 lfirst(cell) ? etl_query_analyze_qualified(lfirst(cell), environment) : NULL);
	forboth(cell, leaves, subquery, subqueries)
		if (lfirst(subquery) != NULL)
			replace_leaf(lfirst(cell), lfirst(subquery));
}

List *
etl_delta_changes(const EtlDelta *delta, QueryEnvironment *environment, bool with_rows)
{
	List	   *stores = NIL;
	ListCell   *cell;

	foreach(cell, delta->inputs)
	{
		EtlInput   *input = lfirst(cell);
		Oid			relid = etl_name_relation(input->name);
		TupleDesc	desc;
		Tuplestorestate *rows = NULL;

		if (!has_records(input))
			continue;
		desc = etl_record_desc(relid);
		if (with_rows)
		{
			rows = etl_record_read(relid, input->consumption->sets, desc);
			stores = lappend(stores, rows);
		}
		etl_environment_add(environment, changes_name(delta, input), desc, rows,
							rows ? tuplestore_tuple_count(rows) : 1000);
	}
	return stores;
}

/*
 * fill_finder puts the rows of before and since into a query of affected keys.
 */
static void
fill_finder(const EtlDelta *delta, EtlDeltaFinder *finder, bool told, QueryEnvironment *environment)
{
	/* of what a changed row touches, it is enough to know it once */
	Bitmapset  *used = told ? NULL : etl_leaf_used(finder->query, finder->leaf);
	List	   *texts = NIL;
	ListCell   *leaf;

	foreach(leaf, finder->leaves)
		texts = lappend(texts, lfirst(leaf) == finder->leaf ?
								   changed_sql(delta, lfirst(leaf), used, finder->by_match, told) :
								   whole_sql(delta, lfirst(leaf)));
	replace_leaves(finder->leaves, texts, environment);
}

List *
etl_delta_finders(const EtlDelta *delta, QueryEnvironment *environment)
{
	List	   *queries = NIL;
	ListCell   *cell;

	foreach(cell, delta->finders)
	{
		fill_finder(delta, lfirst(cell), false, environment);
		queries = lappend(queries, ((EtlDeltaFinder *) lfirst(cell))->query);
	}
	return queries;
}

/*
 * lift_record adds the text of a leaf's row to the columns of a query and
 * returns its number; 0 when its rows are not joined, but only tested.
 */
static int
lift_record(Query *query, RangeTblEntry *leaf)
{
	for (int i = 1; i <= list_length(query->rtable) && query->setOperations == NULL; i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		int			column = 0;
		int			resno = list_length(query->targetList) + 1;

		if (rte->rtekind != RTE_SUBQUERY || !rte->inFromCl)
			continue;
		if (rte == leaf)
			column = list_length(rte->subquery->targetList);
		else
			column = lift_record(rte->subquery, leaf);
		if (column == 0)
			continue;
		/* each of its rows is told, not each key once */
		query->distinctClause = NIL;
		rte->eref->colnames = lappend(rte->eref->colnames, makeString("etl_record"));
		query->targetList =
			lappend(query->targetList,
					makeTargetEntry((Expr *) makeVar(i, column, TEXTOID, -1, DEFAULT_COLLATION_OID, 0),
									resno, "etl_record", false));
		return resno;
	}
	return 0;
}

List *
etl_delta_tellers(const EtlDelta *delta, QueryEnvironment *environment)
{
	List	   *queries = NIL;
	ListCell   *cell;

	foreach(cell, etl_delta_fresh_finders(delta))
	{
		EtlDeltaFinder *finder = lfirst(cell);
		Query	   *query = finder->query;

		fill_finder(delta, finder, true, environment);
		if (lift_record(query, finder->leaf->rte) == 0)
			query->targetList =
				lappend(query->targetList,
						makeTargetEntry((Expr *) makeNullConst(TEXTOID, -1, DEFAULT_COLLATION_OID),
										list_length(query->targetList) + 1, "etl_record", false));
		queries = lappend(queries, query);
	}
	return queries;
}

/*
 * restricted_places lists the places to restrict, each once.
 */
static List *
restricted_places(const EtlDelta *delta)
{
	List	   *places = list_copy(delta->places);
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, delta->reached)
	{
		bool		found = false;

		foreach(other, places)
			found |= ((EtlDeltaLeaf *) lfirst(other))->rte == ((EtlDeltaLeaf *) lfirst(cell))->rte;
		if (!found)
			places = lappend(places, lfirst(cell));
	}
	return places;
}

Query *
etl_delta_rewrite(EtlDelta *delta, bool null_keys, QueryEnvironment *environment)
{
	List	   *leaves;
	List	   *texts = NIL;
	ListCell   *cell;

	if (delta->append)
		silence_branches(delta->query, delta->leaves);
	else if (!null_keys && delta->slicing == NULL)
		etl_delta_need_keys(delta);
	leaves = delta->append ? delta->leaves : restricted_places(delta);
	foreach(cell, leaves)
	{
		EtlDeltaLeaf *leaf = lfirst(cell);

		texts =
			lappend(texts, delta->append ?
							   changed_sql(delta, leaf, NULL, false, false) :
							   etl_place_sql(delta, leaf, from_leaf(leaf, NULL, false), null_keys));
	}
	replace_leaves(leaves, texts, environment);
	if (!delta->append && delta->wrapped)
		delta->query = etl_query_around(delta->query, "*", etl_delta_scope(delta, "c", null_keys),
										environment);
	return delta->query;
}
