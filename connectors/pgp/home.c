/*-------------------------------------------------------------------------
 *
 * home.c
 *    A private home for gpg, with an agent of its own.
 *
 * gpg works with the keys of a directory, which its agent guards.  Each
 * message gets a directory of its own, in memory where the system has such a
 * place, and an agent started by a watcher: a shell that does nothing but
 * wait for the end of a pipe whose other end is the backend's.  However the
 * backend ends, kill -9 included, the kernel closes that pipe; the watcher
 * then removes the directory, and without it the agent ends.
 *
 *-------------------------------------------------------------------------
 */
#include "pgp.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"

#include "common/errors.h"

#define START_SECONDS 60
#define READY		  "ready\n"

/* waits for its input to end; $0 is the home */
static const char watch[] =
	"echo ready; exec 2>/dev/null >&2; while read -r line; do :; done; rm -rf -- \"$0\"";

/*
 * home_end closes the lifeline and waits, not long, for the watcher.
 */
static void
home_end(void *arg)
{
	PgpHome    *home = arg;

	if (home->lifeline >= 0)
		close(home->lifeline);
	home->lifeline = -1;
	if (home->watcher > 0)
	{
		/* a callback may not raise; what lives longer than a second ends by itself */
		for (int i = 0; i < 100 && waitpid(home->watcher, NULL, WNOHANG) == 0; i++)
			pg_usleep(10000);
	}
	else if (home->path[0] != '\0')
	{
		/* it was never populated: nobody watches over it yet */
		char		file[MAXPGPATH];

		snprintf(file, sizeof(file), "%s/gpg.conf", home->path);
		(void) unlink(file);
		(void) rmdir(home->path);
	}
	home->watcher = 0;
	home->path[0] = '\0';
}

/*
 * make_directory makes the home, readable by nobody else.
 */
static void
make_directory(PgpHome *home)
{
	/* nobody is asked, nothing is fetched, and only the agent below is used */
	static const char configuration[] =
		"no-autostart\nbatch\nno-tty\ntrust-model always\nno-auto-key-locate\nno-auto-check-trustdb\n";
	char		path[MAXPGPATH];
	int			fd;

	strlcpy(home->path, access("/dev/shm", W_OK) == 0 ? "/dev/shm/etl-pgp.XXXXXX" : "/tmp/etl-pgp.XXXXXX",
			sizeof(home->path));
	if (mkdtemp(home->path) == NULL)
	{
		home->path[0] = '\0';
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not make a directory for gpg: %m"),
				 errhint("The server must be able to write /dev/shm or /tmp.")));
	}
	snprintf(path, sizeof(path), "%s/gpg.conf", home->path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0 || write(fd, configuration, sizeof(configuration) - 1) != sizeof(configuration) - 1)
	{
		int			saved_errno = errno;

		if (fd >= 0)
			close(fd);
		errno = saved_errno;
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", path)));
	}
	close(fd);
}

/*
 * close_others closes what a new program must not inherit: the server's files
 * and its connections.
 */
static void
close_others(void)
{
	long		most = sysconf(_SC_OPEN_MAX);
	DIR		   *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	if (directory == NULL)
	{
		for (int fd = 3; fd < most; fd++)
			close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL)
	{
		long		fd = strtol(entry->d_name, NULL, 10);

		if (fd > 2 && fd != dirfd(directory))
			close(fd);
	}
	closedir(directory);
}

/*
 * run_agent is the child: it becomes the agent's starter, and then the
 * watcher.  Signals to the backend's process group are not for it.
 */
pg_noreturn static void
run_agent(const PgpHome *home, int input, int output)
{
	const char *const argv[] = {"gpg-agent", "--homedir", home->path, "--quiet", "--s2k-count",
								"65536", "--daemon", "--", "/bin/sh", "-c",
								watch, home->path, NULL};
	sigset_t	none;

	setsid();
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(input, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2)
	{
		static const char missing[] = "there is no program gpg-agent\n";

		close_others();
		execvp(argv[0], (char *const *) argv);
		if (write(2, missing, sizeof(missing) - 1) < 0)
			_exit(127);
	}
	_exit(127);
}

/*
 * start_agent starts the agent; returns the end of the pipe that tells when it
 * is there.
 */
static int
start_agent(PgpHome *home)
{
	int			life[2];
	int			ready[2];
	sigset_t	all;
	sigset_t	before;
	pid_t		pid;

	if (pipe2(life, O_CLOEXEC) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not make a pipe: %m")));
	if (pipe2(ready, O_CLOEXEC) < 0)
	{
		close(life[0]);
		close(life[1]);
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not make a pipe: %m")));
	}
	/* no handler of the server's may run in the child */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		run_agent(home, life[0], ready[1]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(life[0]);
	close(ready[1]);
	if (pid < 0)
	{
		close(life[1]);
		close(ready[0]);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not start gpg-agent: %m")));
	}
	home->lifeline = life[1];
	home->watcher = pid;
	return ready[0];
}

/*
 * await_agent reads what the agent's start prints until it is there; false
 * when it is not, with what it said.
 */
static bool
await_agent(int fd, char *said, size_t size)
{
	size_t		length = 0;

	for (int i = 0; i < START_SECONDS * 5 && length < size - 1; i++)
	{
		struct pollfd waits = {.fd = fd, .events = POLLIN};

		CHECK_FOR_INTERRUPTS();
		if (poll(&waits, 1, 200) > 0)
		{
			ssize_t		n = read(fd, said + length, size - 1 - length);

			if (n <= 0)
				break;
			length += n;
			said[length] = '\0';
			if (length >= strlen(READY) && strcmp(said + length - strlen(READY), READY) == 0)
				return true;
		}
	}
	return false;
}

void
home_begin(PgpHome *home, const char *origin)
{
	char		said[1024] = "";
	volatile bool there = false;
	int			fd;

	home->path[0] = '\0';
	home->lifeline = -1;
	home->watcher = 0;
	home->callback.func = home_end;
	home->callback.arg = home;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &home->callback);
	make_directory(home);
	fd = start_agent(home);
	PG_TRY();
	{
		there = await_agent(fd, said, sizeof(said));
	}
	PG_FINALLY();
	{
		close(fd);
	}
	PG_END_TRY();
	if (!there)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("\"%s\" is encrypted with PGP, and gpg-agent does not start", origin),
				 said[0] ? errdetail("It says: %s", said) : 0,
				 errhint("Install it: apt-get install gpg gpg-agent.")));
}
