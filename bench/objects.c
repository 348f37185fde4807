/* bench-objects: lines of a log through the objects sink, on one core: records, keys, journal,
 * members, parts, store.
 *
 *   1. to a store that keeps nothing      against ISA-L alone: the same bytes in members of the same size; and in one stream
 *   2. zlib -1, -6 and pigz -1            the same bytes, for comparison
 *   3. to a directory                     the same lines; compared with 1
 *   4. to a receiver that speaks S3       (objects_receiver.h) the same
 *
 * 1 and 2 are measured by the time that the core works for them (CPU time): nobody else's work
 * counts. 3 and 4 wait for others, and are measured by the clock too. */
#include <isa-l/igzip_lib.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/log.h"
#include "base/output.h"
#include "bench/lines.h"
#include "bench/objects_receiver.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "sink/objects/objects.h"

#define MEMBER_BYTES (1024u * 1024u) /* the option's default */
#define BATCH_BYTES  (256u * 1024u)  /* of records at a time */
#define SLOW_PART    8u              /* zlib gets one client of so many */

struct options {
	uint64_t lines;
	unsigned turns;
	const char *compression, *directory;
	bool json, only_null;
};

static struct lines_made made;
static unsigned char *packed; /* where references compress to */
static size_t packed_room;
static const char **batch_end;
static size_t n_batches;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-objects: %s: %s\n", what, why);
	exit(1);
}

static double seconds(clockid_t clock)
{
	return (double)clock_read_ns(clock) / 1e9;
}

/* ---- ours ---- */

static struct config *load(const struct options *options, const char *store)
{
	char text[2000], *errors;
	int n = snprintf(
	        text, sizeof text,
	        "data_dir: %s\n"
	        "sinks:\n"
	        "  - {name: logs, kind: objects, topics: [log], key: \"chat/{date}/content_logs_{date}_{client_id}\",\n"
	        "     compression: \"%s\", store: %s}\n",
	        turns_directory(), options->compression, store);
	struct config *config = config_load_text("bench", text, (size_t)n, NULL, 0, &errors);
	if (config == NULL)
		fail("configuration", errors);
	return config;
}

/* As a segment is: pages of the usual size, all present. Otherwise their coming is measured too,
 * turn after turn, until each object has had a whole part. They stay until the process ends. */
static int open_present(struct journal **journal, uint64_t tails, const struct journal_bounds *bounds,
                        struct shm_error *error)
{
	static struct redo redo;
	void *memory =
	        mmap(NULL, tails, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		fail("journal", "no memory");
	int result = journal_over(journal, &redo, memory, tails, error);
	return result != 0 ? result : journal_open(*journal, bounds, error);
}

static void open_sink(struct objects *objects, const struct config *config, bool present)
{
	static const char *const topics[] = {"log", NULL};
	struct shm_error error = {""};
	struct journal *journal;
	if (objects_open(objects, config, "sinks[0]", topics, &error) != 0)
		fail("sink", error.text);
	uint64_t tails = config_u64(config, "sinks[0].tails");
	int result = present ? open_present(&journal, tails, &objects->bounds, &error)
	                     : journal_open_memory(&journal, tails, &objects->bounds, &error);
	if (result != 0 || objects_begin(objects, journal, 1, &error) != 0)
		fail("sink", error.text);
}

static void work(struct objects *objects)
{
	while (upload_work(objects->upload, clock_monotonic_ns()))
		;
	const struct upload_counts *counts = upload_counts(objects->upload);
	if (counts->failing_since_ns != 0)
		fail("store", counts->reason);
}

static void wait_for_store(struct objects *objects)
{
	struct store_wait wait[OBJECTS_WAITS_MAX];
	struct pollfd fd[OBJECTS_WAITS_MAX];
	uint64_t timeout_ns = 100 * NS_PER_MS;
	unsigned n = upload_wait(objects->upload, wait, OBJECTS_WAITS_MAX, clock_monotonic_ns(), &timeout_ns);
	for (unsigned i = 0; i < n; i++)
		fd[i] = (struct pollfd){.fd = wait[i].fd, .events = wait[i].events};
	(void)poll(fd, n, (int)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS));
	work(objects);
}

