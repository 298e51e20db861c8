/*-------------------------------------------------------------------------
 *
 * unit_given.c
 *    Given rows in the place of what a model reads.
 *
 * For a query it is done in its tree, by the rewrite that also restricts
 * incremental models: each relation becomes a subquery that yields the rows.
 * For a model's table the relations become empty tables of the same columns
 * in a schema of their own, which the rows are then written to.
 *
 * All this ends with the subtransaction of the test.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "model/unit_test.h"

/* ---- rows as SQL ---- */

List *
etl_unit_columns(const Jsonb *rows, TupleDesc desc, const char *of)
{
	List	   *named = NIL;
	List	   *all = NIL;
	List	   *columns = NIL;
	const char *nearest;
	ListCell   *cell;
	ListCell   *key;

	foreach(cell, etl_json_elements(rows))
		foreach(key, etl_json_keys(lfirst(cell)))
			if (!etl_name_among(named, lfirst(key)))
				named = lappend(named, lfirst(key));
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		all = lappend(all, name);
		if (etl_name_among(named, name))
			columns = lappend(columns, pstrdup(name));
	}
	foreach(key, named)
	{
		if (etl_name_among(all, lfirst(key)))
			continue;
		nearest = etl_nearest(lfirst(key), all);
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("%s has no column \"%s\"", of, (char *) lfirst(key)),
						nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
	}
	return columns;
}

char *
etl_unit_rows_sql(const Jsonb *rows, TupleDesc desc, List *columns, const char *of)
{
	List	   *given = etl_unit_columns(rows, desc, of);
	StringInfoData targets;
	StringInfoData record;

	initStringInfo(&targets);
	initStringInfo(&record);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		char	   *name = NameStr(column->attname);

		if (columns != NIL && !etl_name_among(columns, name))
			continue;
		if (column->attisdropped)
			appendStringInfo(&targets, "%sNULL::pg_catalog.int4 AS etl_dropped_%d",
							 targets.len ? ", " : "", i);
		else if (!etl_name_among(given, name))
			appendStringInfo(&targets, "%sNULL::%s AS %s", targets.len ? ", " : "", etl_column_type(column),
							 quote_identifier(name));
		else
		{
			appendStringInfo(&targets, "%st.%s", targets.len ? ", " : "", quote_identifier(name));
			appendStringInfo(&record, "%s%s %s", record.len ? ", " : "", quote_identifier(name),
							 etl_column_type(column));
		}
	}
	return psprintf("SELECT %s FROM pg_catalog.%s(%s::pg_catalog.jsonb) AS t%s", targets.data,
					record.len ? "jsonb_to_recordset" : "jsonb_array_elements",
					quote_literal_cstr(etl_json_text(rows)), record.len ? psprintf("(%s)", record.data) : "");
}

/* ---- what a query reads ---- */

typedef struct Places
{
	const Jsonb *rows;			/* by name */
	List	   *entries;		/* RangeTblEntry *: to be replaced */
	bool		grouped;		/* it relies on a primary key */
} Places;

/*
 * is_system tells whether a relation is PostgreSQL's or etl's own.
 */
static bool
is_system(Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	return schema != NULL && (strcmp(schema, "pg_catalog") == 0 || strcmp(schema, "etl") == 0 ||
							  strcmp(schema, "information_schema") == 0);
}

/*
 * look_at_entry notes a relation, and opens a view that is not given.
 */
static void
look_at_entry(RangeTblEntry *rte, Places *places)
{
	char	   *name = rte->rtekind == RTE_RELATION && rte->inFromCl ? etl_name_of_relation(rte->relid) : NULL;

	if (name == NULL || is_system(rte->relid))
		return;
	if (rte->relkind == RELKIND_VIEW && !etl_json_has(places->rows, name))
		etl_entry_open_view(rte);
	else
		places->entries = lappend(places->entries, rte);
	if (rte->alias == NULL)
		rte->alias = makeAlias(rte->eref->aliasname, NIL);
}

/*
 * find_places collects the entries below a node that read relations.
 */
static bool
find_places(Node *node, Places *places)
{
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		foreach(cell, query->rtable)
			look_at_entry(lfirst_node(RangeTblEntry, cell), places);
		query->rowMarks = NIL;
		places->grouped |= query->constraintDeps != NIL;
		return query_tree_walker(query, find_places, places, 0);
	}
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the query reads system columns, which given rows do not have")));
	/* whatever the clock shows is what now() shows */
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_CLOCK_TIMESTAMP)
		((FuncExpr *) node)->funcid = F_NOW;
	return expression_tree_walker(node, find_places, places);
}

Jsonb *
etl_unit_rows_of(const Jsonb *rows, const char *name)
{
	Jsonb	   *list = etl_json_get(rows, name);

	return list ? list : etl_json_parse("[]");
}

/*
 * entry_sql is the subquery that yields the rows of an entry.
 */
