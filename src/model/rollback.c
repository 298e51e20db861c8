/*-------------------------------------------------------------------------
 *
 * rollback.c
 *    A former definition of a model, and the rows it had, put back.
 *
 * Everything happens in the caller's transaction: the definition, its
 * dependencies and lineage, the rows, and what they were built of.  Models
 * that read the target are analyzed against it before it is over, so that a
 * rollback that would break one does not happen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "access/xact.h"
#include "catalog/kept.h"
#include "catalog/version.h"
#include "common/errors.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

/*
 * find_kept returns the newest publication whose rows are there, of one
 * version or (0) of any; NULL when there is none.
 */
static EtlKept *
find_kept(const char *target, int version)
{
	ListCell   *cell;

	foreach(cell, etl_kept_of(target))
	{
		EtlKept    *kept = lfirst(cell);

		if ((version == 0 || etl_version_same("model", target, kept->version, version)) &&
			OidIsValid(etl_name_relation(kept->relation)))
			return kept;
	}
	return NULL;
}

/*
 * find_version returns the version to go back to; raises ET002 when there is
 * none.
 */
static EtlVersion *
find_version(const EtlModel *model, int version)
{
	EtlVersion *found = version > 0 ? etl_version_find("model", model->target, version) :
									  etl_version_before("model", model->target, model->version);

	if (found == NULL || found->definition == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 version > 0 ? errmsg("model %s has no version %d", model->target, version) :
							   errmsg("model %s has no version before %d", model->target, model->version),
				 errhint("etl.definition_versions lists them.")));
	return found;
}

/*
 * put_definition_back makes a version the definition, with its dependencies
 * and lineage; returns it.
 */
static EtlModel *
put_definition_back(const EtlModel *model, const EtlVersion *version)
{
	EtlModel   *restored;
	List	   *names;
	char	   *missing = NULL;

	(void) etl_definition_restore("model", model->target, version->definition,
								  psprintf("rolled back to %d", version->version));
	restored = etl_model_get(model->target);
	names = etl_model_names(restored);
	etl_names_check_cycle(restored->target, names);
	etl_dependencies_store(restored->target, names);
	etl_lineage_store(restored->target, NIL);
	CommandCounterIncrement();
	if (!etl_model_resolve(restored, &missing))
		ereport(ERROR,
				(errcode(ETL_ERR_UNRESOLVED),
				 errmsg("version %d of model %s reads %s, which does not exist", version->version,
						model->target, missing),
				 errhint("It may have been renamed or dropped since: define the model again instead.")));
	return restored;
}

typedef struct Reader
{
	EtlModel   *model;
} Reader;

/*
 * analyze_reader analyzes a model again; an argument of etl_subxact.
 */
static void
analyze_reader(void *arg)
{
	(void) etl_model_resolve(((Reader *) arg)->model, NULL);
}

/*
 * check_readers raises ET013 for a model that would not be valid any more.
 */
static void
check_readers(const EtlModel *model)
{
	ListCell   *cell;

	foreach(cell, etl_model_readers(model->target))
	{
		Reader		reader = {etl_model_get(lfirst(cell))};
		ErrorData  *error = reader.model->resolved ? etl_subxact(analyze_reader, &reader) : NULL;

		if (error != NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_NOT_MANAGED),
					 errmsg("%s cannot be rolled back: model %s, which reads it, would not be valid",
							model->target, reader.model->target),
					 errdetail("%s", error->message),
					 errhint("Change or roll back %s first.", reader.model->target)));
	}
}

/*
 * is_stored tells whether a definition holds rows that can be put back.
 */
static bool
is_stored(const EtlModel *model)
{
	return strcmp(model->materialized, "table") == 0 || strcmp(model->materialized, "incremental") == 0;
}

/*
 * put_rows_back publishes the kept rows under the definition.
 */
static void
put_rows_back(EtlDriver *driver, EtlModel *model, const EtlKept *kept, EtlBuildResult *result)
{
	etl_model_publish_copy(driver, model, kept->relation, kept->fingerprint, result);
	etl_kept_restore(kept, model->version);
	/* which of its intervals were done then is not kept */
	if (model->batch_size != NULL)
		etl_node_must_rebuild(model->target, "it was rolled back");
}

char *
etl_model_rollback(EtlDriver *driver, const char *target, int to, EtlBuildResult *result)
{
	EtlModel   *model = etl_model_get(target);
	EtlNodeState *state = etl_node_state_get(target);
	EtlKept    *kept = find_kept(target, to);
	bool		served_is_newest = state->built_version == model->version;
	int			keep = etl_keep_versions(model);
	EtlVersion *version = NULL;
	char	   *told;

	etl_check_owner(model->owner, "model", target);
	/* the newest definition has not been built: what is served is what to go back to */
	if (to == 0 && !served_is_newest && state->built_version > 0)
		kept = NULL;
	if (to == 0 && kept == NULL && !served_is_newest && state->built_version > 0)
		to = state->built_version;
	if (to == 0 && kept != NULL)
		to = kept->version;
	if (to != model->version)
		version = find_version(model, to);

	if (version != NULL)
		model = put_definition_back(model, version);
	/* the definition may be from before anything was kept; what is replaced now must not be lost */
	model->keep = keep;
	to = version ? version->version : model->version;
	if (state->built_version > 0 && etl_version_same("model", target, state->built_version, to) &&
		(kept == NULL || !served_is_newest))
	{
		/* its rows are served already */
		etl_node_served_as(target, model->version);
		told = psprintf("the definition of version %d; its rows are served already", to);
	}
	else if (etl_model_is_view(model) || etl_model_is_seed(model))
	{
		/* its rows are those of its definition */
		etl_model_build(driver, model, false, result);
		told = psprintf("version %d of the %s", to, model->materialized);
	}
	else if (kept == NULL || !is_stored(model))
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("the rows that %s had as version %d are not kept", target, to),
				 errdetail("Option keep_versions says how many former publications of a table or "
						   "incremental model keep their rows."),
				 errhint("The definition is in etl.definition_versions: define it again and run it.")));
	else
	{
		put_rows_back(driver, model, kept, result);
		told = psprintf("version %d, with its rows of publication " INT64_FORMAT, to, kept->publication);
	}
	CommandCounterIncrement();
	check_readers(model);
	return told;
}
