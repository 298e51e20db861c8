/*-------------------------------------------------------------------------
 *
 * watch.c
 *    Files that arrive, as the kernel tells of them.
 *
 * The scheduler watches the directories of the streams that schedules wait
 * for.  What arrives there only makes the stream's event happen: which files
 * are new the run finds out, from the ledger.  Whatever could have been
 * missed (before the watch stood, after an overflow, in a new directory) is
 * made up for by one look at the directory, which a chore takes.  Where there
 * is no inotify, or no watch to be had, that look is taken every few seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fnmatch.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "catalog/schedule.h"
#include "common/clock.h"
#include "common/driver.h"
#include "common/wake.h"
#include "connector/paths.h"
#include "run/schedule.h"
#include "run/watch.h"

#define MAX_DIRECTORIES 1000	/* below one pattern; more are polled */
#define POLL_SECONDS	10

#ifdef __linux__

/* An event and where its files arrive; all of it in watch_context. */
typedef struct Watcher
{
	char	   *schedule;
	int			number;
	char	   *target;
	char	   *pattern;		/* the whole path */
	char	   *name_pattern;	/* its last part */
	int64		settle_ms;		/* files are looked for that long after they arrived; 0: at once */
	bool		recursive;		/* directories below are watched, too */
	bool		seen;			/* still defined */
	bool		stale;			/* to be set up again */
	List	   *watches;		/* of int: descriptors of inotify */
} Watcher;

static MemoryContext watch_context = NULL;
static List *watchers = NIL;
static int	watch_fd = -1;

/* What setting up a watcher tries. */
typedef struct Setup
{
	const EtlFileEvent *event;
	Watcher    *watcher;
	bool		failed;			/* it has to be polled */
} Setup;

/*
 * open_inotify opens the descriptor; false when there is none to be had.
 */
static bool
open_inotify(void)
{
	if (watch_fd >= 0)
		return true;
	if (!AcquireExternalFD())
		return false;
	watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch_fd < 0)
		ReleaseExternalFD();
	return watch_fd >= 0;
}

/*
 * watch_directory adds a directory, and those below it, to a watcher.
 */
static void
watch_directory(Setup *setup, const char *directory)
{
	Watcher    *watcher = setup->watcher;
	struct dirent *entry;
	MemoryContext old;
	DIR		   *dir;
	int			watch = inotify_add_watch(watch_fd, directory,
								  IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR);

	if (watch < 0 || list_length(watcher->watches) >= MAX_DIRECTORIES)
	{
		setup->failed = true;
		return;
	}
	old = MemoryContextSwitchTo(watch_context);
	watcher->watches = list_append_unique_int(watcher->watches, watch);
	MemoryContextSwitchTo(old);
	if (!watcher->recursive)
		return;

	dir = AllocateDir(directory);
	while (dir != NULL && (entry = ReadDirExtended(dir, directory, DEBUG1)) != NULL && !setup->failed)
	{
		char	   *path = psprintf("%s/%s", directory, entry->d_name);
		struct stat status;

		CHECK_FOR_INTERRUPTS();
		if (entry->d_name[0] != '.' && lstat(path, &status) == 0 && S_ISDIR(status.st_mode))
			watch_directory(setup, path);
		pfree(path);
	}
	if (dir != NULL)
		FreeDir(dir);
}

/*
 * set_up finds the directories of a watcher; an argument of etl_subxact.
 */
static void
set_up(void *arg)
{
	Setup	   *setup = arg;
	Watcher    *watcher = setup->watcher;
	char	   *base = pstrdup(watcher->pattern);
	char	   *wildcard = strpbrk(base, "*?[");
	char	   *slash;
	char		real[PATH_MAX];

	if (wildcard != NULL)
		*wildcard = '\0';
	slash = strrchr(base, '/');
	if (slash == NULL)
	{
		setup->failed = true;
		return;
	}
	watcher->recursive = strchr(watcher->pattern + (slash - base) + 1, '/') != NULL;
	*slash = '\0';
	if (!open_inotify() || realpath(base[0] ? base : "/", real) == NULL)
	{
		setup->failed = true;
		return;
	}
	etl_path_check(setup->event->owner, real);
	watch_directory(setup, real);
}