/* Where batches of records end: what the stage learns from the lane's tail. */
static void cut_batches(void)
{
	const char *end = made.records + made.records_bytes, *at = made.records;
	batch_end = calloc(made.records_bytes / BATCH_BYTES + 2, sizeof *batch_end);
	if (batch_end == NULL)
		fail("batches", "no memory");
	while (at < end) {
		const char *from = at;
		while (at < end && at - from < BATCH_BYTES)
			at += record_bytes(((const struct record *)(const void *)at)->length);
		batch_end[n_batches++] = at;
	}
}

/* As the stage's loop does, but for the lane. */
static void take_all(struct objects *objects)
{
	struct record_batch batch = {.at = made.records};
	for (size_t i = 0; i < n_batches; i++) {
		batch.end = batch_end[i];
		while (batch.at < batch.end) {
			lines_take(&objects->lines, 0, 0, &batch, clock_real_ns());
			journal_commit(objects->journal, NULL);
			(void)objects_touch(objects);
			(void)upload_relieve(objects->upload, clock_monotonic_ns());
			work(objects);
			if (objects->lines.full)
				wait_for_store(objects);
		}
	}
}

static void finish(struct objects *objects)
{
	upload_finish_all(objects->upload);
	work(objects);
	while (upload_unfinished(objects->upload) != 0)
		wait_for_store(objects);
}

static void check_counts(const struct objects *objects)
{
	const struct lines_counts *lines = &objects->lines.counts;
	if (lines->events == 0 || lines->bad + lines->too_long + lines->filtered != 0)
		fail("lines", "not all became lines of objects");
}

/* ---- references ---- */

static void *isal_level(struct isal_zstream *stream)
{
	isal_deflate_init(stream);
	stream->level = 1;
	stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
	stream->level_buf = malloc(stream->level_buf_size);
	if (stream->level_buf == NULL)
		fail("ISA-L", "no memory");
	return stream->level_buf;
}

static void isal_one(struct isal_zstream *stream, const char *from, size_t bytes)
{
	isal_deflate_reset(stream);
	stream->gzip_flag = IGZIP_GZIP;
	stream->end_of_stream = 1;
	stream->flush = NO_FLUSH;
	stream->next_in = (uint8_t *)(uintptr_t)from;
	stream->avail_in = (uint32_t)bytes;
	stream->next_out = packed;
	stream->avail_out = (uint32_t)packed_room;
	if (isal_deflate(stream) != COMP_OK || stream->internal_state.state != ZSTATE_END)
		fail("ISA-L", "it did not compress");
}

/* Lines per second of CPU time. */
static double run_isal(struct isal_zstream *stream, size_t member)
{
	double began = seconds(CLOCK_PROCESS_CPUTIME_ID);
	const char *at = made.raw;
	for (unsigned i = 0; i < LINES_CLIENTS && member != 0; i++) {
		for (size_t done = 0, n; done < made.client_bytes[i]; done += n, at += n) {
			n = made.client_bytes[i] - done < member ? made.client_bytes[i] - done : member;
			isal_one(stream, at, n);
		}
	}
	if (member == 0)
		isal_one(stream, made.raw, made.raw_bytes);
	return (double)made.n / (seconds(CLOCK_PROCESS_CPUTIME_ID) - began);
}

/* Of some of the bytes: it is slow. */
static double run_zlib(int level)
{
	size_t bytes = made.raw_bytes / SLOW_PART;
	z_stream stream = {.next_in = (Bytef *)made.raw,
	                   .avail_in = (uInt)bytes,
	                   .next_out = packed,
	                   .avail_out = (uInt)packed_room};
	double began = seconds(CLOCK_PROCESS_CPUTIME_ID);
	if (deflateInit2(&stream, level, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&stream, Z_FINISH) != Z_STREAM_END)
		fail("zlib", "it did not compress");
	(void)deflateEnd(&stream);
	return (double)made.n / SLOW_PART / (seconds(CLOCK_PROCESS_CPUTIME_ID) - began);
}

/* By the clock, on all cores; 0 when there is no pigz. */
static double run_pigz(void)
{
	double began = seconds(CLOCK_MONOTONIC);
	FILE *pigz = popen("command -v pigz > /dev/null && exec pigz -1 > /dev/null", "w");
	if (pigz == NULL)
		return 0;
	bool written = fwrite(made.raw, 1, made.raw_bytes, pigz) == made.raw_bytes;
	return pclose(pigz) == 0 && written ? (double)made.n / (seconds(CLOCK_MONOTONIC) - began) : 0;
}

