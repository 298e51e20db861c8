/*-------------------------------------------------------------------------
 *
 * keep.c
 *    Option keep_versions: the rows of former publications.
 *
 * A swap leaves the old storage over: it becomes a table beside the target
 * instead of being dropped, without a row being copied.  Where the target is
 * published by DML, or its columns change in place, its rows are copied
 * before.  Increments change a table in place and are not kept: what is kept
 * is what a full build replaced, up to its last increment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/kept.h"
#include "common/brief_lock.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

/*
 * etl_keep_versions returns how many former publications a model keeps.
 */
int
etl_keep_versions(const EtlModel *model)
{
	/* the versions of a snapshot's rows are in itself */
	if (strcmp(model->materialized, "table") != 0 && strcmp(model->materialized, "incremental") != 0)
		return 0;
	return Max((int) etl_json_get_int64(model->options, "keep_versions", 0), model->keep);
}

/*
 * etl_keep_name chooses the name of the table that keeps what is served now,
 * in the schema of the target; NULL when there is nothing to keep.
 */
char *
etl_keep_name(const EtlModel *model, Oid relid, const EtlNodeState *state)
{
	char	   *base;

	if (etl_keep_versions(model) <= 0 || !OidIsValid(relid) || state->built_version == 0 ||
		(get_rel_relkind(relid) != RELKIND_RELATION && get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE))
		return NULL;
	base = pstrdup(get_rel_name(relid));
	base[pg_mbcliplen(base, strlen(base), 30)] = '\0';
	for (int i = 0;; i++)
	{
		char	   *name = psprintf("%s_etl_v%d_p" INT64_FORMAT "%s", base, state->built_version,
							  state->publication, i ? psprintf("_%d", i) : "");

		if (!OidIsValid(get_relname_relid(name, get_rel_namespace(relid))))
			return name;
	}
}

/*
 * etl_keep_copy copies what is served into a table of that name; inside
 * etl_run_as.
 */
void
etl_keep_copy(Oid relid, const char *name)
{
	etl_execute_utility(
		psprintf("CREATE TABLE %s AS SELECT * FROM %s",
				 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name),
				 etl_quoted_relation(relid)));
	CommandCounterIncrement();
}

/*
 * etl_keep_storage makes the transient heap of a swap, which holds the old
 * rows now, a table of that name: without indexes, and no longer passed over
 * by logical decoding.
 */
void
etl_keep_storage(Oid relid, Oid transient, Oid toast, Oid old_toast, List *indexes, const char *name)
{
	Relation	classes = table_open(RelationRelationId, RowExclusiveLock);
	ObjectAddress object;
	HeapTuple	tuple;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		ObjectAddressSet(object, RelationRelationId, lfirst_oid(cell));
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	}
	CommandCounterIncrement();

	/* the heaps have exchanged their TOAST tables, which are called after them */
	if (OidIsValid(old_toast))
		etl_swap_rename_toast(old_toast, transient, "_etl");
	if (OidIsValid(toast))
		etl_swap_rename_toast(toast, relid, "");
	if (OidIsValid(old_toast))
		etl_swap_rename_toast(old_toast, transient, "");

	RenameRelationInternal(transient, name, false, false);
	CommandCounterIncrement();
	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(transient));
	((Form_pg_class) GETSTRUCT(tuple))->relrewrite = InvalidOid;
	CatalogTupleUpdate(classes, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(classes, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * etl_keep_prune drops the tables of all but the newest publications that
 * the model keeps; those that somebody else dropped are forgotten.
 */
void
etl_keep_prune(const EtlModel *model, int keep)
{
	ListCell   *cell;

	foreach(cell, etl_kept_of(model->target))
	{
		EtlKept    *kept = lfirst(cell);
		EtlRunAs	as;

		if (OidIsValid(etl_name_relation(kept->relation)))
		{
			/* readers of the target may be waiting: what is being read goes another time */
			if (keep-- > 0 || !etl_lock_at_once(etl_name_relation(kept->relation)))
				continue;
			etl_run_as_begin(&as, model->owner, NULL);
			etl_execute_utility(psprintf("DROP TABLE %s", kept->relation));
			etl_run_as_end(&as);
			CommandCounterIncrement();
		}
		etl_kept_forget(kept);
	}
}
