/* The receiver of `millrace catch`: HTTP/1.1 for postbacks, in one thread, on epoll, with an
 * account of what came (catch_account.h) and answers of a test's choice (catch_rules.h).
 *
 *     READING --request--> answer at once ----------------------------------> READING
 *        |                 DELAYED: nothing is read until the answer is due --> READING
 *        |                 HUNG: until the peer closes
 *        '-- answers that the socket does not take: WRITING until it does ---> READING
 *
 * Requests of a connection are answered in their order. One that is whole stays in the shared
 * buffer; only one that is torn costs memory, at most `memory` bytes in all.
 */
#ifndef CLI_CATCH_CATCH_H
#define CLI_CATCH_CATCH_H

#include <stdio.h>
#include <sys/socket.h>

#include "cli/catch/catch_account.h"
#include "cli/catch/catch_rules.h"

#define CATCH_CONNECTIONS_MAX 100000u

struct sign;

struct catch_settings {
	struct sockaddr_storage address;
	socklen_t address_bytes;
	uint32_t connections; /* at most so many at once; more wait in the kernel */
	struct catch_limits limits;
	uint64_t memory;  /* bytes of torn requests and of answers not taken, in all */
	uint64_t idle_ns; /* a connection on which nothing comes for so long is closed */
	uint64_t entries; /* postbacks that the account tracks */
	uint64_t seed;
	const struct catch_rules *rules;
	uint32_t retry_after_s;  /* in answers 429 and 503; 0: not */
	const char *location;    /* in answers 3xx; NULL: none */
	const char *body;        /* of answers; "" for none */
	FILE *log;               /* a JSON line for each request, or NULL */
	const struct sign *sign; /* secrets that signatures are checked with, or NULL */
	uint64_t tolerance_s;    /* how far the time of a signature may be from now */
};

/* 127.0.0.1 with a port that the kernel chooses, and the defaults of the command. */
struct catch_settings catch_defaults(const struct catch_rules *rules);

/* When catch_run ends besides *stop. 0: never for that reason. */
struct catch_until {
	uint64_t delivered;   /* so many postbacks are delivered */
	uint64_t duration_ns; /* from the call */
	uint64_t quiet_ns;    /* nothing came for so long; counts after the first request */
	bool complete;        /* nothing that is expected is missing */
	bool progress;        /* a line a second on standard error */
};

struct catch;

/* Listens. Returns 0 and sets *made, to be given to catch_close, or -errno. settings must stay. */
int catch_open(struct catch **made, const struct catch_settings *settings);
void catch_close(struct catch *catch);

/* The address with the port that the kernel chose. */
const struct sockaddr_storage *catch_address(const struct catch *catch);

/* Receives until *stop or one of until. May be called again. Returns 0 or -errno (of the log, or of
 * epoll). */
int catch_run(struct catch *catch, const struct catch_until *until, const volatile bool *stop);

struct catch_account *catch_account_of(struct catch *catch);

#endif
