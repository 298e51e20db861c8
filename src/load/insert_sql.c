/*-------------------------------------------------------------------------
 *
 * insert_sql.c
 *    The statement that inserts rows where the relation itself may refuse
 *    them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "load/landing.h"

/*
 * tells_blocks tells whether a row stays in the block where its INSERT put it,
 * and that is one of the relation's own.
 */
static bool
tells_blocks(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		   rel->trigdesc == NULL && rel->rd_rules == NULL;
}

/*
 * etl_insert_sql writes the statement that inserts staged rows and returns
 * the positions of those that landed and, where it tells, their places.
 */
char *
etl_insert_sql(EtlLanding *landing, const char *on_conflict)
{
	TupleDesc	desc = RelationGetDescr(landing->rel);
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			continue;
		appendStringInfo(&columns, "%s%s", columns.len ? ", " : "",
						 quote_identifier(NameStr(att->attname)));
	}
	return psprintf("INSERT INTO %s (%s) SELECT %s FROM etl_staged %s RETURNING %s%s",
					landing->stream->target, columns.data, columns.data, on_conflict, ETL_ROW_COLUMN,
					tells_blocks(landing->rel) ? ", ctid" : "");
}
