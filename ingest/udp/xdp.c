#include "ingest/udp/xdp.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/udp/frame.h"

#define REGION    0u /* of the redo note: the private segment */
#define AHEAD     8u /* frames that are fetched before their turn */
#define SETTLE_NS (50 * NS_PER_MS)

/* ---- joining ---- */

static int map_gates(struct xdp *xdp, const struct xdp_settings *settings)
{
	unsigned n = 0;
	for (unsigned i = 0; i < settings->n; i++)
		if (settings->queue[i].queue >= n)
			n = settings->queue[i].queue + 1;
	xdp->gates_bytes = n * sizeof *xdp->gates;
	void *map = mmap(NULL, xdp->gates_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, settings->gate, 0);
	if (map == MAP_FAILED)
		return -errno;
	xdp->gates = map;
	return 0;
}

/* Queue i of those handed down becomes one in use. */
static int take_up(struct xdp *xdp, const struct xdp_settings *settings, struct frames_head *head, unsigned i,
                   struct redo *redo, struct shm_error *error)
{
	const struct stage_frames *handed = &settings->queue[i];
	unsigned each = frames_each(settings->frames, settings->n);
	/* in case nobody has closed it after the last life */
	__atomic_store_n(&xdp->gates[handed->queue].open, 0, __ATOMIC_RELEASE);
	if (handed->count != each) {
		shm_explain(error, "it has %u frames, the configuration in force gives it %u", handed->count,
		            each);
		return -EINVAL;
	}
	struct xdp_queue *queue = &xdp->queue[xdp->n];
	*queue = (struct xdp_queue){
	        .frames = {.queue = &head->queue[i],
	                   .memory = frames_slice(head, i, each, settings->frame_bytes),
	                   .frame_bytes = settings->frame_bytes},
	        .gate = &xdp->gates[handed->queue],
	        .number = handed->queue,
	};
	uint64_t cookie = frames_cookie(handed->socket);
	if (cookie == 0) {
		shm_explain(error, "its socket has no cookie");
		return -EINVAL;
	}
	int result = frames_map(&queue->frames, handed->socket, each, error);
	if (result != 0)
		return result;
	result = frames_begin(&queue->frames, cookie, redo, REGION, error);
	if (result == 0)
		xdp->n++;
	else
		frames_unmap(&queue->frames);
	return result;
}

void xdp_open(struct xdp *xdp, const struct xdp_settings *settings, const struct segment *private_segment,
              struct redo *redo)
{
	struct shm_error error;
	memset(xdp, 0, sizeof *xdp);
	xdp->verify = settings->verify;
	if (settings->n == 0)
		return;
	snprintf(xdp->interface, sizeof xdp->interface, "%s", settings->interface);
	struct frames_head *head = frames_area(private_segment->body, private_segment->body_bytes,
	                                       settings->frames, settings->frame_bytes);
	int result = settings->n > FRAMES_QUEUES_MAX || head == NULL ? -EINVAL : map_gates(xdp, settings);
	if (result != 0) {
		log_warn(
		        "no packets from the interface: what was handed down does not fit, the ordinary sockets serve",
		        "interface=%s error=\"%s\"", settings->interface, strerror(-result));
		return;
	}
	for (unsigned i = 0; i < settings->n; i++)
		if (take_up(xdp, settings, head, i, redo, &error) != 0)
			log_warn("no packets from a queue, the ordinary sockets serve",
			         "interface=%s queue=%u reason=\"%s\"", settings->interface,
			         settings->queue[i].queue, error.text);
}

void xdp_close(struct xdp *xdp)
{
	for (unsigned i = 0; i < xdp->n; i++)
		frames_unmap(&xdp->queue[i].frames);
	if (xdp->gates != NULL)
		(void)munmap(xdp->gates, xdp->gates_bytes);
	memset(xdp, 0, sizeof *xdp);
}

/* ---- gates ---- */

static void set_gates(struct xdp *xdp, bool open)
{
	for (unsigned i = 0; i < xdp->n; i++)
		__atomic_store_n(&xdp->queue[i].gate->open, open ? 1 : 0, __ATOMIC_RELEASE);
	xdp->open = open;
}

static void wake(struct xdp *xdp, const struct xdp_queue *queue)
{
	if (!frames_want_wake(&queue->frames))
		return;
	frames_wake(queue->frames.socket);
	xdp->wakeups++;
}

void xdp_begin(struct xdp *xdp)
{
	for (unsigned i = 0; i < xdp->n; i++)
		wake(xdp, &xdp->queue[i]); /* xdp_open has given it frames */
	set_gates(xdp, true);
}

