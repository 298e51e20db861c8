/*-------------------------------------------------------------------------
 *
 * operate.c
 *    SQL functions for those who are told: acknowledge, silence, test.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "alert/internal.h"
#include "catalog/alert_rule.h"
#include "common/arguments.h"
#include "common/clock.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/wake.h"

PG_FUNCTION_INFO_V1(etl_sql_acknowledge);
PG_FUNCTION_INFO_V1(etl_sql_resolve_alert);
PG_FUNCTION_INFO_V1(etl_sql_silence);
PG_FUNCTION_INFO_V1(etl_sql_unsilence);
PG_FUNCTION_INFO_V1(etl_sql_test_channel);
PG_FUNCTION_INFO_V1(etl_sql_redeliver);

#define MAX_NOTE 1000

/*
 * note_arg reads a free text, one line of bounded length.
 */
static char *
note_arg(FunctionCallInfo fcinfo, int n)
{
	char	   *note = etl_arg_text(fcinfo, n);

	return note ? etl_message_clip(etl_message_line(note), MAX_NOTE) : NULL;
}

/*
 * open_alert finds an alert that is not over; NULL when it is.
 */
static EtlAlert *
open_alert(FunctionCallInfo fcinfo)
{
	int64		alert_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	EtlAlert   *alert = etl_alert_find(alert_id);

	if (alert == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED), errmsg("there is no alert %lld", (long long) alert_id),
				 errhint("SELECT alert_id, what FROM etl.alerts lists them.")));
	return alert->resolved_at == DT_NOBEGIN ? alert : NULL;
}

/*
 * channels_of lists whom the rule of an alert tells.
 */
static List *
channels_of(const EtlAlert *alert)
{
	EtlAlertRule *rule = etl_alert_rule_find(alert->rule);

	return rule ? rule->channels : NIL;
}

/*
 * etl_sql_acknowledge is etl.acknowledge().
 */
Datum
etl_sql_acknowledge(PG_FUNCTION_ARGS)
{
	EtlAlert   *alert = open_alert(fcinfo);
	TimestampTz now = etl_now();

	if (alert == NULL || alert->acknowledged_by != NULL)
		PG_RETURN_BOOL(false);
	etl_alert_acknowledge(alert->alert_id, GetUserNameFromId(GetSessionUserId(), false),
						  note_arg(fcinfo, 1), now);
	etl_alert_enqueue(alert->alert_id, channels_of(alert), "acknowledged", now);
	PG_RETURN_BOOL(true);
}

/*
 * etl_sql_resolve_alert is etl.resolve_alert().
 */
Datum
etl_sql_resolve_alert(PG_FUNCTION_ARGS)
{
	EtlAlert   *alert = open_alert(fcinfo);

	if (alert == NULL)
		PG_RETURN_BOOL(false);
	etl_alert_resolve(alert->alert_id, channels_of(alert), etl_now());
	PG_RETURN_BOOL(true);
}

/* ---- silences ---- */

/*
 * etl_sql_silence is etl.silence().
 */
Datum
etl_sql_silence(PG_FUNCTION_ARGS)
{
	char	   *object = PG_ARGISNULL(0) ? "*" : etl_arg_text(fcinfo, 0);
	char	   *event = etl_arg_text(fcinfo, 2);
	char	   *rule = etl_arg_text(fcinfo, 4);
	TimestampTz now = etl_now();
	TimestampTz from = PG_ARGISNULL(5) ? now : PG_GETARG_TIMESTAMPTZ(5);
	TimestampTz until;
	bool		known = event == NULL;

	for (int i = 0; etl_alert_events[i] && !known; i++)
		known = strcmp(etl_alert_events[i], event) == 0;
	if (!known)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("unknown event \"%s\"", event),
				 errhint("The comment of etl.define_alert lists them.")));
	if (PG_ARGISNULL(1) || TIMESTAMP_NOT_FINITE(from))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("a silence needs a beginning and a duration"),
				 errhint("For example etl.silence('raw.*', '2 hours').")));
	until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(from),
													PG_GETARG_DATUM(1)));
	if (until <= from || until <= now)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("a silence must end later than now"),
				 errhint("For example etl.silence('raw.*', '2 hours').")));
	etl_wake_at_commit();
	PG_RETURN_INT64(etl_silence_store(object, event, rule, from, until, note_arg(fcinfo, 3),
									  GetUserNameFromId(GetSessionUserId(), false)));
}

/*
 * etl_sql_unsilence is etl.unsilence().
 */
Datum
etl_sql_unsilence(PG_FUNCTION_ARGS)
{
	int64		silence_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);

	if (etl_silence_author(silence_id) == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED), errmsg("there is no silence %lld", (long long) silence_id),
				 errhint("SELECT * FROM etl.silences lists them.")));
	etl_wake_at_commit();
	PG_RETURN_BOOL(etl_silence_end(silence_id, etl_now()));
}

/* ---- channels ---- */

/*
 * test_message makes a message that says that it is a test.
 */
static EtlDelivery *
test_message(const char *channel, TimestampTz now)
{
	EtlDelivery *delivery = palloc0(sizeof(EtlDelivery));
	EtlJsonBuilder *body = etl_json_object_begin();
	char		at[MAXDATELEN + 1];

	delivery->message = "test";
	delivery->idempotency_key = psprintf("test-%s-%lld", channel, (long long) GetCurrentTimestamp());
	for (char *p = delivery->idempotency_key; *p; p++)
		if (!isalnum((unsigned char) *p))
			*p = '-';
	etl_json_add_int64(body, "alert_id", 0);
	etl_json_add_text(body, "message", "test");
	etl_json_add_text(body, "fingerprint", psprintf("test/%s", channel));
	etl_json_add_text(body, "rule", "test");
	etl_json_add_text(body, "event", "test");
	etl_json_add_text(body, "severity", "info");
	etl_json_add_text(body, "object", channel);
	etl_json_add_text(body, "what", psprintf("this is a test of channel %s", channel));
	etl_json_add_text(body, "since", JsonEncodeDateTime(at, TimestampTzGetDatum(now), TIMESTAMPTZOID, NULL));
	etl_json_add_text(body, "database", get_database_name(MyDatabaseId));
	delivery->body = etl_json_object_end(body);
	return delivery;
}

/*
 * etl_sql_test_channel is etl.test_channel().
 */
Datum
etl_sql_test_channel(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EtlChannel *channel = etl_channel_get(etl_arg_required(fcinfo, 0, "name"));
	EtlVerdict	verdict = {0};
	Datum		values[3];
	bool		nulls[3] = {0};

	InitMaterializedSRF(fcinfo, 0);
	etl_delivery_try(channel->name, test_message(channel->name, GetCurrentTimestamp()), &verdict);
	values[0] = BoolGetDatum(verdict.delivered);
	values[1] = CStringGetTextDatum(!verdict.delivered ? verdict.error :
									strcmp(channel->kind, "notify") == 0 ?
														 "sent; it arrives when this transaction commits" :
														 "the receiver took the message");
	nulls[2] = verdict.delivered;
	values[2] = verdict.delivered ? (Datum) 0 : CStringGetTextDatum(verdict.remedy);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * etl_sql_redeliver is etl.redeliver().
 */
Datum
etl_sql_redeliver(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_text(fcinfo, 0);

	if (name != NULL)
		(void) etl_channel_get(name);
	etl_wake_at_commit();
	PG_RETURN_INT64(etl_deliveries_revive(name, etl_now()));
}
