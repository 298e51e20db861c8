/*-------------------------------------------------------------------------
 *
 * file_done.c
 *    What becomes of files when their load is on disk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "common/errors.h"
#include "connector/file.h"

/*
 * free_name finds a name that the archive does not have yet: a.csv, a.csv.2.
 */
static char *
free_name(int archive, const char *name)
{
	char	   *candidate = pstrdup(name);
	struct stat status;

	for (int i = 2; fstatat(archive, candidate, &status, AT_SYMLINK_NOFOLLOW) == 0; i++)
		candidate = psprintf("%s.%d", name, i);
	return candidate;
}

/*
 * remove_file takes a file out of its directory, into the archive when there
 * is one; false with errno.  A link never takes the place of another file.
 */
static bool
remove_file(FileState *state, int directory, const char *name)
{
	int			archive;
	int			saved_errno;
	const char *link;
	bool		done;

	if (state->archive == NULL)
		return unlinkat(directory, name, 0) == 0;
	archive = etl_path_open_directory(state->archive);
	if (archive < 0)
		return false;
	link = free_name(archive, name);
	done = linkat(directory, name, archive, link, 0) == 0;
	if (done && unlinkat(directory, name, 0) < 0)
	{
		/* it stays where it is, and there only */
		saved_errno = errno;
		(void) unlinkat(archive, link, 0);
		errno = saved_errno;
		done = false;
	}
	saved_errno = errno;
	close(archive);
	errno = saved_errno;
	return done;
}

/*
 * may_remove tells whether the owner of the stream may take files away, and
 * warns when not.
 */
static bool
may_remove(const FileState *state, const char *path)
{
	Oid			owner = get_role_oid(state->context->owner, true);

	if (OidIsValid(owner) && has_privs_of_role(owner, ROLE_PG_WRITE_SERVER_FILES))
		return true;
	ereport(WARNING, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					  errmsg("role \"%s\" may not remove files of the server", state->context->owner),
					  errdetail("\"%s\" is loaded and stays where it is.", path),
					  errhint("GRANT pg_write_server_files TO %s, or set after_load to keep.",
							  quote_identifier(state->context->owner))));
	return false;
}

/*
 * etl_file_done archives or deletes a file that is loaded, unless it has
 * changed since; an archive goes with the last of its members.  What cannot be
 * done is told, and tried again by the next pull.
 */
void
etl_file_done(void *arg, EtlItem *item)
{
	FileState  *state = arg;
	FileHandle *handle = item->handle;
	EtlArchive *members = handle->member ? handle->member->archive : NULL;
	const char *path = members ? members->path : item->origin;
	int64		size = members ? members->status.st_size : item->size;
	char	   *folder = pstrdup(path);
	char	   *slash = strrchr(folder, '/');
	struct stat status;
	int			directory;
	int			saved_errno;
	bool		done = true;

	if ((state->archive == NULL && !state->deletes) || (members != NULL && --members->left > 0))
		return;
	if (!may_remove(state, path))
		return;
	etl_file_check_match(state, path);
	*slash = '\0';
	if (state->open == handle)
		etl_file_close_file(state);
	directory = etl_path_open_directory(slash == folder ? "/" : folder);
	if (directory < 0)
		done = false;
	else
	{
		/* changed since: it is to be loaded again */
		if (fstatat(directory, slash + 1, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(status.st_mode) && status.st_size == size &&
			etl_file_mtime_of(&status) == item->mtime)
			done = remove_file(state, directory, slash + 1);
		saved_errno = errno;
		close(directory);
		errno = saved_errno;
	}
	if (!done)
		ereport(WARNING, (errcode_for_file_access(),
						  errmsg("could not %s \"%s\" after its load: %m",
								 state->archive ? "archive" : "delete", path),
						  errdetail("It is loaded, and not loaded again."),
						  errhint("The server must be able to write both directories, which must "
								  "be on one file system.")));
}
