/*-------------------------------------------------------------------------
 *
 * file.c
 *    The connector for files of the server.
 *
 * A pull hands out every regular file that matches the pattern, each as a
 * load of its own; which of them are new is the ledger's decision, in load/.
 * A file is read up to the size it had when it was handed out: what is
 * appended meanwhile belongs to the next pull.  One that changed within the
 * settle time is still being written, and left for a later pull.
 *
 * Members of archives are such files too (archive.c).  After its load a file
 * stays, is deleted or moves to an archive (file_done.c); that is done when
 * the load is on disk, and again by a later pull where it failed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "connector/connector.h"
#include "connector/file.h"

PG_FUNCTION_INFO_V1(etl_sql_file_connector);

static const EtlOptionDef file_source_options[] = {
	{"root", "text", NULL, "directory that the paths of streams are relative to"},
	{NULL}};

static const EtlOptionDef file_stream_options[] = {
	{"path", "text", NULL,
	 "file or pattern: * ? [a-z] within a name, ** over directories; members of zip and tar archives "
	 "behind an exclamation mark: in/*.zip!**/*.csv"},
	{"order", "name|mtime", "name", "order in which files are loaded"},
	{"settle", "duration", "0 s",
	 "a file that changed within this time is still being written and not taken"},
	{"after_load", "keep|archive|delete", "keep",
	 "what becomes of a file when its load is on disk; the owner must be a member of "
	 "pg_write_server_files; "
	 "another file that comes under the same name later is a changed one: see on_change"},
	{"archive_to", "text", NULL,
	 "directory that files move to with after_load archive, absolute or below the root; on the "
	 "same file system"},
	{"max_rejects", "threshold", NULL,
	 "rejects, as a count or a share, above which a load fails whole"},
	{NULL}};

/*
 * settle_of reads the option "settle", in milliseconds.
 */
static int64
settle_of(const Jsonb *options)
{
	char	   *text = etl_json_get_text(options, "settle");

	return text ? etl_option_duration_ms("settle", text) : 0;
}

/*
 * check_archive raises ET001 unless "after_load" and "archive_to" go together.
 */
static void
check_archive(const Jsonb *source_options, const Jsonb *stream_options)
{
	char	   *after = etl_json_get_text(stream_options, "after_load");
	char	   *directory = etl_json_get_text(stream_options, "archive_to");
	bool		archives = after != NULL && strcmp(after, "archive") == 0;

	if (archives != (directory != NULL))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options \"after_load\": \"archive\" and \"archive_to\" need each other"),
				 errhint("Write {\"after_load\": \"archive\", \"archive_to\": \"/data/loaded\"}.")));
	if (directory != NULL && !is_absolute_path(directory) &&
		etl_json_get_text(source_options, "root") == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"archive_to\" must be absolute because the source has no \"root\"")));
}

/*
 * file_validate judges what the option tables cannot: absolute paths.
 */
static void
file_validate(const Jsonb *source_options, const Jsonb *stream_options, const char *format)
{
	char	   *root = etl_json_get_text(source_options, "root");
	char	   *path;
	char	   *archive;
	char	   *members;

	if (root != NULL && !is_absolute_path(root))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"root\" of a file source must be an absolute path"),
				 errdetail("It is \"%s\".", root),
				 errhint("Begin it with \"/\".")));
	if (stream_options == NULL)
		return;

	(void) settle_of(stream_options);
	check_archive(source_options, stream_options);
	path = etl_json_get_text(stream_options, "path");
	if (path == NULL || path[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a stream of a file source needs the option \"path\""),
				 errhint("Give a file or a pattern, for example {\"path\": \"orders/*.csv\"}.")));
	if (etl_archive_named(path) && !etl_archive_split(path, &archive, &members))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"path\" names an archive and none of its members"),
						errdetail("It is \"%s\".", path),
						errhint("Write which of them are records, behind an exclamation mark: "
								"\"%s!*.csv\", \"%s!**\" for all.", path, path)));
	if (etl_archive_split(path, &archive, &members) && members[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"path\" names no member behind the exclamation mark"),
				 errhint("Write \"%s!**\" for all of them.", archive)));
	if (root == NULL && !is_absolute_path(path))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"path\" must be absolute because the source has no \"root\""),
				 errdetail("It is \"%s\".", path),
				 errhint("Give the source a \"root\", or write the whole path.")));
}

