/*-------------------------------------------------------------------------
 *
 * internal.h
 *    What the files of model/ share; nobody else includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_INTERNAL_H
#define ETL_MODEL_INTERNAL_H

#include "catalog/pg_attribute.h"
#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "catalog/consumption.h"
#include "common/compat.h"
#include "model/model.h"
#include "model/slice.h"
#include "quality/quality.h"

/* ---- names.c: what a text reads, before anything is analyzed ---- */

extern RawStmt *etl_query_parse(const char *query);	/* one SELECT, else ET001 */
extern char *etl_query_text(const char *query);	/* without a closing semicolon */
extern List *etl_names_of_query(const char *query);	/* under the current search path */
extern List *etl_names_of_function(Oid function);
/* what a name means that no relation has yet, under the current search path; schema may be NULL */
extern char *etl_name_in_path(const char *schema, const char *relation);
extern List *etl_names_add(List *names, const char *name);
/* walks a raw SELECT with the names of its CTEs in *ctes */
extern bool etl_names_walk_select(SelectStmt *select, List **ctes, bool (*walker)(), void *context);
/* what option depends_on of a model names, inside its etl_run_as */
extern List *etl_names_add_declared(List *names, const EtlModel *model);
extern void etl_names_check_cycle(const char *target, List *names);

/* ---- analyze.c: what an analyzed query reads ---- */

extern Query *etl_query_analyze(const char *query, QueryEnvironment *environment);
extern Query *etl_query_analyze_qualified(const char *query, QueryEnvironment *environment);
extern List *etl_query_dependencies(Query *query);	/* canonical names, through unmanaged views */
extern List *etl_relation_behind(Oid view);	/* names an unmanaged view reads */
/* finds the inputs of a resolved model, and of the views it reads, anew; false: something is missing */
extern bool etl_model_resolve_again(EtlModel *model);
extern char *etl_model_missing(const EtlModel *model);	/* an input that does not exist, or NULL */

extern char *etl_name_meant(const char *schema,
							const char *relation);	/* requery.c: what a name in a query means */

/* ---- pending.c: columns that the next run will bring ---- */

/* A stream or model whose relation will have other columns than it has. */
typedef struct EtlPending
{
	char	   *name;
	TupleDesc	desc;			/* NULL: nobody can tell yet */
} EtlPending;

/* the inputs of a model that will; with it and its inputs' inputs as they are defined */
extern List *etl_pending_inputs(const EtlModel *model);
extern bool etl_pending_untold(List *pending);	/* one of them has no desc */
/* analyzes a query over them, under the settings in force; never to be executed */
extern Query *etl_pending_analyze(const char *query, List *pending);

/* An input of a stored model, views looked through. */
typedef struct EtlInput
{
	char	   *name;
	char		kind;			/* 's' stream, 'm' stored model, 'v' view model, 'w' watched, 'r' other relation */
	EtlStream  *stream;
	EtlConsumption *consumption;	/* of what is 's', 'm', 'w' */
	int64		missing;		/* append streams, for a full build: rows that are gone; cover.c */
	int64		publication;	/* models */
	int			placed;			/* are the rows of pending loads where these left them? 0: not looked; -1: no */
	ItemPointerData first_row;	/* if so, from here … */
	ItemPointerData last_row;	/* … to here … */
	bool		alone;			/* … with no others between them */
	bool		declared;		/* read by something that option depends_on vouches for */
	bool		lapsed;			/* its changes were recorded, and not all of them are any more */
} EtlInput;

extern List *etl_model_inputs(const EtlModel *model);	/* EtlInput *, as the active snapshot sees them */

/* ---- record.c, record_begin.c: which rows of an input changed ---- */

/* is this an input whose changes are told by records, not by loads alone? */
extern bool etl_input_is_recorded(const EtlInput *input);
/* begins to record what is not recorded yet; names of what a new snapshot may rely on */
extern List *etl_record_begin(const EtlModel *model, List *inputs);
extern bool etl_record_is_on(Oid relid);
/* why they are not recorded any more */
extern char *etl_record_lapse(const char *name);
/* were its changes to be recorded, although partitions may have come or gone since? */
extern bool etl_record_is_wanted(Oid relid);
/* a partition of a recorded table has come: its own triggers; then, which partitions there are */
extern void etl_record_add_part(Oid relid, Oid part);
extern void etl_record_know_parts(Oid relid);
/* adds a set of rows that changed without the triggers having seen it: as before, and as since; or NULL */
extern void etl_record_add(const char *target, TupleDesc desc, Tuplestorestate *gone, Tuplestorestate *since);
/* puts the triggers that record changes on a table, which is locked against writers; false: they see not all */
extern bool etl_record_make(const char *name, Oid relid);
/* why sets of changes cannot be used; NULL when they can */
extern const char *etl_record_hindrance(const char *name, Oid relid, const List *sets);
/* the rows of sets: etl_gone, then the columns of the relation, dropped ones included */
extern TupleDesc etl_record_desc(Oid relid);
extern Tuplestorestate *etl_record_read(Oid relid, const List *sets, TupleDesc desc);

/* ---- sql_body.c: functions whose body is one SELECT ---- */

/* the body, analyzed, its parameters as Param nodes; NULL: it is opaque */
extern Query *etl_sql_function_query(FuncExpr *call);
/* the SELECTs of a body; 'whole': it has nothing else.  call: only for polymorphic ones */
extern List *etl_sql_function_queries(Oid function, FuncExpr *call, bool *whole);
/* a copy of a query with the bodies of those that read relations in the place of their calls */
extern Query *etl_query_open_functions(Query *query);

