/*-------------------------------------------------------------------------
 *
 * restrict.h
 *    Values that matter on their way down a query; for restrict.c and reach.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_RESTRICT_H
#define ETL_MODEL_RESTRICT_H

#include "model/internal.h"

/* A column of what matters, as an expression over the entries of one level. */
typedef struct EtlPushed
{
	int			keyno;			/* which of the key columns, or of the values of a reach */
	Node	   *expr;
	int			entry;			/* the only one it reads */
	bool		by_join;		/* it equals the key by a condition of a join that 'entry' is optional in */
} EtlPushed;

/* What is pushed, and what becomes of it. */
typedef struct EtlRestriction
{
	EtlDelta   *delta;
	Oid			owner;
	const EtlDeltaReach *reach; /* whose values; NULL: the affected keys */
	bool		passes;			/* operators that do not keep it apart let it through: rows are found */
	int			depth;			/* reaches that led to this one */
	List	  **places;			/* EtlDeltaLeaf *: gets what is found */
	bool		whole;			/* a place with all keys is on the way of every row */
} EtlRestriction;

/* ---- restrict.c ---- */

/* the one entry that a plain expression reads; 0: it is none */
extern int etl_only_entry(Node *expr);
/* an expression over one entry as one over varno 1 */
extern Node *etl_renumbered(Node *expr);
/* an expression over the output of a query as one over its entries; NULL where its operators do not 'keep' it apart */
extern Node *etl_descend(Query *query, Node *expr, bool keeps);
extern List *etl_push_add(List *pushed, int keyno, Node *expr, bool by_join);
/* takes expressions over the output of a query (as varno 1) down to the relations */
extern void etl_push(EtlRestriction *restriction, Query *query, List *keys, List *conditions, bool always);
/* the same for expressions over the entries of its level */
extern List *etl_push_spread(EtlRestriction *restriction, Query *query, List *pushed, List *conditions,
							 bool always);
/* does a branch of a UNION give the columns of an expression with their types? */
extern bool etl_branch_fits(Query *query, Query *branch, Node *expr);

/* ---- reach.c ---- */

/* how many reaches lead to what one reaches, its own among them; NULL: none */
extern int etl_reach_depth(const EtlDeltaReach *reach);
/* is a place read with the rights that the sources of the reach are, and are these near enough? */
extern bool etl_reach_fits(const EtlRestriction *restriction, const EtlDeltaLeaf *place);
/* restricts subqueries that are joined with what is; 'pushed': what the entries themselves are restricted to */
extern void etl_reach_joined(EtlRestriction *restriction, Query *query, List *pushed);
/* restricts a level that does not keep all keys apart by the columns that it does */
extern void etl_reach_gathered(EtlRestriction *restriction, Query *query, List *keys);

#endif							/* ETL_MODEL_RESTRICT_H */