/*
 * etl_file_check_match raises an error for a real path that this stream may not read.
 */
void
etl_file_check_match(void *arg, const char *real_path)
{
	FileState  *state = arg;

	state->context->services->check_path(state->context, real_path);
	if (state->root != NULL && !etl_path_is_below(real_path, state->root))
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_ALLOWED),
				 errmsg("path \"%s\" is outside the root of source \"%s\"", real_path,
						state->context->source),
				 errdetail("The root is \"%s\"; symlinks and \"..\" are resolved before comparing.",
						   state->root),
				 errhint("Take the link or the \"..\" away, or read it through a source with "
						 "another root.")));
}

/*
 * compare_mtime orders matches by modification time, then by name.
 */
static int
compare_mtime(const ListCell *a, const ListCell *b)
{
	const EtlFileMatch *left = lfirst(a);
	const EtlFileMatch *right = lfirst(b);

	if (left->mtime != right->mtime)
		return left->mtime < right->mtime ? -1 : 1;
	return strcmp(left->path, right->path);
}

/*
 * close_descriptor closes the kernel descriptor, if any; also when the context
 * of the state, and with it an archive at work, goes away.
 */
static void
close_descriptor(void *arg)
{
	FileState  *state = arg;

	if (state->fd < 0)
		return;
	close(state->fd);
	ReleaseExternalFD();
	state->fd = -1;
	state->open = NULL;
}

void
etl_file_close_file(FileState *state)
{
	etl_archive_end(&state->reader);
	close_descriptor(state);
}

/*
 * open_archive finds out what becomes of files after their load.
 */
static void
open_archive(FileState *state)
{
	const Jsonb *options = state->context->stream_options;
	char	   *after = etl_json_get_text(options, "after_load");
	char	   *directory = etl_json_get_text(options, "archive_to");
	char		real_directory[PATH_MAX];

	state->deletes = after != NULL && strcmp(after, "delete") == 0;
	if (directory == NULL)
		return;
	if (!is_absolute_path(directory))
		directory = psprintf("%s/%s", etl_json_get_text(state->context->source_options, "root"), directory);
	if (realpath(directory, real_directory) == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not use archive directory \"%s\": %m", directory),
				 errhint("Make it, writable for the operating system user of the server.")));
	state->context->services->check_path(state->context, real_directory);
	state->archive = pstrdup(real_directory);
}

static void *
file_open(EtlConnectorContext *context)
{
	MemoryContext old = MemoryContextSwitchTo(context->context);
	FileState  *state = palloc0(sizeof(FileState));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	char	   *root = etl_json_get_text(context->source_options, "root");
	char	   *path = etl_json_get_text(context->stream_options, "path");
	char	   *order = etl_json_get_text(context->stream_options, "order");
	char		real_root[PATH_MAX];

	state->context = context;
	state->fd = -1;
	callback->func = close_descriptor;
	callback->arg = state;
	MemoryContextRegisterResetCallback(context->context, callback);

	file_validate(context->source_options, context->stream_options, context->format);
	state->settle_ms = settle_of(context->stream_options);
	state->reader.limit = etl_max_expansion(context->stream_options);
	open_archive(state);
	if (root != NULL && realpath(root, real_root) == NULL)
		context->services->check_path(context, etl_path_existing(root));
	else
	{
		if (root != NULL)
			state->root = pstrdup(real_root);
		(void) etl_archive_split(path, &path, &state->member_pattern);
		if (!is_absolute_path(path))
			path = psprintf("%s/%s", root, path);
		state->matches = etl_glob(path, etl_file_check_match, state);
	}
	if (order != NULL && strcmp(order, "mtime") == 0)
		list_sort(state->matches, compare_mtime);
	MemoryContextSwitchTo(old);
	return state;
}

/*
 * etl_file_mtime_of returns when a file was last written.
 */
TimestampTz
etl_file_mtime_of(const struct stat *status)
{
	TimestampTz mtime = time_t_to_timestamptz(status->st_mtime);

#ifdef __linux__
	mtime += status->st_mtim.tv_nsec / 1000;
#endif
	return mtime;
}

