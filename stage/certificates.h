/* A file of certificates (PEM) that an option names, for libcurl to verify others by: libcurl
 * itself would notice at the first request only that there is none in it. */
#ifndef STAGE_CERTIFICATES_H
#define STAGE_CERTIFICATES_H

#include "shm/segment.h"

/* Whether there is a certificate in the file; "" is good: the system's. Returns 0, or -errno with
 * "PATH: what is wrong" in error. Needs OpenSSL (-lcrypto). */
int certificates_check(const char *path, struct shm_error *error);

#endif
