/*-------------------------------------------------------------------------
 *
 * partition.c
 *    Models whose table is partitioned: how, and partitions as needed.
 *
 * Option partition_by names a method and what it is applied to.  Partitions
 * are made before the rows that need them are written: one for each value of
 * a list, one for each interval of a range, all of a hash at once.  What has
 * no value, or belongs to no interval, lies in the default partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "common/brief_lock.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/parse.h"
#include "model/internal.h"

/* ---- the table ---- */

/*
 * etl_partition_clause renders what CREATE TABLE ends with.
 */
char *
etl_partition_clause(const EtlModel *model)
{
	EtlPartitioning *partitioning = etl_partition_read(model);

	return psprintf(" PARTITION BY %s (%s)", partitioning->method, partitioning->by);
}

/*
 * partition_name names a partition; the one that every table has tells how it
 * is partitioned.
 */
static char *
partition_name(Oid relid, const char *suffix)
{
	char	   *tail = psprintf("_%s", suffix);

	tail[pg_mbcliplen(tail, strlen(tail), 40)] = '\0';
	return etl_name_suffixed(get_rel_name(relid), tail);
}

static char *
hash_text(const char *text)
{
	return psprintf("%08x", DatumGetUInt32(hash_any((const unsigned char *) text, strlen(text))));
}

/*
 * first_partition names the partition that a table has from the beginning.
 */
static char *
first_partition(const EtlModel *model, Oid relid)
{
	EtlPartitioning *partitioning = etl_partition_read(model);
	char	   *how = hash_text(etl_json_text(etl_json_get(model->options, "partition_by")));

	return partition_name(
		relid,
		psprintf("%s_%s", strcmp(partitioning->method, "hash") == 0 ? "h0" : "default", how));
}

/*
 * etl_partition_fits tells whether a table is partitioned as the definition
 * says.
 */
bool
etl_partition_fits(const EtlModel *model, Oid relid)
{
	Oid			first;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return !etl_model_is_partitioned(model);
	if (!etl_model_is_partitioned(model))
	{
		EtlModel   *served = etl_model_served(model);

		/* else it was adopted so */
		return served == NULL || !etl_model_is_partitioned(served) || !etl_partition_fits(served, relid);
	}
	first = get_relname_relid(first_partition(model, relid), get_rel_namespace(relid));
	return OidIsValid(first) && list_member_oid(find_inheritance_children(relid, NoLock), first);
}

/*
 * etl_partition_key_is_among tells whether a table is partitioned by one of
 * the columns of these numbers, which then cannot be dropped.
 */
bool
etl_partition_key_is_among(Oid relid, List *numbers)
{
	Relation	rel;
	PartitionKey key;
	bool		among = false;

	rel = table_open(relid, AccessShareLock);
	key = RelationGetPartitionKey(rel);
	for (int i = 0; i < key->partnatts; i++)
		among |= list_member_int(numbers, key->partattrs[i]);
	table_close(rel, NoLock);
	return among;
}

/*
 * suffix_of finds in the name of a partition what partition_name put behind
 * the name of the table; NULL when it is none of ours.
 */
static const char *
suffix_of(const char *name)
{
	const char *last = strrchr(name, '_');
	const char *digits;

	if (last == NULL)
		return NULL;
	if (strspn(last + 1, "0123456789abcdef") == 8 && last[9] == '\0')
	{
		if (last - name > 8 && strncmp(last - 8, "_default", 8) == 0)
			return last - 7;
		if (last - name > 3 && strncmp(last - 3, "_h0", 3) == 0)
			return last - 2;
	}
	if (last[1] == 'l')
		return strspn(last + 2, "0123456789abcdef") == 8 && last[10] == '\0' ? last + 1 : NULL;
	if (last[1] != 'h' && last[1] != 'p')
		return NULL;
	digits = last + 2 + (last[1] == 'p' && last[2] == 'm');
	return *digits && digits[strspn(digits, "0123456789")] == '\0' ? last + 1 : NULL;
}

/*
 * indexes_follow gives the indexes of a partition that has got another name
 * theirs, where they begin with the name that it had.
 */
