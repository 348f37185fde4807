/* The control block: what everybody may know of a role, in one segment per role.
 *
 *     written by the supervisor    | written by the stage                | written by the stage
 *     restarts, last exit, reloads | state, pid, start time, heartbeat   | metrics, each with name, unit and help; a note for people;
 *                                  |                                     | the files that its options name
 *
 *                    .--------------------- supervisor restarts ----------------.
 *                    v                                                          |
 *     (none) --> STARTING --> RUNNING --SIGTERM--> DRAINING --> ENDED        (dead: pid without a lock)
 *                    '------------> FAILED (could not start: said why, exit 1)
 *
 * A claim names its role, not its pid: the process that holds the lock on <role>.role is the role.
 * Metrics describe themselves (name, unit, help are in the segment), so `millrace stat` and
 * Prometheus read them from shared memory without knowing the stage.
 */
#ifndef STAGE_CONTROL_H
#define STAGE_CONTROL_H

#include "shm/instance.h"

#define METRICS_MAX        160u /* rows of a stage's table */
#define METRIC_WORDS_MAX   256u /* their values: one word each, a histogram several */
#define METRIC_BOUNDS_MAX  12u
#define CONTROL_NOTE_BYTES 160u /* the final 0 included */
#define CONTROL_FILES_MAX  4u
#define ERRAND_ANSWERS     2u

