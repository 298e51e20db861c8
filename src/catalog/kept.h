/*-------------------------------------------------------------------------
 *
 * kept.h
 *    Former publications: where their rows are, and what they were built of.
 *
 * Called by model/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_KEPT_H
#define ETL_KEPT_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct EtlKept
{
	char	   *target;
	int64		publication;
	int			version;		/* of the definition */
	char	   *relation;		/* canonical name of the table with the rows */
	char	   *fingerprint;	/* built_fingerprint then */
	Jsonb	   *state;
	Jsonb	   *consumed;
} EtlKept;

/* notes that the present publication's rows are in 'relation', with what it was built of */
extern void etl_kept_store(const char *target, const char *relation);
extern List *etl_kept_of(const char *target);	/* EtlKept *, newest first */
extern void etl_kept_forget(const EtlKept *kept);

/*
 * etl_kept_restore makes what a node was built of what it was then; its
 * publication has a new number, and 'version' is the definition's.
 */
extern void etl_kept_restore(const EtlKept *kept, int version);
/* the next build is a full one */
extern void etl_node_must_rebuild(const char *target, const char *reason);
/* the definition that is served is that of a new version */
extern void etl_node_served_as(const char *target, int version);

/* makes a stored version the definition of a stream or model; returns its new number */
extern int etl_definition_restore(const char *kind, const char *target, const Jsonb *definition,
								  const char *change);

#endif							/* ETL_KEPT_H */
