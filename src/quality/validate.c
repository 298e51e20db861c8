/*-------------------------------------------------------------------------
 *
 * validate.c
 *    SQL function validate: the rows of a relation that fail its checks.
 *
 * It shows records, so it is for the owner of the relation's definition and
 * for stewards; they see what the owner sees, and nothing runs with more
 * than the owner's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/environment.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "quality/check.h"

PG_FUNCTION_INFO_V1(etl_sql_validate);

typedef struct Validation
{
	ReturnSetInfo *rsinfo;
	EtlCheckSet *set;
	Oid			relid;
	List	   *key;			/* columns that identify a row; NIL: the whole row */
	TupleTableSlot *slot;		/* row that is being judged */
	EtlCheckState *state;
	int64		left;			/* rows that may still be returned */
} Validation;

/*
 * put returns one row of the result.
 */
static void
put(Validation *validation, const char *check, const char *column, Jsonb *row_key,
	const char *value, const char *reason)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {0};

	if (validation->left <= 0)
		return;
	validation->left--;
	values[0] = CStringGetTextDatum(check);
	nulls[1] = column == NULL;
	nulls[2] = row_key == NULL;
	nulls[3] = value == NULL;
	if (column != NULL)
		values[1] = CStringGetTextDatum(column);
	if (row_key != NULL)
		values[2] = JsonbPGetDatum(row_key);
	if (value != NULL)
		values[3] = CStringGetTextDatum(value);
	values[4] = CStringGetTextDatum(reason);
	tuplestore_putvalues(validation->rsinfo->setResult, validation->rsinfo->setDesc, values, nulls);
}

/* ---- what identifies a row ---- */

/*
 * primary_key lists the columns of a relation's primary key.
 */
static List *
primary_key(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	Bitmapset  *attnos = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	List	   *names = NIL;
	int			i = -1;

	while ((i = bms_next_member(attnos, i)) >= 0)
		names = lappend(names, get_attname(relid, i + FirstLowInvalidHeapAttributeNumber, false));
	relation_close(rel, AccessShareLock);
	return names;
}

/*
 * identifying_columns: the node's key, else the primary key, else where the
 * row was landed, else NIL: nothing shorter than the row.
 */
static List *
identifying_columns(const char *target, Oid relid)
{
	EtlStream  *stream = etl_stream_find(target);
	EtlModel   *model = stream ? NULL : etl_model_find(target);
	List	   *key = stream ? stream->key : model ? model->key :
											   NIL;
	ListCell   *cell;

	foreach(cell, key)
		if (get_attnum(relid, lfirst(cell)) <= 0)
		{
			key = NIL;
			break;
		}
	if (key == NIL)
		key = primary_key(relid);
	if (key == NIL && get_attnum(relid, "_etl_load_id") > 0 && get_attnum(relid, "_etl_row") > 0)
		key = list_make2("_etl_load_id", "_etl_row");
	return key;
}

/*
 * row_key_of makes the key of a row of the scan.
 */
static Jsonb *
row_key_of(Validation *validation)
{
	TupleTableSlot *slot = validation->slot;
	TupleDesc	desc = slot->tts_tupleDescriptor;
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(desc, i)->attname);
		bool		wanted = validation->key == NIL;
		FmgrInfo	to_json;
		FuncExpr   *call;
		Param	   *argument;

		foreach(cell, validation->key)
			wanted = wanted || strcmp(lfirst(cell), name) == 0;
		if (!wanted)
			continue;
		if (slot->tts_isnull[i])
		{
			etl_json_add(builder, name, NULL);
			continue;
		}

		/* to_jsonb is polymorphic: it asks the call for the argument's type */
		argument = makeNode(Param);
		argument->paramtype = TupleDescAttr(desc, i)->atttypid;
		call = makeNode(FuncExpr);
		call->args = list_make1(argument);
		fmgr_info(F_TO_JSONB, &to_json);
		fmgr_info_set_expr((Node *) call, &to_json);
		etl_json_add(builder, name, DatumGetJsonbP(FunctionCall1(&to_json, slot->tts_values[i])));
	}
	return etl_json_object_end(builder);
}

/*
 * row_key_sql is the same as SQL, for queries.
 */
