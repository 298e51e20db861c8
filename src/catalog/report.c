/*-------------------------------------------------------------------------
 *
 * report.c
 *    What alerts could not be told at once, kept until they can.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/alert.h"
#include "catalog/sql.h"
#include "common/wake.h"

/*
 * etl_report_store keeps a report; whoever does the deadlines is woken.
 */
void
etl_report_store(const char *kind, const Jsonb *body, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_jsonb(&params, body);
	etl_param_timestamp(&params, now);
	etl_sql_exec("INSERT INTO etl.alert_report (kind, body, happened_at, try_at) VALUES ($1, $2, $3, $3)",
				 &params);
	etl_wake_at_commit();
}

/*
 * etl_reports_wait tells whether something waits: what comes later must not
 * go before it.
 */
bool
etl_reports_wait(void)
{
	return etl_sql_int8("SELECT 1::bigint FROM etl.alert_report LIMIT 1", NULL) > 0;
}

/*
 * etl_reports_due: see alert.h.
 */
TimestampTz
etl_reports_due(void)
{
	EtlRows    *rows = etl_sql_query("SELECT min(try_at) AS at FROM etl.alert_report", NULL);
	TimestampTz at = etl_row_timestamp(rows, 0, "at");

	return at == DT_NOBEGIN ? DT_NOEND : at;
}

/*
 * etl_report_next: see alert.h.
 */
EtlReport *
etl_report_next(void)
{
	EtlRows    *rows = etl_sql_query("SELECT * FROM etl.alert_report WHERE report_id ="
								  " (SELECT min(report_id) FROM etl.alert_report) FOR UPDATE SKIP LOCKED",
								  NULL);
	EtlReport  *report;

	if (rows->n == 0)
		return NULL;
	report = palloc(sizeof(EtlReport));
	report->report_id = etl_row_int8(rows, 0, "report_id");
	report->kind = etl_row_text(rows, 0, "kind");
	report->body = etl_row_jsonb(rows, 0, "body");
	report->happened_at = etl_row_timestamp(rows, 0, "happened_at");
	return report;
}

void
etl_report_delete(int64 report_id)
{
	EtlParams	params = {0};

	etl_param_int8(&params, report_id);
	etl_sql_exec("DELETE FROM etl.alert_report WHERE report_id = $1", &params);
}

void
etl_reports_put_off(TimestampTz until)
{
	EtlParams	params = {0};

	etl_param_timestamp(&params, until);
	etl_sql_exec("UPDATE etl.alert_report SET try_at = $1 WHERE try_at < $1", &params);
}