static void
indexes_follow(Oid leaf, const char *had)
{
	Relation	rel = table_open(leaf, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	const char *has = pstrdup(RelationGetRelationName(rel));
	ListCell   *cell;

	table_close(rel, NoLock);
	foreach(cell, indexes)
	{
		char	   *name = get_rel_name(lfirst_oid(cell));
		char	   *wanted;

		if (strncmp(name, had, strlen(had)) != 0)
			continue;
		wanted = ChooseRelationName(has, NULL, name + strlen(had) + (name[strlen(had)] == '_'),
									get_rel_namespace(leaf), false);
		etl_execute_utility(psprintf("ALTER INDEX %s RENAME TO %s", etl_quoted_relation(lfirst_oid(cell)),
									 quote_identifier(wanted)));
		CommandCounterIncrement();
	}
}

/*
 * etl_partitions_follow moves and renames the partitions of a table that was,
 * so that they are found again; inside etl_run_as.
 */
void
etl_partitions_follow(Oid relid, const char *schema)
{
	ListCell   *cell;

	foreach(cell, find_inheritance_children(relid, AccessExclusiveLock))
	{
		Oid			leaf = lfirst_oid(cell);
		char	   *had = get_rel_name(leaf);
		const char *suffix = suffix_of(had);
		char	   *wanted = suffix ? partition_name(relid, suffix) : NULL;

		if (schema != NULL && get_rel_namespace(leaf) != get_rel_namespace(relid))
			etl_execute_utility(psprintf("ALTER TABLE %s SET SCHEMA %s", etl_quoted_relation(leaf),
										 quote_identifier(schema)));
		CommandCounterIncrement();
		if (wanted == NULL || strcmp(wanted, had) == 0)
			continue;
		etl_execute_utility(psprintf("ALTER TABLE %s RENAME TO %s", etl_quoted_relation(leaf),
									 quote_identifier(wanted)));
		CommandCounterIncrement();
		indexes_follow(leaf, had);
	}
}

/*
 * make_partition makes one partition for the values that 'bound' tells, of a
 * table that nobody reads yet.
 */
static void
make_partition(Oid relid, const char *name, const char *bound, const char *parameters)
{
	char	   *qualified = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);

	etl_execute_utility(psprintf("CREATE TABLE %s PARTITION OF %s %s%s", qualified,
								 etl_quoted_relation(relid), bound, parameters));
	CommandCounterIncrement();
}

/*
 * etl_partition_create makes the table of a partition that is attached later;
 * inside etl_run_as.
 */
Oid
etl_partition_create(Oid relid, const EtlPartition *partition, const char *parameters)
{
	char	   *qualified = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
												 partition->name);

	etl_execute_utility(psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED"
								 " INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING CONSTRAINTS)%s",
								 qualified, etl_quoted_relation(relid), parameters));
	CommandCounterIncrement();
	return get_relname_relid(partition->name, get_rel_namespace(relid));
}

/*
 * etl_partition_attach makes a table a partition.  Unlike CREATE TABLE …
 * PARTITION OF it does not lock the whole against its readers.
 */
void
etl_partition_attach(Oid relid, Oid fresh, const EtlPartition *partition)
{
	Oid			other = get_default_partition_oid(relid);

	/* its bounds become others: PostgreSQL locks it against readers */
	if (OidIsValid(other))
		etl_lock_briefly(other);
	etl_execute_utility(psprintf("ALTER TABLE %s ATTACH PARTITION %s %s", etl_quoted_relation(relid),
								 etl_quoted_relation(fresh), partition->bound));
	CommandCounterIncrement();
}

/*
 * etl_partition_begin makes the partitions that a new table has from the
 * beginning; inside etl_run_as.
 */
void
etl_partition_begin(const EtlModel *model, Oid relid, const char *parameters)
{
	EtlPartitioning *partitioning = etl_partition_read(model);

	if (strcmp(partitioning->method, "hash") != 0)
	{
		make_partition(relid, first_partition(model, relid), "DEFAULT", parameters);
		return;
	}
	for (int i = 0; i < partitioning->count; i++)
		make_partition(
			relid,
			i == 0 ? first_partition(model, relid) : partition_name(relid, psprintf("h%d", i)),
			psprintf("FOR VALUES WITH (MODULUS %d, REMAINDER %d)", partitioning->count, i),
			parameters);
}

