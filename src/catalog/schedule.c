/*-------------------------------------------------------------------------
 *
 * schedule.c
 *    Schedules, their slots and events, and which database this state is of.
 *
 * A schedule's state stands in its row, so that locking the row is all that
 * keeps two processes apart; a slot's key would stop the second of them
 * even so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "catalog/definition.h"
#include "catalog/event.h"
#include "catalog/schedule.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/run_as.h"
#include "common/wake.h"

#define STREAM_PREFIX "stream:"

/* ---- definitions ---- */

const char *
etl_schedule_store(const EtlSchedule *schedule)
{
	EtlSchedule *old = etl_schedule_find(schedule->name);
	EtlParams	params = {0};
	EtlRows    *rows;

	if (old != NULL)
		etl_check_owner(old->owner, "schedule", schedule->name);
	etl_param_text(&params, schedule->name);
	etl_param_text(&params, schedule->selector);
	etl_param_text(&params, schedule->cron);
	etl_param_interval(&params, schedule->every);
	etl_param_jsonb(&params, schedule->on_event);
	etl_param_text(&params, schedule->timezone);
	etl_param_text(&params, schedule->overlap);
	etl_param_text(&params, schedule->misfire);
	etl_param_jsonb(&params, schedule->params);
	etl_param_jsonb(&params, schedule->options);
	etl_param_bool(&params, schedule->paused);
	etl_param_text(&params, schedule->description);
	etl_param_jsonb(&params, schedule->settings);
	etl_param_text(&params, old ? old->owner : schedule->owner);
	rows = etl_sql_query(
		"INSERT INTO etl.schedule AS s (name, selector, cron, every, on_event, timezone,"
		" overlap, misfire, params, options, paused_defined, paused, description, settings, owner)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14)"
		" ON CONFLICT (name) DO UPDATE SET selector = excluded.selector,"
		" cron = excluded.cron, every = excluded.every, on_event = excluded.on_event,"
		" timezone = excluded.timezone, overlap = excluded.overlap,"
		" misfire = excluded.misfire, params = excluded.params,"
		" options = excluded.options, paused_defined = excluded.paused_defined,"
		" description = excluded.description, settings = excluded.settings,"
		" version = s.version + 1, defined_at = clock_timestamp()"
		" WHERE (s.selector, s.cron, s.every::text, s.on_event, s.timezone, s.overlap,"
		" s.misfire, s.params, s.options, s.paused_defined, s.description, s.settings)"
		" IS DISTINCT FROM (excluded.selector, excluded.cron, excluded.every::text,"
		" excluded.on_event, excluded.timezone, excluded.overlap, excluded.misfire,"
		" excluded.params, excluded.options, excluded.paused_defined, excluded.description,"
		" excluded.settings)"
		" RETURNING xmax = 0 AS created", &params);
	return etl_defined("schedule", schedule->name, NULL,
					   rows->n == 0						? "unchanged" :
					   etl_row_bool(rows, 0, "created") ? "created" :
														  "updated");
}

/*
 * read_days reads an array of dates.
 */
static List *
read_days(EtlRows *rows, int i)
{
	bool		isnull;
	Datum		value = etl_row_datum(rows, i, "days_off", &isnull);
	Datum	   *items;
	int			n;
	List	   *days = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), DATEOID, 4, true, TYPALIGN_INT, &items, NULL, &n);
	for (int k = 0; k < n; k++)
		days = lappend_int(days, DatumGetDateADT(items[k]));
	return days;
}

/*
 * read_schedule makes the struct of one row.
 */
static EtlSchedule *
read_schedule(EtlRows *rows, int i)
{
	EtlSchedule *schedule = palloc0(sizeof(EtlSchedule));

	schedule->name = etl_row_text(rows, i, "name");
	schedule->selector = etl_row_text(rows, i, "selector");
	schedule->cron = etl_row_text(rows, i, "cron");
	schedule->every = etl_row_interval(rows, i, "every");
	schedule->on_event = etl_row_jsonb(rows, i, "on_event");
	schedule->timezone = etl_row_text(rows, i, "timezone");
	schedule->overlap = etl_row_text(rows, i, "overlap");
	schedule->misfire = etl_row_text(rows, i, "misfire");
	schedule->params = etl_row_jsonb(rows, i, "params");
	schedule->options = etl_row_jsonb(rows, i, "options");
	schedule->paused_defined = etl_row_bool(rows, i, "paused_defined");
	schedule->paused = etl_row_bool(rows, i, "paused");
	schedule->description = etl_row_text(rows, i, "description");
	schedule->settings = etl_row_jsonb(rows, i, "settings");
	schedule->owner = etl_row_text(rows, i, "owner");
	schedule->version = etl_row_int4(rows, i, "version");
	schedule->anchor = etl_row_timestamp(rows, i, "anchor");
	schedule->next_due = etl_row_timestamp(rows, i, "next_due");
	schedule->fire_at = etl_row_timestamp(rows, i, "fire_at");
	schedule->last_due = etl_row_timestamp(rows, i, "last_due");
	schedule->days_off = read_days(rows, i);
	schedule->problem = etl_row_text(rows, i, "problem");
	return schedule;
}

