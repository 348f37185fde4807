#include "sink/tally/tally.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define BUFFER_BYTES (1u << 20) /* no record of this topic is near that */

struct alone {
	struct counts counts;
	struct store *store;
	uint64_t records, bad;
	char *buffer;
	size_t held; /* bytes in buffer */
};

static int commit(struct alone *alone)
{
	struct shm_error error;
	if (store_commit(alone->store, &alone->counts, NULL, 0, NULL, &error) == 0)
		return 0;
	log_error("cannot commit", "reason=\"%s\"", error.text);
	return 1;
}

static int empty_log(struct alone *alone)
{
	struct shm_error error;
	if (store_empty_log(alone->store, &error) == 0)
		return 0;
	log_error("cannot copy the database's log into the database", "reason=\"%s\"", error.text);
	return 1;
}

/* Counts the whole records in the buffer and moves what is left to its start. */
static int count_buffer(struct alone *alone)
{
	struct record_batch batch = {.at = alone->buffer, .end = alone->buffer + alone->held};
	while ((size_t)(batch.end - batch.at) >= sizeof(struct record) && !batch.corrupt) {
		struct tally_taken taken = tally_take(&alone->counts, &batch, UINT64_MAX);
		alone->records += taken.records;
		alone->bad += taken.bad;
		if (counts_full(&alone->counts) && commit(alone) != 0)
			return 1;
	}
	alone->held = (size_t)(batch.end - batch.at);
	memmove(alone->buffer, batch.at, alone->held);
	return 0;
}

static int count_file(struct alone *alone, FILE *input)
{
	for (;;) {
		size_t n = fread(alone->buffer + alone->held, 1, BUFFER_BYTES - alone->held, input);
		alone->held += n;
		if (n == 0)
			break;
		if (count_buffer(alone) != 0)
			return 1;
	}
	if (ferror(input)) {
		log_error("cannot read the input", "reason=\"%s\"", strerror(errno));
		return 1;
	}
	if (alone->held == 0)
		return 0;
	log_error("the input ends within a record or is damaged; what came before is counted",
	          "records=%" PRIu64 " bytes_left=%zu", alone->records, alone->held);
	return 1;
}

static void print_summary(const struct alone *alone, FILE *output)
{
	fprintf(output, "records %" PRIu64 "\n", alone->records);
	fprintf(output, "counted %" PRIu64 "\n", alone->records - alone->bad);
	fprintf(output, "skipped %" PRIu64 "\n", alone->bad);
	fprintf(output, "applications %" PRIu64 "\n", alone->counts.n_applications);
	fprintf(output, "truncated_applications %" PRIu64 "\n", alone->counts.n_truncated);
	fprintf(output, "addresses %" PRIu64 "\n", alone->counts.addresses);
	fprintf(output, "beyond_events %" PRIu64 "\n", alone->counts.beyond);
}

int tally_alone(const struct config *config, FILE *input, FILE *output)
{
	struct alone alone = {.buffer = malloc(BUFFER_BYTES + sizeof(struct record))};
	struct shm_error error;
	if (alone.buffer == NULL) {
		log_error("no memory", NULL);
		return 1;
	}
	int status = 1;
	if (tally_open(config, &alone.counts, &alone.store, &error) != 0) {
		log_error("cannot start", "reason=\"%s\"", error.text);
		goto out;
	}
	status = count_file(&alone, input);
	if (commit(&alone) != 0 || empty_log(&alone) != 0)
		status = 1;
	print_summary(&alone, output);
	if (fflush(output) != 0)
		status = 1;
	counts_fini(&alone.counts);
	store_close(alone.store);
out:
	free(alone.buffer);
	return status;
}
