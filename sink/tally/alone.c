#include "sink/tally/tally.h"

#include <inttypes.h>

#include "base/log.h"
#include "stage/records.h"

struct alone {
	struct counts counts;
	struct store *store;
	uint64_t records, bad;
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

static int count_batch(struct alone *alone, struct record_batch *batch)
{
	while (batch->at < batch->end) {
		struct tally_taken taken = tally_take(&alone->counts, batch, UINT64_MAX);
		alone->records += taken.records;
		alone->bad += taken.bad;
		if (counts_full(&alone->counts) && commit(alone) != 0)
			return 1;
	}
	return 0;
}

static int count_file(struct alone *alone, FILE *input)
{
	struct records records = {.file = input};
	struct record_batch batch;
	int status = 0;
	while (status == 0 && records_read(&records, &batch))
		status = count_batch(alone, &batch);
	return records_end(&records) != 0 ? 1 : status;
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
	struct alone alone = {0};
	struct shm_error error;
	if (tally_open(config, &alone.counts, &alone.store, &error) != 0) {
		log_error("cannot start", "reason=\"%s\"", error.text);
		return 1;
	}
	int status = count_file(&alone, input);
	if (commit(&alone) != 0 || empty_log(&alone) != 0)
		status = 1;
	print_summary(&alone, output);
	if (fflush(output) != 0)
		status = 1;
	counts_fini(&alone.counts);
	store_close(alone.store);
	return status;
}
