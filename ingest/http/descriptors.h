/* What the io_uring back-end names a connection's socket by.
 *
 *     direct:  the slot itself, an index into the ring's table of direct descriptors; the kernel chooses a free one
 *     plain:   an ordinary descriptor, looked up by the slot, which is chosen here
 *
 * Direct ones cost less, but before Linux 6.14 the socket of a closed one stays open for as long as
 * an older request on any of them is under way (liburing issue 1192): one idle connection would
 * keep all that were closed after it, and their peers would never see an end.
 */
#ifndef INGEST_HTTP_DESCRIPTORS_H
#define INGEST_HTTP_DESCRIPTORS_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "ingest/http/slot_list.h"

/* All zero: direct ones. */
struct descriptors {
	int *fd;                    /* of each slot that is taken; NULL: they are direct */
	uint32_t *free;             /* slots that were taken and are free again: the last n_free are */
	uint32_t n, n_free, n_used; /* slots; how many are in `free`; how many were ever taken */
};

/* Of n slots, plain ones. False when there is no memory; descriptors_fini after either. */
static inline bool descriptors_init(struct descriptors *descriptors, uint32_t n)
{
	*descriptors = (struct descriptors){.fd = malloc(n * sizeof *descriptors->fd),
	                                    .free = malloc(n * sizeof *descriptors->free),
	                                    .n = n};
	return descriptors->fd != NULL && descriptors->free != NULL;
}

/* The descriptors themselves are the caller's to close. */
static inline void descriptors_fini(struct descriptors *descriptors)
{
	free(descriptors->fd);
	free(descriptors->free);
	*descriptors = (struct descriptors){0};
}

static inline bool descriptors_are_plain(const struct descriptors *descriptors)
{
	return descriptors->fd != NULL;
}

/* The slot of a connection that was just accepted as `accepted`; SLOT_NONE: none is free. */
static inline uint32_t descriptors_take(struct descriptors *descriptors, int accepted)
{
	if (!descriptors_are_plain(descriptors))
		return (uint32_t)accepted;
	if (descriptors->n_free == 0 && descriptors->n_used == descriptors->n)
		return SLOT_NONE;
	uint32_t slot =
	        descriptors->n_free > 0 ? descriptors->free[--descriptors->n_free] : descriptors->n_used++;
	descriptors->fd[slot] = accepted;
	return slot;
}

/* The slot of a connection that is closed. */
static inline void descriptors_give(struct descriptors *descriptors, uint32_t slot)
{
	if (!descriptors_are_plain(descriptors))
		return;
	descriptors->fd[slot] = -1;
	descriptors->free[descriptors->n_free++] = slot;
}

/* What a request of the slot names, with the flags below. */
static inline int descriptors_of(const struct descriptors *descriptors, uint32_t slot)
{
	return descriptors_are_plain(descriptors) ? descriptors->fd[slot] : (int)slot;
}

static inline unsigned char descriptors_flags(const struct descriptors *descriptors)
{
	return descriptors_are_plain(descriptors) ? 0 : IOSQE_FIXED_FILE;
}

#endif
