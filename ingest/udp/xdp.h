/* Packets past the kernel's network stack: the queues of a network card whose AF_XDP sockets the
 * supervisor made for this process (shm/frames.h). They come beside the listener's ordinary sockets
 * and go into the same batches.
 *
 *     queue 0: RX ring --.
 *                        +-- xdp_ready, xdp_take: frame_parse --> batch --redo note--> xdp_give: frames free again
 *     queue 2: RX ring --'                                          '- consumed += n, tail, ledger
 *
 *     gate closed --xdp_begin--> open: the card's packets come here --xdp_shut--> closed: they go to the ordinary sockets
 *
 * What cannot be used (an interface that is gone, an older kernel) is said in the log once, and its
 * gate stays closed: then the ordinary sockets get everything.
 */
#ifndef INGEST_UDP_XDP_H
#define INGEST_UDP_XDP_H

#include "ingest/udp/batch.h"
#include "shm/frames.h"
#include "stage/stage.h"

#define XDP_BATCH 256u /* frames of one turn */

struct xdp_settings {
	const char *interface;
	unsigned frames; /* of the process; 0: the private segment has no room for frames */
	unsigned frame_bytes;
	bool verify; /* UDP checksums */
	/* handed down; n 0: none */
	const struct stage_frames *queue;
	unsigned n;
	int gate;
};

struct xdp_queue {
	struct frames frames;
	struct frames_gate *gate;
	unsigned number; /* of the interface */
};

struct xdp {
	struct xdp_queue queue[FRAMES_QUEUES_MAX];
	unsigned n;    /* in use; 0: there is nothing to take */
	unsigned next; /* the one to look at first */
	bool verify;
	bool open; /* the gates are */
	char interface[32];
	struct frames_gate *gates; /* the whole map */
	size_t gates_bytes;
	uint64_t wakeups; /* times the kernel was told of free frames; the reader sets it to 0 */
};

/* Takes up the queues whose frames lie in the private segment, region 0 of redo; the note of the
 * last life is finished. Their gates are closed. */
void xdp_open(struct xdp *xdp, const struct xdp_settings *settings, const struct segment *private_segment,
              struct redo *redo);

/* Opens the gates: packets come from here on. */
void xdp_begin(struct xdp *xdp);

/* Closes the gates. When it returns, no frame is under way any more: what is in the rings is all
 * that comes. Takes some milliseconds; the second time none. */
void xdp_shut(struct xdp *xdp);

/* The next queue that has frames, and how many of them to take: at most XDP_BATCH. NULL: none
 * has. */
struct xdp_queue *xdp_ready(struct xdp *xdp, uint32_t *n);

/* Parses the first n of its frames into the batch, which is empty, and notes that they are
 * consumed. Returns how many it took: fewer when the lanes have no room for more in one commit, at
 * least one. The caller commits. */
uint32_t xdp_take(const struct xdp *xdp, const struct xdp_queue *queue, struct batch *batch, uint32_t n);

/* Gives the kernel the frames that are consumed; after the commit. */
void xdp_give(struct xdp *xdp, struct xdp_queue *queue);

/* What was lost and is not counted yet, summed in loss: adds to the redo note that it is. */
void xdp_note_losses(struct xdp *xdp, struct redo *redo, uint64_t loss[FRAMES_LOSS_COUNT]);

/* What the programs of the queues in use have counted since they were loaded. */
uint64_t xdp_redirected(const struct xdp *xdp);
uint64_t xdp_passed(const struct xdp *xdp, enum frames_passed why);

/* Of the queues in use the slowest; FRAMES_NONE when there are none. */
enum frames_mode xdp_mode(const struct xdp *xdp);

/* A count of the interface (/sys/class/net/I/statistics): "rx_dropped". 0 when it cannot be told. */
uint64_t xdp_interface_count(const struct xdp *xdp, const char *name);

/* One line for people: mode and queues. */
void xdp_tell(const struct xdp *xdp, char *text, size_t size);

/* The sockets stay the caller's; gates that are open stay so. Zeroed memory is fine. */
void xdp_close(struct xdp *xdp);

#endif
