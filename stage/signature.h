/* How a changed file is detected: one that was replaced or written to, without reading it. */
#ifndef STAGE_SIGNATURE_H
#define STAGE_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct signature {
	uint64_t device, inode, bytes;
	int64_t modified_ns, changed_ns;
};

/* Of the file at path. Returns 0 or -errno. */
int signature_take(struct signature *signature, const char *path);

/* Of a file that is open, as fstat(2) tells it. */
void signature_of(struct signature *signature, const struct stat *status);

bool signature_same(const struct signature *a, const struct signature *b);

#endif
