/*-------------------------------------------------------------------------
 *
 * rewrite.c
 *    Restricting a query to a delta, in its tree.
 *
 * Every place that reads a changed stream becomes a subquery over the same
 * relation: the rows of the pending loads (append), or those with an
 * affected key.  The tree itself is executed; its deparse is for reading.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
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
#include "model/internal.h"

/*
 * deparse_key renders a key expression over relation alias t.
 */
static char *
deparse_key(Node *key, Oid relid)
{
	int			level = NewGUCNestLevel();
	char	   *sql;

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	sql = deparse_expression(key, deparse_context_for("t", relid), true, false);
	AtEOXact_GUC(false, level);
	return psprintf("(%s)", sql);
}

/*
 * pending_condition selects the rows of the pending loads of a leaf: by
 * load id, and by blocks when all of them tell where their rows lie.
 */
static char *
pending_condition(const EtlDeltaLeaf *leaf, Oid relid)
{
	StringInfoData ids;
	Relation	rel = table_open(relid, AccessShareLock);
	int64		node = (int64) EtlRelFileNumber(rel);
	int64		first = PG_INT64_MAX;
	int64		last = -1;
	bool		located = true;
	ListCell   *cell;

	table_close(rel, NoLock);
	initStringInfo(&ids);
	foreach(cell, leaf->input->consumption->pending)
	{
		EtlLoad    *load = lfirst(cell);

		appendStringInfo(&ids, "%s" INT64_FORMAT, ids.len ? "," : "", load->load_id);
		located &= load->relfilenode == node && load->last_block >= load->first_block;
		first = Min(first, load->first_block);
		last = Max(last, load->last_block);
	}
	return psprintf(
		"t._etl_load_id OPERATOR(pg_catalog.=) ANY ('{%s}'::pg_catalog.int8[])%s", ids.data,
		!located ?
			"" :
			psprintf(" AND t.ctid OPERATOR(pg_catalog.>=) '(" INT64_FORMAT ",0)'::pg_catalog.tid"
					 " AND t.ctid OPERATOR(pg_catalog.<) '(" INT64_FORMAT ",0)'::pg_catalog.tid",
					 first, last + 1));
}

/*
 * etl_delta_keys_sql renders the query of the affected keys.
 */
char *
etl_delta_keys_sql(const EtlDelta *delta)
{
	StringInfoData sql;
	ListCell   *cell;
	ListCell   *key;

	initStringInfo(&sql);
	foreach(cell, delta->leaves)
	{
		EtlDeltaLeaf *leaf = lfirst(cell);
		int			n = 0;

		appendStringInfoString(&sql, sql.len ? " UNION SELECT " : "SELECT DISTINCT ");
		foreach(key, leaf->keys)
		{
			n++;
			appendStringInfo(&sql, "%s%s AS k%d", n > 1 ? ", " : "",
							 deparse_key(lfirst(key), leaf->rte->relid), n);
		}
		appendStringInfo(&sql, " FROM %s t WHERE %s", etl_quoted_relation(leaf->rte->relid),
						 pending_condition(leaf, leaf->rte->relid));
	}
	return sql.data;
}

/*
 * etl_delta_keys_desc describes the rows of the affected keys.
 */
TupleDesc
etl_delta_keys_desc(const EtlDelta *delta)
{
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(delta->keys));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		n++;
		TupleDescInitEntry(desc, n, psprintf("k%d", n), key->type, -1, 0);
		TupleDescInitEntryCollation(desc, n, key->collation);
	}
	return desc;
}

/*
 * affected renders that the given values are an affected key, with
 * equality of the types; NULLs are taken care of apart.
 */
static char *
affected(const EtlDelta *delta, List *values)
{
	StringInfoData sql;
	int			n = 0;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "EXISTS (SELECT FROM etl_affected a WHERE ");
	foreach(cell, delta->keys)
	{
		EtlDeltaKey *key = lfirst(cell);

		n++;
		appendStringInfo(&sql, "%s%s", n > 1 ? " AND " : "",
						 etl_sql_equals(key->type, psprintf("a.k%d", n), list_nth(values, n - 1)));
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/*
 * any_null renders that one of the values is NULL.
 */
static char *
any_null(List *values)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, values)
		appendStringInfo(&sql, "%s%s IS NULL", sql.len ? " OR " : "", (char *) lfirst(cell));
	return sql.data;
}

char *
etl_delta_scope(const EtlDelta *delta, const char *alias, bool null_keys)
{
	List	   *values = NIL;
	ListCell   *cell;

	foreach(cell, delta->keys)
		values = lappend(values, psprintf("%s.%s", alias,
										  quote_identifier(((EtlDeltaKey *) lfirst(cell))->column)));
	return null_keys ? psprintf("(%s OR %s)", affected(delta, values), any_null(values)) :
					   affected(delta, values);
}

/*
 * leaf_columns renders the columns of a relation so that each keeps its
 * number; dropped ones are NULLs.
 */
static char *
leaf_columns(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(&sql, "%s%s%s", i ? ", " : "",
						 TupleDescAttr(desc, i)->attisdropped ? "NULL::pg_catalog.int4" : "t.",
						 TupleDescAttr(desc, i)->attisdropped ?
							 psprintf(" AS etl_dropped_%d", i) :
							 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	table_close(rel, NoLock);
	return sql.data;
}

/*
 * leaf_sql renders the subquery that takes a leaf's place.
 */
static char *
leaf_sql(const EtlDelta *delta, const EtlDeltaLeaf *leaf, bool null_keys)
{
	Oid			relid = leaf->rte->relid;
	char	   *select = psprintf("SELECT %s FROM %s t WHERE ", leaf_columns(relid),
							etl_quoted_relation(relid));
	List	   *values = NIL;
	ListCell   *cell;

	if (delta->append)
		return psprintf("%s%s", select, pending_condition(leaf, relid));
	foreach(cell, leaf->keys)
		values = lappend(values, deparse_key(lfirst(cell), relid));
	/* two disjoint scans can be hashed where one with an OR could not */
	return psprintf("%s%s%s", select, affected(delta, values),
					null_keys ? psprintf(" UNION ALL %s(%s)", select, any_null(values)) : "");
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

/*
 * wrap puts a query whose parts do not all read a leaf under a filter on
 * the affected keys.
 */
static Query *
wrap(const EtlDelta *delta, Query *query, bool null_keys, QueryEnvironment *environment)
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
	outer = etl_query_analyze(psprintf("SELECT * FROM (SELECT %s) c WHERE %s", sql.data,
									   etl_delta_scope(delta, "c", null_keys)),
							  environment);
	rt_fetch(1, outer->rtable)->subquery = query;
	return outer;
}

Query *
etl_delta_rewrite(EtlDelta *delta, bool null_keys, QueryEnvironment *environment)
{
	ListCell   *cell;
	List	   *subqueries = NIL;

	if (delta->append)
		silence_branches(delta->query, delta->leaves);
	/* all are made before one is put in place, so that none sees another */
	foreach(cell, delta->leaves)
		subqueries = lappend(subqueries,
							 etl_query_analyze(leaf_sql(delta, lfirst(cell), null_keys), environment));
	for (int i = 0; i < list_length(subqueries); i++)
		replace_leaf(list_nth(delta->leaves, i), list_nth(subqueries, i));
	if (!delta->append && delta->set_operation)
		delta->query = wrap(delta, delta->query, null_keys, environment);
	return delta->query;
}
