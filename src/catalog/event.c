/*-------------------------------------------------------------------------
 *
 * event.c
 *    What schedules wait for beside the clock: rows of etl.schedule_event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/event.h"
#include "catalog/sql.h"
#include "common/options.h"

/*
 * Whoever defines something in a long transaction locks its events: the
 * scheduler does not wait for that, the commit wakes it.
 */
#define FREE_EVENTS "SELECT e.schedule, e.number FROM etl.schedule_event AS e WHERE"
#define SKIP_LOCKED " FOR NO KEY UPDATE OF e SKIP LOCKED"

#define OF_NONE_PAUSED \
	" NOT EXISTS (SELECT FROM etl.schedule AS s WHERE s.name = e.schedule AND s.paused)"

/*
 * are_stored tells whether the events of a schedule are these already.
 */
static bool
are_stored(const char *schedule, List *events)
{
	List	   *stored = etl_events_of(schedule);

	if (list_length(stored) != list_length(events))
		return false;
	for (int i = 0; i < list_length(events); i++)
	{
		const EtlEvent *old = list_nth(stored, i);
		const EtlEvent *new = list_nth(events, i);
		bool		asked = strcmp(new->kind, "sql") == 0;

		if (old->number != new->number || strcmp(old->kind, new->kind) != 0 ||
			strcmp(old->argument, new->argument) != 0 ||
			(asked && memcmp(old->every, new->every, sizeof(Interval)) != 0) ||
			old->timeout_ms != new->timeout_ms)
			return false;
	}
	return true;
}

void
etl_events_store(const char *schedule, List *events)
{
	EtlParams	params = {0};
	ListCell   *cell;

	if (are_stored(schedule, events))
		return;
	etl_param_text(&params, schedule);
	etl_param_int4(&params, list_length(events));
	etl_sql_exec("DELETE FROM etl.schedule_event WHERE schedule = $1 AND number > $2", &params);

	foreach(cell, events)
	{
		const EtlEvent *event = lfirst(cell);

		params = (EtlParams){0};
		etl_param_text(&params, schedule);
		etl_param_int4(&params, event->number);
		etl_param_text(&params, event->kind);
		etl_param_text(&params, event->argument);
		etl_param_interval(&params, event->every);
		etl_param_text(&params, event->seen);
		etl_param_timestamp(&params, event->check_at);
		etl_param_int8(&params, event->timeout_ms);
		etl_sql_exec("INSERT INTO etl.schedule_event AS e (schedule, number, kind, argument, every,"
					 " seen, check_at, timeout_ms) SELECT $1, $2, $3, $4, $5,"
					 " CASE WHEN $3 = 'published' THEN (SELECT n.publication::text FROM etl.node_state AS n"
					 " WHERE n.target = $4) ELSE $6 END, $7, $8"
					 " ON CONFLICT (schedule, number) DO UPDATE SET (kind, argument, every, seen, check_at,"
					 " timeout_ms, happened_at, error) = (excluded.kind, excluded.argument, excluded.every,"
					 " excluded.seen, excluded.check_at, excluded.timeout_ms, NULL, NULL)"
					 " WHERE (e.kind, e.argument, e.timeout_ms) <>"
					 " (excluded.kind, excluded.argument, excluded.timeout_ms)"
					 " OR e.kind = 'sql' AND e.every <> excluded.every", &params);
	}
}

/*
 * read_event makes the struct of one row.
 */
static void
read_event(EtlRows *rows, int i, EtlEvent *event)
{
	event->schedule = etl_row_text(rows, i, "schedule");
	event->number = etl_row_int4(rows, i, "number");
	event->kind = etl_row_text(rows, i, "kind");
	event->argument = etl_row_text(rows, i, "argument");
	event->every = etl_row_interval(rows, i, "every");
	event->timeout_ms = etl_row_int8(rows, i, "timeout_ms");
	event->error = etl_row_text(rows, i, "error");
	event->seen = etl_row_text(rows, i, "seen");
	event->happened_at = etl_row_timestamp(rows, i, "happened_at");
	event->check_at = etl_row_timestamp(rows, i, "check_at");
}

