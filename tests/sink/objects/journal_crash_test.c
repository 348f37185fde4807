/* Law 4: a small sink on the journal is killed again and again while it takes records from two
 * lanes, packs, cuts, spools and sends. Its store is a folder. At the end each record is in one
 * object, once, and in the order of its lane.
 *
 *     w.0 --> in lane 0 --.                              .--> TOKEN.put          an object in one piece
 *                         +--> sink.0, killed ----store--+--> TOKEN.N TOKEN.done  one of N parts
 *     w.1 --> in lane 1 --'      '-- journal             '--> TOKEN.N.spool
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/journal.h"
#include "tests/fixture/numbered.h"

#define LANES      2u
#define LANE_BYTES (256u * 1024)
#define TAILS      (1280u * 1024)
#define MEMBER     (40u * 1024)
#define LINE_MAX   512u
#define PART       (90u * 1024)
#define KEYS       12u
#define BATCH      64u
#define N_KILLS    60u
#define RECORDS    300000u /* of a lane, at most */
#define ENOUGH     40000u  /* at least */

static const struct test_topic topic = {"in", LANE_BYTES, LANES, {"w.0", "w.1"}, "sink"};
static const struct journal_bounds bounds = {.open_most = MEMBER + LINE_MAX,
                                             .packed_most = MEMBER + LINE_MAX};

struct shared {
	_Atomic uint64_t written[LANES];
	_Atomic uint64_t commits, parts, spools, puts, done, full; /* of all lives */
	_Atomic uint32_t stop_writing, drain, alive;
	_Atomic uint32_t failed; /* a line of this file */
};

static struct shared *shared_of(struct numbered *f)
{
	return f->shared;
}

/* In a child: what must not happen. */
#define must(f, holds)                                                           \
	do {                                                                     \
		if (!(holds)) {                                                  \
			atomic_store(&shared_of(f)->failed, (uint32_t)__LINE__); \
			_exit(1);                                                \
		}                                                                \
	} while (0)

/* ---- records and lines ---- */

static unsigned key_of(uint64_t lane, uint64_t number)
{
	return (unsigned)((number / 3 + lane * 5) * 2654435761u >> 13) % KEYS;
}

/* "LANE NUMBER ....", of a length made from both. Returns its bytes, without the newline. */
static size_t line_of(char *line, uint64_t lane, uint64_t number)
{
	int n = snprintf(line, LINE_MAX, "%lu %lu ", (unsigned long)lane, (unsigned long)number);
	size_t bytes = (size_t)n + number * 7919 % 100;
	memset(line + n, '.', bytes - (size_t)n);
	line[bytes] = '\0';
	return bytes;
}

static void write_lane(struct numbered *f, unsigned long lane)
{
	struct topic_writer writer;
	struct shared *shared = shared_of(f);
	unsigned long random = lane + 1;
	must(f, topic_writer_attach(&writer, &f->instance, "in", lane == 0 ? "w.0" : "w.1", &f->error) == 0);
	while (!atomic_load(&shared->stop_writing) && writer.stream.records < RECORDS) {
		if (!numbered_write(&writer, 1 + (unsigned)(draw_next(&random) % 30)))
			usleep(100);
		atomic_store(&shared->written[lane], writer.stream.records);
		if (draw_next(&random) % 8 == 0)
			usleep(50);
	}
}

/* ---- the sink ---- */

struct sink {
	struct numbered *f;
	struct shared *shared;
	struct journal *journal;
	struct redo redo;
	struct ports ports;
	unsigned long random;
	bool full;
};

static bool one_in(struct sink *s, unsigned n)
{
	return (draw_next(&s->random) >> 8) % n == 0;
}

static void open_sink(struct sink *s)
{
	static const char *const reads[] = {"in", NULL};
	struct ports_wanted wanted = {.instance = &s->f->instance,
	                              .role = "sink.0",
	                              .group = "sink",
	                              .reads = reads,
	                              .redo = &s->redo};
	must(s->f, journal_attach(&s->journal, &s->redo, &s->f->instance, "sink.0", &s->f->error) == 0);
	must(s->f, ports_open(&s->ports, &wanted, &s->f->error) == 0);
	must(s->f, journal_open(s->journal, &bounds, &s->f->error) == 0);
}

static bool take_record(struct sink *s, unsigned lane, const struct record *record, uint64_t position)
{
	char line[LINE_MAX], token[JOURNAL_TOKEN_BYTES + 1];
	must(s->f, numbered_is_whole(record));
	uint64_t number = numbered_of(record);
	char key = (char)('a' + key_of(lane, number));
	size_t bytes = line_of(line, lane, number);
	journal_object object = journal_find(s->journal, (uint64_t)key, &key, 1);
	if (object == JOURNAL_NONE) {
		snprintf(token, sizeof token, "%016lx%016lx", (unsigned long)lane, (unsigned long)position);
		object = journal_add(s->journal, (uint64_t)key, &key, 1, token, 0, (uint16_t)lane, position,
		                     clock_real_ns());
	}
	return object != JOURNAL_NONE && journal_append(s->journal, object, line, bytes, clock_real_ns());
}

