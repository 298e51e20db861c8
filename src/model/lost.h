/*-------------------------------------------------------------------------
 *
 * lost.h
 *    Rows that unique checks put aside, read back from their rejects.
 *
 * Called by losers.c, and by batch.c for keys that move between slices.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_LOST_H
#define ETL_MODEL_LOST_H

#include "common/parse.h"
#include "model/internal.h"

/* Candidates that were added to a difference. */
typedef struct EtlLost
{
	Tuplestorestate *rows;		/* of etl_lost: n, reject_id, check_name, lost (the row as JSON) */
	bool		exact;			/* JSON gives all of their values back */
} EtlLost;

/* where a row that was read back is, in a difference: a place that no row of a table has */
#define PLACE_OF(n)	 "pg_catalog.concat('(', " n ", ',1)')::pg_catalog.tid"
#define LOST_PLACE	 PLACE_OF("l.n")
#define PAIRED_PLACE PLACE_OF("d.etl_lost_n")

/* the checks (EtlCheck *) that put rows aside, but those of columns that cannot be compared, which fail anyway */
extern List *etl_lost_checks(EtlCheckSet *checks, Oid relid);

/*
 * Adds to a difference the rows that may come in, as new ones: each has a place
 * (etl_ctid) that tells its number, and no table.  NULL: there are none.
 */
extern EtlLost *etl_lost_join(const EtlModel *model, const EtlDue *due, EtlDiff **diff, List *checks);

/*
 * Closes the rejects of those that are left in the difference, and of those that
 * another check than before put aside.  'aside' is what the checks put aside: the
 * check's name, the number of such a row, the row as JSON, its value; what needs
 * a reject is left of it.  Returns the difference with the rows as the query
 * yields them.
 */
extern EtlDiff *etl_lost_settle(const EtlModel *model, const EtlDue *due, EtlLost *lost, EtlDiff *diff,
								TupleDesc	aside_desc, Tuplestorestate **aside);

/* what checks put aside, and is open yet, as rows of etl_lost; NULL: nothing */
extern Tuplestorestate *etl_lost_read(const EtlModel *model, List *checks);
/* makes it visible to SQL */
extern void etl_lost_to_environment(QueryEnvironment *environment, Tuplestorestate *lost);

/* closes the rejects of rows whose keys are among staged ones, which moved from another slice */
extern void etl_lost_forget_moved(const EtlModel *model, EtlCheckSet *checks, Oid relid, TupleDesc desc,
								  Tuplestorestate *staged, int64 n);

#endif							/* ETL_MODEL_LOST_H */
