/* The HTTP load of `millrace send http`: many connections in one thread, and an account of every
 * answer.
 *
 *     send_http_request_make --> in flight (up to `pipeline` a connection) --> socket
 *                                 '---- send_http_answer_feed <--------------- socket
 *
 * A request belongs to the connection that it was sent on. When that breaks, its answer is lost:
 * whether the server took it, nobody knows, so it is counted as unanswered and not sent again,
 * unless `retry` says that twice is better than not at all.
 */
#ifndef CLI_LOAD_SEND_HTTP_H
#define CLI_LOAD_SEND_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "cli/load/send_http_histogram.h"
#include "cli/load/send_http_request.h"

#define SEND_HTTP_CONNECTIONS_MAX 50000u
#define SEND_HTTP_PIPELINE_MAX    1024u
#define SEND_HTTP_STATUS_MAX      600u

struct send_http_settings {
	struct sockaddr_storage address;
	socklen_t address_bytes;
	uint32_t connections; /* 1 .. SEND_HTTP_CONNECTIONS_MAX */
	uint32_t pipeline;    /* requests in flight on each, 1 .. SEND_HTTP_PIPELINE_MAX */
	/* requests per second over all connections, evenly spaced; 0: as fast as answers allow */
	uint64_t rate;
	uint64_t count;       /* stop after so many; UINT64_MAX: no limit */
	uint64_t duration_ns; /* stop after so long; UINT64_MAX: no limit */
	uint64_t timeout_ns;  /* for an answer, and for a connection to be made */
	bool retry;           /* requests whose answers were lost are sent again */
	FILE *acknowledged;   /* the numbers of the events that were answered 2xx, one a line; or NULL */
	struct send_http_request_settings request;
};

struct send_http_result {
	uint64_t sent; /* handed to the kernel or about to be; a repetition counts again */
	uint64_t answered;
	uint64_t unanswered; /* answers that were lost */
	uint64_t repeated;   /* of those sent: again, because the answer to them was lost */
	uint64_t unasked;    /* answers that no request had asked for */
	/* not 2xx to a valid request, not 4xx to a corrupted one, or fewer events accepted than
	 * sent */
	uint64_t unexpected;
	uint64_t code[SEND_HTTP_STATUS_MAX];
	/* answered, by corruption; [SEND_HTTP_VALID] the valid ones */
	uint64_t corrupted[SEND_HTTP_CORRUPTIONS];
	uint64_t unexpected_of[SEND_HTTP_CORRUPTIONS];
	uint16_t unexpected_code[SEND_HTTP_CORRUPTIONS]; /* the last of them */
	uint64_t acknowledged;                           /* events */
	uint64_t retry_after; /* answers 503 with Retry-After, and what they said */
	uint32_t retry_after_min_s, retry_after_max_s;
	uint64_t opened;        /* connections */
	uint64_t broken;        /* ended with answers outstanding */
	uint64_t refused;       /* attempts to connect that failed */
	uint64_t timeouts;      /* broken by us, because no answer came in time */
	uint64_t bad_answers;   /* broken by us, because what came is no HTTP */
	const char *bad_answer; /* the last reason */
	uint64_t bytes_sent, bytes_received;
	uint64_t elapsed_ns;
	int error;                          /* what ended it early, 0 or -errno */
	struct send_http_histogram latency; /* ns; from when it was due (rate) or made, to its answer */
};

/* Sends until the count, the time or *stop says enough, and waits for the answers that are due
 * then. */
void send_http_run(const struct send_http_settings *settings, struct send_http_result *result,
                   const volatile bool *stop);

/* Every request was answered as expected, nothing else came, and something was sent. */
bool send_http_as_expected(const struct send_http_result *result);

/* The command `millrace send http`; argv[0] is "http". */
int send_http_command(int argc, char **argv);

#endif
