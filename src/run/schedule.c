/*-------------------------------------------------------------------------
 *
 * schedule.c
 *    What is due now: slots and events become queued runs.
 *
 * A schedule's row says which slot comes next.  Firing locks the row, goes
 * from that slot to now, decides about each (misfire, overlap), and writes
 * slots, runs and the next slot in one transaction.  Events are noted where
 * they happen; here is only asked whether the rule of a schedule is
 * fulfilled, and an event stays noted until a run could be queued for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "catalog/history.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "run/calendar.h"
#include "run/events.h"
#include "run/lead.h"
#include "run/schedule.h"

#define MAX_SLOTS	 1000		/* of one schedule at once; the rest follows at the next call */
#define MAX_WAITING	 100		/* runs that overlap => 'queue' lets pile up */
#define BROKEN_PAUSE USECS_PER_HOUR	/* until a schedule that raised an error is tried again */

typedef struct Firing
{
	TimestampTz now;
	EtlSchedule *schedule;
	TimestampTz next;			/* when there is more to do */
	bool		for_event;
} Firing;

/*
 * queue_run queues the run of a slot or event, unless that was done before.
 */
static bool
queue_run(const EtlSchedule *schedule, TimestampTz due_at, const char *trigger, const char *reason)
{
	const Jsonb *options = schedule->options;
	char	   *timeout = etl_json_get_text(options, "timeout");
	EtlRun		run = {0};

	if (!etl_slot_store(schedule->name, due_at, "fired", 0, reason))
		return false;
	run.selector = schedule->selector;
	run.exclude = etl_json_get_text(options, "exclude");
	run.full_refresh = etl_json_get_bool(options, "full_refresh", false);
	run.params = schedule->params;
	run.publish = etl_json_get_text(options, "publish");
	run.trigger = unconstify(char *, trigger);
	run.trigger_name = schedule->is_stream ? unconstify(char *, etl_stream_of_schedule(schedule->name)) :
											 schedule->name;
	run.due_at = due_at;
	run.lane = strcmp(schedule->overlap, "parallel") == 0 ? NULL : psprintf("schedule:%s", schedule->name);
	run.priority = (int) etl_json_get_int64(options, "priority", 0);
	run.timeout_ms = timeout ? etl_option_duration_ms("timeout", timeout) : 0;
	run.workers = (int) etl_json_get_int64(options, "workers", 0);
	run.retry = etl_json_get(options, "retry");
	run.requested_by = schedule->owner;
	etl_slot_set_run(schedule->name, due_at, etl_run_queue(&run));
	return true;
}

/*
 * log_skipped puts skipped slots into the log.
 */
static void
log_skipped(const EtlSchedule *schedule, int n, TimestampTz last, const char *reason)
{
	char	   *when = pstrdup(timestamptz_to_str(last));

	etl_log_store(
		"warning", 0, NULL,
		n == 1 ?
			psprintf("schedule \"%s\": the slot of %s was skipped", schedule->name, when) :
			psprintf("schedule \"%s\": %d slots up to %s were skipped", schedule->name, n, when),
		reason);
}

/*
 * skip_slot notes that a slot is not run, and why.
 */
static void
skip_slot(const EtlSchedule *schedule, TimestampTz due_at, const char *reason)
{
	if (etl_slot_store(schedule->name, due_at, "skipped", 0, reason))
		log_skipped(schedule, 1, due_at, reason);
}

/*
 * fire_slot runs a slot as far as 'overlap' lets it.
 */
static void
fire_slot(const EtlSchedule *schedule, TimestampTz slot)
{
	int64		active = etl_schedule_active_run(schedule->name);

	if (active != 0 && strcmp(schedule->overlap, "skip") == 0)
		skip_slot(schedule, slot,
				  psprintf("run %lld of this schedule had not ended (overlap skip)", (long long) active));
	else if (strcmp(schedule->overlap, "queue") == 0 &&
			 etl_schedule_waiting_runs(schedule->name) >= MAX_WAITING)
		skip_slot(schedule, slot,
				  psprintf("%d runs of this schedule wait already (overlap queue)", MAX_WAITING));
	else
		(void) queue_run(schedule, slot, "schedule", NULL);
}

