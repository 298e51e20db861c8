/*-------------------------------------------------------------------------
 *
 * paths.h
 *    Which files of the server may be read, and opening them safely.
 *
 * Called by the file connector, and by secrets kept in files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CONNECTOR_PATHS_H
#define ETL_CONNECTOR_PATHS_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

typedef struct EtlFileMatch
{
	char	   *path;			/* real path: absolute, no symlink in it */
	int64		size;
	TimestampTz mtime;
} EtlFileMatch;

/* paths.c: raises ET004 or 42501 unless 'owner' may read under this real path */
extern void etl_path_check(const char *owner, const char *real_path);

/* paths.c: true when 'path' is 'directory' or lies below it; both canonical */
extern bool etl_path_is_below(const char *path, const char *directory);

/* paths.c: real path of the deepest existing part of 'path' */
extern char *etl_path_existing(const char *path);

/*
 * paths.c: opens a real path for reading without following any symlink;
 * returns -1 with errno set.  The descriptor is the kernel's: the caller
 * closes it.
 */
extern int etl_path_open(const char *real_path);

/* paths.c: the same for a directory, whose entries are then named relative to it */
extern int etl_path_open_directory(const char *real_path);

/*
 * glob.c: regular files that match an absolute pattern, each once, by name.
 * 'check' is called with the real path of everything before it is used.
 */
extern List *etl_glob(const char *pattern, void (*check)(void *arg, const char *real_path),
					  void *arg);
extern bool etl_glob_has_wildcard(const char *pattern);

/*
 * glob.c: the directory in front of a pattern's wildcards when it does not
 * exist, else NULL; for patterns that etl_glob() has judged.
 */
extern char *etl_glob_missing(const char *root, const char *pattern);

#endif							/* ETL_CONNECTOR_PATHS_H */
