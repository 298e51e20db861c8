/*-------------------------------------------------------------------------
 *
 * part.c
 *    The loadable part etl_archive: bzip2, xz, zip and tar, by libarchive.
 *
 *-------------------------------------------------------------------------
 */
#include "archive.h"

#include "fmgr.h"

#include "common/errors.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT const EtlArchivePart *etl_archive_part(void);

/*
 * archive_failed raises the library's error.
 */
void
archive_failed(struct archive *archive, const char *origin)
{
	const char *reason = archive_error_string(archive);

	/* how the filters of bzip2 and xz say that they want more than there is */
	if (reason != NULL && (strcmp(reason, "truncated bzip2 input") == 0 ||
						   strcmp(reason, "Lzma library error:  No progress is possible") == 0))
		reason = "it ends early";

	if (archive_errno(archive) == ENOMEM)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("\"%s\" is corrupt: %s", origin,
					reason == NULL || strcmp(reason, "Unrecognized archive format") == 0 ?
						"it is no archive, or not a whole one" :
						reason),
			 errhint("Get the file again, or test it with the program that it was packed with.")));
}

static const EtlArchivePart part = {
	.abi_version = ETL_PART_ABI,
	.open = members_open,
	.next = members_next,
	.read = members_read,
	.packed = members_packed,
	.close = members_close,
	.unpack = unpack_stream,
};

const EtlArchivePart *
etl_archive_part(void)
{
	return &part;
}
