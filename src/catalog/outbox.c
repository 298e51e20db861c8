/*-------------------------------------------------------------------------
 *
 * outbox.c
 *    What is to be delivered: taking it, and what became of it.
 *
 * An attempt is counted and committed before it is made: a process that dies
 * between sending and noting it leaves a row that is due again, and what is
 * sent twice carries the same key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/alert.h"
#include "catalog/sql.h"

/* what is told of an alert is delivered in order: over must not come before it began */
#define FIRST_OF_ALERT \
	" NOT EXISTS (SELECT FROM etl.outbox AS p WHERE p.alert_id = o.alert_id AND p.channel = o.channel" \
	" AND p.status = 'waiting' AND p.delivery_id < o.delivery_id)"

EtlDelivery *
etl_delivery_take(List *busy, TimestampTz now, TimestampTz again_at)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	EtlDelivery *delivery;

	etl_param_texts(&params, busy);
	etl_param_timestamp(&params, now);
	etl_param_timestamp(&params, again_at);
	rows = etl_sql_query(
		"UPDATE etl.outbox SET attempts = attempts + 1, next_try = $3"
		" WHERE delivery_id = (SELECT delivery_id FROM etl.outbox AS o"
		"  WHERE status = 'waiting' AND next_try <= $2 AND channel <> ALL ($1) AND" FIRST_OF_ALERT
		"  ORDER BY next_try, delivery_id LIMIT 1 FOR UPDATE SKIP LOCKED)"
		" RETURNING *", &params);
	if (rows->n == 0)
		return NULL;
	delivery = palloc0(sizeof(EtlDelivery));
	delivery->delivery_id = etl_row_int8(rows, 0, "delivery_id");
	delivery->channel = etl_row_text(rows, 0, "channel");
	delivery->alert_id = etl_row_int8(rows, 0, "alert_id");
	delivery->message = etl_row_text(rows, 0, "message");
	delivery->idempotency_key = etl_row_text(rows, 0, "idempotency_key");
	delivery->body = etl_row_jsonb(rows, 0, "body");
	delivery->attempts = etl_row_int4(rows, 0, "attempts");
	delivery->created_at = etl_row_timestamp(rows, 0, "created_at");
	return delivery;
}

void
etl_delivery_done(const EtlDelivery *delivery, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, delivery->channel);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.channel SET delivered_at = $2, failures = 0, problem = NULL WHERE name = $1",
				 &params);
	memset(&params, 0, sizeof(params));
	etl_param_int8(&params, delivery->delivery_id);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.outbox SET status = 'delivered', ended_at = $2, error = NULL, remedy = NULL"
				 " WHERE delivery_id = $1", &params);
}

void
etl_delivery_failed(const EtlDelivery *delivery, const char *error, const char *remedy, bool dead,
					TimestampTz next_try, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, delivery->channel);
	etl_param_text(&params, error);
	etl_sql_exec("UPDATE etl.channel SET failures = failures + 1, problem = $2 WHERE name = $1", &params);
	memset(&params, 0, sizeof(params));
	etl_param_int8(&params, delivery->delivery_id);
	etl_param_text(&params, error);
	etl_param_text(&params, remedy);
	etl_param_bool(&params, dead);
	etl_param_timestamp(&params, next_try);
	etl_param_timestamp(&params, now);
	etl_sql_exec("UPDATE etl.outbox SET error = $2, remedy = $3, next_try = $5,"
				 " status = CASE WHEN $4 THEN 'dead' ELSE 'waiting' END,"
				 " ended_at = CASE WHEN $4 THEN $6 END WHERE delivery_id = $1", &params);
}

TimestampTz
etl_deliveries_due(void)
{
	EtlRows    *rows = etl_sql_query("SELECT min(next_try) AS at FROM etl.outbox AS o WHERE status = 'waiting'"
								  " AND" FIRST_OF_ALERT,
								  NULL);
	TimestampTz at = etl_row_timestamp(rows, 0, "at");

	return at == DT_NOBEGIN ? DT_NOEND : at;
}

int64
etl_deliveries_revive(const char *channel, TimestampTz now)
{
	EtlParams	params = {0};

	etl_param_text(&params, channel);
	etl_param_timestamp(&params, now);
	return etl_sql_query("UPDATE etl.outbox SET status = 'waiting', attempts = 0, next_try = $2,"
						 " created_at = $2, ended_at = NULL WHERE status = 'dead'"
						 " AND ($1::text IS NULL OR channel = $1)"
						 " AND channel IN (SELECT name FROM etl.channel) RETURNING delivery_id",
						 &params)
		->n;
}
