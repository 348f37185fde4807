#include "ingest/udp/udp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define TICKS_PER_LOOK 10u /* at files that tell of the interface */

static void count(struct udp *udp, enum udp_metric metric, uint64_t n)
{
	metric_add(udp->control, metric, n);
}

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "ingest/udp/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

/* ---- one turn ---- */

static void commit(struct udp *udp)
{
	struct batch *batch = &udp->batch;
	count(udp, UDP_received_datagrams, batch_received(batch));
	count(udp, UDP_received_buffers, batch_buffers_done(batch));
	count(udp, UDP_gro_datagrams, batch->gro_datagrams);
	count(udp, UDP_truncated_buffers, batch->truncated);
	count(udp, UDP_commits, 1);
	batch_commit(batch);
}

static void process(struct udp *udp, const uint16_t *index, unsigned n)
{
	struct batch *batch = &udp->batch;
	batch->arrival_ns = clock_real_ns();
	for (unsigned i = 0; i < n; i++)
		while (!batch_add(batch, index[i])) /* an empty batch takes a datagram at least */
			commit(udp);
	commit(udp);
	metric_observe(udp->control, udp->to_ring, UDP_to_ring_us,
	               clock_since_ns(batch->arrival_ns, clock_real_ns()) / NS_PER_US);
}

static bool poll_frames(struct udp *udp)
{
	struct batch *batch = &udp->batch;
	uint32_t left;
	struct xdp_queue *queue = xdp_ready(&udp->xdp, &left);
	if (queue == NULL)
		return false;
	batch->arrival_ns = clock_real_ns();
	count(udp, UDP_received_frames, left);
	while (left > 0) {
		left -= xdp_take(&udp->xdp, queue, batch, left);
		commit(udp);
	}
	xdp_give(&udp->xdp, queue);
	metric_observe(udp->control, udp->to_ring, UDP_to_ring_us,
	               clock_since_ns(batch->arrival_ns, clock_real_ns()) / NS_PER_US);
	return true;
}

bool udp_poll(struct udp *udp)
{
	uint16_t index[BATCH_BUFFERS];
	bool worked = poll_frames(udp);
	unsigned n = receive_take(&udp->receive, index, BATCH_BUFFERS);
	if (n == 0)
		return worked;
	process(udp, index, n);
	receive_give(&udp->receive, index, n);
	return true;
}

void udp_idle(struct udp *udp, uint64_t timeout_ns)
{
	receive_wait(&udp->receive, udp->drain_until_ns != 0 ? 0 : timeout_ns);
}

void udp_quiet(struct udp *udp)
{
	xdp_shut(&udp->xdp);
}

bool udp_drained(struct udp *udp, uint64_t now_ns)
{
	if (udp->stopped)
		return true;
	udp_quiet(udp);
	if (udp->drain_until_ns == 0)
		udp->drain_until_ns = now_ns + UDP_DRAIN_NS;
	if (now_ns < udp->drain_until_ns && receive_pending(&udp->receive)) {
		receive_wait(&udp->receive, 0);
		return false;
	}
	receive_stop(&udp->receive);
	udp->stopped = true;
	return false; /* what was under way is there to be taken now */
}

/* ---- tick ---- */

/* Regions of the redo note: 0 the private segment, from 1 on the lanes, then what of the sockets'
 * drops is counted. */
#define REGION_DROPS (1 + BATCH_LANES_MAX)
_Static_assert(REGION_DROPS < REDO_REGIONS_MAX, "all regions fit one note");

static uint64_t kernel_drops(int socket)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t bytes = sizeof memory;
	if (getsockopt(socket, SOL_SOCKET, SO_MEMINFO, memory, &bytes) != 0)
		return 0;
	return memory[SK_MEMINFO_DROPS];
}

/* Adds what each socket's drop counter has grown by since it was last counted, by this role or by
 * the one that had the socket before. */
