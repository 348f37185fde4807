#include "supervisor/capabilities.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/capability.h"

#define ONE(capability) (UINT64_C(1) << (capability))
#define THESE                                                                                          \
	(ONE(CAP_NET_ADMIN) | ONE(CAP_NET_RAW) | ONE(CAP_BPF) | ONE(CAP_PERFMON) | ONE(CAP_IPC_LOCK) | \
	 ONE(CAP_SYS_ADMIN))

/* Those of THESE that are in a word of the sets. */
static uint32_t these(unsigned i)
{
	return (uint32_t)(THESE >> (32 * i));
}

static void change(bool raise)
{
	int saved = errno;
	struct capability_sets sets, before;
	if (capability_get(&sets) != 0)
		abort();
	before = sets;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.word[i].effective &= ~these(i);
		if (raise)
			sets.word[i].effective |= sets.word[i].permitted & these(i);
	}
	if (capability_set(&before, &sets) != 0)
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
	struct capability_sets sets, before;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	int result = capability_get(&sets);
	if (result != 0)
		return result;
	before = sets;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.word[i].effective &= ~these(i);
		sets.word[i].permitted &= ~these(i);
		sets.word[i].inheritable &= ~these(i);
	}
	return capability_set(&before, &sets);
}