/* One batch of one lane. False when there is none. */
static bool take_batch(struct sink *s)
{
	unsigned lane;
	struct record_batch batch;
	struct topic_reader *reader = &s->ports.reader[0];
	uint64_t n = 0;
	s->full = false;
	if (!topic_peek(reader, &lane, &batch))
		return false;
	while (n < BATCH) {
		struct record_batch before = batch;
		const struct record *record = record_next(&batch);
		if (record == NULL)
			break;
		if (!take_record(s, lane, record, before.position)) {
			batch = before;
			s->full = true;
			break;
		}
		n++;
	}
	must(s->f, !batch.corrupt);
	stream_pass(&reader->lane[lane], &batch, n);
	ports_note(&s->ports, 0, lane);
	journal_commit(s->journal, &s->ports);
	atomic_fetch_add(&s->shared->commits, n != 0 ? 1 : 0);
	atomic_fetch_add(&s->shared->full, s->full ? 1 : 0);
	return n != 0;
}

/* ---- its store ---- */

static void path_of(struct numbered *f, char path[256], const char *token, const char *end)
{
	snprintf(path, 256, "%s/store/%.*s.%s", f->sandbox.root, (int)JOURNAL_TOKEN_BYTES, token, end);
}

/* The whole of a file; NULL when there is none. To be freed. */
static char *read_all(const char *path, size_t *bytes)
{
	FILE *in = fopen(path, "r");
	char *all = malloc(4u << 20);
	*bytes = in == NULL || all == NULL ? 0 : fread(all, 1, 4u << 20, in);
	if (in == NULL) {
		free(all);
		return NULL;
	}
	fclose(in);
	return all;
}

/* What is sent again must begin with what a killed life had sent. */
static void send_bytes(struct sink *s, const char *token, const char *end, const char *bytes, size_t n)
{
	char path[256];
	size_t there = 0;
	path_of(s->f, path, token, end);
	char *old = read_all(path, &there);
	must(s->f, old == NULL || (there <= n && memcmp(old, bytes, there) == 0));
	free(old);
	FILE *out = fopen(path, "w");
	must(s->f, out != NULL && fwrite(bytes, 1, n, out) == n && fclose(out) == 0);
}

static void etag_of(char etag[JOURNAL_ETAG_MAX], const char *bytes, size_t n)
{
	snprintf(etag, JOURNAL_ETAG_MAX, "\"%016lx\"", (unsigned long)journal_body_hash(0, bytes, n));
}

static bool pack_raw(struct sink *s, journal_object object)
{
	size_t bytes;
	char *raw = journal_body_gather(s->journal, object, JOURNAL_BODY_RAW, 5, &bytes);
	bool good = journal_body_pack(s->journal, object, raw, bytes);
	free(raw);
	return good;
}

static void send_part(struct sink *s, journal_object object, const struct journal_view *view, uint32_t number)
{
	struct journal_part part;
	char end[32], spool[40], path[256], etag[JOURNAL_ETAG_MAX];
	size_t bytes;
	must(s->f, journal_part(s->journal, object, number, &part));
	if (part.state == JOURNAL_CONFIRMED)
		return;
	snprintf(end, sizeof end, "%u", number);
	snprintf(spool, sizeof spool, "%u.spool", number);
	char *all;
	if (part.spooled) {
		path_of(s->f, path, view->token, spool);
		all = read_all(path, &bytes);
	} else {
		all = journal_body_gather(s->journal, object, number, 3, &bytes);
	}
	must(s->f, all != NULL && bytes == part.bytes);
	if (!part.spooled && one_in(s, 4)) {
		send_bytes(s, view->token, spool, all, bytes);
		journal_spooled(s->journal, object, number);
		atomic_fetch_add(&s->shared->spools, 1);
	} else if (view->phase == JOURNAL_UPLOADING) {
		send_bytes(s, view->token, end, all, bytes);
		etag_of(etag, all, bytes);
		journal_confirm(s->journal, object, number, etag);
		atomic_fetch_add(&s->shared->parts, 1);
	}
	free(all);
}

static void put_object(struct sink *s, journal_object object, const struct journal_view *view)
{
	size_t bytes;
	char *all = journal_body_gather(s->journal, object, 0, 3, &bytes);
	send_bytes(s, view->token, "put", all, bytes);
	free(all);
	journal_remove(s->journal, object);
	atomic_fetch_add(&s->shared->puts, 1);
}

