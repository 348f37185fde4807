#include <stdlib.h>

#include "base/log.h"
#include "enrich/enrich.h"
#include "stage/records.h"

static bool write_event(struct lookup *lookup, const struct record *record, FILE *output)
{
	const struct event_track_raw *raw = (const void *)(record + 1);
	char *at = aligned_alloc(RECORD_ALIGN, record_bytes((uint32_t)track_room(raw)));
	if (at == NULL)
		return false;
	uint32_t length = lookup_event(lookup, raw, raw->arrival_ns, at + sizeof(struct record));
	(void)record_put(at, EVENT_TRACK, length);
	bool written = fwrite(at, 1, record_bytes(length), output) == record_bytes(length);
	free(at);
	return written;
}

/* The file may hold records of other topics too. */
static bool enrich_file(struct lookup *lookup, FILE *input, FILE *output)
{
	struct records records = {.file = input};
	struct record_batch batch;
	uint64_t malformed = 0;
	bool written = true;
	while (written && records_read(&records, &batch)) {
		const struct record *record;
		while (written && (record = record_next(&batch)) != NULL) {
			if (batch.type != EVENT_TRACK_RAW)
				continue;
			if (event_check(record))
				written = write_event(lookup, record, output);
			else
				malformed++;
		}
	}
	written = fflush(output) == 0 && written;
	if (malformed != 0)
		log_warn("malformed tracking calls are left out", "records=%llu",
		         (unsigned long long)malformed);
	if (!written)
		log_error("cannot write the output", NULL);
	return records_end(&records) == 0 && written;
}

int enrich_alone(const struct config *config, FILE *input, FILE *output)
{
	struct lookup *lookup = calloc(1, sizeof *lookup);
	struct shm_error error = {"no memory"};
	bool done = false;
	if (lookup != NULL)
		lookup_read_settings(&lookup->settings, config);
	if (lookup != NULL && lookup_open(lookup, &error) == 0) {
		done = enrich_file(lookup, input, output);
		lookup_close(lookup);
	} else {
		log_error("cannot start", "reason=\"%s\"", error.text);
	}
	free(lookup);
	return done ? 0 : 1;
}
