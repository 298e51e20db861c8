/*-------------------------------------------------------------------------
 *
 * file.h
 *    The state of the file connector.
 *
 * Included only by src/connector/file.c and file_done.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CONNECTOR_FILE_H
#define ETL_CONNECTOR_FILE_H

#include "connector/archive.h"
#include "connector/paths.h"

typedef struct FileState
{
	EtlConnectorContext *context;
	char	   *root;			/* real path, NULL when the source has none */
	List	   *matches;		/* EtlFileMatch * */
	int			next;
	int			fd;				/* of the item being read, -1 none */
	struct FileHandle *open;
	int64		settle_ms;
	int			unsettled;		/* files left for a later pull */
	char	   *archive;		/* real path of its directory, NULL: files are not archived */
	bool		deletes;
	char	   *member_pattern; /* the matches are archives, and these of their members are read; or NULL */
	EtlArchive *listed;			/* the archive whose members are handed out */
	int			next_member;
	EtlArchiveReader reader;
} FileState;

typedef struct FileHandle
{
	int64		offset;
	dev_t		device;			/* which file it was when it was listed */
	ino_t		inode;
	EtlArchiveMember *member;	/* NULL: a file */
} FileHandle;

/* raises an error for a real path that this stream may not read; 'arg' is the FileState */
extern void etl_file_check_match(void *arg, const char *real_path);
/* when a file was last written */
extern TimestampTz etl_file_mtime_of(const struct stat *status);
extern void etl_file_close_file(FileState *state);

/* file_done.c */
extern void etl_file_done(void *arg, EtlItem *item);

#endif							/* ETL_CONNECTOR_FILE_H */
