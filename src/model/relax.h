/*-------------------------------------------------------------------------
 *
 * relax.h
 *    A query on its way to being relaxed; for affected.c and its parts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_RELAX_H
#define ETL_MODEL_RELAX_H

#include "model/internal.h"

/* One query of it. */
typedef struct EtlRelaxLevel
{
	Query	   *query;
	struct EtlRelaxLevel *outer;
	Bitmapset **unknown;		/* by entry: columns that are not known */
	Bitmapset **blurred;		/* by entry: columns known but for which of the values that are equal */
	bool	   *replaced;		/* by entry: no whole row, no system columns */
	bool	   *inexact;		/* by entry: may have rows of neither before nor after */
	Bitmapset  *nulls;			/* entries shown as NULLs */
} EtlRelaxLevel;

typedef struct EtlRelaxSearch
{
	EtlDeltaLeaf *leaf;			/* the place whose change is followed */
	List	   *leaves;			/* all of them, and those of copies made on the way */
	List	   *inputs;			/* EtlInput *: what they read */
	bool		widen;			/* rows that share a DISTINCT ON or a window with the change are looked for */
	int			variant;		/* bits: which optional sides on the way are shown as NULLs, which keys are NULL */
	int			optional;		/* optional sides, and such keys, on the way */
	bool		nulls;			/* one has been shown as NULLs */
	bool		shown;			/* … and makes a difference */
	bool		by_match;		/* … where there is a match or none, and nothing else, decides of it */
	List	   *apart;			/* Query *: where a condition that joins was left out */
	bool		again;			/* one before it made none: another variant is the same */
	const char *why;			/* why it cannot be done */
} EtlRelaxSearch;

/* ---- known.c ---- */

typedef struct EtlRelaxLook
{
	EtlRelaxLevel *level;
	int			depth;			/* queries between the expression and 'level' */
	List	   *leaves;
	bool		nulls;			/* what is shown as NULLs is looked for, too */
} EtlRelaxLook;

/* finds what is not known in an expression of a level */
extern bool etl_relax_unknown_walker(Node *node, EtlRelaxLook *look);
extern bool etl_relax_is_unknown(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search);
/* applies the variant to an expression of a level */
extern Node *etl_relax_show_nulls(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search);
/* the parts of a condition that are known; *weak is set when that is less than all */
extern Node *etl_relax_keep_known(Node *quals, EtlRelaxLevel *level, EtlRelaxSearch *search, bool *weak);

/* ---- outer.c ---- */

/* what is left of a part of a join tree; 'entry' is the one through which the change is read */
extern Node *etl_relax_join(Node *node, EtlRelaxLevel *level, EtlRelaxSearch *search, int entry, bool *weak);
extern void etl_relax_count_optional(EtlRelaxSearch *search);
/* leaves out of a relaxed query what only multiplies its rows */
extern void etl_relax_drop_idle(Query *query, EtlDeltaLeaf *leaf);

/* ---- widen.c ---- */

extern Query *etl_relax_widen_begin(Query *query, EtlRelaxLevel *outer, EtlRelaxSearch *search);
extern Bitmapset *etl_relax_widen_end(Query *query, Query *whole, EtlRelaxSearch *search, Bitmapset *known,
									  Bitmapset *known_of_all);
/* ---- newest.c ---- */

/* shows old rows, too, where a subquery that did not change shows the newest of their keys */
extern void etl_relax_newest(Query *query);

#endif							/* ETL_MODEL_RELAX_H */