enum stage_state {
	STAGE_NONE,
	STAGE_STARTING,
	STAGE_RUNNING,
	STAGE_DRAINING,
	STAGE_ENDED,
	STAGE_FAILED,
	STAGE_STATE_COUNT
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_description {
	char name[40]; /* snake_case, unit as suffix: "kernel_dropped_datagrams" */
	uint16_t kind; /* enum metric_kind */
	/* The name begins with so many bytes that name a route, and "_"; 0: it is the stage's */
	uint16_t route_bytes;
	char help[112];
	uint32_t n_bounds;                 /* of a histogram; 0 otherwise */
	uint64_t bound[METRIC_BOUNDS_MAX]; /* upper bounds of its buckets, inclusive, rising */
};

/* A stage declares its metrics in a .def file, one row each:
 *
 *     METRIC(commits, COUNTER, "batches committed")
 *     HISTOGRAM(answer_time_ns, "from request to answer", 100000, 1000000)
 *
 *     word   commits | answer_time_ns: sum of all values | up to 100000 | up to 1000000 | above
 *
 * One table of descriptions is made from them, and one enum of the words where their values lie:
 *
 *     #define METRIC    METRIC_ROW                #define METRIC(name, kind, help) X_##name,
 *     #define HISTOGRAM HISTOGRAM_ROW             #define HISTOGRAM(name, help, ...) \
 *                                                         X_##name, X_##name##_end = X_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
 *
 * One that each route has: ROUTE_METRIC_ROW(track, requests, ...) is "track_requests", to
 * Prometheus a family `requests` with a label.
 */
#define METRIC_ROW(title, type, text) {.name = #title, .kind = METRIC_##type, .help = text},
#define HISTOGRAM_ROW(title, text, ...)                \
	{.name = #title,                               \
	 .kind = METRIC_HISTOGRAM,                     \
	 .help = text,                                 \
	 .n_bounds = HISTOGRAM_WORDS(__VA_ARGS__) - 2, \
	 .bound = {__VA_ARGS__}},
#define ROUTE_METRIC_ROW(route, title, type, text) \
	{.name = #route "_" #title, .kind = METRIC_##type, .route_bytes = sizeof #route - 1, .help = text},
#define ROUTE_HISTOGRAM_ROW(route, title, text, ...)   \
	{.name = #route "_" #title,                    \
	 .kind = METRIC_HISTOGRAM,                     \
	 .route_bytes = sizeof #route - 1,             \
	 .help = text,                                 \
	 .n_bounds = HISTOGRAM_WORDS(__VA_ARGS__) - 2, \
	 .bound = {__VA_ARGS__}},
#define HISTOGRAM_WORDS(...) (sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t) + 2)

/* "counter" and so on. */
const char *metric_kind_name(uint32_t kind);

/* Words that the values of a metric take. */
static inline unsigned metric_words(const struct metric_description *description)
{
	if (description->kind != METRIC_HISTOGRAM)
		return 1;
	return (description->n_bounds < METRIC_BOUNDS_MAX ? description->n_bounds : METRIC_BOUNDS_MAX) + 2;
}

/* A file that an option of the stage names, and what of it is in force. Times are
 * CLOCK_REALTIME. */
struct control_file {
	char option[64];      /* its key: "ingest.http[0].tokens"; "": no such file */
	char path[256];       /* where it is looked for; a longer one is cut */
	char refusal[200];    /* why what is there now is not in force; "": it is */
	uint64_t in_force_ns; /* since when what was loaded last is in force; 0: nothing is */
	uint64_t refused_ns;  /* when what is there now was refused; 0: it was not */
};

#define CONTROL_FILE_WORDS (sizeof(struct control_file) / 8)

/* Body of the segment <role>.stage. */
struct control {
	/* written by the supervisor */
	alignas(SHM_LINE) _Atomic uint64_t restarts;
	_Atomic uint64_t throttled; /* 1 while the role waits out its start-up back-off */
	_Atomic int64_t last_exit;  /* wait status of the last death; -1 before any */
	_Atomic uint64_t reloads;   /* goes up when the stage shall read its files again (file.h) */
	/* written by the stage */
	alignas(SHM_LINE) _Atomic uint32_t state; /* enum stage_state */
	_Atomic uint32_t pid;
	_Atomic uint64_t started_ns;   /* CLOCK_REALTIME */
	_Atomic uint64_t heartbeat_ns; /* CLOCK_MONOTONIC, at least once a second while alive */
	_Atomic uint64_t n_metrics;    /* release, after the descriptions */
	_Atomic uint64_t errand;       /* what it has taken or done of what it was asked: errand.h */
	_Atomic uint64_t errand_answer[ERRAND_ANSWERS];
	alignas(SHM_LINE) _Atomic uint64_t metric[METRIC_WORDS_MAX]; /* in the order of description[] */
	struct metric_description description[METRICS_MAX];
	alignas(SHM_LINE) _Atomic uint32_t note_version; /* odd while the note changes */
	uint32_t reserved;
	_Atomic uint64_t note[CONTROL_NOTE_BYTES / 8]; /* text; see control_note */
	struct {
		alignas(SHM_LINE) _Atomic uint32_t version; /* as note_version */
		uint32_t reserved;
		_Atomic uint64_t word[CONTROL_FILE_WORDS]; /* a struct control_file */
	} file[CONTROL_FILES_MAX];
};
_Static_assert(sizeof(struct control_file) % 8 == 0, "it is kept in words");

/* "running" and so on; "dead" is for the caller to find out (control_alive). */
const char *stage_state_name(enum stage_state state);

/* Whether some live process other than the caller holds the role's lock: 1, and *pid (may be NULL)
 * is set to it; 0: none; -errno: it cannot be told, so that somebody must be taken to live. Not for
 * the holder itself: closing a file drops its process's POSIX locks on it. */
int control_alive(const char *directory, const char *role, int *pid);

/* Declares the metrics of a stage from its table: METRICS_MAX rows and METRIC_WORDS_MAX words at
 * most, what is beyond is left out. A counter or histogram goes on from what a former life left
 * under its name, also when an upgrade has changed the table (but not the bounds); gauges begin at
 * 0. */
void control_declare(struct control *control, const struct metric_description *table, unsigned n);

/* Says in one line, as printf does, what numbers do not tell ("GeoLite2-City of 2026-07-01"); a
 * longer one is cut. Costs little when nothing has changed. By the stage that owns the control
 * block; stage_main empties it at the start of each life. */
void control_note(struct control *control, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the note says: printable ASCII, other bytes as '?'. Empty when there is none, or when its
 * writer died while it changed it. Any process. */
void control_read_note(const struct control *control, char note[CONTROL_NOTE_BYTES]);

/* Metrics that every stage has, at these words after its own: control_stage_word(ops->metrics,
 * ops->n_metrics) + STAGE_log_lines_dropped. */
enum stage_metric {
#define METRIC(name, kind, help) STAGE_##name,
#include "stage/metrics.def"
#undef METRIC
	STAGE_METRIC_COUNT
};

/* The word after those of a stage's own table. */
unsigned control_stage_word(const struct metric_description *table, unsigned n);

/* The stage's own metrics and after them those of every stage. Aborts when they do not fit. */
void control_declare_stage(struct control *control, const struct metric_description *table, unsigned n);

/* Shows a file of the stage as number i, below CONTROL_FILES_MAX; NULL: there is none. By the stage
 * that owns the control block. */
void control_show_file(struct control *control, unsigned i, const struct control_file *file);

/* File i as it was shown last; texts are printable, other bytes '?'. False when there is none, or
 * its writer died while it changed it. Any process. */
bool control_read_file(const struct control *control, unsigned i, struct control_file *file);

/* The row of a table whose values begin at this word. */
const struct metric_description *metric_row(const struct metric_description *table, unsigned word);

/* metric += n; metric = value; metric is a word. By the stage that owns the control block. */
static inline void metric_add(struct control *control, unsigned metric, uint64_t n)
{
	atomic_store_explicit(&control->metric[metric],
	                      atomic_load_explicit(&control->metric[metric], memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

static inline void metric_set(struct control *control, unsigned metric, uint64_t value)
{
	atomic_store_explicit(&control->metric[metric], value, memory_order_relaxed);
}

/* The bucket of a value: of the first bound that is not below it, or n for one above all. */
static inline unsigned metric_bucket(const uint64_t *bound, unsigned n, uint64_t value)
{
	unsigned i = 0;
	while (i < n && value > bound[i])
		i++;
	return i;
}

/* Counts a value in the histogram that has this row and whose values begin at this word. */
static inline void metric_observe(struct control *control, const struct metric_description *row,
                                  unsigned metric, uint64_t value)
{
	metric_add(control, metric, value);
	metric_add(control, metric + 1 + metric_bucket(row->bound, row->n_bounds, value), 1);
}

#endif
