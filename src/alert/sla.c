/*-------------------------------------------------------------------------
 *
 * sla.c
 *    SQL functions that define and drop what is promised of nodes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "alert/internal.h"
#include "catalog/environment.h"
#include "catalog/schedule.h"
#include "catalog/sla.h"
#include "common/arguments.h"
#include "common/clock.h"
#include "common/errors.h"
#include "common/run_as.h"
#include "common/wake.h"

PG_FUNCTION_INFO_V1(etl_sql_define_sla);
PG_FUNCTION_INFO_V1(etl_sql_drop_sla);
PG_FUNCTION_INFO_V1(etl_sql_now);

/*
 * interval_arg reads an interval that may be missing; raises ET001 unless it
 * is positive.
 */
static Interval *
interval_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	Interval   *value = PG_ARGISNULL(n) ? NULL : PG_GETARG_INTERVAL_P(n);

	/* less than a hundred years, so that no moment overflows */
	if (value != NULL && (value->month < 0 || value->day < 0 || value->time < 0 ||
						  (value->month == 0 && value->day == 0 && value->time == 0) ||
						  value->month > 1200 || value->day > 36500 ||
						  value->time > INT64CONST(36500) * USECS_PER_DAY))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("argument \"%s\" must be a positive interval of at most 100 years", name),
				 errhint("For example %s => '6 hours'.", name)));
	return value;
}

/*
 * time_arg reads a time of day that may be missing.
 */
static TimeADT *
time_arg(FunctionCallInfo fcinfo, int n)
{
	TimeADT    *value;

	if (PG_ARGISNULL(n))
		return NULL;
	value = palloc(sizeof(TimeADT));
	*value = PG_GETARG_TIMEADT(n);
	if (*value >= USECS_PER_DAY)
		*value = 0;
	return value;
}

/*
 * etl_sql_define_sla is etl.define_sla().
 */
Datum
etl_sql_define_sla(PG_FUNCTION_ARGS)
{
	EtlSla		sla = {0};
	const char *result;

	sla.name = etl_arg_text(fcinfo, 0);
	sla.selector = etl_arg_required(fcinfo, 1, "selector");
	sla.freshness = interval_arg(fcinfo, 2, "freshness");
	sla.finish_by = time_arg(fcinfo, 3);
	sla.start_by = time_arg(fcinfo, 4);
	sla.max_duration = interval_arg(fcinfo, 5, "max_duration");
	sla.timezone = PG_ARGISNULL(6) ? "UTC" : etl_arg_text(fcinfo, 6);
	sla.description = etl_arg_text(fcinfo, 7);
	sla.owner = GetUserNameFromId(GetUserId(), false);
	etl_name_check("sla", sla.name);
	if (etl_environment_skips("sla", sla.name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	etl_timezone_check(sla.timezone);
	if (sla.freshness == NULL && sla.finish_by == NULL && sla.start_by == NULL && sla.max_duration == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("sla \"%s\" promises nothing", sla.name),
				 errhint("Give it freshness => '6 hours', finish_by => '07:00', start_by or max_duration.")));
	etl_selector_check("sla", sla.name, sla.selector);

	etl_instance_claim();
	result = etl_sla_store(&sla, etl_now());
	if (strcmp(result, "unchanged") != 0)
	{
		etl_alert_forget_cache();
		etl_wake_at_commit();
	}
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * etl_sql_drop_sla is etl.drop_sla().
 */
Datum
etl_sql_drop_sla(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	EtlSla	   *sla = etl_sla_find(name);

	if (sla == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(sla->owner, "sla", name);
	etl_alert_is_over("sla_missed", name);
	etl_alert_is_over("freshness", name);
	PG_RETURN_BOOL(etl_sla_delete(name));
}

/*
 * etl_sla_fresh_nodes: see alert.h.
 */
List *
etl_sla_fresh_nodes(void)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, etl_slas_all())
	{
		EtlSla	   *sla = lfirst(cell);
		ListCell   *node;

		foreach(node, sla->freshness ? etl_selected_nodes(sla->selector) : NIL)
		{
			EtlFreshNode *fresh = palloc(sizeof(EtlFreshNode));

			fresh->node = lfirst(node);
			fresh->freshness = sla->freshness;
			result = lappend(result, fresh);
		}
	}
	return result;
}

/*
 * etl_sql_now is etl._now(), the clock that promises are judged by.
 */
Datum
etl_sql_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(etl_now());
}
