#include "sink/objects/store.h"

#include <errno.h>

/* The directory comes last: it is meant when no other is. */
static const struct store_ops *const stores[] = {&store_null, &store_s3, &store_azure, &store_directory};

int store_choose(const struct store_ops **ops, const struct config *config, const char *section,
                 struct shm_error *error)
{
	const unsigned last = sizeof stores / sizeof stores[0] - 1;
	*ops = NULL;
	for (unsigned i = 0; i < last; i++) {
		if (!stores[i]->meant(config, section))
			continue;
		if (*ops != NULL) {
			shm_explain(
			        error,
			        "%s.store: asks for %s and for %s; allowed: one of s3.bucket, azure.container, discard, or none for a directory",
			        section, (*ops)->kind, stores[i]->kind);
			return -EINVAL;
		}
		*ops = stores[i];
	}
	if (*ops == NULL)
		*ops = stores[last];
	return 0;
}
