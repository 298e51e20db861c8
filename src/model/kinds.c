/*-------------------------------------------------------------------------
 *
 * kinds.c
 *    The materializations: what each of them is, and may be given.
 *
 * Everything that a definition says and its kind cannot have is refused when
 * it is defined, never ignored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/parse.h"
#include "model/internal.h"

static const char *const kinds[] = {"view", "table", "incremental", "snapshot", "materialized_view",
									"seed", NULL};

bool
etl_model_is_view(const EtlModel *model)
{
	return strcmp(model->materialized, "view") == 0;
}

bool
etl_model_is_snapshot(const EtlModel *model)
{
	return strcmp(model->materialized, "snapshot") == 0;
}

bool
etl_model_is_matview(const EtlModel *model)
{
	return strcmp(model->materialized, "materialized_view") == 0;
}

bool
etl_model_is_seed(const EtlModel *model)
{
	return strcmp(model->materialized, "seed") == 0;
}

/*
 * etl_kind_has tells whether a relation of that kind can hold a model: what
 * is made otherwise is dropped first.
 */
bool
etl_kind_has(const EtlModel *model, char relkind)
{
	if (etl_model_is_view(model))
		return relkind == RELKIND_VIEW;
	if (etl_model_is_matview(model))
		return relkind == RELKIND_MATVIEW;
	return relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW;
}

const char *
etl_kind_word(char relkind)
{
	switch (relkind)
	{
		case RELKIND_VIEW:
			return "VIEW";
		case RELKIND_MATVIEW:
			return "MATERIALIZED VIEW";
		default:
			return "TABLE";
	}
}

bool
etl_model_follows(const EtlModel *model)
{
	return strcmp(model->materialized, "incremental") == 0 || etl_model_is_snapshot(model);
}

/*
 * refuse raises ET001.
 */
static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("%s", message), errhint("%s", hint)));
}

/* ---- snapshots ---- */

/*
 * check_snapshot judges what only the definition of a snapshot can have.
 */
static void
check_snapshot(const EtlModel *model)
{
	bool		snapshot = etl_model_is_snapshot(model);
	static const char *const only[] = {"check_columns", "hard_deletes", NULL};

	for (int i = 0; only[i] && !snapshot; i++)
		if (etl_json_has(model->options, only[i]))
			refuse(psprintf("option \"%s\" is for snapshots", only[i]),
				   "Define the model as snapshot, or leave the option out.");
	if (!snapshot)
		return;
	if (model->key == NIL)
		refuse("a snapshot needs a key", "Give the columns that identify a row, such as key => '{id}'.");
	if (model->strategy != NULL && strcmp(model->strategy, "timestamp") != 0 &&
		strcmp(model->strategy, "check") != 0)
		refuse(psprintf("strategy \"%s\" is not one of a snapshot", model->strategy),
			   "Use timestamp or check, or leave it out.");
	if (model->batch_size != NULL || model->lookback != NULL)
		refuse("batch_size and lookback are for incremental models", "Leave them out.");
	if (etl_snapshot_by_time(model) && model->event_time == NULL)
		refuse("strategy \"timestamp\" needs event_time",
			   "Name the column that tells since when a row holds, such as event_time => 'updated_at'.");
	if (etl_snapshot_by_time(model) && etl_json_has(model->options, "check_columns"))
		refuse("option \"check_columns\" is for strategy check",
			   "Say strategy => 'check', or leave the option out.");
}

/*
 * check_history raises ET001 when a definition would make another kind of
 * what holds history.
 */
static void
check_history(const EtlModel *model, const EtlModel *old)
{
	if (old == NULL || !etl_model_is_snapshot(old) || etl_model_is_snapshot(model) ||
		!OidIsValid(etl_name_relation(model->target)))
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("%s is a snapshot, whose history the new definition would lose", model->target),
			 errhint("Give the new model another name, or drop the snapshot with etl.drop_model('%s', "
					 "drop_relation => true) first.", model->target)));
}

/*
 * check_moment raises ET001 unless event_time is a column that tells a
 * moment.
 */
static void
check_moment(const EtlModel *model, Query *query)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		Oid			type = getBaseType(exprType((Node *) entry->expr));

		if (entry->resjunk || strcmp(entry->resname, model->event_time) != 0)
			continue;
		if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID)
			refuse(psprintf("event_time column \"%s\" is of type %s", entry->resname, format_type_be(type)),
				   "Cast it to timestamptz in the query.");
	}
}

/*
 * check_hashable raises ET001 for a key that no constraint can be made on.
 */
static void
check_hashable(const EtlModel *model, Query *query)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		Oid			type = exprType((Node *) entry->expr);

		if (entry->resjunk || !etl_name_among(model->key, entry->resname))
			continue;
		if (!OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
			refuse(psprintf("key column \"%s\" is of type %s, which cannot be hashed", entry->resname,
							format_type_be(type)),
				   "Cast it to text in the query.");
	}
}

/*
 * must_be_among raises ET001 for a name that is no column of the query.
 */
static void
must_be_among(List *columns, const char *name, const char *what)
{
	const char *nearest = etl_nearest(name, columns);

	if (!etl_name_among(columns, name))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s names column \"%s\", which the query does not have", what, name),
				 nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
}

/*
 * check_refreshed judges what a kind cannot have that is refreshed as a
 * whole, or keeps its history itself.
 */
static void
check_refreshed(const EtlModel *model)
{
	if (etl_model_is_matview(model) && etl_json_has(model->options, "on_schema_change"))
		refuse("option \"on_schema_change\" is not for materialized views",
			   "Leave it out: a materialized view has the columns of its query.");
	if ((etl_model_is_matview(model) || etl_model_is_snapshot(model) || etl_model_is_seed(model)) &&
		etl_json_has(model->options, "keep_versions"))
		refuse("option \"keep_versions\" is for tables", "Leave it out, or define the model as table.");
}

/* ---- entry points ---- */

/*
 * etl_kind_check raises ET001 for a combination that makes no sense.
 */
void
etl_kind_check(const EtlModel *model, const EtlModel *old)
{
	bool		known = false;

	for (int i = 0; kinds[i]; i++)
		known = known || strcmp(kinds[i], model->materialized) == 0;
	if (!known)
		refuse(psprintf("invalid value for argument \"materialized\": \"%s\"", model->materialized),
			   "Use view, table, incremental, snapshot, materialized_view or seed.");
	check_snapshot(model);
	check_refreshed(model);
	if (etl_model_is_seed(model) && etl_names_of_query(model->query) != NIL)
		refuse("a seed has its rows in its query, and reads nothing else",
			   "Write VALUES, or define the model as table.");
	check_history(model, old);
}

/*
 * etl_kind_check_columns judges the columns of an analyzed query.
 */
void
etl_kind_check_columns(const EtlModel *model, Query *query, List *columns)
{
	const char *reserved;
	ListCell   *cell;

	if (!etl_model_is_snapshot(model))
		return;
	reserved = etl_snapshot_reserved(columns, etl_snapshot_marks(model));
	if (reserved != NULL)
		refuse(psprintf("column \"%s\" is one that the snapshot adds itself", reserved),
			   "Give it another name with AS.");
	if (model->event_time != NULL)
	{
		must_be_among(columns, model->event_time, "event_time");
		check_moment(model, query);
	}
	foreach(cell, etl_json_get_list(model->options, "check_columns"))
		must_be_among(columns, lfirst(cell), "option \"check_columns\"");
	check_hashable(model, query);
}
