/*-------------------------------------------------------------------------
 *
 * compat.h
 *    The only place that looks at PG_VERSION_NUM.
 *
 * Included by files that call an API which changed between PostgreSQL 15
 * and 18.  The rest of the code is written for all of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_COMPAT_H
#define ETL_COMPAT_H

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"

#if PG_VERSION_NUM < 150000
#error "etl needs PostgreSQL 15 or later"
#endif

/* ---- macros: what was renamed, or takes another argument ---- */

#if PG_VERSION_NUM >= 160000
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "varatt.h"
#define etl_insert_index_tuples(result, slot, estate) \
	ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL, false)
#define EtlRelFileNumber(rel) ((rel)->rd_locator.relNumber)
#define etl_owns_relation(oid, role) \
	object_ownercheck(RelationRelationId, (oid), (role))
#define etl_owns_database(oid, role) \
	object_ownercheck(DatabaseRelationId, (oid), (role))
#define etl_guc_extra(size) guc_malloc(LOG, (size))
#define etl_owns_extension(oid, role) \
	object_ownercheck(ExtensionRelationId, (oid), (role))
#define etl_qualified_name(string)	   stringToQualifiedNameList((string), NULL)
#define etl_flatten_joins(query, node) flatten_join_alias_vars(NULL, (query), (node))
/* the entries that a part of a join tree joins; needs optimizer/prep.h */
#define etl_entries_below(node)		   get_relids_in_jointree((node), false, false)
#define etl_joins_below(node)		   get_relids_in_jointree((node), true, true)
#define etl_define_index(relid, statement, skip_build) \
	DefineIndex((relid), (statement), InvalidOid, InvalidOid, InvalidOid, \
				-1, false, false, false, (skip_build), true)
/* what appendBinaryStringInfo takes */
#define EtlBytes						  const void
#define rd_newRelfilenodeSubid			  rd_newRelfilelocatorSubid
#define rd_firstRelfilenodeSubid		  rd_firstRelfilelocatorSubid
#define RelationAssumeNewRelfilenode(rel) RelationAssumeNewRelfilelocator(rel)
#else
/* heap_multi_insert adds block after block: load/extend.c adds many */
#define ETL_ADDS_BLOCKS
#define etl_insert_index_tuples(result, slot, estate) \
	ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL)
#define EtlRelFileNumber(rel)		   ((rel)->rd_node.relNode)
#define etl_guc_extra(size)			   malloc(size)
#define etl_owns_relation(oid, role)   pg_class_ownercheck((oid), (role))
#define etl_owns_database(oid, role)   pg_database_ownercheck((oid), (role))
#define etl_owns_extension(oid, role)  pg_extension_ownercheck((oid), (role))
#define etl_qualified_name(string)	   stringToQualifiedNameList(string)
#define EtlBytes					   const char
#define etl_flatten_joins(query, node) flatten_join_alias_vars((query), (node))
#define etl_entries_below(node)		   get_relids_in_jointree((node), false)
#define etl_joins_below(node)		   get_relids_in_jointree((node), true)
#define etl_define_index(relid, statement, skip_build) \
	DefineIndex((relid), (statement), InvalidOid, InvalidOid, InvalidOid, \
				false, false, false, (skip_build), true)
#endif

#if PG_VERSION_NUM >= 170000
#include "storage/procarray.h"
#include "utils/resowner.h"
#define etl_create_wait_event_set(n)   CreateWaitEventSet(CurrentResourceOwner, (n))
#define etl_lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode), false)
/* the end of the transaction closes the files */
#define RelationCloseSmgrByOid(relid)  ((void) (relid))
#define etl_vxid_proc(vxid)			   ProcNumberGetProc((vxid).procNumber)
#define etl_proc_lxid(proc)			   ((proc)->vxid.lxid)
#else
#define etl_create_wait_event_set(n)   CreateWaitEventSet(CurrentMemoryContext, (n))
#define etl_lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode))
/* needs storage/sinvaladt.h */
#define etl_vxid_proc(vxid)			   BackendIdGetProc((vxid).backendId)
#define etl_proc_lxid(proc)			   ((proc)->lxid)
#define AmBackgroundWorkerProcess()	   IsBackgroundWorker
#endif