/* ---- partitions as needed ---- */

/*
 * type_of returns the type of what a table is partitioned by.
 */
static Oid
type_of(const EtlPartitioning *partitioning, QueryEnvironment *environment)
{
	Query	   *query = etl_query_analyze(psprintf("SELECT %s FROM etl_diff", partitioning->by), environment);

	return getBaseType(exprType((Node *) linitial_node(TargetEntry, query->targetList)->expr));
}

/*
 * range_query renders a query of the bounds of the intervals that rows fall
 * into: for numbers multiples of the interval, for times months counted from
 * 2000, or days and hours counted from a Monday.
 */
static char *
range_query(const EtlPartitioning *partitioning, Oid type)
{
	char	   *by = psprintf("(%s)", partitioning->by);
	char	   *type_name = format_type_be_qualified(type);
	char	   *length = quote_literal_cstr(partitioning->interval);
	Interval   *interval;
	char	   *lower;

	if (etl_partition_by_number(type))
		return psprintf("SELECT (b OPERATOR(pg_catalog.*) i)::%s::text, (b OPERATOR(pg_catalog.*) i"
						" OPERATOR(pg_catalog.+) i)::%s::text FROM (SELECT DISTINCT "
						"pg_catalog.floor(%s::numeric"
						" OPERATOR(pg_catalog./) %s::numeric) AS b, %s::numeric AS i FROM "
						"etl_diff) x WHERE b IS NOT NULL",
						type_name, type_name, by, length, length);
	if (!etl_partition_by_moment(type))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s cannot be cut into intervals", format_type_be(type)),
				 errhint("Partition by a number, a date or a timestamp, or leave \"interval\" out.")));
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(partitioning->interval),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (interval->month > 0 && interval->day == 0 && interval->time == 0)
		lower = psprintf(
			"timestamp '2000-01-01' OPERATOR(pg_catalog.+) pg_catalog.make_interval(months => (%d"
			" OPERATOR(pg_catalog.*) pg_catalog.floor(((EXTRACT(year FROM v) "
			"OPERATOR(pg_catalog.-) 2000)"
			" OPERATOR(pg_catalog.*) 12 OPERATOR(pg_catalog.+) EXTRACT(month FROM v) "
			"OPERATOR(pg_catalog.-) 1)"
			" OPERATOR(pg_catalog./) %d))::int4)", interval->month, interval->month);
	else
		lower = psprintf("pg_catalog.date_bin(%s::pg_catalog.interval, v, timestamp '2000-01-03')", length);
	return psprintf("SELECT l::%s::text, (l OPERATOR(pg_catalog.+) %s::pg_catalog.interval)::%s::text FROM"
					" (SELECT DISTINCT %s AS l FROM (SELECT %s::timestamp AS v FROM etl_diff) y"
					" WHERE v IS NOT NULL AND pg_catalog.isfinite(v)) x",
					type_name, length, type_name, lower, by);
}

/*
 * digits keeps of a bound what can stand in a name.
 */
static char *
digits(const char *bound)
{
	StringInfoData text;

	initStringInfo(&text);
	for (const char *c = bound; *c && *c != '+'; c++)
		if (isdigit((unsigned char) *c))
			appendStringInfoChar(&text, *c);
		else if (*c == '-' && c == bound)
			appendStringInfoChar(&text, 'm');
	return text.data;
}

/*
 * bounds_query renders a query of what the rows of a difference need: the
 * lower and the upper bound of an interval, or a value.
 */
static char *
bounds_query(const EtlPartitioning *partitioning, Oid type)
{
	if (strcmp(partitioning->method, "range") == 0)
		return range_query(partitioning, type);
	return psprintf("SELECT DISTINCT (%s)::pg_catalog.text, NULL::pg_catalog.text FROM etl_diff"
					" WHERE (%s) IS NOT NULL", partitioning->by, partitioning->by);
}