/* ---- lineage.c ---- */

extern List *etl_query_lineage(Query *query, const EtlModel *model);	/* EtlColumnEdge * */

/* ---- downstream.c ---- */

/* adds to the steps downstream of a column what etl does not manage: views and functions */
/* what a view that etl does not manage is made of: EtlLineageStep *; NIL for all else */
extern List *etl_lineage_of_view(const char *target, const char *column, int depth);
extern List *etl_lineage_foreign(List *steps, const char *target, const char *column, int depth);

/* ---- execute.c: running query trees ---- */

extern uint64 etl_execute_query(Query *query, const char *source, QueryEnvironment *environment,
								DestReceiver *receiver);
/* the same on a part of what it reads; NULL: all of it */
extern uint64 etl_execute_sampled(Query *query, const char *source, const char *sample,
								  DestReceiver *receiver);
extern uint64 etl_execute(const char *sql, QueryEnvironment *environment, DestReceiver *receiver);
extern Tuplestorestate *etl_execute_keep(const char *sql, QueryEnvironment *environment);
extern void etl_execute_utility(const char *sql);
extern char *etl_query_deparse(Query *query);
extern char *etl_expression_deparse(Node *expression, Oid relid, const char *alias);

/* ---- named_rows.c: rows that generated SQL reads under a name ---- */

extern void etl_environment_add(QueryEnvironment *environment, const char *name,
								TupleDesc	desc, Tuplestorestate *rows, double count);
extern void etl_environment_add_keyed(QueryEnvironment *environment, const char *name, TupleDesc desc,
									  Tuplestorestate *rows, double count, Bitmapset *key);
extern PlannedStmt *etl_plan(Query *query, const char *source, QueryEnvironment *environment);

/* ---- instead.c ---- */
extern void etl_fallback_check(const EtlModel *model);
extern char *etl_fallback_fingerprint(const EtlModel *model, const char *params);
extern bool etl_fallback_was_built(const char *fingerprint);	/* of another relation? */

/* ---- index_build.c: as CREATE INDEX does, with progress ---- */

extern Oid etl_index_build(Oid relid, IndexStmt *statement);
extern Oid etl_index_build_sql(Oid relid, const char *sql);

/* ---- writer.c: rows of a query into a heap or a tuplestore, through the row checks ---- */

typedef struct EtlWriter EtlWriter;

extern EtlWriter *etl_writer_begin(const EtlModel *model, TupleDesc query_desc, EtlCheckSet *checks,
								   int64 run_id);
extern void etl_writer_to_heap(EtlWriter *writer, Oid relid, Oid constraints_of, bool frozen);
extern Tuplestorestate *etl_writer_to_tuplestore(EtlWriter *writer);
/* sends new rows into the model's table, which others use; false: they must be staged */
extern bool etl_writer_to_table(EtlWriter *writer, Oid relid);
/* keeps the rows that are quarantined, too */
extern Tuplestorestate *etl_writer_keep_quarantined(EtlWriter *writer);
extern DestReceiver *etl_writer_receiver(EtlWriter *writer);
extern void etl_writer_end(EtlWriter *writer);
/* every row must lie in [since, until), else ET021 */
extern void etl_writer_guard(EtlWriter *writer, const EtlSlicing *slicing, TimestampTz since,
							 TimestampTz until);
extern int64 etl_writer_rows(EtlWriter *writer);
extern int64 etl_writer_rejected(EtlWriter *writer);

/* ---- indexes.c: what the options "indexes" and "unique" ask for ---- */

typedef struct EtlModelIndex
{
	char	   *text;			/* as between the parentheses of CREATE INDEX; NULL: the columns */
	List	   *columns;		/* char *, those that stand alone */
} EtlModelIndex;

extern List *etl_model_indexes(const EtlModel *model, const char *option);	/* EtlModelIndex *; ET001 */

/* raises ET001 for options that name no indexes, or columns not among 'columns' (NIL: unknown yet) */
extern void etl_model_indexes_check(const EtlModel *model, List *columns);

extern IndexStmt *etl_index_parse(const char *text);	/* NULL: that is more, or less, than one */

/* ---- option_terms.c ---- */

/* raises ET001 for constraints and indexes that the rows of the query cannot have */
extern void etl_option_terms_check(const EtlModel *model, Query *query, List *columns);

/* ---- kinds.c: the materializations ---- */

extern bool etl_model_is_view(const EtlModel *model);
extern bool etl_model_is_snapshot(const EtlModel *model);
extern bool etl_model_is_matview(const EtlModel *model);
extern bool etl_model_is_seed(const EtlModel *model);
extern bool etl_kind_has(const EtlModel *model, char relkind);
extern const char *etl_kind_word(char relkind);	/* as DROP and COMMENT ON take it */
extern bool etl_model_follows(const EtlModel *model);	/* works by what changed in its inputs */
extern void etl_kind_check(const EtlModel *model, const EtlModel *old);
extern void etl_kind_check_columns(const EtlModel *model, Query *query, List *columns);

/* ---- judge.c: what can be said of options at definition ---- */

extern void etl_model_judge_options(EtlModel *model);	/* ET001 */

/* ---- given.c, given_constraints.c: constraints, comments, privileges, settings ---- */