#if PG_VERSION_NUM >= 180000
#define etl_attribute_changed(desc, i) populate_compact_attribute((desc), (i))
#define etl_check_index_constraints(result, slot, estate, conflict, indexes) \
	ExecCheckIndexConstraints((result), (slot), (estate), (conflict), NULL, (indexes))
/* what a swap of two heaps exchanges in pg_class, beyond what all versions have */
#define ETL_EXCHANGE_MORE(EXCHANGE) EXCHANGE(int32, relallfrozen)
#define etl_executor_run(desc)		ExecutorRun((desc), ForwardScanDirection, 0)
/* what an ExecutorRun_hook takes besides the query and the direction, and hands on */
#define ETL_EXECUTOR_RUN_PARAMS		uint64 count
#define ETL_EXECUTOR_RUN_ARGS		count
#define etl_primary_key_index(rel)	RelationGetPrimaryKeyIndex((rel), false)
#define etl_op_interpretation(op)	get_op_index_interpretation(op)
#define etl_b64_encode(bytes, n, to, size) \
	pg_b64_encode((const uint8 *) (bytes), (n), (to), (size))
#else
#define etl_attribute_changed(desc, i) ((void) 0)
#define etl_check_index_constraints(result, slot, estate, conflict, indexes) \
	ExecCheckIndexConstraints((result), (slot), (estate), (conflict), (indexes))
#define etl_executor_run(desc)			   ExecutorRun((desc), ForwardScanDirection, 0, true)
#define ETL_EXECUTOR_RUN_PARAMS			   uint64 count, bool execute_once
#define ETL_EXECUTOR_RUN_ARGS			   count, execute_once
#define etl_primary_key_index(rel)		   RelationGetPrimaryKeyIndex(rel)
#define etl_op_interpretation(op)		   get_op_btree_interpretation(op)
#define etl_b64_encode(bytes, n, to, size) pg_b64_encode((bytes), (n), (to), (size))
#define ETL_EXCHANGE_MORE(EXCHANGE)
/* comes first in a declaration, as C11 wants it */
#define pg_noreturn pg_attribute_noreturn()
#endif

/* ---- ExecutorCheckPerms_hook: its arguments, and a loop over what is read ---- */

#if PG_VERSION_NUM >= 160000
#define ETL_CHECK_PERMS_ARGS List *entries, List *infos, bool raise
#define ETL_CHECK_PERMS_PASS entries, infos, raise
#define etl_foreach_read_relation(look) \
	do \
	{ \
		ListCell   *cell_; \
		foreach(cell_, infos) \
			if (lfirst_node(RTEPermissionInfo, cell_)->requiredPerms != 0) \
				look(lfirst_node(RTEPermissionInfo, cell_)->relid); \
	} while (0)
#else
#define ETL_CHECK_PERMS_ARGS List *entries, bool raise
#define ETL_CHECK_PERMS_PASS entries, raise
#define etl_foreach_read_relation(look) \
	do \
	{ \
		ListCell   *cell_; \
		foreach(cell_, entries) \
			if (lfirst_node(RangeTblEntry, cell_)->rtekind == RTE_RELATION && \
				lfirst_node(RangeTblEntry, cell_)->requiredPerms != 0) \
				look(lfirst_node(RangeTblEntry, cell_)->relid); \
	} while (0)
#endif

/* ---- the rights that a query reads with: in its entries before 16, beside them since ---- */

/*
 * etl_entry_user returns the role that reads an entry, or InvalidOid for
 * the caller.
 */
static inline Oid
etl_entry_user(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return InvalidOid;
	return getRTEPermissionInfo(query->rteperminfos, rte)->checkAsUser;
#else
	return rte->checkAsUser;
#endif
}

/*
 * etl_entry_forget_rights makes an entry one that needs no rights.
 */
static inline void
etl_entry_forget_rights(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
#else
	rte->requiredPerms = 0;
	rte->checkAsUser = InvalidOid;
	rte->selectedCols = NULL;
#endif
}

