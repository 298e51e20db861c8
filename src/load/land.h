/*-------------------------------------------------------------------------
 *
 * land.h
 *    What the files of the landing of records share.
 *
 * Included only by src/load/land.c, children.c, computed.c, fit.c, held.c, item.c, merge.c and
 * originals.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_LAND_H
#define ETL_LOAD_LAND_H

#include "executor/executor.h"

#include "load/landing.h"

/* A CHECK constraint of the relation as a predicate, or a generated column. */
typedef struct EtlRowExpression
{
	const char *name;			/* of the constraint or column */
	ExprState  *state;
	AttrNumber	attnum;			/* generated columns */
	bool		not_null;
} EtlRowExpression;

/* A record that waits for the coercion of its hard columns. */
typedef struct EtlHeld
{
	EtlRecord	record;
	bool		bad;
	Datum	   *values;			/* by column index */
	bool	   *nulls;
	const char **reasons;
} EtlHeld;

typedef struct EtlFit EtlFit;

/* A row of this length fits whatever it holds. */
#define ETL_SURE_TO_FIT 2000

/* What land.c, held.c and item.c keep of a load besides EtlLanding. */
struct EtlLandingState
{
	EState	   *estate;
	EtlRowExpression *constraints;
	int			nconstraints;
	EtlRowExpression *generated;
	int			ngenerated;
	bool		risky;			/* one of these, or a default, may raise */
	EtlFit	   *fit;			/* NULL: every row fits into a page, and its keys into the indexes */
	int		   *not_null;		/* column indexes */
	int			nnot_null;
	bool	   *failed;			/* column index: has a reason already */
	bool		hard;			/* some column's coercion may raise */
	bool		defaults;
	int			seen;			/* records since the last flush */
	Size		seen_bytes;
	MemoryContext held_context;
	EtlHeld    *held;
	int			nheld;
};

/* land.c: takes one record to its end; 'held' is NULL unless its hard columns were coerced before */
extern void etl_land_record(EtlLanding *landing, const EtlRecord *record, bool bad,
							const EtlHeld *held);
/* takes a row that was coerced elsewhere to its end; 'record' has its bytes */
extern void etl_land_tuple(EtlLanding *landing, HeapTuple tuple, const EtlRecord *record);
/* whether nothing can happen to such a row any more but its insertion */
extern bool etl_land_is_plain(EtlLanding *landing);
/* patch.c: the values of a replay's patch in the place of a record's own, or of one field's */
extern void etl_land_patch(EtlLanding *landing, EtlRecord *record);
extern const EtlValue *etl_patch_value(EtlLanding *landing, const char *field, int c, const EtlValue *value,
									   EtlValue *patched);

/* merge.c: OPERATOR(schema.name), whatever the search path */
extern char *etl_qualified_operator(Oid operator);

/* item.c: sends a record on its way and writes the batch when it is full */
extern void etl_land_take(EtlLanding *landing, const EtlRecord *record, bool bad);

/* computed.c: what the relation computes of a row, its faults as reasons */
/* prepares the default of a column, NULL: none */
extern ExprState *etl_computed_default(EtlLanding *landing, Form_pg_attribute att);
extern void etl_computed_begin(EtlLanding *landing);
/* sets defaults and stored generated columns of an empty slot's arrays; false with a reason */
extern bool etl_computed_fill(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons);
/* judges CHECK constraints of a filled slot */
extern void etl_computed_check(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons);

/* fit.c: whether a row fits into a page, and its keys into the indexes; NULL: any does */
extern EtlFit *etl_fit_begin(Relation rel);
extern void etl_fit_check(const EtlFit *fit, Relation rel, TupleTableSlot *slot, EtlReasons *reasons);

/* held.c: records that wait for their coercion */
extern void etl_held_add(EtlLanding *landing, const EtlRecord *record, bool bad);
extern void etl_held_land(EtlLanding *landing);

/* originals.c: the bytes of landed records, in the current memory context */
extern EtlOriginals *etl_originals_begin(void);
extern void etl_originals_keep(EtlOriginals *originals, int64 load_id, const char *origin,
							   const EtlRecord *record);
/* gives rejects of rows that this load landed their bytes, size and origin */
extern void etl_originals_restore(EtlOriginals *originals, List *rejects, bool of_rows);
extern void etl_originals_end(EtlOriginals *originals);

#endif							/* ETL_LOAD_LAND_H */
