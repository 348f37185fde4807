/* What a service for managed identities answers:
 *
 *     {"access_token": "eyJ0...", "expires_on": "1795810000", ...}              --> the token, and how long it lasts
 *     {"error": "invalid_request", "error_description": "Identity not found"}   --> words for people
 *
 * It comes from outside: bounded, and no token is taken that could not stand in a header.
 */
#ifndef SINK_OBJECTS_AZURE_TOKEN_H
#define SINK_OBJECTS_AZURE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AZURE_TOKEN_MAX      8192u          /* its final 0 included */
#define AZURE_TOKEN_SPARE_S  5u             /* one that ends within that is none any more */
#define AZURE_TOKEN_LIFE_MAX (30u * 86400u) /* seconds that are believed */

struct azure_token {
	char text[AZURE_TOKEN_MAX]; /* printable ASCII without spaces */
	uint64_t left_s;            /* from now on */
};

/* now_s: by the service's clock, when it tells, seconds since 1970. body need not end with 0, and
 * may be NULL. False when there is no token in it, or one that has ended: token is unchanged. */
bool azure_token_read(struct azure_token *token, const char *body, size_t bytes, uint64_t now_s);

/* "invalid_request: Identity not found", cut to size; "" when it says nothing. */
void azure_token_refusal(char *text, size_t size, const char *body, size_t bytes);

#endif
