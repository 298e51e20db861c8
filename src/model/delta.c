/*-------------------------------------------------------------------------
 *
 * delta.c
 *    Whether a query has a correct delta, and which.
 *
 * Two kinds are known.  A query that treats rows one by one gives, over the
 * new rows of an append stream, exactly the new rows of its result.  And
 * where some key columns of the result are known of every row that a change
 * can touch (affected.c), the affected keys are recomputed.  Everything else
 * is refreshed in full, with the reason found here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/rls.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/compat.h"
#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"

/* ---- row by row ---- */

/*
 * child_of returns the number of the one entry through which a query reads
 * its leaves; 0 when there are several ways, or one that is no plain join.
 */
static int
child_of(Query *query, List *leaves)
{
	int			all = etl_leaves_in(query, leaves);

	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (etl_leaves_of(rte, leaves) == all)
			return etl_query_preserves((Node *) query->jointree, i) ? i : 0;
	}
	return 0;
}

/*
 * row_by_row tells why a query does not treat the rows of its leaves one by
 * one; NULL when it does.
 */
static const char *
row_by_row(Query *query, List *leaves)
{
	const char *why = NULL;
	int			child;

	if (query->limitCount || query->limitOffset)
		return "its query has a LIMIT";
	if (query->setOperations)
	{
		if (!etl_query_only_unites(query->setOperations, true))
			return "its query has a set operation other than UNION ALL";
		for (int i = 1; i <= list_length(query->rtable) && why == NULL; i++)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->rtekind == RTE_SUBQUERY && etl_leaves_of(rte, leaves) > 0)
				why = row_by_row(rte->subquery, leaves);
		}
		return why;
	}
	if (query->hasAggs || query->groupClause || query->groupingSets || query->havingQual)
		return "its query aggregates";
	if (query->hasWindowFuncs)
		return "its query has window functions";
	if (query->distinctClause)
		return "its query is DISTINCT";
	child = child_of(query, leaves);
	if (child == 0)
		return "its query reads what changed in a subquery, on the optional side of a join, or twice";
	if (rt_fetch(child, query->rtable)->rtekind == RTE_SUBQUERY)
		return row_by_row(rt_fetch(child, query->rtable)->subquery, leaves);
	return etl_query_reads_whole_row(query, child) ? "its query uses whole rows or system columns" : NULL;
}

/* ---- the plan ---- */

/*
 * narrow_finders leaves of the queries of affected keys the key columns.
 */
static void
narrow_finders(List *finders, List *keys)
{
	List	   *resnos = NIL;
	ListCell   *cell;

	foreach(cell, keys)
		resnos = lappend_int(resnos, ((EtlDeltaKey *) lfirst(cell))->resno);
	foreach(cell, finders)
		etl_affected_narrow(lfirst(cell), resnos);
}

List *
etl_delta_fresh_finders(const EtlDelta *delta)
{
	Bitmapset  *known;
	const char *why = NULL;
	List	   *finders = etl_affected_finders(delta->query, delta->inputs, delta->widened, &known, &why);

	narrow_finders(finders, delta->keys);
	return finders;
}

/*
 * find_everything tells whether queries of affected keys, narrowed to these,
 * still join a change with all that there is.
 */
static bool
find_everything(List *finders)
{
	ListCell   *cell;
	ListCell   *level;

	foreach(cell, finders)
		foreach(level, ((EtlDeltaFinder *) lfirst(cell))->apart)
			if (bms_num_members(etl_entries_below((Node *) lfirst_node(Query, level)->jointree)) > 1)
				return true;
	return false;
}

/*
 * key_of lists the columns by whose values it is told what a change touches:
 * the key or, for whole partitions, what they are made by.
 */
static List *
key_of(const EtlModel *model)
{
	return model->key == NIL && etl_partition_replaces(model) ? etl_partition_columns(model) : model->key;
}

/*
 * known_keys lists the key columns of a model among those that are known.
 */
static List *
known_keys(const EtlDelta *delta, const EtlModel *model, Bitmapset *known)
{
	List	   *keys = NIL;
	ListCell   *cell;
	ListCell   *target;

	foreach(cell, key_of(model))
		foreach(target, delta->query->targetList)
		{
			TargetEntry *entry = lfirst_node(TargetEntry, target);
			EtlDeltaKey *key = palloc0(sizeof(EtlDeltaKey));

			if (entry->resjunk || strcmp(entry->resname, lfirst(cell)) != 0)
				continue;
			key->column = pstrdup(entry->resname);
			key->resno = entry->resno;
			key->type = exprType((Node *) entry->expr);
			key->typmod = exprTypmod((Node *) entry->expr);
			key->collation = exprCollation((Node *) entry->expr);
			if (bms_is_member(entry->resno, known) &&
				OidIsValid(lookup_type_cache(key->type, TYPECACHE_EQ_OPR)->eq_opr))
				keys = lappend(keys, key);
		}
	return keys;
}

