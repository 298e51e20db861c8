/*-------------------------------------------------------------------------
 *
 * report.c
 *    What became of runs, processes and channels, as facts.
 *
 * Each is told at once when that is possible, else kept as it is (later.c):
 * so it is packed into a document and unpacked again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "alert/internal.h"
#include "catalog/runs.h"
#include "common/errors.h"
#include "common/json.h"

static const EtlReportKind kinds[4];

/* places in kinds[], below */
enum
{
	RUN,
	WORKER,
	PARKED,
	CHANNEL
};

/*
 * etl_report_add_run writes the run of a report.
 */
void
etl_report_add_run(EtlJsonBuilder *builder, int64 run_id, const char *selector)
{
	etl_json_add_int64(builder, "run_id", run_id);
	etl_json_add_text(builder, "selector", selector);
}

/*
 * etl_report_get_run reads it again.
 */
EtlRun *
etl_report_get_run(const Jsonb *body)
{
	EtlRun	   *run = palloc0(sizeof(EtlRun));

	run->run_id = etl_json_get_int64(body, "run_id", 0);
	run->selector = etl_json_get_text(body, "selector");
	return run;
}

typedef struct RunWork
{
	const EtlRun *run;
	const char *error;			/* NULL: it succeeded */
	const char *sqlstate;
	const char *hint;
} RunWork;

/*
 * tell_run does the work of etl_alert_run; an argument of etl_subxact.
 */
static void
tell_run(void *arg)
{
	RunWork    *work = arg;
	const EtlRun *run = work->run;
	EtlFact		fact = {0};

	if (work->error == NULL)
	{
		etl_alert_is_over("run_failed", etl_message_clip(etl_message_line(run->selector), 200));
		return;
	}
	fact.event = "run_failed";
	fact.object = run->selector;
	fact.object_kind = "run";
	fact.what = psprintf("run " INT64_FORMAT " of %s failed", run->run_id,
						 etl_message_clip(etl_message_line(run->selector), 200));
	fact.error = work->error;
	fact.sqlstate = work->sqlstate;
	fact.remedy = work->hint;
	fact.run_id = run->run_id;
	fact.run_selector = run->selector;
	etl_alert_raise(&fact);
}

void
etl_alert_run(const EtlRun *run, const ErrorData *error)
{
	RunWork		work = {.run = run};

	if (error != NULL)
	{
		work.error = error->message ? error->message : "unknown error";
		work.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
		work.hint = error->hint;
	}
	if (etl_alert_wanted(run->run_id) & 1)
		etl_report_tell(&kinds[RUN], &work);
}

typedef struct WorkerWork
{
	int64		run_id;
	const char *selector;
	const char *what;
} WorkerWork;

/*
 * tell_worker does the work of etl_alert_worker; an argument of etl_subxact.
 */
static void
tell_worker(void *arg)
{
	WorkerWork *work = arg;
	EtlFact		fact = {0};

	fact.event = "worker";
	fact.object = work->selector ? work->selector : "etl";
	fact.object_kind = "process";
	fact.what = work->what;
	fact.cause = "it was killed, or the server crashed: the server's log says which";
	fact.remedy = work->run_id ? psprintf("SELECT * FROM etl.explain_run(" INT64_FORMAT ")", work->run_id) :
								 "SELECT * FROM etl.status()";
	fact.run_id = work->run_id;
	fact.run_selector = work->selector;
	fact.momentary = true;
	etl_alert_raise(&fact);
}

void
etl_alert_worker(int64 run_id, const char *selector, const char *what)
{
	WorkerWork	work = {run_id, selector, what};

	if (etl_alert_wanted(run_id) & 1)
		etl_report_tell(&kinds[WORKER], &work);
}

typedef struct ParkedWork
{
	const char *chore;
	const char *what;
	const char *remedy;
} ParkedWork;

/*
 * tell_chore does the work of etl_alert_parked; an argument of etl_subxact.
 */
static void
tell_chore(void *arg)
{
	ParkedWork *work = arg;
	EtlFact		fact = {0};

	fact.event = "worker";
	fact.object = work->chore;
	fact.object_kind = "process";
	fact.detail = "parked";
	fact.what = work->what;
	fact.cause = "something that it does crashes the server: the server's log says where";
	fact.remedy = work->remedy;
	etl_alert_raise(&fact);
}

void
etl_alert_parked(const char *chore, const char *what, const char *remedy)
{
	ParkedWork	work = {chore, what, remedy};

	if (etl_alert_wanted(0) & 1)
		etl_report_tell(&kinds[PARKED], &work);
}

/*
 * pack_run writes the argument of tell_run.
 */
