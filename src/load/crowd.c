/*-------------------------------------------------------------------------
 *
 * crowd.c
 *    Many small files, each of them a load, committed together.
 *
 * What a load costs beside its rows, a dozen statements and a commit, is more
 * than a hundred rows cost.  So the small new files of an append stream that
 * come one after the other are landed by one writer in one transaction, and
 * their loads and ledger entries are written by one statement each.  Every
 * file is still a load with an id, a line in etl.loads and rejects of its
 * own.  When anything is in the way of one of them, nothing of the crowd
 * stays, and its files land one by one as they would have without it: what
 * fails then is that file's load.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/run_as.h"
#include "load/dialect.h"
#include "load/pull.h"
#include "quality/quality.h"

#define MAX_FILE_BYTES	(1024 * 1024)
#define MAX_CROWD_BYTES (16 * 1024 * 1024)
#define MAX_CROWD		512

/* crowds of one pull that may fail before it goes file by file */
#define MAX_FAILED 3

typedef struct Crowd
{
	EtlAttempt	attempt;
	int			n;
	EtlLoad    *loads;
	EtlFile    *files;
	List	  **fields;			/* char *: the header of each file */
	bool		unsuitable;		/* the relation has checks, which judge load by load */
} Crowd;

/*
 * etl_crowd_takes tells whether a file that the ledger does not know may land
 * together with others.  The first of a pull lands alone: it may make the
 * relation.
 */
bool
etl_crowd_takes(EtlPull *pull, const EtlItem *item)
{
	const EtlLoadOptions *options = pull->options;

	return pull->result->loads > 0 && pull->crowds_failed < MAX_FAILED &&
		   !pull->connector->needs_network && !options->child_tables && !options->merge &&
		   !options->replace && options->watermark_ms < 0 && !etl_dialect_is_auto(pull->stream) &&
		   item->size >= 0 && item->size <= MAX_FILE_BYTES && item->position == NULL;
}

bool
etl_crowd_is_full(EtlPull *pull)
{
	return list_length(pull->items) >= MAX_CROWD || pull->bytes >= MAX_CROWD_BYTES;
}

/*
 * refuse gives up the crowd: its files are to land one by one.
 */
static void
refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("files cannot land together"),
			 errhint("This is never reported: they land one by one.")));
}

/*
 * land_files lands one file after the other, each as a load.
 */
static void
land_files(Crowd *crowd)
{
	EtlAttempt *attempt = &crowd->attempt;
	EtlLanding *landing = attempt->landing;
	ListCell   *cell;
	int			i = 0;

	foreach(cell, attempt->items)
	{
		if (i > 0)
			etl_landing_next(landing, &crowd->loads[i]);
		crowd->files[i] = etl_attempt_item(attempt, lfirst(cell));
		crowd->files[i].load_id = crowd->loads[i].load_id;
		crowd->fields[i++] = landing->fields;
	}
	etl_landing_end(landing);
}

/*
 * same_names compares two lists of names.
 */
static bool
same_names(List *a, List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
		if (strcmp(list_nth(a, i), list_nth(b, i)) != 0)
			return false;
	return true;
}

/*
 * store writes what the loads are accountable for.
 */
static void
store(Crowd *crowd)
{
	EtlPull    *pull = crowd->attempt.pull;
	int64		rows = 0;

	for (int i = 0; i < crowd->n; i++)
	{
		if (crowd->loads[i].rows_loaded == 0)
			crowd->loads[i].relfilenode = 0;
		rows += crowd->loads[i].rows_loaded;
	}
	etl_loads_store(crowd->loads, crowd->n, crowd->fields[0]);
	for (int i = 1; i < crowd->n; i++)
		if (!same_names(crowd->fields[i], crowd->fields[0]))
			etl_load_set_fields(crowd->loads[i].load_id, crowd->fields[i]);
	etl_files_store(pull->stream->target, crowd->files, crowd->n);
	if (rows > 0)
		etl_attempt_changed(pull, rows, rows);
}

/*
 * land_crowd lands all files, inside a subtransaction.  'arg' is a Crowd.
 */
static void
land_crowd(void *arg)
{
	Crowd	   *crowd = arg;
	EtlAttempt *attempt = &crowd->attempt;
	EtlPull    *pull = attempt->pull;
	const EtlStream *stream = pull->stream;
	int64	   *ids = palloc(sizeof(int64) * crowd->n);
	TimestampTz now = GetCurrentTimestamp();
	List	   *uris = NIL;
	EtlRunAs	as;

	PushActiveSnapshot(GetTransactionSnapshot());
	etl_stream_lock(stream->target);
	etl_load_next_ids(ids, crowd->n);
	for (int i = 0; i < crowd->n; i++)
	{
		EtlItem    *item = list_nth(attempt->items, i);

		crowd->loads[i].load_id = ids[i];
		crowd->loads[i].started_at = now;
		etl_attempt_begin_load(pull, &crowd->loads[i], item);
		uris = lappend(uris, item->origin);
	}
	/* another session may have loaded one of them meanwhile */
	if (etl_files_known(stream->target, uris) > 0)
		refuse();
	attempt->load = crowd->loads[0];
	attempt->landing = etl_attempt_landing(attempt);
	attempt->landing->load = &crowd->loads[0];
	etl_run_as_begin(&as, stream->owner, stream->settings);
	etl_landing_begin(attempt->landing, etl_attempt_relation(attempt));
	crowd->unsuitable = etl_checks_has_any(attempt->landing->checks);
	if (crowd->unsuitable)
		refuse();
	land_files(crowd);
	etl_run_as_end(&as);
	store(crowd);
	PopActiveSnapshot();
}

/*
 * land_singly lands the files one by one.
 */
static void
land_singly(EtlPull *pull, List *items)
{
	ListCell   *cell;

	pull->crowd = false;
	foreach(cell, items)
	{
		pull->items = list_make1(lfirst(cell));
		etl_pull_land(pull, NULL);
	}
}

void
etl_crowd_land(EtlPull *pull)
{
	MemoryContext context = AllocSetContextCreate(pull->context, "etl crowd", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *items = pull->items;
	Crowd		crowd = {.n = list_length(items)};
	ErrorData  *error;

	crowd.attempt.pull = pull;
	crowd.attempt.items = items;
	crowd.attempt.context = crowd.attempt.try_context = context;
	crowd.loads = palloc0(sizeof(EtlLoad) * crowd.n);
	crowd.files = palloc0(sizeof(EtlFile) * crowd.n);
	crowd.fields = palloc0(sizeof(List *) * crowd.n);
	error = etl_subxact(land_crowd, &crowd);
	MemoryContextSwitchTo(pull->context);
	pull->items = NIL;
	pull->bytes = 0;
	if (error != NULL)
	{
		pull->crowds_failed = crowd.unsuitable ? MAX_FAILED : pull->crowds_failed + 1;
		MemoryContextDelete(context);
		land_singly(pull, items);
	}
	else
	{
		pull->load_id = crowd.loads[crowd.n - 1].load_id;
		etl_pull_commit(pull, linitial(items));
		for (int i = 0; i < crowd.n; i++)
			etl_pull_landed(pull, &crowd.loads[i], list_make1(list_nth(items, i)));
		MemoryContextDelete(context);
	}
	list_free(items);
	MemoryContextSwitchTo(old);
}
