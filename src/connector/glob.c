/*-------------------------------------------------------------------------
 *
 * glob.c
 *    Matching file names: * ? [a-z] within a name, ** over directories.
 *
 * The pattern is walked segment by segment.  "**" stands for any number of
 * directories, none included, and never enters a symlink; a symlink that a
 * name or another wildcard matches is resolved, judged by the caller's
 * check, and known by its real path, so that a file is found once whatever
 * leads to it.  Names that begin with a dot match only a pattern that does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fnmatch.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "common/errors.h"
#include "connector/paths.h"

typedef struct Walk
{
	char	  **segments;		/* the pattern, NULL-terminated */
	void		(*check) (void *arg, const char *real_path);
	void	   *arg;
	List	   *matches;		/* EtlFileMatch * */
} Walk;

static void walk_segment(Walk *walk, const char *directory, int segment);

bool
etl_glob_has_wildcard(const char *pattern)
{
	return strpbrk(pattern, "*?[") != NULL;
}

/*
 * join appends a name to a directory.
 */
static char *
join(const char *directory, const char *name)
{
	return psprintf("%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);
}

/*
 * shown_name writes a name that is no text: what is not ASCII as \xHH.
 */
static char *
shown_name(const char *name)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = name; *p; p++)
		appendStringInfo(&out, IS_HIGHBIT_SET(*p) ? "\\x%02X" : "%c", (unsigned char) *p);
	return out.data;
}

/*
 * add_file records a match once it is known to be a regular file that may
 * be read.  'exact' tells that the pattern named it without wildcards.
 */
static void
add_file(Walk *walk, const char *path, bool exact)
{
	char		resolved[PATH_MAX];
	struct stat status;
	EtlFileMatch *match;

	if (realpath(path, resolved) == NULL)
	{
		if (errno == ENOENT)
			return;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not resolve path \"%s\": %m", path)));
	}
	walk->check(walk->arg, resolved);
	if (stat(resolved, &status) < 0)
	{
		if (errno == ENOENT)
			return;				/* gone since the directory was read */
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", resolved)));
	}
	if (S_ISDIR(status.st_mode) && !exact)
		return;
	if (!S_ISREG(status.st_mode))
	{
		ereport(exact ? ERROR : WARNING,
				(errcode(ETL_ERR_NOT_ALLOWED), errmsg("\"%s\" is not a regular file", resolved),
				 S_ISDIR(status.st_mode) ?
					 errhint("Add a pattern, for example \"%s/*.csv\".", resolved) :
					 errhint("Only regular files are read.")));
		return;
	}
	if (!pg_verify_mbstr(GetDatabaseEncoding(), resolved, strlen(resolved), true))
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_ALLOWED),
				 errmsg("the name of file \"%s\" is not valid in the encoding of the database",
						shown_name(resolved)),
				 errhint("Rename it, or move it away; ls -b shows it. The other files wait.")));

	match = palloc0(sizeof(EtlFileMatch));
	match->path = pstrdup(resolved);
	match->size = status.st_size;
	match->mtime = time_t_to_timestamptz(status.st_mtime);
#ifdef __linux__
	match->mtime += status.st_mtim.tv_nsec / 1000;
#endif
	walk->matches = lappend(walk->matches, match);
}

/*
 * is_directory tells whether to descend; a symlink only when 'follow'.
 */
static bool
is_directory(Walk *walk, const char *path, bool follow)
{
	struct stat status;
	char		resolved[PATH_MAX];

	if (lstat(path, &status) < 0)
		return false;
	if (S_ISLNK(status.st_mode))
	{
		if (!follow || realpath(path, resolved) == NULL || stat(resolved, &status) < 0)
			return false;
		if (S_ISDIR(status.st_mode))
			walk->check(walk->arg, resolved);
	}
	return S_ISDIR(status.st_mode);
}

/*
 * walk_entries goes on with every entry of 'directory' that matches segment
 * number 'segment'.
 */