/*
 * try_keys takes the key columns that are known of every row that a change
 * can touch, unless those that are there already do as well.
 */
static void
try_keys(EtlDelta *delta, const EtlModel *model, bool widen)
{
	const char *why = NULL;
	Bitmapset  *known;
	List	   *finders = etl_affected_finders(delta->query, delta->inputs, widen, &known, &why);
	List	   *keys = why == NULL ? known_keys(delta, model, known) : NIL;

	if (keys == NIL)
	{
		if (delta->hindrance == NULL)
			delta->hindrance =
				why ? why : "no key column of its query tells which rows a change can touch";
		return;
	}
	narrow_finders(finders, keys);
	if (delta->keys != NIL && (list_length(keys) < list_length(delta->keys) || find_everything(finders)))
		return;
	delta->widened = widen;
	delta->finders = finders;
	delta->keys = keys;
}

/*
 * find_keys chooses the key columns by which changes are followed.  Only
 * where there are none, or where a change is joined with everything to find
 * them, are the rows looked for that share a DISTINCT ON or a window with what
 * changed: there are more of them.
 */
static void
find_keys(EtlDelta *delta, const EtlModel *model)
{
	try_keys(delta, model, false);
	if (delta->keys == NIL || find_everything(delta->finders))
		try_keys(delta, model, true);
	if (delta->keys != NIL)
		delta->hindrance = NULL;
}

bool
etl_input_has_changed(const EtlInput *input, const Jsonb *built_inputs)
{
	bool		recorded = input->consumption != NULL && input->consumption->recorded &&
					input->consumption->sets != NIL;

	if (input->lapsed)
		return true;
	if (input->kind == 's')
		return input->consumption->pending != NIL || input->consumption->lost != NIL || recorded;
	if (input->kind == 'w')
		return recorded || !input->consumption->recorded;
	return recorded || etl_json_get_int64(built_inputs, input->name, 0) != input->publication;
}

/*
 * lost_are_recorded tells whether the rows of all loads that were taken back
 * were recorded as they went, none of them having been deleted before.
 */
static bool
lost_are_recorded(const EtlConsumption *consumption)
{
	ListCell   *cell;
	ListCell   *set;

	foreach(cell, consumption->lost)
	{
		EtlLoad    *load = lfirst(cell);
		bool		found = false;

		foreach(set, consumption->sets)
			found |= ((EtlChangeSet *) lfirst(set))->load_id == load->load_id &&
					 ((EtlChangeSet *) lfirst(set))->rows == load->rows_loaded;
		if (!found)
			return false;
	}
	return consumption->recorded;
}

/*
 * input_hindrance tells why the change of an input has no delta; NULL when
 * it has one, or did not change.
 */
static const char *
input_hindrance(const EtlInput *input, bool changed)
{
	if (input->kind == 'r')
		return psprintf("etl does not see which rows of %s changed", input->name);
	if (!changed)
		return NULL;
	if (input->kind == 's' && input->consumption->lost != NIL && !lost_are_recorded(input->consumption))
		return "what they gave was not recorded as it went";
	if (input->kind == 's' && !etl_input_is_recorded(input))
		return etl_record_hindrance(input->name, etl_name_relation(input->name), input->consumption->sets);
	if (input->kind == 'v')
		return psprintf("the view %s is another query now", input->name);
	if (input->lapsed)
		return etl_record_lapse(input->name);
	if (get_rel_relkind(etl_name_relation(input->name)) == RELKIND_MATVIEW)
		return psprintf("the materialized view %s does not tell which of its rows changed", input->name);
	if (!input->consumption->recorded)
		return psprintf("it was not recorded until now which rows of %s changed", input->name);
	if (input->kind == 'm' && input->consumption->sets == NIL)
		return psprintf("%s was rebuilt", input->name);
	return etl_record_hindrance(input->name, etl_name_relation(input->name), input->consumption->sets);
}

/*
 * unreadable_leaf tells why the owner cannot read what changed by itself:
 * the view of another role may show what its own rights do not reach, and
 * records do not know of policies.
 */
