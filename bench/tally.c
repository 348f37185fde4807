/* bench-tally: events of topic metric into the book of metrics, committed to a database on disk
 * once a second of events, as the tally stage does it; against rows and upserts in SQLite.
 *
 *     events of a second (made while the clock stands) --take, 8,192 at a time--> book --store_commit--> tally.db
 *                                                      --INSERT a row each, one transaction--> rows.db
 *                                                      --upserts of the same statistics------> upserts.db
 *
 * All on one processor, the thread that copies the database's log included. Rates are by CPU time
 * of all threads: what else the machine does, and the disk, are not in them. Accounts and metrics
 * are drawn at random for each event. Events' time goes on by itself, through the end of a minute
 * half-way. */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/output.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "event/event.h"
#include "shm/record.h"
#include "sink/tally/book_metric.h"
#include "sink/tally/store.h"
#include "sink/tally/tally.h"
#include "stage/database.h"

#define NAME_BYTES    24u
#define COMMITS_MAX   (TURNS_MAX * 60u)
#define BEGIN_MINUTE  29000000ull
#define BEGIN_SECONDS (BEGIN_MINUTE * 60)

struct options {
	unsigned turns, seconds, events, rows, accounts, metrics;
	const char *directory;
	bool json;
};

struct reference {
	const char *file, *what;
	const char *tables;
	const char *text[4]; /* statements for each event, NULL-ended */
	sqlite3 *db;
	sqlite3_stmt *statement[4], *begin, *commit;
	struct turns turns;
};

static struct {
	const char *directory;
	struct store *store;
	struct book *book;
	char *records;
	size_t record_bytes, room;
	uint64_t second;   /* of the events that come next */
	uint64_t n_events; /* counted */
	unsigned n_commits;
	double commit_ms[COMMITS_MAX], commit_cpu_ms[COMMITS_MAX];
	uint64_t clock_ns;  /* in which they were */
	uint64_t others_ns; /* others_cpu_ns, when the turn before began */
} b;

// clang-format off

static struct reference reference[] = {
        {.file = "rows.db",
         .what = "INSERT a row each",
         .tables = "CREATE TABLE event (arrival_ms INTEGER, username TEXT, metric TEXT, count INTEGER);",
         .text = {"INSERT INTO event VALUES (?1, ?2, ?3, ?4)"}},
        {.file = "upserts.db",
         .what = "upserts, same statistics",
         .tables = "CREATE TABLE per_user (minute INTEGER, username TEXT, metric TEXT, n INTEGER, least INTEGER,"
                   "  greatest INTEGER, sum INTEGER, PRIMARY KEY (minute, username, metric)) WITHOUT ROWID;"
                   "CREATE TABLE per_metric (minute INTEGER, metric TEXT, n INTEGER, least INTEGER, greatest INTEGER,"
                   "  sum INTEGER, PRIMARY KEY (minute, metric)) WITHOUT ROWID;"
                   "CREATE TABLE per_day (day INTEGER, metric TEXT, n INTEGER, PRIMARY KEY (day, metric)) WITHOUT ROWID;"
                   "CREATE TABLE account (username TEXT PRIMARY KEY, first_ms INTEGER) WITHOUT ROWID;",
         .text = {"INSERT INTO per_user VALUES (?1 / 60000, ?2, ?3, 1, ?4, ?4, ?4) ON CONFLICT DO UPDATE"
                  " SET n = n + 1, least = min(least, ?4), greatest = max(greatest, ?4), sum = sum + ?4",
                  "INSERT INTO per_metric VALUES (?1 / 60000, ?3, 1, ?4, ?4, ?4) ON CONFLICT DO UPDATE"
                  " SET n = n + 1, least = min(least, ?4), greatest = max(greatest, ?4), sum = sum + ?4",
                  "INSERT INTO per_day VALUES (?1 / 86400000, ?3, 1) ON CONFLICT DO UPDATE SET n = n + 1",
                  "INSERT INTO account VALUES (?2, ?1) ON CONFLICT DO UPDATE SET first_ms = ?1 WHERE first_ms > ?1"}},
};

// clang-format on

#define REFERENCES (sizeof reference / sizeof *reference)

static void fail(const char *what, const char *reason)
{
	fprintf(stderr, "bench-tally: %s: %s\n", what, reason);
	exit(1);
}

