/*-------------------------------------------------------------------------
 *
 * paths.c
 *    Which files of the server may be read, and opening them safely.
 *
 * Two rules, both judged when the file is about to be read: the superuser's
 * (etl.allowed_directories) and the owner's (pg_read_server_files).  Paths
 * are compared after all symlinks are resolved, and opened component by
 * component without following any, so that nobody can swap one in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/varlena.h"

#include "common/errors.h"
#include "common/guc.h"
#include "connector/paths.h"

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

bool
etl_path_is_below(const char *path, const char *directory)
{
	size_t		length = strlen(directory);

	if (strcmp(directory, "/") == 0)
		return path[0] == '/';
	return strncmp(path, directory, length) == 0 &&
		   (path[length] == '\0' || path[length] == '/');
}

/*
 * real_path resolves all symlinks; NULL when the path does not exist.
 */
static char *
real_path_of(const char *path)
{
	char		resolved[PATH_MAX];

	return realpath(path, resolved) ? pstrdup(resolved) : NULL;
}

char *
etl_path_existing(const char *path)
{
	char	   *part = pstrdup(path);

	for (;;)
	{
		char	   *resolved = real_path_of(part);
		char	   *slash;

		if (resolved != NULL)
			return resolved;
		slash = strrchr(part, '/');
		if (slash == NULL || slash == part)
			return pstrdup("/");
		*slash = '\0';
	}
}

/*
 * is_in_allowed_directory judges etl.allowed_directories.
 */
static bool
is_in_allowed_directory(const char *real_path)
{
	char	   *list = pstrdup(etl_allowed_directories ? etl_allowed_directories : "");
	List	   *directories = NIL;
	ListCell   *cell;

	if (!SplitDirectoriesString(list, ',', &directories))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting etl.allowed_directories is not a list of directories"),
				 errdetail("It is \"%s\".", etl_allowed_directories),
				 errhint("Separate absolute directories by commas.")));
	foreach(cell, directories)
	{
		char	   *directory = lfirst(cell);
		char	   *resolved = is_absolute_path(directory) ? real_path_of(directory) : NULL;

		if (resolved != NULL && etl_path_is_below(real_path, resolved))
			return true;
	}
	return false;
}

void
etl_path_check(const char *owner, const char *real_path)
{
	Oid			role = get_role_oid(owner, true);

	if (!OidIsValid(role) || !has_privs_of_role(role, ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not read files of the server", owner),
				 errdetail("Reading \"%s\" is done with the rights of the owner of the stream.",
						   real_path),
				 errhint("Run GRANT pg_read_server_files TO %s as a superuser, "
						 "or let a member of that role define the stream.", owner)));
	if (!is_in_allowed_directory(real_path))
		ereport(ERROR, (errcode(ETL_ERR_NOT_ALLOWED),
						errmsg("path \"%s\" is outside the allowed directories", real_path),
						errdetail("Setting etl.allowed_directories is \"%s\"; symlinks are "
								  "resolved before comparing.",
								  etl_allowed_directories ? etl_allowed_directories : ""),
						errhint("A superuser can add the directory to etl.allowed_directories.")));
}

/*
 * open_chain opens a real path component by component; 'last' are the flags
 * of the last one.
 */
static int
open_chain(const char *real_path, int last)
{
	char	   *copy = pstrdup(real_path);
	char	   *rest = NULL;
	char	   *part = strtok_r(copy, "/", &rest);
	int			at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	while (at >= 0 && part != NULL)
	{
		char	   *next = strtok_r(NULL, "/", &rest);
		int			flags = next ? O_PATH | O_DIRECTORY : last;
		int			fd = openat(at, part, flags | O_NOFOLLOW | O_CLOEXEC);
		int			saved_errno = errno;

		close(at);
		errno = saved_errno;
		at = fd;
		part = next;
	}
	pfree(copy);
	return at;
}

int
etl_path_open(const char *real_path)
{
	/* O_NONBLOCK: a pipe put in the file's place must not hang us */
	return open_chain(real_path, O_RDONLY | O_NONBLOCK);
}

int
etl_path_open_directory(const char *real_path)
{
	return open_chain(real_path, O_PATH | O_DIRECTORY);
}
