/* The HTTP load of `millrace send http`: many connections in one thread, and an account of every
 * answer.
 *
 *     send_http_request_make --> in flight (up to `pipeline` a connection) --> socket
 *                                 '---- send_http_answer_feed <--------------- socket
 *
 * A request belongs to the connection that it was sent on. When that connection breaks, the answer
 * is lost, and the client cannot know whether the server took the request. So it counts the request
 * as unanswered and does not send it again, unless `retry` is set: then the server may get it
 * twice.
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
	bool retry;           /* send requests again whose answers were lost */
	FILE *acknowledged;   /* gets the numbers of the events answered 2xx, one a line; or NULL */
	struct send_http_request_settings request;
};

struct send_http_result {
	uint64_t sent; /* handed to the kernel or about to be; a repetition counts again */
	uint64_t answered;
	uint64_t unanswered; /* answers that were lost */
	uint64_t repeated;   /* of those sent: again, after their answer was lost */
	uint64_t unasked;    /* answers without a request */
	/* not 2xx to a valid request, not 4xx to a corrupted one, or fewer events accepted than
	 * sent */
	uint64_t unexpected;
	uint64_t code[SEND_HTTP_STATUS_MAX];
	/* answered, by corruption; [SEND_HTTP_VALID] the valid ones */
	uint64_t corrupted[SEND_HTTP_CORRUPTIONS];
	uint64_t unexpected_of[SEND_HTTP_CORRUPTIONS];
	uint16_t unexpected_code[SEND_HTTP_CORRUPTIONS]; /* the last code of each */
	uint64_t acknowledged;                           /* events */
	uint64_t retry_after;                            /* 503 with Retry-After, and its seconds */
	uint32_t retry_after_min_s, retry_after_max_s;
	uint64_t opened;        /* connections */
	uint64_t broken;        /* ended with answers outstanding */
	uint64_t refused;       /* attempts to connect that failed */
	uint64_t timeouts;      /* closed here: no answer came in time */
	uint64_t bad_answers;   /* closed here: the answer is not HTTP */
	const char *bad_answer; /* the last reason */
	uint64_t bytes_sent, bytes_received;
	uint64_t elapsed_ns;
	int error; /* error that ended the run early: 0 or -errno */
	/* ns; from the due time (rate) or the making of a request to its answer */
	struct send_http_histogram latency;
};

/* Sends until the count or the time is reached or *stop is set, then waits for the outstanding
 * answers. */
void send_http_run(const struct send_http_settings *settings, struct send_http_result *result,
                   const volatile bool *stop);

/* True when every request was answered as expected, nothing else came, and at least one was
 * sent. */
bool send_http_as_expected(const struct send_http_result *result);

/* The commands `millrace send http` and `millrace send postback`; argv[0] is "http" or
 * "postback". */
int send_http_command(int argc, char **argv);
int send_postback_command(int argc, char **argv);

#endif
