/*-------------------------------------------------------------------------
 *
 * parallel.c
 *    The row checks of a large table, judged by several processes.
 *
 * The blocks of the table are shared out as in a parallel sequential scan;
 * every process compiles the checks for itself, judges the rows that it gets
 * and leaves its counts, which are added up.  Rows do not travel.
 *
 * Only plain tables are read like this, and only checks are evaluated whose
 * functions are all parallel safe.  Whatever goes wrong in any process ends
 * the attempt: then one process reads the relation again, and knows how to
 * go on without the check that broke.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "optimizer/paths.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "quality/check.h"

#define KEY_SHARED UINT64CONST(0xE71C000000000001)
#define KEY_CHECKS UINT64CONST(0xE71C000000000002)
#define KEY_SCAN   UINT64CONST(0xE71C000000000003)

/* A parent may be read by every process if it has less than this part of the table's blocks. */
#define PARENT_SHARE 4

typedef struct Counts
{
	int64		evaluated;
	int64		failed;
} Counts;

/* What the processes share besides the text of the checks and the scan. */
typedef struct Shared
{
	Oid			relid;
	int			nchecks;
	Counts		counts[FLEXIBLE_ARRAY_MEMBER];	/* nchecks for each worker */
} Shared;

typedef struct JudgeWork
{
	EtlCheckSet *set;
	Oid			relid;
	bool		judged;
} JudgeWork;

extern PGDLLEXPORT void etl_parallel_judge_main(dsm_segment *segment, shm_toc *toc);

/* ---- the checks as text, for workers ---- */

/*
 * write_checks writes who the checks belong to, and those with a count to
 * make, as a node tree of strings.
 */
static char *
write_checks(EtlCheckSet *set, List *checks)
{
	List	   *all = list_make2(makeString(set->target), makeString(set->owner));
	ListCell   *cell;
	ListCell   *column;

	foreach(cell, checks)
	{
		EtlCheck   *check = lfirst(cell);
		List	   *columns = NIL;

		foreach(column, check->columns)
			columns = lappend(columns, makeString(lfirst(column)));
		all = lappend(all, list_make5(makeString(check->name), makeString(check->kind),
									  makeString(etl_json_text(check->options)),
									  makeString(check->settings ? etl_json_text(check->settings) : ""),
									  makeString(check->owner)));
		all = lappend(all, columns);
	}
	return nodeToString(all);
}

/*
 * read_checks is the opposite; returns the checks.
 */
static List *
read_checks(const char *text, char **target, char **owner)
{
	List	   *all = castNode(List, stringToNode(unconstify(char *, text)));
	List	   *checks = NIL;
	ListCell   *cell;

	*target = strVal(linitial(all));
	*owner = strVal(lsecond(all));
	for (int i = 2; i < list_length(all); i += 2)
	{
		List	   *words = list_nth_node(List, all, i);
		EtlCheck   *check = palloc0(sizeof(EtlCheck));

		check->target = *target;
		check->name = strVal(linitial(words));
		check->kind = strVal(lsecond(words));
		check->options = etl_json_parse(strVal(lthird(words)));
		check->settings = *strVal(lfourth(words)) ? etl_json_parse(strVal(lfourth(words))) : NULL;
		check->owner = strVal(list_nth(words, 4));
		/* nothing is moved or judged here: only counted */
		check->on_fail = "warn";
		foreach(cell, (List *) list_nth(all, i + 1))
			check->columns = lappend(check->columns, strVal(lfirst(cell)));
		checks = lappend(checks, check);
	}
	return checks;
}

/* ---- judging ---- */

/*
 * judge_share judges the rows that this process gets.  A check that breaks
 * ends the attempt.
 */
static void
judge_share(EtlCheckSet *set, Relation rel, ParallelTableScanDesc parallel)
{
	TableScanDesc scan = table_beginscan_parallel(rel, parallel);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		(void) etl_checks_row_emit(set, slot, NULL, NULL);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);

	for (int i = 0; i < set->nrows; i++)
		if (set->states[i].error != NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_CHECK_FAILED),
					 errmsg("check \"%s\" could not be evaluated: %s", set->states[i].def->name,
							set->states[i].error)));
}

/*
 * etl_parallel_judge_main is what a parallel worker does.
 */
void
etl_parallel_judge_main(dsm_segment *segment, shm_toc *toc)
{
	Shared	   *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	Relation	rel = table_open(shared->relid, AccessShareLock);
	Counts	   *counts = shared->counts + (Size) ParallelWorkerNumber * shared->nchecks;
	EtlCheckSet *set;
	List	   *checks;
	char	   *target;
	char	   *owner;

	checks = read_checks(shm_toc_lookup(toc, KEY_CHECKS, false), &target, &owner);
	set = etl_checkset_make(target, RelationGetDescr(rel), owner, checks);
	if (set->nrows != shared->nchecks)
		elog(ERROR, "a worker has %d checks instead of %d", set->nrows, shared->nchecks);
	judge_share(set, rel, shm_toc_lookup(toc, KEY_SCAN, false));
	for (int i = 0; i < set->nrows; i++)
	{
		counts[i].evaluated = set->states[i].evaluated;
		counts[i].failed = set->states[i].failed;
	}
	table_close(rel, AccessShareLock);
}

/*
 * add_text puts the text of the checks into the segment.
 */
static void
add_text(ParallelContext *context, const char *text)
{
	char	   *copy = shm_toc_allocate(context->toc, strlen(text) + 1);

	strcpy(copy, text);
	shm_toc_insert(context->toc, KEY_CHECKS, copy);
}

/*
 * begin makes the context with everything in it that workers need.
 */
