/*-------------------------------------------------------------------------
 *
 * dependents.h
 *    Views that stand on a relation whose columns change: away and back.
 *
 * Called by load/ when a column is widened, and by model/ when the columns
 * of a model change.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DEPENDENTS_H
#define ETL_DEPENDENTS_H

#include "nodes/pg_list.h"

#include "catalog/definition.h"

/* One statement that gives a view something back; for a column, its name. */
typedef struct EtlGarment
{
	char	   *column;
	char	   *statement;
} EtlGarment;

/* the rows, as EtlGarment *, of a query over the system catalogues that takes one OID and yields one or two texts */
extern List *etl_garments(const char *sql, Oid relid);

/* What a view, or a table, has beside its query: owner, grants, options, comments, defaults. */
typedef struct EtlViewDress EtlViewDress;

extern EtlViewDress *etl_view_undress(Oid view, const char *owner);
/* gives it to the relation that is there now, of the same kind or another; columns that are gone lose theirs */
extern void etl_view_dress(Oid view, const EtlViewDress *dress);

/* gives it only to columns of these names, which were made again with another type */
extern void etl_columns_dress(Oid relid, const EtlViewDress *dress, List *columns);

/*
 * etl_dependents_foreign finds what etl does not manage among the views that
 * depend on columns of a relation (their numbers; NIL: on any), at any height.
 * Returns the OID of the first such view, or of a managed view that carries
 * triggers or rules of others, and in *below what it stands on; InvalidOid
 * when there is none.
 */
extern Oid etl_dependents_foreign(Oid relid, List *columns, Oid *below);

/*
 * raises ET013 for a foreign key, trigger, policy, function or generated column
 * that names one of the columns (NIL: for what holds the relation or its type)
 */
extern void etl_columns_must_be_free(Oid relid, List *columns);

/* raises ET013 for a trigger or rule of others on a relation that is made again as another kind */
extern void etl_relation_must_be_bare(Oid relid);

/* raises ET013 for the view that etl_dependents_foreign finds */
extern void etl_dependents_must_be_managed(Oid relid, List *columns);

/*
 * etl_dependents_drop drops the managed views that depend on columns (NIL: on
 * any) of a relation and returns what etl_dependents_restore needs; raises
 * ET013, before any change, when one is not managed.  They and the relation
 * are locked, without making readers queue; with NIL also what dropping the
 * relation locks.
 */
extern List *etl_dependents_drop(Oid relid, List *columns);

/* makes them again; '*at' (may be NULL) is always the name of the one at work */
extern void etl_dependents_restore(List *dependents, const char **at);

/* the first column, as char *, of a query over the system catalogues that takes an OID */
extern List *etl_dependents_lookup(const char *sql, Oid relid);

/* ---- stored_view.c: what a materialized view has beside all this ---- */

typedef struct EtlStoredView EtlStoredView;

extern EtlStoredView *etl_stored_view_remember(Oid view);
/* fills the view of the model, which was made again without rows */
extern void etl_stored_view_fill(const EtlModel *model, const EtlStoredView *stored);

#endif							/* ETL_DEPENDENTS_H */