extern void etl_given_check(const EtlModel *model);
extern Constraint *etl_constraint_parse(const char *text);	/* NULL: it is not one constraint */
extern void etl_given_check_columns(const EtlModel *model, List *columns);
extern Jsonb *etl_given_settings(const EtlModel *model, const Jsonb *captured);
/* old_version: of the definition that the relation was built by; 0: none */
extern void etl_given_constraints(const EtlModel *model, Oid relid, int old_version);
extern void etl_given_words(const EtlModel *model, Oid relid);
/*
 * checks, primary and unique constraints and NOT NULL for a heap that is to
 * take the place of a table's, as far as the table has none; were there any?
 */
extern bool etl_given_constraints_beside(const EtlModel *model, Oid relid, List *lost, Oid heap);
/* does the definition declare a foreign key that the table does not have? */
extern bool etl_given_adds_reference(const EtlModel *model, Oid relid);
/* the same for the table, while it is empty */
extern void etl_given_constraints_of_rows(const EtlModel *model, Oid relid);
/* was that constraint declared, and is it no more? */
extern bool etl_given_drops(const EtlModel *model, Oid relid, const char *constraint);
/* char *: columns that were declared NOT NULL, and are no more */
extern List *etl_given_released(const EtlModel *model, Oid relid);
/* what others gave columns (their numbers) of a table, beside what the definition declares: see belongings.h */
extern List *etl_given_belongings(const EtlModel *model, Oid relid, List *columns);

/* ---- constraints.c ---- */

extern char *etl_constraint_name(Oid relid, char letter, const char *definition);
extern bool etl_constraint_is_ours(const char *name, char letter);
/* char *; without those over columns 'lost' */
extern List *etl_constraints_of(Oid relid, List *lost);
extern void etl_constraints_follow(Oid relid);

/* ---- partition_check.c ---- */

/* Option partition_by, read. */
typedef struct EtlPartitioning
{
	const char *method;			/* range, list or hash */
	char	   *by;				/* as between the parentheses of PARTITION BY */
	char	   *interval;		/* range: length of a partition; NULL: all is in the default one */
	int			count;			/* hash */
} EtlPartitioning;

extern bool etl_model_is_partitioned(const EtlModel *model);
extern EtlPartitioning *etl_partition_read(const EtlModel *model);	/* NULL: it is not partitioned */
extern bool etl_partition_by_number(Oid type);
extern bool etl_partition_by_moment(Oid type);
extern void etl_partition_check(const EtlModel *model);
extern void etl_partition_check_columns(const EtlModel *model, Query *query);
extern List *etl_partition_columns(const EtlModel *model);	/* char *; NIL: it is by an expression */
extern bool etl_partition_replaces(const EtlModel *model);	/* strategy partition_replace */

/* ---- partition.c ---- */

struct		EtlDiff;
extern char *etl_partition_clause(const EtlModel *model);	/* PARTITION BY … */
extern void etl_partition_begin(const EtlModel *model, Oid relid, const char *parameters);
extern bool etl_partition_fits(const EtlModel *model, Oid relid);
extern bool etl_partition_key_is_among(Oid relid, List *numbers);
extern void etl_partition_make(const EtlModel *model, struct EtlDiff *diff, const char *parameters);
extern void etl_partitions_follow(Oid relid, const char *schema);	/* a table that was renamed */

/* A partition that is not there yet. */
typedef struct EtlPartition
{
	char	   *name;
	char	   *bound;			/* FOR VALUES … */
	char	   *condition;		/* that a row of it fulfils */
} EtlPartition;

extern List *etl_partition_missing(const EtlModel *model, struct EtlDiff *diff);	/* EtlPartition * */
extern Oid etl_partition_create(Oid relid, const EtlPartition *partition, const char *parameters);
extern void etl_partition_attach(Oid relid, Oid fresh, const EtlPartition *partition);

/* ---- partition_swap.c: partitions built beside, and exchanged ---- */

typedef struct EtlPartitionSwap EtlPartitionSwap;

extern const char *etl_partition_swap_hindrance(Oid relid);	/* why not, or NULL */
extern EtlPartitionSwap *etl_partition_swap_begin(const EtlModel *model, struct EtlDiff *diff, int64 run_id);
extern Oid etl_partition_swap_view(EtlPartitionSwap *swap);	/* the table as it will be */
extern void etl_partition_swap_publish(EtlPartitionSwap *swap);

/* ---- matview.c ---- */


extern void etl_matview_create(const EtlModel *model, const char *name, const char *parameters);
extern bool etl_matview_fits(Oid relid, TupleDesc desc);
extern void etl_matview_populate(Oid relid);
extern void etl_matview_define(const EtlModel *model, Oid relid);

/* ---- versions.c: the table of a snapshot ---- */

extern bool etl_snapshot_marks(const EtlModel *model);	/* deleted keys get a row */
extern TupleDesc etl_snapshot_desc(TupleDesc query, bool marked);
extern List *etl_snapshot_columns(bool marked);
extern const char *etl_snapshot_reserved(List *columns, bool marked);	/* one that the query must not have */
extern bool etl_snapshot_fits(const EtlModel *model, Oid relid, TupleDesc query);
extern List *etl_snapshot_widened(const EtlModel *model, Oid relid, TupleDesc query);
extern void etl_snapshot_reshape(const EtlModel *model, Oid relid, TupleDesc query, bool ours);
extern void etl_snapshot_constraints(const EtlModel *model, Oid relid);

