/*-------------------------------------------------------------------------
 *
 * relation.c
 *    The landing relation of a stream: making, adopting and changing it.
 *
 * Everything here is DDL that runs as the owner of the stream.  A relation
 * that etl neither made nor was told to adopt is never touched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/comment.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "load/landing.h"
#include "load/load.h"

static int	depth_at_work = 0;	/* of statements of this file */

uint64
etl_relation_sql(const char *sql)
{
	uint64		rows;
	int			code;
	int			depth = depth_at_work;

	SPI_connect();
	PG_TRY();
	{
		depth_at_work++;
		code = SPI_execute(sql, false, 0);
	}
	PG_FINALLY();
	{
		depth_at_work = depth;
	}
	PG_END_TRY();
	if (code < 0)
		elog(ERROR, "%s while running: %s", SPI_result_code_string(code), sql);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

bool
etl_relation_at_work(void)
{
	return depth_at_work > 0;
}

/*
 * check_column_def raises unless a declared column can be part of a landing
 * relation.
 */
static void
check_column_def(const ColumnDef *column)
{
	if (strcmp(column->colname, ETL_LOAD_ID_COLUMN) == 0 ||
		strcmp(column->colname, ETL_ROW_COLUMN) == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("column \"%s\" cannot be declared", column->colname),
				 errdetail("Every landing relation has it already.")));
	if (column->typeName->setof)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("column \"%s\" cannot be a set", column->colname)));
}

List *
etl_columns_parse(const char *columns)
{
	List	   *statements;
	CreateStmt *create;
	ListCell   *cell;

	if (columns == NULL)
		return NIL;

	/* the line break keeps a trailing comment from swallowing the parenthesis */
	statements = etl_parse(psprintf("CREATE TABLE t (%s\n)", columns));
	create = list_length(statements) == 1 ? (CreateStmt *) linitial_node(RawStmt, statements)->stmt : NULL;
	if (create == NULL || !IsA(create, CreateStmt) || create->inhRelations != NIL ||
		create->partspec != NULL || create->options != NIL || create->tablespacename != NULL ||
		create->accessMethod != NULL || create->ofTypename != NULL || create->tableElts == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("columns is not a column definition list"),
				 errhint("Write it as between the parentheses of CREATE TABLE:"
						 " 'id bigint, amount numeric(12,2), day date NOT NULL'.")));

	foreach(cell, create->tableElts)
	{
		Node	   *element = lfirst(cell);

		if (IsA(element, ColumnDef))
			check_column_def((ColumnDef *) element);
		else if (!IsA(element, Constraint))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("columns may hold only columns and constraints")));
	}
	return create->tableElts;
}

bool
etl_column_declared(List *declared, const char *name)
{
	ListCell   *cell;

	foreach(cell, declared)
		if (IsA(lfirst(cell), ColumnDef) && strcmp(((ColumnDef *) lfirst(cell))->colname, name) == 0)
			return true;
	return false;
}

List *
etl_relation_columns(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			names = lappend(names, pstrdup(NameStr(TupleDescAttr(desc, i)->attname)));
	table_close(rel, NoLock);
	return names;
}

/*
 * how_well ranks how a column answers to a field: 0 by the original name in
 * its comment, 1 by its name, 2 by the name in snake_case, 3 not at all.
 */
static int
how_well(Oid relid, const char *name, const char *field, const char *identifier)
{
	char	   *original =
		OidIsValid(relid) ? GetComment(relid, RelationRelationId, get_attnum(relid, name)) : NULL;

	if (original != NULL && strcmp(original, field) == 0)
		return 0;
	if (strcmp(name, field) == 0)
		return 1;
	return original == NULL && strcmp(name, identifier) == 0 ? 2 : 3;
}

char *
etl_relation_field_column(List *columns, Oid relid, const char *field, List *claimed)
{
	char	   *identifier = etl_snake_case(field);
	char	   *best = NULL;
	int			best_rank = 3;
	ListCell   *cell;

	foreach(cell, columns)
	{
		char	   *name = lfirst(cell);
		int			rank = how_well(relid, name, field, identifier);

		if (rank < best_rank && !etl_name_among(claimed, name) && strcmp(name, ETL_LOAD_ID_COLUMN) != 0 &&
			strcmp(name, ETL_ROW_COLUMN) != 0 && strcmp(name, ETL_LOADED_AT_COLUMN) != 0)
		{
			best = name;
			best_rank = rank;
		}
	}
	return best;
}

