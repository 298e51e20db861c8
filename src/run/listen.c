/*-------------------------------------------------------------------------
 *
 * listen.c
 *    Notifications on the channels that schedules wait for.
 *
 * The server hands notifications to a client, and the scheduler has none.
 * While pending ones are read, and only then, messages go to functions of
 * our own in the place of the client's connection, which keep the channel
 * and drop everything else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/event.h"
#include "catalog/schedule.h"
#include "common/clock.h"
#include "run/schedule.h"
#include "run/watch.h"

static MemoryContext listen_context = NULL;
static List *listening = NIL;	/* char *: channels */
static List *received = NIL;	/* char *: of 'listening', with something new */
static bool refreshed = true;	/* false: the last refresh was broken off */

/* ---- in the place of a client ---- */

static void
comm_reset(void)
{
}

static int
flush(void)
{
	return 0;
}

static bool
is_send_pending(void)
{
	return false;
}

/*
 * put_message keeps the channel of a notification: after the sender's pid.
 */
static int
put_message(char type, const char *text, size_t length)
{
	ListCell   *cell;

	if (type != 'A' || length <= 4)
		return 0;
	foreach(cell, listening)
		if (strncmp(text + 4, lfirst(cell), length - 4) == 0)
		{
			MemoryContext old = MemoryContextSwitchTo(listen_context);

			received = list_append_unique_ptr(received, lfirst(cell));
			MemoryContextSwitchTo(old);
		}
	return 0;
}

static void
put_message_noblock(char type, const char *text, size_t length)
{
	(void) put_message(type, text, length);
}

static const PQcommMethods methods = {
	.comm_reset = comm_reset,
	.flush = flush,
	.flush_if_writable = flush,
	.is_send_pending = is_send_pending,
	.putmessage = put_message,
	.putmessage_noblock = put_message_noblock,
};

/* ---- channels ---- */

/*
 * has_channel tells whether a list of names has this one.
 */
static bool
has_channel(List *channels, const char *channel)
{
	ListCell   *cell;

	foreach(cell, channels)
		if (strcmp(lfirst(cell), channel) == 0)
			return true;
	return false;
}

/*
 * etl_listen_refresh: see watch.h.
 */
void
etl_listen_refresh(void)
{
	List	   *wanted = etl_channels();
	MemoryContext old;
	ListCell   *cell;

	if (wanted == NIL && listening == NIL && refreshed)
		return;
	if (listen_context == NULL)
		listen_context = AllocSetContextCreate(TopMemoryContext, "etl channels", ALLOCSET_SMALL_SIZES);
	if (!refreshed)
	{
		Async_UnlistenAll();
		listening = received = NIL;
	}
	refreshed = false;
	for (int i = list_length(listening) - 1; i >= 0; i--)
	{
		char	   *channel = list_nth(listening, i);

		if (has_channel(wanted, channel))
			continue;
		Async_Unlisten(channel);
		listening = list_delete_nth_cell(listening, i);
		received = list_delete_ptr(received, channel);
		pfree(channel);
	}
	foreach(cell, wanted)
	{
		if (has_channel(listening, lfirst(cell)))
			continue;
		Async_Listen(lfirst(cell));
		old = MemoryContextSwitchTo(listen_context);
		listening = lappend(listening, pstrdup(lfirst(cell)));
		MemoryContextSwitchTo(old);
	}
	refreshed = true;
}

/*
 * read_notifications has the server hand out what is pending.
 */
static void
read_notifications(void)
{
	const PQcommMethods *saved_methods = PqCommMethods;
	CommandDest saved_dest = whereToSendOutput;

	PG_TRY();
	{
		PqCommMethods = &methods;
		whereToSendOutput = DestRemote;
		ProcessNotifyInterrupt(false);
	}
	PG_FINALLY();
	{
		PqCommMethods = saved_methods;
		whereToSendOutput = saved_dest;
	}
	PG_END_TRY();
}

/*
 * etl_listen_read: see schedule.h.
 */
bool
etl_listen_read(void)
{
	ListCell   *cell;

	if (notifyInterruptPending)
		read_notifications();
	if (received == NIL)
		return false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, received)
		(void) etl_event_happened("notify", lfirst(cell), etl_now());
	PopActiveSnapshot();
	CommitTransactionCommand();
	list_free(received);
	received = NIL;
	return true;
}

/*
 * etl_events_refresh: see schedule.h.
 */
void
etl_events_refresh(void)
{
	if (etl_instance_state() != ETL_INSTANCE_OURS)
		return;
	etl_watch_refresh();
	etl_listen_refresh();
}
