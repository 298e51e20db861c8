/*-------------------------------------------------------------------------
 *
 * archive.h
 *    What the files of the archive part share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ARCHIVE_H
#define ETL_ARCHIVE_H

#include "postgres.h"

#include <archive.h>
#include <archive_entry.h>

#include "common/compat.h"
#include "etl_part.h"

#define ARCHIVE_BLOCK (64 * 1024)

/* part.c: ET007 with what the library says, in words */
pg_noreturn extern void archive_failed(struct archive *archive, const char *origin);

/* members.c */
extern void *members_open(int fd, const char *origin);
extern bool members_next(void *state, EtlMember *member);
extern size_t members_read(void *state, char *buffer, size_t size);
extern int64 members_packed(void *state);
extern void members_close(void *state);

/* unpack.c */
extern EtlRead *unpack_stream(EtlRead *input, const char *compression, const char *origin);

#endif							/* ETL_ARCHIVE_H */
