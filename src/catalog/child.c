/*-------------------------------------------------------------------------
 *
 * child.c
 *    Streams that land with another one: the lists inside its records.
 *
 * Such a stream has a definition, loads and rejects like any other; its
 * options name the stream that it lands with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/child.h"
#include "catalog/sql.h"
#include "common/errors.h"
#include "common/json.h"

char *
etl_stream_parent(const EtlStream *stream)
{
	return etl_json_get_text(stream->options, ETL_CHILD_OF);
}

void
etl_stream_refuse_child(const EtlStream *stream, const char *what)
{
	char	   *parent = etl_stream_parent(stream);

	if (parent == NULL)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("stream \"%s\" cannot be %s: it lands with \"%s\"", stream->target, what, parent),
			 errdetail("Its rows are the lists in field \"%s\" of the records there.",
					   etl_json_get_text(stream->options, ETL_CHILD_PATH)),
			 errhint("Do it with stream \"%s\": what lands with it follows.", parent)));
}

List *
etl_stream_children(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *children = NIL;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT target FROM etl.stream WHERE options ->> '" ETL_CHILD_OF "' = $1"
						 " ORDER BY target COLLATE \"C\"", &params);
	for (int i = 0; i < rows->n; i++)
		children = lappend(children, etl_stream_get(etl_row_text(rows, i, "target")));
	return children;
}

List *
etl_loads_within(int64 load_id)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *loads = NIL;

	etl_param_int8(&params, load_id);
	rows = etl_sql_query("WITH RECURSIVE within AS (SELECT load_id, target FROM etl.load"
						 " WHERE parent_load_id = $1 UNION ALL SELECT l.load_id, l.target FROM etl.load AS l"
						 " JOIN within AS w ON l.parent_load_id = w.load_id)"
						 " SELECT load_id, target FROM within ORDER BY load_id", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlChildLoad *load = palloc(sizeof(EtlChildLoad));

		load->load_id = etl_row_int8(rows, i, "load_id");
		load->target = etl_row_text(rows, i, "target");
		loads = lappend(loads, load);
	}
	return loads;
}
