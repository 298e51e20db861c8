/*-------------------------------------------------------------------------
 *
 * child_define.c
 *    The definitions of child tables: names, columns, what they inherit.
 *
 * A child is named after the stream and the path of its lists.  Its columns
 * tell the row that it belongs to, by load and row and by the stream's key,
 * and its place in the list; the others are inferred like those of any stream.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/children.h"

#define KEY_PREFIX "_parent_"

/*
 * is_of_path tells whether a stream is the one for the lists of a path.
 */
static bool
is_of_path(const EtlStream *child, const char *path)
{
	return strcmp(etl_json_get_text(child->options, ETL_CHILD_PATH), path) == 0;
}

/*
 * name_child names the stream for the lists of a path: as it is called
 * already, whatever its parent is called now, or anew.
 */
static char *
name_child(const EtlStream *stream, const char *path)
{
	EtlName    *name = etl_name_parse(stream->target);
	StringInfoData base;
	char	   *parts = pstrdup(path);
	char	   *rest = NULL;
	ListCell   *cell;

	foreach(cell, etl_stream_children(stream->target))
		if (is_of_path(lfirst(cell), path))
			return ((EtlStream *) lfirst(cell))->target;

	initStringInfo(&base);
	appendStringInfoString(&base, name->relation);
	for (char *part = strtok_r(parts, ".", &rest); part != NULL; part = strtok_r(NULL, ".", &rest))
		appendStringInfo(&base, "__%s", etl_snake_case(part));
	for (int i = 1;; i++)
	{
		char	   *relation = etl_name_suffixed(base.data, i == 1 ? "" : psprintf("_%d", i));
		char	   *target = quote_qualified_identifier(name->schema, relation);

		if (etl_node_owner(target) == NULL)
			return target;
	}
}

List *
etl_child_keys(const EtlStream *stream)
{
	List	   *keys = NIL;
	ListCell   *cell;

	if (etl_stream_parent(stream) == NULL)
	{
		foreach(cell, stream->key)
			keys = lappend(lappend(keys, lfirst(cell)),
						   etl_name_suffixed(psprintf(KEY_PREFIX "%s", (char *) lfirst(cell)), ""));
		return keys;
	}
	/* the items of items have those of the record that they are all part of */
	foreach(cell, etl_columns_parse(stream->columns))
	{
		char	   *name = ((ColumnDef *) lfirst(cell))->colname;

		if (strncmp(name, KEY_PREFIX, strlen(KEY_PREFIX)) == 0)
			keys = lappend(lappend(keys, name), name);
	}
	return keys;
}

/*
 * declared_type returns the type of a declared column as SQL; NULL when it is
 * not declared.
 */
static char *
declared_type(const EtlStream *stream, const char *column)
{
	ListCell   *cell;

	foreach(cell, etl_columns_parse(stream->columns))
	{
		ColumnDef  *def = lfirst(cell);
		Oid			type;
		int32		typmod;

		if (!IsA(def, ColumnDef) || strcmp(def->colname, column) != 0)
			continue;
		typenameTypeIdAndMod(NULL, def->typeName, &type, &typmod);
		return format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	}
	return NULL;
}

/*
 * write_columns writes the declared columns of a child.
 */
static char *
write_columns(const EtlStream *stream, Oid relid)
{
	List	   *keys = etl_child_keys(stream);
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, ETL_PARENT_LOAD_COLUMN " bigint NOT NULL, " ETL_PARENT_ROW_COLUMN
														" bigint NOT NULL, " ETL_INDEX_COLUMN
														" bigint NOT NULL");
	for (int i = 0; i < list_length(keys); i += 2)
	{
		AttrNumber	attnum = OidIsValid(relid) ? get_attnum(relid, list_nth(keys, i)) : InvalidAttrNumber;
		char	   *type = declared_type(stream, list_nth(keys, i));

		if (attnum != InvalidAttrNumber)
		{
			Oid			id;
			int32		typmod;
			Oid			collation;

			get_atttypetypmodcoll(relid, attnum, &id, &typmod, &collation);
			type = format_type_extended(id, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
		}
		if (type != NULL)
			appendStringInfo(&out, ", %s %s", quote_identifier(list_nth(keys, i + 1)), type);
	}
	return out.data;
}