extern bool etl_snapshot_by_time(const EtlModel *model);	/* strategy timestamp */

/* ---- table.c: the relation of a stored model ---- */

extern char *etl_storage_parameters(const EtlModel *model);	/* WITH (…), or nothing */
extern char *etl_column_type(Form_pg_attribute column);

extern TupleDesc etl_query_desc(Query *query);
extern Oid etl_table_create(const EtlModel *model, const char *name, TupleDesc desc);
extern void etl_table_set_parameters(const EtlModel *model, Oid relid);
extern bool etl_table_fits(const EtlModel *model, Oid relid, TupleDesc desc);
extern List *etl_table_lost_columns(const EtlModel *model, Oid relid, TupleDesc desc);
extern bool etl_table_has_kept_columns(const EtlModel *model, Oid relid, TupleDesc desc);
extern char *etl_table_reshape_actions(const EtlModel *model, Oid relid, TupleDesc desc,
									   bool empty);
/* char *: columns of the query that the table does not have, or with another type, and that it gets */
extern List *etl_table_coming_columns(const EtlModel *model, Oid relid, TupleDesc desc);
extern void etl_table_analyze(Oid relid);
extern void etl_table_hooks(const EtlModel *model, const char *which);
extern void etl_table_comment(const EtlModel *model, const char *kind);
extern void etl_table_must_be_managed(const EtlModel *model, Oid relid, const EtlNodeState *state);
extern char *etl_quoted_relation(Oid relid);

/* ---- table_indexes.c: the indexes of a stored model ---- */

extern void etl_table_indexes(const EtlModel *model, Oid relid);
/* those of etl's that the definition no longer wants */
extern List *etl_table_indexes_unwanted(const EtlModel *model, Oid relid);
/* whether an index keeps the model's key unique in a table */
extern bool etl_table_key_is_kept(const EtlModel *model, Oid relid);
extern void etl_table_indexes_drop_unwanted(const EtlModel *model, Oid relid);
/* have: indexes of the table that stay; constraints: indexes of the heap's own constraints */
extern List *etl_table_indexes_beside(const EtlModel *model, Oid relid, List *have, Oid heap,
									  List *constraints);
/* do two names, of indexes or constraints of etl, say that the definition is the same? */
extern bool etl_index_same_tail(const char *a, const char *b);
/* is it the name of an index that etl_table_indexes made? */
extern bool etl_index_is_ours(const char *name);

/* ---- swap.c: publication under the same OID ---- */

extern const char *etl_swap_hindrance(Oid relid);	/* why not, or NULL */
extern const char *etl_swap_hindrance_of_partition(Oid relid);
typedef struct EtlSwap
{
	Oid			relid;
	Oid			transient;		/* heap that takes the new rows */
	List	   *had;			/* indexes of the target while it was built */
	List	   *indexes;		/* those of them that stay */
	List	   *pairs;			/* of the transient heap, in the same order */
	struct EtlRefit *refit;		/* NULL: the table stays as it is but for its rows */
	char	   *keep;			/* what the old rows are called from then on; NULL: they are dropped */
	Oid			old;			/* heap that takes the old rows; invalid: the transient one does */
	bool		locked;			/* the caller has flushed and locked */
} EtlSwap;

extern EtlSwap *etl_swap_begin(Oid relid);
extern void etl_swap_index(EtlSwap *swap);
extern void etl_swap_flush(void);	/* before the lock: what the commit then need not */
extern void etl_swap_publish(EtlSwap *swap);
extern void etl_swap_make_room(EtlSwap *swap);	/* for the old rows, before the lock */
extern void etl_swap_empty(EtlSwap *swap);	/* under it: the table gives them up */
extern void etl_swap_rename_toast(Oid toast, Oid heap, const char *suffix);	/* after its heap */
extern Oid etl_swap_clone_index(Oid from, Oid to, Oid index, bool constraint);

/* ---- refit.c: a table gets columns, constraints and indexes together with its rows ---- */

typedef struct EtlRefit
{
	const EtlModel *model;
	List	   *lost;			/* int: numbers of the columns that go, or get another type */
	char	   *columns;		/* what ALTER TABLE does to columns; NULL: they stay */
	struct EtlViewDress *dress; /* what the columns that go were granted … */
	List	   *names;			/* char *: … which are these */
	List	   *unwanted;		/* Oid: indexes of the table that the definition has no use for */
	bool		constraints;	/* there are new ones */
	List	   *made;			/* Oid: indexes of the transient heap that the table has no pair of yet */
} EtlRefit;

extern EtlRefit *etl_refit_plan(const EtlModel *model, Oid relid, TupleDesc desc);
extern void etl_refit_begin(EtlSwap *swap, EtlRefit *refit);
extern bool etl_refit_keeps(const EtlSwap *swap, Oid index);
extern void etl_refit_prepare(EtlSwap *swap);	/* before the lock */
extern void etl_refit_apply(EtlSwap *swap);	/* under the lock */
/* the table as it will be, for the constraints that rows of 'heap' must keep */
extern Relation etl_refit_mask(const EtlModel *model, Relation table, Relation heap);

/* ---- environment.c: models in an environment ---- */

/*
 * gives a model the names of the session's environment and returns it as it
 * was given; NULL when it is as in production and not part of it
 */