/*
 * read_events makes a list of structs.
 */
static List *
read_events(EtlRows *rows)
{
	List	   *events = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlEvent   *event = palloc0(sizeof(EtlEvent));

		read_event(rows, i, event);
		events = lappend(events, event);
	}
	return events;
}

List *
etl_events_of(const char *schedule)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule);
	return read_events(etl_sql_query("SELECT * FROM etl.schedule_event WHERE schedule = $1"
									 " ORDER BY number", &params));
}

bool
etl_events_lock(const char *schedule)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule);
	return etl_sql_exec("SELECT 1 FROM etl.schedule_event WHERE schedule = $1 ORDER BY number LIMIT 1"
						" FOR NO KEY UPDATE SKIP LOCKED", &params) > 0;
}

List *
etl_channels(void)
{
	EtlRows    *rows = etl_sql_query("SELECT DISTINCT argument FROM etl.schedule_event AS e"
								  " WHERE kind = 'notify' AND" OF_NONE_PAUSED,
								  NULL);

	return etl_column_texts(rows, "argument");
}

List *
etl_file_events(void)
{
	EtlRows    *rows = etl_sql_query(
		"SELECT e.*, s.owner, s.options ->> 'path' AS path, s.options ->> 'settle' AS settle,"
		" c.options ->> 'root' AS root"
		" FROM etl.schedule_event AS e"
		" JOIN etl.stream AS s ON s.target = e.argument"
		" JOIN etl.source AS c ON c.name = s.source AND c.connector = 'file'"
		" WHERE e.kind = 'file' AND s.options ->> 'path' IS NOT NULL AND" OF_NONE_PAUSED
		" ORDER BY e.schedule, e.number",
		NULL);
	List	   *events = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		EtlFileEvent *event = palloc0(sizeof(EtlFileEvent));
		char	   *settle;

		read_event(rows, i, &event->event);
		event->owner = etl_row_text(rows, i, "owner");
		event->root = etl_row_text(rows, i, "root");
		event->path = etl_row_text(rows, i, "path");
		settle = etl_row_text(rows, i, "settle");
		event->settle_ms = settle ? etl_option_duration_ms("settle", settle) : 0;
		events = lappend(events, event);
	}
	return events;
}

List *
etl_events_to_check(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	return read_events(etl_sql_query(
		"SELECT * FROM etl.schedule_event AS e WHERE e.check_at <= $1 AND" OF_NONE_PAUSED
		" ORDER BY check_at, schedule, number",
		&params));
}

List *
etl_events_to_look_at(void)
{
	return read_events(etl_sql_query(
		"SELECT * FROM etl.schedule_event AS e WHERE e.kind IN ('sql', 'file') AND" OF_NONE_PAUSED
		" ORDER BY schedule, number",
		NULL));
}

TimestampTz
etl_events_next_check(void)
{
	return etl_row_due(
		etl_sql_query(
			"SELECT min(check_at) AS at FROM etl.schedule_event AS e WHERE" OF_NONE_PAUSED, NULL),
		0, "at");
}

List *
etl_events_happened(void)
{
	EtlRows    *rows = etl_sql_query("SELECT schedule FROM etl.schedule_event AS e"
								  " WHERE happened_at IS NOT NULL AND" OF_NONE_PAUSED
								  " GROUP BY schedule ORDER BY min(happened_at), schedule",
								  NULL);

	return etl_column_texts(rows, "schedule");
}

bool
etl_event_happened(const char *kind, const char *argument, TimestampTz at)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_text(&params, argument);
	etl_param_timestamp(&params, at);
	return etl_sql_exec("UPDATE etl.schedule_event AS e SET happened_at = $3 WHERE (schedule, "
						"number) IN (" FREE_EVENTS
						" e.kind = $1 AND e.argument = $2 AND" OF_NONE_PAUSED SKIP_LOCKED
						") RETURNING 1",
						&params) > 0;
}

