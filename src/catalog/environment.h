/*-------------------------------------------------------------------------
 *
 * environment.h
 *    Environments: nodes that stand beside production under other names.
 *
 * Called by the define functions of load/, model/ and quality/, and by run/.
 *
 * In environment pr_42 a node mart.sales is pr_42__mart.sales, an ordinary
 * node of its own with its own ledger and history; what it reads is that of
 * the environment where there is one, and production's otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ENVIRONMENT_H
#define ETL_ENVIRONMENT_H

#include "catalog/definition.h"

/* is the session at work in an environment? Its name is etl_environment. */
extern bool etl_environment_on(void);
/* while it is true, the session is at work on production whatever its setting says */
extern bool etl_environment_suspended;

/* what a node is called in the session's environment, whether it is there or not; ET001 for bad names */
extern char *etl_environment_name_of(const char *target);
/* the same for one that is in the environment, else the name itself; outside of one, too */
extern char *etl_environment_resolve(const char *target);
/* the same for what changes a node: raises ET001 for one of production */
extern char *etl_environment_target(const char *target);
extern bool etl_environment_has_prefix(const char *name);	/* is it a name of the session's environment? */

/*
 * etl_environment_begin makes sure of the environment and of the schema of a
 * node; raises 42501 for that of another role.
 */
extern void etl_environment_begin(const char *node);

/* tells, with a NOTICE, that a definition of this kind is not part of the session's environment */
extern bool etl_environment_skips(const char *kind, const char *name);
/* raises ET001 when the session is in an environment: 'what' is not done in one */
extern void etl_environment_must_be_off(const char *what);

typedef struct EtlEnvironmentNode
{
	char	   *kind;			/* stream | model | check */
	char	   *target;			/* production's name */
	char	   *part;			/* of a check: its name */
	char	   *node;			/* the environment's name */
	bool		direct;			/* defined in it; else copied, since it reads what was */
	int			base_version;	/* of production's definition then; 0: there was none */
	Jsonb	   *definition;		/* as it was given: with production's names */
} EtlEnvironmentNode;

extern char *etl_environment_owner(const char *environment);	/* NULL: there is none */
extern List *etl_environment_nodes(const char *environment);	/* EtlEnvironmentNode *, by target */
extern void etl_environment_node_store(const EtlEnvironmentNode *node);
extern void etl_environment_node_delete(const char *kind, const char *node, const char *part);
extern void etl_environment_rebase(const char *environment);	/* production is what it has now */
extern void etl_environment_delete(const char *environment);

/* every node of any environment: EtlEnvironmentNode * with node, target and, in part, the environment */
extern List *etl_environment_nodes_all(void);
extern bool etl_is_environment_node(const char *node);

/* the stored definition as JSON, as etl.definition_version keeps it; NULL: there is none */
extern Jsonb *etl_definition_json(const char *kind, const char *name, const char *part);
extern int etl_definition_version(const char *kind, const char *name, const char *part);

/*
 * etl_environment_adopt makes what a node of an environment was built of
 * that of its production node.
 */
extern void etl_environment_adopt(const char *environment, const char *node, const char *target);

#endif							/* ETL_ENVIRONMENT_H */
