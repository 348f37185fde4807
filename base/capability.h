/* The capabilities (capabilities(7)) of the calling thread: the three sets that capset(2) changes.
 * The C library has no function for them. */
#ifndef BASE_CAPABILITY_H
#define BASE_CAPABILITY_H

#include <linux/capability.h>

struct capability_sets {
	struct __user_cap_data_struct word[_LINUX_CAPABILITY_U32S_3]; /* 32 capabilities each */
};

/* Returns 0 or -errno. */
int capability_get(struct capability_sets *sets);

/* Makes the thread's sets, which are `before`, what `sets` says. Where they are that already the
 * kernel is not asked: a service manager may refuse the call to who needs none
 * (SystemCallFilter=~@privileged). Returns 0 or -errno. */
int capability_set(const struct capability_sets *before, const struct capability_sets *sets);

#endif
