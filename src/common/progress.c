/*-------------------------------------------------------------------------
 *
 * progress.c
 *    How far the work on a node has come: for etl.progress and for NOTICEs.
 *
 * Live progress is the one state that is no row: a process shows in a slot
 * of shared memory what it works on.  The slots are few and small enough for
 * the spare room of a server that did not preload the library; where even
 * that is used up a process shows its progress to its own session only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "common/aloud.h"
#include "common/progress.h"

PG_FUNCTION_INFO_V1(etl_sql_progress);

#define SLOTS			 64
#define NODE_SIZE		 (4 * NAMEDATALEN + 8)
#define PHASE_SIZE		 96
#define MEASURE_EVERY_MS 500
#define SAY_AFTER_MS	 2900	/* what is over in three seconds says nothing before its end */
#define SAY_EVERY_MS	 1450	/* and what the flag is late by: at least every two seconds */

/* What one process shows. */
typedef struct Slot
{
	slock_t		mutex;
	int			pid;			/* 0: free */
	Oid			database;
	int64		run_id;
	char		node[NODE_SIZE];
	char		phase[PHASE_SIZE];
	int64		rows;
	int64		bytes;
	int64		bytes_total;
	TimestampTz started_at;
	TimestampTz phase_at;		/* since when it is in this phase */
} Slot;

int64		etl_progress_rows = 0;
int64		etl_progress_bytes = 0;
int64		etl_progress_bytes_total = 0;
void (*etl_progress_measure)(int64 *done, int64 *total) = NULL;
volatile sig_atomic_t etl_progress_due = false;

static Slot *slots = NULL;
static int	nslots = 0;
static Slot *mine = NULL;
static TimestampTz said_at = 0;

/*
 * etl_progress_shmem_size tells how much shared memory the slots take.
 */
Size
etl_progress_shmem_size(void)
{
	return sizeof(Slot) * SLOTS;
}

/*
 * become_due is the handler of the timer.  Where nobody has looked at the
 * flag since the last time, and it is time to say something, it asks for a
 * place to do so.
 */
static void
become_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (etl_progress_due && mine != NULL && etl_aloud_possible() &&
		TimestampDifferenceExceeds(mine->started_at, now, SAY_AFTER_MS) &&
		TimestampDifferenceExceeds(said_at, now, SAY_EVERY_MS))
		etl_aloud_ask();
	etl_progress_due = true;
}

/*
 * say_aloud tells where this process is, as it was known last: what it works
 * on is not to be looked at in the middle of a loop.
 */
static void
say_aloud(void)
{
	if (mine != NULL)
		etl_progress_say(mine->run_id);
}

/*
 * timer returns the timer's number, registered once a process.
 */
static TimeoutId
timer(void)
{
	static bool registered = false;
	static TimeoutId id;

	if (!registered)
		id = RegisterTimeout(USER_TIMEOUT, become_due);
	registered = true;
	return id;
}

/*
 * attach finds or makes the slots in shared memory; without room for them
 * this process has one of its own.
 */