/*
 * is_taken tells whether a new column cannot have this name.
 */
static bool
is_taken(const char *name, List *taken)
{
	return SystemAttributeByName(name) != NULL || strcmp(name, ETL_LOAD_ID_COLUMN) == 0 ||
		   strcmp(name, ETL_ROW_COLUMN) == 0 || strcmp(name, ETL_LOADED_AT_COLUMN) == 0 ||
		   etl_name_among(taken, name);
}

char *
etl_column_identifier(const char *field, List *taken)
{
	char	   *base = etl_snake_case(field);
	char	   *name = base;

	for (int i = 2; is_taken(name, taken); i++)
	{
		char	   *suffix = psprintf("_%d", i);
		int			keep = pg_mbcliplen(base, strlen(base), NAMEDATALEN - 1 - (int) strlen(suffix));

		name = psprintf("%.*s%s", keep, base, suffix);
	}
	return name;
}

/*
 * key_list renders the key columns for SQL.
 */
static char *
key_list(const EtlStream *stream)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, stream->key)
		appendStringInfo(&out, "%s%s", out.len ? ", " : "", quote_identifier(lfirst(cell)));
	return out.data;
}

/*
 * has_unique_key tells whether a valid unique index covers exactly the key.
 */
static bool
has_unique_key(const EtlStream *stream, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		same = form->indisunique && form->indisvalid && form->indimmediate &&
					form->indnkeyatts == list_length(stream->key) &&
					RelationGetIndexPredicate(index) == NIL && RelationGetIndexExpressions(index) == NIL;

		for (int i = 0; same && i < form->indnkeyatts; i++)
		{
			char	   *column = get_attname(relid, form->indkey.values[i], false);
			ListCell   *key;

			same = false;
			foreach(key, stream->key)
				if (strcmp(lfirst(key), column) == 0)
					same = true;
		}
		index_close(index, AccessShareLock);
		found = found || same;
	}
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * etl_relation_has_key tells whether the columns of the key are there: not
 * yet, where they are not declared and no record has come.
 */
bool
etl_relation_has_key(const EtlStream *stream, Oid relid)
{
	ListCell   *cell;

	foreach(cell, stream->key)
		if (get_attnum(relid, lfirst(cell)) == InvalidAttrNumber)
			return false;
	return true;
}

/*
 * etl_relation_ensure_key makes the key columns NOT NULL, and unique for
 * merge.
 */
void
etl_relation_ensure_key(const EtlStream *stream, const EtlLoadOptions *options, Oid relid)
{
	ListCell   *cell;

	foreach(cell, stream->key)
	{
		const char *column = lfirst(cell);
		AttrNumber	attnum = get_attnum(relid, column);
		HeapTuple	tuple;

		if (attnum == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("key column \"%s\" of stream \"%s\" is neither declared nor in the data",
							column, stream->target),
					 errhint("Name the key as the columns of the table are named, in snake_case.")));
		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
		if (HeapTupleIsValid(tuple) && !((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull)
			etl_relation_sql(psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", stream->target,
									  quote_identifier(column)));
		ReleaseSysCache(tuple);
	}
	/* where the rows are elsewhere, so is what keeps their key unique */
	if (options->merge && get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE && !has_unique_key(stream, relid))
	{
		Relation	rel = table_open(relid, AccessShareLock);
		bool		has_primary = OidIsValid(etl_primary_key_index(rel));

		table_close(rel, AccessShareLock);
		etl_relation_sql(psprintf("ALTER TABLE %s ADD %s (%s)", stream->target,
								  has_primary ? "UNIQUE" : "PRIMARY KEY", key_list(stream)));
	}
}

void
etl_relation_comment_column(const EtlStream *stream, const char *column, const char *field)
{
	etl_relation_sql(psprintf("COMMENT ON COLUMN %s.%s IS %s", stream->target,
							  quote_identifier(column), quote_literal_cstr(field)));
}

/*
 * comment_columns keeps the foreign names of columns that are called
 * otherwise in the relation.
 */
static void
comment_columns(const EtlStream *stream, List *columns)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		EtlNewColumn *column = lfirst(cell);

		if (strcmp(column->name, column->field) != 0)
			etl_relation_comment_column(stream, column->name, column->field);
	}
}

/*
 * mark_created remembers that etl manages the relation.
 */
static void
mark_created(const char *target)
{
	EtlNodeState *state = etl_node_state_get(target);

	state->created = true;
	etl_node_state_set(target, state);
}

