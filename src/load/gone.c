/*-------------------------------------------------------------------------
 *
 * gone.c
 *    Recording the rows that a replaced load takes with it.
 *
 * Incremental models that consumed them must compute the keys of these rows
 * anew.  What they read of a load that is there they find by its number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/change.h"
#include "common/names.h"
#include "load/landing.h"

#define BATCH_ROWS 1000

/*
 * rows_query selects the rows of a load as records.
 */
static char *
rows_query(const char *target, TupleDesc desc, int64 load_id)
{
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ROW(");
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&sql, "%s%s", n++ ? ", " : "",
							 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	appendStringInfo(&sql, ")::pg_catalog.text FROM %s WHERE %s OPERATOR(pg_catalog.=) " INT64_FORMAT, target,
					 ETL_LOAD_ID_COLUMN, load_id);
	return sql.data;
}

/*
 * add_batch adds what a cursor fetched to a set.
 */
static void
add_batch(int64 set_id, int64 first, SPITupleTable *table, int n)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum	   *records = palloc(sizeof(Datum) * n);
	bool		isnull;

	for (int i = 0; i < n; i++)
		records[i] = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
	etl_change_rows_add(set_id, first, true, records, n);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * etl_gone_record records the rows of a load, before they are deleted, when an
 * incremental model needs them; inside etl_run_as of the stream's owner.
 */
void
etl_gone_record(const EtlStream *stream, int64 load_id)
{
	Relation	rel;
	Portal		cursor;
	int64		set_id;
	int64		rows = 0;
	int			level;

	if (!etl_changes_wanted(stream->target))
		return;
	rel = table_open(etl_name_relation(stream->target), AccessShareLock);
	level = etl_change_text_begin();
	set_id = etl_change_set_add(stream->target, NULL, etl_change_columns(RelationGetDescr(rel)), 0);
	SPI_connect();
	cursor = SPI_cursor_open_with_args(NULL, rows_query(stream->target, RelationGetDescr(rel), load_id),
									   0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(cursor, true, BATCH_ROWS);
		if (SPI_processed == 0)
			break;
		add_batch(set_id, rows, SPI_tuptable, (int) SPI_processed);
		rows += SPI_processed;
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(cursor);
	SPI_finish();
	AtEOXact_GUC(false, level);
	etl_change_set_load(set_id, load_id, rows);
	table_close(rel, NoLock);
}
