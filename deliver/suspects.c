#include "deliver/suspects.h"

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static bool is_it(const struct deliver_suspect *suspect, const uint64_t id[2])
{
	return load(&suspect->id[0]) == id[0] && load(&suspect->id[1]) == id[1];
}

static unsigned find(const struct deliver_private *private, const uint64_t id[2])
{
	unsigned i = 0;
	while (i < DELIVER_SUSPECTS && !is_it(&private->suspect[i], id))
		i++;
	return i;
}

/* The list is full of ids that were hit once: the oldest makes room. */
static unsigned list(struct deliver_private *private, const uint64_t id[2])
{
	static const uint64_t nobody[2] = {0, 0};
	unsigned i = find(private, nobody);
	if (i == DELIVER_SUSPECTS)
		i = (unsigned)(load(&private->listed) % DELIVER_SUSPECTS);
	store(&private->listed, load(&private->listed) + 1);
	store(&private->suspect[i].deaths, 0);
	store(&private->suspect[i].id[0], id[0]);
	store(&private->suspect[i].id[1], id[1]);
	return i;
}

/* `handling` goes first: a life that is killed here counts one death too few, not too many. */
uint64_t suspects_begin(struct deliver_private *private, uint64_t id[2])
{
	id[0] = load(&private->handling[0]);
	id[1] = load(&private->handling[1]);
	handling_end(private);
	if (id[0] == 0 && id[1] == 0)
		return 0;
	unsigned i = find(private, id);
	if (i == DELIVER_SUSPECTS)
		i = list(private, id);
	uint64_t deaths = load(&private->suspect[i].deaths) + 1;
	store(&private->suspect[i].deaths, deaths);
	return deaths;
}

uint64_t suspects_deaths(const struct deliver_private *private, const uint64_t id[2])
{
	if (load(&private->listed) == 0)
		return 0; /* nothing ever was: the usual case */
	unsigned i = find(private, id);
	return i < DELIVER_SUSPECTS ? load(&private->suspect[i].deaths) : 0;
}

void suspects_clear(struct deliver_private *private, const uint64_t id[2])
{
	if (load(&private->listed) == 0)
		return;
	unsigned i = find(private, id);
	if (i == DELIVER_SUSPECTS)
		return;
	store(&private->suspect[i].id[0], 0);
	store(&private->suspect[i].id[1], 0);
	store(&private->suspect[i].deaths, 0);
}