/* ---- events ---- */

static unsigned draw_below(unsigned n)
{
	static uint64_t state = 88172645463325252ull;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 32) * n >> 32);
}

/* The events of the next second, at their times. */
static void make_events(const struct options *options)
{
	for (unsigned i = 0; i < options->events; i++) {
		char name[2 * NAME_BYTES];
		int account = snprintf(name, NAME_BYTES, "user%05u", draw_below(options->accounts));
		int metric =
		        snprintf(name + account, NAME_BYTES, "kite_call_%02u", draw_below(options->metrics));
		size_t length = sizeof(struct event_metric) + (size_t)account + (size_t)metric;
		char *at = b.records + b.record_bytes;
		if (i == 0)
			at = b.records;
		struct event_metric *event = record_put(at, EVENT_METRIC, (uint32_t)length);
		*event = (struct event_metric){
		        .arrival_ns = b.second * NS_PER_SEC + i * NS_PER_SEC / options->events,
		        .username_bytes = (uint16_t)account,
		        .metric_bytes = (uint16_t)metric,
		        .count = draw_below(100000),
		};
		memcpy(event->text, name, (size_t)account + (size_t)metric);
		b.record_bytes = (size_t)(at - b.records) + record_bytes(length);
	}
	b.second++;
}

static struct record_batch all_events(void)
{
	return (struct record_batch){.at = b.records, .end = b.records + b.record_bytes};
}

/* ---- ours ---- */

static void commit(void)
{
	struct shm_error error = {""};
	uint64_t begun_ns = clock_monotonic_ns(), begun_cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	if (store_commit(b.store, &b.book, 1, NULL, 0, NULL, &error) != 0)
		fail("cannot commit", error.text);
	if (b.n_commits == COMMITS_MAX)
		return;
	uint64_t cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - begun_cpu_ns;
	b.commit_ms[b.n_commits] = (double)(clock_monotonic_ns() - begun_ns) / NS_PER_MS;
	b.commit_cpu_ms[b.n_commits++] = (double)cpu_ns / NS_PER_MS;
}

static void count_second(void)
{
	struct record_batch batch = all_events();
	b.book->kind->turn(b.book, (int64_t)((b.second - 1) * 1000));
	while (batch.at < batch.end) {
		struct book_taken taken = b.book->kind->take(b.book, &batch, TALLY_POLL_RECORDS);
		b.n_events += taken.records - taken.bad;
		if (b.book->kind->full(b.book))
			commit();
	}
	commit();
}

/* CPU time of the thread that copies the log: it works on while events are made. */
static uint64_t others_cpu_ns(void)
{
	return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static double turn_of_ours(const struct options *options)
{
	uint64_t cpu_ns = 0, others_ns = others_cpu_ns();
	for (unsigned i = 0; i < options->seconds; i++) {
		make_events(options);
		uint64_t begun_ns = clock_monotonic_ns(),
		         begun_cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
		count_second();
		b.clock_ns += clock_monotonic_ns() - begun_ns;
		cpu_ns += clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - begun_cpu_ns;
	}
	cpu_ns += others_ns - b.others_ns; /* since the turn before began: what followed that, too */
	b.others_ns = others_ns;
	return (double)options->seconds * options->events * NS_PER_SEC / (double)cpu_ns;
}

static void open_ours(const struct options *options)
{
	static const struct book_kind *const kinds[] = {&book_metric_kind, NULL};
	/* Room for all cells of the run: none is left out. */
	uint64_t pairs = (uint64_t)options->accounts * options->metrics;
	uint64_t minutes = (uint64_t)(options->turns + 1) * options->seconds / 60 + 2;
	const struct book_metric_limits limits = {.names = 10000,
	                                          .accounts = options->accounts + 1,
	                                          .metric_names = options->metrics + 1,
	                                          .hour_cells = pairs * minutes};
	struct shm_error error = {""};
	if (store_open(&b.store, b.directory, kinds, &error) != 0 ||
	    book_metric_open(&b.book, &limits, store_database(b.store), &error) != 0)
		fail("cannot open the database", error.text);
}

/* What is in the database is what was counted. */
static void check_ours(void)
{
	int64_t total = 0;
	if (database_number(store_database(b.store),
	                    "SELECT sum(total) FROM top WHERE name LIKE 'metric/day/%'",
	                    &total) != SQLITE_OK ||
	    total != (int64_t)b.n_events)
		fail("wrong", "the database does not hold as many events as were counted");
}

/* ---- the references ---- */

static void must(struct reference *of, int result)
{
	if (result != SQLITE_OK)
		fail(of->file, sqlite3_errmsg(of->db));
}

static void open_reference(struct reference *of)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/%s", b.directory, of->file);
	must(of, sqlite3_open(path, &of->db));
	must(of, sqlite3_exec(of->db,
	                      "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA cache_size=-32768",
	                      NULL, NULL, NULL));
	must(of, sqlite3_exec(of->db, of->tables, NULL, NULL, NULL));
	must(of, sqlite3_prepare_v2(of->db, "BEGIN IMMEDIATE", -1, &of->begin, NULL));
	must(of, sqlite3_prepare_v2(of->db, "COMMIT", -1, &of->commit, NULL));
	for (unsigned i = 0; i < 4 && of->text[i] != NULL; i++)
		must(of, sqlite3_prepare_v3(of->db, of->text[i], -1, SQLITE_PREPARE_PERSISTENT,
		                            &of->statement[i], NULL));
}

