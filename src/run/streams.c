/*-------------------------------------------------------------------------
 *
 * streams.c
 *    The work on a stream: a pull, and what its task says of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "common/progress.h"
#include "load/load.h"
#include "run/run.h"

typedef struct PullWork
{
	EtlRunState *state;
	EtlNode    *node;
	EtlPullResult result;
	EtlPullResult told;			/* what is in the rows of former attempts */
} PullWork;

/*
 * pull_stream lands what is new; commits load by load.
 */
static void
pull_stream(void *arg)
{
	PullWork   *work = arg;
	EtlRunState *state = work->state;
	EtlNode    *node = work->node;
	MemoryContext old;

	etl_nodes_begin(state, list_make1(node));
	etl_progress_start(state->run.run_id, node->name->canonical, "loading");
	PushActiveSnapshot(GetTransactionSnapshot());
	old = MemoryContextSwitchTo(state->driver.context);
	node->stream = etl_stream_get(node->name->canonical);
	MemoryContextSwitchTo(old);

	/* outside a transaction block no snapshot may be held while a network is waited for */
	if (!state->driver.base.atomic)
		PopActiveSnapshot();
	etl_pull(&state->driver.base, node->stream, &work->result);
	if (!state->driver.base.atomic)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (work->result.loads == 0)
		etl_stream_add_declared(node->stream);	/* models may read what no record holds yet */
	PopActiveSnapshot();
}

/*
 * remember_version notes with which definition a stream was pulled, for
 * state:modified.
 */
static void
remember_version(EtlRunState *state, EtlNode *node)
{
	EtlNodeState *known;

	PushActiveSnapshot(GetTransactionSnapshot());
	known = etl_node_state_get(node->name->canonical);
	if (known->built_version != node->stream->version)
	{
		known->built_version = node->stream->version;
		etl_node_state_set(node->name->canonical, known);
	}
	PopActiveSnapshot();
}

/*
 * with_remark joins a reason and what is to be said beside it.
 */
static const char *
with_remark(const char *reason, const char *remark)
{
	return remark ? psprintf("%s; %s", reason, remark) : reason;
}

/*
 * note_retry makes a failed try of a request, which the connector tries
 * again in place, an attempt of the task.
 */
static void
note_retry(EtlDriver *driver, int sqlerrcode, const char *message)
{
	/* the driver is a part of its run */
	EtlRunState *state = (EtlRunState *) ((char *) driver - offsetof(EtlRunState, driver));
	PullWork   *work = state->pulling;
	EtlTask    *task = work->node->task;

	task->rows_inserted = work->result.inserted - work->told.inserted;
	task->rows_updated = work->result.updated - work->told.updated;
	task->rows_deleted = work->result.deleted - work->told.deleted;
	task->rows_rejected = work->result.rejected - work->told.rejected;
	work->told = work->result;
	etl_node_retrying(state, work->node, sqlerrcode, message);
}

/*
 * etl_work_on_stream pulls a stream and notes what came of it.
 */
void
etl_work_on_stream(EtlRunState *state, EtlNode *node)
{
	PullWork	work = {state, node, {0}, {0}};
	EtlPullResult *result = &work.result;
	EtlTask    *task;
	ErrorData  *error;

	state->pulling = &work;
	state->driver.base.retrying = note_retry;
	error = etl_driver_try(&state->driver, pull_stream, &work);
	if (error != NULL && state->driver.base.atomic)
		memset(result, 0, sizeof(EtlPullResult));	/* all of it was rolled back */
	state->driver.base.retrying = NULL;
	state->pulling = NULL;
	task = node->task;
	task->action = "load";
	/* the attempts before this one have told what they did */
	task->rows_inserted = result->inserted - work.told.inserted;
	task->rows_updated = result->updated - work.told.updated;
	task->rows_deleted = result->deleted - work.told.deleted;
	task->rows_rejected = result->rejected - work.told.rejected;
	node->changed = node->changed || result->loads > 0;
	if (error != NULL && etl_node_is_cancelled(error))
	{
		etl_node_broken_off(state, node);
		etl_rethrow(error);
	}
	if (error == NULL)
		remember_version(state, node);
	if (error != NULL)
		etl_node_failed(state, node, error);
	else if (result->loads == 0)
		etl_node_unchanged(state, node, "load",
						   with_remark(result->reason ? result->reason : "nothing new", result->remark));
	else
	{
		char	   *loads = psprintf(INT64_FORMAT " load%s", result->loads, result->loads == 1 ? "" : "s");

		task->reason = etl_run_keep(state, with_remark(loads, result->remark));
		etl_node_finish(state, node, "succeeded");
	}
	etl_nodes_settle(state, list_make1(node));
}
