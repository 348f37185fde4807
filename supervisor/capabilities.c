#include "supervisor/capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ONE(capability) (UINT64_C(1) << (capability))
#define THESE                                                                                          \
	(ONE(CAP_NET_ADMIN) | ONE(CAP_NET_RAW) | ONE(CAP_BPF) | ONE(CAP_PERFMON) | ONE(CAP_IPC_LOCK) | \
	 ONE(CAP_SYS_ADMIN))

struct sets {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct word[_LINUX_CAPABILITY_U32S_3]; /* 32 capabilities each */
};

static int get(struct sets *sets)
{
	*sets = (struct sets){.head = {.version = _LINUX_CAPABILITY_VERSION_3}};
	return syscall(SYS_capget, &sets->head, sets->word) == 0 ? 0 : -errno;
}

/* Who holds nothing has nothing to change, and a service manager may refuse it the call
 * (SystemCallFilter=~@privileged). */
static int set(const struct sets *before, const struct sets *sets)
{
	if (memcmp(before->word, sets->word, sizeof sets->word) == 0)
		return 0;
	return syscall(SYS_capset, &sets->head, sets->word) == 0 ? 0 : -errno;
}

/* Those of THESE that are in a word of the sets. */
static uint32_t these(unsigned i)
{
	return (uint32_t)(THESE >> (32 * i));
}

static void change(bool raise)
{
	int saved = errno;
	struct sets sets = {0}, before;
	if (get(&sets) != 0)
		abort();
	before = sets;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.word[i].effective &= ~these(i);
		if (raise)
			sets.word[i].effective |= sets.word[i].permitted & these(i);
	}
	if (set(&before, &sets) != 0)
		abort();
	errno = saved;
}

void capabilities_lower(void)
{
	change(false);
}

void capabilities_raise(void)
{
	change(true);
}

/* What a set loses leaves the ambient set, too. With no_new_privs execve gives no more than there
 * was before it. */
int capabilities_shed(void)
{
	struct sets sets = {0}, before;
	int result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? get(&sets) : -errno;
	if (result != 0)
		return result;
	before = sets;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.word[i].effective &= ~these(i);
		sets.word[i].permitted &= ~these(i);
		sets.word[i].inheritable &= ~these(i);
	}
	return set(&before, &sets);
}
