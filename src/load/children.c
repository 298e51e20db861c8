/*-------------------------------------------------------------------------
 *
 * children.c
 *    Landing the lists inside records as rows of child tables.
 *
 * The lists of every record that may land are spooled, element by element.
 * When the stream's own load is written, those whose row is in the relation
 * become records of the child: the element, and what tells the row that it
 * belongs to.  They land as a load of the child, with its own inference,
 * policy, checks and rejects, in the same transaction; a load of the child
 * may have children again.
 *
 * Of a merge, rows that changed (a digest of the lists is one of their
 * columns) get new children in the place of those that they had.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "load/children.h"
#include "load/land.h"
#include "load/pull.h"

/* The elements of the lists of one path: load, row, number in the list, text. */
typedef struct Spool
{
	char	   *path;
	Tuplestorestate *items;
	int64		n;
} Spool;

struct EtlChildren
{
	MemoryContext context;
	TupleDesc	desc;
	List	   *spools;			/* Spool * */
	Tuplestorestate *records;	/* of a merge: load and row of every record that may land */
	StringInfoData item;
};

/* ---- while records are read ---- */

/*
 * begin prepares the spools of a landing.
 */
static EtlChildren *
begin(EtlLanding *landing)
{
	MemoryContext old = MemoryContextSwitchTo(landing->context);
	EtlChildren *children = palloc0(sizeof(EtlChildren));

	children->context = landing->context;
	children->desc = CreateTemplateTupleDesc(4);
	TupleDescInitEntry(children->desc, 1, "load_id", INT8OID, -1, 0);
	TupleDescInitEntry(children->desc, 2, "row_number", INT8OID, -1, 0);
	TupleDescInitEntry(children->desc, 3, "n", INT8OID, -1, 0);
	TupleDescInitEntry(children->desc, 4, "item", TEXTOID, -1, 0);
	if (landing->options->merge)
		children->records = tuplestore_begin_heap(false, false, work_mem);
	initStringInfo(&children->item);
	MemoryContextSwitchTo(old);
	return children;
}

/*
 * spool_of returns the spool of a path, made with its first element.
 */
static Spool *
spool_of(EtlChildren *children, const char *path)
{
	MemoryContext old;
	Spool	   *spool;
	ListCell   *cell;

	foreach(cell, children->spools)
		if (strcmp(((Spool *) lfirst(cell))->path, path) == 0)
			return lfirst(cell);
	old = MemoryContextSwitchTo(children->context);
	spool = palloc0(sizeof(Spool));
	spool->path = pstrdup(path);
	spool->items = tuplestore_begin_heap(false, false, work_mem);
	children->spools = lappend(children->spools, spool);
	MemoryContextSwitchTo(old);
	return spool;
}

/*
 * spool_list adds the elements of a list to its spool.
 */
static void
spool_list(EtlChildren *children, const EtlNestedList *list, Datum *values)
{
	bool		nulls[4] = {false, false, false, false};
	char	   *at = NULL;
	Spool	   *spool = NULL;
	int64		n = 0;

	while (etl_nested_next(list, &at, &children->item))
	{
		text	   *item;

		if (spool == NULL)
			spool = spool_of(children, list->path);
		item = cstring_to_text_with_len(children->item.data, children->item.len);
		values[2] = Int64GetDatum(++n);
		values[3] = PointerGetDatum(item);
		tuplestore_putvalues(spool->items, children->desc, values, nulls);
		spool->n++;
		pfree(item);
		if (n % ETL_BATCH_ROWS == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

void
etl_children_note(EtlLanding *landing, const EtlRecord *record)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, true, true};

	if (!landing->options->child_tables || (record->nlists == 0 && !landing->options->merge))
		return;
	if (landing->children == NULL)
		landing->children = begin(landing);
	values[0] = Int64GetDatum(landing->replay ? landing->replay->load_id : landing->load->load_id);
	values[1] = Int64GetDatum(record->position);
	if (landing->children->records != NULL)
		tuplestore_putvalues(landing->children->records, landing->children->desc, values, nulls);
	for (int i = 0; i < record->nlists; i++)
		spool_list(landing->children, &record->lists[i], values);
}

/* ---- when they have landed ---- */

/*
 * show_spool lets the statements of the current SPI connection read a spool.
 */
static void
show_spool(EtlChildren *children, Tuplestorestate *store, int64 n)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = "etl_nested";
	enr->md.tupdesc = children->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = n;
	enr->reldata = store;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not read spooled items");
}

/*
 * where_landed says which rows of the stream belong to spooled records; where
 * it is known, it says in which blocks they are.
 */
static char *
where_landed(const EtlLanding *landing, const EtlLoad *load)
{
	char	   *joined = "p." ETL_LOAD_ID_COLUMN " OPERATOR(pg_catalog.=) s.load_id AND p." ETL_ROW_COLUMN
				   " OPERATOR(pg_catalog.=) s.row_number";

	if (landing->replay != NULL || load->relfilenode == 0)
		return joined;
	return psprintf("%s AND p.ctid OPERATOR(pg_catalog.>=) '(" INT64_FORMAT ",0)'::pg_catalog.tid"
					" AND p.ctid OPERATOR(pg_catalog.<) '(" INT64_FORMAT ",0)'::pg_catalog.tid",
					joined, load->first_block, load->last_block + 1);
}

