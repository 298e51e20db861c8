/*-------------------------------------------------------------------------
 *
 * members.c
 *    The members of a zip or tar archive, one after the other, as streams.
 *
 * Only these formats and only filters that the library computes itself are
 * switched on: some of its others would start programs.  Nothing is ever
 * written to disk, so that names like ../../x are names and no more.
 *
 *-------------------------------------------------------------------------
 */
#include "archive.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/errors.h"

typedef struct Members
{
	struct archive *archive;
	char	   *origin;
	char	   *name;			/* of the member at hand */
	bool		encrypted;
	MemoryContextCallback callback;
} Members;

/*
 * free_archive returns what the library took from malloc.
 */
static void
free_archive(void *arg)
{
	Members    *members = arg;

	if (members->archive != NULL)
		archive_read_free(members->archive);
	members->archive = NULL;
}

/*
 * make_reader switches on what is read.
 */
static struct archive *
make_reader(void)
{
	struct archive *archive = archive_read_new();

	if (archive == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	/* by its directory, at the end: without it nobody knows whether members are missing */
	(void) archive_read_support_format_zip_seekable(archive);
	(void) archive_read_support_format_tar(archive);
	(void) archive_read_support_filter_gzip(archive);
	(void) archive_read_support_filter_bzip2(archive);
	(void) archive_read_support_filter_xz(archive);
	(void) archive_read_support_filter_zstd(archive);
	(void) archive_read_support_filter_lz4(archive);
	return archive;
}

void *
members_open(int fd, const char *origin)
{
	Members    *members = palloc0(sizeof(Members));

	members->origin = pstrdup(origin);
	members->callback.func = free_archive;
	members->callback.arg = members;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &members->callback);
	members->archive = make_reader();
	if (archive_read_open_fd(members->archive, fd, ARCHIVE_BLOCK) != ARCHIVE_OK)
		archive_failed(members->archive, origin);
	return members;
}

/*
 * name_of returns the name of a member in the server encoding; bytes that are
 * no text become question marks.
 */
static char *
name_of(struct archive_entry *entry)
{
	const char *utf8 = archive_entry_pathname_utf8(entry);
	const char *name = utf8 ? utf8 : archive_entry_pathname(entry);
	char	   *copy = pstrdup(name ? name : "");

	if (pg_verify_mbstr(PG_UTF8, copy, strlen(copy), true))
		return pg_any_to_server(copy, strlen(copy), PG_UTF8);
	for (char *p = copy; *p; p++)
		if (*p & 0x80)
			*p = '?';
	return copy;
}

/*
 * pass_over goes behind the member at hand.  The library would read through
 * one within a packed archive without ever asking whether to stop.
 */
static void
pass_over(Members *members)
{
	char	   *buffer;

	if (members->name == NULL || archive_filter_count(members->archive) < 2)
		return;
	buffer = palloc(ARCHIVE_BLOCK);
	for (;;)
	{
		la_ssize_t	n = archive_read_data(members->archive, buffer, ARCHIVE_BLOCK);

		CHECK_FOR_INTERRUPTS();
		if (n < 0)
			archive_failed(members->archive, members->origin);
		if (n == 0)
			break;
	}
	pfree(buffer);
}

/*
 * check_end raises ET007 for a tar archive that stops between two members,
 * without the empty blocks that end it.
 */
static void
check_end(const Members *members)
{
	if ((archive_format(members->archive) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_TAR &&
		archive_filter_bytes(members->archive, 0) == archive_read_header_position(members->archive))
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("\"%s\" is corrupt: it ends early", members->origin),
				 errdetail("The mark at its end is missing, and members may be."),
				 errhint("Get the file again.")));
}

bool
members_next(void *state, EtlMember *member)
{
	Members    *members = state;
	struct archive_entry *entry;
	int			result;

	pass_over(members);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		result = archive_read_next_header(members->archive, &entry);
		if (result == ARCHIVE_EOF)
		{
			check_end(members);
			return false;
		}
		if (result < ARCHIVE_WARN)
			archive_failed(members->archive, members->origin);
		if (archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == NULL)
			break;
	}
	if (members->name)
		pfree(members->name);
	members->name = MemoryContextStrdup(GetMemoryChunkContext(members), name_of(entry));
	members->encrypted = archive_entry_is_encrypted(entry) != 0;
	member->name = members->name;
	member->size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1;
	member->encrypted = members->encrypted;
	return true;
}

size_t
members_read(void *state, char *buffer, size_t size)
{
	Members    *members = state;
	la_ssize_t	n;

	if (members->encrypted)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("member \"%s\" of \"%s\" is encrypted with a password", members->name,
						members->origin),
				 errhint("Deliver it without, or encrypt it with PGP and set the option decrypt.")));
	n = archive_read_data(members->archive, buffer, size);
	if (n < 0)
		archive_failed(members->archive, psprintf("%s!%s", members->origin, members->name));
	return n;
}

int64
members_packed(void *state)
{
	return archive_filter_bytes(((Members *) state)->archive, -1);
}

void
members_close(void *state)
{
	free_archive(state);
}