/*
 * refuse_width raises 54011 for more columns than a table can have, before the
 * server does, which does not know what to do about it.
 */
static void
refuse_width(const EtlStream *stream, int ncolumns)
{
	if (ncolumns > MaxHeapAttributeNumber)
		ereport(ERROR, (errcode(ERRCODE_TOO_MANY_COLUMNS),
						errmsg("the records have more fields than \"%s\" can have columns",
							   stream->target),
						errdetail("It would have %d columns, and a table can have %d.", ncolumns,
								  MaxHeapAttributeNumber),
						errhint("Declare the columns that you need, with schema_policy"
								" '{\"columns\": \"discard_value\"}', or keep objects whole with "
								"the option \"nested\".")));
}

Oid
etl_relation_create(const EtlStream *stream, const EtlLoadOptions *options, List *columns,
					int64 load_id)
{
	EtlName    *name = etl_name_parse(stream->target);
	StringInfoData sql;
	ListCell   *cell;
	Oid			relid;

	if (options->tables != ETL_EVOLVE)
		ereport(ERROR,
				(errcode(ETL_ERR_SCHEMA_FROZEN),
				 errmsg("relation \"%s\" does not exist, and the stream's schema_policy %s tables",
						stream->target, options->tables == ETL_FREEZE ? "freezes" : "makes no"),
				 errhint("Create it and set the option adopt, or let tables evolve.")));

	if (!OidIsValid(get_namespace_oid(name->schema, true)))
		etl_relation_sql(psprintf("CREATE SCHEMA %s", quote_identifier(name->schema)));

	refuse_width(stream, list_length(columns) + list_length(etl_columns_parse(stream->columns)) + 2);
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (%s bigint NOT NULL, %s bigint NOT NULL", stream->target,
					 ETL_LOAD_ID_COLUMN, ETL_ROW_COLUMN);
	if (options->partition_by != NULL)
		appendStringInfoString(&sql, ", " ETL_LOADED_AT_COLUMN " timestamptz NOT NULL");
	if (options->child_tables && options->merge)
		appendStringInfoString(&sql, ", " ETL_ITEMS_FIELD " uuid");
	if (stream->columns != NULL)
		appendStringInfo(&sql, ", %s\n", stream->columns);
	foreach(cell, columns)
	{
		EtlNewColumn *column = lfirst(cell);

		appendStringInfo(&sql, ", %s %s", quote_identifier(column->name),
						 column->type_name ? column->type_name : format_type_be_qualified(column->type));
	}
	appendStringInfo(&sql, ")%s", etl_zone_clause(options));
	etl_relation_sql(sql.data);

	relid = etl_name_relation(stream->target);
	comment_columns(stream, columns);
	etl_relation_sql(psprintf("COMMENT ON COLUMN %s.%s IS %s", stream->target, ETL_LOAD_ID_COLUMN,
							  quote_literal_cstr("load that brought this row, see etl.loads")));
	etl_relation_sql(psprintf("COMMENT ON COLUMN %s.%s IS %s", stream->target, ETL_ROW_COLUMN,
							  quote_literal_cstr("line or number of the record in its load")));
	mark_created(stream->target);
	etl_schema_change_store(stream->target, load_id, "table_created", NULL, NULL, NULL);
	return relid;
}

/*
 * adopt takes over a relation that etl did not make.
 */
static void
adopt(const EtlStream *stream, const EtlLoadOptions *options, Oid relid)
{
	if (!options->adopt)
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_MANAGED),
				 errmsg("relation \"%s\" was not created by etl", stream->target),
				 errdetail("A stream lands only in a relation of its own."),
				 errhint("Set the option adopt to true to take it over, or choose another target.")));
	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
	{
		if (get_attnum(relid, ETL_LOAD_ID_COLUMN) == InvalidAttrNumber ||
			get_attnum(relid, ETL_ROW_COLUMN) == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ETL_ERR_NOT_MANAGED),
					 errmsg("foreign table \"%s\" lacks the columns %s and %s", stream->target,
							ETL_LOAD_ID_COLUMN, ETL_ROW_COLUMN),
					 errdetail("Every landing relation has them; etl cannot add them elsewhere."),
					 errhint("Add both as bigint to the foreign table and to the table behind it.")));
	}
	else if (get_rel_relkind(relid) != RELKIND_RELATION &&
			 get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_MANAGED),
				 errmsg("\"%s\" is not a table", stream->target),
				 errhint("A stream can adopt only a table.")));
	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		etl_relation_sql(psprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s bigint,"
								  " ADD COLUMN IF NOT EXISTS %s bigint", stream->target,
								  ETL_LOAD_ID_COLUMN, ETL_ROW_COLUMN));
	mark_created(stream->target);
	etl_schema_change_store(stream->target, 0, "table_adopted", NULL, NULL, NULL);
}

