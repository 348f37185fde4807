/* The account that a receiver of postbacks keeps: which came how often, under which id, and how
 * late.
 *
 *     request --catch_postback_read--> number (n), time of sending (t), id --catch_account_take--> entry of a table
 *                                                                        answer --catch_account_answered
 *
 * A postback is known by its number: the parameter n of the URL's query or of a form, the member n
 * of a JSON body. One without a number is known by its Idempotency-Key or webhook-id. It is
 * delivered when a request for it was answered 2xx; each request after that is a duplicate.
 *
 * With the numbers that the sender had accepted (`send postback --acknowledged`), the account
 * knows what is missing.
 */
#ifndef CLI_CATCH_ACCOUNT_H
#define CLI_CATCH_ACCOUNT_H

#include <jansson.h>
#include <stdio.h>

#include "cli/catch/catch_request.h"
#include "cli/load/send_http_histogram.h"

#define CATCH_STATUS_MAX 600u

/* Why a signature does not hold, in the order in which it is found. */
enum catch_signature {
	CATCH_UNCHECKED,
	CATCH_GOOD,
	CATCH_UNSIGNED,
	CATCH_STALE,
	CATCH_WRONG,
	CATCH_SIGNATURES
};

/* What a request says of its postback. */
struct catch_postback {
	uint64_t key;     /* the number, or a hash of the id with the highest bit set; 0: neither */
	uint64_t id;      /* hash of the id, 0: none */
	uint64_t sent_us; /* CLOCK_REALTIME of the sender, 0: not said */
	bool bad_number;  /* there is an n that is no number from 1 to 2^63 - 1 */
};

struct catch_entry {
	uint64_t key; /* 0: free */
	uint64_t id;  /* of the first request */
	uint32_t came;
	bool delivered, expected;
};

struct catch_account {
	uint64_t received; /* whole requests */
	uint64_t bytes;
	uint64_t distinct;   /* postbacks that came at least once */
	uint64_t delivered;  /* of those: answered 2xx at least once */
	uint64_t duplicates; /* requests for one that was delivered */
	uint64_t other_id;   /* requests for one that came before with another id */
	uint64_t unnamed;    /* without number and id */
	uint64_t bad_numbers;
	uint64_t untracked; /* not in the table, as it was full */
	uint64_t signature[CATCH_SIGNATURES];
	uint64_t status[CATCH_STATUS_MAX];  /* answers */
	uint64_t hung, closed;              /* not answered on purpose */
	uint64_t bad_requests;              /* of those answered: no HTTP, or over a limit */
	const char *bad_request;            /* the last reason */
	uint64_t cut;                       /* requests whose connection ended in the middle */
	uint64_t refused;                   /* connections closed, as the memory was used up */
	uint64_t idle;                      /* connections closed, as nothing came */
	uint64_t connections;               /* in all */
	uint64_t expected, missing;         /* with catch_account_expect */
	struct send_http_histogram latency; /* ns; from sending to the receipt of what was delivered */
	/* private */
	struct catch_entry *table;
	uint64_t entries, slots, most;
};

/* most: postbacks that the table may hold. Returns 0 or -ENOMEM. */
int catch_account_init(struct catch_account *account, uint64_t most);
void catch_account_fini(struct catch_account *account);

/* Finds what a complete request says. */
struct catch_postback catch_postback_read(const struct catch_request *request, const char *data);

/* Counts a request that came. */
void catch_account_take(struct catch_account *account, const struct catch_postback *postback);

/* Counts its answer. received_us: CLOCK_REALTIME of when the request was complete. */
void catch_account_answered(struct catch_account *account, const struct catch_postback *postback,
                            uint16_t status, uint64_t received_us);

/* Reads the numbers that are expected from a file, one a line, each once. Returns 0, -errno, or
 * -EINVAL with the number of the wrong line in *line. -E2BIG: more than the table may hold. */
int catch_account_expect(struct catch_account *account, FILE *numbers, uint64_t *line);

/* True when nothing is missing and no signature was bad. */
bool catch_account_good(const struct catch_account *account);

/* "sent 10, delivered 10, duplicates 0, missing 0, latency p50 0.310 ms, p99 1.200 ms" */
void catch_account_print_line(const struct catch_account *account, FILE *out);

/* All of it, as text. seconds: how long the receiver ran. */
void catch_account_print(const struct catch_account *account, double seconds, FILE *out);

/* The same as JSON; NULL without memory. with_expected: has the member "expected". */
json_t *catch_account_json(const struct catch_account *account, double seconds, bool with_expected);

#endif