/*
 * named_tables lists the paths that are named as tables, those inside them
 * apart.
 */
static List *
named_tables(const Jsonb *nested)
{
	List	   *paths = NIL;
	ListCell   *cell;

	if (etl_json_kind(nested) != 'o')
		return NIL;
	foreach(cell, etl_json_keys(nested))
	{
		char	   *path = lfirst(cell);
		char	   *above = pstrdup(path);
		char	   *dot;
		bool		within = false;

		/* what is inside the items of another table is a table of that one */
		while ((dot = strrchr(above, '.')) != NULL)
		{
			*dot = '\0';
			within = within || strcmp(etl_nested_word(nested, above), "table") == 0;
		}
		if (!within && strcmp(path, "*") != 0 && strcmp(etl_json_get_text(nested, path), "table") == 0)
			paths = lappend(paths, path);
	}
	return paths;
}

Jsonb *
etl_nested_within(const Jsonb *nested, const char *path)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	size_t		length = strlen(path);
	ListCell   *cell;

	if (etl_json_kind(nested) == 'o')
		foreach(cell, etl_json_keys(nested))
		{
			const char *key = lfirst(cell);

			if (strncmp(key, path, length) == 0 && key[length] == '.')
				etl_json_add_text(builder, key + length + 1, etl_json_get_text(nested, key));
		}
	etl_json_add_text(builder, "*", "table");
	return etl_json_object_end(builder);
}

/*
 * inherit_options returns the options of a child: how values are read, how
 * rows are kept, and what is nested inside.
 */
static Jsonb *
inherit_options(const EtlStream *stream, const EtlLoadOptions *options, const char *path)
{
	static const char *const inherited[] = {"timezone", "date_order", "decimal", "thousands",
											"max_rejects", "partition_by", "immutable",
											"adopt"};
	EtlJsonBuilder *builder = etl_json_object_begin();
	Jsonb	   *transform = etl_transform_within(etl_json_get(stream->options, "transform"), path);

	for (int i = 0; i < lengthof(inherited); i++)
		if (etl_json_has(stream->options, inherited[i]))
			etl_json_add(builder, inherited[i], etl_json_get(stream->options, inherited[i]));
	etl_json_add_text(builder, ETL_CHILD_OF, stream->target);
	etl_json_add_text(builder, ETL_CHILD_PATH, path);
	etl_json_add(builder, "nested", etl_nested_within(options->nested, path));
	if (transform != NULL)
		etl_json_add(builder, "transform", transform);
	return etl_json_object_end(builder);
}

EtlStream *
etl_child_define(const EtlStream *stream, const EtlLoadOptions *options, const char *path, Oid relid)
{
	EtlStream  *child = palloc0(sizeof(EtlStream));
	EtlJsonBuilder *contract = etl_json_object_begin();
	EtlRunAs	as;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	if (etl_json_has(stream->contract, "privacy_level"))
		etl_json_add(contract, "privacy_level", etl_json_get(stream->contract, "privacy_level"));
	child->target = name_child(stream, path);
	child->source = stream->source;
	child->options = inherit_options(stream, options, path);
	child->format = "ndjson";
	child->columns = write_columns(stream, relid);
	/* the rows of a record that changes are others */
	child->mode = strcmp(stream->mode, "append") == 0 ? "append" : "replace";
	child->schema_policy = stream->schema_policy;
	child->contract = etl_json_object_end(contract);
	child->tags = stream->tags;
	child->description = psprintf("the lists in field \"%s\" of %s", path, stream->target);
	child->settings = stream->settings;
	child->owner = stream->owner;
	(void) etl_stream_store(child);
	etl_dependencies_store(child->target, list_make1(stream->target));
	etl_run_as_end(&as);
	return child;
}

void
etl_children_define(const EtlStream *stream, const EtlLoadOptions *options)
{
	ListCell   *cell;

	if (!options->child_tables)
		return;
	foreach(cell, named_tables(options->nested))
	{
		EtlStream  *child = etl_child_define(stream, options, lfirst(cell), etl_name_relation(stream->target));

		etl_children_define(child, etl_load_options_read(child));
	}
}
