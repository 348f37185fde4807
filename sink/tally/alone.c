#include "sink/tally/tally.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/log.h"
#include "event/event.h"
#include "flow/flow.h"
#include "stage/records.h"

struct alone {
	struct books books; /* of all kinds, in their order */
	struct store *store;
	uint64_t records, bad;
};

static int commit(struct alone *alone)
{
	struct shm_error error;
	if (store_commit(alone->store, alone->books.book, alone->books.n, NULL, 0, NULL, &error) == 0)
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

/* The book that keeps records of this type, or NULL. */
static struct book *book_of(const struct alone *alone, uint16_t type)
{
	for (unsigned i = 0; i < alone->books.n; i++)
		if (flow_topic_type(alone->books.book[i]->kind->topic) == type)
			return alone->books.book[i];
	return NULL;
}

/* Records of one type in a row, from the next on; *type is set to it. */
static uint64_t run_length(struct record_batch ahead, uint16_t *type)
{
	uint64_t n = 0;
	for (; record_next(&ahead) != NULL && (n == 0 || ahead.type == *type); n++)
		*type = ahead.type;
	return n;
}

/* No book keeps them. */
static struct book_taken skip(struct record_batch *batch, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		(void)record_next(batch);
	return (struct book_taken){.records = n, .bad = n};
}

static int count_batch(struct alone *alone, struct record_batch *batch)
{
	uint64_t n;
	uint16_t type = EVENT_NONE;
	while ((n = run_length(*batch, &type)) != 0) {
		struct book *book = book_of(alone, type);
		struct book_taken taken = book == NULL ? skip(batch, n) : book->kind->take(book, batch, n);
		alone->records += taken.records;
		alone->bad += taken.bad;
		bool full = book != NULL && book->kind->full(book);
		if ((full || books_rows(&alone->books) >= TALLY_COMMIT_ROWS) && commit(alone) != 0)
			return 1;
		if (taken.records == 0 && full && book->kind->full(book)) {
			log_error("cannot go on: a book takes no more", "book=%s", book->kind->name);
			return 1;
		}
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

/* With the gauges that the books set. */
static void print_summary(const struct alone *alone, FILE *output)
{
	static struct control control;
	fprintf(output, "records %" PRIu64 "\n", alone->records);
	fprintf(output, "counted %" PRIu64 "\n", alone->records - alone->bad);
	fprintf(output, "skipped %" PRIu64 "\n", alone->bad);
	for (unsigned word = 0; word < METRIC_WORDS_MAX; word++)
		metric_set(&control, word, UINT64_MAX);
	for (unsigned i = 0; i < alone->books.n; i++)
		alone->books.book[i]->kind->tell(alone->books.book[i], &control);
	for (unsigned i = 0, word = 0; i < tally_stage.n_metrics; i++) {
		uint64_t value = atomic_load_explicit(&control.metric[word], memory_order_relaxed);
		word += metric_words(&tally_stage.metrics[i]);
		if (value != UINT64_MAX)
			fprintf(output, "%s %" PRIu64 "\n", tally_stage.metrics[i].name, value);
	}
}

int tally_alone(const struct config *config, FILE *input, FILE *output)
{
	struct alone alone = {0};
	struct shm_error error;
	const char *topic[BOOKS_MAX];
	unsigned n = 0;
	for (; book_kinds[n] != NULL; n++)
		topic[n] = book_kinds[n]->topic;
	if (tally_open(config, topic, n, &alone.books, &alone.store, &error) != 0) {
		log_error("cannot start", "reason=\"%s\"", error.text);
		return 1;
	}
	books_turn(&alone.books, clock_real_ms());
	int status = count_file(&alone, input);
	if (commit(&alone) != 0 || empty_log(&alone) != 0)
		status = 1;
	print_summary(&alone, output);
	if (fflush(output) != 0)
		status = 1;
	books_close(&alone.books);
	store_close(alone.store);
	return status;
}