/* ---- measuring ---- */

struct results {
	struct turns members, stream; /* against ISA-L */
	struct turns zlib;            /* level 6 is the reference's place, level 1 ours */
	double pigz, ratio;
	/* against the null store: by the clock, and per second of CPU time */
	struct turns directory, receiver, directory_cpu, receiver_cpu;
};

/* The rate of one pass; the sink goes on from the pass before. */
static double run_sink(struct objects *objects, clockid_t clock)
{
	double began = seconds(clock);
	take_all(objects);
	return (double)made.n / (seconds(clock) - began);
}

static void measure_null(const struct options *options, struct results *results)
{
	struct objects objects = {0};
	struct isal_zstream stream;
	struct config *config = load(options, "{discard: true}");
	void *level = isal_level(&stream);
	open_sink(&objects, config, true);
	(void)run_sink(&objects, CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned i = 0; i < options->turns; i++) {
		double alone = run_isal(&stream, MEMBER_BYTES);
		double ours = run_sink(&objects, CLOCK_PROCESS_CPUTIME_ID);
		turns_add(&results->members, ours, alone);
		turns_add(&results->stream, ours, run_isal(&stream, 0));
		if (i % 3 == 0)
			turns_add(&results->zlib, run_zlib(1), run_zlib(6));
	}
	check_counts(&objects);
	const struct upload_counts *counts = upload_counts(objects.upload);
	results->ratio = (double)counts->raw_bytes / (double)counts->packed_bytes;
	results->pigz = run_pigz();
	objects_close(&objects);
	config_free(config);
	free(level);
}

struct rates {
	double clock, cpu;
};

/* Until everything is in the store. */
static struct rates run_whole(const struct options *options, const char *store)
{
	struct objects objects = {0};
	struct config *config = load(options, store);
	open_sink(&objects, config, false);
	take_all(&objects); /* its pages come */
	finish(&objects);
	double began = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID);
	take_all(&objects);
	finish(&objects);
	struct rates rates = {(double)made.n / (seconds(CLOCK_MONOTONIC) - began),
	                      (double)made.n / (seconds(CLOCK_PROCESS_CPUTIME_ID) - used)};
	check_counts(&objects);
	objects_close(&objects);
	config_free(config);
	return rates;
}

static void measure_stores(const struct options *options, struct results *results)
{
	char directory[600], s3[300];
	struct objects_receiver receiver;
	snprintf(directory, sizeof directory, "{directory: \"%s/objects\"}", options->directory);
	if (mkdir(options->directory, 0700) != 0 && access(options->directory, W_OK) != 0)
		fail(options->directory, "cannot be written");
	if (objects_receiver_start(&receiver) != 0)
		fail("receiver", "cannot be started");
	snprintf(
	        s3, sizeof s3,
	        "{s3: {bucket: bench, region: us-east-1, endpoint: \"http://127.0.0.1:%u\", credentials: config, access_key: k, secret_key: s}}",
	        receiver.port);
	for (unsigned i = 0; i < options->turns; i++) {
		struct rates null = run_whole(options, "{discard: true}"),
		             rates = run_whole(options, directory);
		turns_add(&results->directory, rates.clock, null.clock);
		turns_add(&results->directory_cpu, rates.cpu, null.cpu);
		rates = run_whole(options, s3);
		turns_add(&results->receiver, rates.clock, null.clock);
		turns_add(&results->receiver_cpu, rates.cpu, null.cpu);
	}
	objects_receiver_stop(&receiver);
}

/* ---- results ---- */

