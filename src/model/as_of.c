/*-------------------------------------------------------------------------
 *
 * as_of.c
 *    SQL function as_of: the rows of a snapshot that were valid at a moment.
 *
 * By row type it returns rows of the snapshot, by name JSON.  Either reads
 * with the caller's rights and with the snapshot of the calling query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "common/arguments.h"
#include "common/errors.h"
#include "common/names.h"
#include "model/internal.h"

PG_FUNCTION_INFO_V1(etl_sql_as_of);
PG_FUNCTION_INFO_V1(etl_sql_as_of_name);

/*
 * must_have_versions raises ET001 for a relation that holds no versions.
 */
static void
must_have_versions(Oid relid)
{
	AttrNumber	from = get_attnum(relid, "valid_from");
	AttrNumber	to = get_attnum(relid, "valid_to");

	if (from <= 0 || to <= 0 || get_atttype(relid, from) != TIMESTAMPTZOID ||
		get_atttype(relid, to) != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s holds no versions", etl_quoted_relation(relid)),
				 errdetail("It has no columns valid_from and valid_to of type timestamptz."),
				 errhint("as_of reads models that are materialized as snapshot.")));
}

/*
 * valid_rows renders the query of the rows valid at a moment.  The row of a
 * deleted key says that there is none.
 */
static char *
valid_rows(FunctionCallInfo fcinfo, Oid relid, const char *columns)
{
	char	   *at;
	AttrNumber	mark = get_attnum(relid, "is_deleted");
	EtlModel   *model = etl_model_find(etl_name_canonical(etl_quoted_relation(relid)));
	bool		marked = mark > 0 && model != NULL && etl_model_is_snapshot(model) && etl_snapshot_marks(model);

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the moment must not be null"),
				 errhint("Leave it out for the rows that are valid now.")));
	at = psprintf("'%s'::pg_catalog.timestamptz", timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(1)));
	return psprintf("SELECT %s FROM %s t WHERE t.valid_from OPERATOR(pg_catalog.<=) %s"
					" AND (t.valid_to IS NULL OR t.valid_to OPERATOR(pg_catalog.>) %s)%s",
					columns, etl_quoted_relation(relid), at, at,
					marked ? " AND t.is_deleted IS NOT TRUE" : "");
}

/*
 * row_columns writes the select list, with a null for each dropped column,
 * so that rows fit the row type as it is stored.
 */
static char *
row_columns(TupleDesc desc)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (i > 0)
			appendStringInfoString(&sql, ", ");
		if (column->attisdropped)
			appendStringInfoString(&sql, "NULL::pg_catalog.int4");
		else
			appendStringInfo(&sql, "t.%s", quote_identifier(NameStr(column->attname)));
	}
	return sql.data;
}

typedef struct RowReceiver
{
	DestReceiver pub;
	ReturnSetInfo *rsinfo;
} RowReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	ReturnSetInfo *rsinfo = ((RowReceiver *) self)->rsinfo;

	slot_getallattrs(slot);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, slot->tts_values, slot->tts_isnull);
	return true;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_nothing(DestReceiver *self)
{
}

/*
 * return_rows makes the rows of a query the function's result.
 */
static void
return_rows(FunctionCallInfo fcinfo, TupleDesc desc, const char *sql)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	RowReceiver receiver = {{receive_row, receive_startup, receive_nothing, receive_nothing, DestTuplestore}};
	SPIExecuteOptions options = {0};
	MemoryContext old;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("as_of returns a set, which cannot be had here"),
				 errhint("Write SELECT * FROM etl.as_of(…).")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false,
											  work_mem);
	rsinfo->setDesc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);

	receiver.rsinfo = rsinfo;
	options.dest = (DestReceiver *) &receiver;
	options.read_only = true;
	SPI_connect();
	if (SPI_execute_extended(sql, &options) < 0)
		elog(ERROR, "could not run: %s", sql);
	SPI_finish();
}

/*
 * etl_sql_as_of returns rows of a snapshot; see the comment of etl.as_of.
 */
Datum
etl_sql_as_of(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;
	Relation	rel;
	TupleDesc	desc;

	if (!OidIsValid(relid) || get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("as_of needs the row type of a relation, not %s",
						OidIsValid(type) ? format_type_be(type) : "an unknown type"),
				 errhint("Write NULL::schema.relation as its first argument.")));
	rel = relation_open(relid, AccessShareLock);
	desc = CreateTupleDescCopy(RelationGetDescr(rel));
	must_have_versions(relid);
	return_rows(fcinfo, desc, valid_rows(fcinfo, relid, row_columns(desc)));
	relation_close(rel, AccessShareLock);
	PG_RETURN_NULL();
}

/*
 * etl_sql_as_of_name returns rows of a snapshot as JSON; see the comment of
 * etl.as_of.
 */
Datum
etl_sql_as_of_name(PG_FUNCTION_ARGS)
{
	char	   *target = etl_name_canonical(etl_arg_required(fcinfo, 0, "target"));
	Oid			relid = etl_name_relation(target);
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation %s does not exist", target),
				 errhint("A snapshot is there once a run has built it.")));
	must_have_versions(relid);
	TupleDescInitEntry(desc, 1, "as_of", JSONBOID, -1, 0);
	return_rows(fcinfo, desc, valid_rows(fcinfo, relid, "pg_catalog.to_jsonb(t.*)"));
	PG_RETURN_NULL();
}
