#include "sink/file/file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/flow.h"
#include "sink/file/growing.h"
#include "sink/file/standard.h"
#include "stage/settle.h"
#include "stage/sieve.h"

#define POLL_RECORDS 4096u
#define FLIGHTS      64u               /* of batches whose lines are not out yet (stdout) */
#define TELL_NS      NS_PER_SEC        /* between two words on that */
#define NULL_NS      (100 * NS_PER_MS) /* between two moves of the cursors of kind null */

enum file_metric {
#define METRIC(name, kind, help) FILE_##name,
#define HISTOGRAM(name, help, ...) \
	FILE_##name, FILE_##name##_end = FILE_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "sink/file/metrics.def"
#undef METRIC
#undef HISTOGRAM
	FILE_METRIC_COUNT
};
_Static_assert((int)FILE_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

enum sink_kind { SINK_FILE, SINK_STDOUT, SINK_NULL };

/* Lines of one flight end there. */
struct pending {
	struct settle_flight *flight;
	size_t end;
};

struct sink {
	enum sink_kind kind;
	struct control *control;
	struct ports ports;
	struct redo redo;
	struct settle settle;
	struct sieve sieve;
	struct record_copy copy;
	struct lines lines;
	unsigned next; /* topic whose turn it is */
	bool full;     /* the next event finds no room beside the lines that wait */
	/* file */
	struct growing growing;
	struct growing_counts counted;     /* that the metrics have */
	uint64_t reloads;                  /* of the control block, that have been followed */
	struct shm_error rotate_error;     /* said */
	uint32_t touched[PORTS_READS_MAX]; /* lanes that the next redo note has to name, a bit each */
	/* stdout */
	struct standard output;
	struct pending pending[FLIGHTS];
	unsigned n_pending;
	uint64_t stuck_ns;          /* standard output that takes nothing for so long is failing */
	uint64_t moved_ns, told_ns; /* when the last bytes went out; when it was said that none do */
	int stuck;                  /* 0, or why nothing goes out now: -EAGAIN, -EPIPE ... */
};

/* A commit has the cursors of so many lanes at most. */
#define LANES_MAX ((REDO_WORDS_MAX - GROWING_NOTE_WORDS) / STREAM_SETTLE_WORDS)

static void clear(struct sink *sink)
{
	lines_clear(&sink->lines);
	sink->full = false;
}

/* ---- file: all at once, with the cursors ---- */

static void note_cursors(void *argument)
{
	struct sink *sink = argument;
	for (unsigned i = 0; i < sink->ports.n_reads; i++)
		for (unsigned lane = 0; lane < sink->ports.reader[i].n_lanes; lane++)
			if ((sink->touched[i] & 1u << lane) != 0)
				ports_note(&sink->ports, i, lane);
}

static unsigned touched_lanes(const struct sink *sink)
{
	unsigned n = 0;
	for (unsigned i = 0; i < sink->ports.n_reads; i++)
		n += (unsigned)__builtin_popcount(sink->touched[i]);
	return n;
}

static void rotate(struct sink *sink)
{
	struct shm_error error = {""};
	if (growing_rotate(&sink->growing, clock_real_ns(), &error) == 0)
		return;
	if (strcmp(sink->rotate_error.text, error.text) != 0)
		log_error("cannot rotate", "reason=\"%s\"", error.text);
	sink->rotate_error = error;
}

static int commit_file(void *argument, const struct settle_cursor *cursor, unsigned n,
                       struct shm_error *error)
{
	struct sink *sink = argument;
	(void)cursor;
	(void)n;
	int result =
	        growing_write(&sink->growing, sink->lines.text, sink->lines.used, note_cursors, sink, error);
	if (result != 0)
		return result;
	metric_add(sink->control, FILE_bytes, sink->lines.used);
	clear(sink);
	memset(sink->touched, 0, sizeof sink->touched);
	rotate(sink);
	return 0;
}

static int look_at_file(void *argument, struct shm_error *error)
{
	return growing_look(&((struct sink *)argument)->growing, error);
}

static const struct settle_store file_store = {.name = "file", .commit = commit_file, .look = look_at_file};

/* ---- null: nothing to be made safe ---- */

static int commit_null(void *argument, const struct settle_cursor *cursor, unsigned n,
                       struct shm_error *error)
{
	(void)argument;
	(void)cursor;
	(void)n;
	(void)error;
	return 0;
}

static const struct settle_store null_store = {.name = "null", .commit = commit_null};

/* ---- stdout: in flight until it is out ---- */

static const struct settle_store output_store = {.name = "standard output"};

static void land(struct sink *sink, uint64_t now_ns)
{
	unsigned landed = 0;
	while (landed < sink->n_pending && sink->pending[landed].end <= sink->lines.written)
		settle_land(&sink->settle, sink->pending[landed++].flight, 1, now_ns);
	sink->n_pending -= landed;
	memmove(sink->pending, sink->pending + landed, sink->n_pending * sizeof sink->pending[0]);
}

/* Returns whether anything went out. */
static bool put_out(struct sink *sink, uint64_t now_ns)
{
	size_t before = sink->lines.written;
	if (lines_waiting(&sink->lines) == 0)
		return false;
	sink->stuck = standard_write(&sink->output, &sink->lines);
	size_t written = sink->lines.written - before;
	metric_add(sink->control, FILE_bytes, written);
	land(sink, now_ns);
	if (lines_waiting(&sink->lines) == 0)
		clear(sink);
	if (written != 0)
		sink->moved_ns = now_ns;
	return written != 0;
}

/* Said once a second while it lasts; the log has it once. */
static void tell_stuck(struct sink *sink, uint64_t now_ns)
{
	struct shm_error error = {""};
	if (sink->stuck == 0 || lines_waiting(&sink->lines) == 0 || now_ns - sink->told_ns < TELL_NS ||
	    (sink->stuck == -EAGAIN && now_ns - sink->moved_ns < sink->stuck_ns))
		return;
	sink->told_ns = now_ns;
	shm_explain(&error, "standard output: %s",
	            sink->stuck == -EAGAIN  ? "its reader takes nothing"
	            : sink->stuck == -EPIPE ? "its reader has gone; millrace has to be started again"
	                                    : strerror(-sink->stuck));
	settle_fail(&sink->settle, sink->stuck, &error);
}

/* ---- the entry ---- */

static enum sink_kind kind_of(const struct config *config, const char *section)
{
	const char *kind = config_string(config, "%s.kind", section);
	return strcmp(kind, "file") == 0 ? SINK_FILE : strcmp(kind, "stdout") == 0 ? SINK_STDOUT : SINK_NULL;
}

static int refuse_format(const char *section, const char *topic, const char *format, struct shm_error *error)
{
	shm_explain(error, "%s.format: events of %s have no form \"%s\"; allowed: auto, json%s", section,
	            topic, format, flow_topic_type(topic) == EVENT_TRACK ? ", line" : "");
	return -EINVAL;
}

/* What an outside program writes has a type that is not known here. */
static int check_format(const struct config *config, const char *section, struct shm_error *error)
{
	const char *name = config_string(config, "%s.format", section);
	enum encode_format format = (enum encode_format)encode_format(name);
	size_t n = config_count(config, "%s.topics", section);
	for (size_t i = 0; i < n; i++) {
		const char *topic = config_item(config, i, "%s.topics", section);
		uint16_t type = flow_topic_type(topic);
		if (format == ENCODE_RECORD || (type != EVENT_NONE && !encode_possible(format, type)))
			return refuse_format(section, topic, name, error);
	}
	if (n <= REDO_REGIONS_MAX - 1)
		return 0;
	shm_explain(error, "%s.topics: %zu topics; allowed: at most %u in one sink of this kind", section, n,
	            REDO_REGIONS_MAX - 1);
	return -EINVAL;
}

/* Two sinks would cut off each other's lines. */
static int check_alone(const struct config *config, const char *section, struct shm_error *error)
{
	const char *path = config_string(config, "%s.path", section);
	size_t n = config_count(config, "sinks");
	for (size_t i = 0; i < n; i++) {
		char other[32];
		snprintf(other, sizeof other, "sinks[%zu]", i);
		if (strcmp(other, section) == 0 ||
		    strcmp(config_string(config, "%s.kind", other), "file") != 0 ||
		    strcmp(config_string(config, "%s.path", other), path) != 0)
			continue;
		shm_explain(error, "%s.path: \"%s\" is the file of %s too; allowed: a file for each", section,
		            path, other);
		return -EINVAL;
	}
	return 0;
}

/* All but what depends on the world. */
static int check_options(const struct config *config, const char *section, struct shm_error *error)
{
	int result = check_format(config, section, error);
	if (result != 0 || kind_of(config, section) != SINK_FILE)
		return result;
	if (config_string(config, "%s.path", section)[0] == '\0') {
		shm_explain(error, "%s.path: is empty; allowed: the path of a file", section);
		return -EINVAL;
	}
	if (config_credential(config_string(config, "%s.path", section)) != NULL) {
		shm_explain(error,
		            "%s.path: a credential can only be read; allowed: the path of a file to write",
		            section);
		return -EINVAL;
	}
	return check_alone(config, section, error);
}

static int check(const struct config *config, const char *section, struct shm_error *error)
{
	struct sieve sieve;
	struct shm_error why = {""};
	int result = check_options(config, section, error);
	if (result != 0)
		return result;
	result = sieve_compile(&sieve, config, section, NULL, error);
	sieve_fini(&sieve);
	if (result == 0 && kind_of(config, section) == SINK_FILE &&
	    (result = growing_try(config_string(config, "%s.path", section), &why)) != 0)
		shm_explain(error, "%s.path: %s", section, why.text);
	return result;
}

/* ---- starting ---- */

/* What cannot be opened now is tried again, and shown: a folder that comes back is no reason for a
 * new start. */
static void open_file(struct sink *sink, struct stage *stage)
{
	struct shm_error error = {""};
	int result = growing_look(&sink->growing, &error);
	sink->reloads = atomic_load_explicit(&stage->control->reloads, memory_order_acquire);
	if (result != 0)
		settle_fail(&sink->settle, result, &error);
}

static int start_kind(struct sink *sink, struct stage *stage, const char *section, struct shm_error *error)
{
	const struct config *config = stage->config;
	void *private = ports_private(&sink->ports);
	if (sink->kind == SINK_NULL) {
		sink->settle.interval_ns = NULL_NS;
		return 0;
	}
	if (sink->kind == SINK_STDOUT) {
		int result = standard_open(&sink->output, private, error);
		sink->stuck_ns = config_ns(config, "%s.stuck_after", section);
		sink->moved_ns = clock_monotonic_ns();
		return result != 0 ? result : settle_init_flights(&sink->settle, FLIGHTS);
	}
	sink->settle.interval_ns = config_ns(config, "%s.write_interval", section);
	sink->growing.path = config_string(config, "%s.path", section);
	sink->growing.sync = config_u64(config, "%s.sync", section) != 0;
	sink->growing.rotate_bytes = config_u64(config, "%s.rotate.size", section);
	sink->growing.rotate_ns = config_ns(config, "%s.rotate.after", section);
	sink->growing.keep = config_u64(config, "%s.rotate.keep", section);
	int result = growing_open(&sink->growing, private, &sink->redo, error);
	if (result == 0)
		open_file(sink, stage);
	return result;
}

static int attach(struct sink *sink, struct stage *stage, const char *section, struct shm_error *error)
{
	static const struct settle_store *const stores[] = {
	        [SINK_FILE] = &file_store, [SINK_STDOUT] = &output_store, [SINK_NULL] = &null_store};
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	ports_declare_listed(&wanted, stage->config);
	wanted.redo = &sink->redo;
	wanted.control = stage->control;
	wanted.recovered_notes = FILE_recovered_notes;
	int result = ports_open(&sink->ports, &wanted, error);
	if (result != 0)
		return result;
	settle_init(&sink->settle, stores[sink->kind], sink, &sink->ports, sink->control,
	            FILE_waiting_records);
	result = sieve_compile(&sink->sieve, stage->config, section, sink->ports.wanted.reads, error);
	if (result == 0 && sink->kind != SINK_NULL) {
		int format = encode_format(config_string(stage->config, "%s.format", section));
		result = lines_init(&sink->lines, (enum encode_format)format,
		                    config_u64(stage->config, "%s.buffer", section), &sink->ports);
		if (result != 0)
			shm_explain(error, "no memory for the lines");
	}
	return result == 0 ? start_kind(sink, stage, section, error) : result;
}

static void leave(struct sink *sink)
{
	(void)settle_finish(&sink->settle);
	if (sink->kind == SINK_FILE && sink->growing.words != NULL)
		growing_close(&sink->growing);
	if (sink->kind == SINK_STDOUT && sink->output.private != NULL)
		standard_close(&sink->output);
	sieve_fini(&sink->sieve);
	lines_fini(&sink->lines);
	record_copy_fini(&sink->copy);
	ports_close(&sink->ports);
	free(sink);
}

static int init(struct stage *stage, struct shm_error *error)
{
	char section[SHM_NAME_MAX + 16];
	int result = stage_section(stage, section, sizeof section, error);
	if (result == 0)
		result = check_options(stage->config, section, error);
	if (result != 0)
		return result;
	struct sink *sink = calloc(1, sizeof *sink);
	if (sink == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	sink->control = stage->control;
	sink->kind = kind_of(stage->config, section);
	result = attach(sink, stage, section, error);
	if (result != 0) {
		if (sink->settle.ports == NULL)
			free(sink);
		else
			leave(sink);
		return result;
	}
	stage->own = sink;
	stage->ports = &sink->ports;
	log_info("writing", "kind=%s topics=%u%s%s%s", config_string(stage->config, "%s.kind", section),
	         sink->ports.n_reads, sink->kind == SINK_FILE ? " file=\"" : "",
	         sink->kind == SINK_FILE ? sink->growing.path : "", sink->kind == SINK_FILE ? "\"" : "");
	return 0;
}

/* ---- records to lines ---- */

struct taken {
	uint64_t records, lines, filtered, bad;
	bool full; /* the next one has no room */
};

/* False when there is no room for the record. */
static bool take_one(struct sink *sink, unsigned i, unsigned lane, const struct record *record,
                     const struct record_batch *batch, uint64_t position, struct taken *taken)
{
	const struct record *copy = record_copy(&sink->copy, record->payload, batch->length, batch->type);
	int result = copy == NULL ? -ENOMEM : 0;
	if (result == 0 && !event_check(copy))
		result = -EINVAL;
	if (result == 0 && !sieve_keeps(&sink->sieve, i, copy)) {
		taken->filtered++;
		return true;
	}
	if (result == 0 && sink->kind != SINK_NULL)
		result = lines_add(&sink->lines, copy, i, lane, position);
	if (result == -ENOSPC || result == -ENOMEM)
		return false; /* memory may come back; the event stays in its lane */
	if (result == 0)
		taken->lines++;
	else
		taken->bad++;
	return true;
}

static struct taken take(struct sink *sink, unsigned i, unsigned lane, struct record_batch *batch)
{
	struct taken taken = {0};
	while (taken.records < POLL_RECORDS) {
		struct record_batch before = *batch;
		const struct record *record = record_next(batch);
		if (record == NULL)
			break;
		if (!take_one(sink, i, lane, record, batch, before.position, &taken)) {
			*batch = before;
			taken.full = true;
			break;
		}
		taken.records++;
	}
	metric_add(sink->control, FILE_lines, taken.lines);
	if (taken.filtered != 0)
		metric_add(sink->control, FILE_filtered_records, taken.filtered);
	if (taken.bad != 0)
		metric_add(sink->control, FILE_bad_records, taken.bad);
	return taken;
}

/* ---- the loop ---- */

static bool peek(struct sink *sink, unsigned *i, unsigned *lane, struct record_batch *batch)
{
	for (unsigned tried = 0; tried < sink->ports.n_reads; tried++) {
		*i = sink->next;
		sink->next = *i + 1 == sink->ports.n_reads ? 0 : *i + 1;
		if (topic_peek(&sink->ports.reader[*i], lane, batch))
			return true;
	}
	return false;
}

/* What is gathered has to go first. */
static bool has_room(const struct sink *sink)
{
	if (sink->kind == SINK_FILE && touched_lanes(sink) >= LANES_MAX)
		return false;
	if (sink->kind == SINK_STDOUT && (sink->settle.free == NULL || sink->lines.written != 0))
		return false;
	return sink->kind == SINK_NULL || (!sink->full && sink->lines.used < sink->lines.most);
}

static bool fly(struct sink *sink, unsigned i, unsigned lane, struct record_batch *batch, uint64_t now_ns)
{
	struct settle_flight *flight = settle_open_flight(&sink->settle, i, lane, now_ns);
	if (flight == NULL)
		return false;
	size_t before = sink->lines.used;
	struct taken taken = take(sink, i, lane, batch);
	if (sink->lines.used != before) {
		flight->awaited++;
		sink->pending[sink->n_pending++] =
		        (struct pending){.flight = flight, .end = sink->lines.used};
	}
	settle_fly(&sink->settle, flight, batch, taken.records);
	settle_close_flight(&sink->settle, flight);
	sink->full = taken.full && sink->lines.used != 0;
	return taken.records != 0 || batch->corrupt;
}

static bool pass(struct sink *sink, unsigned i, unsigned lane, struct record_batch *batch, uint64_t now_ns)
{
	struct taken taken = take(sink, i, lane, batch);
	bool waited = sink->lines.used != 0;
	sink->touched[i] |= 1u << lane;
	sink->full = taken.full && waited;
	settle_pass(&sink->settle, i, lane, batch, taken.records, taken.full || !has_room(sink), now_ns);
	return taken.records != 0 || batch->corrupt || (waited && sink->lines.used == 0);
}

/* millrace flush: what was there when it was wished is read by now, and is written at once. */
static void flush(struct stage *stage)
{
	struct sink *sink = stage->own;
	if (!stage->requested)
		return;
	stage->requested = false;
	if (sink->kind != SINK_STDOUT && settle_open(&sink->settle)) {
		sink->settle.due_ns = stage->now_ns;
		settle_poll(&sink->settle, stage->now_ns);
	}
}

static bool poll_stage(struct stage *stage)
{
	struct sink *sink = stage->own;
	struct record_batch batch;
	unsigned i, lane;
	bool out = false, in;
	if (sink->kind == SINK_STDOUT)
		out = put_out(sink, stage->now_ns);
	else
		settle_poll(&sink->settle, stage->now_ns);
	if (!has_room(sink) || !peek(sink, &i, &lane, &batch)) {
		flush(stage);
		return out;
	}
	in = sink->kind == SINK_STDOUT ? fly(sink, i, lane, &batch, stage->now_ns)
	                               : pass(sink, i, lane, &batch, stage->now_ns);
	return in || out;
}

static void count(struct sink *sink)
{
	const struct growing_counts *now = &sink->growing.counts, *before = &sink->counted;
	metric_add(sink->control, FILE_rotations, now->rotations - before->rotations);
	metric_add(sink->control, FILE_reopened, now->reopened - before->reopened);
	metric_add(sink->control, FILE_cut_bytes, now->cut_bytes - before->cut_bytes);
	metric_add(sink->control, FILE_foreign_changes, now->foreign_changes - before->foreign_changes);
	metric_set(sink->control, FILE_file_bytes,
	           atomic_load_explicit(&sink->growing.words->length, memory_order_relaxed));
	sink->counted = *now;
}

/* A reload is the moment to look at the name, as after logrotate's move. */
static void follow_reload(struct sink *sink, struct stage *stage)
{
	uint64_t reloads = atomic_load_explicit(&stage->control->reloads, memory_order_acquire);
	if (reloads == sink->reloads)
		return;
	sink->reloads = reloads;
	sink->settle.look_ns = 0;
}

static void tick(struct stage *stage)
{
	struct sink *sink = stage->own;
	if (sink->kind == SINK_FILE)
		follow_reload(sink, stage);
	if (sink->kind == SINK_STDOUT)
		tell_stuck(sink, stage->now_ns);
	settle_tick(&sink->settle, stage->now_ns);
	if (sink->kind != SINK_FILE)
		return;
	if (!settle_open(&sink->settle))
		rotate(sink); /* by its age, also when nothing comes */
	count(sink);
}

static void wait_for_records(struct sink *sink, uint64_t timeout_ns)
{
	struct sleep_word word[SLEEP_WORDS_MAX];
	(void)sleep_any(word, ports_words(&sink->ports, word), timeout_ns);
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct sink *sink = stage->own;
	const struct timespec time = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
	                              .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	if (sink->kind == SINK_STDOUT && lines_waiting(&sink->lines) != 0)
		standard_wait(&sink->output, timeout_ns);
	else if (!has_room(sink) || sink->ports.n_reads == 0)
		(void)nanosleep(&time, NULL); /* the words would go on changing */
	else
		wait_for_records(sink, settle_timeout(&sink->settle, timeout_ns, stage->now_ns));
}

static bool drained(struct stage *stage)
{
	struct sink *sink = stage->own;
	return settle_drained(&sink->settle);
}

static void fini(struct stage *stage)
{
	struct sink *sink = stage->own;
	tick(stage);
	leave(sink);
	stage->own = NULL;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	if (kind_of(config, section) == SINK_NULL)
		return 0;
	/* The lines, and one record that is being looked at. */
	return 2 * config_u64(config, "%s.buffer", section);
}

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "sink/file/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

const struct stage_ops file_stage = {
        .name = "file",
        .help = "writes events as lines into a growing file or to standard output, or forgets them",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .check = check,
        .memory_max = memory_max,
};
