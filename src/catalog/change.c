/*-------------------------------------------------------------------------
 *
 * change.c
 *    Which rows of a relation changed, kept until every consumer has them.
 *
 * Each statement that changes a recorded relation adds a set of records, in
 * its own transaction.  A set that took its number early and commits late is
 * simply not among those that a model consumed, as with loads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "catalog/change.h"

/*
 * etl_change_text_begin makes values go to text and back unchanged.
 */
int
etl_change_text_begin(void)
{
	static const char *const settings[][2] = {{"search_path", "pg_catalog"},
											  {"datestyle", "ISO, YMD"},
											  {"intervalstyle", "postgres"},
											  {"extra_float_digits", "3"},
											  {"bytea_output", "hex"},
											  {"xmloption", "content"},
											  {"lc_monetary", "C"}};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/*
 * etl_change_column renders a column as the sets name it.
 */
char *
etl_change_column(Form_pg_attribute column)
{
	return psprintf("%s %s", NameStr(column->attname),
					format_type_extended(column->atttypid, column->atttypmod,
										 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

List *
etl_change_columns(TupleDesc desc)
{
	List	   *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			columns = lappend(columns, etl_change_column(TupleDescAttr(desc, i)));
	return columns;
}

int64
etl_change_set_add(const char *target, const char *unknown, List *columns, int64 rows)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, unknown);
	etl_param_texts(&params, columns);
	etl_param_int8(&params, rows);
	return etl_sql_int8("INSERT INTO etl.change_set (target, unknown, columns, rows)"
						" VALUES ($1, $2, $3, $4) RETURNING set_id", &params);
}

void
etl_change_rows_add(int64 set_id, int64 first, bool gone, Datum *records, int n)
{
	EtlParams	params = {0};

	etl_param_int8(&params, set_id);
	etl_param_int8(&params, first);
	etl_param_bool(&params, gone);
	etl_param_datum(&params, TEXTARRAYOID,
					PointerGetDatum(construct_array(records, n, TEXTOID, -1, false, TYPALIGN_INT)),
					false);
	etl_sql_exec("INSERT INTO etl.change SELECT $1, $2 + n - 1, $3, r"
				 " FROM unnest($4) WITH ORDINALITY AS u (r, n)", &params);
}

bool
etl_changes_wanted(const char *target)
{
	EtlParams	params = {0};
	bool		wanted;

	etl_param_text(&params, target);
	PushActiveSnapshot(GetLatestSnapshot());
	wanted = etl_sql_query_seen("SELECT FROM etl.consumed WHERE stream = $1 AND changes IS NOT NULL"
								" LIMIT 1", &params)
				 ->n > 0;
	PopActiveSnapshot();
	return wanted;
}

void
etl_change_set_load(int64 set_id, int64 load_id, int64 rows)
{
	EtlParams	params = {0};

	etl_param_int8(&params, set_id);
	etl_param_int8(&params, load_id);
	etl_param_int8(&params, rows);
	etl_sql_exec("UPDATE etl.change_set SET load_id = $2, rows = $3 WHERE set_id = $1", &params);
}

EtlRows *
etl_change_rows_read(int64 set_id, int64 after, int limit)
{
	EtlParams	params = {0};

	etl_param_int8(&params, set_id);
	etl_param_int8(&params, after);
	etl_param_int4(&params, limit);
	return etl_sql_query_seen("SELECT n, gone, record FROM etl.change WHERE set_id = $1 AND n > $2"
							  " ORDER BY n LIMIT $3", &params);
}

void
etl_change_triggers_make(const char *target, const char *of)
{
	static const char *const events[][2] = {
		{"insert", "REFERENCING NEW TABLE AS etl_new"},
		{"update", "REFERENCING OLD TABLE AS etl_old NEW TABLE AS etl_new"},
		{"delete", "REFERENCING OLD TABLE AS etl_old"},
		{"truncate", ""}};

	for (int i = 0; i < lengthof(events); i++)
		etl_sql_exec(psprintf("CREATE OR REPLACE TRIGGER " ETL_CHANGE_TRIGGER "%s AFTER %s ON %s %s"
							  " FOR EACH STATEMENT EXECUTE FUNCTION etl._changed(%s)",
							  events[i][0], events[i][0], target, events[i][1],
							  of ? quote_literal_cstr(of) : ""),
					 NULL);
}

void
etl_change_triggers_drop(const char *target)
{
	static const char *const events[] = {"insert", "update", "delete", "truncate"};
	EtlParams	params = {0};

	for (int i = 0; i < lengthof(events); i++)
		etl_sql_exec(
			psprintf("DROP TRIGGER IF EXISTS " ETL_CHANGE_TRIGGER "%s ON %s", events[i], target),
			NULL);
	etl_param_text(&params, target);
	etl_sql_exec("UPDATE etl.consumed SET changes = NULL WHERE stream = $1", &params);
	etl_sql_exec("DELETE FROM etl.change WHERE set_id IN (SELECT set_id FROM etl.change_set WHERE"
				 " target = $1)", &params);
	etl_sql_exec("DELETE FROM etl.change_set WHERE target = $1", &params);
}

void
etl_changes_prune(const char *target)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_sql_exec("WITH done AS (DELETE FROM etl.change_set AS s WHERE s.target = $1 AND NOT EXISTS"
				 " (SELECT FROM etl.consumed AS c WHERE c.stream = s.target"
				 " AND NOT c.changes @> s.set_id) RETURNING s.set_id)"
				 " DELETE FROM etl.change AS r USING done WHERE r.set_id = done.set_id", &params);
}