bool
etl_event_missed(const char *kind, const char *argument, TimestampTz at)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_text(&params, argument);
	etl_param_timestamp(&params, at);
	return etl_sql_int8("SELECT count(*) FROM etl.schedule_event AS e WHERE kind = $1 AND argument = $2"
						" AND happened_at IS DISTINCT FROM $3 AND" OF_NONE_PAUSED,
						&params) > 0;
}

bool
etl_event_look_by(const char *argument, TimestampTz at)
{
	EtlParams	params = {0};

	etl_param_text(&params, argument);
	etl_param_timestamp(&params, at);
	etl_sql_exec("UPDATE etl.schedule_event AS e SET check_at = least(e.check_at, $2) WHERE (schedule, "
				 "number) IN (" FREE_EVENTS " e.kind = 'file' AND e.argument = $1 AND" OF_NONE_PAUSED
					 SKIP_LOCKED ")",
				 &params);
	return etl_sql_int8("SELECT count(*) FROM etl.schedule_event AS e WHERE kind = 'file' AND argument = $1"
						" AND (check_at <= $2) IS NOT TRUE AND" OF_NONE_PAUSED,
						&params) == 0;
}

void
etl_event_set(const EtlEvent *event)
{
	EtlParams	params = {0};

	etl_param_text(&params, event->schedule);
	etl_param_int4(&params, event->number);
	etl_param_text(&params, event->seen);
	etl_param_timestamp(&params, event->happened_at);
	etl_param_timestamp(&params, event->check_at);
	etl_param_interval(&params, event->every);
	etl_param_text(&params, event->error);
	etl_sql_exec("UPDATE etl.schedule_event SET seen = $3, happened_at = coalesce($4, happened_at),"
				 " check_at = $5, every = $6, error = $7 WHERE (schedule, number) IN (" FREE_EVENTS
				 " e.schedule = $1 AND e.number = $2" SKIP_LOCKED ")",
				 &params);
}

void
etl_events_reset(const char *schedule)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule);
	etl_sql_exec(
		"UPDATE etl.schedule_event SET happened_at = NULL WHERE (schedule, number) IN (" FREE_EVENTS
		" e.schedule = $1 AND e.happened_at IS NOT NULL" SKIP_LOCKED ")",
		&params);
}

void
etl_events_begin_anew(const char *schedule)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule);
	/* files are still there: they are looked for */
	etl_sql_exec("UPDATE etl.schedule_event AS e SET happened_at = NULL,"
				 " check_at = CASE WHEN kind = 'file' THEN timestamptz '2000-01-01' ELSE check_at END,"
				 " seen = CASE WHEN kind = 'published' THEN (SELECT n.publication::text"
				 " FROM etl.node_state AS n WHERE n.target = e.argument)"
				 " WHEN kind = 'file' THEN NULL ELSE seen END"
				 " WHERE coalesce(e.schedule = $1, true) AND" OF_NONE_PAUSED,
				 &params);
}

bool
etl_events_find_published(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	return etl_sql_exec(
			   "UPDATE etl.schedule_event AS e SET seen = n.publication::text, happened_at = $1"
			   " FROM etl.node_state AS n"
			   " WHERE e.kind = 'published' AND n.target = e.argument"
			   " AND (e.schedule, e.number) IN (" FREE_EVENTS " e.kind = 'published'"
			   " AND EXISTS (SELECT FROM etl.node_state AS p WHERE p.target = e.argument"
			   " AND p.publication > 0 AND p.publication IS DISTINCT FROM e.seen::bigint) "
			   "AND" OF_NONE_PAUSED SKIP_LOCKED ") RETURNING 1", &params) > 0;
}