/*
 * read_records writes the records of a child into a new tuplestore.
 */
static Tuplestorestate *
read_records(EtlLanding *landing, const EtlLoad *load, const Spool *spool, int64 *n)
{
	const EtlStream *stream = landing->stream;
	Tuplestorestate *records = tuplestore_begin_heap(false, false, work_mem);
	SPIExecuteOptions options = {0};
	StringInfoData sql;
	List	   *keys = etl_child_keys(stream);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT pg_catalog.concat(s.item, '\"" ETL_PARENT_LOAD_COLUMN
								 "\":', s.load_id,"
								 " ',\"" ETL_PARENT_ROW_COLUMN "\":', s.row_number,"
								 " ',\"" ETL_INDEX_COLUMN "\":', s.n");
	for (int i = 0; i < list_length(keys); i += 2)
		appendStringInfo(&sql, ", %s, pg_catalog.to_json(p.%s)",
						 quote_literal_cstr(psprintf(",%s:", etl_json_quote(list_nth(keys, i + 1)))),
						 quote_identifier(list_nth(keys, i)));
	appendStringInfo(&sql, ", '}') FROM etl_nested s JOIN %s p ON %s ORDER BY s.load_id, s.row_number, s.n",
					 stream->target, where_landed(landing, load));

	SPI_connect();
	show_spool(landing->children, spool->items, spool->n);
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, records, landing->children->context, false, NULL, NULL);
	if (SPI_execute_extended(sql.data, &options) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", sql.data);
	SPI_finish();
	*n = tuplestore_tuple_count(records);
	return records;
}

/*
 * run_sql runs a statement in the SPI connection that shows a spool.
 */
static uint64
run_sql(const char *statement)
{
	if (SPI_execute(statement, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "unexpected result of: %s", statement);
	return SPI_processed;
}

/*
 * equal_keys compares the key of a row p of the stream with a child's.
 */
static char *
equal_keys(const EtlStream *stream, const EtlStream *child, Oid relid)
{
	List	   *keys = etl_child_keys(stream);
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < list_length(keys); i += 2)
	{
		Oid			type = get_atttype(relid, get_attnum(relid, list_nth(keys, i)));
		Oid			operator= lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;

		appendStringInfo(&out, " AND p.%s %s %s.%s", quote_identifier(list_nth(keys, i)),
						 etl_qualified_operator(operator), child->target,
						 quote_identifier(list_nth(keys, i + 1)));
	}
	return out.data;
}

/*
 * delete_former deletes the children that changed rows of a merge had.
 */
static void
delete_former(EtlLanding *landing, const EtlLoad *load)
{
	const EtlStream *stream = landing->stream;
	EtlChildren *children = landing->children;
	Oid			relid = etl_name_relation(stream->target);
	ListCell   *cell;

	SPI_connect();
	show_spool(children, children->records, tuplestore_tuple_count(children->records));
	foreach(cell, etl_stream_children(stream->target))
	{
		EtlStream  *child = lfirst(cell);

		if (OidIsValid(etl_name_relation(child->target)))
			etl_child_delete(child,
							 psprintf("EXISTS (SELECT FROM etl_nested s JOIN %s p ON %s%s)", stream->target,
									  where_landed(landing, load), equal_keys(stream, child, relid)),
							 psprintf("load " INT64_FORMAT " replaced them", load->load_id), run_sql);
	}
	SPI_finish();
}

/* ---- a load of a child ---- */

/* Its records as the bytes of an item. */
typedef struct Source
{
	Tuplestorestate *records;
	TupleTableSlot *slot;
	char	   *line;			/* NULL: the next one is to be read */
	size_t		length;
	size_t		at;
} Source;

/*
 * next_line reads the next record; false at the end.
 */
static bool
next_line(Source *source)
{
	bool		isnull;
	char	   *line;
	char	   *utf8;

	if (source->line != NULL)
		pfree(source->line);
	source->line = NULL;
	if (!tuplestore_gettupleslot(source->records, true, false, source->slot))
		return false;
	line = TextDatumGetCString(slot_getattr(source->slot, 1, &isnull));
	utf8 = GetDatabaseEncoding() == PG_UTF8 ? line : pg_server_to_any(line, strlen(line), PG_UTF8);
	source->length = strlen(utf8);
	source->line = MemoryContextAllocHuge(GetMemoryChunkContext(source), source->length + 1);
	memcpy(source->line, utf8, source->length);
	source->line[source->length++] = '\n';
	source->at = 0;
	if (utf8 != line)
		pfree(utf8);
	pfree(line);
	/* one that was spilled to disk is in memory of whoever reads now */
	ExecClearTuple(source->slot);
	return true;
}