static void account_kernel_drops(struct udp *udp)
{
	struct redo *redo = &udp->batch.redo;
	uint64_t loss[FRAMES_LOSS_COUNT];
	xdp_note_losses(&udp->xdp, redo, loss);
	uint64_t total = loss[FRAMES_RX_DROPPED] + loss[FRAMES_RING_FULL];
	for (unsigned i = 0; i < udp->receive.n_sockets; i++) {
		struct drops_entry *seen = udp->seen[i];
		if (seen == NULL)
			continue;
		uint64_t drops = kernel_drops(udp->receive.socket[i]);
		uint64_t before = atomic_load_explicit(&seen->counted, memory_order_relaxed);
		if (drops == before)
			continue;
		total += (uint32_t)(drops - before); /* the kernel's counter has 32 bits and wraps */
		redo_add(redo, REGION_DROPS, &seen->counted, drops);
	}
	if (redo->note->n == 0)
		return;
	const struct ledger *ledger = &udp->ports.writer[0].stream.shared->ledger;
	redo_add(redo, 1, &ledger->kernel_dropped,
	         atomic_load_explicit(&ledger->kernel_dropped, memory_order_relaxed) + total);
	redo_publish(redo);
	redo_apply(redo);
	count(udp, UDP_kernel_dropped_entries, total);
	count(udp, UDP_xdp_dropped, loss[FRAMES_RX_DROPPED]);
	count(udp, UDP_xdp_ring_full, loss[FRAMES_RING_FULL]);
	count(udp, UDP_xdp_fill_empty, loss[FRAMES_FILL_EMPTY]);
	count(udp, UDP_xdp_invalid, loss[FRAMES_INVALID]);
}
_Static_assert(BUFFERS_SOCKETS_MAX + FRAMES_QUEUES_MAX * FRAMES_LOSS_COUNT + 1 <= REDO_WORDS_MAX,
               "all sockets fit one note");

static uint64_t least_socket_buffer(const struct receive *receive)
{
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < receive->n_sockets; i++) {
		int bytes = 0;
		socklen_t size = sizeof bytes;
		(void)getsockopt(receive->socket[i], SOL_SOCKET, SO_RCVBUF, &bytes, &size);
		if ((uint64_t)bytes < least)
			least = (uint64_t)bytes;
	}
	return receive->n_sockets == 0 ? 0 : least;
}

/* What the kernel, the program on the interface and the card count of the packets. */
static void show_packets(struct udp *udp)
{
	struct xdp *xdp = &udp->xdp;
	struct control *control = udp->control;
	count(udp, UDP_xdp_wakeups, xdp->wakeups);
	xdp->wakeups = 0;
	metric_set(control, UDP_xdp_redirected, xdp_redirected(xdp));
	metric_set(control, UDP_xdp_passed_other, xdp_passed(xdp, FRAMES_PASSED_OTHER));
	metric_set(control, UDP_xdp_passed_form, xdp_passed(xdp, FRAMES_PASSED_FORM));
	metric_set(control, UDP_xdp_passed_source, xdp_passed(xdp, FRAMES_PASSED_SOURCE));
	metric_set(control, UDP_xdp_passed_large, xdp_passed(xdp, FRAMES_PASSED_LARGE));
	metric_set(control, UDP_xdp_passed_closed, xdp_passed(xdp, FRAMES_PASSED_CLOSED));
	if (udp->ticks++ % TICKS_PER_LOOK != 0)
		return;
	metric_set(control, UDP_interface_dropped, xdp_interface_count(xdp, "rx_dropped"));
	metric_set(control, UDP_interface_missed, xdp_interface_count(xdp, "rx_missed_errors"));
}

void udp_tick(struct udp *udp)
{
	struct receive_counts *counts = &udp->receive.counts;
	account_kernel_drops(udp);
	if (udp->xdp.n > 0)
		show_packets(udp);
	receive_retry(&udp->receive);
	count(udp, UDP_waits, counts->waits);
	count(udp, UDP_rearms, counts->rearms);
	count(udp, UDP_enobufs, counts->enobufs);
	count(udp, UDP_receive_failures, counts->failures);
	*counts = (struct receive_counts){0};
}

/* ---- joining ---- */

static int open_ports(struct udp *udp, const struct instance *instance, const char *role,
                      struct shm_error *error)
{
	struct batch *batch = &udp->batch;
	struct ports_wanted wanted = ports_declared(instance, role, batch->format->name);
	wanted.lane = batch->lane;
	wanted.redo = &batch->redo;
	wanted.control = udp->control;
	wanted.recovered_notes = UDP_recovered_notes;
	return ports_open(&udp->ports, &wanted, error);
}

static void recover_buffers(struct udp *udp)
{
	uint16_t index[BATCH_BUFFERS];
	unsigned next = 0, n, buffers = 0;
	uint64_t datagrams =
	        atomic_load_explicit(&udp->control->metric[UDP_received_datagrams], memory_order_relaxed);
	for (unsigned i = 0; i < udp->buffers.n_buffers; i++)
		(void)buffers_adopt(&udp->buffers, i);
	while ((n = buffers_filled(&udp->buffers, &next, index, BATCH_BUFFERS)) > 0) {
		process(udp, index, n);
		buffers += n;
	}
	if (buffers == 0)
		return;
	datagrams =
	        atomic_load_explicit(&udp->control->metric[UDP_received_datagrams], memory_order_relaxed) -
	        datagrams;
	count(udp, UDP_recovered_buffers, buffers);
	count(udp, UDP_recovered_datagrams, datagrams);
	log_info("took up receive buffers of the last life", "buffers=%u datagrams=%llu", buffers,
	         (unsigned long long)datagrams);
}

