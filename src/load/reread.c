/*-------------------------------------------------------------------------
 *
 * reread.c
 *    The names of a file's fields for a record of it that is read again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/json.h"

#include "common/json.h"
#include "load/reread.h"

/*
 * etl_reread_options copies options with the names of the fields as header.
 */
Jsonb *
etl_reread_options(const Jsonb *options, List *fields)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, fields)
	{
		appendStringInfoString(&list, list.len ? "," : "[");
		escape_json(&list, lfirst(cell));
	}
	appendStringInfoChar(&list, ']');
	foreach(cell, etl_json_keys(options))
		etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
	etl_json_add(builder, "header", etl_json_parse(list.data));
	return etl_json_object_end(builder);
}

/*
 * etl_reread_element copies options so that the root is the record; it was
 * kept in UTF-8.
 */
Jsonb *
etl_reread_element(const Jsonb *options)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_keys(options))
		if (strcmp(lfirst(cell), "records") != 0 && strcmp(lfirst(cell), "encoding") != 0)
			etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
	etl_json_add_text(builder, "records", ".");
	return etl_json_object_end(builder);
}
