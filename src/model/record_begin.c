/*-------------------------------------------------------------------------
 *
 * record_begin.c
 *    Beginning to record changes: the triggers, and whether they see all.
 *
 * They are made when an incremental model is first built, under a lock that
 * no writer holds and before the build's snapshot: so what the snapshot does
 * not see is recorded.
 *
 * Triggers of a partitioned table see the statements that name it, for all
 * partitions.  Those that name a partition are seen by triggers of its own,
 * which record for the whole.  A comment on a trigger of the whole says
 * which partitions there were: when somebody attached, detached or dropped
 * one, what became of its rows is not known, and recording begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/comment.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/environment.h"
#include "common/names.h"
#include "model/internal.h"

/* ---- partitions ---- */

/*
 * parts_of lists the partitions of a table, and theirs.
 */
static List *
parts_of(Oid relid, LOCKMODE lock)
{
	return get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ?
			   list_delete_oid(find_all_inheritors(relid, lock, NULL), relid) :
			   NIL;
}

static int
by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * parts_text tells partitions apart from others, by their names.
 */
static char *
parts_text(List *parts)
{
	List	   *names = NIL;
	StringInfoData all;
	ListCell   *cell;

	foreach(cell, parts)
	{
		char	   *name = etl_name_of_relation(lfirst_oid(cell));

		if (name != NULL)
			names = lappend(names, name);
	}
	list_sort(names, by_name);
	initStringInfo(&all);
	foreach(cell, names)
		appendStringInfo(&all, "%s,", (char *) lfirst(cell));
	return psprintf("records changes of %d partitions (%08x)", list_length(names),
					hash_bytes((const unsigned char *) all.data, all.len));
}

/*
 * is_ours tells whether a trigger is one that records for the relation 'of',
 * or, without one, for the relation that has it.
 */
static bool
is_ours(const Trigger *trigger, const char *of)
{
	return strncmp(trigger->tgname, ETL_CHANGE_TRIGGER, strlen(ETL_CHANGE_TRIGGER)) == 0 &&
		   (of == NULL ? trigger->tgnargs == 0 :
						 trigger->tgnargs == 1 && strcmp(trigger->tgargs[0], of) == 0);
}

/*
 * count_triggers counts the triggers that record.
 */
static int
count_triggers(Relation rel, const char *of)
{
	int			found = 0;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		found += is_ours(&rel->trigdesc->triggers[i], of) &&
				 rel->trigdesc->triggers[i].tgenabled != TRIGGER_DISABLED;
	return found;
}

/*
 * known_parts tells which partitions there were when recording began.
 */
static const char *
known_parts(Relation rel)
{
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		if (strcmp(rel->trigdesc->triggers[i].tgname, ETL_CHANGE_TRIGGER "truncate") == 0)
			return GetComment(rel->trigdesc->triggers[i].tgoid, TriggerRelationId, 0);
	return NULL;
}

/*
 * parts_record tells whether all partitions are known, and record.
 */
static bool
parts_record(Relation rel)
{
	List	   *parts = parts_of(RelationGetRelid(rel), AccessShareLock);
	const char *known = known_parts(rel);
	char	   *whole = etl_name_of_relation(RelationGetRelid(rel));
	bool		all = known != NULL && strcmp(known, parts_text(parts)) == 0;
	ListCell   *cell;

	foreach(cell, parts)
	{
		Relation	part;

		if (!all)
			break;
		part = table_open(lfirst_oid(cell), NoLock);
		all = count_triggers(part, whole) == 4;
		table_close(part, NoLock);
	}
	return all;
}

/* ---- is it recorded ---- */

bool
etl_record_is_wanted(Oid relid)
{
	Relation	rel;
	bool		wanted;

	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, AccessShareLock);
	wanted = !rel->rd_rel->relispartition &&
			 (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
			  (rel->rd_rel->relkind == RELKIND_RELATION && !rel->rd_rel->relhassubclass)) &&
			 count_triggers(rel, NULL) == 4;
	table_close(rel, NoLock);
	return wanted;
}

bool
etl_record_is_on(Oid relid)
{
	Relation	rel;
	bool		on;

	if (!etl_record_is_wanted(relid))
		return false;
	rel = table_open(relid, NoLock);
	on = rel->rd_rel->relkind == RELKIND_RELATION || parts_record(rel);
	table_close(rel, NoLock);
	return on;
}

