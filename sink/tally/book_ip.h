/* The book of topic ip: messages and addresses of each application (counts.h), and its tables.
 *
 *     application  id = index + 1, sha (32 bytes)
 *     count        id as in application, count, truncated: apart, because these are the rows that every commit rewrites
 *     network      id = application's index << 28 | address >> 4, hosts: bit i says that the address with low bits i was seen
 *     total        "beyond": messages of applications over the limit
 *     report, address: views of the same with shas and addresses as text, for other tools
 *
 * A network's id puts all networks of an application in a row, in the order of addresses: a report
 * is one range, and a commit sorted by id touches each page once.
 */
#ifndef SINK_TALLY_BOOK_IP_H
#define SINK_TALLY_BOOK_IP_H

#include "sink/tally/book.h"
#include "sink/tally/counts.h"

extern const struct book_kind book_ip_kind;

enum book_ip_statement {
	BOOK_IP_APPLICATION,
	BOOK_IP_COUNT,
	BOOK_IP_NETWORK,
	BOOK_IP_TOTAL,
	BOOK_IP_STATEMENTS
};

struct book_ip {
	struct book book;
	struct counts counts;
	uint64_t stored_applications; /* rows 1 .. this exist */
	struct sqlite3_stmt *statement[BOOK_IP_STATEMENTS];
};

/* The limits of a configuration. */
struct counts_limits book_ip_limits(const struct config *config);

/* As book_kind.open, with these limits. */
int book_ip_open(struct book_ip **book, const struct counts_limits *limits, struct sqlite3 *db,
                 struct shm_error *error);

/* As book_kind.check, with these limits. *expected is set to the rows that there are. */
int book_ip_check(const struct counts_limits *limits, struct sqlite3 *db, bool rows,
                  struct counts_expected *expected, struct shm_error *error);

#endif