static int join_private(struct udp *udp, const struct xdp_settings *xdp, const struct instance *instance,
                        const char *role, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	size_t frames_bytes = xdp->frames == 0 ? 0 : frames_area_bytes(xdp->frames, xdp->frame_bytes);
	int result = segment_attach(&udp->private_segment, instance->directory,
	                            instance_private_name(name, role), SEGMENT_PRIVATE, SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	size_t bytes = udp->private_segment.body_bytes;
	result = buffers_init(&udp->buffers, udp->private_segment.body,
	                      bytes > frames_bytes ? bytes - frames_bytes : 0, error);
	if (result != 0)
		return result;
	udp->batch.buffers = &udp->buffers;
	udp->batch.redo.note = &udp->buffers.head->note;
	udp->batch.redo.base[0] = udp->private_segment.body;
	udp->batch.redo.bytes[0] = bytes;
	return 0;
}

static int join_drops(struct udp *udp, const struct instance *instance, struct shm_error *error)
{
	int result = segment_attach(&udp->drops_segment, instance->directory, "drops", SEGMENT_DROPS,
	                            SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	udp->batch.redo.base[REGION_DROPS] = udp->drops_segment.body;
	udp->batch.redo.bytes[REGION_DROPS] = udp->drops_segment.body_bytes;
	return 0;
}

static void find_seen(struct udp *udp)
{
	for (unsigned i = 0; i < udp->receive.n_sockets; i++) {
		uint64_t cookie = 0;
		socklen_t bytes = sizeof cookie;
		if (getsockopt(udp->receive.socket[i], SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0)
			udp->seen[i] = drops_find(udp->drops_segment.body, cookie);
		if (udp->seen[i] == NULL)
			log_warn("what the kernel drops at a socket cannot be told", "socket=%d",
			         udp->receive.socket[i]);
	}
}

static int begin_receiving(struct udp *udp, const struct udp_settings *settings, const int *socket,
                           unsigned n_sockets, struct shm_error *error)
{
	struct receive *receive = &udp->receive;
	if (n_sockets > BUFFERS_SOCKETS_MAX) {
		shm_explain(error, "%u sockets; one process takes at most %u", n_sockets,
		            BUFFERS_SOCKETS_MAX);
		return -EINVAL;
	}
	receive->buffers = &udp->buffers;
	receive->batch_wait_ns = settings->batch_wait_ns;
	receive->n_sockets = n_sockets;
	for (unsigned i = 0; i < n_sockets; i++)
		receive->socket[i] = socket[i];
	for (unsigned i = 0; i < udp->xdp.n; i++)
		receive->also[receive->n_also++] = udp->xdp.queue[i].frames.socket;
	return receive_open(receive, udp->xdp.n > 0 ? RECEIVE_RECVMMSG : settings->backend, error);
}
_Static_assert(FRAMES_QUEUES_MAX <= RECEIVE_ALSO_MAX, "a wait can wait for all queues");

/* What is in the rings was there before this life. */
static void take_up_frames(struct udp *udp, const struct xdp_settings *settings)
{
	uint64_t before =
	        atomic_load_explicit(&udp->control->metric[UDP_received_frames], memory_order_relaxed);
	xdp_open(&udp->xdp, settings, &udp->private_segment, &udp->batch.redo);
	while (poll_frames(udp))
		;
	uint64_t frames =
	        atomic_load_explicit(&udp->control->metric[UDP_received_frames], memory_order_relaxed) -
	        before;
	if (frames == 0)
		return;
	count(udp, UDP_recovered_frames, frames);
	log_info("took up packets of the last life", "packets=%llu", (unsigned long long)frames);
}

int udp_open(struct udp *udp, const struct udp_settings *settings, const struct instance *instance,
             const char *role, const int *socket, unsigned n_sockets, struct control *control,
             struct shm_error *error)
{
	memset(udp, 0, sizeof *udp);
	udp->control = control;
	udp->to_ring = metric_row(metrics, UDP_to_ring_us);
	int result = batch_init(&udp->batch, settings->format, settings->listener);
	if (result != 0)
		shm_explain(error, "no memory for a batch");
	if (result == 0)
		result = join_private(udp, &settings->xdp, instance, role, error);
	if (result == 0)
		result = join_drops(udp, instance, error);
	if (result == 0)
		result = open_ports(udp, instance, role, error);
	if (result == 0) {
		recover_buffers(udp);
		take_up_frames(udp, &settings->xdp);
		result = begin_receiving(udp, settings, socket, n_sockets, error);
	}
	if (result != 0) {
		udp_close(udp);
		return result;
	}
	find_seen(udp);
	metric_set(control, UDP_uring_in_use, udp->receive.ops == &receive_uring);
	metric_set(control, UDP_buffers, udp->buffers.n_buffers);
	metric_set(control, UDP_socket_buffer_bytes, least_socket_buffer(&udp->receive));
	metric_set(control, UDP_xdp_queues, udp->xdp.n);
	metric_set(control, UDP_xdp_mode, xdp_mode(&udp->xdp));
	xdp_begin(&udp->xdp);
	return 0;
}

void udp_close(struct udp *udp)
{
	receive_close(&udp->receive);
	xdp_close(&udp->xdp);
	ports_close(&udp->ports);
	segment_detach(&udp->drops_segment);
	segment_detach(&udp->private_segment);
	batch_fini(&udp->batch);
}

/* ---- the stage ---- */

void udp_read_settings(struct udp_settings *settings, const struct config *config, size_t entry)
{
	*settings = (struct udp_settings){
	        .format = format_find(config_string(config, "ingest.udp[%zu].format", entry)),
	        .listener = (uint16_t)entry,
	        .backend = receive_backend_of(config_string(config, "ingest.udp[%zu].backend", entry)),
	        .batch_wait_ns = config_ns(config, "ingest.udp[%zu].batch_wait", entry),
	};
	if (strcmp(config_string(config, "ingest.udp[%zu].backend", entry), "xdp") != 0)
		return;
	settings->xdp = (struct xdp_settings){
	        .interface = config_string(config, "ingest.udp[%zu].interface", entry),
	        .frames = (unsigned)config_u64(config, "ingest.udp[%zu].frames", entry),
	        .frame_bytes = (unsigned)strtoul(config_string(config, "ingest.udp[%zu].frame_bytes", entry),
	                                         NULL, 10),
	        .verify = strcmp(config_string(config, "ingest.udp[%zu].checksums", entry), "verify") == 0,
	        .gate = -1,
	};
}

/* What of the back-end the configuration does not tell. */
static void tell_backend(struct stage *stage, const struct udp *udp, const struct udp_settings *settings)
{
	const struct receive *receive = &udp->receive;
	char text[CONTROL_NOTE_BYTES];
	if (udp->xdp.n > 0)
		xdp_tell(&udp->xdp, text, sizeof text);
	else if (settings->xdp.frames > 0)
		snprintf(text, sizeof text,
		         "xdp is not in use (the log says why): %s on the ordinary sockets",
		         receive->ops->name);
	else if (receive->denied[0] != '\0')
		snprintf(text, sizeof text, "recvmmsg, no io_uring: %s", receive->denied);
	else
		snprintf(text, sizeof text, "%s", receive->ops == &receive_uring ? "io_uring" : "recvmmsg");
	control_note(stage->control, "%s", text);
	log_info("receiving", "backend=%s sockets=%u buffers=%u queues=%u", udp->receive.ops->name,
	         stage->n_sockets, udp->buffers.n_buffers, udp->xdp.n);
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct udp_settings settings;
	size_t entry;
	if (stage_listener(stage, "ingest.udp", &entry, error) != 0)
		return -EINVAL;
	udp_read_settings(&settings, stage->config, entry);
	settings.xdp.queue = stage->frames;
	settings.xdp.n = stage->n_frames;
	settings.xdp.gate = stage->gate;
	struct udp *udp = malloc(sizeof *udp);
	if (udp == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = udp_open(udp, &settings, &stage->instance, stage->role, stage->socket, stage->n_sockets,
	                      stage->control, error);
	if (result != 0) {
		free(udp);
		return result;
	}
	stage->own = udp;
	stage->ports = &udp->ports;
	tell_backend(stage, udp, &settings);
	return 0;
}

static bool poll_stage(struct stage *stage)
{
	if (stage->draining)
		udp_quiet(stage->own);
	return udp_poll(stage->own);
}

static void tick(struct stage *stage)
{
	udp_tick(stage->own);
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	udp_idle(stage->own, timeout_ns);
}

static bool drained(struct stage *stage)
{
	return udp_drained(stage->own, stage->now_ns);
}

static void fini(struct stage *stage)
{
	udp_tick(stage->own);
	udp_close(stage->own);
	free(stage->own);
	stage->own = NULL;
}

const struct stage_ops udp_stage = {
        .name = "ingest-udp",
        .help = "receives datagrams, checks them and writes them to the lanes of its format's topics",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = udp_alone,
};
