/*-------------------------------------------------------------------------
 *
 * history_room.c
 *    Room for what happens: partitions of the history tables, and retention.
 *
 * Runs, tasks, log entries, check results, alerts and deliveries are
 * numbered, and partitioned by ranges of their numbers: what is old goes by dropping partitions.  A
 * partition is made while its predecessor is in use, by whoever writes.  It
 * is no member of the extension (pg_dump would then not know of it) and has
 * indexes of its own: an index of the parent would make a restore fail,
 * which attaches a partition and then makes its primary key.
 *
 *	 run_0            run_10000           run_20000
 *	 |--- trimmed --->|     in use        | made ahead
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/history_room.h"
#include "catalog/sql.h"

typedef struct History
{
	const char *relation;
	const char *key;
	const char *sequence;
	int64		size;			/* numbers in a partition */
	const char *indexes[3];		/* besides the primary key */
	const char *doomed;			/* which rows go: $1 last run that goes, $2 time, $3 last number that goes */
} History;

static const History histories[] = {
	[ETL_HISTORY_RUN] = {"run",
						 "run_id",
						 "run_id_seq",
						 10000,
						 {"(run_id) WHERE status IN ('queued', 'running')"},
						 "run_id <= $1"},
	[ETL_HISTORY_TASK] = {"task",
						  "task_id",
						  "task_id_seq",
						  100000,
						  {"(run_id)", "(node, task_id DESC)"},
						  "run_id <= $1"},
	[ETL_HISTORY_LOG] = {"log",
						 "event_id",
						 "event_id_seq",
						 100000,
						 {"(run_id)"},
						 "coalesce(run_id <= $1, logged_at < $2) OR event_id <= $3"},
	[ETL_HISTORY_CHECK] =
		{"check_result",
		 "event_id",
		 "event_id_seq",
		 100000,
		 {"(target, check_name, checked_at DESC)", "(run_id)"},
		 "(coalesce(run_id <= $1, checked_at < $2) OR event_id <= $3) AND EXISTS (SELECT FROM "
		 "etl.check_result AS n"
		 " WHERE n.target = r.target AND n.check_name = r.check_name"
		 " AND n.checked_at > r.checked_at AND (n.status = 'error' OR n.evaluated > 0))"},
	[ETL_HISTORY_ALERT] = {"alert",
						   "alert_id",
						   "alert_id_seq",
						   100000,
						   {NULL},
						   "resolved_at < $2 OR (resolved_at IS NOT NULL AND alert_id <= $3)"},
	[ETL_HISTORY_DELIVERY] = {"outbox",
							  "delivery_id",
							  "delivery_id_seq",
							  100000,
							  {"(next_try) WHERE status = 'waiting'", "(alert_id)"},
							  "status <> 'waiting' AND (ended_at < $2 OR delivery_id <= $3)"},
};

/*
 * partition_name names the partition whose first number is 'first'.
 */
static char *
partition_name(const History *history, int64 first)
{
	return psprintf("%s_" INT64_FORMAT, history->relation, first);
}

/*
 * has_partition looks into the caches only: it is asked with every write.
 */
static bool
has_partition(const History *history, int64 first)
{
	Oid			namespace = get_namespace_oid("etl", true);

	return OidIsValid(namespace) &&
		   OidIsValid(get_relname_relid(partition_name(history, first), namespace));
}

/*
 * make_partition makes and attaches a partition that is not there.  The lock
 * is one that writers do not notice; under it, it is looked whether another
 * session was first.  Who only makes room ahead leaves it to the session
 * that has the lock: that may be in a long transaction.
 */