static void
walk_entries(Walk *walk, const char *directory, int segment)
{
	const char *pattern = walk->segments[segment];
	bool		last = walk->segments[segment + 1] == NULL;
	bool		deep = strcmp(pattern, "**") == 0;
	DIR		   *dir = AllocateDir(directory);
	struct dirent *entry;
	List	   *names = NIL;
	ListCell   *cell;

	if (dir == NULL && (errno == ENOENT || errno == ENOTDIR))
		return;
	/* ReadDir reports the failure of AllocateDir; recursion must not hold the handle */
	while ((entry = ReadDir(dir, directory)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (fnmatch(deep ? "*" : pattern, entry->d_name, FNM_PERIOD) == 0)
			names = lappend(names, pstrdup(entry->d_name));
	}
	FreeDir(dir);

	foreach(cell, names)
	{
		char	   *path = join(directory, lfirst(cell));

		if (deep)
		{
			if (is_directory(walk, path, false))
				walk_segment(walk, path, segment);
		}
		else if (last)
			add_file(walk, path, false);
		else if (is_directory(walk, path, true))
			walk_segment(walk, path, segment + 1);
	}
	list_free_deep(names);
}

/*
 * walk_segment matches the rest of the pattern, from 'segment', below
 * 'directory'.
 */
static void
walk_segment(Walk *walk, const char *directory, int segment)
{
	const char *pattern = walk->segments[segment];

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (pattern == NULL)
		return;
	if (strcmp(pattern, "**") == 0)
	{
		if (walk->segments[segment + 1] != NULL)
			walk_segment(walk, directory, segment + 1);
		walk_entries(walk, directory, segment);
	}
	else if (etl_glob_has_wildcard(pattern))
		walk_entries(walk, directory, segment);
	else if (walk->segments[segment + 1] == NULL)
		add_file(walk, join(directory, pattern), false);
	else
	{
		char	   *path = join(directory, pattern);

		if (is_directory(walk, path, true))
			walk_segment(walk, path, segment + 1);
	}
}

/*
 * compare_paths orders matches by name.
 */
static int
compare_paths(const ListCell *a, const ListCell *b)
{
	return strcmp(((EtlFileMatch *) lfirst(a))->path, ((EtlFileMatch *) lfirst(b))->path);
}

/*
 * split cuts a pattern into its segments; "**" at the end means every file
 * below.
 */
static char **
split(const char *pattern)
{
	char	   *copy = pstrdup(pattern);
	char	  **segments = palloc0(sizeof(char *) * (strlen(pattern) + 3));
	char	   *rest = NULL;
	int			n = 0;

	for (char *part = strtok_r(copy, "/", &rest); part; part = strtok_r(NULL, "/", &rest))
		if (!(strcmp(part, "**") == 0 && n > 0 && strcmp(segments[n - 1], "**") == 0))
			segments[n++] = part;
	if (n > 0 && strcmp(segments[n - 1], "**") == 0)
		segments[n++] = pstrdup("*");
	return segments;
}

/*
 * literal_prefix returns the part of a pattern before its first segment with
 * a wildcard, and the rest in *rest (NULL when there is none).
 */
static char *
literal_prefix(const char *pattern, const char **rest)
{
	const char *wildcard = strpbrk(pattern, "*?[");
	const char *slash = wildcard;

	*rest = NULL;
	if (wildcard == NULL)
		return pstrdup(pattern);
	while (slash > pattern && *slash != '/')
		slash--;
	*rest = slash + 1;
	return slash == pattern ? pstrdup("/") : pnstrdup(pattern, slash - pattern);
}

/*
 * etl_glob_missing: see paths.h.
 */
char *
etl_glob_missing(const char *root, const char *pattern)
{
	const char *rest;
	char	   *directory;

	/* a name with members of an archive behind it is no path */
	if (strchr(pattern, '!') != NULL)
		return NULL;
	directory = literal_prefix(is_absolute_path(pattern) || root == NULL ?
								   pstrdup(pattern) :
								   join(root, pattern),
							   &rest);

	if (rest == NULL)
		get_parent_directory(directory);
	return access(directory, F_OK) < 0 && errno == ENOENT ? directory : NULL;
}

List *
etl_glob(const char *pattern, void (*check)(void *arg, const char *real_path), void *arg)
{
	Walk		walk = {0};
	const char *rest;
	char	   *prefix = literal_prefix(pattern, &rest);
	char		base[PATH_MAX];
	List	   *unique = NIL;
	const char *previous = NULL;
	ListCell   *cell;

	walk.check = check;
	walk.arg = arg;

	/* judged also when it does not exist, so that nobody can probe the disk */
	check(arg, etl_path_existing(prefix));
	if (rest == NULL)
		add_file(&walk, prefix, true);
	else if (realpath(prefix, base) != NULL)
	{
		walk.segments = split(rest);
		walk_segment(&walk, base, 0);
	}

	list_sort(walk.matches, compare_paths);
	foreach(cell, walk.matches)
	{
		EtlFileMatch *match = lfirst(cell);

		if (previous == NULL || strcmp(previous, match->path) != 0)
			unique = lappend(unique, match);
		previous = match->path;
	}
	return unique;
}
