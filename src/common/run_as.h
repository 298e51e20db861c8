/*-------------------------------------------------------------------------
 *
 * run_as.h
 *    Acting as the owner of a definition, and never as more.
 *
 * Called around everything that plans or executes user SQL: analysis,
 * builds, checks, DDL on the user's relations, reading files as the owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_RUN_AS_H
#define ETL_RUN_AS_H

#include "utils/jsonb.h"

typedef struct EtlRunAs
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
} EtlRunAs;

/*
 * etl_run_as_begin becomes 'owner' (a role name) under
 * SECURITY_RESTRICTED_OPERATION with the stored settings (NULL: only
 * search_path = pg_catalog, pg_temp).  An error between begin and end needs
 * no cleanup: the abort of the (sub)transaction restores both.
 */
extern void etl_run_as_begin(EtlRunAs *as, const char *owner, const Jsonb *settings);
extern void etl_run_as_end(EtlRunAs *as);

/* etl_settings_capture returns the session's settings that a definition stores. */
extern Jsonb *etl_settings_capture(void);

/*
 * etl_check_owner raises 42501 unless the current user is, or is a member
 * of, the role named 'owner'.
 */
extern void etl_check_owner(const char *owner, const char *kind, const char *name);

/*
 * etl_check_owns_relation raises 42501 unless the role named 'owner' has the
 * rights of the owner of a relation: what etl writes below the level of SQL
 * asks for no other right.
 */
extern void etl_check_owns_relation(const char *owner, Oid relid);

#endif							/* ETL_RUN_AS_H */