char *
etl_record_lapse(const char *name)
{
	if (get_rel_relkind(etl_name_relation(name)) == RELKIND_PARTITIONED_TABLE)
		return psprintf("partitions of %s came or went", name);
	return psprintf("triggers that record changes of %s were off", name);
}

/* ---- beginning ---- */

/*
 * can_record tells whether triggers of a relation see all its changes.
 */
static bool
can_record(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		parted = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	bool		can = (parted || rel->rd_rel->relkind == RELKIND_RELATION) &&
			   !rel->rd_rel->relispartition && (parted || !rel->rd_rel->relhassubclass) &&
			   !has_superclass(relid) && rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP;
	ListCell   *cell;

	table_close(rel, NoLock);
	foreach(cell, parts_of(relid, AccessShareLock))
		can = can && (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION ||
					  get_rel_relkind(lfirst_oid(cell)) == RELKIND_PARTITIONED_TABLE);
	return can;
}

/*
 * make_triggers makes the triggers of a relation, which go with the
 * extension; 'of': the partitioned table that they record for, or NULL.
 */
static void
make_triggers(const char *name, Oid relid, const char *of)
{
	Relation	rel;

	etl_change_triggers_make(name, of);
	CommandCounterIncrement();
	rel = table_open(relid, NoLock);
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];
		ObjectAddress made;
		ObjectAddress extension;

		if (!is_ours(trigger, of))
			continue;
		ObjectAddressSet(made, TriggerRelationId, trigger->tgoid);
		ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("etl", false));
		recordDependencyOn(&made, &extension, DEPENDENCY_AUTO_EXTENSION);
	}
	table_close(rel, NoLock);
}

void
etl_record_add_part(Oid relid, Oid part)
{
	make_triggers(etl_name_of_relation(part), part, etl_name_of_relation(relid));
}

void
etl_record_know_parts(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *known = parts_text(parts_of(relid, NoLock));

	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		if (strcmp(rel->trigdesc->triggers[i].tgname, ETL_CHANGE_TRIGGER "truncate") == 0)
			CreateComments(rel->trigdesc->triggers[i].tgoid, TriggerRelationId, 0, known);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

bool
etl_record_make(const char *name, Oid relid)
{
	List	   *parts;
	bool		again;
	ListCell   *cell;

	if (!can_record(relid))
		return false;
	if (etl_record_is_on(relid))
		return true;
	again = etl_record_is_wanted(relid);
	parts = parts_of(relid, ShareRowExclusiveLock);
	make_triggers(name, relid, NULL);
	foreach(cell, parts)
		etl_record_add_part(relid, lfirst_oid(cell));
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		etl_record_know_parts(relid);
	/* to other consumers: what came before is not known */
	(void) etl_change_set_add(
		name, again ? etl_record_lapse(name) : psprintf("etl began to record changes of %s", name),
		NIL, 0);
	return true;
}

/*
 * lock_all locks a relation and its partitions against writers; false when
 * one of them is being written.
 */
static bool
lock_all(Oid relid)
{
	ListCell   *cell;

	/* readers go on; whoever writes right now is not waited for */
	if (!ConditionalLockRelationOid(relid, ShareRowExclusiveLock))
		return false;
	foreach(cell, parts_of(relid, NoLock))
		if (!ConditionalLockRelationOid(lfirst_oid(cell), ShareRowExclusiveLock))
			return false;
	return true;
}

/*
 * begin_input begins to record an input; true when from now on everything
 * that a new snapshot does not see will be recorded.
 */
static bool
begin_input(const char *name)
{
	Oid			relid = etl_name_relation(name);

	return OidIsValid(relid) && lock_all(relid) && etl_record_make(name, relid);
}

List *
etl_record_begin(const EtlModel *model, List *inputs)
{
	List	   *begun = NIL;
	ListCell   *cell;
	bool		aside;			/* of an environment: production is not touched */

	if (IsolationUsesXactSnapshot())
		return NIL;
	aside = etl_is_environment_node(model->target);
	foreach(cell, inputs)
	{
		EtlInput   *input = lfirst(cell);

		if (aside && !etl_is_environment_node(input->name))
			continue;
		/* models that do not follow rows want to know of watched tables whether they changed */
		if (etl_input_is_recorded(input) && (etl_model_follows(model) || input->kind == 'w') &&
			!input->consumption->recorded && begin_input(input->name))
			begun = lappend(begun, input->name);
	}
	CommandCounterIncrement();
	return begun;
}
