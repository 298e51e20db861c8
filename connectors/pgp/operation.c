/*-------------------------------------------------------------------------
 *
 * operation.c
 *    An operation of gpgme that is waited for as the server waits.
 *
 * gpg is a process, which the library talks to through pipes.  The library
 * says which of them it waits for; the waiting is done here, where a cancel
 * is heard within a fraction of a second.
 *
 *-------------------------------------------------------------------------
 */
#include "pgp.h"

#include <poll.h>

#include "miscadmin.h"

#define WAIT_MS 200

/*
 * add_fd is the library's callback: a pipe to wait for.
 */
static gpgme_error_t
add_fd(void *arg, int fd, int reads, gpgme_io_cb_t work, void *data, void **tag)
{
	Operation  *operation = arg;

	for (int i = 0; i < OPERATION_FDS; i++)
	{
		OperationFd *place = &operation->fds[i];

		if (place->work != NULL)
			continue;
		place->work = work;
		place->data = data;
		place->fd = fd;
		place->writes = !reads;
		*tag = place;
		return 0;
	}
	return gpgme_error(GPG_ERR_TOO_MANY);
}

/*
 * remove_fd is the library's callback: nothing more comes through a pipe.
 */
static void
remove_fd(void *tag)
{
	OperationFd *place = tag;

	place->work = NULL;
}

/*
 * note_event is the library's callback: how it ended.
 */
static void
note_event(void *arg, gpgme_event_io_t type, void *data)
{
	Operation  *operation = arg;

	if (type == GPGME_EVENT_DONE)
	{
		const struct gpgme_io_event_done_data *done = data;

		operation->runs = false;
		operation->error = done->err ? done->err : done->op_err;
	}
}

void
operation_attach(Operation *operation, gpgme_ctx_t ctx)
{
	struct gpgme_io_cbs callbacks = {.add = add_fd,
									 .add_priv = operation,
									 .remove = remove_fd,
									 .event = note_event,
									 .event_priv = operation};

	memset(operation, 0, sizeof(Operation));
	operation->runs = true;
	gpgme_set_io_cbs(ctx, &callbacks);
}

void
operation_work(Operation *operation, const bool *enough)
{
	while (operation->runs && (enough == NULL || !*enough))
	{
		struct pollfd waits[OPERATION_FDS];
		int			places[OPERATION_FDS];
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < OPERATION_FDS; i++)
			if (operation->fds[i].work != NULL)
			{
				places[n] = i;
				waits[n].fd = operation->fds[i].fd;
				waits[n].events = operation->fds[i].writes ? POLLOUT : POLLIN;
				waits[n++].revents = 0;
			}
		if (poll(waits, n, WAIT_MS) <= 0)
			continue;
		for (int i = 0; i < n; i++)
		{
			const OperationFd *place = &operation->fds[places[i]];

			/* the work at one pipe may end the others */
			if (waits[i].revents != 0 && place->work != NULL && place->fd == waits[i].fd)
				(void) place->work(place->data, place->fd);
		}
	}
}
