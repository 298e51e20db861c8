/*-------------------------------------------------------------------------
 *
 * cover.c
 *    Do the inputs of a full build still have what the target holds?
 *
 * What etl landed in an append stream is immutable.  When a user deletes or
 * truncates it, a model that is built anew would shrink in silence, so such
 * a build is refused.  The rows are counted where they are read anyway: the
 * loads of a stream know how many they left there.  Only when that number is
 * short of more than at the last full build are they counted load by load:
 * rows of loads that the model never consumed may go.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/rel.h"

#include "catalog/expiry.h"
#include "catalog/frozen.h"
#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

/* What is gone of the loads that a model consumed. */
typedef struct Gap
{
	int64		rows;
	int			loads;
	EtlLoad    *first;
	int64		first_left;		/* rows of it that are there */
} Gap;

/*
 * is_countable tells whether the owner of a stream sees every row of its
 * relation.
 */
static bool
is_countable(const EtlStream *stream, Oid relid)
{
	Oid			owner = get_role_oid(stream->owner, true);
	Relation	rel;
	bool		forced;

	if (!OidIsValid(relid) || !OidIsValid(owner) || !etl_owns_relation(relid, owner))
		return false;
	rel = table_open(relid, AccessShareLock);
	forced = rel->rd_rel->relforcerowsecurity;
	table_close(rel, NoLock);
	return !forced;
}

/*
 * count_rows counts the rows of a relation under the build's snapshot.
 */
static int64
count_rows(const char *relation)
{
	int64		count;
	bool		isnull;

	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM %s", relation), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count the rows of %s", relation);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return count;
}

/*
 * find_gap compares what is there of each load with what it landed; 'loads'
 * is ordered by number.
 */
static void
find_gap(const char *relation, List *loads, Gap *gap)
{
	ListCell   *cell;
	uint64		i = 0;

	SPI_connect();
	if (SPI_execute(psprintf("SELECT _etl_load_id, pg_catalog.count(*) FROM %s"
							 " WHERE _etl_load_id IS NOT NULL GROUP BY 1 ORDER BY 1", relation),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count the rows of %s", relation);
	foreach(cell, loads)
	{
		EtlLoad    *load = lfirst(cell);
		int64		left = 0;
		bool		isnull;

		for (; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			int64		load_id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));

			if (load_id == load->load_id)
				left = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
			if (load_id >= load->load_id)
				break;
		}
		if (left >= load->rows_loaded)
			continue;
		gap->rows += load->rows_loaded - left;
		if (gap->loads++ == 0)
		{
			gap->first = load;
			gap->first_left = left;
		}
	}
	SPI_finish();
}

/*
 * refuse raises ET020.
 */
static void
refuse(const EtlModel *model, const EtlInput *input, const Gap *gap)
{
	TimestampTz horizon = etl_stream_horizon(input->name);

	if (!TIMESTAMP_NOT_FINITE(horizon))
		ereport(ERROR,
				(errcode(ETL_ERR_HORIZON),
				 errmsg("a full build of %s would lose rows: %s is there only since %s", model->target,
						input->name, timestamptz_to_str(horizon)),
				 errdetail("Retention removed what was loaded until then; " INT64_FORMAT
						   " rows of those that it was built of are gone.",
						   gap->rows),
				 errhint("Define the model with option force_full to build it of what is left.")));
	ereport(ERROR,
			(errcode(ETL_ERR_HORIZON),
			 errmsg("a full build of %s would lose rows: " INT64_FORMAT
					" of those of %s that it was built of are gone",
					model->target, gap->rows, input->name),
			 errdetail("Load " INT64_FORMAT " (%s) landed " INT64_FORMAT " rows, of which " INT64_FORMAT
					   " are there; loads that lack rows: %d.",
					   gap->first->load_id, gap->first->origin,
					   gap->first->rows_loaded, gap->first_left, gap->loads),
			 errhint("Load them again after etl.reload('%s'), or define the model with option force_full to"
					 " build it of what is left.", input->name)));
}

/*
 * check_input counts what is gone of one append stream.
 */
static void
check_input(const EtlModel *model, const EtlDue *due, EtlInput *input)
{
	bool		holds = OidIsValid(due->relid) && due->state->built_version != 0;
	int64		before = etl_consumed_missing(model->target, input->name);
	Gap			gap = {0};
	EtlRunAs	as;

	etl_run_as_begin(&as, input->stream->owner, NULL);
	input->missing = Max(etl_stream_rows_held(input->name) - count_rows(input->name), 0);
	if (input->missing > before && holds && !etl_json_get_bool(model->options, "force_full", false))
		find_gap(input->name, etl_consumed_loads(model->target, input->name), &gap);
	etl_run_as_end(&as);
	if (gap.rows > before)
		refuse(model, input, &gap);
}

/*
 * etl_cover_check raises ET020 when a full build would lose what the target
 * holds; option force_full lets it.
 */
void
etl_cover_check(const EtlModel *model, EtlDue *due)
{
	ListCell   *cell;

	foreach(cell, due->inputs)
	{
		EtlInput   *input = lfirst(cell);

		if (input->kind == 's' && strcmp(input->stream->mode, "append") == 0 &&
			is_countable(input->stream, etl_name_relation(input->name)))
			check_input(model, due, input);
	}
}

/*
 * etl_cover_remember stores what was gone at this build, which is no loss at
 * the next one.
 */
void
etl_cover_remember(const EtlModel *model, const EtlDue *due)
{
	ListCell   *cell;

	foreach(cell, due->inputs)
	{
		EtlInput   *input = lfirst(cell);

		if (input->kind == 's')
			etl_consumed_set_missing(model->target, input->name, input->missing);
	}
}

/*
 * etl_cover_check_copy raises ET020 when rows that were computed elsewhere,
 * of what retention left, would take the place of those of frozen keys.
 */
void
etl_cover_check_copy(const EtlModel *model)
{
	if (etl_json_get_bool(model->options, "force_full", false) ||
		etl_frozen_columns(model->target) == NIL)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_HORIZON),
			 errmsg("other rows of %s would lack what retention removed", model->target),
			 errdetail("It holds keys whose history is gone in part; what was computed elsewhere was"
					   " computed from the remainder."),
			 errhint("Define the model with option force_full to publish it nevertheless.")));
}
