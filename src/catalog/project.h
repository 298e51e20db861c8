/*-------------------------------------------------------------------------
 *
 * project.h
 *    Which definitions a script in git holds.
 *
 * Called by the stores of definitions, and by run/ for etl.begin_project and
 * etl.end_project.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_PROJECT_H
#define ETL_PROJECT_H

#include "nodes/pg_list.h"

/* begins a deployment of a project and returns its number; ET-errors are the caller's */
extern int64 etl_project_begin(const char *name, const char *owner);
/* who owns a project, and the number of its last deployment; NULL: there is none */
extern char *etl_project_owner(const char *name, int64 *deployment);
extern void etl_project_end(const char *name);

typedef struct EtlProjectItem
{
	char	   *kind;
	char	   *name;
	char	   *part;			/* NULL: none */
} EtlProjectItem;

/*
 * what the project has and its deployment did not define (EtlProjectItem *);
 * with "lock" no other project can take it over until the transaction ends
 */
extern List *etl_project_stale(const char *name, int64 deployment, bool lock);

/* the session's project has this definition; called by every define function */
extern void etl_project_has(const char *kind, const char *name, const char *part);
extern void etl_project_lacks(const char *kind, const char *name, const char *part);

/* the project and deployment that the session is at; NULL: none */
extern char *etl_project_at(int64 *deployment);

#endif							/* ETL_PROJECT_H */
