#include "serve/follower.h"

#include "base/clock.h"

#define RETRY_NS NS_PER_SEC

bool follower_due(struct follower *follower, const struct instance *instance, uint64_t now_ns)
{
	if (follower->page != instance->page)
		follower_leave(follower);
	if (follower->page != NULL || now_ns < follower->retry_ns)
		return false;
	follower->retry_ns = now_ns + RETRY_NS;
	return true;
}

int follower_attach(struct follower *follower, const struct instance *instance, const char *topic,
                    uint64_t records, struct shm_error *error)
{
	int result = topic_reader_attach_unseen(&follower->reader, instance, topic, STREAM_FROM_TAIL, error);
	if (result != 0)
		return result;
	follower->page = instance->page;
	follower->generation = instance->generation;
	for (unsigned i = 0; records > 0 && i < follower->reader.n_lanes; i++)
		(void)stream_reader_rewind(&follower->reader.lane[i], records);
	return 0;
}

static uint64_t missed_now(const struct follower *follower)
{
	uint64_t missed = 0;
	for (unsigned i = 0; follower->page != NULL && i < follower->reader.n_lanes; i++)
		if (follower->reader.lane[i].cursor != NULL)
			missed += atomic_load_explicit(&follower->reader.lane[i].cursor->missed_records,
			                               memory_order_relaxed);
	return missed;
}

void follower_leave(struct follower *follower)
{
	if (follower->page == NULL)
		return;
	follower->missed += missed_now(follower);
	for (unsigned i = 0; i < follower->reader.n_lanes; i++)
		follower->start[i] = follower->reader.lane[i].position;
	topic_reader_detach(&follower->reader);
	follower->page = NULL;
}

uint64_t follower_missed(const struct follower *follower)
{
	return follower->missed + missed_now(follower);
}
