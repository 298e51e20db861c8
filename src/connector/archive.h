/*-------------------------------------------------------------------------
 *
 * archive.h
 *    Members of zip and tar archives as files of their own.
 *
 * Included only by src/connector/archive.c and file.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CONNECTOR_ARCHIVE_H
#define ETL_CONNECTOR_ARCHIVE_H

#include <sys/stat.h>

#include "etl_part.h"
#include "nodes/pg_list.h"

/* An archive as it was when its members were listed. */
typedef struct EtlArchive
{
	char	   *path;			/* real path */
	struct stat status;
	List	   *members;		/* EtlArchiveMember *, by name */
	int			left;			/* members whose load is not done */
} EtlArchive;

typedef struct EtlArchiveMember
{
	EtlArchive *archive;
	char	   *name;
	int64		size;			/* unpacked, -1 unknown */
	int			number;			/* place in the archive */
} EtlArchiveMember;

/* An archive at work; one at a time. */
typedef struct EtlArchiveReader
{
	MemoryContext context;		/* of the part's state; NULL: none is open */
	const EtlArchivePart *part;
	EtlArchive *archive;
	void	   *state;
	int			number;			/* of the member at hand, -1 before the first */
	int64		read;			/* bytes of it */
	int64		packed;			/* bytes of the file before it */
	int			limit;			/* how many times its size a member may grow */
} EtlArchiveReader;

/* "in/x.zip!*.csv" → "in/x.zip" and "*.csv"; false: the path names no member */
extern bool etl_archive_split(const char *path, char **archive, char **members);
/* by its ending */
extern bool etl_archive_named(const char *path);

/* whether a member's name matches: * ? [a-z] within a name, ** over folders */
extern bool etl_archive_match(const char *pattern, const char *name);

/* lists the members of an open file that match; 'fd' is at its beginning */
extern EtlArchive *etl_archive_list(int fd, const char *path, const struct stat *status, const char *pattern);

/*
 * etl_archive_ready tells whether the open archive can go on to a member;
 * false: it must be opened anew, with etl_archive_begin.
 */
extern bool etl_archive_ready(const EtlArchiveReader *reader, const EtlArchiveMember *member);
extern void etl_archive_begin(EtlArchiveReader *reader, EtlArchive *archive, int fd);
extern size_t etl_archive_read(EtlArchiveReader *reader, const EtlArchiveMember *member, char *buffer,
							   size_t size);
extern void etl_archive_end(EtlArchiveReader *reader);

#endif							/* ETL_CONNECTOR_ARCHIVE_H */
