/*-------------------------------------------------------------------------
 *
 * spool.c
 *    Response bodies in an unlinked temporary file.
 *
 * PostgreSQL's own temporary files end with the transaction or raise errors
 * while they are written, inside libcurl's callback.  This one is a kernel
 * descriptor that hangs on the pull's memory context; it has no name, so
 * that a crash leaves nothing behind.  All pages of a pull share it, and it
 * is cut to nothing whenever no page is held.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/file_utils.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "connector/http/http.h"

#define SPOOL_DIRECTORY "base/" PG_TEMP_FILES_DIR

/*
 * close_spool frees the descriptor when the pull's context goes away.
 */
static void
close_spool(void *arg)
{
	HttpSpool  *spool = arg;

	if (spool->fd < 0)
		return;
	close(spool->fd);
	ReleaseExternalFD();
	spool->fd = -1;
}

HttpSpool *
http_spool_open(MemoryContext context)
{
	HttpSpool  *spool = MemoryContextAllocZero(context, sizeof(HttpSpool));
	char		path[MAXPGPATH];

	spool->fd = -1;
	spool->callback.func = close_spool;
	spool->callback.arg = spool;
	MemoryContextRegisterResetCallback(context, &spool->callback);

	/* the server removes files of this prefix after a crash */
	snprintf(path, sizeof(path), "%s/%s%d.etl.XXXXXX", SPOOL_DIRECTORY, PG_TEMP_FILE_PREFIX,
			 MyProcPid);
	(void) MakePGDirectory(SPOOL_DIRECTORY);
	ReserveExternalFD();
	spool->fd = mkstemp(path);
	if (spool->fd < 0 || unlink(path) < 0)
	{
		int			saved_errno = errno;

		if (spool->fd < 0)
			ReleaseExternalFD();
		errno = saved_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create a temporary file in \"%s\": %m", SPOOL_DIRECTORY)));
	}
	return spool;
}

/*
 * http_spool_reuse empties the spool before a page is received, when no
 * earlier one is held any more.
 */
void
http_spool_reuse(HttpSpool *spool)
{
	if (spool->held == 0 && ftruncate(spool->fd, 0) == 0)
		spool->end = 0;
}

/*
 * read_sink reads on from a body.
 */
static size_t
read_sink(void *arg, char *buffer, size_t size)
{
	HttpSinkReader *reader = arg;
	const HttpSink *sink = reader->sink;
	ssize_t		n = Min(size, sink->length - reader->at);

	if (n <= 0)
		return 0;
	if (sink->spool == NULL)
		memcpy(buffer, sink->buffer + reader->at, n);
	else
	{
		n = pread(sink->spool->fd, buffer, n, sink->offset + reader->at);
		if (n <= 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read a temporary file: %m")));
	}
	reader->at += n;
	return n;
}

void
http_sink_reader(HttpSinkReader *reader, const HttpSink *sink)
{
	reader->read.read = read_sink;
	reader->read.arg = reader;
	reader->sink = sink;
	reader->at = 0;
}