static void step(struct reference *of, sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE)
		fail(of->file, sqlite3_errmsg(of->db));
	sqlite3_reset(statement);
}

static void keep_event(struct reference *of, const struct event_metric *event)
{
	for (unsigned i = 0; i < 4 && of->statement[i] != NULL; i++) {
		sqlite3_stmt *statement = of->statement[i];
		int last = sqlite3_bind_parameter_count(statement);
		sqlite3_bind_int64(statement, 1, (int64_t)(event->arrival_ns / NS_PER_MS));
		sqlite3_bind_text(statement, 2, event->text, event->username_bytes, SQLITE_STATIC);
		if (last >= 3)
			sqlite3_bind_text(statement, 3, event->text + event->username_bytes,
			                  event->metric_bytes, SQLITE_STATIC);
		if (last >= 4)
			sqlite3_bind_int64(statement, 4, event->count);
		step(of, statement);
	}
}

/* A second's worth of what it is given: one transaction. */
static double turn_of_reference(const struct options *options, struct reference *of)
{
	struct record_batch batch = all_events();
	unsigned n = 0;
	uint64_t begun_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	step(of, of->begin);
	for (const struct record *record; n < options->rows && (record = record_next(&batch)) != NULL; n++)
		keep_event(of, (const struct event_metric *)(const void *)record->payload);
	step(of, of->commit);
	return (double)n * NS_PER_SEC / (double)(clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - begun_ns);
}

static void close_reference(struct reference *of)
{
	for (unsigned i = 0; i < 4; i++)
		sqlite3_finalize(of->statement[i]);
	sqlite3_finalize(of->begin);
	sqlite3_finalize(of->commit);
	sqlite3_close(of->db);
}

/* ---- the measurement ---- */

static void make_directory(const struct options *options)
{
	const char *below = options->directory;
	if (below[0] == '\0')
		below = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
	b.directory = turns_make_directory(below);
}

static int ascending(const void *a, const void *b_)
{
	double x = *(const double *)a, y = *(const double *)b_;
	return (x > y) - (x < y);
}

static double sorted_median(double *ms, double *longest)
{
	qsort(ms, b.n_commits, sizeof *ms, ascending);
	*longest = ms[b.n_commits - 1];
	return ms[b.n_commits / 2];
}

static void print(const struct options *options, const struct turns *ours, double clock_per_s)
{
	double longest, median = sorted_median(b.commit_ms, &longest);
	double longest_cpu, cpu = sorted_median(b.commit_cpu_ms, &longest_cpu);
	if (options->json) {
		printf("{\"bench\":\"tally\",\"accounts\":%u,\"metrics\":%u,\"events_a_commit\":%u,",
		       options->accounts, options->metrics, options->events);
		printf("\"per_s\":%.0f,\"per_s_by_the_clock\":%.0f,\"commit_ms\":%.1f,\"commit_ms_max\":%.1f,\"commit_cpu_ms\":%.1f,\"commit_cpu_ms_max\":%.1f,",
		       turns_median(ours->ours, ours->n), clock_per_s, median, longest, cpu, longest_cpu);
		printf("\"inserts_per_s\":%.0f,\"upserts_per_s\":%.0f}\n",
		       turns_median(reference[0].turns.reference, ours->n),
		       turns_median(reference[1].turns.reference, ours->n));
		return;
	}
	printf("%u accounts x %u metrics at random, a commit for each %u events, in %s; SQLite %s\n",
	       options->accounts, options->metrics, options->events, b.directory, sqlite3_libversion());
	for (unsigned i = 0; i < REFERENCES; i++)
		turns_print(&reference[i].turns, "counted and committed, a second of CPU time", "tally",
		            reference[i].what);
	printf("  a commit takes %.0f ms of CPU time (the longest %.0f ms), by the clock %.0f ms (%.0f ms)\n",
	       cpu, longest_cpu, median, longest);
	printf("  by the clock tally counts and commits %.2f M/s\n", clock_per_s / 1e6);
}

