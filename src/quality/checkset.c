/*-------------------------------------------------------------------------
 *
 * checkset.c
 *    The checks of one relation, prepared, and the loop over its rows.
 *
 * All row checks of a relation see each row once.  A check that raises an
 * error is out of the game: where only PostgreSQL's own functions are
 * involved the error is caught there and the others go on; otherwise the
 * whole (sub)transaction must be given up, and the error says so.  Either
 * way the check has status error and blocks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "quality/check.h"

/*
 * etl_check_must_obey tells whether an error is about the session and not
 * about the check: cancel, shutdown, resources, conflicts.
 */
bool
etl_check_must_obey(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return sqlerrcode == ERRCODE_OUT_OF_MEMORY || sqlerrcode == ERRCODE_DISK_FULL;
	}
}

/*
 * default_weight is the weight in the score of a check that names none.
 */
static double
default_weight(const char *on_fail)
{
	return strcmp(on_fail, "fail") == 0 ? 5 : strcmp(on_fail, "quarantine") == 0 ? 3 :
																				   1;
}

/*
 * may_act_for tells whether a check's owner may make the node's owner run
 * SQL of his: only members of that role.
 */
static bool
may_act_for(const char *check_owner, const char *node_owner)
{
	Oid			check_role = get_role_oid(check_owner, true);
	Oid			node_role = get_role_oid(node_owner, true);

	if (strcmp(check_owner, node_owner) == 0)
		return true;
	return OidIsValid(check_role) && OidIsValid(node_role) && has_privs_of_role(check_role, node_role);
}

/*
 * compile prepares one check; runs inside a subtransaction, in the context
 * and under the settings of its definition.
 */
static void
compile(void *arg)
{
	EtlCheckState *state = arg;
	EtlModel   *model;
	EtlRunAs	as;
	MemoryContext old = MemoryContextSwitchTo(state->set->context);

	if (!may_act_for(state->def->owner, state->set->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("its owner \"%s\" is not a member of \"%s\", the owner of %s",
						state->def->owner, state->set->owner, state->set->target)));

	model = strcmp(state->def->on_fail, "quarantine") == 0 ? etl_model_find(state->set->target) : NULL;
	if (model != NULL && strcmp(model->materialized, "view") == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a check on a view cannot quarantine")));

	state->max_failed = etl_option_threshold("max_failed",
											 etl_json_get_text(state->def->options, "max_failed"));
	if (state->kind->of_rows)
	{
		etl_run_as_begin(&as, state->set->owner, state->def->settings);
		etl_predicate_compile(state);
		etl_run_as_end(&as);
	}
	MemoryContextSwitchTo(old);
}

/*
 * order_states puts row checks that cannot raise first, then the other row
 * checks, then the set kinds, so that the row loop is two plain loops.
 */
static int
order_states(const void *a, const void *b)
{
	const EtlCheckState *left = a;
	const EtlCheckState *right = b;
	int			l = left->kind->of_rows ? (left->may_raise ? 1 : 0) : 2;
	int			r = right->kind->of_rows ? (right->may_raise ? 1 : 0) : 2;

	return l != r ? l - r : strcmp(left->def->name, right->def->name);
}

/*
 * etl_checkset_make prepares the given checks for rows of 'desc', with the
 * rights of 'owner' whoever the current user is.
 */
EtlCheckSet *
etl_checkset_make(const char *target, TupleDesc desc, const char *owner, List *checks)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl checks",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlCheckSet *set = palloc0(sizeof(EtlCheckSet));
	ListCell   *cell;

	set->context = context;
	set->target = pstrdup(target);
	set->role = get_role_oid(owner, false);
	set->owner = pstrdup(owner);
	set->desc = CreateTupleDescCopyConstr(desc);
	set->estate = CreateExecutorState();
	set->econtext = CreateExprContext(set->estate);
	set->states = palloc0(sizeof(EtlCheckState) * Max(list_length(checks), 1));

	foreach(cell, checks)
	{
		EtlCheckState *state = &set->states[set->nstates++];
		EtlCheck   *check = lfirst(cell);
		char	   *weight = etl_json_get_text(check->options, "weight");
		ErrorData  *error;

		state->set = set;
		state->def = check;
		state->kind = etl_kind_find(check->kind);
		state->weight = weight ? strtod(weight, NULL) : default_weight(check->on_fail);
		/* in a parallel worker, which may have none: there it has compiled before */
		if (IsInParallelMode())
		{
			compile(state);
			continue;
		}
		error = etl_subxact(compile, state);
		if (error != NULL)
			state->error = error->message;
	}

	qsort(set->states, set->nstates, sizeof(EtlCheckState), order_states);
	for (int i = 0; i < set->nstates; i++)
	{
		EtlCheckState *state = &set->states[i];

		if (!state->kind->of_rows)
			continue;
		set->nrows++;
		if (!state->may_raise)
			set->nplain++;
		/* an empty input is judged too */
		state->judged = !state->by_sql;
	}
	MemoryContextSwitchTo(old);
	return set;
}