static void complete_object(struct sink *s, journal_object object, const struct journal_view *view)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%u\n", view->n_parts);
	send_bytes(s, view->token, "done", text, (size_t)n);
	journal_remove(s->journal, object);
	atomic_fetch_add(&s->shared->done, 1);
}

/* The next thing to do with an object, one a call. */
static void advance(struct sink *s, journal_object object)
{
	struct journal_view view;
	journal_look(s->journal, object, &view);
	if (view.open_bytes >= MEMBER || (view.finishing && view.open_bytes != 0)) {
		if (pack_raw(s, object))
			return;
	} else if (view.finishing && view.n_parts == 0 && view.packed_bytes < PART) {
		if (view.phase == JOURNAL_OPEN)
			journal_set_name(s->journal, object, view.token, JOURNAL_TOKEN_BYTES);
		else
			put_object(s, object, &view);
		return;
	} else if (view.packed_bytes >= PART || (view.finishing && view.packed_bytes != 0)) {
		if (journal_cut(s->journal, object) != 0)
			return;
	}
	if (view.n_parts != 0 && view.phase == JOURNAL_OPEN)
		journal_set_name(s->journal, object, view.token, JOURNAL_TOKEN_BYTES);
	else if (view.n_parts != 0 && view.phase == JOURNAL_NAMED)
		journal_set_upload(s->journal, object, "upload", 6);
	else if (view.n_parts != view.n_confirmed)
		for (uint32_t i = 1; i <= view.n_parts; i++)
			send_part(s, object, &view, i);
	else if (view.finishing && view.packed_bytes == 0 && view.open_bytes == 0)
		complete_object(s, object, &view);
}

/* As much as a sink does between two batches: all when there is no room. */
static void work(struct sink *s)
{
	struct journal_view view;
	bool drain = atomic_load(&s->shared->drain) != 0;
	if (s->full && journal_oldest(s->journal) != JOURNAL_NONE)
		journal_finish(s->journal, journal_oldest(s->journal));
	for (journal_object o = journal_next(s->journal, JOURNAL_NONE); o != JOURNAL_NONE;
	     o = journal_next(s->journal, o)) {
		journal_look(s->journal, o, &view);
		if (!view.finishing && (one_in(s, 300) || drain))
			journal_finish(s->journal, o);
		if (s->full || drain || view.open_bytes >= MEMBER || one_in(s, 3))
			advance(s, o);
	}
}

static void sink_life(struct numbered *f, unsigned long random)
{
	struct sink s = {.f = f, .shared = shared_of(f), .random = random};
	open_sink(&s);
	atomic_store(&s.shared->alive, 1);
	for (;;) {
		bool got = take_batch(&s);
		if (!got && atomic_load(&s.shared->drain) &&
		    journal_next(s.journal, JOURNAL_NONE) == JOURNAL_NONE)
			break;
		work(&s);
		if (!got)
			(void)topic_wait(&s.ports.reader[0], NS_PER_MS);
	}
	ports_close(&s.ports);
	journal_close(s.journal);
}

/* ---- what came of it ---- */

struct check {
	struct numbered *f;
	uint8_t *seen[LANES];
	uint64_t lines, objects, wrong;
};

/* All lines of an object are of one key, and each lane's in order. */
static void check_object(struct check *c, char *bytes, size_t n)
{
	uint64_t next[LANES] = {0};
	int key = -1;
	char expected[LINE_MAX];
	c->objects++;
	for (size_t at = 0; at < n; c->lines++) {
		char *end = memchr(bytes + at, '\n', n - at), *rest;
		if (end == NULL) {
			c->wrong++;
			return;
		}
		*end = '\0';
		unsigned long lane = strtoul(bytes + at, &rest, 10), number = strtoul(rest, NULL, 10);
		if (lane >= LANES || number >= RECORDS + BATCH || number < next[lane] ||
		    (key >= 0 && (unsigned)key != key_of(lane, number)) ||
		    line_of(expected, lane, number) != (size_t)(end - bytes) - at ||
		    strcmp(expected, bytes + at) != 0) {
			c->wrong++;
			return;
		}
		key = (int)key_of(lane, number);
		next[lane] = number + 1;
		c->seen[lane][number] += c->seen[lane][number] < UINT8_MAX ? 1 : 0;
		at = (size_t)(end - bytes) + 1;
	}
}

static void check_parts(struct check *c, const char *token, const char *done)
{
	size_t bytes, all = 0;
	char path[256], end[32], *object = malloc(64u << 20), *text = read_all(done, &bytes);
	assert_non_null(text);
	assert_non_null(object);
	text[bytes] = '\0';
	unsigned long n = strtoul(text, NULL, 10);
	assert_true(n > 0);
	for (unsigned long i = 1; i <= n; i++) {
		snprintf(end, sizeof end, "%lu", i);
		path_of(c->f, path, token, end);
		char *part = read_all(path, &bytes);
		assert_non_null(part);
		memcpy(object + all, part, bytes);
		all += bytes;
		free(part);
	}
	check_object(c, object, all);
	free(text);
	free(object);
}