extern EtlModel *etl_environment_enter(EtlModel *model);
/* notes it after it was stored */
extern void etl_environment_entered(const EtlModel *given, const EtlModel *model);

/* are two definitions the same but for who owns them? */
extern bool etl_model_same(const EtlModel *a, const EtlModel *b);

/* ---- change_class.c: what a change of a definition means ---- */

typedef struct EtlColumnChange
{
	char	   *column;			/* NULL: not of one column */
	const char *what;			/* added | removed | retyped | redefined; rows | order | options */
} EtlColumnChange;

typedef struct EtlModelChange
{
	const char *class;			/* none | additive | breaking */
	List	   *columns;		/* EtlColumnChange * */
} EtlModelChange;

/* both must be analyzable */
extern EtlModelChange *etl_model_change(const EtlModel *old, const EtlModel *new);
/* the definition that a model is served by; NULL when none is */
extern EtlModel *etl_model_served(const EtlModel *model);
/* what is served is of the new definition too, when the change means nothing to it */
extern void etl_model_follow_none(const EtlModel *old, const EtlModel *new);

/* ---- promise.c: options contract and deprecated_on ---- */

extern void etl_promise_check(const EtlModel *model, Query *query);	/* ET001 */
extern void etl_promise_store(const EtlModel *model);	/* its promises of rows become checks */
extern void etl_promise_check_options(const EtlModel *model);	/* ET001 for wrong values */
/* char *: what is to be said of models among 'names' that should not be used (any more) */
extern List *etl_deprecated_inputs(List *names, bool only_past);

/* ---- keep.c: option keep_versions, the rows of former publications ---- */

extern int etl_keep_versions(const EtlModel *model);
extern char *etl_keep_name(const EtlModel *model, Oid relid, const EtlNodeState *state);
extern void etl_keep_copy(Oid relid, const char *name);
extern void etl_keep_storage(Oid relid, Oid transient, Oid toast, Oid old_toast, List *indexes,
							 const char *name);
extern void etl_keep_prune(const EtlModel *model, int keep);

/* ---- diff.c: publication by DML of what differs ---- */

typedef struct EtlDiff
{
	Oid			relid;
	List	   *columns;		/* char *: columns of the query */
	TupleDesc	desc;
	Tuplestorestate *rows;		/* (etl_op, etl_table, etl_ctid, columns…); NULL: written already */
	List	   *key;			/* char *: no two rows agree in; NIL: not known */
	bool		only_inserts;	/* rows are (columns…) */
	int64		inserted;
	int64		updated;
	int64		deleted;
} EtlDiff;

/* ---- insert.c: new rows into a table that nothing watches ---- */

typedef struct EtlInsertion EtlInsertion;

/* rows have the table's columns from number 'first' (from 0) on; NULL: a statement must insert them */
extern EtlInsertion *etl_insertion_begin(Oid relid, TupleDesc rows, int first);
extern void etl_insertion_put(EtlInsertion *insertion, TupleTableSlot *row);
extern void etl_insertion_end(EtlInsertion *insertion);

/* Which part of a result staged rows are, and what is known of them. */
typedef struct EtlDiffScope
{
	char	   *condition;		/* selects the same part of the table, as c */
	bool		once;			/* no two staged rows have one key */
	bool		not_null;		/* no staged row has a NULL in its key */
} EtlDiffScope;

/* joins columns, each with a prefix such as "s." */
extern char *etl_diff_column_list(List *columns, const char *prefix);
extern char *etl_diff_key_columns(const EtlModel *model);
/* 'coming': char *, columns that the table does not have yet, and will, or with another type */
extern EtlDiff *etl_diff_compute(const EtlModel *model, Oid relid, TupleDesc staged_desc,
								 Tuplestorestate *staged, int64 staged_rows, QueryEnvironment *environment,
								 const EtlDiffScope *scope, List *coming);
extern List *etl_diff_common_columns(Oid relid, TupleDesc desc);
/* makes it visible to SQL, as etl_diff */
extern void etl_diff_to_environment(QueryEnvironment *environment, EtlDiff *diff);
/* runs a query of rows (op, table, ctid, columns…) of a difference and keeps them */
extern EtlDiff *etl_diff_make(Oid relid, List *columns, TupleDesc staged_desc, const char *sql,
							  QueryEnvironment *environment);
/* the first row of a query of one text; NULL when there is none */
extern char *etl_first_text(const char *sql, QueryEnvironment *environment);
extern EtlDiff *etl_diff_inserts(Oid relid, TupleDesc staged_desc, Tuplestorestate *staged,
								 int64 staged_rows);
/* "a = b" with the type's own equality, under any search path */
extern char *etl_sql_equals(Oid type, const char *a, const char *b);
/* new rows that the table holds already */
extern EtlDiff *etl_diff_written(Oid relid, TupleDesc staged_desc, int64 rows);
extern void etl_diff_apply_upserts(EtlDiff *diff);
extern void etl_diff_apply_deletes(EtlDiff *diff);

/* ---- inline.c, leaves.c: what a query reads, and the way to it ---- */

/* makes views and CTEs subqueries, and columns of joins those of what is joined, in place */
extern void etl_query_inline(Query *query);
/* a chain of CTEs that each read the one before twice doubles, and what is done with it, too */
extern bool etl_query_is_too_large(const Query *query);
/* makes the entry of a view one of its query */
extern void etl_entry_open_view(RangeTblEntry *rte);

