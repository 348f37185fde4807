#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ingest/udp/receive.h"
#include "base/clock.h"

/* As many as one redo note can commit. The first buffers are used again and again, so they stay in
 * the cache. */
#define MMSG_BATCH 64u
#define MMSG_TURNS 64u /* full batches after which the loop gets to look at other things */
/* Turns after which sockets that were empty are asked again although nothing has waited: the caller
 * is busy with what else it takes. */
#define MMSG_SKIPS 16u

struct mmsg {
	struct iovec iov[MMSG_BATCH];
	unsigned n_buffers;   /* in use: at most MMSG_BATCH */
	unsigned next_socket; /* the one to read first */
	bool stopped;
	bool found_empty; /* the sockets gave less than was asked for: wait before asking again */
	unsigned full;    /* full batches in a row */
	unsigned skipped; /* turns without a wait since the sockets were found empty */
	unsigned failing; /* bit per socket: not read until receive_retry */
};

static int open_mmsg(struct receive *receive, struct shm_error *error)
{
	struct mmsg *mmsg = calloc(1, sizeof *mmsg);
	if (mmsg == NULL) {
		shm_explain(error, "recvmmsg: no memory");
		return -ENOMEM;
	}
	struct buffers *buffers = receive->buffers;
	mmsg->n_buffers = buffers->n_buffers < MMSG_BATCH ? buffers->n_buffers : MMSG_BATCH;
	for (unsigned i = 0; i < mmsg->n_buffers; i++) {
		mmsg->iov[i] = (struct iovec){buffers->buffer[i].data, BUFFER_DATA_BYTES};
		struct msghdr *header = &buffers->message[i].msg_hdr;
		header->msg_name = buffers->buffer[i].name;
		header->msg_iov = &mmsg->iov[i];
		header->msg_iovlen = 1;
		header->msg_control = buffers->buffer[i].control;
	}
	/* Asking for no datagram shows whether the call is allowed. */
	if (receive->n_sockets > 0 && recvmmsg(receive->socket[0], NULL, 0, MSG_DONTWAIT, NULL) < 0 &&
	    (errno == EPERM || errno == ENOSYS)) {
		int result = -errno;
		shm_explain(error, "recvmmsg: %s", strerror(-result));
		free(mmsg);
		return result;
	}
	receive->own = mmsg;
	return 0;
}

/* Fills buffers from `first` on from one socket; returns how many. */
static unsigned read_socket(struct receive *receive, unsigned socket, unsigned first, unsigned max)
{
	struct mmsg *mmsg = receive->own;
	if (first >= max || (mmsg->failing & 1u << socket) != 0)
		return 0;
	int n = recvmmsg(receive->socket[socket], &receive->buffers->message[first], max - first,
	                 MSG_DONTWAIT, NULL);
	if (n >= 0)
		return (unsigned)n;
	if (errno != EAGAIN && errno != EINTR) {
		receive_failed(receive, errno);
		mmsg->failing |= 1u << socket;
	}
	return 0;
}

static unsigned take_mmsg(struct receive *receive, uint16_t *index, unsigned max)
{
	struct mmsg *mmsg = receive->own;
	if (mmsg->found_empty && receive->n_also > 0 && ++mmsg->skipped >= MMSG_SKIPS)
		mmsg->found_empty = false;
	if (mmsg->stopped || mmsg->found_empty || mmsg->full == MMSG_TURNS)
		return 0;
	mmsg->skipped = 0;
	if (max > mmsg->n_buffers)
		max = mmsg->n_buffers;
	unsigned n = 0;
	for (unsigned i = 0; i < receive->n_sockets; i++)
		n += read_socket(receive, (mmsg->next_socket + i) % receive->n_sockets, n, max);
	mmsg->next_socket++;
	mmsg->found_empty = n < max;
	mmsg->full = n < max ? 0 : mmsg->full + 1;
	for (unsigned i = 0; i < n; i++) {
		(void)buffers_adopt(receive->buffers, i);
		index[i] = (uint16_t)i;
	}
	return n;
}

/* Nothing is lent: the next recvmmsg names its buffers. */
static void give_mmsg(struct receive *receive, const uint16_t *index, unsigned n)
{
	(void)receive;
	(void)index;
	(void)n;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
}

/* Whoever had to sleep longer than batch_wait is not under load and gets its datagram at once;
 * otherwise the rest of batch_wait is slept, so that one call brings many. */
static void wait_mmsg(struct receive *receive, uint64_t timeout_ns)
{
	struct mmsg *mmsg = receive->own;
	struct pollfd poll_fd[BUFFERS_SOCKETS_MAX + RECEIVE_ALSO_MAX];
	if (mmsg->full == MMSG_TURNS) {
		mmsg->full = 0;
		return;
	}
	for (unsigned i = 0; i < receive->n_sockets; i++) {
		bool off = mmsg->stopped || (mmsg->failing & 1u << i) != 0;
		poll_fd[i] = (struct pollfd){.fd = off ? -1 : receive->socket[i], .events = POLLIN};
	}
	for (unsigned i = 0; i < receive->n_also; i++)
		poll_fd[receive->n_sockets + i] = (struct pollfd){.fd = receive->also[i], .events = POLLIN};
	uint64_t begin_ns = clock_monotonic_ns();
	struct timespec timeout = timespec_of(timeout_ns);
	receive->counts.waits++;
	mmsg->found_empty = false;
	if (ppoll(poll_fd, receive->n_sockets + receive->n_also, &timeout, NULL) <= 0)
		return;
	uint64_t slept_ns = clock_monotonic_ns() - begin_ns;
	uint64_t collect_ns = receive->batch_wait_ns < timeout_ns ? receive->batch_wait_ns : timeout_ns;
	if (slept_ns < collect_ns) {
		struct timespec rest = timespec_of(collect_ns - slept_ns);
		(void)nanosleep(&rest, NULL);
	}
}

static void retry_mmsg(struct receive *receive)
{
	((struct mmsg *)receive->own)->failing = 0;
}

static void stop_mmsg(struct receive *receive)
{
	((struct mmsg *)receive->own)->stopped = true;
}

static void close_mmsg(struct receive *receive)
{
	free(receive->own);
	receive->own = NULL;
}

const struct receive_ops receive_mmsg = {
        .name = "recvmmsg",
        .open = open_mmsg,
        .take = take_mmsg,
        .give = give_mmsg,
        .wait = wait_mmsg,
        .retry = retry_mmsg,
        .stop = stop_mmsg,
        .close = close_mmsg,
};
