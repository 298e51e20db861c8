/*-------------------------------------------------------------------------
 *
 * model.h
 *    Models: analysis, lineage, planning, building, publication.
 *
 * Called by run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_H
#define ETL_MODEL_H

#include "catalog/definition.h"
#include "catalog/history.h"
#include "catalog/interval.h"
#include "catalog/unit_test.h"
#include "common/driver.h"
#include "common/options.h"

extern const EtlOptionDef etl_model_options[];	/* ended by a NULL name */
extern const EtlOptionDef etl_promise_options[];	/* of the option "contract" */
extern const EtlOptionDef etl_unit_test_options[];

extern void etl_watch_install(void);	/* once, from _PG_init */

/*
 * etl_model_names returns the canonical names of relations that the raw
 * parse tree reads (tables, views, NULL::raw.t row types; CTE names are
 * not relations), plus option depends_on.
 */
extern List *etl_model_names(const EtlModel *model);

/*
 * etl_model_resolve analyzes the query as its owner, stores dependencies and
 * column lineage and marks the model resolved; false (and nothing stored)
 * when an input does not exist yet.  *missing names it.
 */
extern bool etl_model_resolve(EtlModel *model, char **missing);

typedef struct EtlModelPlan
{
	const char *action;			/* create | incremental | full | view | unchanged | unresolved */
	char	   *reason;
	ErrorData  *stop;			/* what stops a run before any work (ET013); NULL: nothing */
} EtlModelPlan;

/* etl_model_plan says what the next build would do, from state alone. */
extern EtlModelPlan *etl_model_plan(const EtlModel *model, bool full_refresh);

typedef struct EtlBuildResult
{
	EtlModelPlan plan;
	int64		inserted;
	int64		updated;
	int64		deleted;
	int64		rejected;
	List	   *check_results;	/* EtlCheckResult *; also set when the build raises ET011 */
	bool		opened;			/* nothing is built yet: slices are due, each to be built by itself */
	List	   *slices;			/* EtlSlice *: which, oldest first */
} EtlBuildResult;

/*
 * etl_model_build does what the plan says in the current (sub)transaction:
 * build, checks, publication, bookkeeping.  Raises ET011 when a check
 * blocks; the caller rolls back and stores result->check_results.
 */
extern void etl_model_build(EtlDriver *driver, EtlModel *model, bool full_refresh,
							EtlBuildResult *result);

/*
 * The same in steps, for nodes that publish together because foreign keys
 * link them: stage each node (by_dml: never by a swap), apply the upserts
 * from parents to children, then the deletes from children to parents, then
 * finish each (checks of the whole, bookkeeping, hooks).  All of it in one
 * subtransaction, since staged rows end with it.  etl_model_build is
 * stage, deletes, upserts, finish of one node.
 */
typedef struct EtlStaged EtlStaged;

extern EtlStaged *etl_model_stage(EtlDriver *driver, EtlModel *model, bool full_refresh, bool by_dml,
								  EtlBuildResult *result);
extern void etl_model_apply_upserts(EtlStaged *staged);
extern void etl_model_apply_deletes(EtlStaged *staged);
extern void etl_model_finish(EtlStaged *staged);

/*
 * While it is true, the AFTER triggers of what builds write, foreign keys
 * included, wait for the AfterTriggerEndQuery of whoever set it: so nodes
 * that reference each other may be changed in any order.
 */
extern bool etl_model_defer_triggers;

/* ---- instead.c: what a model is built on when an input failed ---- */

typedef enum EtlFallback
{
	ETL_FALLBACK_NONE,
	ETL_FALLBACK_LAST_GOOD,		/* its rows of before */
	ETL_FALLBACK_INPUT			/* another relation */
} EtlFallback;

/* *instead: that relation, by its canonical name */
extern EtlFallback etl_fallback_of(const EtlModel *model, const char *input, char **instead);
/* lets the query read other relations; 'pairs' holds char *: an input, what is read instead, and so on */
extern void etl_fallback_apply(EtlModel *model, List *pairs);

/* ---- requery.c: the texts of a model with other names for some relations ---- */

/* the new canonical name of a relation, or NULL */
typedef char *(*EtlNewName)(const char *name, void *arg);

extern char *etl_query_rename(const EtlModel *model, EtlNewName new_name, void *arg);
extern Jsonb *etl_options_rename(const EtlModel *model, EtlNewName new_name, void *arg);

/*
 * etl_environment_complete copies what reads the nodes of the session's
 * environment into it, and gives all of them the names of their inputs there.
 */
extern void etl_environment_complete(void);

/*
 * etl_model_publish_copy publishes the rows of another relation as those of
 * the model; the caller says what they were built of.
 */
extern void etl_model_publish_copy(EtlDriver *driver, EtlModel *model, const char *relation,
								   char *fingerprint, EtlBuildResult *result);

/* raises ET020 when such rows lack what retention removed and the model still holds */
extern void etl_cover_check_copy(const EtlModel *model);

/* moves (schema: NULL stays) and renames a relation with the indexes that etl made; as its owner */
extern void etl_model_rename_relation(Oid relid, const char *schema, const char *relation);

/* char *: models that read a node; define.c */
extern List *etl_model_readers(const char *target);

/*
 * etl_model_rollback puts a former version back (0: the last publication that
 * is kept, else the definition before), with its rows; says what it did.
 */
extern char *etl_model_rollback(EtlDriver *driver, const char *target, int to, EtlBuildResult *result);

/* does a model keep an interval ledger? */
extern bool etl_model_has_slices(const EtlModel *model);
/* tells whether several slices may be built at the same time */
extern bool etl_model_slices_apart(const EtlModel *model);
/* builds one slice in the current (sub)transaction, as etl_model_build does a model */
extern void etl_slice_build(EtlDriver *driver, EtlModel *model, const EtlSlice *slice,
							EtlBuildResult *result);
/* an instant as the model's time counts it: of a date or timestamp the wall time, read as UTC */
extern TimestampTz etl_slice_instant(const EtlModel *model, TimestampTz instant);

/*
 * horizon.c: why loads (EtlLoad *) of a stream may not go; NULL: nobody needs
 * them any more, once their keys are frozen in the models *frozen (char *)
 */
extern char *etl_model_needs(const char *stream, List *loads, List **frozen);
/* freeze.c: freezes the keys that the rows of loads have in a model, before they go */
extern void etl_model_freeze(const char *target, const char *stream, List *loads);

/* sample.c: raises ET001 for parameters that ask for a part of the inputs outside of an environment */
extern void etl_sample_check(const Jsonb *params);

/* ---- unit_test.c ---- */

typedef struct EtlUnitResult
{
	const char *status;			/* pass | fail | error */
	Jsonb	   *diff;			/* NULL: none */
} EtlUnitResult;

/* runs a unit test of a model (of an environment perhaps) and leaves nothing behind */
extern void etl_unit_test_run(const EtlUnitTest *test, const char *target, EtlUnitResult *result);

/* etl_model_compile returns the SQL that the next run would execute. */
extern char *etl_model_compile(const EtlModel *model);

#endif							/* ETL_MODEL_H */