static Jsonb *
pack_run(void *arg)
{
	RunWork    *work = arg;
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_report_add_run(builder, work->run->run_id, work->run->selector);
	etl_json_add_text(builder, "error", work->error);
	etl_json_add_text(builder, "sqlstate", work->sqlstate);
	etl_json_add_text(builder, "hint", work->hint);
	return etl_json_object_end(builder);
}

/*
 * unpack_run reads it again.
 */
static void *
unpack_run(const Jsonb *body)
{
	RunWork    *work = palloc0(sizeof(RunWork));

	work->run = etl_report_get_run(body);
	work->error = etl_json_get_text(body, "error");
	work->sqlstate = etl_json_get_text(body, "sqlstate");
	work->hint = etl_json_get_text(body, "hint");
	return work;
}

/*
 * pack_worker writes the argument of tell_worker.
 */
static Jsonb *
pack_worker(void *arg)
{
	WorkerWork *work = arg;
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_report_add_run(builder, work->run_id, work->selector);
	etl_json_add_text(builder, "what", work->what);
	return etl_json_object_end(builder);
}

/*
 * unpack_worker reads it again.
 */
static void *
unpack_worker(const Jsonb *body)
{
	WorkerWork *work = palloc0(sizeof(WorkerWork));

	work->run_id = etl_json_get_int64(body, "run_id", 0);
	work->selector = etl_json_get_text(body, "selector");
	work->what = etl_json_get_text(body, "what");
	return work;
}

/*
 * pack_parked writes the argument of tell_chore.
 */
static Jsonb *
pack_parked(void *arg)
{
	ParkedWork *work = arg;
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_json_add_text(builder, "chore", work->chore);
	etl_json_add_text(builder, "what", work->what);
	etl_json_add_text(builder, "remedy", work->remedy);
	return etl_json_object_end(builder);
}

/*
 * unpack_parked reads it again.
 */
static void *
unpack_parked(const Jsonb *body)
{
	ParkedWork *work = palloc0(sizeof(ParkedWork));

	work->chore = etl_json_get_text(body, "chore");
	work->what = etl_json_get_text(body, "what");
	work->remedy = etl_json_get_text(body, "remedy");
	return work;
}

/* ---- channels ---- */

typedef struct ChannelWork
{
	const char *channel;
	const char *what;			/* NULL: it delivers again */
	const char *error;
	const char *remedy;
} ChannelWork;

/*
 * tell_channel does the work of etl_report_channel; an argument of etl_subxact.
 */
static void
tell_channel(void *arg)
{
	ChannelWork *work = arg;
	EtlFact		fact = {0};

	if (work->what == NULL)
	{
		etl_alert_is_over("channel_failed", work->channel);
		return;
	}
	fact.event = "channel_failed";
	fact.object = work->channel;
	fact.object_kind = "channel";
	fact.what = work->what;
	fact.error = work->error;
	fact.cause = "the receiver, or the definition of the channel";
	fact.remedy = work->remedy;
	etl_alert_raise(&fact);
}

void
etl_report_channel(const char *channel, const char *what, const char *error, const char *remedy)
{
	ChannelWork work = {channel, what, error, remedy};

	etl_report_tell(&kinds[CHANNEL], &work);
}

/*
 * pack_channel writes the argument of tell_channel.
 */
static Jsonb *
pack_channel(void *arg)
{
	ChannelWork *work = arg;
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_json_add_text(builder, "channel", work->channel);
	etl_json_add_text(builder, "what", work->what);
	etl_json_add_text(builder, "error", work->error);
	etl_json_add_text(builder, "remedy", work->remedy);
	return etl_json_object_end(builder);
}

/*
 * unpack_channel reads it again.
 */
static void *
unpack_channel(const Jsonb *body)
{
	ChannelWork *work = palloc0(sizeof(ChannelWork));

	work->channel = etl_json_get_text(body, "channel");
	work->what = etl_json_get_text(body, "what");
	work->error = etl_json_get_text(body, "error");
	work->remedy = etl_json_get_text(body, "remedy");
	return work;
}

/* ---- the kinds ---- */

static const EtlReportKind kinds[4] = {
	[RUN] = {"run", tell_run, pack_run, unpack_run},
	[WORKER] = {"worker", tell_worker, pack_worker, unpack_worker},
	[PARKED] = {"parked", tell_chore, pack_parked, unpack_parked},
	[CHANNEL] = {"channel", tell_channel, pack_channel, unpack_channel},
};

/*
 * etl_report_kind: see internal.h.
 */
const EtlReportKind *
etl_report_kind(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return strcmp(etl_report_tasks.name, name) == 0	   ? &etl_report_tasks :
		   strcmp(etl_report_promises.name, name) == 0 ? &etl_report_promises :
														 NULL;
}
