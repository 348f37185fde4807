/* Which of a topic's groups a process may have: the steps of topic_reader_attach and of those who
 * free a group, for topic.c alone.
 *
 *     claim_begin      all groups mapped to look at, and locked against other claimers
 *     claim_choose     by name, or a free one
 *     claim_take       the reader's file locked, its page mapped writable
 *     claim_end
 *
 * A stage takes what the configuration made for it and nobody else may have: it claims without the
 * lock, so that no other process can keep it waiting.
 */
#ifndef SHM_CLAIM_H
#define SHM_CLAIM_H

#include "shm/topic.h"

struct claim {
	const struct instance *instance;
	const char *topic;
	int lock; /* -1: not locked */
	struct segment group[STREAM_GROUPS_MAX];
};

/* Returns 0 or -errno with the reason; then nothing has begun. */
int claim_begin(struct claim *claim, const struct instance *instance, const char *topic, bool lock,
                struct shm_error *error);

/* The group that `reader` (its kind, stage, makes, share are set) may have under that name: its
 * index, and whether it is to be made in reader->made; or -errno with the reason, as
 * topic_reader_attach. */
int claim_choose(const struct claim *claim, const char *name, struct topic_reader *reader,
                 struct shm_error *error);

/* Locks it for this process and maps it: reader->lock, group_segment, group, group_index. Returns 0
 * or -errno with the reason. */
int claim_take(struct topic_reader *reader, const struct claim *claim, int index, const char *name,
               struct shm_error *error);

void claim_end(struct claim *claim);

#endif