/*
 * add_declared adds columns that were declared after the relation was made.
 */
static void
add_declared(const EtlStream *stream, Oid relid)
{
	ListCell   *cell;

	foreach(cell, etl_columns_parse(stream->columns))
	{
		ColumnDef  *column = lfirst(cell);
		Oid			type;
		int32		typmod;

		if (!IsA(column, ColumnDef) || get_attnum(relid, column->colname) != InvalidAttrNumber)
			continue;
		typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
		etl_relation_sql(psprintf(
			"ALTER TABLE %s ADD COLUMN %s %s", stream->target, quote_identifier(column->colname),
			format_type_extended(type, typmod,
								 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY)));
		etl_schema_change_store(stream->target, 0, "column_added", column->colname, NULL,
								format_type_with_typemod(type, typmod));
	}
}

/*
 * declares_enough tells whether the relation can be made before any data:
 * the columns that a stream is keyed and ordered by are declared.
 */
static bool
declares_enough(const EtlStream *stream, const EtlLoadOptions *options)
{
	List	   *declared = etl_columns_parse(stream->columns);
	ListCell   *cell;

	if (stream->columns == NULL)
		return false;
	foreach(cell, stream->key)
		if (!etl_column_declared(declared, lfirst(cell)))
			return false;
	return !options->merge || stream->event_time == NULL ||
		   etl_column_declared(declared, stream->event_time);
}

Oid
etl_relation_ensure(const EtlStream *stream, const EtlLoadOptions *options)
{
	Oid			relid = etl_name_relation(stream->target);

	if (!OidIsValid(relid))
	{
		if (!declares_enough(stream, options) ||
			(options->tables != ETL_EVOLVE && options->tables != ETL_FREEZE))
			return InvalidOid;
		relid = etl_relation_create(stream, options, NIL, 0);
		etl_relation_ensure_key(stream, options, relid);
		return relid;
	}

	etl_check_owns_relation(stream->owner, relid);
	if (!etl_node_state_get(stream->target)->created ||
		get_attnum(relid, ETL_LOAD_ID_COLUMN) == InvalidAttrNumber ||
		get_attnum(relid, ETL_ROW_COLUMN) == InvalidAttrNumber)
		adopt(stream, options, relid);
	add_declared(stream, relid);
	if (options->child_tables && options->merge && get_attnum(relid, ETL_ITEMS_FIELD) == InvalidAttrNumber)
		etl_relation_sql(psprintf("ALTER TABLE %s ADD COLUMN " ETL_ITEMS_FIELD " uuid", stream->target));
	if (etl_relation_has_key(stream, relid))
		etl_relation_ensure_key(stream, options, relid);
	return relid;
}

Oid
etl_stream_relation(const EtlStream *stream)
{
	EtlRunAs	as;
	Oid			relid;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	relid = etl_relation_ensure(stream, etl_load_options_read(stream));
	etl_run_as_end(&as);
	return relid;
}

void
etl_stream_add_declared(const EtlStream *stream)
{
	Oid			relid = etl_name_relation(stream->target);
	EtlRunAs	as;

	if (stream->columns == NULL || !OidIsValid(relid) || !etl_node_state_get(stream->target)->created)
		return;
	etl_run_as_begin(&as, stream->owner, stream->settings);
	etl_check_owns_relation(stream->owner, relid);
	add_declared(stream, relid);
	etl_run_as_end(&as);
}

void
etl_relation_add_columns(const EtlStream *stream, Oid relid, List *columns, int64 load_id)
{
	Relation	rel = table_open(relid, AccessShareLock);
	ListCell   *cell;

	refuse_width(stream, RelationGetNumberOfAttributes(rel) + list_length(columns));
	table_close(rel, NoLock);
	foreach(cell, columns)
	{
		EtlNewColumn *column = lfirst(cell);

		etl_relation_sql(psprintf(
			"ALTER TABLE %s ADD COLUMN %s %s", stream->target, quote_identifier(column->name),
			column->type_name ? column->type_name : format_type_be_qualified(column->type)));
		etl_schema_change_store(stream->target, load_id, "column_added", column->name, NULL,
								column->type_name ? column->type_name : format_type_be(column->type));
	}
	comment_columns(stream, columns);
}