/* One place where the query reads a relation. */
typedef struct EtlDeltaLeaf
{
	RangeTblEntry *rte;
	Oid			as_user;		/* whose rights it is read with; InvalidOid: the caller's */
	EtlInput   *input;			/* that changed; NULL for a place that is only restricted */
	List	   *keynos;			/* int: which key columns are computed from this relation alone … */
	List	   *keys;			/* Node *: … and how, as varno 1 */
	List	   *conditions;		/* Node *, of a place: without which a row matters to nothing, as varno 1 */
	const struct EtlDeltaReach *reach;	/* of whose values the keys are; NULL: of the affected keys */
	int			depth;			/* reaches that lead to it, one to the next */
} EtlDeltaLeaf;

/* What the affected keys are joined or gathered with: values of the rows that have them. */
typedef struct EtlDeltaReach
{
	List	   *sources;		/* EtlDeltaLeaf *: places, as many as a UNION reads … */
	List	   *values;			/* List * of Node *: … and the values in each of them, as varno 1 */
	bool		with_nulls;		/* rows without a value have one another's */
} EtlDeltaReach;

extern List *etl_leaves_find(Query *query, List *inputs, const char **hindrance);
extern int etl_leaves_in(Query *query, List *leaves);
extern int etl_leaves_of(RangeTblEntry *rte, List *leaves);
extern int etl_leaves_below(Node *node, List *leaves);
/* the columns that a query uses of a leaf that it joins, by which rows can be grouped; NULL otherwise */
extern Bitmapset *etl_leaf_used(Query *query, const EtlDeltaLeaf *leaf);

/* does every row of an entry reach the result of a join tree, if it meets the conditions? */
extern bool etl_query_preserves(Node *node, int varno);
extern bool etl_query_reads_whole_row(Query *query, int varno);
extern bool etl_query_only_unites(Node *node, bool all);	/* set operations are UNION (ALL) */
/* do the operators of one level keep the rows of different values of a target apart? */
extern bool etl_query_keeps(Query *query, TargetEntry *target);
extern bool etl_query_yields_once(Query *query, List *key);	/* no two rows of a key, as its clauses say */
/* does one level give one row for values of a target that are equal and not the same? */
extern bool etl_query_blurs(Query *query, TargetEntry *target);
/* the columns that the levels on the way to a leaf blur */
extern Bitmapset *etl_query_blurred(Query *query, List *leaf);
/* does an operator say the same of values of a column that are equal? */
extern bool etl_compares_alike(Oid operator, Oid collation, const Var *column);

/* ---- affected.c, restrict.c, delta.c, rewrite.c: a query restricted to what changed ---- */

/* One column of the affected keys. */
typedef struct EtlDeltaKey
{
	char	   *column;			/* of the target */
	int			resno;			/* in the query */
	Oid			type;
	int32		typmod;
	Oid			collation;
} EtlDeltaKey;

/* A query of affected keys: what the change of one place can touch. */
typedef struct EtlDeltaFinder
{
	Query	   *query;
	List	   *leaves;			/* EtlDeltaLeaf *: its places that read what changed … */
	EtlDeltaLeaf *leaf;			/* … and the one whose change it follows */
	List	   *apart;			/* Query *: where it may find everything that there is to join */
	bool		by_match;		/* of as many rows come and gone that are joined alike, none matters */
} EtlDeltaFinder;

typedef struct EtlDelta
{
	Query	   *query;			/* the model's, views and CTEs inlined */
	const char *hindrance;		/* why there is no correct delta; NULL: there is one */
	bool		append;			/* the query over the delta gives the new rows */
	List	   *inputs;			/* EtlInput * that changed */
	List	   *leaves;			/* EtlDeltaLeaf *: places that read them */
	List	   *keys;			/* EtlDeltaKey *, unless append */
	List	   *finders;		/* EtlDeltaFinder *, unless append */
	bool		widened;		/* they look for what shares a DISTINCT ON or a window with a change, too */
	List	   *places;			/* EtlDeltaLeaf *: places to restrict to the affected keys … */
	List	   *reached;		/* … and rather to what these are joined or gathered with */
	bool		wrapped;		/* and so must the result be */
	Oid			owner;			/* whose rights these places were looked at with */

	/* the key is the event time, and it is cut: batch.c */
	const EtlSlicing *slicing;	/* NULL: by affected keys */
	const EtlSlice *slice;		/* NULL: the rows that lie in no slice */
} EtlDelta;

extern List *etl_affected_finders(const Query *query, List *inputs, bool widen, Bitmapset **known,
								  const char **why);
extern void etl_affected_narrow(EtlDeltaFinder *finder, List *resnos);
/* sets delta->places, ->reached, ->wrapped and ->owner */
extern void etl_restrict_places(EtlDelta *delta, Oid owner);
/* selects the rows t of the pending loads of a leaf: by load id and, where they lie as they were loaded, by blocks */
extern char *etl_pending_condition(const EtlDeltaLeaf *leaf, Oid relid);
/* the rows of a place that matter, of those that 'select' asks for as t; NULL: all may */
extern char *etl_place_sql(const EtlDelta *delta, const EtlDeltaLeaf *place, const char *select,
						   bool null_keys);
/* the same when no affected key is NULL: makes joins plain ones whose optional side then must be there */
extern void etl_delta_need_keys(EtlDelta *delta);
extern void etl_join_make_inner(Query *query, JoinExpr *join);