static ParallelContext *
begin(EtlCheckSet *set, Relation rel, List *checks, int nworkers)
{
	ParallelContext *context = CreateParallelContext("etl", "etl_parallel_judge_main", nworkers);
	char	   *text = write_checks(set, checks);
	Size		scan_size = table_parallelscan_estimate(rel, GetActiveSnapshot());
	Size		size = offsetof(Shared, counts) + sizeof(Counts) * list_length(checks) * nworkers;
	ParallelTableScanDesc scan;
	Shared	   *shared;

	shm_toc_estimate_chunk(&context->estimator, size);
	shm_toc_estimate_chunk(&context->estimator, strlen(text) + 1);
	shm_toc_estimate_chunk(&context->estimator, scan_size);
	shm_toc_estimate_keys(&context->estimator, 3);
	InitializeParallelDSM(context);

	shared = shm_toc_allocate(context->toc, size);
	memset(shared, 0, size);
	shared->relid = RelationGetRelid(rel);
	shared->nchecks = list_length(checks);
	shm_toc_insert(context->toc, KEY_SHARED, shared);
	add_text(context, text);
	scan = shm_toc_allocate(context->toc, scan_size);
	table_parallelscan_initialize(rel, scan, GetActiveSnapshot());
	shm_toc_insert(context->toc, KEY_SCAN, scan);
	return context;
}

/*
 * add_up adds the counts of this process and of the workers to the set's.
 */
static void
add_up(EtlCheckSet *set, EtlCheckSet *mine, const Shared *shared, int nworkers)
{
	for (int i = 0; i < mine->nrows; i++)
		for (int k = 0; k < set->nrows; k++)
		{
			if (set->states[k].def != mine->states[i].def)
				continue;
			set->states[k].evaluated = mine->states[i].evaluated;
			set->states[k].failed = mine->states[i].failed;
			for (int w = 0; w < nworkers; w++)
			{
				set->states[k].evaluated += shared->counts[w * shared->nchecks + i].evaluated;
				set->states[k].failed += shared->counts[w * shared->nchecks + i].failed;
			}
		}
}

/*
 * judge_together judges the table with workers, and takes part itself.
 */
static void
judge_together(EtlCheckSet *set, Relation rel, List *checks, int nworkers)
{
	/* its rows have the shape of the table, with the columns that were dropped */
	EtlCheckSet *mine = etl_checkset_make(set->target, RelationGetDescr(rel), set->owner, checks);
	ParallelContext *context;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	EnterParallelMode();
	context = begin(set, rel, checks, nworkers);
	LaunchParallelWorkers(context);
	judge_share(mine, rel, shm_toc_lookup(context->toc, KEY_SCAN, false));
	WaitForParallelWorkersToFinish(context);
	add_up(set, mine, shm_toc_lookup(context->toc, KEY_SHARED, false), context->nworkers_launched);
	DestroyParallelContext(context);
	ExitParallelMode();
	PopActiveSnapshot();
}

/* ---- whether ---- */

/*
 * count_workers tells how many workers a table is worth, as the planner does
 * for a scan; 0 when it must be read otherwise.
 */
static int
count_workers(EtlCheckSet *set, Relation rel)
{
	int64		blocks;
	int64		threshold = Max(min_parallel_table_scan_size, 1);
	int			nworkers = 0;

	if ((rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_MATVIEW) ||
		rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP || !RelationIsPopulated(rel) ||
		has_subclass(RelationGetRelid(rel)) ||
		check_enable_rls(RelationGetRelid(rel), set->role, true) == RLS_ENABLED ||
		pg_class_aclcheck(RelationGetRelid(rel), set->role, ACL_SELECT) != ACLCHECK_OK)
		return 0;
	/* columns that are computed when they are read, since PostgreSQL 18 */
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
		if (TupleDescAttr(RelationGetDescr(rel), i)->attgenerated == 'v')
			return 0;

	blocks = RelationGetNumberOfBlocks(rel);
	for (int i = 0; i < set->nrows; i++)
		blocks -= set->states[i].reads * PARENT_SHARE;
	for (; blocks >= threshold && nworkers < max_parallel_workers_per_gather; threshold *= 3)
		nworkers++;
	return Min(RelationGetParallelWorkers(rel, -1) >= 0 ? RelationGetParallelWorkers(rel, -1) : nworkers,
			   nworkers);
}

/*
 * checks_to_judge lists the checks that are evaluated row by row; NIL when
 * one of them must not be in a worker.
 */
static List *
checks_to_judge(EtlCheckSet *set)
{
	List	   *checks = NIL;

	for (int i = 0; i < set->nrows; i++)
	{
		EtlCheckState *state = &set->states[i];

		if (state->error != NULL || state->by_sql)
			continue;
		if (state->serial)
			return NIL;
		checks = lappend(checks, state->def);
	}
	return checks;
}

/*
 * judge tries it; an argument of etl_subxact.
 */
static void
judge(void *arg)
{
	JudgeWork  *work = arg;
	Relation	rel = table_open(work->relid, AccessShareLock);
	List	   *checks = checks_to_judge(work->set);
	int			nworkers = count_workers(work->set, rel);

	if (checks != NIL && nworkers > 0)
	{
		judge_together(work->set, rel, checks, nworkers);
		work->judged = true;
	}
	table_close(rel, AccessShareLock);
}

/*
 * etl_parallel_judge: see check.h.
 */
bool
etl_parallel_judge(EtlCheckSet *set, Oid relid)
{
	JudgeWork	work = {set, relid, false};
	ErrorData  *error;

	if (IsInParallelMode() || max_parallel_workers_per_gather == 0)
		return false;
	etl_checkset_restart(set);
	error = etl_subxact(judge, &work);
	if (error != NULL && etl_check_must_obey(error->sqlerrcode) &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR)
		etl_rethrow(error);
	return error == NULL && work.judged;
}
