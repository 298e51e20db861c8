/*-------------------------------------------------------------------------
 *
 * check.h
 *    One check at work: shared by the files of quality/ only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CHECK_H
#define ETL_CHECK_H

#include "executor/executor.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"

#include "catalog/definition.h"
#include "catalog/history.h"
#include "common/names.h"
#include "common/options.h"
#include "quality/quality.h"

typedef enum EtlKindId
{
	ETL_KIND_NOT_NULL,
	ETL_KIND_UNIQUE,
	ETL_KIND_ACCEPTED_VALUES,
	ETL_KIND_RANGE,
	ETL_KIND_REGEX,
	ETL_KIND_RELATIONSHIP,
	ETL_KIND_EXPRESSION,
	ETL_KIND_ROW_COUNT,
	ETL_KIND_FRESHNESS
} EtlKindId;

typedef struct EtlCheckKind
{
	EtlKindId	id;
	const char *name;
	bool		of_rows;		/* judged row by row; the others look at the whole relation */
	const char *dimension;		/* unless the definition says otherwise */
	int			min_columns;
	int			max_columns;
	const EtlOptionDef *options;
} EtlCheckKind;

/* ---- kinds.c ---- */
extern const EtlCheckKind *etl_kind_find(const char *name);
extern List *etl_kind_names(void);
extern void etl_kind_validate(const EtlCheckKind *kind, const EtlCheck *check);
extern bool etl_dimension_known(const char *name, List **names);

/* ---- state of one check ---- */

typedef struct EtlCheckState EtlCheckState;

/* EtlColumnTest judges one value that is not null: true when it passes. */
typedef bool (*EtlColumnTest)(EtlCheckState *state, int column, Datum value);

struct EtlCheckState
{
	EtlCheckSet *set;
	EtlCheck   *def;
	const EtlCheckKind *kind;
	EtlThreshold max_failed;
	double		weight;

	/* row kinds */
	bool		by_sql;			/* a relationship with itself: judged on the whole relation */
	int			ncolumns;
	AttrNumber *attnos;
	ExprState  *where;
	ExprState  *expression;
	EtlColumnTest test;
	void	   *material;		/* what 'test' needs */
	bool		may_raise;		/* evaluated under PG_TRY */
	bool		only_builtin;	/* only functions that PostgreSQL itself brings */
	bool		serial;			/* not to be evaluated in parallel workers */
	int64		reads;			/* blocks of its parent, which every process reads for itself */

	/* what was found */
	bool		judged;
	int64		evaluated;
	int64		failed;
	int64		put_aside;		/* rows that were moved before they came into the relation */
	char	   *value;			/* numeric text; row_count, freshness */
	char	   *note;			/* said of a failure, or of a pass that needs a word */
	char	   *error;			/* could not be evaluated, why */
};

struct EtlCheckSet
{
	MemoryContext context;		/* everything here; child of the preparer's context */
	char	   *target;
	Oid			role;			/* whose rights the checks have */
	char	   *owner;			/* its name */
	bool		broken;			/* an error that the transaction cannot survive */
	bool		only_warn;		/* what fails does not block */
	TupleDesc	desc;
	EState	   *estate;
	ExprContext *econtext;
	int			nstates;		/* those that cannot raise come first */
	int			nplain;
	EtlCheckState *states;
	int			nrows;			/* states judged by row */
	int64		load_id;		/* > 0: unique checks move only rows of this load */
	bool		only_rows;		/* … only those named by 'rows': load ids, row numbers */
	Datum		rows[2];
};

/* ---- rowexpr.c ---- */
extern Node *etl_rowexpr_parse(const char *what, const char *text);
extern void etl_orderby_validate(const char *what, const char *text);
extern Node *etl_rowexpr_analyze(TupleDesc desc, const char *relation, Node *raw, bool as_boolean);
extern Node *etl_rowexpr_equal(TupleDesc desc, AttrNumber attno, Form_pg_attribute other,
							   AttrNumber other_attno);
