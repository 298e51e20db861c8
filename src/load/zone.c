/*-------------------------------------------------------------------------
 *
 * zone.c
 *    The raw zone of a stream on request: immutable, in partitions by load
 *    time, and let go when it is old.
 *
 * In a partitioned stream every row has the moment at which its load began,
 * so that a load lies in one partition.  Statements that change an immutable
 * relation are refused by a trigger, except those of etl itself: a file that
 * is loaded again, an unload, an erasure, retention.  What retention takes is not told
 * to models as a deletion; that loads are gone stays known (status expired).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/expiry.h"
#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/children.h"
#include "load/load.h"

PG_FUNCTION_INFO_V1(etl_sql_immutable);

#define IMMUTABLE_TRIGGER "etl_immutable"

/* ---- definition ---- */

const EtlOptionDef etl_retention_options[] = {
	{"max_age", "duration", NULL, "loads that are older go, by the moment at which they began"},
	{"max_loads", "integer", NULL, "how many loads stay, the latest"},
	{"archive", "text", NULL,
	 "schema that partitions are detached to instead of being dropped; needs partition_by"},
	{NULL}};

/*
 * read_retention reads the option retention.
 */
static void
read_retention(EtlLoadOptions *options, const EtlStream *stream)
{
	Jsonb	   *retention = etl_json_get(stream->options, "retention");
	const char *age;

	options->keep_ms = options->keep_loads = -1;
	if (retention == NULL)
		return;
	if (etl_json_kind(retention) != 'o' || etl_json_keys(retention) == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"retention\""),
				 errhint("Say what is kept: {\"max_age\": \"90 days\"} or {\"max_loads\": 100}.")));
	etl_options_check(retention, "stream:retention", etl_retention_options, NULL);
	age = etl_json_get_text(retention, "max_age");
	options->keep_ms = age ? etl_option_duration_ms("max_age", age) : -1;
	options->keep_loads = etl_json_get_int64(retention, "max_loads", -1);
	options->archive = etl_json_get_text(retention, "archive");
	if (age == NULL && options->keep_loads < 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"retention\" says neither \"max_age\" nor a \"max_loads\" above zero"),
				 errhint("Say what is kept: {\"max_age\": \"90 days\"} or {\"max_loads\": 100}.")));
	if (options->archive != NULL && options->partition_by == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"retention\" can archive only partitions"),
				 errhint("Set the option partition_by, too: day, week or month.")));
}

void
etl_zone_read(EtlLoadOptions *options, const EtlStream *stream)
{
	options->partition_by = etl_json_get_text(stream->options, "partition_by");
	options->immutable = etl_json_get_bool(stream->options, "immutable", false);
	read_retention(options, stream);
	if (strcmp(stream->mode, "append") != 0 &&
		(options->partition_by || options->immutable || etl_json_has(stream->options, "retention")))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options \"partition_by\", \"immutable\" and \"retention\" need an append stream"),
				 errdetail("Stream \"%s\" has mode %s: its rows change.", stream->target, stream->mode),
				 errhint("Keep the history in an append stream, and its current state in a model.")));
}

/* ---- the relation ---- */

Datum
etl_sql_immutable(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("etl._immutable() is a trigger before statements")));
	if (!etl_relation_at_work())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the rows of \"%s\" are immutable",
							   RelationGetRelationName(trigger->tg_relation)),
						errdetail("They are what a source delivered."),
						errhint("Take a load out with etl.unload(), what there is of somebody with "
								"etl.erase(), let "
								"retention remove what is old, or define the stream without the "
								"option immutable.")));
	PG_RETURN_POINTER(NULL);
}

/*
 * is_protected tells whether a relation refuses changes.
 */