static void
make_partition(const History *history, int64 first, bool ahead)
{
	char	   *name = partition_name(history, first);
	Oid			parent;

	if (has_partition(history, first))
		return;
	parent = get_relname_relid(history->relation, get_namespace_oid("etl", false));
	if (!ahead)
		LockRelationOid(parent, ShareUpdateExclusiveLock);
	else if (!ConditionalLockRelationOid(parent, ShareUpdateExclusiveLock))
		return;
	if (has_partition(history, first))
		return;
	etl_sql_exec(psprintf("CREATE TABLE etl.%s (LIKE etl.%s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", name,
						  history->relation),
				 NULL);
	etl_sql_exec(psprintf("ALTER TABLE etl.%s ADD PRIMARY KEY (%s)", name, history->key), NULL);
	for (int i = 0; i < lengthof(history->indexes) && history->indexes[i] != NULL; i++)
		etl_sql_exec(psprintf("CREATE INDEX ON etl.%s %s", name, history->indexes[i]), NULL);
	etl_sql_exec(psprintf("ALTER TABLE etl.%s ATTACH PARTITION etl.%s FOR VALUES FROM (" INT64_FORMAT
						  ") TO (" INT64_FORMAT ")",
						  history->relation, name, first, first + history->size),
				 NULL);
}

/*
 * etl_history_keep_room: see history_room.h.  Nothing is remembered of what
 * exists, since a transaction that made a partition may be rolled back.
 */
void
etl_history_keep_room(EtlHistory which, int64 id)
{
	static int64 last_seen[lengthof(histories)];
	const History *history = &histories[which];
	int64		first;

	if (id == 0)
		id = last_seen[which];
	first = id - id % history->size;
	if (id == 0 || !has_partition(history, first) || !has_partition(history, first + history->size))
	{
		id = Max(id, etl_sql_int8(psprintf("SELECT last_value FROM etl.%s", history->sequence), NULL));
		first = id - id % history->size;
		make_partition(history, first, false);
		make_partition(history, first + history->size, true);
	}
	last_seen[which] = id;
}

/*
 * last_doomed_run finds the last run that goes: all before it have ended,
 * and it is old or beyond the number that is kept.
 */
static int64
last_doomed_run(TimestampTz before, int64 keep_runs)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, before);
	etl_param_int8(&params, keep_runs);
	return etl_sql_int8("SELECT least("
						" (SELECT coalesce(min(run_id) - 1, 9223372036854775807) FROM etl.run"
						"  WHERE status IN ('queued', 'running')),"
						" coalesce(greatest((SELECT max(run_id) FROM etl.run WHERE queued_at < $1),"
						"  CASE WHEN $2 > 0 THEN (SELECT run_id FROM etl.run ORDER BY run_id DESC"
						"   OFFSET $2 LIMIT 1) END), 0))", &params);
}

/*
 * trim_partition removes what is doomed of one partition; the partition
 * itself when that is all of it and a later one is in use.
 */
static void
trim_partition(const History *history, const char *partition, int64 last_run, TimestampTz before,
			   int64 last_number, bool current, bool dry_run, EtlTrimmed *trimmed)
{
	EtlParams	params = {0};
	int64		doomed;
	bool		whole;

	etl_param_int8(&params, last_run);
	etl_param_timestamp(&params, before);
	etl_param_int8(&params, last_number);
	doomed = etl_sql_int8(psprintf("SELECT count(*) FROM etl.%s AS r WHERE %s", quote_identifier(partition),
								   history->doomed),
						  &params);
	whole = !current && etl_sql_int8(psprintf("SELECT count(*) FROM etl.%s", quote_identifier(partition)),
									 NULL) == doomed;
	trimmed->rows += doomed;
	trimmed->partitions += whole;
	if (dry_run)
		return;
	if (whole)
		etl_sql_exec(psprintf("DROP TABLE etl.%s", quote_identifier(partition)), NULL);
	else if (doomed > 0)
		etl_sql_exec(psprintf("DELETE FROM etl.%s AS r WHERE %s", quote_identifier(partition),
							  history->doomed),
					 &params);
}

/*
 * last_doomed_number finds the last row of a relation beyond the number that
 * is kept; 0: none.  Runs are counted themselves, and tasks go with them.
 */
