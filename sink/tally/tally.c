#include "sink/tally/tally.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/folder.h"
#include "sink/tally/metrics.h"
#include "stage/errand.h"

/* While records come one after the other, the stage sleeps a moment after work and looks again by
 * itself. Only when nothing came does it ask to be woken, which costs the writer a system call, and
 * its processor a change of process. A nap is the longer the less it finds: of no lane more than a
 * part comes meanwhile. Lanes that are not large have short naps only. README.md has what that
 * saves. */
#define NAP_LEAST_NS    (200 * NS_PER_US)
#define NAP_MOST_NS     (10 * NS_PER_MS)
#define NAP_PART        64u /* of a lane, and so much in one nap makes the next a short one */
#define NAP_LARGE_BYTES (16ull << 20)

#define TURN_NS NS_PER_SEC /* between two looks at what has expired */

struct tally {
	struct books books; /* of topic i of `reads` is book[i] */
	struct store *store;
	struct ports ports;
	struct settle settle;
	struct control *control;
	struct errands errands;
	struct sleep_word call; /* of errands: as of the last look at what is asked */
	const char *data_dir;
	struct store_log log; /* as of the last look */
	uint64_t turned_ns;   /* when the books were last told the time */
	unsigned next;        /* topic whose turn it is */
	uint64_t errand;      /* to forget, taken: the next commit does it; 0: none */
	uint64_t nap_ns;      /* the next one */
	uint64_t found_bytes; /* since the last idle */
	bool much;            /* found since the last idle, in view of the lane's size */
	bool worked;          /* since the last idle */
	bool dense;           /* the last time it asked to be woken it was, within NAP_MOST_NS */
};

/* ---- the database, as settle.h wants it ---- */

static void tell_gauges(struct tally *tally)
{
	for (unsigned i = 0; i < tally->books.n; i++)
		tally->books.book[i]->kind->tell(tally->books.book[i], tally->control);
}

static void end_errand(struct tally *tally, const struct book_forgotten *forgotten)
{
	uint64_t answer[ERRAND_ANSWERS] = {forgotten->applications, forgotten->events};
	errand_done(&tally->errands, tally->errand, answer);
	tally->errand = 0;
	log_info("all addresses were forgotten, as somebody asked", "applications=%llu events=%llu",
	         (unsigned long long)forgotten->applications, (unsigned long long)forgotten->events);
}

/* The gauges follow before the cursors do: whoever sees that all was read sees what it came to. */
static int commit(void *sink, const struct settle_cursor *cursor, unsigned n, struct shm_error *error)
{
	struct tally *tally = sink;
	struct store_forget forget = {.kinds = book_kinds, .errand = tally->errand};
	uint64_t rows;
	int result = store_commit_forget(tally->store, tally->books.book, tally->books.n, cursor, n, &rows,
	                                 tally->errand != 0 ? &forget : NULL, error);
	if (result != 0)
		return result;
	metric_add(tally->control, TALLY_rows_written, rows);
	tell_gauges(tally);
	if (tally->errand != 0)
		end_errand(tally, &forget.forgotten);
	return 0;
}

static int stored(void *sink, struct settle_cursor *cursor, struct shm_error *error)
{
	struct tally *tally = sink;
	return store_read_cursor(tally->store, cursor, error);
}

/* A database that vanishes while nothing comes in is noticed too, before the next event is
 * counted. */
static int look(void *sink, struct shm_error *error)
{
	struct tally *tally = sink;
	return store_check_files(tally->store, error);
}

static const struct settle_store database = {
        .name = "database", .commit = commit, .stored = stored, .look = look};

/* ---- starting ---- */

/* A book's reason, with the file's name where that is meant. */
static int explain_book(int result, const char *path, const struct shm_error *why, struct shm_error *error)
{
	if (result == -ENOMEM)
		*error = *why;
	else
		shm_explain(error, "%s: %s", path, why->text);
	return result;
}

