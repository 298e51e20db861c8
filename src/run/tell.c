/*-------------------------------------------------------------------------
 *
 * tell.c
 *    Telling alert/ what became of tasks.
 *
 * Called in the transaction that writes the tasks.  While nobody has defined
 * an alert or a promise, nothing is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "alert/alert.h"
#include "run/run.h"

/*
 * count_below counts the nodes of the run that a failed one keeps from being done.
 */
static int
count_below(EtlRunState *state, const char *name)
{
	EtlNode    *node = etl_graph_find(state->graph, name);
	Bitmapset  *below = node ? etl_graph_walk(state->graph, node, false, -1) : NULL;
	int			n = 0;

	for (int i = bms_next_member(below, -1); i >= 0; i = bms_next_member(below, i))
		n += state->graph->nodes[i]->selected && !state->graph->nodes[i]->done;
	return n;
}

/*
 * is_tried_again tells whether a task has a next attempt.
 */
static bool
is_tried_again(EtlRunState *state, const EtlTask *task)
{
	ListCell   *cell;

	foreach(cell, state->fresh)
		if (strcmp(((EtlTask *) lfirst(cell))->node, task->node) == 0)
			return true;
	return false;
}

/*
 * etl_nodes_tell tells what became of finished tasks to whom it concerns.
 */
void
etl_nodes_tell(EtlRunState *state)
{
	List	   *facts = NIL;
	ListCell   *cell;

	if (etl_alert_wanted(state->run.run_id) == 0)
	{
		state->checks = NIL;
		return;
	}
	foreach(cell, state->finished)
	{
		EtlTask    *task = lfirst(cell);
		bool		failed = strcmp(task->status, "failed") == 0;
		EtlTaskFact *fact;

		if ((!failed && strcmp(task->status, "succeeded") != 0) || is_tried_again(state, task))
			continue;
		fact = palloc(sizeof(EtlTaskFact));
		fact->task = task;
		fact->below = failed ? count_below(state, task->node) : 0;
		facts = lappend(facts, fact);
	}
	etl_alert_tasks(&state->run, facts, state->checks);
	state->checks = NIL;
}
