/*-------------------------------------------------------------------------
 *
 * remedy.h
 *    The likely cause of a failure, and what ends it.
 *
 * Called by run/explain.c and by alert/.  The answer is found when it is
 * asked for, in the catalogs as they are then, so ask within the transaction
 * that tells of the failure, or later.  Nothing is raised for what cannot be
 * found: there is always a cause and a remedy.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_REMEDY_H
#define ETL_REMEDY_H

#include "utils/timestamp.h"

/* What failed, as in a row of etl.tasks; everything but sqlstate may be NULL. */
typedef struct EtlFailure
{
	int64		run_id;			/* 0: none */
	const char *node;
	const char *sqlstate;
	const char *message;
	const char *detail;
	const char *hint;
} EtlFailure;

typedef struct EtlRemedy
{
	char	   *cause;			/* a sentence */
	char	   *remedy;			/* SQL that ends the failure, statements ending with ;, or sentences */
	bool		is_sql;
} EtlRemedy;

extern void etl_remedy_find(const EtlFailure *failure, EtlRemedy *remedy);

/*
 * etl_failing_since tells when a node failed first after its last success,
 * and in how many runs since; 0 runs when it did not fail.
 */
extern TimestampTz etl_failing_since(const char *node, int64 *runs);

/*
 * etl_remedy_rejects finds what lets the records land that a run put aside;
 * NULL when they are to be judged one by one.
 */
extern char *etl_remedy_rejects(int64 run_id, const char *node);

/* etl_remedy_queued finds what a queued run waits for */
extern void etl_remedy_queued(int64 run_id, EtlRemedy *remedy);

#endif							/* ETL_REMEDY_H */
