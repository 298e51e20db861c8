/*-------------------------------------------------------------------------
 *
 * relation_name.c
 *    Renaming the relation of a model, and what is found by its name.
 *
 * Indexes, constraints and partitions that etl made are called after the
 * table, and are found again by that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/names.h"
#include "model/internal.h"

/*
 * indexes_follow gives the indexes of a table the names that they are found
 * by.
 */
static void
indexes_follow(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	char	   *relation = get_rel_name(relid);
	ListCell   *cell;

	table_close(rel, NoLock);
	foreach(cell, indexes)
	{
		char	   *name = get_rel_name(lfirst_oid(cell));
		char	   *wanted;

		if (!etl_index_is_ours(name))
			continue;
		wanted = etl_name_suffixed(relation, name + strlen(name) - 14);
		if (strcmp(name, wanted) != 0)
			etl_execute_utility(psprintf("ALTER INDEX %s RENAME TO %s", etl_quoted_relation(lfirst_oid(cell)),
										 quote_identifier(wanted)));
	}
}

void
etl_model_rename_relation(Oid relid, const char *schema, const char *relation)
{
	char		kind = get_rel_relkind(relid);
	const char *what = kind == RELKIND_VIEW ? "VIEW" : kind == RELKIND_MATVIEW ? "MATERIALIZED VIEW" :
																				 "TABLE";

	if (schema != NULL)
		etl_execute_utility(psprintf("ALTER %s %s SET SCHEMA %s", what, etl_quoted_relation(relid),
									 quote_identifier(schema)));
	CommandCounterIncrement();
	if (strcmp(get_rel_name(relid), relation) != 0)
		etl_execute_utility(psprintf("ALTER %s %s RENAME TO %s", what, etl_quoted_relation(relid),
									 quote_identifier(relation)));
	CommandCounterIncrement();

	if (kind == RELKIND_VIEW)
		return;
	indexes_follow(relid);
	if (kind != RELKIND_MATVIEW)
		etl_constraints_follow(relid);
	if (kind == RELKIND_PARTITIONED_TABLE)
		etl_partitions_follow(relid, schema);
}
