/* The cache of target.h: a table by hash, and the targets that nobody uses in a list by age.
 *
 *     bucket --> target --> target          all: those in use and those that are kept
 *     oldest <-> ... <-> newest             kept: references is 0
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/siphash.h"
#include "deliver/target.h"

#define BUCKETS_LEAST 1024u

struct targets {
	unsigned most, buckets; /* a power of two */
	uint64_t secret[2];
	struct targets_counts counts;
	struct target *oldest, *newest;
	struct target *bucket[];
};

struct targets *targets_new(unsigned most)
{
	unsigned buckets = BUCKETS_LEAST;
	while (buckets < most && buckets < 1u << 30)
		buckets *= 2;
	struct targets *targets = calloc(1, sizeof *targets + buckets * sizeof(struct target *));
	if (targets == NULL)
		return NULL;
	targets->most = most;
	targets->buckets = buckets;
	while (getrandom(targets->secret, sizeof targets->secret, 0) < 0) {
		if (errno != EINTR) {
			free(targets);
			return NULL;
		}
	}
	return targets;
}

void targets_free(struct targets *targets)
{
	if (targets == NULL)
		return;
	for (unsigned i = 0; i < targets->buckets; i++) {
		while (targets->bucket[i] != NULL) {
			struct target *target = targets->bucket[i];
			targets->bucket[i] = target->next;
			target_free(target);
		}
	}
	free(targets);
}

/* ---- the list of those that are kept ---- */

static void keep(struct targets *targets, struct target *target)
{
	target->newer = NULL;
	target->older = targets->newest;
	*(targets->newest != NULL ? &targets->newest->newer : &targets->oldest) = target;
	targets->newest = target;
	targets->counts.kept++;
	targets->counts.memory += target->memory;
}

static void unkeep(struct targets *targets, struct target *target)
{
	*(target->older != NULL ? &target->older->newer : &targets->oldest) = target->newer;
	*(target->newer != NULL ? &target->newer->older : &targets->newest) = target->older;
	targets->counts.kept--;
	targets->counts.memory -= target->memory;
}

static void drop_oldest(struct targets *targets)
{
	struct target *target = targets->oldest;
	struct target **at = &targets->bucket[target->hash & (targets->buckets - 1)];
	while (*at != target)
		at = &(*at)->next;
	*at = target->next;
	unkeep(targets, target);
	target_free(target);
}

/* ---- finding ---- */

int targets_find(struct targets *targets, struct target **found, const char *url, size_t bytes,
                 struct shm_error *error)
{
	struct siphash hash;
	siphash_init(&hash, targets->secret, 1, 3);
	siphash_add(&hash, url, bytes);
	uint64_t wanted = siphash_end(&hash);
	struct target **bucket = &targets->bucket[wanted & (targets->buckets - 1)], *target = *bucket;
	while (target != NULL &&
	       (target->hash != wanted || target->url_bytes != bytes || memcmp(target->url, url, bytes) != 0))
		target = target->next;
	if (target != NULL) {
		targets->counts.found++;
		if (target->references == 0)
			unkeep(targets, target);
	} else {
		int result = target_compile(&target, url, bytes, error);
		if (result < 0)
			return result;
		targets->counts.compiled++;
		target->hash = wanted;
		target->next = *bucket;
		*bucket = target;
	}
	target->references++;
	*found = target;
	return 0;
}

void target_release(struct targets *targets, struct target *target)
{
	if (--target->references > 0)
		return;
	keep(targets, target);
	while (targets->oldest != NULL && (targets->counts.kept > targets->most ||
	                                   targets->counts.memory > (size_t)targets->most * TARGETS_BYTES))
		drop_oldest(targets);
}

struct targets_counts targets_counts(const struct targets *targets)
{
	return targets->counts;
}
