/*-------------------------------------------------------------------------
 *
 * child_gone.c
 *    What landed with rows that go, goes with them.
 *
 * Rows of a child belong to a row of its parent by that one's load and row;
 * the deepest go first, found by what is above them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/landing.h"
#include "common/names.h"
#include "load/children.h"

/*
 * tell notes that rows of a child are gone.
 */
static void
tell(const EtlStream *child, int64 rows, const char *why)
{
	EtlNodeState *state = etl_node_state_get(child->target);

	state->rows_changed += rows;
	state->publication++;
	etl_node_state_set(child->target, state);
	etl_stream_hold(child->target, -rows);
	/* of other modes, models have the rows that went on record */
	if (strcmp(child->mode, "append") == 0)
		etl_stream_rewritten(child->target, psprintf("rows of %s are gone: %s", child->target, why));
}

void
etl_child_delete(const EtlStream *child, const char *condition, const char *why,
				 uint64 (*sql)(const char *statement))
{
	ListCell   *cell;
	int64		rows;

	if (!OidIsValid(etl_name_relation(child->target)))
		return;
	etl_stream_lock(child->target);
	foreach(cell, etl_stream_children(child->target))
		etl_child_delete(lfirst(cell),
						 psprintf("(" ETL_PARENT_LOAD_COLUMN ", " ETL_PARENT_ROW_COLUMN
								  ") IN (SELECT " ETL_LOAD_ID_COLUMN ", " ETL_ROW_COLUMN
								  " FROM %s WHERE %s)",
								  child->target, condition),
						 why, sql);
	rows = sql(psprintf("DELETE FROM %s WHERE %s", child->target, condition));
	if (rows > 0 && why != NULL)
		tell(child, rows, why);
}

void
etl_children_delete(const EtlStream *stream, const char *condition, const char *why)
{
	ListCell   *cell;

	if (!OidIsValid(etl_name_relation(stream->target)))
		return;
	foreach(cell, etl_stream_children(stream->target))
		etl_child_delete(lfirst(cell),
						 psprintf("(" ETL_PARENT_LOAD_COLUMN ", " ETL_PARENT_ROW_COLUMN
								  ") IN (SELECT " ETL_LOAD_ID_COLUMN ", " ETL_ROW_COLUMN
								  " FROM %s WHERE %s)",
								  stream->target, condition),
						 why, etl_relation_sql);
}

void
etl_children_set_status(int64 load_id, const char *status)
{
	ListCell   *cell;

	foreach(cell, etl_loads_within(load_id))
	{
		EtlChildLoad *load = lfirst(cell);

		if (strcmp(status, "expired") != 0)
			(void) etl_rejects_close(load->target, load->load_id, "superseded");
		etl_load_set_status(load->load_id, status);
	}
}

bool
etl_child_has_parent(const EtlStream *child, EtlDecoder *decoder, const EtlRecord *record)
{
	static const char *const links[] = {ETL_PARENT_LOAD_COLUMN, ETL_PARENT_ROW_COLUMN};
	int64		value[2] = {0, 0};
	int			n;
	const char **fields = etl_decoder_fields(decoder, &n);

	for (int f = 0; f < record->nvalues; f++)
		for (int i = 0; i < 2; i++)
			if (strcmp(fields[f], links[i]) == 0 && record->values[f].kind == ETL_VALUE_NUMBER)
				value[i] = strtoll(record->values[f].text, NULL, 10);
	return OidIsValid(etl_name_relation(etl_stream_parent(child))) &&
		   etl_relation_sql(psprintf("SELECT FROM %s WHERE " ETL_LOAD_ID_COLUMN
									 " OPERATOR(pg_catalog.=) " INT64_FORMAT " AND " ETL_ROW_COLUMN
									 " OPERATOR(pg_catalog.=) " INT64_FORMAT,
									 etl_stream_parent(child), value[0], value[1])) > 0;
}

void
etl_child_lock(const EtlStream *stream)
{
	char	   *parent = etl_stream_parent(stream);

	if (parent != NULL)
		etl_child_lock(etl_stream_get(parent));
	etl_stream_lock(stream->target);
}
