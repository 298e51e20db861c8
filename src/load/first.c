/*-------------------------------------------------------------------------
 *
 * first.c
 *    The first load of a relation: its indexes after its rows.
 *
 * A relation that this transaction has made is seen by nobody else.  Its rows
 * are written without a look at its indexes, which are then built by sorting:
 * a third of the time.  A merge stream, too, is loaded like this: that no key
 * comes twice shows when the index of the key is built, and only then are the
 * older records of each key taken out.  What else the indexes refuse sends
 * the load back to its beginning, to be staged and merged row by row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "load/landing.h"

bool
etl_first_is(const EtlLanding *landing)
{
	return landing->rel->rd_createSubid != InvalidSubTransactionId &&
		   landing->rel->rd_rel->relkind == RELKIND_RELATION && landing->rel->trigdesc == NULL &&
		   landing->replay == NULL && !landing->stage;
}

/*
 * build builds every index of the relation anew.  'arg' is the landing.
 */
static void
build(void *arg)
{
	EtlLanding *landing = arg;

	(void) etl_relation_sql(psprintf("REINDEX TABLE %s", landing->stream->target));
}

/*
 * take_out_older deletes all but the newest record of each key, in the order
 * of merge.c; their number.
 */
static int64
take_out_older(EtlLanding *landing)
{
	const EtlStream *stream = landing->stream;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "DELETE FROM %s t USING (SELECT ctid AS tid,"
					 " pg_catalog.row_number() OVER (PARTITION BY ", stream->target);
	foreach(cell, stream->key)
		appendStringInfo(&sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 quote_identifier(lfirst(cell)));
	appendStringInfoString(&sql, " ORDER BY ");
	if (stream->event_time != NULL)
		appendStringInfo(&sql, "%s DESC NULLS LAST, ", quote_identifier(stream->event_time));
	appendStringInfo(&sql,
					 "_etl_load_id DESC, _etl_row DESC) AS \"etl n\" FROM %s) d"
					 " WHERE t.ctid OPERATOR(pg_catalog.=) d.tid"
					 " AND d.\"etl n\" OPERATOR(pg_catalog.>) 1", stream->target);
	return (int64) etl_relation_sql(sql.data);
}

void
etl_first_build_indexes(EtlLanding *landing)
{
	EtlLoad    *load = landing->load;
	ErrorData  *error;
	int64		older;

	if (!landing->options->merge)
	{
		build(landing);
		return;
	}
	error = etl_subxact(build, landing);
	if (error != NULL && error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
	{
		older = take_out_older(landing);
		load->rows_loaded -= older;
		load->rows_deduplicated += older;
		error = etl_subxact(build, landing);
	}
	if (error != NULL && !etl_fault_of_row(error))
		etl_rethrow(error);
	if (error != NULL)
	{
		landing->stage = true;
		etl_drift_restart(landing);
	}
	/* which rows of a merge stream are new is not told by where they lie */
	load->first_block = load->last_block = -1;
}