static void
attach(void)
{
	static Slot alone;
	MemoryContext context = CurrentMemoryContext;
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	PG_TRY();
	{
		slots = ShmemInitStruct("etl progress", etl_progress_shmem_size(), &found);
		nslots = SLOTS;
	}
	PG_CATCH();
	{
		/* what follows must not work in the context of errors, which the next error empties */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		/* the error has let go of interrupts, which the release expects to be held */
		HOLD_INTERRUPTS();
		slots = &alone;
		nslots = 1;
		found = false;
	}
	PG_END_TRY();
	if (!found)
	{
		memset(slots, 0, sizeof(Slot) * nslots);
		for (int i = 0; i < nslots; i++)
			SpinLockInit(&slots[i].mutex);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * give_back frees this process's slot when it ends.
 */
static void
give_back(int code, Datum arg)
{
	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->pid = 0;
	SpinLockRelease(&mine->mutex);
	mine = NULL;
}

/*
 * claim takes a free slot, if there is one.
 */
static void
claim(void)
{
	static bool registered = false;

	if (slots == NULL)
		attach();
	if (!registered)
		before_shmem_exit(give_back, (Datum) 0);
	registered = true;

	for (int i = 0; i < nslots && mine == NULL; i++)
	{
		Slot	   *slot = &slots[i];

		SpinLockAcquire(&slot->mutex);
		if (slot->pid == 0)
		{
			slot->pid = MyProcPid;
			slot->node[0] = '\0';
			mine = slot;
		}
		SpinLockRelease(&slot->mutex);
	}
}

/*
 * etl_progress_start shows that this process works on a node from now on.
 */
void
etl_progress_start(int64 run_id, const char *node, const char *phase)
{
	TimestampTz now = GetCurrentTimestamp();

	if (mine == NULL)
		claim();
	etl_progress_rows = etl_progress_bytes = etl_progress_bytes_total = 0;
	etl_progress_measure = NULL;
	if (mine == NULL)
		return;

	SpinLockAcquire(&mine->mutex);
	mine->database = MyDatabaseId;
	mine->run_id = run_id;
	strlcpy(mine->node, node, NODE_SIZE);
	strlcpy(mine->phase, phase, PHASE_SIZE);
	mine->rows = mine->bytes = mine->bytes_total = 0;
	mine->started_at = mine->phase_at = now;
	SpinLockRelease(&mine->mutex);
	said_at = 0;
	etl_progress_due = false;
	etl_aloud_begin(say_aloud);
	enable_timeout_every(timer(), TimestampTzPlusMilliseconds(now, MEASURE_EVERY_MS), MEASURE_EVERY_MS);
}

/*
 * etl_progress_phase shows what kind of work is done on the node.
 */
void
etl_progress_phase(const char *phase)
{
	TimestampTz now = GetCurrentTimestamp();

	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	strlcpy(mine->phase, phase, PHASE_SIZE);
	mine->phase_at = now;
	SpinLockRelease(&mine->mutex);
	/* what follows may be long and have no place to look at the flag */
	etl_progress_report();
}

/*
 * etl_progress_is_on: see progress.h.
 */
bool
etl_progress_is_on(void)
{
	return mine != NULL;
}

/*
 * etl_progress_stop shows that this process has nothing at work.
 */
void
etl_progress_stop(void)
{
	etl_progress_measure = NULL;
	etl_progress_due = false;
	if (mine == NULL)
		return;
	disable_timeout(timer(), false);
	give_back(0, (Datum) 0);
}

/*
 * count writes a number with commas.
 */
static char *
count(int64 number)
{
	char	   *digits = psprintf(INT64_FORMAT, number);
	int			length = strlen(digits);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoChar(&text, digits[i]);
	}
	return text.data;
}

/*
 * seconds_left estimates from the share that is done; -1 when nobody knows.
 */
static double
seconds_left(const Slot *slot, TimestampTz now)
{
	double		seconds = (now - slot->phase_at) / 1000000.0;

	if (slot->bytes_total <= 0 || slot->bytes <= 0 || slot->bytes >= slot->bytes_total)
		return -1;
	return seconds * (slot->bytes_total - slot->bytes) / slot->bytes;
}

/*
 * say tells where one process is.
 */
static void
say(const Slot *slot, TimestampTz now)
{
	double		seconds = Max((now - slot->started_at) / 1000000.0, 0.001);
	double		left = seconds_left(slot, now);
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s: %s", slot->node, slot->phase);
	if (slot->rows > 0)
		appendStringInfo(&text, ", %s rows, %s rows/s", count(slot->rows),
						 count((int64) (slot->rows / seconds)));
	if (slot->bytes_total > 0)
		appendStringInfo(&text, ", %.0f of %.0f MB (%d %%)", slot->bytes / 1048576.0,
						 slot->bytes_total / 1048576.0, (int) (100.0 * slot->bytes / slot->bytes_total));
	else if (slot->bytes > 0)
		appendStringInfo(&text, ", %.0f MB", slot->bytes / 1048576.0);
	if (left >= 0)
		appendStringInfo(&text, ", about %.0f s left", left);
	else
		appendStringInfo(&text, ", for %.0f s", seconds);
	ereport(NOTICE, (errmsg_internal("%s", text.data)));
	pfree(text.data);
}

/*
 * copy_slot reads a slot as one moment had it; false when it is free or
 * another database's.
 */
static bool
copy_slot(Slot *slot, Slot *copy)
{
	SpinLockAcquire(&slot->mutex);
	*copy = *slot;
	SpinLockRelease(&slot->mutex);
	return copy->pid != 0 && copy->database == MyDatabaseId;
}

/*
 * etl_progress_say: see progress.h.  At most every SAY_EVERY_MS.
 */
void
etl_progress_say(int64 run_id)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(said_at, now, SAY_EVERY_MS))
		return;
	if (slots == NULL)
		attach();
	for (int i = 0; i < nslots; i++)
	{
		Slot		slot;

		if (!copy_slot(&slots[i], &slot) || slot.run_id != run_id ||
			!TimestampDifferenceExceeds(slot.started_at, now, SAY_AFTER_MS))
			continue;
		said_at = now;
		say(&slot, now);
	}
}