static void check_store(struct check *c)
{
	char folder[256], path[512];
	snprintf(folder, sizeof folder, "%s/store", c->f->sandbox.root);
	DIR *store = opendir(folder);
	assert_non_null(store);
	for (struct dirent *entry; (entry = readdir(store)) != NULL;) {
		const char *end = strchr(entry->d_name, '.');
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (strlen(entry->d_name) < JOURNAL_TOKEN_BYTES || end == NULL)
			continue;
		if (strcmp(end, ".put") == 0) {
			size_t bytes;
			char *all = read_all(path, &bytes);
			assert_non_null(all);
			check_object(c, all, bytes);
			free(all);
		} else if (strcmp(end, ".done") == 0) {
			check_parts(c, entry->d_name, path);
		}
	}
	closedir(store);
}

/* ---- the test ---- */

static int set_up(void **state)
{
	char name[SEGMENT_NAME_MAX], folder[256];
	if (numbered_make(state, &topic, sizeof(struct shared)) != 0)
		return -1;
	struct numbered *f = *state;
	snprintf(folder, sizeof folder, "%s/store", f->sandbox.root);
	return mkdir(folder, 0700) != 0 ||
	       segment_create(f->sandbox.directory, instance_private_name(name, "sink.0"), SEGMENT_PRIVATE, 7,
	                      TAILS, NULL, NULL, &f->error) != 0;
}

static void kill_often(struct numbered *f, unsigned long *seed)
{
	struct shared *shared = shared_of(f);
	for (unsigned i = 0; i < N_KILLS; i++) {
		int status;
		atomic_store(&shared->alive, 0);
		pid_t sink = numbered_start(sink_life, f, draw_next(seed) | 1);
		/* some die while they open; the others have lived for a while */
		if (draw_next(seed) % 8 != 0)
			while (!atomic_load(&shared->alive) && !atomic_load(&shared->failed))
				usleep(100);
		usleep((useconds_t)(draw_next(seed) % 12000));
		kill(sink, SIGKILL);
		assert_int_equal(waitpid(sink, &status, 0), sink);
		if (atomic_load(&shared->failed) != 0)
			print_message("line %u: %s\n", shared->failed, f->error.text);
		assert_int_equal(shared->failed, 0);
		assert_true(WIFSIGNALED(status));
	}
}

static void a_sink_that_is_killed_again_and_again_stores_each_record_once(void **state)
{
	struct numbered *f = *state;
	struct shared *shared = shared_of(f);
	unsigned long seed = draw_seed(20261127);
	int status;
	pid_t writer[LANES];
	for (unsigned i = 0; i < LANES; i++)
		writer[i] = numbered_start(write_lane, f, i);
	kill_often(f, &seed);
	/* On a slow machine the lives were short: one more takes what makes some parts. */
	pid_t last = numbered_start(sink_life, f, 1);
	while (!atomic_load(&shared->failed) && (shared->written[0] < ENOUGH || shared->written[1] < ENOUGH))
		usleep(1000);
	atomic_store(&shared->stop_writing, 1);
	for (unsigned i = 0; i < LANES; i++) {
		assert_int_equal(waitpid(writer[i], &status, 0), writer[i]);
		assert_int_equal(status, 0);
	}
	atomic_store(&shared->drain, 1);
	assert_int_equal(waitpid(last, &status, 0), last);
	assert_int_equal(shared->failed, 0);
	assert_int_equal(status, 0);

	struct check c = {.f = f};
	for (unsigned i = 0; i < LANES; i++)
		assert_non_null(c.seen[i] = calloc(1, RECORDS + BATCH));
	check_store(&c);
	print_message(
	        "%lu records in %lu objects; %lu commits, %lu parts, %lu spooled, %lu puts, full %lu times\n",
	        (unsigned long)c.lines, (unsigned long)c.objects, (unsigned long)shared->commits,
	        (unsigned long)shared->parts, (unsigned long)shared->spools, (unsigned long)shared->puts,
	        (unsigned long)shared->full);
	assert_int_equal(c.wrong, 0);
	for (unsigned i = 0; i < LANES; i++) {
		for (uint64_t k = 0; k < RECORDS + BATCH; k++)
			assert_int_equal(c.seen[i][k], k < shared->written[i] ? 1 : 0);
		free(c.seen[i]);
	}
	assert_true(shared->commits > N_KILLS && shared->parts > 10 && shared->spools > 0 &&
	            shared->puts > 10);
}

int main(void)
{
	alarm(180);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_sink_that_is_killed_again_and_again_stores_each_record_once,
	                                        set_up, numbered_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