EtlCheckSet *
etl_checks_prepare(const char *target, TupleDesc desc)
{
	char	   *owner = etl_node_owner(target);

	return etl_checkset_make(target, desc,
							 owner ? owner : GetUserNameFromId(GetUserId(), false),
							 etl_checks_of(target));
}

void
etl_checks_only_warn(EtlCheckSet *set)
{
	set->only_warn = true;
}

bool
etl_checks_has_rows(EtlCheckSet *set)
{
	return set->nrows > 0;
}

bool
etl_checks_has_any(EtlCheckSet *set)
{
	return set->nstates > 0;
}

List *
etl_checks_moving(EtlCheckSet *set)
{
	List	   *moving = NIL;

	for (int i = 0; i < set->nstates; i++)
		if (set->states[i].kind->id == ETL_KIND_UNIQUE &&
			strcmp(set->states[i].def->on_fail, "quarantine") == 0)
			moving = lappend(moving, set->states[i].def);
	return moving;
}

bool
etl_checks_may_move(EtlCheckSet *set)
{
	return etl_checks_moving(set) != NIL;
}

void
etl_checks_set_load(EtlCheckSet *set, int64 load_id)
{
	set->load_id = load_id;
}

void
etl_checks_set_rows(EtlCheckSet *set, int n, const Datum *load_ids, const Datum *rows)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);

	set->only_rows = true;
	set->rows[0] = PointerGetDatum(construct_array(unconstify(Datum *, load_ids), n, INT8OID, 8,
												   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	set->rows[1] = PointerGetDatum(construct_array(unconstify(Datum *, rows), n, INT8OID, 8,
												   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	MemoryContextSwitchTo(old);
}

/* ---- the row loop ---- */

typedef void (*EmitReason)(void *arg, EtlCheckState *state, const char *column,
						   const char *value, const char *message);

/*
 * judge lets one check look at the row; true when it fails.
 */
static inline bool
judge(EtlCheckState *state, TupleTableSlot *slot)
{
	return state->error == NULL && !state->by_sql && etl_predicate_fails(state, slot);
}

/*
 * raise_broken gives up the transaction because of a check whose error
 * cannot be survived.
 */
static void
raise_broken(EtlCheckState *state)
{
	EtlCheckSet *set = state->set;

	ereport(ERROR,
			(errcode(ETL_ERR_CHECK_FAILED),
			 errmsg("check \"%s\" on %s could not be evaluated", state->def->name, set->target),
			 errdetail("%s", state->error),
			 errhint("Correct the check with etl.define_check(), or the rows that it cannot judge.")));
}

/*
 * judge_raising lets the checks that may raise look at the row.  Returns the
 * index of the first check that fails from 'from' on, or nrows.
 */
static int
judge_raising(EtlCheckSet *set, TupleTableSlot *slot, int from)
{
	volatile int i = from;
	volatile bool failed = false;
	MemoryContext context = CurrentMemoryContext;
	EtlCheckState *volatile broken = NULL;

	while (i < set->nrows && !failed)
	{
		broken = NULL;
		PG_TRY();
		{
			for (; i < set->nrows; i++)
				if (judge(&set->states[i], slot))
				{
					failed = true;
					break;
				}
		}
		PG_CATCH();
		{
			ErrorData  *error;

			MemoryContextSwitchTo(set->context);
			error = CopyErrorData();
			if (etl_check_must_obey(error->sqlerrcode) || error->elevel > ERROR)
				PG_RE_THROW();
			FlushErrorState();
			MemoryContextSwitchTo(context);
			broken = &set->states[i];
			broken->error = error->message;
			/* a data exception of a built-in function leaves nothing behind */
			if (!broken->only_builtin ||
				ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
				set->broken = true;
		}
		PG_END_TRY();
		if (broken != NULL && set->broken)
			raise_broken(broken);
		if (broken != NULL)
			i++;
	}
	return i;
}

/*
 * etl_checks_row_emit lets every row check look at one row and hands the
 * reasons to 'emit' (may be NULL).  Returns whether a quarantining check
 * failed.
 */
bool
etl_checks_row_emit(EtlCheckSet *set, TupleTableSlot *slot, EmitReason emit, void *arg)
{
	MemoryContext old;
	Oid			saved_user;
	int			saved_context;
	bool		quarantine = false;
	int			i;

	if (set->nrows == 0)
		return false;
	GetUserIdAndSecContext(&saved_user, &saved_context);
	if (saved_user != set->role)
		SetUserIdAndSecContext(set->role, saved_context | SECURITY_RESTRICTED_OPERATION |
											  SECURITY_LOCAL_USERID_CHANGE);
	slot_getallattrs(slot);
	ResetExprContext(set->econtext);
	set->econtext->ecxt_scantuple = slot;
	old = MemoryContextSwitchTo(set->econtext->ecxt_per_tuple_memory);

	for (i = 0; i < set->nplain; i++)
	{
		if (!judge(&set->states[i], slot))
			continue;
		quarantine = quarantine || set->states[i].def->on_fail[0] == 'q';
		if (emit != NULL)
			etl_predicate_reasons(&set->states[i], slot, emit, arg);
	}
	while (i < set->nrows)
	{
		i = judge_raising(set, slot, i);
		if (i >= set->nrows)
			break;
		quarantine = quarantine || set->states[i].def->on_fail[0] == 'q';
		if (emit != NULL)
			etl_predicate_reasons(&set->states[i], slot, emit, arg);
		i++;
	}

	MemoryContextSwitchTo(old);
	if (saved_user != set->role)
		SetUserIdAndSecContext(saved_user, saved_context);
	return quarantine;
}

/*
 * add_text appends a key with a text or null to a jsonb object being built.
 */
static void
add_text(JsonbParseState **parse, const char *key, const char *text)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = unconstify(char *, key);
	item.val.string.len = strlen(key);
	(void) pushJsonbValue(parse, WJB_KEY, &item);
	item.type = text ? jbvString : jbvNull;
	if (text != NULL)
	{
		item.val.string.val = unconstify(char *, text);
		item.val.string.len = strlen(text);
	}
	(void) pushJsonbValue(parse, WJB_VALUE, &item);
}

/*
 * collect_reason appends one reason to a jsonb array being built.
 */
static void
collect_reason(void *arg, EtlCheckState *state, const char *column, const char *value,
			   const char *message)
{
	JsonbParseState **parse = arg;

	if (*parse == NULL)
		(void) pushJsonbValue(parse, WJB_BEGIN_ARRAY, NULL);
	(void) pushJsonbValue(parse, WJB_BEGIN_OBJECT, NULL);
	add_text(parse, "check", state->def->name);
	add_text(parse, "column", column);
	add_text(parse, "value", value);
	add_text(parse, "message", message);
	(void) pushJsonbValue(parse, WJB_END_OBJECT, NULL);
}

EtlRowVerdict
etl_checks_row(EtlCheckSet *set, TupleTableSlot *slot, Jsonb **reasons)
{
	JsonbParseState *parse = NULL;

	if (reasons == NULL)
	{
		(void) etl_checks_row_emit(set, slot, NULL, NULL);
		return ETL_ROW_KEEP;
	}
	*reasons = NULL;
	if (!etl_checks_row_emit(set, slot, collect_reason, &parse))
		return ETL_ROW_KEEP;
	*reasons = JsonbValueToJsonb(pushJsonbValue(&parse, WJB_END_ARRAY, NULL));
	return ETL_ROW_QUARANTINE;
}

/*
 * etl_checks_reason makes the reasons of a reject with one entry.
 */
Jsonb *
etl_checks_reason(EtlCheckState *state, const char *column, const char *value, const char *message)
{
	JsonbParseState *parse = NULL;

	collect_reason(&parse, state, column, value, message);
	return JsonbValueToJsonb(pushJsonbValue(&parse, WJB_END_ARRAY, NULL));
}

/*
 * etl_checkset_restart forgets the counts, for a pass from the beginning.
 */
void
etl_checkset_restart(EtlCheckSet *set)
{
	set->broken = false;
	for (int i = 0; i < set->nrows; i++)
	{
		set->states[i].evaluated = 0;
		set->states[i].failed = 0;
	}
}