/*
 * is_settled tells whether a file has not been written for the settle time.
 * The clock is that of the files, never the one that tests set.
 */
static bool
is_settled(FileState *state, const struct stat *status)
{
	return etl_file_mtime_of(status) + state->settle_ms * 1000 <= GetCurrentTimestamp();
}

/*
 * open_path opens a file as the descriptor of the state, closing another.
 */
static void
open_path(FileState *state, const char *path, struct stat *status)
{
	etl_file_close_file(state);
	etl_file_check_match(state, path);
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("too many open files to read \"%s\"", path),
				 errhint("Raise max_files_per_process.")));
	state->fd = etl_path_open(path);
	if (state->fd < 0)
	{
		int			saved_errno = errno;

		ReleaseExternalFD();
		errno = saved_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path),
				 errhint("The operating system user of the server must be able to read it.")));
	}
	if (fstat(state->fd, status) < 0 || !S_ISREG(status->st_mode))
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_ALLOWED),
				 errmsg("\"%s\" is not a regular file", path),
				 errhint("Only regular files are read.")));
}

/*
 * list_members makes an archive the one whose members are handed out.
 */
static void
list_members(FileState *state, const char *path)
{
	MemoryContext old = MemoryContextSwitchTo(state->context->context);
	struct stat status;

	open_path(state, path, &status);
	state->listed = etl_archive_list(state->fd, path, &status, state->member_pattern);
	state->next_member = 0;
	etl_file_close_file(state);
	MemoryContextSwitchTo(old);
}

/*
 * make_item makes the item of a file, or of a member of an archive.  A member
 * counts as changed with its archive, and is then compared by content.
 */
static EtlItem *
make_item(FileState *state, char *path, const struct stat *status, EtlArchiveMember *member)
{
	MemoryContext old = MemoryContextSwitchTo(state->context->context);
	EtlItem    *item = palloc0(sizeof(EtlItem));
	FileHandle *handle = palloc0(sizeof(FileHandle));

	item->origin = member ? psprintf("%s!%s", path, member->name) : path;
	item->size = member && member->size >= 0 ? member->size : status->st_size;
	item->mtime = etl_file_mtime_of(status);
	item->own_load = true;
	item->handle = handle;
	handle->device = status->st_dev;
	handle->inode = status->st_ino;
	handle->member = member;
	MemoryContextSwitchTo(old);
	return item;
}

/*
 * next_match returns the next file that is there and settled, NULL: none.
 */
static EtlFileMatch *
next_match(FileState *state, struct stat *status)
{
	while (state->next < list_length(state->matches))
	{
		EtlFileMatch *match = list_nth(state->matches, state->next++);

		/* as it is now: it may have grown, or gone, since the listing */
		if (lstat(match->path, status) < 0 || !S_ISREG(status->st_mode))
			continue;
		if (state->archive != NULL && etl_path_is_below(match->path, state->archive))
			continue;
		if (state->settle_ms == 0 || is_settled(state, status))
			return match;
		state->unsettled++;
	}
	return NULL;
}

static EtlPoll
file_next(void *arg, EtlItem **item, EtlWait *wait)
{
	FileState  *state = arg;
	EtlFileMatch *match;
	struct stat status;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (state->listed != NULL && state->next_member < list_length(state->listed->members))
		{
			*item = make_item(state, state->listed->path, &state->listed->status,
							  list_nth(state->listed->members, state->next_member++));
			return ETL_READY;
		}
		match = next_match(state, &status);
		if (match == NULL)
			return ETL_END;
		if (state->member_pattern == NULL)
		{
			*item = make_item(state, match->path, &status, NULL);
			return ETL_READY;
		}
		list_members(state, match->path);
	}
}

/*
 * raise_changed tells of a file that is not what it was.
 */
pg_noreturn static void
raise_changed(const EtlItem *item)
{
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("file \"%s\" changed while it was read", item->origin),
			 errdetail("Nothing of it was loaded; the next pull reads it again."),
			 errhint("Let producers write under another name and rename when complete.")));
}

/*
 * open_item opens the file of an item, closing that of another.
 */
static void
open_item(FileState *state, EtlItem *item)
{
	FileHandle *handle = item->handle;
	struct stat status;

	open_path(state, item->origin, &status);
	/* another one of that name has another size and another beginning */
	if (status.st_dev != handle->device || status.st_ino != handle->inode)
		raise_changed(item);
	state->open = handle;
}

