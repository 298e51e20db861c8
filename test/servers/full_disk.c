/*-------------------------------------------------------------------------
 *
 * full_disk.c
 *    A disk that is full, for a server that is started with this preloaded.
 *
 * While the file exists that ETL_DISK_FULL names, no file below base/ grows:
 * neither relations nor temporary files.  What is written in place, and WAL
 * as on a volume of its own, goes through.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * grows tells whether writing up to 'end' would make such a file longer.
 */
static int
grows(int fd, off_t end)
{
	const char *mark = getenv("ETL_DISK_FULL");
	char		link[64];
	char		path[4096];
	struct stat status;
	ssize_t		length;

	if (mark == NULL || access(mark, F_OK) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = '\0';
	return strstr(path, "/base/") != NULL && fstat(fd, &status) == 0 && end > status.st_size;
}

static int
full(void)
{
	errno = ENOSPC;
	return -1;
}

#define NEXT(name, type) ((type) dlsym(RTLD_NEXT, name))

ssize_t
pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
	return grows(fd, offset + n) ?
			   full() :
			   NEXT("pwrite", ssize_t(*)(int, const void *, size_t, off_t))(fd, bytes, n, offset);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t n, off_t offset)
{
	return pwrite(fd, bytes, n, offset);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	off_t		end = offset;

	for (int i = 0; i < count; i++)
		end += parts[i].iov_len;
	return grows(fd, end) ? full() :
							NEXT("pwritev", ssize_t(*)(int, const struct iovec *, int, off_t))(
								fd, parts, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
	return pwritev(fd, parts, count, offset);
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
	off_t		at = lseek(fd, 0, SEEK_CUR);

	return at >= 0 && grows(fd, at + n) ?
			   full() :
			   NEXT("write", ssize_t(*)(int, const void *, size_t))(fd, bytes, n);
}

int
posix_fallocate(int fd, off_t offset, off_t n)
{
	return grows(fd, offset + n) ?
			   ENOSPC :
			   NEXT("posix_fallocate", int (*)(int, off_t, off_t))(fd, offset, n);
}

int
posix_fallocate64(int fd, off_t offset, off_t n)
{
	return posix_fallocate(fd, offset, n);
}
