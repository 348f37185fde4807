#include "sink/tally/books.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#include "sink/tally/book_delivery.h"
#include "sink/tally/book_ip.h"
#include "sink/tally/book_metric.h"
#include "sink/tally/book_track.h"
#include "stage/database.h"

const struct book_kind *const book_kinds[] = {&book_ip_kind, &book_metric_kind, &book_track_kind,
                                              &book_delivery_kind, NULL};
_Static_assert(sizeof book_kinds / sizeof book_kinds[0] - 1 <= BOOKS_MAX, "all can be open");

const struct book_kind *books_kind(const char *topic)
{
	for (const struct book_kind *const *kind = book_kinds; *kind != NULL; kind++)
		if (strcmp((*kind)->topic, topic) == 0)
			return *kind;
	return NULL;
}

int books_open(struct books *books, const char *const *topic, unsigned n, const struct config *config,
               struct sqlite3 *db, struct shm_error *error)
{
	int result = n <= BOOKS_MAX ? 0 : -E2BIG;
	*books = (struct books){.n = 0};
	for (unsigned i = 0; result == 0 && i < n; i++) {
		const struct book_kind *kind = books_kind(topic[i]);
		result = kind->open(&books->book[i], config, db, error);
		if (result == 0)
			books->n++;
	}
	if (result != 0)
		books_close(books);
	return result;
}

void books_close(struct books *books)
{
	while (books->n > 0) {
		struct book *book = books->book[--books->n];
		book->kind->close(book);
	}
}

static int check(const struct book_kind *kind, const struct config *config, struct sqlite3 *db, bool rows,
                 struct shm_error *error)
{
	struct book *book;
	if (kind->check != NULL)
		return kind->check(config, db, rows, error);
	int result = rows ? kind->open(&book, config, db, error) : 0;
	if (rows && result == 0)
		kind->close(book);
	return result;
}

int books_check(const struct config *config, struct sqlite3 *db, bool whole, bool rows,
                struct shm_error *error)
{
	int result = 0;
	for (const struct book_kind *const *kind = book_kinds; result == 0 && *kind != NULL; kind++) {
		/* Where a table is missing it would have to write. */
		int made = whole ? SQLITE_OK : sqlite3_exec(db, (*kind)->tables, NULL, NULL, NULL);
		if ((made & 0xff) == SQLITE_READONLY)
			continue;
		if (made == SQLITE_OK) {
			result = check(*kind, config, db, rows, error);
		} else {
			result = database_failed(db, NULL, made, error);
		}
	}
	return result;
}

void books_turn(struct books *books, int64_t now_ms)
{
	for (unsigned i = 0; i < books->n; i++)
		if (books->book[i]->kind->turn != NULL)
			books->book[i]->kind->turn(books->book[i], now_ms);
}

uint64_t books_rows(const struct books *books)
{
	uint64_t rows = 0;
	for (unsigned i = 0; i < books->n; i++)
		rows += books->book[i]->kind->rows(books->book[i]);
	return rows;
}

uint64_t books_memory_max(const struct config *config)
{
	uint64_t bytes = 0;
	for (const struct book_kind *const *kind = book_kinds; *kind != NULL; kind++)
		bytes += (*kind)->memory_max(config);
	return bytes;
}