int tally_open(const struct config *config, const char *const *topic, unsigned n, struct books *books,
               struct store **store, struct shm_error *error)
{
	struct shm_error why = {""};
	int result = store_open(store, config_string(config, "data_dir"), book_kinds, error);
	if (result != 0)
		return result;
	store_limit_log(*store, config_u64(config, "tally.log_limit"));
	result = books_open(books, topic, n, config, store_database(*store), &why);
	if (result != 0) {
		(void)explain_book(result, store_path(*store), &why, error);
		store_close(*store);
		*store = NULL;
	}
	return result;
}

/* The process that has the role in the instance of this configuration, 0 for none. */
static int running(const struct config *config)
{
	char directory[FOLDER_PATH_MAX];
	int pid = 0;
	if (segment_directory(directory, sizeof directory, config_string(config, "instance")) != 0 ||
	    instance_locked(directory, TALLY_ROLE ".role", &pid) != 1)
		return 0;
	return pid;
}

static int look_at_books(void *argument, const struct store_tried *tried, struct shm_error *error)
{
	const struct config *config = argument;
	struct shm_error why = {""};
	int result = books_check(config, tried->db, tried->version == STORE_VERSION, tried->rows, &why);
	if (result != 0) {
		char path[FOLDER_PATH_MAX];
		snprintf(path, sizeof path, "%s/" STORE_FILE, config_string(config, "data_dir"));
		(void)explain_book(result, path, &why, error);
	}
	return result;
}

int tally_check(const struct config *config, const char *section, struct shm_error *error)
{
	struct shm_error why = {""};
	int result = store_try(config_string(config, "data_dir"), running(config), look_at_books,
	                       (void *)(uintptr_t)config, &why);
	if (result != 0)
		shm_explain(error, "%s: %s", result == -ENOMEM ? section : "data_dir", why.text);
	return result;
}

/* Somebody deleted the database, put an older copy in its place or set another data_dir. Nobody can
 * count those records again. */
static void say_lost(struct tally *tally, uint64_t lost)
{
	settle_note(&tally->settle,
	            "counts are short of %llu records that were read before: not in this " STORE_FILE
	            " (deleted, an older copy, another data_dir?)",
	            (unsigned long long)lost);
	log_warn(
	        "the database lacks records that its group has read: deleted, an older copy, another data_dir? they are in no count",
	        "group=%s records=%llu database=%s/%s", TALLY_GROUP, (unsigned long long)lost,
	        tally->data_dir, STORE_FILE);
}

/* The topics first: they say which books are to be open. */
static int open_ports(struct tally *tally, struct stage *stage, struct shm_error *error)
{
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	ports_declare_listed(&wanted, stage->config);
	int result = ports_open(&tally->ports, &wanted, error);
	if (result != 0 || tally->ports.n_reads != 0)
		return result;
	shm_explain(error, "the instance has no topic with a group \"%s\"", wanted.group);
	return -ENOENT;
}

static int take_up(struct tally *tally, struct stage *stage, struct shm_error *error)
{
	uint64_t lost = 0;
	settle_init(&tally->settle, &database, tally, &tally->ports, tally->control, TALLY_waiting_records);
	tally->settle.interval_ns = config_ns(stage->config, "tally.commit_interval");
	tally->settle.folder = tally->data_dir;
	int result = settle_take_up(&tally->settle, &lost, error);
	if (result == 0 && lost != 0)
		say_lost(tally, lost);
	return result;
}

/* Whether the life before this one, which died over an errand, had done it, is in the database. If
 * not, look_for_errand finds out whether somebody still wants it. */
static int take_up_errand(struct tally *tally, const struct stage *stage, struct shm_error *error)
{
	struct store_forget last;
	int result =
	        errand_attach(&tally->errands, stage->instance.directory, stage->role, tally->control, error);
	if (result != 0)
		return result;
	tally->call = errand_call(&tally->errands);
	uint64_t taken = errand_taken(&tally->errands);
	if (taken == 0)
		return 0;
	result = store_last_forget(tally->store, &last, error);
	if (result != 0 || last.errand != taken)
		return result;
	tally->errand = taken;
	end_errand(tally, &last.forgotten);
	return 0;
}

static void leave(struct tally *tally)
{
	errand_detach(&tally->errands);
	ports_close(&tally->ports);
	books_close(&tally->books);
	store_close(tally->store);
	free(tally);
}