/*
 * rm_unused takes a watch away that no watcher needs.
 */
static void
rm_unused(int watch)
{
	ListCell   *cell;

	foreach(cell, watchers)
		if (list_member_int(((Watcher *) lfirst(cell))->watches, watch))
			return;
	(void) inotify_rm_watch(watch_fd, watch);
}

/*
 * forget_watcher lets go of a watcher.
 */
static void
forget_watcher(Watcher *watcher)
{
	ListCell   *cell;

	watchers = list_delete_ptr(watchers, watcher);
	foreach(cell, watcher->watches)
		rm_unused(lfirst_int(cell));
	list_free(watcher->watches);
	pfree(watcher->schedule);
	pfree(watcher->target);
	pfree(watcher->pattern);
	pfree(watcher);
}

/*
 * find_watcher returns the watcher of an event, NULL when there is none, or
 * it watched for something else.
 */
static Watcher *
find_watcher(const EtlEvent *event, const char *pattern)
{
	ListCell   *cell;

	foreach(cell, watchers)
	{
		Watcher    *watcher = lfirst(cell);

		if (watcher->number == event->number && strcmp(watcher->schedule, event->schedule) == 0 &&
			strcmp(watcher->target, event->argument) == 0 && strcmp(watcher->pattern, pattern) == 0)
			return watcher;
	}
	return NULL;
}

/*
 * add_watcher sets up a watcher and asks for one look at what is there
 * already; where watching fails, for one every few seconds.
 */
static void
add_watcher(const EtlFileEvent *file, const char *pattern)
{
	MemoryContext old = MemoryContextSwitchTo(watch_context);
	Watcher    *watcher = palloc0(sizeof(Watcher));
	Setup		setup = {.event = file, .watcher = watcher};
	EtlEvent	event = file->event;
	Interval	poll = {.time = POLL_SECONDS * USECS_PER_SEC};
	ErrorData  *error;

	watcher->schedule = pstrdup(event.schedule);
	watcher->number = event.number;
	watcher->target = pstrdup(event.argument);
	watcher->pattern = pstrdup(pattern);
	watcher->name_pattern = strrchr(watcher->pattern, '/');
	watcher->name_pattern = watcher->name_pattern ? watcher->name_pattern + 1 : watcher->pattern;
	watcher->settle_ms = file->settle_ms;
	watcher->seen = true;
	watchers = lappend(watchers, watcher);
	MemoryContextSwitchTo(old);

	/* an owner who may not read there hears of it from the look */
	error = etl_subxact(set_up, &setup);
	watcher->stale = error != NULL || setup.failed;
	if (watcher->stale && event.every != NULL)
		return;
	event.every = watcher->stale ? &poll : NULL;
	event.check_at = etl_now();
	event.happened_at = DT_NOBEGIN;
	etl_event_set(&event);
	/* it is a chore that takes this look */
	etl_wake_now();
}

/*
 * etl_watch_refresh: see watch.h.
 */
void
etl_watch_refresh(void)
{
	List	   *events = etl_file_events();
	ListCell   *cell;

	if (watch_context == NULL)
		watch_context = AllocSetContextCreate(TopMemoryContext, "etl watches", ALLOCSET_SMALL_SIZES);
	foreach(cell, watchers)
		((Watcher *) lfirst(cell))->seen = false;
	foreach(cell, events)
	{
		EtlFileEvent *event = lfirst(cell);
		char	   *pattern = event->path[0] == '/' || event->root == NULL ?
							event->path :
							psprintf("%s/%s", event->root, event->path);
		Watcher    *watcher = find_watcher(&event->event, pattern);

		if (watcher != NULL && watcher->stale)
		{
			forget_watcher(watcher);
			watcher = NULL;
		}
		if (watcher != NULL)
		{
			watcher->seen = true;
			watcher->settle_ms = event->settle_ms;
		}
		else
			add_watcher(event, pattern);
	}
	for (int i = list_length(watchers) - 1; i >= 0; i--)
		if (!((Watcher *) list_nth(watchers, i))->seen)
			forget_watcher(list_nth(watchers, i));
}

