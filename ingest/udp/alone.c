#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/udp/udp.h"

#define ALONE_OUTPUT_BYTES (4u * 1024 * 1024)

struct alone {
	struct batch batch;
	uint64_t written;
	uint64_t dropped; /* these three of all lanes and datagrams: batch_reset forgets them */
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

/* 1: a datagram was read; 0: end of the file; -1: damaged, which is logged. */
static int read_datagram(FILE *input, uint64_t number, uint8_t *data, uint32_t *bytes)
{
	uint8_t head[4];
	size_t n = fread(head, 1, sizeof head, input);
	if (n == 0 && feof(input))
		return 0;
	*bytes = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
	if (n == sizeof head && *bytes > BUFFER_DATA_BYTES) {
		log_error(
		        "no datagram is that long; the input must hold {length, 32 bits little-endian; datagram} one after the other",
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
	udp_read_settings(&settings, config, 0);
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