static void print_text(const struct options *options, const struct results *results)
{
	printf("%llu lines of %.0f bytes, %u clients, %s makes them %.1f times shorter\n",
	       (unsigned long long)made.n, (double)made.raw_bytes / (double)made.n, LINES_CLIENTS,
	       options->compression, results->ratio);
	turns_print(&results->members, "lines to no store, CPU time", "objects", "ISA-L alone, same members");
	turns_print(&results->stream, "the same", "objects", "ISA-L alone, one stream");
	turns_print(&results->zlib, "zlib, CPU time", "zlib -1", "zlib -6");
	printf("pigz -1, all cores, by the clock\n  %.2f M/s%s\n", results->pigz / 1e6,
	       results->pigz > 0 ? "" : " (there is no pigz)");
	turns_print(&results->directory, "lines to a directory until all are safe, by the clock",
	            "objects, directory", "objects, no store");
	turns_print(&results->directory_cpu, "the same, CPU time", "objects, directory", "objects, no store");
	turns_print(&results->receiver, "lines to a receiver of S3 until all are safe, by the clock",
	            "objects, S3", "objects, no store");
	turns_print(&results->receiver_cpu, "the same, CPU time", "objects, S3", "objects, no store");
}

static void print_json(const struct results *results)
{
	printf("{\"bench\":\"objects\",\"lines\":%llu,\"line_bytes\":%.1f,\"ratio\":%.2f,",
	       (unsigned long long)made.n, (double)made.raw_bytes / (double)made.n, results->ratio);
	printf("\"null\":{\"per_s\":%.0f,\"isal_members_per_s\":%.0f,\"isal_stream_per_s\":%.0f,\"to_isal\":%.3f},",
	       turns_median(results->members.ours, results->members.n),
	       turns_median(results->members.reference, results->members.n),
	       turns_median(results->stream.reference, results->stream.n), turns_ratio(&results->members));
	printf("\"zlib_1_per_s\":%.0f,\"zlib_6_per_s\":%.0f,\"pigz_1_per_s\":%.0f,",
	       turns_median(results->zlib.ours, results->zlib.n),
	       turns_median(results->zlib.reference, results->zlib.n), results->pigz);
	printf("\"directory_per_s\":%.0f,\"directory_per_cpu_s\":%.0f,\"s3_receiver_per_s\":%.0f,\"s3_receiver_per_cpu_s\":%.0f}\n",
	       turns_median(results->directory.ours, results->directory.n),
	       turns_median(results->directory_cpu.ours, results->directory_cpu.n),
	       turns_median(results->receiver.ours, results->receiver.n),
	       turns_median(results->receiver_cpu.ours, results->receiver_cpu.n));
}

static void help(void)
{
	puts("Usage: millrace bench objects [OPTION]...\n"
	     "\n"
	     "Brings lines of a log through the objects sink on one core: to a store that keeps nothing, in turns with ISA-L alone on\n"
	     "the same bytes; then to a directory and to a receiver that speaks S3 on loopback.\n"
	     "\n"
	     "  --lines N             lines of a turn (default 400000)\n"
	     "  --turns N             turns of each side, 1 to 64 (default 9)\n"
	     "  --compression METHOD  of ours (default isal:1)\n"
	     "  --directory DIR       where the directory store writes (default: in the folder of the shared memory)\n"
	     "  --no-stores           without directory and receiver\n"
	     "  --json                one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, 2 usage.");
}

static int run(int argc, char **argv)
{
	struct options options = {.lines = 400000, .turns = 9, .compression = "isal:1"};
	struct results results = {0};
	char directory[300];
	const struct option_row rows[] = {
	        {"lines", OPTION_BYTES, &options.lines, 1000, 10000000},
	        {"turns", OPTION_COUNT, &options.turns, 1, TURNS_MAX},
	        {"compression", OPTION_TEXT, &options.compression, 0, 0},
	        {"directory", OPTION_TEXT, &options.directory, 0, 0},
	        {"no-stores", OPTION_ON, &options.only_null, 0, 0},
	        {"json", OPTION_ON, &options.json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-objects", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	log_init("bench-objects", LOG_ERROR, LOG_TEXT);
	lines_make(&made, options.lines);
	cut_batches();
	packed_room = made.raw_bytes + made.raw_bytes / 8 + 65536;
	packed = malloc(packed_room);
	if (packed == NULL)
		fail("lines", "no memory");
	snprintf(directory, sizeof directory, "%s/store", turns_directory());
	if (options.directory == NULL)
		options.directory = directory;
	measure_null(&options, &results);
	if (!options.only_null)
		measure_stores(&options, &results);
	if (options.json)
		print_json(&results);
	else
		print_text(&options, &results);
	return 0;
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run(argc, argv);
	return status != 0 ? status : output_finish("bench-objects");
}
