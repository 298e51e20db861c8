/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *    All checks of a relation as it stands, in one scan; SQL function check.
 *
 * The relation is read by an ordinary query of its owner, so that views,
 * partitions, foreign tables and row security mean what they always mean;
 * its rows go straight from the executor into the predicates.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"

#include "catalog/quality.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/run_as.h"
#include "quality/check.h"

/* ---- who ---- */

/*
 * etl_target_visible tells whether the current user may see what is known
 * of the quality of a relation: whoever may read it, or owns its definition.
 */
bool
etl_target_visible(const char *target, Oid relid)
{
	char	   *owner = etl_node_owner(target);
	Oid			role = owner ? get_role_oid(owner, true) : InvalidOid;
	ListCell   *cell;

	if (OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return true;
	if (owner != NULL)
		return OidIsValid(role) && has_privs_of_role(GetUserId(), role);
	foreach(cell, etl_checks_of(target))
	{
		role = get_role_oid(((EtlCheck *) lfirst(cell))->owner, true);
		if (OidIsValid(role) && has_privs_of_role(GetUserId(), role))
			return true;
	}
	return false;
}

/*
 * etl_check_owners says as whom the checks of a relation run: those of a
 * node as its owner, with its settings; on other relations each as the
 * owner of the check.
 */
List *
etl_check_owners(const char *target)
{
	EtlStream  *stream = etl_stream_find(target);
	EtlModel   *model = stream ? NULL : etl_model_find(target);
	List	   *owners = NIL;
	ListCell   *cell;

	if (stream != NULL || model != NULL)
	{
		EtlCheckOwner *owner = palloc0(sizeof(EtlCheckOwner));

		owner->owner = stream ? stream->owner : model->owner;
		owner->settings = stream ? stream->settings : model->settings;
		owner->checks = etl_checks_of(target);
		return list_make1(owner);
	}
	foreach(cell, etl_checks_of(target))
	{
		EtlCheck   *check = lfirst(cell);
		EtlCheckOwner *owner = NULL;
		ListCell   *known;

		foreach(known, owners)
			if (strcmp(((EtlCheckOwner *) lfirst(known))->owner, check->owner) == 0)
				owner = lfirst(known);
		if (owner == NULL)
		{
			owner = palloc0(sizeof(EtlCheckOwner));
			owner->owner = check->owner;
			owner->settings = check->settings;
			owners = lappend(owners, owner);
		}
		owner->checks = lappend(owner->checks, check);
	}
	return owners;
}

/* ---- the scan ---- */

/*
 * etl_visible_columns is the shape of SELECT * FROM a relation.
 */
TupleDesc
etl_visible_columns(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	all = RelationGetDescr(rel);
	TupleDesc	desc;
	int			n = 0;

	for (int i = 0; i < all->natts; i++)
		if (!TupleDescAttr(all, i)->attisdropped)
			n++;
	desc = CreateTemplateTupleDesc(n);
	n = 0;
	for (int i = 0; i < all->natts; i++)
		if (!TupleDescAttr(all, i)->attisdropped)
			TupleDescCopyEntry(desc, ++n, all, i + 1);
	relation_close(rel, AccessShareLock);
	return desc;
}

typedef struct VisitReceiver
{
	DestReceiver pub;
	EtlRowVisitor visit;
	void	   *arg;
} VisitReceiver;

static bool
visit_receive(TupleTableSlot *slot, DestReceiver *self)
{
	VisitReceiver *receiver = (VisitReceiver *) self;

	return receiver->visit(slot, receiver->arg);
}

static void
visit_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
visit_nothing(DestReceiver *self)
{
}

/*
 * etl_scan_relation shows every row of a relation to 'visit', in this
 * process: parallel workers would only send the rows here.
 */
void
etl_scan_relation(Oid relid, EtlRowVisitor visit, void *arg)
{
	VisitReceiver receiver = {0};
	SPIExecuteOptions options = {0};
	int			guc_level = NewGUCNestLevel();

	(void) set_config_option("max_parallel_workers_per_gather", "0", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	receiver.pub.receiveSlot = visit_receive;
	receiver.pub.rStartup = visit_startup;
	receiver.pub.rShutdown = visit_nothing;
	receiver.pub.rDestroy = visit_nothing;
	receiver.pub.mydest = DestTuplestore;
	receiver.visit = visit;
	receiver.arg = arg;
	options.dest = (DestReceiver *) &receiver;

	SPI_connect();
	if (SPI_execute_extended(psprintf("SELECT * FROM %s", etl_name_of_relation(relid)), &options) < 0)
		elog(ERROR, "could not read relation %u", relid);
	SPI_finish();
	AtEOXact_GUC(false, guc_level);
}

typedef struct ScanWork
{
	EtlCheckSet *set;
	Oid			relid;
} ScanWork;

static bool
judge_row(TupleTableSlot *slot, void *arg)
{
	(void) etl_checks_row_emit(arg, slot, NULL, NULL);
	return true;
}

static void
scan(void *arg)
{
	ScanWork   *work = arg;

	etl_scan_relation(work->relid, judge_row, work->set);
}

/*
 * judge_rows scans the relation once, in several processes where that is
 * possible and nothing is wrong.  In this one it scans again, without it,
 * when a check broke in a way that rolled the scan back.  A relation that
 * cannot be read makes every row check an error.
 */
static void
judge_rows(EtlCheckSet *set, Oid relid)
{
	ScanWork	work = {set, relid};
	bool		worthwhile = false;

	for (int i = 0; i < set->nrows; i++)
		worthwhile = worthwhile || (set->states[i].error == NULL && !set->states[i].by_sql);

	if (worthwhile && etl_parallel_judge(set, relid))
		return;
	while (worthwhile)
	{
		ErrorData  *error;

		etl_checkset_restart(set);
		error = etl_subxact(scan, &work);
		if (error == NULL)
			return;
		if (set->broken)
			continue;
		if (etl_check_must_obey(error->sqlerrcode))
			etl_rethrow(error);
		for (int i = 0; i < set->nrows; i++)
			if (set->states[i].error == NULL)
				set->states[i].error = MemoryContextStrdup(set->context, error->message);
		return;
	}
}

/*
 * run_as_owner evaluates the checks of one owner.
 */
static EtlCheckSet *
run_as_owner(const char *target, Oid relid, EtlCheckOwner *owner)
{
	EtlCheckSet *set;
	EtlRunAs	as;

	etl_run_as_begin(&as, owner->owner, owner->settings);
	set = etl_checkset_make(target, etl_visible_columns(relid), owner->owner, owner->checks);
	judge_rows(set, relid);
	etl_checks_set(set, relid, NULL);
	etl_run_as_end(&as);
	return set;
}

EtlCheckSet *
etl_checks_run(const char *target, Oid relid)
{
	List	   *owners = etl_check_owners(target);

	if (owners == NIL)
		return etl_checkset_make(target, etl_visible_columns(relid),
								 GetUserNameFromId(GetUserId(), false), NIL);
	return run_as_owner(target, relid, linitial(owners));
}

/*
 * skipped_results are the results of a relation that does not exist yet.
 */
static List *
skipped_results(const char *target)
{
	List	   *results = NIL;
	ListCell   *cell;

	foreach(cell, etl_checks_of(target))
	{
		EtlCheck   *check = lfirst(cell);
		EtlCheckResult *result = palloc0(sizeof(EtlCheckResult));

		result->target = check->target;
		result->check_name = check->name;
		result->kind = check->kind;
		result->dimension = check->dimension;
		result->on_fail = check->on_fail;
		result->status = "skipped";
		result->detail = "the relation does not exist yet";
		result->weight = 1;
		results = lappend(results, result);
	}
	return results;
}

/*
 * check_target evaluates and stores all checks of one relation.
 */
static List *
check_target(const char *target)
{
	Oid			relid = etl_name_relation(target);
	List	   *results = NIL;
	ListCell   *cell;

	if (!OidIsValid(relid))
		results = skipped_results(target);
	else
		foreach(cell, etl_check_owners(target))
			results = list_concat(results,
								  etl_checks_results(run_as_owner(target, relid, lfirst(cell)), 0));
	etl_check_results_store(results);
	return results;
}

/* ---- which ---- */

/*
 * matches compares a name with a pattern in which * stands for anything.
 */
static bool
matches(const char *pattern, const char *name)
{
	for (; *pattern; pattern++, name++)
	{
		if (*pattern == '*')
		{
			for (;; name++)
			{
				if (matches(pattern + 1, name))
					return true;
				if (*name == '\0')
					return false;
			}
		}
		if (*pattern != *name)
			return false;
	}
	return *name == '\0';
}

/*
 * split_patterns cuts a list at white space outside double quotes.
 */
static List *
split_patterns(const char *text)
{
	List	   *patterns = NIL;
	StringInfoData one;
	bool		quoted = false;

	initStringInfo(&one);
	for (;; text++)
	{
		if (*text != '\0' && (quoted || !isspace((unsigned char) *text)))
		{
			quoted ^= *text == '"';
			appendStringInfoChar(&one, *text);
			continue;
		}
		if (one.len > 0)
			patterns = lappend(patterns, pstrdup(one.data));
		resetStringInfo(&one);
		if (*text == '\0')
			return patterns;
	}
}

/*
 * may_check tells whether the caller may have the checks of a relation
 * evaluated: operators, and whoever may see them.
 */
static bool
may_check(const char *target)
{
	Oid			operators = get_role_oid("etl_operator", true);

	return (OidIsValid(operators) && has_privs_of_role(GetUserId(), operators)) ||
		   etl_target_visible(target, etl_name_relation(target));
}

/*
 * raise_no_target reports a name under which nothing is checked.
 */
static void
raise_no_target(const char *name, List *targets)
{
	const char *nearest = etl_nearest(name, targets);

	ereport(ERROR,
			(errcode(ETL_ERR_UNDEFINED),
			 errmsg("%s has no checks", name),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) :
					   errhint("Define one with etl.define_check().")));
}

/*
 * etl_check_targets lists the relations with checks that one of the patterns
 * names.  Raises ET002 for a plain name that has none.
 */
List *
etl_check_targets(const char *patterns)
{
	List	   *all = NIL;
	List	   *picked = NIL;
	ListCell   *cell;
	ListCell   *target_cell;

	foreach(cell, etl_quality_targets())
		if (may_check(lfirst(cell)))
			all = lappend(all, lfirst(cell));

	foreach(cell, split_patterns(patterns))
	{
		char	   *pattern = lfirst(cell);
		bool		plain = strchr(pattern, '*') == NULL;
		bool		found = false;

		if (plain)
			pattern = etl_name_canonical(pattern);
		foreach(target_cell, all)
		{
			if (!matches(pattern, lfirst(target_cell)))
				continue;
			found = true;
			picked = list_append_unique_ptr(picked, lfirst(target_cell));
		}
		if (plain && !found)
			raise_no_target(pattern, all);
	}
	return picked;
}

/*
 * etl_check_and_store evaluates and stores the checks of each target and
 * puts the results into the set that an SQL function returns.
 */
void
etl_check_and_store(List *targets, ReturnSetInfo *rsinfo)
{
	ListCell   *cell;
	ListCell   *result_cell;

	foreach(cell, targets)
		foreach(result_cell, check_target(lfirst(cell)))
		{
			EtlCheckResult *result = lfirst(result_cell);
			Datum		values[9];
			bool		nulls[9] = {0};

			values[0] = CStringGetTextDatum(result->target);
			values[1] = CStringGetTextDatum(result->check_name);
			values[2] = CStringGetTextDatum(result->kind);
			values[3] = CStringGetTextDatum(result->dimension);
			values[4] = CStringGetTextDatum(result->status);
			values[5] = Int64GetDatum(result->evaluated);
			values[6] = Int64GetDatum(result->failed);
			nulls[7] = result->value == NULL;
			if (!nulls[7])
				values[7] = DirectFunctionCall3(numeric_in, CStringGetDatum(result->value),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
			nulls[8] = result->detail == NULL;
			if (!nulls[8])
				values[8] = CStringGetTextDatum(result->detail);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
}