/*
 * etl_progress_say_waiting: see progress.h.
 */
void
etl_progress_say_waiting(int64 run_id, TimestampTz since, const char *what)
{
	TimestampTz now = GetCurrentTimestamp();

	etl_progress_say(run_id);
	if (!TimestampDifferenceExceeds(said_at, now, SAY_EVERY_MS) ||
		!TimestampDifferenceExceeds(since, now, SAY_AFTER_MS))
		return;
	said_at = now;
	ereport(NOTICE, (errmsg_internal("run " INT64_FORMAT ": %s, for %.0f s", run_id, what,
									 (now - since) / 1000000.0)));
}

/*
 * etl_progress_of: see progress.h.
 */
char *
etl_progress_of(int pid)
{
	if (slots == NULL)
		attach();
	for (int i = 0; i < nslots; i++)
	{
		Slot		slot;

		if (copy_slot(&slots[i], &slot) && slot.pid == pid)
			return psprintf("%s: %s", slot.node, slot.phase);
	}
	return NULL;
}

/*
 * etl_progress_report: see progress.h.
 */
void
etl_progress_report(void)
{
	int64		bytes = etl_progress_bytes;
	int64		total = etl_progress_bytes_total;

	etl_progress_due = false;
	if (mine == NULL)
		return;
	if (etl_progress_measure != NULL)
		etl_progress_measure(&bytes, &total);
	SpinLockAcquire(&mine->mutex);
	mine->rows = etl_progress_rows;
	mine->bytes = bytes;
	mine->bytes_total = total;
	SpinLockRelease(&mine->mutex);
	etl_progress_say(mine->run_id);
}

/*
 * etl_sql_progress is etl._progress(), the rows of etl.progress.
 */
Datum
etl_sql_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();

	InitMaterializedSRF(fcinfo, 0);
	if (slots == NULL)
		attach();
	for (int i = 0; i < nslots; i++)
	{
		Slot		slot;
		Datum		values[9];
		bool		nulls[9] = {0};
		double		seconds;
		double		left;

		if (!copy_slot(&slots[i], &slot))
			continue;
		seconds = (now - slot.started_at) / 1000000.0;
		left = seconds_left(&slot, now);
		values[0] = Int64GetDatum(slot.run_id);
		values[1] = CStringGetTextDatum(slot.node);
		values[2] = CStringGetTextDatum(slot.phase);
		values[3] = Int64GetDatum(slot.rows);
		values[4] = Int64GetDatum(slot.bytes);
		values[5] = Int64GetDatum(slot.bytes_total);
		nulls[5] = slot.bytes_total <= 0;
		values[6] = Int64GetDatum(seconds > 0 ? (int64) (slot.rows / seconds) : 0);
		values[7] = TimestampTzGetDatum(slot.started_at);
		values[8] = TimestampTzGetDatum(now + (TimestampTz) (left * 1000000.0));
		nulls[8] = left < 0;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
