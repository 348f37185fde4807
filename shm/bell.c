#include "shm/bell.h"

#include <ck_ec.h>
#include <time.h>

#include "shm/sleep.h"

_Static_assert(sizeof(struct ck_ec32) == sizeof(uint32_t), "a bell's word is a ck_ec32");

static int read_clock(const struct ck_ec_ops *ops, struct timespec *out)
{
	(void)ops;
	return clock_gettime(CLOCK_MONOTONIC, out);
}

static void wake(const struct ck_ec_ops *ops, const uint32_t *address)
{
	(void)ops;
	sleep_wake((const _Atomic uint32_t *)(const void *)address);
}

/* Several processes ring one bell, so it is ck_ec's multiple-producer kind, which loses no mark. */
static const struct ck_ec_ops bell_ops = {.gettime = read_clock, .wake32 = wake};
static const struct ck_ec_mode bell_mode = {.ops = &bell_ops, .single_producer = false};

static struct ck_ec32 *count_of(const struct bell *bell)
{
	return (struct ck_ec32 *)(uintptr_t)&bell->word;
}

void bell_ring(struct bell *bell)
{
	ck_ec32_inc(count_of(bell), &bell_mode);
}

uint32_t bell_value(const struct bell *bell)
{
	return ck_ec32_value(count_of(bell));
}

bool bell_mark(struct bell *bell, uint32_t seen)
{
	uint32_t word = atomic_load_explicit(&bell->word, memory_order_acquire);
	while (word == seen)
		if (atomic_compare_exchange_weak_explicit(&bell->word, &word, seen | BELL_MARK,
		                                          memory_order_seq_cst, memory_order_acquire))
			return true;
	return word == (seen | BELL_MARK);
}

bool bell_wait(struct bell *bell, uint32_t seen, uint64_t timeout_ns)
{
	struct sleep_word word = sleep_on_bell(bell);
	word.seen = seen;
	return sleep_any(&word, 1, timeout_ns);
}