static int open_all(struct tally *tally, struct stage *stage, struct shm_error *error)
{
	int result = open_ports(tally, stage, error);
	if (result == 0)
		result = tally_open(stage->config, tally->ports.wanted.reads, tally->ports.n_reads,
		                    &tally->books, &tally->store, error);
	if (result == 0)
		result = take_up(tally, stage, error);
	return result == 0 ? take_up_errand(tally, stage, error) : result;
}

static void log_start(const struct tally *tally)
{
	unsigned lanes = 0;
	for (unsigned i = 0; i < tally->ports.n_reads; i++)
		lanes += tally->ports.reader[i].n_lanes;
	log_info("counting", "topics=%u lanes=%u database=%s/%s", tally->ports.n_reads, lanes,
	         tally->data_dir, STORE_FILE);
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct tally *tally = calloc(1, sizeof *tally);
	if (tally == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	tally->control = stage->control;
	tally->nap_ns = NAP_LEAST_NS;
	tally->data_dir = config_string(stage->config, "data_dir");
	int result = open_all(tally, stage, error);
	if (result != 0) {
		leave(tally);
		return result;
	}
	stage->own = tally;
	stage->ports = &tally->ports;
	metric_set(tally->control, TALLY_memory_max_bytes, books_memory_max(stage->config));
	log_start(tally);
	return 0;
}

/* ---- the loop ---- */

static bool is_full(const struct tally *tally, unsigned i)
{
	const struct book *book = tally->books.book[i];
	return book->kind->full(book);
}

/* A batch of one lane; topics and their lanes have their turns. One whose book is full waits for a
 * commit, the others go on. */
static bool peek(struct tally *tally, unsigned *i, unsigned *lane, struct record_batch *batch)
{
	for (unsigned tried = 0; tried < tally->ports.n_reads; tried++) {
		*i = tally->next;
		tally->next = *i + 1 == tally->ports.n_reads ? 0 : *i + 1;
		if (!is_full(tally, *i) && topic_peek(&tally->ports.reader[*i], lane, batch))
			return true;
	}
	return false;
}

static void note_found(struct tally *tally, const struct stream_reader *lane, uint64_t bytes)
{
	tally->found_bytes += bytes;
	tally->much |= tally->found_bytes > lane->size / NAP_PART;
	tally->worked = true;
}

/* Somebody wants all addresses to be forgotten (forget.h): with a commit of all that was counted so
 * far, now. */
static void look_for_errand(struct tally *tally, uint64_t now_ns)
{
	sleep_note(&tally->call, 1);
	if (tally->errand != 0 || tally->settle.failing != 0)
		return;
	tally->errand = errand_take(&tally->errands, now_ns);
	if (tally->errand != 0)
		tally->settle.due_ns = now_ns;
}

static bool poll_stage(struct stage *stage)
{
	struct tally *tally = stage->own;
	struct record_batch batch;
	unsigned i, lane;
	look_for_errand(tally, stage->now_ns);
	settle_poll(&tally->settle, stage->now_ns);
	if (!peek(tally, &i, &lane, &batch))
		return false;
	struct book *book = tally->books.book[i];
	uint64_t position = batch.position;
	struct book_taken taken = book->kind->take(book, &batch, TALLY_POLL_RECORDS);
	metric_add(tally->control, TALLY_events, taken.records - taken.bad);
	if (taken.bad != 0)
		metric_add(tally->control, TALLY_bad_records, taken.bad);
	bool full = book->kind->full(book);
	bool wish = full || books_rows(&tally->books) >= TALLY_COMMIT_ROWS;
	settle_pass(&tally->settle, i, lane, &batch, taken.records, wish, stage->now_ns);
	note_found(tally, &tally->ports.reader[i].lane[lane], batch.position - position);
	return taken.records != 0 || batch.corrupt || (full && !book->kind->full(book));
}

static void look_at_log(struct tally *tally)
{
	struct store_log log;
	store_look_at_log(tally->store, &log);
	metric_set(tally->control, TALLY_log_bytes, log.bytes);
	metric_add(tally->control, TALLY_checkpoints, log.checkpoints - tally->log.checkpoints);
	metric_add(tally->control, TALLY_failed_checkpoints, log.failed - tally->log.failed);
	if (log.reason[0] != '\0' && tally->log.reason[0] == '\0')
		log_error(
		        "cannot copy the database's log into the database, it grows until that works or tally.log_limit is reached",
		        "log_bytes=%llu reason=\"%s\"", (unsigned long long)log.bytes, log.reason);
	if (log.reason[0] == '\0' && tally->log.reason[0] != '\0')
		log_info("the database's log is copied again", "log_bytes=%llu",
		         (unsigned long long)log.bytes);
	tally->log = log;
}

/* What expires does so while nothing comes, too: then it has a commit of its own. */
static void turn(struct tally *tally, uint64_t now_ns)
{
	if (now_ns - tally->turned_ns < TURN_NS)
		return;
	tally->turned_ns = now_ns;
	books_turn(&tally->books, clock_real_ms());
	if (!settle_open(&tally->settle) && books_rows(&tally->books) != 0)
		tally->settle.due_ns = now_ns + tally->settle.interval_ns;
}

static void tick(struct stage *stage)
{
	struct tally *tally = stage->own;
	turn(tally, stage->now_ns);
	settle_tick(&tally->settle, stage->now_ns);
	look_at_log(tally);
	tell_gauges(tally);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
	(void)nanosleep(&time, NULL); /* a signal ends it early, and that is right */
}

/* For topics whose book has room, as the others' tails would go on changing; and for an errand. */
static void wait_for_records(struct tally *tally, uint64_t timeout_ns)
{
	struct sleep_word word[SLEEP_WORDS_MAX];
	unsigned n = 0;
	word[n++] = tally->call;
	for (unsigned i = 0; i < tally->ports.n_reads; i++)
		if (!is_full(tally, i))
			n += topic_reader_words(&tally->ports.reader[i], &word[n]);
	uint64_t begun_ns = clock_monotonic_ns();
	bool woken = sleep_any(word, n, timeout_ns);
	tally->dense = woken && clock_monotonic_ns() - begun_ns < NAP_MOST_NS;
	if (!tally->dense)
		tally->nap_ns = NAP_LEAST_NS;
	metric_add(tally->control, TALLY_waits, 1);
}

static bool has_small_lane(const struct tally *tally)
{
	for (unsigned i = 0; i < tally->ports.n_reads; i++) {
		const struct topic_reader *reader = &tally->ports.reader[i];
		for (unsigned k = 0; k < reader->n_lanes; k++)
			if (reader->lane[k].size < NAP_LARGE_BYTES)
				return true;
	}
	return false;
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct tally *tally = stage->own;
	bool nap = tally->worked && tally->dense, longer = !tally->much && !has_small_lane(tally);
	tally->worked = tally->much = false;
	tally->found_bytes = 0;
	if (!longer)
		tally->nap_ns = NAP_LEAST_NS;
	if (nap) {
		metric_add(tally->control, TALLY_naps, 1);
		sleep_ns(timeout_ns < tally->nap_ns ? timeout_ns : tally->nap_ns);
		tally->nap_ns = 2 * tally->nap_ns < NAP_MOST_NS ? 2 * tally->nap_ns : NAP_MOST_NS;
		return;
	}
	wait_for_records(tally, settle_timeout(&tally->settle, timeout_ns, stage->now_ns));
}

static bool drained(struct stage *stage)
{
	struct tally *tally = stage->own;
	return settle_drained(&tally->settle);
}

static void fini(struct stage *stage)
{
	struct tally *tally = stage->own;
	struct shm_error error;
	bool safe = settle_finish(&tally->settle);
	tick(stage);
	if (safe && store_empty_log(tally->store, &error) != 0)
		log_warn("cannot copy the database's log into the database; the next start does",
		         "reason=\"%s\"", error.text);
	leave(tally);
	stage->own = NULL;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	(void)section;
	return books_memory_max(config);
}

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "sink/tally/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

const struct stage_ops tally_stage = {
        .name = "tally",
        .help = "counts events of every topic, in memory and in SQLite",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = tally_alone,
        .check = tally_check,
        .memory_max = memory_max,
};