/*
 * read_schedules makes a list of structs.
 */
static List *
read_schedules(EtlRows *rows)
{
	List	   *schedules = NIL;

	for (int i = 0; i < rows->n; i++)
		schedules = lappend(schedules, read_schedule(rows, i));
	return schedules;
}

EtlSchedule *
etl_schedule_find(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.schedule WHERE name = $1", &params);
	return rows->n == 0 ? NULL : read_schedule(rows, 0);
}

EtlSchedule *
etl_schedule_get(const char *name)
{
	EtlSchedule *schedule = etl_schedule_find(name);
	List	   *names = NIL;
	const char *nearest;
	ListCell   *cell;

	if (schedule != NULL)
		return schedule;
	foreach(cell, etl_schedules_all())
		names = lappend(names, ((EtlSchedule *) lfirst(cell))->name);
	nearest = etl_nearest(name, names);
	ereport(ERROR,
			(errcode(ETL_ERR_UNDEFINED), errmsg("schedule \"%s\" is not defined", name),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) :
					   errhint("Define it with etl.define_schedule().")));
	return NULL;
}

List *
etl_schedules_all(void)
{
	return read_schedules(etl_sql_query("SELECT * FROM etl.schedule ORDER BY name COLLATE \"C\"", NULL));
}

bool
etl_schedule_delete(const char *name)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_undefined("schedule", name, NULL);
	etl_sql_exec("DELETE FROM etl.schedule_event WHERE schedule = $1", &params);
	return etl_sql_exec("DELETE FROM etl.schedule WHERE name = $1 RETURNING 1", &params) > 0;
}

/* ---- when ---- */

List *
etl_schedules_due(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	return read_schedules(etl_sql_query("SELECT * FROM etl.schedule WHERE fire_at <= $1 AND NOT paused"
										" ORDER BY fire_at, name COLLATE \"C\""
										" FOR NO KEY UPDATE SKIP LOCKED", &params));
}

TimestampTz
etl_schedules_next_due(void)
{
	return etl_row_due(
		etl_sql_query("SELECT min(fire_at) AS at FROM etl.schedule WHERE NOT paused", NULL), 0,
		"at");
}

void
etl_schedule_set_state(const EtlSchedule *schedule)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule->name);
	etl_param_timestamp(&params, schedule->anchor);
	etl_param_timestamp(&params, schedule->next_due);
	etl_param_timestamp(&params, schedule->fire_at);
	etl_param_timestamp(&params, schedule->last_due);
	etl_param_text(&params, schedule->problem);
	etl_sql_exec("UPDATE etl.schedule SET anchor = $2, next_due = $3, fire_at = $4, last_due = $5,"
				 " problem = $6 WHERE name = $1", &params);
}

void
etl_schedule_set_problem(const char *name, const char *problem)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_text(&params, problem);
	etl_sql_exec("UPDATE etl.schedule SET problem = $2 WHERE name = $1 AND problem IS DISTINCT FROM $2",
				 &params);
}

void
etl_schedule_set_paused(const char *name, bool paused)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_bool(&params, paused);
	etl_sql_exec("UPDATE etl.schedule SET paused = $2 WHERE name = $1", &params);
}

void
etl_schedule_set_days_off(const char *name, List *days, TimestampTz now)
{
	EtlParams	params = {0};
	Datum	   *items = palloc(sizeof(Datum) * Max(list_length(days), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, days)
		items[n++] = DateADTGetDatum(lfirst_int(cell));
	etl_param_text(&params, name);
	etl_param_datum(&params, DATEARRAYOID,
					PointerGetDatum(construct_array(items, n, DATEOID, 4, true, TYPALIGN_INT)), false);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.schedule SET days_off = $2, days_off_at = $3 WHERE name = $1", &params);
}

List *
etl_schedules_with_calendar(void)
{
	return read_schedules(etl_sql_query("SELECT * FROM etl.schedule WHERE days_off_at IS NOT NULL"
										" ORDER BY name COLLATE \"C\"", NULL));
}

TimestampTz
etl_calendars_oldest(void)
{
	return etl_row_due(etl_sql_query("SELECT min(days_off_at) AS at FROM etl.schedule", NULL), 0, "at");
}

/* ---- slots ---- */

bool
etl_slot_store(const char *schedule, TimestampTz due_at, const char *status, int64 run_id,
			   const char *reason)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule);
	etl_param_timestamp(&params, due_at);
	etl_param_text(&params, status);
	etl_param_datum(&params, INT8OID, Int64GetDatum(run_id), run_id == 0);
	etl_param_text(&params, reason);
	return etl_sql_exec("INSERT INTO etl.schedule_slot (schedule, due_at, status, run_id, reason)"
						" VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING 1",
						&params) > 0;
}