static int run(const struct options *options)
{
	turns_pin(0);
	make_directory(options);
	open_ours(options);
	for (unsigned i = 0; i < REFERENCES; i++)
		open_reference(&reference[i]);
	b.room = (size_t)options->events * record_bytes(sizeof(struct event_metric) + 2 * NAME_BYTES);
	b.records = malloc(b.room);
	if (b.records == NULL)
		fail("no memory for the events", strerror(ENOMEM));
	/* A minute ends in the middle of the run. */
	b.second = BEGIN_SECONDS + 60 - (uint64_t)(options->turns + 1) * options->seconds / 2 % 60;
	(void)turn_of_ours(options); /* not counted: names, memory */
	b.n_commits = 0;
	b.clock_ns = 0;
	uint64_t before = b.n_events;
	for (unsigned i = 0; i < options->turns; i++) {
		double ours = turn_of_ours(options);
		for (unsigned k = 0; k < REFERENCES; k++)
			turns_add(&reference[k].turns, ours, turn_of_reference(options, &reference[k]));
	}
	check_ours();
	print(options, &reference[0].turns, (double)(b.n_events - before) * NS_PER_SEC / (double)b.clock_ns);
	b.book->kind->close(b.book);
	store_close(b.store);
	for (unsigned i = 0; i < REFERENCES; i++)
		close_reference(&reference[i]);
	free(b.records);
	return 0;
}

static void help(void)
{
	puts("Usage: millrace bench tally [options]\n"
	     "\n"
	     "Counts events of topic metric in the tally stage's book, on one core, and commits them to a database on\n"
	     "disk after each second of them; beside it the same events as rows into SQLite, and as upserts that\n"
	     "keep the same statistics. Rates are by CPU time.\n"
	     "\n"
	     "  --turns N        turns of each side, 1 to 64 (default 9)\n"
	     "  --seconds N      seconds of events in a turn of ours, 1 to 60 (default 4)\n"
	     "  --events N       events a second, and so in a commit (default 1000000)\n"
	     "  --rows N         events in a turn of a reference, one transaction (default 100000)\n"
	     "  --accounts N     accounts (default 10000)\n"
	     "  --metrics N      metrics (default 100)\n"
	     "  --directory DIR  where the databases are made and removed again (default $TMPDIR or /var/tmp)\n"
	     "  --json           one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, 2 usage.");
}

static int run_bench(int argc, char **argv)
{
	struct options options = {.turns = 9,
	                          .seconds = 4,
	                          .events = 1000000,
	                          .rows = 100000,
	                          .accounts = 10000,
	                          .metrics = 100,
	                          .directory = ""};
	const struct option_row rows[] = {
	        {"turns", OPTION_COUNT, &options.turns, 1, TURNS_MAX},
	        {"seconds", OPTION_COUNT, &options.seconds, 1, 60},
	        {"events", OPTION_COUNT, &options.events, 1, 10000000},
	        {"rows", OPTION_COUNT, &options.rows, 1, 10000000},
	        {"accounts", OPTION_COUNT, &options.accounts, 1, 1000000},
	        {"metrics", OPTION_COUNT, &options.metrics, 1, 10000},
	        {"directory", OPTION_TEXT, &options.directory, 0, 0},
	        {"json", OPTION_ON, &options.json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-tally", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	log_init("bench-tally", LOG_ERROR, LOG_TEXT);
	return run(&options);
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run_bench(argc, argv);
	return status != 0 ? status : output_finish("bench-tally");
}
