/*-------------------------------------------------------------------------
 *
 * pool.c
 *    Named pools: how many nodes that share something may be at work at once.
 *
 * A pool has places, over all runs of the database.  A place is an advisory
 * lock of the process that works, so it is free again however that process
 * ends.  Nobody waits for a place: a node whose pool is full is left, and
 * looked at again later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "catalog/environment.h"
#include "catalog/pool.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_define_pool);
PG_FUNCTION_INFO_V1(etl_sql_drop_pool);

/* more would be no limit */
#define MAX_SLOTS 1000

/*
 * pool_of returns the pool of a node, or NULL.
 */
static char *
pool_of(EtlNode *node)
{
	return etl_json_get_text(node->stream ? node->stream->options : node->model->options, "pool");
}

/*
 * slots_of returns how many places a pool has: one, when nobody has said.
 */
static int
slots_of(EtlRunState *state, const char *name)
{
	ListCell   *cell;

	foreach(cell, state->pools)
		if (strcmp(((EtlPool *) lfirst(cell))->name, name) == 0)
			return ((EtlPool *) lfirst(cell))->slots;
	return 1;
}

/*
 * enter takes a place in one pool; false when it is full.
 */
static bool
enter(EtlRunState *state, const char *name)
{
	int			slots = slots_of(state, name);
	MemoryContext old;

	for (int i = 0; i < slots; i++)
		if (etl_lock_pool(name, i))
		{
			EtlPlace   *place;

			old = MemoryContextSwitchTo(state->driver.context);
			place = palloc(sizeof(EtlPlace));
			place->pool = pstrdup(name);
			place->slot = i;
			state->places = lappend(state->places, place);
			MemoryContextSwitchTo(old);
			return true;
		}
	return false;
}

/*
 * is_in tells whether this process has a place in a pool already.
 */
static bool
is_in(EtlRunState *state, const char *name)
{
	ListCell   *cell;

	foreach(cell, state->places)
		if (strcmp(((EtlPlace *) lfirst(cell))->pool, name) == 0)
			return true;
	return false;
}

/*
 * etl_pool_enter: see run.h.
 */
bool
etl_pool_enter(EtlRunState *state, List *nodes)
{
	ListCell   *cell;

	if (state->driver.base.atomic)
		return true;
	foreach(cell, nodes)
	{
		char	   *pool = pool_of(lfirst(cell));

		if (pool == NULL || is_in(state, pool) || enter(state, pool))
			continue;
		etl_pool_leave(state);
		return false;
	}
	return true;
}

/*
 * etl_pool_leave: see run.h.
 */
void
etl_pool_leave(EtlRunState *state)
{
	ListCell   *cell;

	foreach(cell, state->places)
		etl_unlock_pool(((EtlPlace *) lfirst(cell))->pool, ((EtlPlace *) lfirst(cell))->slot);
	list_free_deep(state->places);
	state->places = NIL;
}

/*
 * etl_sql_define_pool is etl.define_pool(name, slots, description).
 */
Datum
etl_sql_define_pool(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	int			slots = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1);
	char	   *owner = etl_pool_owner(name);

	if (*name == '\0')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("name must not be empty")));
	if (slots < 1 || slots > MAX_SLOTS)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("slots must be between 1 and %d", MAX_SLOTS),
				 errhint("It says how many nodes of the pool may be at work at once.")));
	if (etl_environment_skips("pool", name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	if (owner != NULL)
		etl_check_owner(owner, "pool", name);
	PG_RETURN_TEXT_P(cstring_to_text(etl_pool_store(name, slots, etl_arg_text(fcinfo, 2),
													GetUserNameFromId(GetUserId(), false))));
}

/*
 * etl_sql_drop_pool is etl.drop_pool(name).
 */
Datum
etl_sql_drop_pool(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	char	   *owner = etl_pool_owner(name);

	if (owner == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("there is no pool \"%s\"", name),
				 errhint("SELECT name FROM etl.pools lists them.")));
	etl_check_owner(owner, "pool", name);
	(void) etl_pool_delete(name);
	PG_RETURN_VOID();
}
