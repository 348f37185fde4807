/* How the commands that send requests (`send http`, `send postback`) tell what came of them. */
#ifndef CLI_LOAD_SEND_HTTP_ACCOUNT_H
#define CLI_LOAD_SEND_HTTP_ACCOUNT_H

#include "cli/load/send_http.h"

/* Prints the account as text. to: the address as it was given. */
void send_http_print_text(const char *to, const struct send_http_settings *settings,
                          const struct send_http_result *result);

/* The same as JSON. Returns 0 or -ENOMEM. */
int send_http_print_json(const char *to, const struct send_http_settings *settings,
                         const struct send_http_result *result);

/* Prints in one line on standard error why the result is not as expected. Returns 1. */
int send_http_unexpected(const char *to, const struct send_http_result *result);

#endif
