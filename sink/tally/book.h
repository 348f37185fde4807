/* A book: what tally keeps of one topic, in memory and in tables of tally.db.
 *
 *     lane --peek--> take: counted in memory --.                            .-- another commit must not be larger
 *                                              '-- rows changed ----------> write: rows, in the transaction with the cursors
 *                    turn: minutes expire, a day ends --'                     '-- committed --> clean
 *
 *     book          topic      file             keeps
 *     addresses     ip         book_ip.c        messages and addresses of each application           (counts.h)
 *     metrics       metric     book_metric.c    how often each metric occurred by day and month, statistics of the last hour,
 *                                               first-seen accounts
 *     tracks        track      book_track.c     events by type, pod, client address, country, search term; timing
 *     deliveries    delivery   book_delivery.c  attempts by endpoint and outcome, a minute each, with their latencies
 *
 * The stage (tally.c) opens the books of the topics that its instance has, gives each the batches
 * of its topic, and has the store (store.h) write all of them in one transaction. So the counts of
 * all topics and the cursors of all lanes agree, whenever the process dies.
 *
 * Rows hold absolute values, and a row that is written twice is the same: a commit that was
 * reported as failed may have reached the disk, and is then repeated. What a book needs of its rows
 * to go on it loads at the start, or reads when an event of that time comes.
 *
 * Time is the event's arrival (event_head.arrival_ns), never the clock: a record that waited in its
 * lane over midnight belongs to the day in which it came. now_ms (CLOCK_REALTIME) is for what
 * expires alone, and is given by the caller, so that tests have a clock of their own.
 *
 * Memory is bounded by options (memory_max). What is over a limit is counted all the same, in a row
 * that says so. One thread.
 */
#ifndef SINK_TALLY_BOOK_H
#define SINK_TALLY_BOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "shm/record.h"
#include "shm/segment.h"
#include "stage/control.h"

struct sqlite3;

/* What was taken from a batch. */
struct book_taken {
	uint64_t records; /* all */
	uint64_t bad;     /* of these no events of the book's kind, skipped */
};

/* What was forgotten. */
struct book_forgotten {
	uint64_t applications, events;
};

/* The first member of each book's own struct. */
struct book {
	const struct book_kind *kind;
};

struct book_kind {
	const char *name;  /* "metrics", for messages */
	const char *topic; /* "metric" */
	/* SQL that makes them; harmless where they are there already (IF NOT EXISTS). The tables
	 * cursor and total are the store's. */
	const char *tables;
	/* Makes the book with the limits of the configuration, prepares its statements and loads
	 * what is there. Returns 0 with *book; otherwise -errno with the reason in error (without
	 * the file's name), and nothing is left: -EPROTO for rows that no book has written; -ENOMEM
	 * names the options that ask for less. db is the store's and stays open longer. */
	int (*open)(struct book **book, const struct config *config, struct sqlite3 *db,
	            struct shm_error *error);
	/* NULL does nothing. */
	void (*close)(struct book *book);
	/* Counts at most max records, fewer when the book is full; batch moves past them. The
	 * records lie in memory that others write: read a field once, check, then trust. */
	struct book_taken (*take)(struct book *book, struct record_batch *batch, uint64_t max);
	/* No more can be taken before a commit. */
	bool (*full)(const struct book *book);
	/* Rows that a commit would write. */
	uint64_t (*rows)(const struct book *book);
	/* Writes them, between BEGIN and COMMIT. Returns an SQLite result code. A write that
	 * failed may be repeated, and counts nothing twice. */
	int (*write)(struct book *book);
	/* What was written has been committed. */
	void (*clean)(struct book *book);
	/* Everything of this kind is to be forgotten (forget.h): deletes its rows, after write and
	 * in the same transaction, whether or not a book of it is open; sets what there was.
	 * Returns an SQLite result code. NULL: the kind is not concerned. */
	int (*delete_all)(struct sqlite3 *db, struct book_forgotten *forgotten);
	/* After clean, when that has been committed: memory is as that of a book without rows. */
	void (*forget)(struct book *book);
	/* About once a second: what has expired is to be deleted by the next write, what has ended
	 * to be merged. NULL: nothing expires. */
	void (*turn)(struct book *book, int64_t now_ms);
	/* Sets the gauges of its part of metrics.def. */
	void (*tell)(const struct book *book, struct control *control);
	/* Bytes that a book of this configuration can come to hold. */
	uint64_t (*memory_max)(const struct config *config);
	/* Could open do it? For the trial beforehand: db is read-only and nothing is changed. rows:
	 * looks at them too; otherwise a process that goes on has them. NULL: with rows the book is
	 * opened and closed, else nothing is tried. */
	int (*check)(const struct config *config, struct sqlite3 *db, bool rows, struct shm_error *error);
};

/* All kinds, NULL-ended, in the order of the table above (books.c). */
extern const struct book_kind *const book_kinds[];

#endif