/* does an input differ from what the model consumed? */
extern bool etl_input_has_changed(const EtlInput *input, const Jsonb *built_inputs);
extern EtlDelta *etl_delta_plan(const EtlModel *model, const Query *query, List *inputs);
/* as if nothing but 'loads' of an append stream were new */
extern EtlDelta *etl_delta_of_loads(const EtlModel *model, const Query *query, const EtlInput *stream,
									List *loads);
/* the queries of the affected keys once more, as delta->finders were before rows were put in; EtlDeltaFinder * */
extern List *etl_delta_fresh_finders(const EtlDelta *delta);
/*
 * the same as Query * with a column more: the changed row, JSON behind + (as
 * it is since) or - (as it was before); NULL where it is only tested
 */
extern List *etl_delta_tellers(const EtlDelta *delta, QueryEnvironment *environment);
/* the values of a place's keys in the new rows of a leaf, which is the place, that meet its conditions */
extern char *etl_delta_key_values(const EtlDeltaLeaf *place, const EtlDeltaLeaf *leaf);

/*
 * adds the rows that are recorded as changed to an environment, without
 * 'with_rows' only their shape; returns the Tuplestorestate * to end
 */
extern List *etl_delta_changes(const EtlDelta *delta, QueryEnvironment *environment, bool with_rows);
/* the queries of the affected keys: Query *, in an environment with the changes */
extern List *etl_delta_finders(const EtlDelta *delta, QueryEnvironment *environment);
extern TupleDesc etl_delta_keys_desc(const EtlDelta *delta);
/* condition that row 'alias' of the target's columns has an affected key */
extern char *etl_delta_scope(const EtlDelta *delta, const char *alias, bool null_keys);
/* the parts of it, for the values of key columns that are given by their numbers */
extern char *etl_affected_keys(const EtlDelta *delta, List *keynos);
extern char *etl_affected_equals(const EtlDelta *delta, List *keynos, List *values);
extern char *etl_is_affected(const EtlDelta *delta, List *keynos, List *values);
extern char *etl_any_null(List *values);
/* SELECT targets FROM query c WHERE condition; takes the query over */
extern Query *etl_query_around(Query *query, const char *targets, const char *condition,
							   QueryEnvironment *environment);
/* restricts delta->query in place and returns it */
extern Query *etl_delta_rewrite(EtlDelta *delta, bool null_keys, QueryEnvironment *environment);

/* ---- sample.c: builds of a part of the inputs, in an environment ---- */

extern char *etl_sample_asked(void);	/* by etl.params: "1%", "empty", shares as JSON; NULL: all rows */
extern char *etl_sample_text(const char *what);
extern char *etl_sample_inherited(List *inputs);	/* what an input was built of */
extern void etl_sample_apply(Query *query, const char *what);	/* to a rewritten query */

/* ---- due.c ---- */

/* Everything the decision rests on; kept for the build that follows. */
typedef struct EtlDue
{
	EtlModelPlan plan;
	EtlNodeState *state;
	Oid			relid;			/* of the target; InvalidOid when it does not exist */
	Query	   *query;			/* analyzed; NULL for unresolved and unchanged views */
	List	   *inputs;
	EtlDelta   *delta;			/* action incremental */
	char	   *fingerprint;
	char	   *sample;			/* what of its inputs it is built of; NULL: all */
	bool		sampled;		/* the run asks for that; else an input was built so */
	bool		columns_changed;	/* the query's columns are not the relation's */
	bool		reread;			/* a view, whose query means something else than when it was made */
	char	   *below;			/* what of the views and functions below its query was replaced; or NULL */
	char	   *unfilled;		/* columns that come without values for the rows that are there, for people */
	List	   *added;			/* snapshots: char *, columns that the last build did not know */

	/* of a model that keeps an interval ledger: intervals.c */
	EtlSlicing *slicing;		/* NULL: it keeps none */
	TimestampTz begin;			/* of option begin; DT_NOEND: none */
	TimestampTz end;			/* of the slice that now lies in */
	bool		sliced;			/* it is built slice by slice */
	List	   *slices;			/* EtlSlice *: which, oldest first … */
	List	   *made_due;		/* … and those that the ledger does not say are due yet */
	bool		consume;		/* made_due holds all that the changes of the inputs touch */
	bool		anew;			/* what the ledger says does not count */
	bool		check_unplaced; /* a row may lie in no slice */
	EtlSlice   *slice;			/* the one that is built */
	Oid			built;			/* what holds the rows of a full build, for the ledger */
	struct EtlStaged *reshaping;	/* the table is still to be altered; NULL: it is as it is to be */
	bool		spared;			/* keys were not recomputed, since retention has taken rows of them */
} EtlDue;

/* ---- reshape.c ---- */

/* alters the table, if it is still to be: from here on its readers wait; inside etl_run_as */
extern void etl_reshape(EtlDue *due);

/* ---- unfilled.c: option backfill ---- */

/* columns that are only to be added to the table, for people; NULL: none, or it is built in full */
extern char *etl_unfilled_columns(const EtlModel *model, const EtlDue *due);
/* raises ET001 for an option that makes no sense */
extern void etl_unfilled_check(const EtlModel *model);

/*
 * before the snapshot of a build: waits for loads that change a column of an
 * input; tells whether the model may read others than when it was resolved
 */
extern bool etl_due_lock(const EtlModel *model);
extern EtlDue *etl_due(const EtlModel *model, bool full_refresh);

