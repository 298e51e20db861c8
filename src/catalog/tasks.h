/*-------------------------------------------------------------------------
 *
 * tasks.h
 *    Rows of etl.task, a run's nodes and their attempts.
 *
 * Called by run/ and alert/; written in the transaction of the facts they
 * tell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_TASKS_H
#define ETL_CATALOG_TASKS_H

#include "catalog/history.h"

extern void etl_tasks_insert(List *tasks);	/* EtlTask *, one statement; sets task_id */
extern void etl_tasks_update(List *tasks);	/* EtlTask *, one statement */
/* gives a node's last attempt a status and a reason, and the run what follows; false when there is none */
extern bool etl_task_mark(int64 run_id, const char *node, const char *status, const char *reason);
/* reads rows again that another process writes: status and what became of them */
extern void etl_tasks_read(List *tasks);

extern List *etl_tasks_of(int64 run_id);	/* EtlTask *, in the order they were planned */

typedef struct EtlNodeSeconds
{
	char	   *node;
	double		seconds;
} EtlNodeSeconds;

/* EtlNodeSeconds *: what nodes took on average the last times that they had something to do */
extern List *etl_tasks_seconds(void);

#endif							/* ETL_CATALOG_TASKS_H */
