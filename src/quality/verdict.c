/*-------------------------------------------------------------------------
 *
 * verdict.c
 *    What the counts of a check mean: status, result, report, refusal.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "common/errors.h"
#include "common/json.h"
#include "quality/check.h"

/*
 * etl_check_status: pass | warn | fail | error | skipped.  max_failed is
 * inclusive; without it fail tolerates nothing, quarantine any number; warn
 * never fails.
 */
const char *
etl_check_status(EtlCheckState *state)
{
	if (state->error != NULL)
		return "error";
	if (!state->judged)
		return "skipped";
	if (state->failed == 0)
		return "pass";
	if (state->set->only_warn || strcmp(state->def->on_fail, "warn") == 0 ||
		(strcmp(state->def->on_fail, "quarantine") == 0 && !state->max_failed.given))
		return "warn";
	return etl_threshold_exceeded(&state->max_failed, state->failed, state->evaluated) ? "fail" : "warn";
}

/*
 * blocks tells whether a check stands against publication.
 */
static bool
blocks(EtlCheckState *state)
{
	const char *status = etl_check_status(state);

	return strcmp(status, "fail") == 0 || strcmp(status, "error") == 0;
}

/*
 * threshold_text shows what was asked for; NULL when nothing particular was.
 */
static char *
threshold_text(EtlCheckState *state)
{
	const Jsonb *options = state->def->options;
	char	   *min = etl_json_get_text(options, "min");
	char	   *max = etl_json_get_text(options, "max");

	if (state->kind->id == ETL_KIND_FRESHNESS)
		return etl_json_get_text(options, "max_age");
	if (state->kind->id == ETL_KIND_ROW_COUNT)
		return psprintf("%s..%s", min ? min : "", max ? max : "");
	return etl_json_get_text(options, "max_failed");
}

/*
 * share_text is the share of failed rows; NULL when there was none to judge.
 */
static char *
share_text(EtlCheckState *state)
{
	Datum		share;

	if (state->error != NULL || !state->judged || state->evaluated == 0)
		return NULL;
	share = DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric(state->failed)),
								NumericGetDatum(int64_to_numeric(state->evaluated)));
	share = DirectFunctionCall1(numeric_trim_scale, share);
	return DatumGetCString(DirectFunctionCall1(numeric_out, share));
}

/*
 * counts_rows tells whether evaluated and failed are numbers of rows.
 */
static bool
counts_rows(EtlCheckState *state)
{
	return state->kind->of_rows || state->kind->id == ETL_KIND_UNIQUE;
}

/*
 * detail_text says in words what was found; NULL for a plain pass.
 */
static char *
detail_text(EtlCheckState *state)
{
	const char *max_failed = etl_json_get_text(state->def->options, "max_failed");

	if (state->error != NULL)
		return psprintf("could not be evaluated: %s", state->error);
	if (!state->judged)
		return "was not evaluated";
	if (state->note != NULL)
		return state->note;
	if (state->failed > 0 && counts_rows(state))
		return psprintf(INT64_FORMAT " of " INT64_FORMAT " rows failed%s", state->failed,
						state->evaluated,
						max_failed ? psprintf(", %s tolerated", max_failed) : "");
	return NULL;
}

List *
etl_checks_results(EtlCheckSet *set, int64 run_id)
{
	List	   *results = NIL;

	for (int i = 0; i < set->nstates; i++)
	{
		EtlCheckState *state = &set->states[i];
		EtlCheckResult *result = palloc0(sizeof(EtlCheckResult));
		bool		counted = state->error == NULL && state->judged;

		result->run_id = run_id;
		result->target = set->target;
		result->check_name = state->def->name;
		result->kind = state->def->kind;
		result->dimension = state->def->dimension;
		result->on_fail = state->def->on_fail;
		result->status = etl_check_status(state);
		result->evaluated = counted ? state->evaluated : 0;
		result->failed = counted ? state->failed : 0;
		result->value = !counted ? NULL : counts_rows(state) ? share_text(state) :
															   state->value;
		result->threshold = threshold_text(state);
		result->detail = detail_text(state);
		result->weight = state->weight;
		results = lappend(results, result);
	}
	return results;
}

bool
etl_checks_blocked(EtlCheckSet *set)
{
	for (int i = 0; i < set->nstates; i++)
		if (blocks(&set->states[i]))
			return true;
	return false;
}

char *
etl_checks_report(EtlCheckSet *set)
{
	StringInfoData report;

	initStringInfo(&report);
	for (int i = 0; i < set->nstates; i++)
	{
		EtlCheckState *state = &set->states[i];
		const char *status = etl_check_status(state);
		char	   *detail = detail_text(state);

		if (strcmp(status, "pass") == 0)
			continue;
		appendStringInfo(&report, "%s%s: %s%s%s", report.len > 0 ? "\n" : "", state->def->name, status,
						 detail ? ", " : "", detail ? detail : "");
	}
	return report.data;
}

void
etl_checks_verdict(EtlCheckSet *set)
{
	StringInfoData names;

	if (!etl_checks_blocked(set))
		return;
	initStringInfo(&names);
	for (int i = 0; i < set->nstates; i++)
		if (blocks(&set->states[i]))
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", set->states[i].def->name);
	ereport(ERROR, (errcode(ETL_ERR_CHECK_FAILED),
					errmsg("%s did not pass its checks: %s", set->target, names.data),
					errdetail("%s", etl_checks_report(set)),
					errhint("Correct the rows at their origin, quarantine them (on_fail "
							"'quarantine'), or tolerate some with max_failed.")));
}