void xdp_shut(struct xdp *xdp)
{
	if (!xdp->open)
		return;
	set_gates(xdp, false);
	/* A driver runs the program, and puts what it redirected into the ring, within one section
	 * that RCU waits for, and so does this call (synchronize_rcu in kernel/sched/membarrier.c).
	 * Where it is not to be had, time has to do. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
		(void)nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
}

/* ---- taking ---- */

struct xdp_queue *xdp_ready(struct xdp *xdp, uint32_t *n)
{
	for (unsigned i = 0; i < xdp->n; i++) {
		struct xdp_queue *queue = &xdp->queue[(xdp->next + i) % xdp->n];
		*n = frames_ready(&queue->frames);
		if (*n == 0)
			continue;
		if (*n > XDP_BATCH)
			*n = XDP_BATCH;
		xdp->next = (xdp->next + i + 1) % xdp->n;
		return queue;
	}
	return NULL;
}

static inline void fetch(const struct frame *frame)
{
	__builtin_prefetch(frame->data);
	__builtin_prefetch(frame->data + SHM_LINE);
}

uint32_t xdp_take(const struct xdp *xdp, const struct xdp_queue *queue, struct batch *batch, uint32_t n)
{
	struct frame frame[XDP_BATCH];
	struct burst burst;
	size_t bytes = 0;
	uint32_t i;
	for (i = 0; i < n; i++) {
		(void)frames_look(&queue->frames, i, &frame[i]); /* one that leads astray is empty */
		bytes += frame[i].bytes;
		if (i < AHEAD)
			fetch(&frame[i]);
	}
	bool roomy = batch_reserve(batch, n, bytes);
	for (i = 0; i < n; i++) {
		if (i + AHEAD < n)
			fetch(&frame[i + AHEAD]);
		enum ledger_reason reason = frame_parse(frame[i].data, frame[i].bytes, xdp->verify, &burst);
		if (reason != LEDGER_VALID)
			batch_reject(batch, reason);
		else if (roomy || batch_reserve(batch, 1, burst.bytes) || i == 0)
			batch_parse(batch, &burst);
		else
			break;
	}
	frames_note(&queue->frames, i, &batch->redo, REGION);
	return i;
}

void xdp_give(struct xdp *xdp, struct xdp_queue *queue)
{
	frames_release(&queue->frames);
	wake(xdp, queue);
}

/* ---- what others say ---- */

void xdp_note_losses(struct xdp *xdp, struct redo *redo, uint64_t loss[FRAMES_LOSS_COUNT])
{
	uint64_t now[FRAMES_LOSS_COUNT];
	memset(loss, 0, FRAMES_LOSS_COUNT * sizeof *loss);
	for (unsigned i = 0; i < xdp->n; i++) {
		struct frames_queue *queue = xdp->queue[i].frames.queue;
		if (!frames_losses(xdp->queue[i].frames.socket, now))
			continue;
		for (unsigned k = 0; k < FRAMES_LOSS_COUNT; k++) {
			uint64_t before = atomic_load_explicit(&queue->counted[k], memory_order_relaxed);
			if (now[k] == before)
				continue;
			loss[k] += now[k] - before;
			redo_add(redo, REGION, &queue->counted[k], now[k]);
		}
	}
}

uint64_t xdp_redirected(const struct xdp *xdp)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < xdp->n; i++)
		n += __atomic_load_n(&xdp->queue[i].gate->redirected, __ATOMIC_RELAXED);
	return n;
}

uint64_t xdp_passed(const struct xdp *xdp, enum frames_passed why)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < xdp->n; i++)
		n += __atomic_load_n(&xdp->queue[i].gate->passed[why], __ATOMIC_RELAXED);
	return n;
}

enum frames_mode xdp_mode(const struct xdp *xdp)
{
	unsigned long long mode = xdp->n == 0 ? FRAMES_NONE : FRAMES_ZERO_COPY;
	for (unsigned i = 0; i < xdp->n; i++)
		if (xdp->queue[i].gate->mode < mode)
			mode = xdp->queue[i].gate->mode;
	return (enum frames_mode)mode;
}

uint64_t xdp_interface_count(const struct xdp *xdp, const char *name)
{
	char path[128];
	uint64_t value = 0;
	snprintf(path, sizeof path, "/sys/class/net/%s/statistics/%s", xdp->interface, name);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%" SCNu64, &value) != 1)
		value = 0;
	(void)fclose(file);
	return value;
}

void xdp_tell(const struct xdp *xdp, char *text, size_t size)
{
	int used =
	        snprintf(text, size, "xdp %s on %s, queues", frames_mode_name(xdp_mode(xdp)), xdp->interface);
	for (unsigned i = 0; i < xdp->n && used > 0 && (size_t)used < size; i++)
		used += snprintf(text + used, size - (size_t)used, " %u", xdp->queue[i].number);
}