static bool
is_protected(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		found = false;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		found = found || strcmp(rel->trigdesc->triggers[i].tgname, IMMUTABLE_TRIGGER) == 0;
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * protect makes a relation as immutable as it shall be.
 */
static void
protect(Oid relid, bool immutable)
{
	if (is_protected(relid) == immutable || get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		return;
	if (immutable)
		etl_immutable_trigger_make(etl_name_of_relation(relid));
	else
		etl_relation_sql(psprintf("DROP TRIGGER " IMMUTABLE_TRIGGER " ON %s", etl_name_of_relation(relid)));
}

char *
etl_zone_clause(const EtlLoadOptions *options)
{
	return options->partition_by ? " PARTITION BY RANGE (" ETL_LOADED_AT_COLUMN ")" : "";
}

/*
 * partition_of names the partition that holds the loads of a moment.
 */
static char *
partition_of(const EtlStream *stream, const char *first_day)
{
	EtlName    *name = etl_name_parse(stream->target);
	char	   *suffix = psprintf("_p%.4s%.2s%.2s", first_day, first_day + 5, first_day + 8);

	return quote_qualified_identifier(name->schema, etl_name_suffixed(name->relation, suffix));
}

void
etl_zone_prepare(const EtlStream *stream, const EtlLoadOptions *options, Oid relid, TimestampTz at)
{
	char	   *from;
	char	   *to;
	char	   *partition;
	ListCell   *cell;

	protect(relid, options->immutable);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		foreach(cell, find_inheritance_children(relid, AccessShareLock))
			protect(lfirst_oid(cell), options->immutable);
	if (options->partition_by == NULL)
		return;
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE ||
		get_attnum(relid, ETL_LOADED_AT_COLUMN) == InvalidAttrNumber)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("relation \"%s\" is not partitioned by %s", stream->target,
							   ETL_LOADED_AT_COLUMN),
						errdetail("It was made before the option partition_by was set."),
						options->adopt ?
							errhint("Leave the option out: a table that is adopted keeps its form.") :
							errhint("Load it anew: SELECT etl.drop_stream('%s', drop_relation => "
									"true), and define it again.", stream->target)));
	etl_period_of(options->partition_by, at, &from, &to);
	partition = partition_of(stream, from);
	if (OidIsValid(etl_name_relation(partition)))
		return;
	etl_relation_sql(
		psprintf("CREATE TABLE %s PARTITION OF %s FOR VALUES FROM ('%s+00') TO ('%s+00')",
				 partition, stream->target, from, to));
	protect(etl_name_relation(partition), options->immutable);
}

/* ---- letting go ---- */

/*
 * release takes a partition out of a stream: dropped, or as a table of the
 * archive's schema.
 */
static void
release(const EtlStream *stream, const EtlLoadOptions *options, const char *partition)
{
	if (options->archive == NULL)
	{
		etl_relation_sql(psprintf("DROP TABLE %s", partition));
		return;
	}
	etl_relation_sql(psprintf("ALTER TABLE %s DETACH PARTITION %s", stream->target, partition));
	if (!OidIsValid(get_namespace_oid(options->archive, true)))
		etl_relation_sql(psprintf("CREATE SCHEMA %s", quote_identifier(options->archive)));
	if (strcmp(etl_name_parse(partition)->schema, options->archive) != 0)
		etl_relation_sql(psprintf("ALTER TABLE %s SET SCHEMA %s", partition,
								  quote_identifier(options->archive)));
}

/*
 * release_children takes the partitions of a period out of what lands with a
 * stream.
 */
static void
release_children(const EtlStream *stream, const EtlLoadOptions *options, const char *period_start)
{
	ListCell   *cell;

	foreach(cell, etl_stream_children(stream->target))
	{
		EtlStream  *child = lfirst(cell);
		char	   *partition = partition_of(child, period_start);

		release_children(child, options, period_start);
		etl_stream_lock(child->target);
		if (OidIsValid(etl_name_relation(partition)))
			release(child, options, partition);
	}
}

bool
etl_stream_expire(const EtlStream *stream, EtlExpiry *expiry)
{
	EtlLoadOptions *options = etl_load_options_read(stream);
	EtlRunAs	as;
	ListCell   *cell;

	etl_stream_lock(stream->target);
	etl_run_as_begin(&as, stream->owner, stream->settings);
	if (expiry->period_start != NULL)
	{
		char	   *partition = partition_of(stream, expiry->period_start);

		release_children(stream, options, expiry->period_start);
		if (OidIsValid(etl_name_relation(partition)))
			release(stream, options, partition);
	}
	else
		foreach(cell, expiry->loads)
		{
			char	   *condition = psprintf(ETL_LOAD_ID_COLUMN " OPERATOR(pg_catalog.=) " INT64_FORMAT,
									   ((EtlLoad *) lfirst(cell))->load_id);

			etl_children_delete(stream, condition, NULL);
			etl_relation_sql(psprintf("DELETE FROM %s WHERE %s", stream->target, condition));
		}
	etl_run_as_end(&as);
	foreach(cell, expiry->loads)
	{
		etl_load_set_status(((EtlLoad *) lfirst(cell))->load_id, "expired");
		etl_children_set_status(((EtlLoad *) lfirst(cell))->load_id, "expired");
	}
	return true;
}

List *
etl_stream_expiring(const EtlStream *stream, TimestampTz now)
{
	EtlLoadOptions *options = etl_load_options_read(stream);
	TimestampTz before = options->keep_ms < 0 ? DT_NOBEGIN : now - options->keep_ms * INT64CONST(1000);

	if (options->keep_ms < 0 && options->keep_loads < 0)
		return NIL;
	return etl_loads_expiring(stream->target, before, options->keep_loads, options->partition_by);
}

const char *
etl_expiry_action(const EtlStream *stream)
{
	EtlLoadOptions *options = etl_load_options_read(stream);

	return options->archive ? "archive" : options->partition_by ? "drop" :
																  "delete";
}