/*
 * partition_for describes the partition of a value, or of the interval from
 * 'lower' to 'upper'.
 */
static EtlPartition *
partition_for(const EtlPartitioning *partitioning, Oid relid, Oid type, const char *lower, const char *upper)
{
	EtlPartition *partition = palloc0(sizeof(EtlPartition));
	char	   *by = psprintf("(%s)", partitioning->by);
	char	   *first = quote_literal_cstr(lower);

	if (upper == NULL)
	{
		char	   *value = psprintf("%s::%s", first, format_type_be_qualified(type));
		char	   *equals = etl_sql_equals(type, by, value);

		partition->name = partition_name(relid, psprintf("l%s", hash_text(lower)));
		partition->bound = psprintf("FOR VALUES IN (%s)", first);
		partition->condition = psprintf("%s IS NOT NULL AND %s", by, equals);
		return partition;
	}
	partition->name = partition_name(relid, psprintf("p%s", digits(lower)));
	partition->bound = psprintf("FOR VALUES FROM (%s) TO (%s)", first, quote_literal_cstr(upper));
	partition->condition = psprintf("%s IS NOT NULL AND %s OPERATOR(pg_catalog.>=) %s AND"
									" %s OPERATOR(pg_catalog.<) %s",
									by, by, first, by, quote_literal_cstr(upper));
	return partition;
}

/*
 * etl_partition_missing lists the partitions that the rows of a difference
 * need and that are not there; inside etl_run_as.
 */
List *
etl_partition_missing(const EtlModel *model, EtlDiff *diff)
{
	EtlPartitioning *partitioning = etl_partition_read(model);
	QueryEnvironment *environment = create_queryEnv();
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	Tuplestorestate *bounds = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	List	   *missing = NIL;
	TupleTableSlot *slot;
	List	   *have;
	Oid			type;
	int			level;

	if (strcmp(partitioning->method, "hash") == 0 ||
		(strcmp(partitioning->method, "range") == 0 && partitioning->interval == NULL) ||
		diff->inserted + diff->updated == 0)
		return NIL;
	/* names of partitions must not depend on how dates are written */
	level = NewGUCNestLevel();
	(void) set_config_option("DateStyle", "ISO", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	TupleDescInitEntry(desc, 1, "lower", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "upper", TEXTOID, -1, 0);
	etl_diff_to_environment(environment, diff);
	SetTuplestoreDestReceiverParams(receiver, bounds, CurrentMemoryContext, false, NULL, NULL);
	type = type_of(partitioning, environment);
	etl_execute(bounds_query(partitioning, type), environment, receiver);
	have = find_inheritance_children(diff->relid, NoLock);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(bounds, true, false, slot))
	{
		bool		isnull;
		char	   *lower = TextDatumGetCString(slot_getattr(slot, 1, &isnull));
		Datum		upper = slot_getattr(slot, 2, &isnull);
		EtlPartition *partition = partition_for(partitioning, diff->relid, type, lower,
												isnull ? NULL : TextDatumGetCString(upper));
		Oid			there = get_relname_relid(partition->name, get_rel_namespace(diff->relid));

		if (!OidIsValid(there) || !list_member_oid(have, there))
			missing = lappend(missing, partition);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(bounds);
	AtEOXact_GUC(false, level);
	return missing;
}

/*
 * etl_partition_make makes the partitions that the rows of a difference need;
 * inside etl_run_as.
 */
void
etl_partition_make(const EtlModel *model, EtlDiff *diff, const char *parameters)
{
	List	   *missing = etl_partition_missing(model, diff);
	bool		recorded = missing != NIL && etl_record_is_on(diff->relid);
	ListCell   *cell;

	foreach(cell, missing)
	{
		Oid			part = etl_partition_create(diff->relid, lfirst(cell), parameters);

		etl_partition_attach(diff->relid, part, lfirst(cell));
		if (recorded)
			etl_record_add_part(diff->relid, part);
	}
	if (recorded)
		etl_record_know_parts(diff->relid);
}
