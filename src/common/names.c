/*-------------------------------------------------------------------------
 *
 * names.c
 *    Names of nodes: SQL identifiers of relations that may not exist yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "common/errors.h"
#include "common/names.h"

/*
 * first_schema returns the schema in which CREATE TABLE would make an
 * unqualified relation.
 */
static char *
first_schema(const char *text)
{
	List	   *path = fetch_search_path(false);
	char	   *schema = path == NIL ? NULL : get_namespace_name(linitial_oid(path));

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("no schema has been selected for \"%s\"", text),
				 errhint("Write it with its schema, such as raw.%s.", text)));
	return schema;
}

EtlName *
etl_name_parse(const char *text)
{
	EtlName    *name = palloc0(sizeof(EtlName));
	List	   *parts;

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a relation must not be null")));
	if (!SplitIdentifierString(pstrdup(text), '.', &parts) || parts == NIL || list_length(parts) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a relation: \"%s\"", text),
				 errhint("Write schema.relation, each part quoted where SQL needs it.")));

	name->relation = pstrdup(llast(parts));
	name->schema = list_length(parts) == 2 ? pstrdup(linitial(parts)) : first_schema(text);
	name->canonical = quote_qualified_identifier(name->schema, name->relation);
	return name;
}

char *
etl_name_canonical(const char *text)
{
	return etl_name_parse(text)->canonical;
}

/*
 * tell_truncation says, as PostgreSQL does, which part of a name is cut off.
 */
static void
tell_truncation(const char *text)
{
	List	   *parts;
	ListCell   *cell;

	if (SplitGUCList(pstrdup(text), '.', &parts))
		foreach(cell, parts)
			if (strlen(lfirst(cell)) >= NAMEDATALEN)
				truncate_identifier(lfirst(cell), strlen(lfirst(cell)), true);
}

char *
etl_name_of_target(const char *text)
{
	EtlName    *name = etl_name_parse(text);

	if (IsReservedName(name->schema) || strcmp(name->schema, "information_schema") == 0 ||
		strcmp(name->schema, "etl") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s cannot be a target", name->canonical),
				 errdetail("Schema \"%s\" is not for relations of users.", name->schema),
				 errhint("Choose another schema.")));
	tell_truncation(text);
	return name->canonical;
}

char *
etl_name_of_relation(Oid relid)
{
	char	   *relation = get_rel_name(relid);
	char	   *schema = relation ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	return schema ? quote_qualified_identifier(schema, relation) : NULL;
}

Oid
etl_name_relation(const char *canonical)
{
	EtlName    *name = etl_name_parse(canonical);
	Oid			schema = get_namespace_oid(name->schema, true);

	return OidIsValid(schema) ? get_relname_relid(name->relation, schema) : InvalidOid;
}

char *
etl_name_suffixed(const char *name, const char *suffix)
{
	int			length = strlen(name);
	int			room = NAMEDATALEN - 1 - (int) strlen(suffix);
	uint32		hash;

	if (length <= room)
		return psprintf("%s%s", name, suffix);
	hash = DatumGetUInt32(hash_any((const unsigned char *) name, length));
	return psprintf("%.*s_%08x%s", pg_mbcliplen(name, length, room - 9), name, hash, suffix);
}
