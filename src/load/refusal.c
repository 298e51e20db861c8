/*-------------------------------------------------------------------------
 *
 * refusal.c
 *    What of a relation may refuse a row, or wants to know of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/change.h"
#include "load/landing.h"

/*
 * watches_inserts tells whether a statement trigger wants to know of inserts;
 * etl's own finds what a load inserted by the load's number.
 */
static bool
watches_inserts(TriggerDesc *triggers)
{
	for (int i = 0; i < triggers->numtriggers; i++)
		if ((triggers->triggers[i].tgtype & TRIGGER_TYPE_INSERT) &&
			strncmp(triggers->triggers[i].tgname, ETL_CHANGE_TRIGGER, strlen(ETL_CHANGE_TRIGGER)) != 0)
			return true;
	return false;
}

/*
 * etl_relation_is_simple tells whether rows may be written below the level of SQL, as far
 * as it is not an index that minds.
 */
bool
etl_relation_is_simple(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rules != NULL ||
		rel->rd_rel->relforcerowsecurity)
		return false;
	if (triggers != NULL && (triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
							 triggers->trig_insert_before_statement ||
							 watches_inserts(triggers)))
		return false;
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated || TupleDescAttr(desc, i)->attidentity)
			return false;
	return true;
}

/*
 * etl_index_may_refuse tells whether an index may refuse a row for another reason than the
 * same key: an expression may raise, and what other kinds of indexes cannot hold is not
 * known before; of B-trees fit.c knows it.
 */
bool
etl_index_may_refuse(Relation index, const IndexInfo *keys)
{
	TupleDesc	desc = RelationGetDescr(index);

	if (keys->ii_Expressions != NIL || keys->ii_Predicate != NIL)
		return true;
	if (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID)
		return false;
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attlen < 0)
			return true;
	return false;
}

/*
 * etl_relation_may_refuse tells whether anything but the index of the key can refuse a
 * row of a merge, or keep it from being written.
 */
bool
etl_relation_may_refuse(EtlLanding *landing, ResultRelInfo *result)
{
	Relation	rel = landing->rel;
	TupleDesc	desc = RelationGetDescr(rel);
	int			nunique = 0;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rules != NULL ||
		rel->rd_rel->relforcerowsecurity || rel->trigdesc != NULL || rel->rd_rel->relhassubclass)
		return true;
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated)
			return true;
	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		Form_pg_index index = result->ri_IndexRelationDescs[i]->rd_index;

		if (index->indisunique || index->indisexclusion)
			nunique++;
		if (etl_index_may_refuse(result->ri_IndexRelationDescs[i], result->ri_IndexRelationInfo[i]))
			return true;
	}
	return nunique > 1;
}

/*
 * etl_relation_has_deferrable tells whether a unique or exclusion constraint of the
 * relation may be deferred: ON CONFLICT does not know such ones.
 */
bool
etl_relation_has_deferrable(Relation rel)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = found || !index->rd_index->indimmediate;
		index_close(index, AccessShareLock);
	}
	return found;
}

/*
 * etl_relation_hurry_constraints makes the deferrable constraints of the relation
 * immediate until the end of the transaction.
 */
void
etl_relation_hurry_constraints(Relation rel)
{
	StringInfoData sql;

	initStringInfo(&sql);
	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.format('%%I.%%I', n.nspname, c.conname)"
							 " FROM pg_catalog.pg_constraint c"
							 " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.connamespace"
							 " WHERE c.conrelid OPERATOR(pg_catalog.=) %u AND c.condeferrable",
							 RelationGetRelid(rel)),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the constraints of \"%s\"", RelationGetRelationName(rel));
	for (uint64 i = 0; i < SPI_processed; i++)
		appendStringInfo(&sql, "%s%s", i == 0 ? "SET CONSTRAINTS " : ", ",
						 SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	if (sql.len > 0 && SPI_execute(psprintf("%s IMMEDIATE", sql.data), false, 0) < 0)
		elog(ERROR, "could not run: %s", sql.data);
	SPI_finish();
}