/*
 * collect_slots lists the slots that are due; 'next' becomes the one after
 * them.
 */
static int
collect_slots(const EtlTiming *timing, TimestampTz now, TimestampTz *slots, TimestampTz *next)
{
	TimestampTz slot = timing->schedule->next_due;
	int			n = 0;

	while (n < MAX_SLOTS && slot != DT_NOEND && etl_timing_fire_at(timing, slot) <= now)
	{
		slots[n++] = slot;
		slot = etl_timing_next(timing, slot);
	}
	*next = slot;
	return n;
}

/*
 * fire_slots decides about slots that are due, oldest first.  Of those that
 * come together within the grace the newest speaks for all; those that are
 * later are missed, and 'misfire' says what becomes of them.
 */
static void
fire_slots(const EtlTiming *timing, const TimestampTz *slots, int n, TimestampTz now)
{
	const EtlSchedule *schedule = timing->schedule;
	bool		missed = now - etl_timing_fire_at(timing, slots[0]) > timing->grace;
	bool		all = strcmp(schedule->misfire, "all") == 0;
	bool		none = missed && strcmp(schedule->misfire, "skip") == 0;
	int			last = none ? n : n - 1;	/* the slots before it are skipped */
	const char *reason =
		none ?
			"nobody was there to start them in time (misfire skip)" :
		missed ?
			"nobody was there to start them in time; a later slot stands for them (misfire once)" :
			"a later slot was due at the same time and stands for them";
	int			skipped = 0;

	if (all && n > 1)
	{
		for (int i = 0; i < n; i++)
			(void) queue_run(schedule, slots[i], "schedule", missed ? "made up for (misfire all)" : NULL);
		return;
	}
	for (int i = 0; i < last; i++)
		skipped += etl_slot_store(schedule->name, slots[i], "skipped", 0, reason);
	if (skipped > 0)
		log_skipped(schedule, skipped, slots[last - 1], reason);
	if (!none)
		fire_slot(schedule, slots[last]);
}

/*
 * fire_schedule brings one schedule up to now; its row is locked.  An
 * argument of etl_subxact.
 */
static void
fire_schedule(void *arg)
{
	Firing	   *firing = arg;
	EtlSchedule *schedule = firing->schedule;
	EtlTiming  *timing = etl_timing_make(schedule);
	TimestampTz *slots = palloc(sizeof(TimestampTz) * MAX_SLOTS);
	TimestampTz next;
	int			n = collect_slots(timing, firing->now, slots, &next);

	if (n > 0)
	{
		/* of more missed slots than one can look at, those that nobody runs are passed over */
		if (n == MAX_SLOTS && strcmp(schedule->misfire, "all") != 0)
			next = Max(next, etl_timing_next(timing, firing->now - timing->grace - timing->jitter));
		else if (n == MAX_SLOTS)
			firing->next = firing->now;
		fire_slots(timing, slots, n, firing->now);
		schedule->last_due = slots[n - 1];
	}
	schedule->next_due = next == DT_NOEND ? DT_NOBEGIN : next;
	schedule->fire_at = next == DT_NOEND ? DT_NOBEGIN : etl_timing_fire_at(timing, next);
	/* the calendar, which is as it was read before, is not looked at here */
	if (schedule->problem != NULL &&
		strncmp(schedule->problem, ETL_CALENDAR_PROBLEM, strlen(ETL_CALENDAR_PROBLEM)) != 0)
		schedule->problem = NULL;
	etl_schedule_set_state(schedule);
}

/*
 * put_aside makes a schedule that raised an error wait, so that it is
 * reported once and not at every look.
 */
