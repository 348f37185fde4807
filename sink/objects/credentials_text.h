/* The texts that credentials of AWS come in. All come from outside: bounded, and nothing of them is
 * taken that could not stand in a header.
 *
 *     ~/.aws/credentials        [default]  aws_access_key_id = ...  aws_secret_access_key = ...  aws_session_token = ...
 *     container, instance       {"AccessKeyId": ..., "SecretAccessKey": ..., "Token": ..., "Expiration": "2026-11-27T12:00:00Z"}
 *     STS                       <AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>...
 */
#ifndef SINK_OBJECTS_CREDENTIALS_TEXT_H
#define SINK_OBJECTS_CREDENTIALS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sink/objects/sigv4.h"

struct credentials_keys {
	char access_key[SIGV4_KEY_MAX];
	char secret_key[SIGV4_KEY_MAX];
	char session_token[SIGV4_TOKEN_MAX]; /* "": none */
	int64_t expires_s;                   /* seconds since 1970; 0: never */
};

/* Each returns 0, or -EINVAL with what is wrong in reason, which never has a secret in it: keys is
 * then all zero. text need not end with 0. */
int credentials_of_file(struct credentials_keys *keys, const char *text, size_t bytes, const char *profile,
                        char *reason, size_t size);
int credentials_of_json(struct credentials_keys *keys, const char *text, size_t bytes, char *reason,
                        size_t size);
int credentials_of_sts(struct credentials_keys *keys, const char *text, size_t bytes, char *reason,
                       size_t size);

/* Copies a key or token without white space around it. False when it is empty, too long, or has
 * bytes that are not printable ASCII. */
bool credentials_take(char *out, size_t size, const char *text, size_t bytes);

/* The same for the value of a header, which may have spaces in it: "Basic dXNlcjo=". */
bool credentials_take_value(char *out, size_t size, const char *text, size_t bytes);

/* "2026-11-27T12:00:00Z", with a fraction too, as seconds since 1970; -1 when it is none. */
int64_t credentials_time(const char *text);

#endif