static char *
entry_sql(RangeTblEntry *rte, const Jsonb *rows)
{
	char	   *name = etl_name_of_relation(rte->relid);
	Relation	rel = table_open(rte->relid, AccessShareLock);
	char	   *sql = etl_unit_rows_sql(etl_unit_rows_of(rows, name), RelationGetDescr(rel), NIL, name);

	table_close(rel, NoLock);
	return sql;
}

Query *
etl_unit_give(Query *query, const Jsonb *rows)
{
	Places		places = {.rows = rows};
	List	   *subqueries = NIL;
	ListCell   *cell;
	ListCell   *subquery;

	query = etl_query_open_functions(query);
	(void) find_places((Node *) query, &places);
	foreach(cell, places.entries)
		subqueries = lappend(subqueries, etl_query_analyze(entry_sql(lfirst(cell), rows), NULL));
	forboth(cell, places.entries, subquery, subqueries)
	{
		RangeTblEntry *rte = lfirst(cell);

		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = lfirst(subquery);
		rte->relid = InvalidOid;
		rte->relkind = 0;
		rte->rellockmode = 0;
		rte->inh = false;
		rte->tablesample = NULL;
		etl_entry_forget_rights(rte);
	}
	return query;
}

/* ---- tables in their place ---- */

/*
 * table_like makes an empty table whose columns have the numbers that they
 * have in a relation, with its primary key when 'keyed'.
 */
static Oid
table_like(const char *name, Oid relid, bool keyed)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Oid			index = keyed && rel->rd_rel->relkind == RELKIND_RELATION ? etl_primary_key_index(rel) : InvalidOid;
	StringInfoData sql;
	StringInfoData drops;

	initStringInfo(&sql);
	initStringInfo(&drops);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		appendStringInfo(&sql, "%s%s %s", i ? ", " : "",
						 column->attisdropped ? psprintf("etl_dropped_%d", i) :
												quote_identifier(NameStr(column->attname)),
						 column->attisdropped ? "pg_catalog.int4" : etl_column_type(column));
		if (column->attisdropped)
			appendStringInfo(&drops, "%sDROP COLUMN etl_dropped_%d", drops.len ? ", " : "", i);
	}
	if (OidIsValid(index))
		appendStringInfo(&sql, ", PRIMARY KEY (%s)", pg_get_indexdef_columns(index, false));
	table_close(rel, NoLock);
	etl_execute_utility(psprintf("CREATE TABLE %s (%s)", name, sql.data));
	if (drops.len > 0)
		etl_execute_utility(psprintf("ALTER TABLE %s %s", name, drops.data));
	CommandCounterIncrement();
	return etl_name_relation(name);
}

/*
 * scratch_name returns a free name in the schema like that of a relation.
 */
static char *
scratch_name(const EtlUnitScratch *scratch, const char *relation)
{
	char	   *name = quote_qualified_identifier(scratch->schema, relation);

	for (int i = 2; OidIsValid(etl_name_relation(name)) ||
					(scratch->copy != NULL && strcmp(name, scratch->copy->target) == 0);
		 i++)
		name = quote_qualified_identifier(scratch->schema, psprintf("%.50s_%d", relation, i));
	return name;
}

/*
 * make_node defines a scratch table as a stored model, so that changes of
 * its rows are followed.
 */
static void
make_node(const EtlModel *model, char *name)
{
	EtlModel   *node = palloc0(sizeof(EtlModel));

	node->target = name;
	node->query = "SELECT";
	node->materialized = "table";
	node->options = etl_json_parse("{}");
	node->settings = model->settings;
	node->owner = model->owner;
	(void) etl_model_store(node);
	etl_model_set_resolved(name, true);
}

/*
 * substitute returns what stands for the relation of an entry.
 */
static Oid
substitute(EtlUnitScratch *scratch, RangeTblEntry *rte, bool keyed)
{
	EtlUnitTable *table;
	ListCell   *cell;
	EtlRunAs	as;
	char	   *name;

	foreach(cell, scratch->relations)
		if (((EtlUnitTable *) lfirst(cell))->real == rte->relid)
			return ((EtlUnitTable *) lfirst(cell))->relid;
	name = scratch_name(scratch, get_rel_name(rte->relid));
	table = palloc0(sizeof(EtlUnitTable));
	table->real = rte->relid;
	table->name = etl_name_of_relation(rte->relid);
	etl_run_as_begin(&as, scratch->model->owner, NULL);
	table->relid = table_like(name, rte->relid, keyed);
	etl_run_as_end(&as);
	make_node(scratch->model, name);
	scratch->relations = lappend(scratch->relations, table);
	return table->relid;
}

/*
 * own_constraints leaves out those that reference a table: it would be read.
 */
