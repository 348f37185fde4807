#include "base/capability.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int capability_get(struct capability_sets *sets)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	*sets = (struct capability_sets){0};
	return syscall(SYS_capget, &head, sets->word) == 0 ? 0 : -errno;
}

int capability_set(const struct capability_sets *before, const struct capability_sets *sets)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	if (memcmp(before, sets, sizeof *sets) == 0)
		return 0;
	return syscall(SYS_capset, &head, sets->word) == 0 ? 0 : -errno;
}
