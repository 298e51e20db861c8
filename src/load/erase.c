/*-------------------------------------------------------------------------
 *
 * erase.c
 *    SQL function erase: what a stream holds of somebody, taken out for good.
 *
 * The rows that have a key go, and what landed with them; so do the copies
 * of them that etl keeps: rejects, closed ones too, recorded changes and
 * frozen keys.  Models that read them build in full with their next run.  Who
 * did it, why, and how much of it there was is logged; the key is not, nor
 * any digest of it, which could be guessed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "catalog/environment.h"
#include "catalog/erase.h"
#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/run_as.h"
#include "load/children.h"
#include "load/erase.h"
#include "load/land.h"

PG_FUNCTION_INFO_V1(etl_sql_erase);

#define WHY "rows were erased on request"

typedef struct Erasure
{
	EtlStream  *stream;
	List	   *keys;			/* lists of EtlEraseValue */
	bool		dry_run;
	int64		rows;			/* of the stream */
	ReturnSetInfo *result;
} Erasure;

/* ---- what is to be erased ---- */

/*
 * check_caller raises 42501 unless the caller owns the stream or is a steward.
 */
static void
check_caller(const EtlStream *stream)
{
	Oid			steward = get_role_oid("etl_steward", true);

	if (!OidIsValid(steward) || !has_privs_of_role(GetUserId(), steward))
		etl_check_owner(stream->owner, "stream", stream->target);
}

/*
 * read_value reads one column of a key.
 */
static EtlEraseValue *
read_value(const EtlStream *stream, Oid relid, const Jsonb *key, const char *column)
{
	EtlEraseValue *value = palloc0(sizeof(EtlEraseValue));
	char		kind = etl_json_kind_of(key, column);
	AttrNumber	attnum = OidIsValid(relid) ? get_attnum(relid, column) : InvalidAttrNumber;
	Oid			input;
	Oid			param;
	Oid			collation;

	if (OidIsValid(relid) && attnum <= 0)
	{
		const char *nearest = etl_nearest(column, etl_relation_columns(relid));

		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("\"%s\" has no column \"%s\"", stream->target, column),
				 nearest ? errhint("The nearest is \"%s\".", nearest) : 0));
	}
	if (kind != 's' && kind != 'n' && kind != 'b')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("column \"%s\" of a key must be a text, a number or a boolean", column)));
	value->column = unconstify(char *, column);
	value->text = etl_json_get_text(key, column);
	if (OidIsValid(relid))
	{
		get_atttypetypmodcoll(relid, attnum, &value->type, &value->typmod, &collation);
		if (!OidIsValid(lookup_type_cache(value->type, TYPECACHE_EQ_OPR)->eq_opr))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("values of column \"%s\" cannot be compared", column)));
		getTypeInputInfo(value->type, &input, &param);
		value->value = OidInputFunctionCall(input, value->text, param, value->typmod);
	}
	return value;
}

/*
 * read_keys reads one key, or a list of them; as the owner of the stream.
 */
static List *
read_keys(const EtlStream *stream, const Jsonb *keys)
{
	Oid			relid = etl_name_relation(stream->target);
	List	   *objects = etl_json_kind(keys) == 'a' ? etl_json_elements(keys) :
												 list_make1(unconstify(Jsonb *, keys));
	List	   *result = NIL;
	ListCell   *cell;
	ListCell   *column;
	bool		sound = objects != NIL;

	foreach(cell, objects)
		sound = sound && etl_json_kind(lfirst(cell)) == 'o' && etl_json_keys(lfirst(cell)) != NIL;
	if (!sound)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("keys must be an object of columns and values, or a list of them"),
				 errhint("Write {\"customer_id\": 42}; a row that has all values of one object is erased.")));
	foreach(cell, objects)
	{
		Jsonb	   *object = lfirst(cell);
		List	   *key = NIL;

		foreach(column, etl_json_keys(object))
			key = lappend(key, read_value(stream, relid, object, lfirst(column)));
		result = lappend(result, key);
	}
	return result;
}

/*
 * write_condition renders which rows have one of the keys.
 */
