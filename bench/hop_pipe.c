/* A pipe, and a Unix socket of the kind SOCK_SEQPACKET: a message each, many a system call. */
#include "bench/hop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIPE_BYTES 1048576

static int pipes[2], sockets[2]; /* [0] is read, [1] is written; both outlive every turn */

/* ---- pipe ---- */

static const char *pipe_open(void)
{
	if (pipe2(pipes, O_CLOEXEC) != 0)
		return strerror(errno);
	(void)fcntl(pipes[1], F_SETPIPE_SZ, PIPE_BYTES); /* 64 KiB where more is not allowed */
	return NULL;
}

static void pipe_close(void)
{
	close(pipes[0]);
	close(pipes[1]);
}

static void pipe_hand_in(const struct hop_message *message, unsigned n)
{
	const char *at = (const char *)message;
	for (size_t left = n * sizeof *message; left > 0;) {
		ssize_t written = write(pipes[1], at, left);
		if (written < 0)
			hop_fail("pipe", strerror(errno));
		at += written;
		left -= (size_t)written;
	}
}

static char part[HOP_BATCH * sizeof(struct hop_message)];
static size_t in_part; /* bytes */

/* Whole messages; the beginning of the next one stays in part. */
static unsigned pipe_take(struct hop_message *message)
{
	struct pollfd wait = {.fd = pipes[0], .events = POLLIN};
	if (poll(&wait, 1, 100) <= 0)
		return 0;
	ssize_t got = read(pipes[0], part + in_part, sizeof part - in_part);
	if (got <= 0)
		hop_fail("pipe", got < 0 ? strerror(errno) : "closed");
	in_part += (size_t)got;
	unsigned n = (unsigned)(in_part / sizeof *message);
	memcpy(message, part, n * sizeof *message);
	in_part -= n * sizeof *message;
	memmove(part, part + n * sizeof *message, in_part);
	return n;
}

const struct hop_way hop_pipe = {
        .name = "pipe",
        .promise = "lost with its reader",
        .open = pipe_open,
        .close = pipe_close,
        .hand_in = pipe_hand_in,
        .take = pipe_take,
};

/* ---- socket ---- */

static const char *unix_open(void)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0 ? NULL : strerror(errno);
}

static void unix_close(void)
{
	close(sockets[0]);
	close(sockets[1]);
}

/* The headers of sendmmsg and recvmmsg for a batch that lies in one piece. */
static void describe(struct mmsghdr *header, struct iovec *piece, const struct hop_message *message,
                     unsigned n)
{
	memset(header, 0, n * sizeof *header);
	for (unsigned i = 0; i < n; i++) {
		piece[i] = (struct iovec){.iov_base = (void *)(uintptr_t)&message[i],
		                          .iov_len = sizeof *message};
		header[i].msg_hdr.msg_iov = &piece[i];
		header[i].msg_hdr.msg_iovlen = 1;
	}
}

static void unix_hand_in(const struct hop_message *message, unsigned n)
{
	struct mmsghdr header[HOP_BATCH];
	struct iovec piece[HOP_BATCH];
	describe(header, piece, message, n);
	for (unsigned done = 0; done < n;) {
		int sent = sendmmsg(sockets[1], header + done, n - done, 0);
		if (sent < 0)
			hop_fail("Unix socket", strerror(errno));
		done += (unsigned)sent;
	}
}

static unsigned unix_take(struct hop_message *message)
{
	struct mmsghdr header[HOP_BATCH];
	struct iovec piece[HOP_BATCH];
	struct pollfd wait = {.fd = sockets[0], .events = POLLIN};
	if (poll(&wait, 1, 100) <= 0)
		return 0;
	describe(header, piece, message, HOP_BATCH);
	int got = recvmmsg(sockets[0], header, HOP_BATCH, MSG_DONTWAIT, NULL);
	if (got < 0)
		hop_fail("Unix socket", strerror(errno));
	return (unsigned)got;
}

const struct hop_way hop_unix = {
        .name = "unix socket",
        .promise = "lost with its reader",
        .open = unix_open,
        .close = unix_close,
        .hand_in = unix_hand_in,
        .take = unix_take,
};