static char *
row_key_sql(Validation *validation)
{
	char	   *alias = etl_check_alias(validation->set->target);
	StringInfoData sql;
	ListCell   *cell;

	if (validation->key == NIL)
		return psprintf("pg_catalog.to_jsonb(%s.*)", alias);
	initStringInfo(&sql);
	foreach(cell, validation->key)
		appendStringInfo(&sql, "%s%s, %s.%s", sql.len > 0 ? ", " : "pg_catalog.jsonb_build_object(",
						 quote_literal_cstr(lfirst(cell)), alias, quote_identifier(lfirst(cell)));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* ---- the two ways of finding rows ---- */

static void
put_reason(void *arg, EtlCheckState *state, const char *column, const char *value,
		   const char *message)
{
	Validation *validation = arg;

	put(validation, state->def->name, column, row_key_of(validation), value, message);
}

/*
 * visit_row lets the row checks judge one row; false when enough was found.
 */
static bool
visit_row(TupleTableSlot *slot, void *arg)
{
	Validation *validation = arg;

	validation->slot = slot;
	(void) etl_checks_row_emit(validation->set, slot, put_reason, validation);
	return validation->left > 0;
}

static void
scan(void *arg)
{
	Validation *validation = arg;

	etl_scan_relation(validation->relid, visit_row, validation);
}

/*
 * query_rows finds the failing rows of a check that looks at the whole relation.
 */
static void
query_rows(void *arg)
{
	Validation *validation = arg;
	EtlCheckState *state = validation->state;
	EtlRunAs	as;
	char	   *column = etl_columns_text(state->def->columns);
	char	   *reason = state->kind->id == ETL_KIND_UNIQUE ? "is there more than once" :
														psprintf("is not in %s", state->set->target);

	etl_run_as_begin(&as, state->set->owner, state->def->settings);
	SPI_connect();
	if (SPI_execute(etl_set_failing_query(state, validation->relid, row_key_sql(validation)),
					false, validation->left) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of a query for failing rows");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		key = SPI_getbinval(row, desc, 1, &isnull);

		put(validation, state->def->name, column, isnull ? NULL : DatumGetJsonbP(key),
			SPI_getvalue(row, desc, 2), reason);
	}
	SPI_finish();
	etl_run_as_end(&as);
}

/*
 * put_whole reports what is wrong with the relation as a whole.
 */
static void
put_whole(Validation *validation, EtlCheckState *state)
{
	if (state->error != NULL)
		put(validation, state->def->name, etl_columns_text(state->def->columns), NULL, NULL,
			psprintf("could not be evaluated: %s", state->error));
	else if (state->failed > 0)
		put(validation, state->def->name, etl_columns_text(state->def->columns), NULL, state->value,
			state->note ? state->note : "fails");
}

/*
 * validate_rows scans the relation for rows that fail row checks; on an
 * error that rolled the scan back, again without the check that raised it.
 */
static void
validate_rows(Validation *validation)
{
	EtlCheckSet *set = validation->set;

	while (etl_checks_has_rows(set))
	{
		int64		left = validation->left;
		ErrorData  *error;

		etl_checkset_restart(set);
		error = etl_subxact(scan, validation);
		if (error == NULL)
			return;
		if (!set->broken)
			etl_rethrow(error);
		tuplestore_clear(validation->rsinfo->setResult);
		validation->left = left;
	}
}

/*
 * validate_as finds the rows that fail the checks of one owner.
 */
static void
validate_as(Validation *validation, const char *target, EtlCheckOwner *owner)
{
	EtlRunAs	as;
	EtlCheckSet *set;

	etl_run_as_begin(&as, owner->owner, owner->settings);
	set = etl_checkset_make(target, etl_visible_columns(validation->relid), owner->owner,
							owner->checks);
	validation->set = set;
	validate_rows(validation);
	etl_checks_set(set, validation->relid, NULL);

	for (int i = 0; i < set->nstates && validation->left > 0; i++)
	{
		EtlCheckState *state = &set->states[i];
		bool		by_query = state->kind->id == ETL_KIND_UNIQUE || state->by_sql;

		validation->state = state;
		if (state->error == NULL && by_query && state->failed > 0)
		{
			ErrorData  *error = etl_subxact(query_rows, validation);

			if (error != NULL)
				etl_rethrow(error);
		}
		else if (state->error != NULL || !state->kind->of_rows)
			put_whole(validation, state);
	}
	etl_run_as_end(&as);
}

/*
 * check_allowed raises 42501 unless the caller is the owner or a steward.
 */
static void
check_allowed(const char *target, List *owners)
{
	Oid			stewards = get_role_oid("etl_steward", true);
	ListCell   *cell;

	if (OidIsValid(stewards) && has_privs_of_role(GetUserId(), stewards))
		return;
	foreach(cell, owners)
	{
		Oid			role = get_role_oid(((EtlCheckOwner *) lfirst(cell))->owner, true);

		if (!OidIsValid(role) || !has_privs_of_role(GetUserId(), role))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to see the rows of %s that fail", target),
					 errhint("They are shown to its owner and to members of etl_steward.")));
	}
}

/*
 * etl_sql_validate returns the failing rows.
 */
Datum
etl_sql_validate(PG_FUNCTION_ARGS)
{
	Validation	validation = {0};
	char	   *target;
	List	   *owners;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	validation.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	target = etl_environment_resolve(etl_name_canonical(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	validation.left = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT32(1);

	if (etl_checks_of(target) == NIL)
		(void) etl_check_targets(target);	/* raises, naming the nearest */
	owners = etl_check_owners(target);
	check_allowed(target, owners);
	validation.relid = etl_name_relation(target);
	if (!OidIsValid(validation.relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s does not exist yet", target),
				 errhint("CALL etl.run() builds what is defined.")));
	validation.key = identifying_columns(target, validation.relid);

	foreach(cell, owners)
		if (validation.left > 0)
			validate_as(&validation, target, lfirst(cell));
	PG_RETURN_NULL();
}
