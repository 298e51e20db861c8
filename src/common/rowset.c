/*-------------------------------------------------------------------------
 *
 * rowset.c
 *    Functions that return the rows of a query they write.
 *
 * The query runs with the caller's rights and with the snapshot of the
 * calling query; its rows go into the result as they come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/errors.h"
#include "common/rowset.h"

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

Oid
etl_rowset_relation(FunctionCallInfo fcinfo, const char *function)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;

	if (!OidIsValid(relid) || get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s needs the row type of a relation, not %s", function,
						OidIsValid(type) ? format_type_be(type) : "an unknown type"),
				 errhint("Write NULL::schema.relation as its first argument.")));
	return relid;
}

char *
etl_rowset_columns(TupleDesc desc)
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

void
etl_rowset_begin(FunctionCallInfo fcinfo, TupleDesc desc, const char *function)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s returns a set, which cannot be had here", function),
				 errhint("Write SELECT * FROM etl.%s(…).", function)));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false,
											  work_mem);
	rsinfo->setDesc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
}

void
etl_rowset_run(FunctionCallInfo fcinfo, const char *sql)
{
	RowReceiver receiver = {{receive_row, receive_startup, receive_nothing, receive_nothing, DestTuplestore},
							(ReturnSetInfo *) fcinfo->resultinfo};
	SPIExecuteOptions options = {0};

	options.dest = (DestReceiver *) &receiver;
	options.read_only = true;
	SPI_connect();
	if (SPI_execute_extended(sql, &options) < 0)
		elog(ERROR, "could not run: %s", sql);
	SPI_finish();
}
