/* What the commands that send requests (`send http`, `send postback`) ask of their options
 * alike. */
#ifndef CLI_LOAD_SEND_HTTP_OPTIONS_H
#define CLI_LOAD_SEND_HTTP_OPTIONS_H

#include "cli/arguments.h"
#include "cli/load/send_http.h"
#include "cli/load/send_http_connection.h"

#define SEND_HTTP_DEFAULT_ADDRESS "127.0.0.1:8080"

struct send_http_amount {
	uint64_t connections, pipeline; /* requests in flight on each */
	uint64_t in_flight_most;        /* on all of them */
	uint64_t count;                 /* of requests, when neither a count nor a duration was given */
};

/* Checks amounts and token, and puts the amounts into load. Returns ARGUMENTS_GO_ON, or the exit
 * status of an error that has been told. */
int send_http_complete(const struct arguments *arguments, const struct send_http_amount *amount,
                       struct send_http_settings *load);

/* Parses the address, and aims load at it; target stays as long as load is used. Returns 0, or the
 * exit status of an error that has been told. */
int send_http_aim(const char *to, struct send_http_target *target, struct send_http_settings *load);

#endif