/*
 * read_member reads on in a member of an archive.
 */
static size_t
read_member(FileState *state, FileHandle *handle, char *buffer, size_t size)
{
	EtlArchive *archive = handle->member->archive;
	size_t		n;

	if (state->open != handle && handle->offset > 0)
		elog(ERROR, "two members of an archive are read at once");
	if (handle->offset == 0)
	{
		if (!etl_archive_ready(&state->reader, handle->member))
		{
			MemoryContext old = MemoryContextSwitchTo(state->context->context);
			struct stat status;

			open_path(state, archive->path, &status);
			if (status.st_size != archive->status.st_size ||
				etl_file_mtime_of(&status) != etl_file_mtime_of(&archive->status))
				ereport(ERROR,
						(errcode(ETL_ERR_PROTOCOL),
						 errmsg("archive \"%s\" changed while it was read", archive->path),
						 errhint("Let producers write under another name and rename when complete.")));
			etl_archive_begin(&state->reader, archive, state->fd);
			MemoryContextSwitchTo(old);
		}
		state->open = handle;
	}
	n = etl_archive_read(&state->reader, handle->member, buffer, size);
	handle->offset += n;
	return n;
}

/*
 * check_unchanged raises when a file was written while it was read, other
 * than by appending to it: its records could be of two versions.
 */
static void
check_unchanged(const FileState *state, const EtlItem *item)
{
	struct stat status;

	if (fstat(state->fd, &status) == 0 && status.st_size <= item->size &&
		etl_file_mtime_of(&status) != item->mtime)
		raise_changed(item);
}

static size_t
file_read(void *arg, EtlItem *item, char *buffer, size_t size)
{
	FileState  *state = arg;
	FileHandle *handle = item->handle;
	ssize_t		n;

	if (handle->member != NULL)
		return read_member(state, handle, buffer, size);
	if (handle->offset >= item->size)
	{
		if (state->open == handle)
			check_unchanged(state, item);
		return 0;
	}
	if (state->open != handle)
		open_item(state, item);

	n = pread(state->fd, buffer, Min(size, item->size - handle->offset), handle->offset);
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", item->origin)));
	if (n == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("file \"%s\" became shorter while it was read", item->origin),
				 errdetail("It had %lld bytes, now it ends after %lld.",
						   (long long) item->size, (long long) handle->offset),
				 errhint("Let producers write under another name and rename when complete.")));
	handle->offset += n;
	return n;
}

static void
file_rewind(void *arg, EtlItem *item)
{
	((FileHandle *) item->handle)->offset = 0;
}

static void
file_release(void *arg, EtlItem *item)
{
	FileState  *state = arg;
	FileHandle *handle = item->handle;

	/* an archive stays open for its next member */
	if (state->open == handle && handle->member == NULL)
		etl_file_close_file(state);
	if (state->open == handle)
		state->open = NULL;
	pfree(handle);
	item->handle = NULL;
}

static Jsonb *
file_final_position(void *arg)
{
	return NULL;				/* the ledger is the position */
}

static void
file_close(void *arg)
{
	etl_file_close_file((FileState *) arg);
}

/*
 * file_remark tells of files that are left for a later pull.
 */
static char *
file_remark(void *arg)
{
	FileState  *state = arg;

	if (state->unsettled == 0)
		return NULL;
	return state->unsettled == 1 ? pstrdup("1 file is still being written") :
								   psprintf("%d files are still being written", state->unsettled);
}

static const EtlConnector file_connector = {
	.abi_version = ETL_CONNECTOR_ABI,
	.name = "file",
	.shape = ETL_BYTES,
	.needs_network = false,
	.source_options = file_source_options,
	.stream_options = file_stream_options,
	.validate = file_validate,
	.open = file_open,
	.next = file_next,
	.read = file_read,
	.rewind = file_rewind,
	.release = file_release,
	.final_position = file_final_position,
	.close = file_close,
	.done = etl_file_done,
	.remark = file_remark,
};

/*
 * etl_sql_file_connector hands out the file connector.
 */
Datum
etl_sql_file_connector(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&file_connector);
}