static char *
write_condition(const Erasure *erasure)
{
	StringInfoData out;
	ListCell   *cell;
	ListCell   *value;

	initStringInfo(&out);
	foreach(cell, erasure->keys)
	{
		appendStringInfo(&out, "%s(", out.len ? " OR " : "");
		foreach(value, (List *) lfirst(cell))
		{
			EtlEraseValue *wanted = lfirst(value);

			appendStringInfo(
				&out, "%s%s %s %s::%s", foreach_current_index(value) ? " AND " : "",
				quote_identifier(wanted->column),
				etl_qualified_operator(lookup_type_cache(wanted->type, TYPECACHE_EQ_OPR)->eq_opr),
				quote_literal_cstr(wanted->text),
				format_type_extended(wanted->type, wanted->typmod,
									 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		}
		appendStringInfoChar(&out, ')');
	}
	return out.data;
}

/* ---- erasing ---- */

/*
 * put_result appends a line to the result, where there was something.
 */
static void
put_result(const Erasure *erasure, const char *target, const char *place, int64 rows)
{
	Datum		values[3] = {CStringGetTextDatum(target), CStringGetTextDatum(place), Int64GetDatum(rows)};
	bool		nulls[3] = {false, false, false};

	if (rows > 0)
		tuplestore_putvalues(erasure->result->setResult, erasure->result->setDesc, values, nulls);
}

/*
 * rows_of finds the rows of a stream that a condition is true for, as its
 * owner.
 */
static HTAB *
rows_of(const EtlStream *stream, const char *condition)
{
	HASHCTL		control = {.keysize = sizeof(EtlErasedRow),
					   .entrysize = sizeof(EtlErasedRow),
					   .hcxt = CurrentMemoryContext};
	HTAB	   *rows = hash_create("etl erased rows", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	EtlRunAs	as;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	SPI_connect();
	if (SPI_execute(psprintf("SELECT " ETL_LOAD_ID_COLUMN ", " ETL_ROW_COLUMN " FROM %s WHERE %s",
							 stream->target, condition),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of %s", stream->target);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		EtlErasedRow row = {0};
		bool		null_load;
		bool		null_row;

		row.load_id = DatumGetInt64(
			SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null_load));
		row.row_number = DatumGetInt64(
			SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &null_row));
		if (!null_load && !null_row)
			(void) hash_search(rows, &row, HASH_ENTER, NULL);
	}
	SPI_finish();
	etl_run_as_end(&as);
	return rows;
}

/*
 * count_rows counts them, those that etl did not land too.
 */
static int64
count_rows(const EtlStream *stream, const char *condition)
{
	EtlRunAs	as;
	int64		rows;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	rows = etl_relation_sql(psprintf("SELECT FROM %s WHERE %s", stream->target, condition));
	etl_run_as_end(&as);
	return rows;
}

/*
 * erase_items takes out what landed with rows, and the rejects of it, the
 * innermost first.
 */
static void
erase_items(const Erasure *erasure, const EtlStream *stream, const char *condition)
{
	HTAB	   *parents = rows_of(stream, condition);
	ListCell   *cell;

	foreach(cell, etl_stream_children(stream->target))
	{
		EtlStream  *child = lfirst(cell);
		char	   *within = psprintf("(" ETL_PARENT_LOAD_COLUMN ", " ETL_PARENT_ROW_COLUMN
								") IN (SELECT " ETL_LOAD_ID_COLUMN ", " ETL_ROW_COLUMN
								" FROM %s WHERE %s)",
								stream->target, condition);

		etl_stream_lock(child->target);
		put_result(erasure, child->target, "rejects",
				   etl_erase_item_rejects(child, parents, erasure->dry_run));
		if (!OidIsValid(etl_name_relation(child->target)))
			continue;
		erase_items(erasure, child, within);
		put_result(erasure, child->target, "rows", count_rows(child, within));
	}
	hash_destroy(parents);
}

/*
 * erase_changes takes out what is on record of changes of a stream and of
 * what lands with it: also what its rows left when they went just now.
 */
static void
erase_changes(const Erasure *erasure, const EtlStream *stream)
{
	ListCell   *cell;

	put_result(erasure, stream->target, "changes", etl_changes_count(stream->target));
	if (!erasure->dry_run)
		etl_changes_erase(stream->target, WHY);
	foreach(cell, etl_stream_children(stream->target))
		erase_changes(erasure, lfirst(cell));
}

/*
 * delete_rows deletes the rows of the stream, and tells its models.
 */
static void
delete_rows(Erasure *erasure, const char *condition)
{
	const EtlStream *stream = erasure->stream;
	EtlNodeState *state;
	EtlRunAs	as;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	etl_children_delete(stream, condition, WHY);
	erasure->rows = etl_relation_sql(psprintf("DELETE FROM %s WHERE %s", stream->target, condition));
	etl_run_as_end(&as);
	if (erasure->rows == 0)
		return;
	state = etl_node_state_get(stream->target);
	state->rows_changed += erasure->rows;
	state->publication++;
	etl_node_state_set(stream->target, state);
	etl_stream_hold(stream->target, -erasure->rows);
	if (strcmp(stream->mode, "append") == 0)
		etl_stream_rewritten(stream->target, psprintf("rows of %s are gone: " WHY, stream->target));
}

/*
 * erase_rows erases the rows of the stream and what landed with them.
 */
static void
erase_rows(Erasure *erasure)
{
	const EtlStream *stream = erasure->stream;
	char	   *condition;

	if (!OidIsValid(etl_name_relation(stream->target)))
		return;
	condition = write_condition(erasure);
	put_result(erasure, stream->target, "rows", count_rows(stream, condition));
	erase_items(erasure, stream, condition);
	if (!erasure->dry_run)
		delete_rows(erasure, condition);
	if (erasure->dry_run || erasure->rows > 0)
		erase_changes(erasure, stream);
}

/*
 * erase_all_rejects erases the rejects of the stream and of the models below,
 * and the keys that these keep of rows that are gone.
 */
static int64
erase_all_rejects(const Erasure *erasure)
{
	const char *stream = erasure->stream->target;
	int64		all = etl_erase_rejects(erasure->stream, erasure->keys, erasure->dry_run);
	ListCell   *cell;

	put_result(erasure, stream, "rejects", all);
	foreach(cell, etl_models_below(stream))
	{
		int64		n = etl_erase_model_rejects(lfirst(cell), erasure->keys, erasure->dry_run);

		put_result(erasure, lfirst(cell), "rejects", n);
		put_result(erasure, lfirst(cell), "frozen keys",
				   etl_erase_frozen(stream, lfirst(cell), erasure->keys, WHY, erasure->dry_run));
		all += n;
	}
	return all;
}

/*
 * tell_log logs who erased how much, and why; of whom the reason may say, by
 * a number of the request: even a digest of a key can be guessed.
 */
static void
tell_log(const Erasure *erasure, int64 rejects, const char *reason)
{
	etl_log_store("info", 0, erasure->stream->target,
				  psprintf("%s erased " INT64_FORMAT " rows and " INT64_FORMAT " rejects: %s",
						   GetUserNameFromId(GetUserId(), false), erasure->rows, rejects, reason),
				  NULL);
}

Datum
etl_sql_erase(PG_FUNCTION_ARGS)
{
	Erasure		erasure = {.dry_run = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3)};
	char	   *reason = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	Jsonb	   *keys;
	int64		rejects;
	EtlRunAs	as;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || reason == NULL || *reason == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target, keys and reason must be given"),
				 errhint("The reason is logged; it should not name the person.")));
	keys = PG_GETARG_JSONB_P(1);
	erasure.stream =
		etl_stream_get(etl_environment_target(etl_name_canonical(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	check_caller(erasure.stream);
	etl_stream_refuse_child(erasure.stream, "erased from by itself");
	InitMaterializedSRF(fcinfo, 0);
	erasure.result = (ReturnSetInfo *) fcinfo->resultinfo;

	etl_stream_lock(erasure.stream->target);
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_run_as_begin(&as, erasure.stream->owner, erasure.stream->settings);
	erasure.keys = read_keys(erasure.stream, keys);
	etl_run_as_end(&as);
	rejects = erase_all_rejects(&erasure);
	erase_rows(&erasure);
	if (!erasure.dry_run)
		tell_log(&erasure, rejects, reason);
	PopActiveSnapshot();
	return (Datum) 0;
}
