/*-------------------------------------------------------------------------
 *
 * quality.h
 *    Checks: row predicates for writers, set checks, results, verdict.
 *
 * Called by load/ and model/ before anything is published, and by the SQL
 * functions check, validate, quality_score.  All checks of a relation share
 * one pass over its rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_QUALITY_H
#define ETL_QUALITY_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

#include "catalog/definition.h"
#include "catalog/history.h"

/* ---- the checks of one relation, prepared for rows of 'desc' ---- */

typedef struct EtlCheckSet EtlCheckSet;

/*
 * The set and its results live in a child of the memory context that is
 * current at etl_checks_prepare, and survive the rollback of a subtransaction
 * begun after it: results can be stored after a failure.
 *
 * etl_checks_prepare compiles the checks of 'target' for rows of shape
 * 'desc', as their owner's SQL; to be called inside etl_run_as.  A check
 * that does not compile gets status error and blocks.
 */
extern EtlCheckSet *etl_checks_prepare(const char *target, TupleDesc desc);
/* checks that fail then warn: the rows are a sample */
extern void etl_checks_only_warn(EtlCheckSet *set);

typedef enum EtlRowVerdict
{
	ETL_ROW_KEEP,
	ETL_ROW_QUARANTINE			/* *reasons: jsonb array to put into the reject */
} EtlRowVerdict;

/*
 * etl_checks_row evaluates every row check on one row and counts.  'reasons'
 * may be NULL when the caller does not quarantine (then nothing is diverted).
 */
extern EtlRowVerdict etl_checks_row(EtlCheckSet *set, TupleTableSlot *slot, Jsonb **reasons);
extern bool etl_checks_has_rows(EtlCheckSet *set);	/* any row check at all */
extern bool etl_checks_has_any(EtlCheckSet *set);	/* any check */

/* whether etl_checks_set may quarantine rows; the checks (EtlCheck *) by which it does */
extern bool etl_checks_may_move(EtlCheckSet *set);
extern List *etl_checks_moving(EtlCheckSet *set);

/*
 * For rows that are not in the relation yet: etl_checks_losers_sql is the query
 * for those of 'rows' (a query, too) that such a check moves.  Rows have etl_n,
 * their number among those that come, NULL for those that are there;
 * etl_table and etl_ctid, where they are; and the relation's columns.  It
 * yields etl_n, etl_table, etl_ctid, etl_raw (the row as JSON) and etl_value;
 * to be run with the check's settings.  etl_checks_put_aside makes the reject of
 * one, and counts it.
 */
extern char *etl_checks_losers_sql(EtlCheckSet *set, const EtlCheck *check, Oid relid, const char *rows);
extern EtlReject *etl_checks_put_aside(EtlCheckSet *set, const EtlCheck *check, char *raw,
									   const char *value);

/*
 * etl_checks_set evaluates the set kinds (unique, relationship, row_count,
 * freshness) on a relation that holds the whole new state.  'relid' may be a
 * transient copy of the target.  When 'quarantine_from' is a load id > 0 or
 * the copy is new, unique checks with on_fail quarantine delete their
 * duplicates there and append EtlReject * to *rejects.
 */
extern void etl_checks_set(EtlCheckSet *set, Oid relid, List **rejects);

/*
 * etl_checks_set_load tells etl_checks_set that only rows of this load may
 * be moved: what earlier loads landed is immutable, and the load's accounting
 * must close.
 */
extern void etl_checks_set_load(EtlCheckSet *set, int64 load_id);

/*
 * etl_checks_set_rows tells it the same of a replay, whose rows carry the
 * numbers of former loads: only these may be moved, each named by
 * _etl_load_id and _etl_row.
 */
extern void etl_checks_set_rows(EtlCheckSet *set, int n, const Datum *load_ids, const Datum *rows);

/*
 * etl_checks_results gives the EtlCheckResult list; etl_checks_verdict
 * raises ET011 with the report in its detail when one blocks.
 */
extern List *etl_checks_results(EtlCheckSet *set, int64 run_id);
extern bool etl_checks_blocked(EtlCheckSet *set);
extern void etl_checks_verdict(EtlCheckSet *set);
extern char *etl_checks_report(EtlCheckSet *set);	/* one line a check that did not pass */

/*
 * etl_checks_run evaluates all checks of a relation as it stands, in one
 * scan, as the owner of the node; used by etl.check and for views.
 */
extern EtlCheckSet *etl_checks_run(const char *target, Oid relid);

/*
 * etl_check_and_store evaluates the checks of each target (char *) as it
 * stands, stores the results without a run and appends them to the set that
 * etl.check returns; etl_check_targets picks targets by name.
 */
extern List *etl_check_targets(const char *patterns);
/* may the current user see what is known of a relation, that exists or not? */
extern bool etl_target_visible(const char *target, Oid relid);
extern void etl_check_and_store(List *targets, ReturnSetInfo *rsinfo);

/* etl_quality_register_options fills etl.options('check:…'); called when the library is loaded. */
extern void etl_quality_register_options(void);

#endif							/* ETL_QUALITY_H */