/*
 * etl_query_read_as makes the relations of one query, but not of those
 * inside it, be read with the rights of a role.
 */
static inline void
etl_query_read_as(Query *query, Oid user)
{
	ListCell   *cell;

#if PG_VERSION_NUM >= 160000
	foreach(cell, query->rteperminfos)
		lfirst_node(RTEPermissionInfo, cell)->checkAsUser = user;
#else
	foreach(cell, query->rtable)
		if (lfirst_node(RangeTblEntry, cell)->rtekind == RTE_RELATION)
			lfirst_node(RangeTblEntry, cell)->checkAsUser = user;
#endif
}

/*
 * etl_init_range_table gives an executor state one entry, which the message
 * of a violated constraint looks at.
 */
#define etl_init_range_table(estate, relation) \
	do \
	{ \
		RangeTblEntry *rte_ = makeNode(RangeTblEntry); \
		rte_->rtekind = RTE_RELATION; \
		rte_->relid = (relation); \
		ETL_INIT_RANGE_TABLE_((estate), rte_); \
	} while (0)

#if PG_VERSION_NUM >= 180000
#define ETL_INIT_RANGE_TABLE_(estate, rte) \
	do \
	{ \
		List	   *infos_ = NIL; \
		addRTEPermissionInfo(&infos_, (rte)); \
		ExecInitRangeTable((estate), list_make1(rte), infos_, bms_make_singleton(1)); \
	} while (0)
#elif PG_VERSION_NUM >= 160000
#define ETL_INIT_RANGE_TABLE_(estate, rte) \
	do \
	{ \
		List	   *infos_ = NIL; \
		addRTEPermissionInfo(&infos_, (rte)); \
		ExecInitRangeTable((estate), list_make1(rte), infos_); \
	} while (0)
#else
#define ETL_INIT_RANGE_TABLE_(estate, rte) ExecInitRangeTable((estate), list_make1(rte))
#endif

/*
 * etl_ungroup puts expressions in the place of what refers to the grouping
 * step, which is an entry of its own since 18, in a query and all inside it.
 * Grouping sets are left alone unless *with_sets: a query with them can then
 * be looked at, but not be run.
 */
static inline bool
etl_ungroup(Node *node, bool *with_sets)
{
#if PG_VERSION_NUM >= 180000
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (query->hasGroupRTE && (*with_sets || query->groupingSets == NIL))
		{
			query->targetList =
				(List *) flatten_group_exprs(NULL, query, (Node *) query->targetList);
			query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
		}
		return query_tree_walker(query, etl_ungroup, with_sets, 0);
	}
	return expression_tree_walker(node, etl_ungroup, with_sets);
#else
	return false;
#endif
}

/*
 * etl_var_forget_nulling makes a column one that no join makes NULL.
 */
static inline void
etl_var_forget_nulling(Var *var)
{
#if PG_VERSION_NUM >= 160000
	var->varnullingrels = NULL;
#endif
}

/*
 * etl_forget_nulling tells a query that a join no longer makes NULLs, which
 * its columns say themselves since 16.
 */
#if PG_VERSION_NUM >= 160000
typedef struct EtlNulling
{
	int			rtindex;
	Index		depth;
} EtlNulling;

static inline bool
etl_forget_nulling_walker(Node *node, EtlNulling *nulling)
{
	bool		found;

	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == nulling->depth)
		((Var *) node)->varnullingrels = bms_del_member(((Var *) node)->varnullingrels,
														nulling->rtindex);
	if (!IsA(node, Query))
		return expression_tree_walker(node, etl_forget_nulling_walker, nulling);
	nulling->depth++;
	found = query_tree_walker((Query *) node, etl_forget_nulling_walker, nulling, 0);
	nulling->depth--;
	return found;
}
#endif

static inline void
etl_forget_nulling(Query *query, int rtindex)
{
#if PG_VERSION_NUM >= 160000
	EtlNulling	nulling = {rtindex, 0};

	(void) query_tree_walker(query, etl_forget_nulling_walker, &nulling, 0);
#endif
}

#endif							/* ETL_COMPAT_H */