static size_t
read_source(void *state, EtlItem *item, char *buffer, size_t size)
{
	Source	   *source = state;
	size_t		done = 0;

	while (done < size)
	{
		size_t		n;

		if ((source->line == NULL || source->at == source->length) && !next_line(source))
			break;
		n = Min(size - done, source->length - source->at);
		memcpy(buffer + done, source->line + source->at, n);
		source->at += n;
		done += n;
	}
	return done;
}

static void
rewind_source(void *state, EtlItem *item)
{
	Source	   *source = state;

	tuplestore_rescan(source->records);
	source->at = source->length = 0;
}

static void
release_source(void *state, EtlItem *item)
{
}

static const EtlConnector child_records = {
	.abi_version = ETL_CONNECTOR_ABI,
	.name = "nested",
	.shape = ETL_BYTES,
	.read = read_source,
	.rewind = rewind_source,
	.release = release_source,
};

/*
 * see_changes makes what was done visible to what follows: the load of the
 * parent commits it.
 */
static void
see_changes(EtlDriver *driver)
{
	CommandCounterIncrement();
}

/*
 * land_records lands the records of a child as a load and returns its rejects.
 */
static int64
land_records(EtlLanding *landing, const EtlLoad *load, const EtlStream *child, Tuplestorestate *records)
{
	EtlDriver	driver = {.atomic = true, .commit = see_changes, .run_id = load->run_id, .node = child->target};
	EtlPullResult result = {0};
	EtlPull    *pull = palloc0(sizeof(EtlPull));
	EtlItem    *item = palloc0(sizeof(EtlItem));
	Source	   *source = palloc0(sizeof(Source));
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "record", TEXTOID, -1, 0);
	source->records = records;
	source->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	item->origin = load->origin;
	item->mtime = DT_NOBEGIN;
	item->own_load = true;

	pull->driver = &driver;
	pull->stream = child;
	pull->options = etl_load_options_read(child);
	pull->options->compression = "none";
	pull->options->transformed = pull->options->transform != NULL;
	pull->result = &result;
	pull->context = AllocSetContextCreate(CurrentMemoryContext, "etl child load", ALLOCSET_DEFAULT_SIZES);
	pull->connector = &child_records;
	pull->state = source;
	pull->pushed = true;
	pull->parent = load;
	pull->items = list_make1(item);
	etl_pull_land(pull, NULL);
	MemoryContextDelete(pull->context);
	ExecDropSingleTupleTableSlot(source->slot);
	return result.rejected;
}

/*
 * index_keys makes the children of a key quick to find: those of a record
 * that changes go.
 */
static void
index_keys(const EtlStream *stream, const EtlStream *child)
{
	List	   *keys = etl_child_keys(stream);
	StringInfoData columns;

	if (strcmp(child->mode, "append") == 0 || keys == NIL)
		return;
	initStringInfo(&columns);
	for (int i = 1; i < list_length(keys); i += 2)
		appendStringInfo(&columns, "%s%s", columns.len ? ", " : "", quote_identifier(list_nth(keys, i)));
	etl_relation_sql(psprintf("CREATE INDEX ON %s (%s)", child->target, columns.data));
}

/*
 * land_spool lands the elements of the lists of one path.
 */
static int64
land_spool(EtlLanding *landing, const EtlLoad *load, const Spool *spool)
{
	const EtlStream *stream = landing->stream;
	EtlStream  *child =
		etl_child_define(stream, landing->options, spool->path, etl_name_relation(stream->target));
	bool		known = OidIsValid(etl_name_relation(child->target));
	Tuplestorestate *records;
	int64		rejected = 0;
	int64		n;
	EtlRunAs	as;

	etl_run_as_begin(&as, stream->owner, stream->settings);
	records = read_records(landing, load, spool, &n);
	etl_run_as_end(&as);
	if (n > 0)
		rejected = land_records(landing, load, child, records);
	tuplestore_end(records);
	if (n > 0 && !known)
	{
		etl_run_as_begin(&as, stream->owner, stream->settings);
		index_keys(stream, child);
		etl_run_as_end(&as);
	}
	return rejected;
}

int64
etl_children_land(EtlLanding *landing, const EtlLoad *load)
{
	EtlChildren *children = landing->children;
	int64		rejected = 0;
	ListCell   *cell;
	EtlRunAs	as;

	if (children == NULL)
		return 0;
	if (children->records != NULL && load->rows_loaded + load->rows_updated > 0)
	{
		etl_run_as_begin(&as, landing->stream->owner, landing->stream->settings);
		delete_former(landing, load);
		etl_run_as_end(&as);
	}
	foreach(cell, children->spools)
	{
		rejected += land_spool(landing, load, lfirst(cell));
		tuplestore_end(((Spool *) lfirst(cell))->items);
	}
	if (children->records != NULL)
		tuplestore_end(children->records);
	landing->children = NULL;
	return rejected;
}
