/*-------------------------------------------------------------------------
 *
 * unpack.c
 *    A stream packed with bzip2 or xz, as the bytes that it holds.
 *
 * The library pulls its input through a callback, where nothing may be
 * raised: what the input raises is caught there and raised again behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "archive.h"

#include "utils/memutils.h"

#include "common/errors.h"

typedef struct Unpacker
{
	EtlRead		output;
	EtlRead    *input;
	struct archive *archive;
	char	   *origin;
	bool		empty;			/* the input has no byte */
	ErrorData  *error;			/* of the input */
	MemoryContext context;
	MemoryContextCallback callback;
	char		buffer[ARCHIVE_BLOCK];
} Unpacker;

static void
free_unpacker(void *arg)
{
	Unpacker   *unpacker = arg;

	if (unpacker->archive != NULL)
		archive_read_free(unpacker->archive);
	unpacker->archive = NULL;
}

/*
 * pull_input is the library's callback for more bytes.
 */
static la_ssize_t
pull_input(struct archive *archive, void *arg, const void **buffer)
{
	Unpacker   *unpacker = arg;
	volatile size_t n = 0;

	PG_TRY();
	{
		n = unpacker->input->read(unpacker->input->arg, unpacker->buffer, sizeof(unpacker->buffer));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(unpacker->context);
		unpacker->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (unpacker->error != NULL)
	{
		archive_set_error(archive, EIO, "reading failed");
		return ARCHIVE_FATAL;
	}
	*buffer = unpacker->buffer;
	return n;
}

/*
 * failed raises what the input raised, or what the library says.
 */
pg_noreturn static void
failed(Unpacker *unpacker)
{
	if (unpacker->error != NULL)
		etl_part_rethrow(unpacker->error);
	archive_failed(unpacker->archive, unpacker->origin);
}

static size_t
read_unpacked(void *arg, char *buffer, size_t size)
{
	Unpacker   *unpacker = arg;
	la_ssize_t	n = unpacker->empty ? 0 : archive_read_data(unpacker->archive, buffer, size);

	if (n < 0)
		failed(unpacker);
	return n;
}

EtlRead *
unpack_stream(EtlRead *input, const char *compression, const char *origin)
{
	Unpacker   *unpacker = palloc0(sizeof(Unpacker));
	struct archive_entry *entry;
	int			result;

	unpacker->output.read = read_unpacked;
	unpacker->output.arg = unpacker;
	unpacker->input = input;
	unpacker->origin = pstrdup(origin);
	unpacker->context = CurrentMemoryContext;
	unpacker->callback.func = free_unpacker;
	unpacker->callback.arg = unpacker;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &unpacker->callback);

	unpacker->archive = archive_read_new();
	if (unpacker->archive == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	(void) (strcmp(compression, "xz") == 0 ? archive_read_support_filter_xz(unpacker->archive) :
											 archive_read_support_filter_bzip2(unpacker->archive));
	(void) archive_read_support_format_raw(unpacker->archive);
	(void) archive_read_support_format_empty(unpacker->archive);
	if (archive_read_open(unpacker->archive, unpacker, NULL, pull_input, NULL) != ARCHIVE_OK)
		failed(unpacker);
	if (archive_filter_count(unpacker->archive) < 2)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("\"%s\" is corrupt: it begins like %s and goes on otherwise", origin, compression),
				 errhint("Get the file again, or test it with %s -t.", compression)));
	result = archive_read_next_header(unpacker->archive, &entry);
	/* nothing was packed */
	if (result == ARCHIVE_EOF)
		unpacker->empty = true;
	else if (result < ARCHIVE_WARN)
		failed(unpacker);
	return &unpacker->output;
}
