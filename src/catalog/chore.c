/*-------------------------------------------------------------------------
 *
 * chore.c
 *    Periodic work: whether it ended, and whether it is still begun.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/chore.h"
#include "catalog/sql.h"

/*
 * is_suspect tells whether a chore that never ended may have crashed the
 * server itself: not when a run was at work each time, too, which is tried no
 * more than three times.
 */
static bool
is_suspect(TimestampTz begun_at)
{
	EtlParams	params = {0};

	if (begun_at == DT_NOBEGIN)
		return false;
	etl_param_timestamp(&params, begun_at);
	return etl_sql_int8("SELECT 1::bigint WHERE NOT EXISTS (SELECT FROM etl.run"
						" WHERE status IN ('queued', 'running') AND crashes > 1)"
						" AND NOT EXISTS (SELECT FROM etl.task WHERE sqlstate = '57P02' AND finished_at >= $1"
						" AND task_id > (SELECT last_value - 10000 FROM etl.task_id_seq))",
						&params) > 0;
}

/*
 * etl_chore_begin: see chore.h.
 */
EtlChoreStart
etl_chore_begin(const char *name, int limit)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	bool		suspect;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.chore WHERE name = $1", &params);
	if (rows->n > 0 && etl_row_timestamp(rows, 0, "parked_at") != DT_NOBEGIN)
		return ETL_CHORE_PARKED;
	suspect = rows->n > 0 && is_suspect(etl_row_timestamp(rows, 0, "begun_at"));
	etl_param_bool(&params, suspect && etl_row_int4(rows, 0, "crashes") + 1 >= limit);
	etl_param_bool(&params, suspect);
	rows = etl_sql_query(
		"INSERT INTO etl.chore AS c (name, begun_at) VALUES ($1, pg_catalog.clock_timestamp())"
		" ON CONFLICT (name) DO UPDATE SET crashes = c.crashes + $3::int,"
		" begun_at = CASE WHEN NOT $2 THEN excluded.begun_at END,"
		" parked_at = CASE WHEN $2 THEN excluded.begun_at END"
		" RETURNING parked_at", &params);
	if (etl_row_timestamp(rows, 0, "parked_at") != DT_NOBEGIN)
		return ETL_CHORE_JUST_PARKED;
	return suspect ? ETL_CHORE_BEGUN_AGAIN : ETL_CHORE_BEGUN;
}

/*
 * etl_chore_ended: see chore.h.
 */
void
etl_chore_ended(const char *name, bool stopped)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_bool(&params, stopped);
	etl_sql_exec("UPDATE etl.chore SET begun_at = NULL, crashes = CASE WHEN $2 THEN crashes ELSE 0 END"
				 " WHERE name = $1", &params);
}

/*
 * etl_chores_parked: see chore.h.
 */
List *
etl_chores_parked(void)
{
	EtlRows    *rows = etl_sql_query(
		"SELECT * FROM etl.chore WHERE parked_at IS NOT NULL ORDER BY name COLLATE \"C\"", NULL);
	List	   *chores = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlParkedChore *chore = palloc(sizeof(EtlParkedChore));

		chore->name = etl_row_text(rows, i, "name");
		chore->crashes = etl_row_int4(rows, i, "crashes");
		chore->parked_at = etl_row_timestamp(rows, i, "parked_at");
		chores = lappend(chores, chore);
	}
	return chores;
}

/*
 * etl_chore_unpark: see chore.h.
 */
bool
etl_chore_unpark(const char *name)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	return etl_sql_exec("UPDATE etl.chore SET parked_at = NULL, begun_at = NULL, crashes = 0"
						" WHERE parked_at IS NOT NULL AND coalesce(name = $1, true)", &params) > 0;
}
