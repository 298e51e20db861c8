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

#include "common/json.h"
#include "run/run.h"

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