/* the equality of two types as SQL, such that no search_path changes it where PostgreSQL has one */
extern char *etl_rowexpr_equality(Oid left, Oid right);
extern bool etl_rowexpr_only_builtin(Node *expr);
extern bool etl_rowexpr_is_parallel_safe(Node *expr);

/* ---- survivor.c ---- */

/* condition on the rows that alone may be moved; NULL: all may */
extern char *etl_check_new_rows(EtlCheckSet *set, Oid relid, const char *alias);
/* the ORDER BY by which the first row stays; 'place' decides what is left open */
extern char *etl_check_survivor_order(EtlCheckState *state, Oid relid, const char *alias, const char *place);

/* ---- predicate.c ---- */
extern void etl_predicate_compile(EtlCheckState *state);
extern bool etl_predicate_fails(EtlCheckState *state, TupleTableSlot *slot);
extern void etl_predicate_reasons(EtlCheckState *state, TupleTableSlot *slot,
								  void (*emit)(void *arg, EtlCheckState *state, const char *column,
											   const char *value, const char *message),
								  void *arg);
extern char *etl_columns_text(List *columns);

/* ---- value_check.c ---- */
extern void etl_range_compile(EtlCheckState *state);
extern void etl_values_compile(EtlCheckState *state);
extern char *etl_range_message(EtlCheckState *state, int column, Datum value);	/* of one that fails */
extern bool etl_is_text(Oid base);	/* is the type stored as text is? */

/* ---- regex_check.c ---- */
extern void etl_regex_compile(EtlCheckState *state);
extern const char *etl_regex_text(EtlCheckState *state);

/* ---- pattern.c ---- */
typedef struct EtlPattern EtlPattern;
extern EtlPattern *etl_pattern_compile(const char *text);	/* NULL: not a simple one */
extern bool etl_pattern_matches(const EtlPattern *pattern, const char *text, int length);

/* ---- relationship.c ---- */
extern void etl_relationship_compile(EtlCheckState *state);
extern bool etl_relationship_exists(EtlCheckState *state, TupleTableSlot *slot);

/* ---- checkset.c ---- */
extern EtlCheckSet *etl_checkset_make(const char *target, TupleDesc desc, const char *owner,
									  List *checks);
extern bool etl_checks_row_emit(EtlCheckSet *set, TupleTableSlot *slot,
								void		(*emit) (void *arg, EtlCheckState *state, const char *column,
											 const char *value, const char *message),
								void *arg);
extern bool etl_check_must_obey(int sqlerrcode);
extern Jsonb *etl_checks_reason(EtlCheckState *state, const char *column, const char *value,
								const char *message);
extern void etl_checkset_restart(EtlCheckSet *set);

/* ---- setcheck.c ---- */
extern char *etl_set_failing_query(EtlCheckState *state, Oid relid, const char *row_key);
extern char *etl_check_alias(const char *target);

/* ---- verdict.c ---- */
extern const char *etl_check_status(EtlCheckState *state);

/* ---- parallel.c ---- */
/* judges every row of a relation in several processes; false, and nothing counted, when one must do */
extern bool etl_parallel_judge(EtlCheckSet *set, Oid relid);

/* ---- evaluate.c ---- */
extern TupleDesc etl_visible_columns(Oid relid);

typedef bool (*EtlRowVisitor)(TupleTableSlot *slot, void *arg);	/* false: enough */
extern void etl_scan_relation(Oid relid, EtlRowVisitor visit, void *arg);

/* whose rights and settings the checks of a relation run with */
typedef struct EtlCheckOwner
{
	char	   *owner;
	Jsonb	   *settings;
	List	   *checks;
} EtlCheckOwner;
extern List *etl_check_owners(const char *target);	/* EtlCheckOwner * */

#endif							/* ETL_CHECK_H */