void
etl_slot_set_run(const char *schedule, TimestampTz due_at, int64 run_id)
{
	EtlParams	params = {0};

	etl_param_text(&params, schedule);
	etl_param_timestamp(&params, due_at);
	etl_param_int8(&params, run_id);
	etl_sql_exec("UPDATE etl.schedule_slot SET run_id = $3 WHERE schedule = $1 AND due_at = $2", &params);
}

int64
etl_schedule_active_run(const char *trigger_name)
{
	EtlParams	params = {0};

	etl_param_text(&params, trigger_name);
	return etl_sql_int8("SELECT max(run_id) FROM etl.run WHERE status IN ('queued', 'running')"
						" AND trigger IN ('schedule', 'event', 'stream') AND trigger_name = $1",
						&params);
}

int
etl_schedule_waiting_runs(const char *trigger_name)
{
	EtlParams	params = {0};

	etl_param_text(&params, trigger_name);
	return (int) etl_sql_int8("SELECT count(*) FROM etl.run WHERE status = 'queued'"
							  " AND trigger IN ('schedule', 'event') AND trigger_name = $1",
							  &params);
}

/* ---- streams ---- */

char *
etl_stream_schedule_name(const char *target)
{
	return psprintf(STREAM_PREFIX "%s", target);
}

const char *
etl_stream_of_schedule(const char *name)
{
	return strncmp(name, STREAM_PREFIX, strlen(STREAM_PREFIX)) == 0 ? name + strlen(STREAM_PREFIX) : NULL;
}

/*
 * is_delivered reads the delivery of a contract.
 */
static bool
is_delivered(const Jsonb *contract)
{
	char	   *delivery = contract ? etl_json_get_text(contract, "delivery") : NULL;

	return delivery != NULL && strcmp(delivery, "stream") == 0;
}

bool
etl_stream_is_delivered(const EtlStream *stream)
{
	return is_delivered(stream->contract);
}

void
etl_stream_store_event(const char *target, const Jsonb *contract)
{
	EtlEvent	event = {.number = 1,
					  .kind = "file",
					  .check_at = DT_NOBEGIN,
					  .argument = unconstify(char *, target)};

	if (is_delivered(contract))
		etl_instance_claim();
	etl_events_store(etl_stream_schedule_name(target), is_delivered(contract) ? list_make1(&event) : NIL);
	etl_wake_at_commit();
}

/* ---- instance ---- */

/*
 * identity_params adds what this database is known by.
 */
static void
identity_params(EtlParams *params)
{
	etl_param_text(params, psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	etl_param_int8(params, (int64) MyDatabaseId);
}

EtlInstance
etl_instance_state(void)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	identity_params(&params);
	rows = etl_sql_query("SELECT paused, (system_identifier, database_oid) = ($1, $2) AS ours"
						 " FROM etl.instance", &params);
	if (rows->n == 0)
		return ETL_INSTANCE_UNKNOWN;
	if (!etl_row_bool(rows, 0, "ours"))
		return ETL_INSTANCE_FOREIGN;
	return etl_row_bool(rows, 0, "paused") ? ETL_INSTANCE_PAUSED : ETL_INSTANCE_OURS;
}

void
etl_instance_claim(void)
{
	EtlParams	params = {0};

	identity_params(&params);
	etl_sql_exec("INSERT INTO etl.instance (system_identifier, database_oid) VALUES ($1, $2)"
				 " ON CONFLICT DO NOTHING", &params);
}

void
etl_instance_set(bool paused)
{
	EtlParams	params = {0};

	identity_params(&params);
	etl_param_bool(&params, paused);
	etl_sql_exec("INSERT INTO etl.instance (system_identifier, database_oid, paused) VALUES ($1, $2, $3)"
				 " ON CONFLICT (one) DO UPDATE SET system_identifier = excluded.system_identifier,"
				 " database_oid = excluded.database_oid, paused = excluded.paused", &params);
}
