#include "ingest/http/transport_requests.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define STOP_TRIES  100u
#define STOP_TRY_NS (10 * NS_PER_MS)

/* A completion that nobody else sees. */
static void handle_stopped(struct requests *requests, const struct io_uring_cqe *cqe)
{
	requests_ended(requests, cqe);
	enum op op = requests_op(cqe);
	bool ordinary =
	        op == OP_INSTALL || (op == OP_ACCEPT && descriptors_are_plain(&requests->descriptors));
	if (ordinary && cqe->res >= 0)
		(void)close(cqe->res);
}

void requests_stop(struct requests *requests)
{
	struct io_uring *io = &requests->ring.io;
	(void)io_uring_submit(io); /* makes room */
	struct io_uring_sqe *sqe = io_uring_get_sqe(io);
	if (sqe == NULL)
		return;
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, OP_UNHEARD);
	for (unsigned n = 0; n < STOP_TRIES && requests->under_way > 0; n++) {
		(void)ring_enter_and_wait(&requests->ring, STOP_TRY_NS);
		const struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		io_uring_for_each_cqe(io, head, cqe)
		{
			seen++;
			handle_stopped(requests, cqe);
		}
		io_uring_cq_advance(io, seen);
	}
}

/* Direct ones go with the ring. One whose request to close has been made is closed by it. */
static void close_plain(struct requests *requests)
{
	for (uint32_t i = 0; i < requests->descriptors.n_used; i++) {
		int fd = descriptors_of(&requests->descriptors, i);
		if (fd >= 0 && (requests->slot[i].state & SLOT_CLOSING) == 0)
			(void)close(fd);
	}
}

void requests_fini(struct requests *requests)
{
	ring_close(&requests->ring);
	close_plain(requests);
	descriptors_fini(&requests->descriptors);
	free(requests->slot);
}