static int64
last_doomed_number(const History *history, int64 keep)
{
	EtlParams	params = {0};

	if (keep == 0 || history == &histories[ETL_HISTORY_RUN] || history == &histories[ETL_HISTORY_TASK])
		return 0;
	etl_param_int8(&params, keep);
	return etl_sql_int8(psprintf("SELECT %s FROM etl.%s ORDER BY 1 DESC OFFSET $1 LIMIT 1", history->key,
								 history->relation),
						&params);
}

/*
 * trim removes what is doomed of one relation.
 */
static EtlTrimmed *
trim(const History *history, int64 last_run, TimestampTz before, int64 keep_entries, bool dry_run)
{
	int64		last_number = last_doomed_number(history, keep_entries);
	EtlTrimmed *trimmed = palloc0(sizeof(EtlTrimmed));
	EtlParams	params = {0};
	EtlRows    *partitions;
	int64		in_use;

	in_use = etl_sql_int8(psprintf("SELECT last_value FROM etl.%s", history->sequence), NULL);
	etl_param_text(&params, psprintf("etl.%s", history->relation));
	etl_param_int8(&params, in_use - in_use % history->size);
	partitions = etl_sql_query(
		"SELECT c.relname::text AS name,"
		" pg_catalog.substring(c.relname::text, '_([0-9]+)$')::bigint >= $2 AS current"
		" FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid"
		" WHERE i.inhparent = $1::pg_catalog.regclass ORDER BY 1", &params);
	trimmed->relation = history->relation;
	for (int i = 0; i < partitions->n; i++)
		trim_partition(history, etl_row_text(partitions, i, "name"), last_run, before, last_number,
					   etl_row_bool(partitions, i, "current"), dry_run, trimmed);
	return trimmed;
}

/*
 * trim_beside removes what is known of alerts and deadlines that are over,
 * and of slots of schedules: those that come were never dealt with before.
 */
static void
trim_beside(int64 last_run, TimestampTz before)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, before);
	etl_sql_exec("DELETE FROM etl.alert_open AS o WHERE resolved_at < $1 OR (resolved_at IS NOT NULL"
				 " AND NOT EXISTS (SELECT FROM etl.alert AS a WHERE a.alert_id = o.alert_id))",
				 &params);
	etl_sql_exec("DELETE FROM etl.sla_result WHERE done_at < $1 AND due_at < $1", &params);
	etl_sql_exec("DELETE FROM etl.silence WHERE ends_at < $1", &params);
	etl_param_int8(&params, last_run);
	etl_sql_exec("DELETE FROM etl.schedule_slot WHERE decided_at < $1 OR run_id <= $2", &params);
}

List *
etl_history_trim(TimestampTz before, int64 keep_runs, int64 keep_entries, bool dry_run)
{
	int64		last_run = last_doomed_run(before, keep_runs);
	List	   *result = NIL;

	/* results and log entries before the runs that they name */
	for (int i = lengthof(histories) - 1; i >= 0; i--)
		result = lappend(result, trim(&histories[i], last_run, before, keep_entries, dry_run));
	if (!dry_run)
		trim_beside(last_run, before);
	return result;
}

/*
 * etl_history_trimmed_at tells when the chore last removed anything.
 */
TimestampTz
etl_history_trimmed_at(void)
{
	EtlRows    *rows = etl_sql_query(
		"SELECT max(trimmed_at) AS at FROM etl.housekeeping HAVING count(*) > 0", NULL);

	return rows->n == 0 ? DT_NOBEGIN : etl_row_timestamp(rows, 0, "at");
}

void
etl_history_set_trimmed_at(TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, now);
	etl_sql_exec("DELETE FROM etl.housekeeping", NULL);
	etl_sql_exec("INSERT INTO etl.housekeeping (trimmed_at) VALUES ($1)", &params);
}