static Jsonb *
own_constraints(const Jsonb *options)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, etl_json_get_list(options, "constraints"))
		if (pg_strncasecmp((char *) lfirst(cell) + strspn(lfirst(cell), " \t\r\n"), "foreign", 7) != 0)
			appendStringInfo(&list, "%s%s", list.len ? ", " : "[", etl_json_quote(lfirst(cell)));
	foreach(cell, etl_json_keys(options))
		if (strcmp(lfirst(cell), "constraints") != 0)
			etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
	if (list.len > 0)
		etl_json_add(builder, "constraints", etl_json_parse(psprintf("%s]", list.data)));
	return etl_json_object_end(builder);
}

/*
 * copy_model makes the model that reads the tables.  What concerns its runs
 * only, and its hooks, stay out.
 */
static EtlModel *
copy_model(const EtlUnitScratch *scratch)
{
	static const char *const without[] = {"pre_hook", "post_hook", "keep_versions", "adopt",
										  "depends_on", "contract", "deprecated_on", "replaced_by",
										  "run_if", "pool", "publish", "fallback",
										  "grants", "comments"};
	EtlModel   *copy = palloc(sizeof(EtlModel));

	*copy = *scratch->model;
	copy->target = quote_qualified_identifier(scratch->schema, etl_name_parse(copy->target)->relation);
	for (int i = 0; i < lengthof(without); i++)
		copy->options = etl_json_without(copy->options, without[i]);
	copy->options = own_constraints(copy->options);
	copy->resolved = false;
	copy->request = NULL;
	copy->description = NULL;
	return copy;
}

EtlUnitScratch *
etl_unit_scratch(const EtlModel *model, const Jsonb *first)
{
	EtlUnitScratch *scratch = palloc0(sizeof(EtlUnitScratch));
	Places		places = {.rows = first};
	Query	   *query;
	EtlRunAs	as;
	ListCell   *cell;

	scratch->schema = psprintf("etl_unit_%d", MyProcPid);
	scratch->model = model;
	scratch->copy = copy_model(scratch);
	etl_scratch_schema(scratch->schema, model->owner);
	etl_run_as_begin(&as, model->owner, model->settings);
	query = etl_query_open_functions(etl_query_analyze(model->query, NULL));
	etl_run_as_end(&as);
	(void) find_places((Node *) query, &places);
	foreach(cell, places.entries)
	{
		RangeTblEntry *rte = lfirst(cell);

		rte->relid = substitute(scratch, rte, places.grouped);
		rte->relkind = RELKIND_RELATION;
		rte->tablesample = NULL;
	}
	scratch->copy->query = etl_query_deparse(query);
	(void) etl_model_store(scratch->copy);
	scratch->copy = etl_model_get(scratch->copy->target);
	return scratch;
}

/*
 * put_table makes one table hold the given rows, and changes no other row.
 */
static void
put_table(const EtlUnitTable *table, const Jsonb *rows)
{
	Relation	rel = table_open(table->relid, AccessShareLock);
	char	   *given = etl_unit_rows_sql(rows, RelationGetDescr(rel), NIL, table->name);
	char	   *name = etl_quoted_relation(table->relid);
	StringInfoData columns;
	char	   *numbered = "SELECT %s, x AS etl_text, pg_catalog.row_number() OVER (PARTITION BY x) AS etl_n"
					 " FROM (SELECT %s, ROW(t.*)::pg_catalog.text AS x FROM %s t) t";
	char	   *old;
	char	   *new;

	initStringInfo(&columns);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
		if (!TupleDescAttr(RelationGetDescr(rel), i)->attisdropped)
			appendStringInfo(&columns, "%st.%s", columns.len ? ", " : "",
							 quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname)));
	table_close(rel, NoLock);
	if (columns.len == 0)
		return;
	given = psprintf("(SELECT %s FROM (%s) t)", columns.data, given);
	old = psprintf(numbered, "t.ctid AS etl_ctid", "t.ctid", name);
	new = psprintf(numbered, columns.data, columns.data, given);
	etl_execute_utility(
		psprintf("DELETE FROM %s WHERE ctid IN (SELECT o.etl_ctid FROM (%s) o LEFT JOIN (%s) n"
				 " USING (etl_text, etl_n) WHERE n.etl_n IS NULL)", name, old, new));
	etl_execute_utility(
		psprintf("INSERT INTO %s SELECT %s FROM (%s) t LEFT JOIN (%s) o USING (etl_text, etl_n)"
				 " WHERE o.etl_n IS NULL", name, columns.data, new, old));
}

void
etl_unit_put(EtlUnitScratch *scratch, const Jsonb *rows)
{
	EtlRunAs	as;
	ListCell   *cell;

	etl_run_as_begin(&as, scratch->model->owner, scratch->model->settings);
	foreach(cell, scratch->relations)
	{
		EtlUnitTable *table = lfirst(cell);
		Jsonb	   *given = etl_json_get(rows, table->name);

		if (given != NULL)
			put_table(table, given);
	}
	etl_run_as_end(&as);
	CommandCounterIncrement();
}