static const char *
unreadable_leaf(const EtlDelta *delta, Oid owner)
{
	ListCell   *cell;

	foreach(cell, delta->leaves)
	{
		EtlDeltaLeaf *leaf = lfirst(cell);

		if (pg_class_aclcheck(leaf->rte->relid, owner, ACL_SELECT) != ACLCHECK_OK)
			return psprintf("its owner reads %s only through a view of another role", leaf->input->name);
		if (leaf->input->consumption->sets != NIL &&
			check_enable_rls(leaf->rte->relid, owner, true) == RLS_ENABLED)
			return psprintf("its owner reads %s under row security", leaf->input->name);
	}
	return NULL;
}

/*
 * unseen_input tells which of the inputs that changed is read out of sight; NULL when all are seen.
 */
static const char *
unseen_input(const EtlDelta *delta)
{
	ListCell   *cell;
	ListCell   *leaf;

	foreach(cell, delta->inputs)
	{
		EtlInput   *input = lfirst(cell);
		bool		found = false;

		if (input->declared)
			return psprintf("option depends_on says that %s is read out of sight", input->name);
		foreach(leaf, delta->leaves)
			found |= ((EtlDeltaLeaf *) lfirst(leaf))->input == input;
		if (!found)
			return psprintf("its query does not show where it reads %s", input->name);
	}
	return NULL;
}

/*
 * changes_only_come tells whether all that changed are new rows.
 */
static bool
changes_only_come(List *inputs)
{
	ListCell   *cell;

	foreach(cell, inputs)
		if (((EtlInput *) lfirst(cell))->kind != 's' || etl_input_is_recorded(lfirst(cell)) ||
			((EtlInput *) lfirst(cell))->consumption->lost != NIL)
			return false;
	return true;
}

/*
 * plan_query decides for the inputs that changed.
 */
static void
plan_query(EtlDelta *delta, const EtlModel *model, const Query *query)
{
	Oid			owner = get_role_oid(model->owner, false);

	if (etl_query_is_too_large(query))
	{
		delta->hindrance = "its query is too large with all its CTEs and views written out";
		return;
	}
	delta->query = copyObject(unconstify(Query *, query));
	etl_query_inline(delta->query);
	delta->leaves = etl_leaves_find(delta->query, delta->inputs, &delta->hindrance);
	if (delta->hindrance != NULL)
		return;
	delta->hindrance = unseen_input(delta);
	if (delta->hindrance != NULL)
		return;
	if (delta->leaves == NIL)
		delta->hindrance = "its query does not show where it reads what changed";
	else if (contain_volatile_functions((Node *) delta->query))
		delta->hindrance = "its query uses a volatile function";
	else
		delta->hindrance = unreadable_leaf(delta, owner);
	if (delta->hindrance != NULL)
		return;

	/* rows that tell their moment are versions wherever they come from */
	if (etl_model_is_snapshot(model) && etl_snapshot_by_time(model) && changes_only_come(delta->inputs) &&
		row_by_row(delta->query, delta->leaves) == NULL)
	{
		delta->append = true;
		return;
	}
	if (model->key == NIL || (model->strategy && strcmp(model->strategy, "append") == 0))
	{
		delta->append = true;
		delta->hindrance = changes_only_come(delta->inputs) ?
							   row_by_row(delta->query, delta->leaves) :
						   model->key == NIL ? "without a key only rows that come can be followed" :
											   "strategy append follows only rows that come";
		if (delta->hindrance == NULL || key_of(model) == NIL || !etl_partition_replaces(model))
			return;
		delta->append = false;
		delta->hindrance = NULL;
	}
	find_keys(delta, model);
	if (delta->hindrance == NULL)
		etl_restrict_places(delta, owner);
}

EtlDelta *
etl_delta_plan(const EtlModel *model, const Query *query, List *inputs)
{
	EtlDelta   *delta = palloc0(sizeof(EtlDelta));
	EtlNodeState *state = etl_node_state_get(model->target);
	ListCell   *cell;

	foreach(cell, inputs)
	{
		bool		changed = etl_input_has_changed(lfirst(cell), state->inputs);

		delta->hindrance = input_hindrance(lfirst(cell), changed);
		if (delta->hindrance != NULL)
			return delta;
		if (changed)
			delta->inputs = lappend(delta->inputs, lfirst(cell));
	}
	plan_query(delta, model, query);
	return delta;
}

/*
 * etl_delta_of_loads plans as if nothing but 'loads' of an append stream were
 * new.
 */
EtlDelta *
etl_delta_of_loads(const EtlModel *model, const Query *query, const EtlInput *stream, List *loads)
{
	EtlDelta   *delta = palloc0(sizeof(EtlDelta));
	EtlInput   *input = palloc(sizeof(EtlInput));

	*input = *stream;
	input->consumption = palloc0(sizeof(EtlConsumption));
	input->consumption->pending = loads;
	delta->inputs = list_make1(input);
	plan_query(delta, model, query);
	return delta;
}
