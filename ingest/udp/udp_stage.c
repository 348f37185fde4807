#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/udp/udp.h"
#include "base/clock.h"
#include "base/log.h"

/* ---- configuration ---- */

static enum receive_backend backend_of(const char *name)
{
	return strcmp(name, "uring") == 0      ? RECEIVE_URING
	       : strcmp(name, "recvmmsg") == 0 ? RECEIVE_RECVMMSG
	                                       : RECEIVE_AUTO;
}

static void read_settings(const struct config *config, size_t entry, struct udp_settings *settings)
{
	*settings = (struct udp_settings){
	        .format = format_find(config_string(config, "ingest.udp[%zu].format", entry)),
	        .listener = (uint16_t)entry,
	        .backend = backend_of(config_string(config, "ingest.udp[%zu].backend", entry)),
	        .batch_wait_ns = config_ns(config, "ingest.udp[%zu].batch_wait", entry),
	};
}

/* ---- the stage ---- */

static int init(struct stage *stage, struct shm_error *error)
{
	struct udp_settings settings;
	size_t entry;
	if (stage_listener(stage, "ingest.udp", &entry, error) != 0)
		return -EINVAL;
	read_settings(stage->config, entry, &settings);
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
	log_info("receiving", "backend=%s sockets=%u buffers=%u", udp->receive.ops->name, stage->n_sockets,
	         udp->buffers.n_buffers);
	return 0;
}

static bool poll_stage(struct stage *stage)
{
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

/* ---- alone ---- */

#define ALONE_OUTPUT_BYTES (4u * 1024 * 1024)

struct alone {
	struct batch batch;
	uint64_t written;
	uint64_t dropped; /* of all lanes, and so on: batch_reset forgets */
	uint64_t received;
	uint64_t rejected[LEDGER_REASON_COUNT];
};

static int write_out(struct alone *alone, FILE *output)
{
	struct batch *batch = &alone->batch;
	for (unsigned i = 0; i < batch->n_lanes; i++) {
		const struct lane *lane = &batch->lane[i];
		if (fwrite(lane->base, 1, lane->used, output) != lane->used) {
			log_error("cannot write the output", "reason=\"%s\"", strerror(errno));
			return 1;
		}
		alone->written += lane->records;
		alone->dropped += lane->dropped;
		alone->received += lane->received;
		for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++)
			alone->rejected[reason] += lane->rejected[reason];
	}
	batch_reset(batch);
	return 0;
}

/* 1: a datagram was read; 0: end of the file; -1: the file is not what it should be. */
static int read_datagram(FILE *input, uint64_t number, uint8_t *data, uint32_t *bytes)
{
	uint8_t head[4];
	size_t n = fread(head, 1, sizeof head, input);
	if (n == 0 && feof(input))
		return 0;
	*bytes = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
	if (n == sizeof head && *bytes > BUFFER_DATA_BYTES) {
		log_error(
		        "no datagram has that length; the input is {length, 32 bits little-endian; datagram} in a row",
		        "datagram=%" PRIu64 " length=%u", number, *bytes);
		return -1;
	}
	if (n == sizeof head && fread(data, 1, *bytes, input) == *bytes)
		return 1;
	log_error("the input ends within a datagram", "datagram=%" PRIu64, number);
	return -1;
}

static int convert(struct alone *alone, uint8_t *data, FILE *input, FILE *output)
{
	uint32_t bytes;
	int more, status = 0;
	for (uint64_t number = 0; (more = read_datagram(input, number, data, &bytes)) > 0; number++) {
		struct burst burst = {
		        .data = data,
		        .bytes = bytes,
		        .segment_bytes = bytes == 0 ? 1 : bytes,
		        .n_datagrams = 1,
		};
		alone->batch.arrival_ns = clock_real_ns();
		batch_parse(&alone->batch, &burst);
		status = write_out(alone, output);
		if (status != 0)
			return status;
	}
	return more < 0 || fflush(output) != 0;
}

static void print_ledger(const struct alone *alone)
{
	fprintf(stderr, "received %" PRIu64 "\n", alone->received);
	for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++)
		if (alone->rejected[reason] != 0)
			fprintf(stderr, "rejected %s %" PRIu64 "\n", ledger_reason_name(reason),
			        alone->rejected[reason]);
	fprintf(stderr, "dropped %" PRIu64 "\n", alone->dropped);
	fprintf(stderr, "written %" PRIu64 "\n", alone->written);
}

int udp_alone(const struct config *config, FILE *input, FILE *output)
{
	struct udp_settings settings;
	struct alone *alone = calloc(1, sizeof *alone);
	char *room = malloc(BATCH_LANES_MAX * ALONE_OUTPUT_BYTES);
	uint8_t *data = malloc(BUFFER_DATA_BYTES);
	int status = 1;
	if (alone == NULL || room == NULL || data == NULL) {
		log_error("no memory", NULL);
		goto out;
	}
	read_settings(config, 0, &settings);
	if (batch_init(&alone->batch, settings.format, settings.listener) != 0) {
		log_error("no memory", NULL);
		goto out;
	}
	for (unsigned i = 0; i < alone->batch.n_lanes; i++)
		batch_lane_memory(&alone->batch, i, room + i * ALONE_OUTPUT_BYTES, ALONE_OUTPUT_BYTES);
	status = convert(alone, data, input, output);
	print_ledger(alone);
	batch_fini(&alone->batch);
out:
	free(data);
	free(room);
	free(alone);
	return status;
}

static const struct metric_description metrics[] = {
#define METRIC METRIC_ROW
#include "ingest/udp/metrics.def"
#undef METRIC
};

const struct stage_ops udp_stage = {
        .name = "ingest-udp",
        .help = "receives datagrams, checks them and writes them to the lanes of its format's topics",
        .metrics = metrics,
        .n_metrics = UDP_METRIC_COUNT,
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = udp_alone,
};
