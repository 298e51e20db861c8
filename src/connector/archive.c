/*-------------------------------------------------------------------------
 *
 * archive.c
 *    Members of zip and tar archives as files of their own.
 *
 * A member is named by the path of its archive, an exclamation mark and its
 * name.  Members are listed and handed out by name; they are read as streams,
 * so that neither memory nor disk holds one.  Reading goes forward: a member
 * in front of the one at hand is reached from the beginning again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fnmatch.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/part.h"
#include "connector/archive.h"
#include "decode/decode.h"

#define MAX_MEMBERS 100000

static const char *const endings[] = {".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz",
									  ".txz", ".tar.zst", ".tar.lz4"};

/*
 * ends_like_archive tells whether the first 'length' bytes of a path end like
 * the name of an archive.
 */
static bool
ends_like_archive(const char *path, size_t length)
{
	for (int i = 0; i < lengthof(endings); i++)
	{
		size_t		n = strlen(endings[i]);

		if (length > n && pg_strncasecmp(path + length - n, endings[i], n) == 0)
			return true;
	}
	return false;
}

bool
etl_archive_named(const char *path)
{
	return ends_like_archive(path, strlen(path));
}

bool
etl_archive_split(const char *path, char **archive, char **members)
{
	for (const char *mark = strchr(path, '!'); mark != NULL; mark = strchr(mark + 1, '!'))
		if (ends_like_archive(path, mark - path))
		{
			*archive = pnstrdup(path, mark - path);
			*members = pstrdup(mark + 1);
			return true;
		}
	return false;
}

/*
 * match_segments matches a name against a pattern, folder by folder.
 */
static bool
match_segments(const char *pattern, const char *name)
{
	const char *pattern_end = strchr(pattern, '/');
	const char *name_end = strchr(name, '/');
	char	   *part = pattern_end ? pnstrdup(pattern, pattern_end - pattern) : pstrdup(pattern);
	char	   *entry = name_end ? pnstrdup(name, name_end - name) : pstrdup(name);

	check_stack_depth();
	if (strcmp(part, "**") == 0)
	{
		/* at the end it means every file below */
		if (match_segments(pattern_end ? pattern_end + 1 : "*", name))
			return true;
		return name_end != NULL && entry[0] != '.' && match_segments(pattern, name_end + 1);
	}
	if (fnmatch(part, entry, FNM_PERIOD) != 0)
		return false;
	if (pattern_end == NULL || name_end == NULL)
		return pattern_end == NULL && name_end == NULL;
	return match_segments(pattern_end + 1, name_end + 1);
}

bool
etl_archive_match(const char *pattern, const char *name)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl member name",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	bool		matches;

	while (strncmp(name, "./", 2) == 0)
		name += 2;
	matches = match_segments(pattern, name);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return matches;
}

/*
 * compare_members orders by name; of two with one name the later first.
 */
static int
compare_members(const ListCell *a, const ListCell *b)
{
	const EtlArchiveMember *left = lfirst(a);
	const EtlArchiveMember *right = lfirst(b);
	int			order = strcmp(left->name, right->name);

	return order != 0 ? order : right->number - left->number;
}

/*
 * drop_former keeps the last member of each name, as unpacking would.
 */
static List *
drop_former(List *members)
{
	List	   *result = NIL;
	const char *name = NULL;
	ListCell   *cell;

	foreach(cell, members)
	{
		EtlArchiveMember *member = lfirst(cell);

		if (name == NULL || strcmp(name, member->name) != 0)
			result = lappend(result, member);
		name = member->name;
	}
	return result;
}

EtlArchive *
etl_archive_list(int fd, const char *path, const struct stat *status, const char *pattern)
{
	EtlArchive *archive = palloc0(sizeof(EtlArchive));
	EtlArchiveReader reader = {0};
	EtlMember	found;

	archive->path = pstrdup(path);
	archive->status = *status;
	etl_archive_begin(&reader, archive, fd);
	for (int number = 0; reader.part->next(reader.state, &found); number++)
	{
		EtlArchiveMember *member;

		if (!etl_archive_match(pattern, found.name))
			continue;
		if (list_length(archive->members) == MAX_MEMBERS)
			ereport(ERROR,
					(errcode(ETL_ERR_TOO_LARGE),
					 errmsg("more than %d members of \"%s\" match", MAX_MEMBERS, path),
					 errhint("Unpack it, or name fewer of its members.")));
		member = palloc0(sizeof(EtlArchiveMember));
		member->archive = archive;
		member->name = pstrdup(found.name);
		member->size = found.size;
		member->number = number;
		archive->members = lappend(archive->members, member);
	}
	etl_archive_end(&reader);
	list_sort(archive->members, compare_members);
	archive->members = drop_former(archive->members);
	archive->left = list_length(archive->members);
	return archive;
}

bool
etl_archive_ready(const EtlArchiveReader *reader, const EtlArchiveMember *member)
{
	return reader->context != NULL && reader->archive == member->archive &&
		   reader->number < member->number;
}

/*
 * etl_archive_begin opens an archive; 'fd' stays open until etl_archive_end.
 */
void
etl_archive_begin(EtlArchiveReader *reader, EtlArchive *archive, int fd)
{
	MemoryContext old;

	etl_archive_end(reader);
	reader->part = etl_part_find("archive", psprintf("\"%s\" is an archive", archive->path));
	reader->context = AllocSetContextCreate(CurrentMemoryContext, "etl archive", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(reader->context);
	reader->archive = archive;
	reader->number = -1;
	reader->state = reader->part->open(fd, archive->path);
	MemoryContextSwitchTo(old);
}

void
etl_archive_end(EtlArchiveReader *reader)
{
	if (reader->context != NULL)
		MemoryContextDelete(reader->context);
	reader->context = NULL;
	reader->archive = NULL;
}

/*
 * etl_archive_read reads on in a member, going to it first.
 */
size_t
etl_archive_read(EtlArchiveReader *reader, const EtlArchiveMember *member, char *buffer, size_t size)
{
	EtlMember	found;
	size_t		n;

	while (reader->number < member->number)
	{
		/* what a member needs is read before its head is known to be its own */
		reader->packed = reader->part->packed(reader->state);
		if (!reader->part->next(reader->state, &found))
			ereport(ERROR,
					(errcode(ETL_ERR_PROTOCOL),
					 errmsg("archive \"%s\" changed while it was read", reader->archive->path),
					 errhint("Let producers write under another name and rename when complete.")));
		reader->number++;
		reader->read = 0;
	}
	n = reader->part->read(reader->state, buffer, size);
	reader->read += n;
	if (reader->read >= ETL_EXPANSION_FREE)
	{
		char	   *origin = psprintf("%s!%s", reader->archive->path, member->name);

		etl_expansion_check(origin, reader->part->packed(reader->state) - reader->packed, reader->read,
							reader->limit);
		pfree(origin);
	}
	return n;
}
