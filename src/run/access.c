/*-------------------------------------------------------------------------
 *
 * access.c
 *    Who may run what, and who may look at what.
 *
 * A row of a view is visible to whoever may SELECT the relation it tells
 * about, and to the owner of its definition.  Running needs the role
 * etl_operator, or to own what is run; whoever runs, the work is done with
 * the rights of the owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "common/errors.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_may_read);
PG_FUNCTION_INFO_V1(etl_sql_owns);
PG_FUNCTION_INFO_V1(etl_sql_run_alive);
PG_FUNCTION_INFO_V1(etl_sql_sla_nodes);

/*
 * has_role tells whether a user has the rights of a role; nobody but
 * superusers has those of a role that is gone.
 */
static bool
has_role(Oid user, const char *role_name)
{
	Oid			role = get_role_oid(role_name, true);

	return OidIsValid(role) ? has_privs_of_role(user, role) : superuser_arg(user);
}

/*
 * owns tells whether the current user has the rights of the owner of a node.
 */
static bool
owns(const char *target)
{
	char	   *owner;

	if (superuser())
		return true;
	owner = etl_node_owner(target);
	return owner != NULL && has_role(GetUserId(), owner);
}

/*
 * etl_may_read tells whether the current user may see what is said of a
 * relation.
 */
bool
etl_may_read(const char *target)
{
	Oid			relid;

	if (superuser())
		return true;
	relid = etl_name_relation(target);
	if (OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return true;
	return owns(target);
}

/*
 * etl_sql_may_read is etl._may_read(target), for the views.
 */
Datum
etl_sql_may_read(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(etl_may_read(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * etl_sql_owns is etl._owns(target), for the views.
 */
Datum
etl_sql_owns(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owns(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * etl_sql_run_alive is etl._run_alive(run_id), for the views.
 */
Datum
etl_sql_run_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(etl_run_is_alive(PG_GETARG_INT64(0)));
}

/*
 * etl_check_may_run raises 42501 unless the role may run every selected
 * node.
 */
void
etl_check_may_run(EtlGraph *graph, Oid role)
{
	if (has_role(role, "etl_operator"))
		return;
	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];

		if (!node->selected || has_role(role, node->owner))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to run \"%s\"", node->name->canonical),
				 errdetail("It belongs to role \"%s\".", node->owner),
				 errhint("Select only nodes of your own, or ask to be granted etl_operator.")));
	}
}

/*
 * etl_check_may_operate: see run.h.
 */
void
etl_check_may_operate(const char *owner)
{
	if (has_role(GetUserId(), "etl_operator") || (owner != NULL && has_role(GetUserId(), owner)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 owner ? errmsg("must be a member of role \"%s\" or of etl_operator", owner) :
					 errmsg("must be a member of etl_operator")));
}

/*
 * etl_sql_sla_nodes is etl._sla_nodes(), for the view etl.freshness: which
 * nodes, of those that one may read, a freshness is promised of.
 */
Datum
etl_sql_sla_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, etl_sla_fresh_nodes())
	{
		EtlFreshNode *fresh = lfirst(cell);
		Datum		values[2] = {CStringGetTextDatum(fresh->node), IntervalPGetDatum(fresh->freshness)};
		bool		nulls[2] = {0};

		if (etl_may_read(fresh->node))
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