static void
put_aside(Firing *firing, const ErrorData *error)
{
	EtlSchedule *schedule = firing->schedule;

	etl_log_store("error", 0, NULL,
				  psprintf("schedule \"%s\" could not be evaluated: %s", schedule->name, error->message),
				  error->hint);
	if (firing->for_event)
	{
		etl_events_reset(schedule->name);
		etl_schedule_set_problem(schedule->name, error->message);
		return;
	}
	schedule->problem = error->message;
	schedule->fire_at = firing->now + BROKEN_PAUSE;
	etl_schedule_set_state(schedule);
}

/*
 * stream_schedule makes the schedule of a stream with delivery: stream;
 * NULL when it is not one any more.
 */
static EtlSchedule *
stream_schedule(const char *name)
{
	EtlStream  *stream = etl_stream_find(etl_stream_of_schedule(name));
	EtlSchedule *schedule;

	if (stream == NULL || !etl_stream_is_delivered(stream))
		return NULL;
	schedule = palloc0(sizeof(EtlSchedule));
	schedule->name = pstrdup(name);
	schedule->selector = stream->target;
	schedule->overlap = "skip";
	schedule->options = etl_json_parse("{\"priority\": 10}");
	schedule->params = etl_json_parse("{}");
	schedule->owner = stream->owner;
	schedule->on_event = etl_json_parse("{\"file\": \"\"}");
	schedule->is_stream = true;
	return schedule;
}

/*
 * fire_events queues a run when the rule of a schedule is fulfilled; an
 * argument of etl_subxact.
 */
static void
fire_events(void *arg)
{
	Firing	   *firing = arg;
	EtlSchedule *schedule = firing->schedule;
	List	   *events = etl_events_of(schedule->name);
	TimestampTz due;

	if (schedule->is_stream)
		due = events == NIL ? DT_NOEND : ((EtlEvent *) linitial(events))->happened_at;
	else
		due = etl_event_rule_when(etl_event_rule(schedule->on_event), events);
	if (due == DT_NOEND || due == DT_NOBEGIN)
		return;
	if (due > firing->now)
	{
		firing->next = due;
		return;
	}

	/* while a run is there the event stays: its end wakes us */
	if (strcmp(schedule->overlap, "parallel") != 0 &&
		etl_schedule_active_run(schedule->is_stream ? etl_stream_of_schedule(schedule->name) :
													  schedule->name) != 0)
		return;
	etl_events_reset(schedule->name);
	if (schedule->problem != NULL)
		etl_schedule_set_problem(schedule->name, NULL);
	while (!queue_run(schedule, due, schedule->is_stream ? "stream" : "event", NULL))
		due++;
}

/*
 * try_firing runs one step of a schedule and sets it aside when it fails.
 */
static TimestampTz
try_firing(void (*step)(void *arg), EtlSchedule *schedule, TimestampTz now)
{
	Firing		firing = {.now = now, .schedule = schedule, .next = DT_NOEND, .for_event = step == fire_events};
	ErrorData  *error = etl_subxact(step, &firing);

	if (error != NULL)
		put_aside(&firing, error);
	return firing.next;
}

/*
 * etl_schedules_fire: see schedule.h.
 */
TimestampTz
etl_schedules_fire(TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	TimestampTz slot;
	ListCell   *cell;

	if (etl_instance_state() != ETL_INSTANCE_OURS)
		return DT_NOEND;
	(void) etl_events_find_published(now);

	foreach(cell, etl_schedules_due(now))
		next = Min(next, try_firing(fire_schedule, lfirst(cell), now));
	foreach(cell, etl_events_happened())
	{
		const char *name = lfirst(cell);
		EtlSchedule *schedule;

		if (!etl_events_lock(name))
			continue;
		schedule = etl_stream_of_schedule(name) ? stream_schedule(name) : etl_schedule_find(name);
		if (schedule == NULL)
			etl_events_store(name, NIL);
		else if (!schedule->paused)
			next = Min(next, try_firing(fire_events, schedule, now));
	}
	/* what is still due is locked, by a definition that has not committed or another process */
	slot = etl_schedules_next_due();
	return Min(next, slot <= now ? now + USECS_PER_SEC : slot);
}