/* ---- intervals.c, batch.c: models that keep an interval ledger ---- */

/* sets due->begin and ->end */
extern void etl_intervals_bounds(const EtlModel *model, EtlDue *due);
/* decides for a table that is there; reason NULL: nothing is due */
extern void etl_intervals_decide(EtlDue *due, const EtlModel *model, char *changes);
/* decides for the first build; false when the query cannot be cut */
extern bool etl_intervals_decide_first(EtlDue *due, const EtlModel *model);
/* the slice of the first row of a query; DT_NOEND: it has none */
extern TimestampTz etl_intervals_first(const char *source, const EtlSlicing *slicing, Query *query);

/* the query cut to a slice: ->slice is to be set */
extern EtlDelta *etl_slice_delta(const EtlModel *model, const EtlDue *due);
extern EtlDue *etl_due_of_slice(const EtlModel *model, const EtlSlice *slice);
extern EtlDiff *etl_slice_stage(EtlDriver *driver, const EtlModel *model, EtlDue *due,
								EtlCheckSet *checks, EtlBuildResult *result);
/* the whole query of a full build: what lies between begin and now */
extern Query *etl_slice_query(const EtlDue *due);
/* the ledger's part of the bookkeeping of a build */
extern void etl_slices_remember(EtlDriver *driver, const EtlModel *model, const EtlDue *due,
								const EtlBuildResult *result);
/* raises ET021 for a row of the query that lies in no slice */
extern void etl_slices_check_unplaced(const EtlModel *model, const EtlDue *due);
/* raises ET021 for such a row, or one outside of a slice */
pg_noreturn extern void etl_slice_refuse(const EtlModel *model, const EtlSlicing *slicing,
										 TupleTableSlot *row, TimestampTz since, TimestampTz until);

/* ---- cover.c: do the inputs still have what the target holds? ---- */

extern void etl_cover_check(const EtlModel *model, EtlDue *due);	/* raises ET020 */
extern void etl_cover_remember(const EtlModel *model, const EtlDue *due);

/* ---- freeze.c: freezing the keys that retention takes rows from ---- */

/* why the keys of what goes of a stream cannot be frozen; NULL: they can */
extern const char *etl_frozen_hindrance(const EtlModel *model, const char *stream);
/* a key as it is stored: the first columns of a row as a JSON array of texts */
extern char *etl_frozen_key_text(TupleTableSlot *slot, int natts);

/* ---- frozen.c: keys whose history retention removed in part ---- */

typedef struct EtlFrozen EtlFrozen;

/*
 * which of the affected keys (rows of 'affected') are frozen, and with null_keys
 * which keys with a NULL; NULL: none
 */
extern EtlFrozen *etl_frozen_among(const EtlModel *model, const EtlDelta *delta, TupleDesc query_desc,
								   TupleDesc keys_desc, Tuplestorestate *affected, bool null_keys);
extern void etl_frozen_to_environment(const EtlFrozen *frozen, QueryEnvironment *environment);
/* condition that row 'alias' of the target's columns is not frozen */
extern char *etl_frozen_spares(const EtlFrozen *frozen, const char *alias);
/* the same of a row of affected keys; NULL when these do not tell it */
extern char *etl_frozen_spares_keys(const EtlFrozen *frozen, const char *alias);
/* quarantines the changed rows that would have changed what is frozen; returns how many */
extern int64 etl_frozen_reject_late(const EtlFrozen *frozen, const EtlModel *model, int64 run_id);
extern void etl_frozen_end(EtlFrozen *frozen);

/* ---- view.c ---- */

extern void etl_view_build(EtlDriver *driver, const EtlModel *model, EtlDue *due,
						   EtlBuildResult *result);
/* raises ET013 when the build would change columns under a view that etl does not manage */
extern void etl_dependents_check(const EtlModel *model, EtlDue *due);

/* ---- losers.c, lost.c: rows that a unique check put aside ---- */

/*
 * The keys, as rows of etl_affected, of those rows that may be let in when what
 * 'scope' selects of the table changes; NULL: there are none.  'environment'
 * has what the scope reads.
 */
extern Tuplestorestate *etl_losers_keys(const EtlModel *model, const EtlDelta *delta, EtlCheckSet *checks,
										Oid			relid, QueryEnvironment *environment, const char *scope);

/*
 * takes out of a difference what the unique checks put aside, and makes rejects
 * of it: *rejected counts them; rows that were aside come in.  Returns the
 * difference that is left.
 */
extern EtlDiff *etl_losers_leave(const EtlModel *model, const EtlDue *due, EtlDiff *diff, EtlCheckSet *checks,
								 int64 run_id, int64 *rejected);

/* ---- incremental.c ---- */

/* an environment in which etl_affected and the changes exist, for analysis only */
extern QueryEnvironment *etl_incremental_shape(EtlDelta *delta);

extern EtlDiff *etl_incremental_stage(EtlDriver *driver, const EtlModel *model, EtlDue *due,
									  EtlCheckSet *checks, EtlBuildResult *result);

/* ---- snapshot.c: merging rows into versions ---- */

extern EtlDiff *etl_snapshot_stage(const EtlModel *model, EtlDue *due, Tuplestorestate *staged,
								   int64 staged_rows, Tuplestorestate *quarantined,
								   QueryEnvironment *environment, const char *scope);

#endif							/* ETL_MODEL_INTERNAL_H */