/*
 * take_note finds out whose file an event of the kernel is about; true when
 * watchers have to be set up again.
 */
static bool
take_note(const struct inotify_event *event, List **targets)
{
	bool		again = false;
	ListCell   *cell;

	foreach(cell, watchers)
	{
		Watcher    *watcher = lfirst(cell);

		if (event->mask & IN_Q_OVERFLOW)
			watcher->stale = true;
		if (!list_member_int(watcher->watches, event->wd))
			continue;
		if ((event->mask & (IN_IGNORED | IN_UNMOUNT)) ||
			((event->mask & IN_ISDIR) && watcher->recursive && (event->mask & (IN_CREATE | IN_MOVED_TO))))
			watcher->stale = again = true;
		else if ((event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) && !(event->mask & IN_ISDIR) &&
				 event->len > 0 && fnmatch(watcher->name_pattern, event->name, FNM_PERIOD) == 0)
			*targets = list_append_unique_ptr(*targets, watcher->target);
	}
	return again || (event->mask & IN_Q_OVERFLOW);
}

/*
 * settle_time returns how long files of a stream are still being written
 * after they arrived.
 */
static int64
settle_time(const char *target)
{
	int64		most = 0;
	ListCell   *cell;

	foreach(cell, watchers)
		if (strcmp(((Watcher *) lfirst(cell))->target, target) == 0)
			most = Max(most, ((Watcher *) lfirst(cell))->settle_ms);
	return most;
}

/*
 * tell makes the events of a stream happen, or has them looked at when the
 * file has settled; those that could not be told are made up for at the next
 * refresh.
 */
static void
tell(const char *target, TimestampTz now)
{
	int64		settle_ms = settle_time(target);
	ListCell   *cell;

	if (settle_ms > 0)
	{
		bool		told = etl_event_look_by(target, now + settle_ms * 1000);

		/* it is a chore that takes this look */
		etl_wake_now();
		if (told)
			return;
	}
	else
	{
		(void) etl_event_happened("file", target, now);
		if (!etl_event_missed("file", target, now))
			return;
	}
	foreach(cell, watchers)
		if (strcmp(((Watcher *) lfirst(cell))->target, target) == 0)
			((Watcher *) lfirst(cell))->stale = true;
}

/*
 * etl_watch_read: see schedule.h.
 */
bool
etl_watch_read(void)
{
	union
	{
		struct inotify_event event;
		char		bytes[16384];
	} buffer;
	List	   *targets = NIL;
	bool		again = false;
	ssize_t		n;
	ListCell   *cell;

	if (watch_fd < 0)
		return false;
	while ((n = read(watch_fd, buffer.bytes, sizeof(buffer))) > 0)
	{
		for (char *at = buffer.bytes; at < buffer.bytes + n;)
		{
			struct inotify_event *event = (struct inotify_event *) at;

			again = take_note(event, &targets) || again;
			at += sizeof(struct inotify_event) + event->len;
		}
		CHECK_FOR_INTERRUPTS();
	}
	foreach(cell, targets)
		tell(lfirst(cell), etl_now());
	if (again)
		etl_watch_refresh();
	return targets != NIL;
}

int
etl_watch_fd(void)
{
	return watch_fd;
}

#else

/*
 * Without inotify every event is polled.
 */
void
etl_watch_refresh(void)
{
	Interval	poll = {.time = POLL_SECONDS * USECS_PER_SEC};
	ListCell   *cell;

	foreach(cell, etl_file_events())
	{
		EtlEvent   *event = &((EtlFileEvent *) lfirst(cell))->event;

		if (event->every != NULL)
			continue;
		event->every = &poll;
		event->check_at = etl_now();
		etl_event_set(event);
	}
}

bool
etl_watch_read(void)
{
	return false;
}

int
etl_watch_fd(void)
{
	return -1;
}

#endif
