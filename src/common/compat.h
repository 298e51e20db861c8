/*-------------------------------------------------------------------------
 *
 * compat.h
 *    The only place that looks at PG_VERSION_NUM.
 *
 * Included by files that call an API which changed between PostgreSQL 15
 * and 18.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_COMPAT_H
#define ETL_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "etl needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#define etl_insert_index_tuples(result, slot, estate) \
	ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL, false)
#define EtlRelFileNumber(rel) ((rel)->rd_locator.relNumber)
#define etl_owns_relation(oid, role) \
	object_ownercheck(RelationRelationId, (oid), (role))
#define etl_object_aclcheck_schema(oid, role, mode) \
	object_aclcheck(NamespaceRelationId, (oid), (role), (mode))
#define etl_object_aclcheck_database(oid, role, mode) \
	object_aclcheck(DatabaseRelationId, (oid), (role), (mode))
#else
#define etl_insert_index_tuples(result, slot, estate) \
	ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL)
#define EtlRelFileNumber(rel) ((rel)->rd_node.relNode)
#define etl_owns_relation(oid, role) pg_class_ownercheck((oid), (role))
#define etl_object_aclcheck_schema(oid, role, mode) \
	pg_namespace_aclcheck((oid), (role), (mode))
#define etl_object_aclcheck_database(oid, role, mode) \
	pg_database_aclcheck((oid), (role), (mode))
#endif

#if PG_VERSION_NUM >= 170000
#include "utils/resowner.h"
#define etl_create_wait_event_set(n) CreateWaitEventSet(CurrentResourceOwner, (n))
#else
#define etl_create_wait_event_set(n) CreateWaitEventSet(CurrentMemoryContext, (n))
#endif

/* needs storage/proc.h and storage/sinvaladt.h or procarray.h */
#if PG_VERSION_NUM >= 170000
#define etl_vxid_pid(vxid) (ProcNumberGetProc((vxid).procNumber) ? ProcNumberGetProc((vxid).procNumber)->pid : 0)
#else
#define etl_vxid_pid(vxid) (BackendIdGetProc((vxid).backendId) ? BackendIdGetProc((vxid).backendId)->pid : 0)
#endif

#endif							/* ETL_COMPAT_H */
